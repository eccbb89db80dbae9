//! Makes the moves that the state machine asks for, and reads what it wants to see.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::super::client::Verdict;
use super::super::state_machine::{self, Alone, Look, Move, Pass, RunFacts, Seen};
use super::super::{gather, outside, permit, prepare, rehearsal};
use super::RunPass;
use crate::api::Approval;
use crate::api::common::ObjectRef;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::ActVerb;
use crate::cluster::caches::{get, in_namespace};
use crate::cluster::client::service_account_user;
use crate::cluster::controller::Requeue;
use crate::cluster::{Error, failpoints};
use crate::oncall::escalation::responders;
use crate::runbook::steps::kind::Answerer;
use crate::runbook::steps::{self, manual};
use crate::runbook::{approval, locks};

/// Maximum number of moves in one pass of a run; the next pass continues.
const MAX_MOVES: usize = 200;

impl RunPass<'_> {
    /// Makes moves until the run must wait. What was not stored when a move failed is stored then.
    pub(super) async fn go(mut self) -> Result<Requeue, Error> {
        let result = self.moves().await;
        if result.is_err() && self.unsaved {
            let stored = self.save().await;
            if let Err(error) = stored {
                tracing::info!(run = %self.run.name_any(), namespace = %self.namespace, %error, "the journal is not stored; it is proved from the objects");
            }
        }
        result
    }

    async fn moves(&mut self) -> Result<Requeue, Error> {
        if !self.status.is_settled() && self.status.start_time.is_none() && self.cancel().is_none() {
            let runbook = gather::runbook(&self.context, &self.run).await?;
            let incident = gather::incident(&self.context, &self.run).await?;
            if rehearsal::is_one(&self.run) && !rehearsal::is_staged(&self.status) {
                return self.stage(runbook.as_ref()).await;
            }
            let found = (runbook.as_ref(), incident.as_deref());
            let mut prepared = prepare::decide(&self.run, &self.status, found, None, Timestamp::now());
            if let prepare::Prepared::Resolve(reads, account) = &prepared {
                let deployments = in_namespace(&self.context.caches.deployments, &self.namespace);
                let owners = |object: &Value| locks::owners(object, &deployments);
                let (resolution, read) = self.client_of(account)?.resolve(reads, owners).await?;
                self.read = read;
                prepared =
                    prepare::decide(&self.run, &self.status, found, Some(&resolution), Timestamp::now());
            }
            match prepared {
                prepare::Prepared::Resolve(..) => return Err(Error::Conflict(self.run.name_any())),
                prepare::Prepared::Ready(status) => self.status = *status,
                prepare::Prepared::Blocked(status, until) => {
                    self.advance(*status);
                    self.save().await?;
                    return Ok(until.into());
                }
            }
        }
        let spec = match &self.status.snapshot {
            Some(snapshot) => serde_json::from_value(snapshot.spec.clone()).map_err(|error| {
                Error::Terminal(format!("the snapshot of the Runbook cannot be read: {error}"))
            })?,
            None => RunbookSpec::default(),
        };
        // Without a snapshot there is no identity, and the state machine can only cancel.
        let actor = match &self.status.snapshot {
            Some(_) => service_account_user(self.place(), &spec.service_account_name),
            None => String::new(),
        };
        for _ in 0..MAX_MOVES {
            let now = Timestamp::now();
            match self.next(&spec, &actor, now) {
                Move::Done => return self.end().await,
                Move::AskPermit => {
                    if let Err(error) = self.ask_permit(&spec).await {
                        self.hold_back().await?;
                        return Err(error);
                    }
                }
                Move::Look(look) => {
                    let read = std::mem::take(&mut self.read);
                    self.pass.seen = Some(self.look(&spec, &look, &read).await?);
                }
                Move::AskWhen(index) => {
                    let when = spec.steps.get(index).and_then(|step| step.when.as_ref());
                    let Some(when) = when else { return Err(Error::Conflict(self.run.name_any())) };
                    if self.leaves_out(&when.target) {
                        self.pass.when = Some(Ok(true));
                        continue;
                    }
                    let reads = when.target.reads(None, &self.status.subjects);
                    let client = self.run_client(&spec)?;
                    self.pass.when = Some(match client.judge(&reads, &when.expression, &[]).await? {
                        Verdict::True => Ok(true),
                        Verdict::False(_) => Ok(self.run.spec.drill),
                        Verdict::Unjudged(why) => Err(why),
                    });
                }
                Move::LookOutside(index) => {
                    // It may take long, and people want to see where the run is.
                    self.save().await?;
                    let step = spec.steps.get(index);
                    let client = self.run_client(&spec)?;
                    let seen = outside::look(&self.context, &client, step, &self.status.values).await?;
                    self.pass.outside = Some(seen);
                }
                Move::AskAnswer { step, digest } => {
                    self.pass.answer = Some(self.answer(&spec, &step, &digest).await?)
                }
                Move::Store(status) => {
                    self.advance(*status);
                    self.save_if_needed().await?;
                }
                Move::Hold(status, until) => {
                    self.advance(*status);
                    self.save().await?;
                    return Ok(until.into());
                }
                Move::Act(act) => {
                    let client = self.run_client(&spec)?;
                    let sent = match act.verb {
                        ActVerb::Send => outside::send(&self.context, &client, &act).await?,
                        _ => client.send(&act, self.run.spec.dry_run).await?,
                    };
                    self.must_store = state_machine::is_unprovable(&act);
                    failpoints::point(&self.context.config, "after-act");
                    tracing::info!(run = %self.run.name_any(), namespace = %self.namespace, operation = %act.operation_id, ?sent, "act sent");
                    self.pass = Pass { sent, ..Pass::default() };
                }
            }
        }
        Err(Error::Conflict(self.run.name_any()))
    }

    fn next(&self, spec: &RunbookSpec, actor: &str, now: Timestamp) -> Move {
        let name = self.run.name_any();
        let uid = self.run.uid().unwrap_or_default();
        let asked = self.asked();
        let alone = self.alone();
        state_machine::decide(
            &RunFacts {
                namespace: &self.namespace,
                name: &name,
                uid: &uid,
                generation: self.run.metadata.generation.unwrap_or_default(),
                cancel: self.cancel(),
                dry_run: self.run.spec.dry_run,
                place: self.place(),
                on_copies: rehearsal::is_one(&self.run),
                alone: alone.as_ref().map(|(since, by_hand)| Alone { since: *since, by_hand }),
                actor,
                asked: &asked,
                spec,
                status: &self.status,
                pass: &self.pass,
            },
            now,
        )
    }

    /// Reads what a look is about, and judges the preconditions over live objects.
    async fn look(
        &self,
        spec: &RunbookSpec,
        look: &Look,
        read: &[(ObjectRef, Value)],
    ) -> Result<Seen, Error> {
        let client = self.run_client(spec)?;
        let place = look.related;
        let step = place.and_then(|place| spec.steps.get(place.index));
        let mutation = step.zip(place).and_then(|(step, place)| steps::mutation_of(step, place.back));
        let target = look.objects.last().cloned().unwrap_or_default();
        let related = |object: Option<&Value>| {
            mutation.map_or_else(Vec::new, |mutation| mutation.reads(&target, object))
        };
        let mut seen = client.look(&look.objects, read, related).await?;
        let found = seen.objects.iter().flatten().map(Option::as_ref);
        let known: Vec<_> = look.objects.iter().zip(found).collect();
        let of_runbook = spec.preconditions.iter().filter(|_| look.of_runbook);
        let step = look.of_step.and_then(|index| spec.steps.get(index));
        let of_step = step.into_iter().flat_map(|step| &step.preconditions);
        for given in of_runbook.chain(of_step).filter(|given| !self.leaves_out(&given.target)) {
            let reads = given.target.reads(None, &self.status.subjects);
            let verdict = client.judge(&reads, &given.expression, &known).await?;
            // On a quiet day much is false that is true in an outage; a drill finds what cannot be judged.
            if self.run.spec.drill && matches!(verdict, Verdict::False(_)) {
                continue;
            }
            if let Verdict::False(why) | Verdict::Unjudged(why) = verdict {
                seen.preconditions = Err(format!("{} ({why})", given.message));
                break;
            }
        }
        Ok(seen)
    }

    /// Who is asked a question of a step.
    fn asked(&self) -> String {
        let caches = &self.context.caches;
        let named = self.run.spec.incident_ref.as_ref();
        let incident = named.and_then(|named| get(&caches.incidents, &self.namespace, &named.name));
        responders::asked(
            incident.as_ref(),
            &in_namespace(&caches.services, &self.namespace),
            &in_namespace(&caches.rotations, &self.namespace),
            &in_namespace(&caches.overrides, &self.namespace),
            Timestamp::now(),
        )
    }

    async fn answer(
        &self,
        spec: &RunbookSpec,
        step: &str,
        digest: &str,
    ) -> Result<Option<manual::Answer>, Error> {
        let approvals = gather::approvals(&self.context, &self.run).await?;
        let uid = self.run.uid().unwrap_or_default();
        let policies = match steps::answerer(&spec.steps, step) {
            Some(Answerer::Approver) => Some(gather::policies(&self.context).await?),
            _ => None,
        };
        let started_by = self.run.spec.started_by.as_ref().map(|starter| starter.user.as_str());
        // The guard webhook has checked the author's right when the answer was created. A service account or a node
        // never may answer.
        let entitled = |approval: &Approval| {
            approval.spec.by.as_ref().is_some_and(|by| permit::is_person(&by.user))
                && policies.as_ref().is_none_or(|policies| {
                    approval::may_answer(approval, policies, &self.namespace, started_by)
                })
        };
        Ok(manual::first_answer(approvals.iter().map(|approval| &**approval), &uid, step, digest, entitled))
    }
}
