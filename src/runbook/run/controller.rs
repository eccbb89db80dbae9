//! The ends of a run: gathers what [`super::state_machine`] asks for and carries out its moves.
//!
//! The run, its Runbook and ServiceAccount, the Approvals, policies and incidents, and the target are read live, never
//! from a cache: a stale read must not cause an act. Who is named in words comes from caches. Every store is a compare-and-swap, and whoever is not sure of one reads again.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::journal;
use super::permit::{self, Permit};
use super::{page, prepare};
use crate::api::approval::CountedDecision;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{RUN_FINALIZER, RunState, RunbookRunStatus, StepState};
use crate::api::{Approval, Incident, Runbook, RunbookRun};
use crate::cluster::caches::{Change, get, get_cluster, in_namespace, stored_now};
use crate::cluster::client::service_account_user;
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, failpoints, status, workloads};
use crate::oncall::escalation::responders;
use crate::runbook::run::client::Hands;
use crate::runbook::run::state_machine;
use crate::runbook::run::state_machine::{Facts, Move, Pass, Sent};
use crate::runbook::run::view;
use crate::runbook::steps::manual;
use crate::runbook::{approval, identity, limits, steps};

/// No pass of a run makes more moves than this; the next pass goes on.
const MAX_MOVES: usize = 200;
/// How often it is looked whether somebody can be paged for a run that has ended.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// Reconciles RunbookRuns.
#[derive(Default)]
pub struct RunbookRunReconciler {
    /// Held from looking at the other runs until the start is stored, so that two runs do not both find a target
    /// free. Two leaders could; each act is then still conditional by its own preconditions.
    admission: Arc<Mutex<()>>,
}

impl Reconciler for RunbookRunReconciler {
    const NAME: &'static str = "runbookrun";
    type Kind = RunbookRun;

    fn cache(context: &Context) -> &Store<RunbookRun> {
        &context.stores.runs
    }

    /// Runs that a change of something else may concern.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<Reference<RunbookRun>> {
        let relevant = match change.kind {
            kind if workloads::KINDS.contains(&kind) => |run: &RunbookRun, name: &str| {
                // Whatever it looks at is named in its snapshot.
                view::snapshot_spec(run)
                    .is_some_and(|spec| steps::targets(&spec.steps).any(|target| target.name == name))
            },
            "Runbook" => |run: &RunbookRun, name: &str| run.spec.runbook_ref.name == name,
            "Incident" => |run: &RunbookRun, name: &str| run.is_for(name),
            // Approvals count for a Runbook or a run, policies limit what may run, runs hold targets of those that begin.
            "Approval" | "ChangePolicy" => |_: &RunbookRun, _: &str| true,
            "RunbookRun" => |run: &RunbookRun, _: &str| {
                run.status.as_ref().is_none_or(|status| status.start_time.is_none())
            },
            _ => return Vec::new(),
        };
        let unsettled = |run: &RunbookRun| {
            !run.status.as_ref().and_then(|status| status.state).is_some_and(RunState::is_settled)
        };
        let runs = context.stores.runs.state();
        runs.iter()
            .filter(|run| change.namespace.is_none() || run.namespace() == change.namespace)
            .filter(|run| unsettled(run) && relevant(run, &change.name))
            .map(|run| Reference::from_obj(&**run))
            .collect()
    }

    /// Nothing is lost by a failure: the next pass reads the journal and goes on from there.
    async fn reconcile(&self, cached: Arc<RunbookRun>, context: &SharedContext) -> Result<Requeue, Error> {
        let settled =
            cached.status.as_ref().and_then(|status| status.state).is_some_and(RunState::is_settled);
        let held = cached.finalizers().iter().any(|name| name == RUN_FINALIZER);
        if settled && !held && !page::is_due(&cached, Timestamp::now()) {
            return Ok(Requeue::Never);
        }
        let namespace = cached.namespace().unwrap_or_default();
        let runs: Api<RunbookRun> = Api::namespaced(context.client.clone(), &namespace);
        let Some(run) = runs.get_opt(&cached.name_any()).await? else { return Ok(Requeue::Never) };
        Work::new(run, Arc::clone(context), self).go().await
    }
}

/// One pass over one run.
struct Work<'a> {
    context: SharedContext,
    engine: &'a RunbookRunReconciler,
    run: RunbookRun,
    status: RunbookRunStatus,
    namespace: String,
    pass: Pass,
    admission: Option<OwnedMutexGuard<()>>,
}

impl<'a> Work<'a> {
    fn new(run: RunbookRun, context: SharedContext, engine: &'a RunbookRunReconciler) -> Work<'a> {
        let status = run.status.clone().unwrap_or_default();
        let namespace = run.namespace().unwrap_or_default();
        Work { context, engine, run, status, namespace, pass: Pass::default(), admission: None }
    }

    fn client(&self) -> &Client {
        &self.context.client
    }

    async fn go(mut self) -> Result<Requeue, Error> {
        let settled = self.status.state.is_some_and(RunState::is_settled);
        if !settled && self.status.start_time.is_none() && self.cancel().is_none() {
            let runbook = self.runbook().await?;
            let incident = match &self.run.spec.incident_ref {
                Some(named) => self.api::<Incident>().get_opt(&named.name).await?,
                None => None,
            };
            match prepare::decide(
                &self.run,
                &self.status,
                runbook.as_ref(),
                incident.as_ref(),
                Timestamp::now(),
            ) {
                prepare::Prepared::Ready(status) => self.status = *status,
                prepare::Prepared::Blocked(status, until) => {
                    self.store(*status).await?;
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
        // Without a snapshot there is no identity, and the machine has nothing to do but cancel.
        let actor = match &self.status.snapshot {
            Some(_) => service_account_user(&self.namespace, &spec.service_account_name),
            None => String::new(),
        };
        for _ in 0..MAX_MOVES {
            let now = Timestamp::now();
            match self.next(&spec, &actor, now) {
                Move::Done => return self.end().await,
                Move::AskPermit => self.ask_permit(&spec).await?,
                Move::Look { target, preconditions } => {
                    let hands = self.hands(&spec)?;
                    let preconditions = if preconditions { spec.preconditions.as_slice() } else { &[] };
                    self.pass.seen = Some(hands.look(&target, preconditions).await?);
                }
                Move::AskAnswer { step, digest } => {
                    self.pass.answer = Some(self.answer(&step, &digest).await?)
                }
                Move::Store(status) => self.store(*status).await?,
                Move::Hold(status, until) => {
                    self.store(*status).await?;
                    return Ok(until.into());
                }
                Move::Act(intent) => {
                    let sent = self.hands(&spec)?.restart(&intent, self.run.spec.dry_run).await?;
                    failpoints::point(&self.context.config.testing, "after-act");
                    tracing::info!(run = %self.run.name_any(), namespace = %self.namespace, operation = %intent.operation_id, ?sent, "act sent");
                    self.pass = Pass { sent, ..Pass::default() };
                }
            }
        }
        Err(Error::Conflict(self.run.name_any()))
    }

    fn cancel(&self) -> Option<&'static str> {
        if self.run.spec.cancel {
            Some("cancelled (spec.cancel)")
        } else if self.run.metadata.deletion_timestamp.is_some() {
            Some("cancelled because the run is being deleted")
        } else {
            None
        }
    }

    /// What acts as the ServiceAccount. Each call makes a client, which few passes need.
    fn hands(&self, spec: &RunbookSpec) -> Result<Hands, Error> {
        if self.status.snapshot.is_none() {
            return Err(Error::Terminal("the run has no identity to act as".to_owned()));
        }
        let uid = self.run.uid().unwrap_or_default();
        Hands::new(&self.context.impersonate, &self.namespace, &spec.service_account_name, &uid)
    }

    fn next(&self, spec: &RunbookSpec, actor: &str, now: Timestamp) -> Move {
        let name = self.run.name_any();
        let uid = self.run.uid().unwrap_or_default();
        let asked = self.asked();
        state_machine::decide(
            &Facts {
                namespace: &self.namespace,
                name: &name,
                uid: &uid,
                generation: self.run.metadata.generation.unwrap_or_default(),
                cancel: self.cancel(),
                dry_run: self.run.spec.dry_run,
                actor,
                asked: &asked,
                spec,
                status: &self.status,
                pass: &self.pass,
            },
            now,
        )
    }

    /// The kind in the namespace of the run.
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client().clone(), &self.namespace)
    }

    async fn runbook(&self) -> Result<Option<Runbook>, Error> {
        Ok(self.api::<Runbook>().get_opt(&self.run.spec.runbook_ref.name).await?)
    }

    /// Asks whether the run may go on, from what is stored now.
    async fn ask_permit(&mut self, spec: &RunbookSpec) -> Result<(), Error> {
        let Some(snapshot) = self.status.snapshot.clone() else {
            return Err(Error::Terminal("the run has no snapshot of its Runbook".to_owned()));
        };
        let begins = self.status.start_time.is_none();
        let runs = if begins {
            self.admission = Some(Arc::clone(&self.engine.admission).lock_owned().await);
            stored_now(self.api(), &self.context.stores.runs).await?
        } else {
            Vec::new()
        };
        let now = Timestamp::now();
        let runbook = self.runbook().await?.filter(|runbook| runbook.uid().as_deref() == Some(&snapshot.uid));
        let account = self.api::<ServiceAccount>().get_opt(&spec.service_account_name).await?;
        let account = identity::fit(account.as_ref(), &self.namespace, &spec.service_account_name);
        let stores = &self.context.stores;
        let approvals = stored_now(self.api(), &stores.approvals).await?;
        let policies = stored_now(Api::all(self.client().clone()), &stores.policies).await?;
        let incidents = stored_now(self.api(), &stores.incidents).await?;
        let names = approval::names(
            &in_namespace(&stores.services, &self.namespace),
            &in_namespace(&stores.rotations, &self.namespace),
            spec,
        );
        let of_runbook = approval::Facts {
            namespace: &self.namespace,
            name: &self.run.spec.runbook_ref.name,
            uid: &snapshot.uid,
            digest: &snapshot.digest,
            rejected_by: runbook
                .as_ref()
                .and_then(|runbook| runbook.status.as_ref()?.rejected_by(&snapshot.digest)),
            approvals: &approvals,
            policies: &policies,
            names: &names,
        };
        let mut rested_on = snapshot.approvals.clone();
        let runbook_approved = if begins {
            let authors = runbook.as_ref().and_then(Runbook::authors);
            let count = approval::of_runbook(&of_runbook, authors.as_deref(), now);
            rested_on = count.decisions;
            count.approved
        } else {
            approval::still_stands(&of_runbook, &rested_on, now)
        };
        let uid = self.run.uid().unwrap_or_default();
        let named = self.run.spec.incident_ref.as_ref();
        let incident =
            named.and_then(|named| incidents.iter().find(|incident| incident.name_any() == named.name));
        let run_name = self.run.name_any();
        let own = approval::of_run(
            &approval::Facts {
                name: &run_name,
                uid: &uid,
                digest: self.status.digest.as_deref().unwrap_or_default(),
                ..of_runbook
            },
            self.run.spec.started_by.as_ref().map(|starter| starter.user.as_str()),
            &incidents,
            now,
        );
        let permit = permit::decide(
            &permit::Facts {
                run: &self.run,
                status: &self.status,
                spec,
                runbook: runbook.as_ref(),
                runbook_approved: &runbook_approved,
                run_approved: &own.approved,
                account: &account,
                incident: incident.map(|incident| &**incident),
                incidents: &incidents,
                policies: &policies,
                runs: &runs,
            },
            now,
        );
        let begins = begins && permit == Permit::Go;
        // Remembered before it begins: what is remembered and never begins costs a run, the other way round would
        // give one away.
        if let Some(runbook) = runbook.as_ref().filter(|_| begins && !self.run.spec.dry_run)
            && let Some(next) = limits::with_run(runbook, &self.run, now)
        {
            status::write(self.client(), runbook, next).await?;
        }
        self.remember(begins, rested_on, own.decisions);
        self.pass.permit = Some(permit);
        Ok(())
    }

    /// Who is asked a question of a step.
    fn asked(&self) -> String {
        let stores = &self.context.stores;
        let named = self.run.spec.incident_ref.as_ref();
        let incident = named.and_then(|named| get(&stores.incidents, &self.namespace, &named.name));
        responders::asked(
            incident.as_ref(),
            &in_namespace(&stores.services, &self.namespace),
            &in_namespace(&stores.rotations, &self.namespace),
            &in_namespace(&stores.overrides, &self.namespace),
            Timestamp::now(),
        )
    }

    /// Keeps what the run rests on; stored with the next store.
    fn remember(&mut self, begins: bool, rested_on: Vec<CountedDecision>, own: Vec<CountedDecision>) {
        if let Some(snapshot) = self.status.snapshot.as_mut().filter(|_| begins) {
            snapshot.approvals = rested_on;
        }
        self.status.decisions = own;
    }

    async fn answer(&self, step: &str, digest: &str) -> Result<Option<manual::Answer>, Error> {
        let approvals = stored_now(self.api(), &self.context.stores.approvals).await?;
        let uid = self.run.uid().unwrap_or_default();
        // Who is entitled, the guard webhook decides when the answer is created; a part of the cluster never is.
        let person =
            |approval: &Approval| approval.spec.by.as_ref().is_some_and(|by| permit::is_person(&by.user));
        Ok(manual::first_answer(approvals.iter().map(|approval| &**approval), &uid, step, digest, person))
    }

    /// Stores the journal over the version it was decided from.
    async fn store(&mut self, mut status: RunbookRunStatus) -> Result<(), Error> {
        self.tell(&mut status);
        if journal::has_intent(&status) {
            self.hold_on().await?;
        }
        let announced = journal::current(&status)
            .is_some_and(|index| status.steps[index].state == StepState::IntentRecorded);
        if let Some(stored) = status::write(self.client(), &self.run, status.clone()).await? {
            self.run = stored;
        }
        self.admission = None;
        if announced {
            failpoints::point(&self.context.config.testing, "after-intent");
        }
        self.report(&status).await;
        self.status = status;
        self.pass = Pass { sent: if announced { Sent::NotYet } else { Sent::Unknown }, ..Pass::default() };
        Ok(())
    }

    /// Adds who is told about the status.
    fn tell(&self, status: &mut RunbookRunStatus) {
        let run = RunbookRun { status: Some(status.clone()), ..self.run.clone() };
        let stores = &self.context.stores;
        let facts = page::Facts {
            run: &run,
            services: &in_namespace(&stores.services, &self.namespace),
            rotations: &in_namespace(&stores.rotations, &self.namespace),
            overrides: &in_namespace(&stores.overrides, &self.namespace),
            channels: &in_namespace(&stores.channels, &self.namespace),
        };
        page::update(&facts, status, Timestamp::now());
    }

    /// Lets go of a settled run, once nobody must be paged for it any more.
    async fn end(&mut self) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let namespace = get_cluster(&self.context.stores.namespaces, &self.namespace);
        let ends = namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
        if ends || !page::is_due(&self.run, now) {
            self.let_go().await?;
            return Ok(Requeue::Never);
        }
        let mut status = self.status.clone();
        self.tell(&mut status);
        if let Some(stored) = status::write(self.client(), &self.run, status).await? {
            self.run = stored;
        }
        if page::waits(&self.run) {
            self.hold_on().await?;
        }
        Ok(now.checked_add(LOOK_AGAIN).ok().into())
    }

    async fn report(&self, status: &RunbookRunStatus) {
        let Some(state) = status.state.filter(|state| self.status.state != Some(*state)) else { return };
        let said = status
            .conditions
            .iter()
            .find(|condition| matches!(condition.type_.as_str(), "Blocked" | "Succeeded"));
        let waits = status.next.as_ref().map_or("the run is at work", |next| next.what.as_str());
        let note = said.map_or(waits, |condition| condition.message.as_str());
        let reason = format!("{state:?}");
        match state {
            RunState::Failed | RunState::Unknown => {
                self.context.events.warning(&self.run, &reason, note).await
            }
            _ => self.context.events.normal(&self.run, &reason, note).await,
        }
    }

    /// The run must not vanish from now on, or its act could never be settled.
    async fn hold_on(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            return Ok(());
        }
        finalizers.push(RUN_FINALIZER.to_owned());
        self.set_finalizers(finalizers).await
    }

    async fn let_go(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            finalizers.retain(|name| name != RUN_FINALIZER);
            self.set_finalizers(finalizers).await?;
        }
        Ok(())
    }

    async fn set_finalizers(&mut self, finalizers: Vec<String>) -> Result<(), Error> {
        let runs = self.api::<RunbookRun>();
        let patch =
            json!({"metadata": {"finalizers": finalizers, "resourceVersion": self.run.resource_version()}});
        self.run = runs.patch(&self.run.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}
