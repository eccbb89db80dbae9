//! Reconciles one run: reads what [`super::state_machine`] asks for and carries out its moves.
//!
//! Every store of the journal is a compare-and-swap, so a pass may begin with the cached run: what it decides over an old
//! one is refused. Only a run with an announced act is read live first. A change of the journal is stored at the latest
//! before the next act, a wait or the end; what a lost process had not stored, the next one proves anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::client::{RunClient, Verdict};
use super::others::{self, Begun};
use super::page::{self, Told};
use super::permit::Permit;
use super::rehearsal::stage::Staged;
use super::state_machine::{self, Alone, Look, Move, Pass, RunFacts, Seen, Sent};
use super::{account, ask, gather, journal, outside, parts, permit, prepare, rehearsal, view};
use crate::api::common::ObjectRef;
use crate::api::conditions::Reason;
use crate::api::notification::SubjectKind;
use crate::api::runbook::{RunbookSpec, RunbookStatus};
use crate::api::runbook_run::{ActVerb, RUN_FINALIZER, RunState, RunbookRunStatus};
use crate::api::runbook_step::Target;
use crate::api::{Approval, Notification, Runbook, RunbookRun};
use crate::cluster::caches::{Change, Kind, get, get_cluster, in_namespace};
use crate::cluster::client::{Identity, service_account_user};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, failpoints, status, workloads};
use crate::command::{Command, Flag, Verb};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::oncall::escalation::responders;
use crate::runbook::concurrency::Bounds;
use crate::runbook::siblings::{self, Share};
use crate::runbook::steps::kind::Answerer;
use crate::runbook::steps::{self, manual};
use crate::runbook::{account_use, approval, automation_limits, clear, drill, locks, permissions, targets};

/// Maximum number of moves in one pass of a run; the next pass continues.
const MAX_MOVES: usize = 200;
/// How long a permit counts: from the reads that it is based on to the act. It covers the store of the intent in between,
/// and the next act of the same pass.
const PERMIT_LASTS: Duration = Duration::from_secs(1);
/// Interval between two attempts to find a person to page for a run that has ended.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// Reconciles RunbookRuns.
#[derive(Default)]
pub struct RunbookRunReconciler {
    /// Held from a look at the other runs until the start is stored, so that two runs do not both find a target free.
    /// Two operators could both find it free; the look right before the first act then finds the other start.
    admission: Arc<Mutex<Begun>>,
}

impl Reconciler for RunbookRunReconciler {
    const NAME: &'static str = "runbookrun";
    /// A pass waits for the API server most of the time, and goes on as long as the run has something to do.
    const CONCURRENCY: u16 = 32;
    type Kind = RunbookRun;

    fn cache(context: &Context) -> &Store<RunbookRun> {
        &context.caches.runs
    }

    /// Runs that a change of something else may concern.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<Reference<RunbookRun>> {
        if change.kind == Kind::Notification {
            return store::subject_of(context, change, SubjectKind::RunbookRun);
        }
        let relevant = match change.kind {
            kind if kind.is_workload() => |run: &RunbookRun, name: &str| {
                // The journal names every object that the run reads.
                run.status
                    .as_ref()
                    .is_some_and(|status| steps::objects(status).any(|object| object.name == name))
                    || others::waits_for(run, &[Reason::TooFewHealthy])
            },
            Kind::Runbook => |run: &RunbookRun, name: &str| run.spec.runbook_ref.name == name,
            Kind::Incident => |run: &RunbookRun, name: &str| run.is_for(name),
            // Approvals count for a Runbook or a run, policies and freezes limit what may run, other runs hold targets.
            Kind::Approval | Kind::ChangePolicy | Kind::Freeze => |_: &RunbookRun, _: &str| true,
            Kind::RunbookRun => return others::waiting(change, &context.caches.runs),
            _ => return Vec::new(),
        };
        let unsettled = |run: &RunbookRun| {
            !run.status.as_ref().and_then(|status| status.state).is_some_and(RunState::is_settled)
        };
        let runs = context.caches.runs.state();
        // The copies of a drill are elsewhere.
        let is_here = |run: &RunbookRun| {
            let copies = run.status.as_ref().and_then(|status| status.drill.as_ref());
            run.namespace() == change.namespace
                || copies.is_some_and(|copies| Some(&copies.namespace) == change.namespace.as_ref())
        };
        runs.iter()
            .filter(|run| change.namespace.is_none() || is_here(run))
            .filter(|run| unsettled(run) && relevant(run, &change.name))
            .map(|run| Reference::from_obj(&**run))
            .collect()
    }

    /// Nothing is lost by a failure: the next pass reads the journal and continues from there.
    async fn reconcile(&self, cached: Arc<RunbookRun>, context: &SharedContext) -> Result<Requeue, Error> {
        let settled =
            cached.status.as_ref().and_then(|status| status.state).is_some_and(RunState::is_settled);
        let held = cached.finalizers().iter().any(|name| name == RUN_FINALIZER);
        let notifications = store::about(context, &Subject::from(&*cached));
        let is_due = page::is_due(&cached, &notifications, Timestamp::now());
        if settled && !held && !is_due && !page::asks(&cached, &notifications) {
            return Ok(clear::without_runbook(context, &cached, Timestamp::now()).await?.into());
        }
        let is_acting = cached.status.as_ref().is_some_and(|status| parts::announced(status).is_some());
        let run = if is_acting || context.written.is_newer(&*cached) {
            let namespace = cached.namespace().unwrap_or_default();
            let runs: Api<RunbookRun> = Api::namespaced(context.client.clone(), &namespace);
            let Some(run) = runs.get_opt(&cached.name_any()).await? else { return Ok(Requeue::Never) };
            run
        } else {
            (*cached).clone()
        };
        RunPass::new(run, Arc::clone(context), self).go().await
    }
}

/// One pass over one run.
struct RunPass<'a> {
    context: SharedContext,
    reconciler: &'a RunbookRunReconciler,
    run: RunbookRun,
    status: RunbookRunStatus,
    namespace: String,
    pass: Pass,
    admission: Option<OwnedMutexGuard<Begun>>,
    /// Whether the status has changed since it was stored.
    unsaved: bool,
    /// Whether the outcome of the last act cannot be proved, so that it is stored at once.
    must_store: bool,
    /// When the permit was given that still counts.
    permitted: Option<Instant>,
    /// Objects that were read when the run was prepared, for the first look.
    read: Vec<(ObjectRef, Value)>,
    /// What is told once it is stored: state and text.
    news: Vec<(RunState, String)>,
}

impl<'a> RunPass<'a> {
    fn new(run: RunbookRun, context: SharedContext, reconciler: &'a RunbookRunReconciler) -> RunPass<'a> {
        let status = run.status.clone().unwrap_or_default();
        let namespace = run.namespace().unwrap_or_default();
        RunPass {
            context,
            reconciler,
            run,
            status,
            namespace,
            pass: Pass::default(),
            admission: None,
            unsaved: false,
            must_store: false,
            permitted: None,
            read: Vec::new(),
            news: Vec::new(),
        }
    }

    fn client(&self) -> &Client {
        &self.context.client
    }

    /// Makes moves until the run must wait. What was not stored when a move failed is stored then.
    async fn go(mut self) -> Result<Requeue, Error> {
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
        let settled = self.status.state.is_some_and(RunState::is_settled);
        if !settled && self.status.start_time.is_none() && self.cancel().is_none() {
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

    fn cancel(&self) -> Option<&'static str> {
        if self.run.spec.cancel {
            Some("cancelled (spec.cancel)")
        } else if self.run.metadata.deletion_timestamp.is_some() {
            Some("cancelled because the run is being deleted")
        } else {
            None
        }
    }

    /// A client that acts as the Runbook's ServiceAccount. Made for each call, since few passes need one.
    fn run_client(&self, spec: &RunbookSpec) -> Result<RunClient, Error> {
        if self.status.snapshot.is_none() {
            return Err(Error::Terminal("the run has no identity to act as".to_owned()));
        }
        self.client_of(&spec.service_account_name)
    }

    fn client_of(&self, account: &str) -> Result<RunClient, Error> {
        let uid = self.run.uid().unwrap_or_default();
        RunClient::new(&self.context.impersonate, &Identity::of(self.place(), account)?, &uid)
    }

    /// Namespace of the objects that the run acts on.
    fn place(&self) -> &str {
        self.status.drill.as_ref().map_or(&self.namespace, |drill| &drill.namespace)
    }

    /// Makes the copies of a drill. Only an approved Runbook is rehearsed, as every run is.
    async fn stage(&mut self, runbook: Option<&Runbook>) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let generation = self.run.metadata.generation.unwrap_or_default();
        let entry = journal::Entry::new(&self.status, generation, now);
        let name = &self.run.spec.runbook_ref.name;
        let place = self.status.drill.as_ref().map(|drill| drill.namespace.clone());
        let place = place.or_else(|| runbook.and_then(rehearsal::namespace_of).map(str::to_owned));
        let (Some(runbook), Some(place)) = (runbook, place) else {
            let message = format!("rb/{name} is not rehearsed in a namespace of its own any more");
            return self.staged(entry.finishes(RunState::Cancelled, &message), Requeue::At(now)).await;
        };
        let is_observed =
            |status: &&RunbookStatus| Some(status.observed_generation) == runbook.metadata.generation;
        if !runbook.status.as_ref().filter(is_observed).is_some_and(drill::may_begin) {
            let message = format!("rb/{name} is not Ready or not approved");
            return self.staged(entry.blocked(Reason::NotApproved, &message), Requeue::Never).await;
        }
        let known = self.status.drill.as_ref();
        let stage =
            rehearsal::stage::Stage { context: &self.context, run: &self.run, runbook, place: &place, known };
        match stage.advance(now).await? {
            Staged::Store(drill) => {
                // Whatever is made from now on must be removed again.
                self.retain().await?;
                self.advance(RunbookRunStatus { drill: Some(drill), ..self.status.clone() });
                self.save().await?;
                Ok(Requeue::At(now))
            }
            Staged::Waits(message, until) => {
                self.staged(entry.blocked(Reason::CopiesNotReady, &message), Requeue::At(until)).await
            }
            Staged::Fails(message) => {
                self.staged(entry.finishes(RunState::Failed, &message), Requeue::At(now)).await
            }
        }
    }

    async fn staged(&mut self, entry: journal::Entry, next: Requeue) -> Result<Requeue, Error> {
        self.advance(entry.done());
        self.save().await?;
        Ok(next)
    }

    /// Whether a drill on copies leaves out an expression over this target: only what is copied is there.
    fn leaves_out(&self, target: &Target) -> bool {
        let named = target.named(None);
        let copies = self.status.drill.as_ref().map(|drill| &drill.copies);
        copies.is_some_and(|copies| {
            !named.is_some_and(|named| copies.iter().any(|copy| copy.same_object(&named)))
        })
    }

    /// Removes the copies of a drill. What may not be removed is told, and left.
    async fn clear(&self) -> Result<(), Error> {
        let Some(drill) = &self.status.drill else { return Ok(()) };
        let spec = match &self.status.snapshot {
            Some(snapshot) => serde_json::from_value::<RunbookSpec>(snapshot.spec.clone()).ok(),
            None => gather::runbook(&self.context, &self.run).await?.map(|runbook| runbook.spec),
        };
        let Some(spec) = spec else { return Ok(()) };
        let uid = self.run.uid().unwrap_or_default();
        let client = self.client_of(&spec.service_account_name)?;
        let left = rehearsal::stage::clear(&client, &uid, drill).await?;
        if !left.is_empty() {
            let note = format!("copies are left in {}: {}", drill.namespace, left.join("; "));
            self.context.events.warning(&self.run, "CopiesLeft", &note).await;
        }
        Ok(())
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

    /// Asks whether the run may go on, from what is stored now.
    async fn ask_permit(&mut self, spec: &RunbookSpec) -> Result<(), Error> {
        if self.permitted.is_some_and(|since| since.elapsed() < PERMIT_LASTS) {
            let permit = self.look_at_others().await?;
            self.pass.permit = Some(permit);
            return Ok(());
        }
        let Some(snapshot) = self.status.snapshot.clone() else {
            return Err(Error::Terminal("the run has no snapshot of its Runbook".to_owned()));
        };
        let asked_at = Instant::now();
        if self.status.start_time.is_none() {
            self.admission = Some(Arc::clone(&self.reconciler.admission).lock_owned().await);
        }
        let looks = self.looks_at_others();
        let others = match &mut self.admission {
            Some(begun) => begun.others(&self.context.caches.runs),
            None if looks => others::live(&self.context).await?,
            None => Vec::new(),
        };
        let siblings = self.siblings(spec).await?;
        let mut stored =
            gather::stored(&self.context, &self.run, &self.status, spec, others, siblings).await?;
        let now = Timestamp::now();
        let mut asked = ask::permit(&self.run, &self.status, (&snapshot, spec), &stored, now);
        while asked.begins {
            let users =
                account::approvers_without_use(&self.context, &self.run, spec, &stored, &asked).await?;
            if users.is_empty() {
                break;
            }
            stored.forget_approvals_of(&users);
            let why = account_use::none_may(&users, &self.namespace, &spec.service_account_name);
            asked = ask::permit(&self.run, &self.status, (&snapshot, spec), &stored, now)
                .noting(&why, permit::look_again(&self.status, now));
        }
        // A drill on copies acts as another account, and finds out by acting.
        if asked.begins && !rehearsal::is_one(&self.run) {
            let needs = permissions::needs(spec, Some((&self.status.steps, &self.status.subjects)));
            let lacking = self.run_client(spec)?.lacking(needs).await?;
            if self.run.spec.dry_run {
                // Told with the next store, each with its step.
                let lacks = permissions::of_steps(&lacking, self.status.steps.len());
                for (step, lacks) in self.status.steps.iter_mut().zip(lacks) {
                    step.lacks = lacks;
                }
            } else if !lacking.is_empty() {
                let message = permissions::lacks(&lacking, spec, &self.namespace);
                let again = permit::look_again(&self.status, now);
                asked = asked.withheld(&self.run, Reason::AccountLacksPermission, message, (again, now));
            }
        }
        // Remembered before it begins: a run that is remembered and never begins uses up one of the limit, but a run
        // that begins and is not remembered would exceed the limit.
        if let Some((runbook, next)) = ask::remembered(&self.run, &stored, &asked, now) {
            status::write(&self.context, runbook, next).await?;
        }
        // The decisions that the run relies on are stored with the next store.
        if let Some(snapshot) = self.status.snapshot.as_mut().filter(|_| asked.begins) {
            snapshot.approvals = asked.relied_on;
        }
        self.status.decisions = asked.decisions;
        self.permitted = (asked.permit == Permit::Go).then_some(asked_at);
        self.pass.permit = Some(asked.permit);
        Ok(())
    }

    /// How many of the others are healthy, if a policy asks before a run begins by itself.
    async fn siblings(&self, spec: &RunbookSpec) -> Result<Vec<Result<Share, String>>, Error> {
        let caches = &self.context.caches;
        let is_asked = || {
            automation_limits::in_namespace(&caches.policies.state(), &self.namespace).min_healthy.is_some()
        };
        let begins = self.status.start_time.is_none() && !self.run.spec.dry_run;
        if !begins || permit::started_by_person(&self.run) || !is_asked() {
            return Ok(Vec::new());
        }
        let holds = &self.status.holds;
        let mut found = Vec::new();
        if holds.iter().any(|held| !targets::is_cluster_scoped(&held.api_version, &held.kind)) {
            found.push(Ok(siblings::pods(&workloads::named(caches, &self.namespace)?, holds)));
        }
        if holds.iter().any(|held| held.group().is_empty() && held.kind == "Node") {
            let nodes = self.run_client(spec)?.nodes().await?;
            found.push(nodes.map(|nodes| siblings::nodes(&nodes, holds)));
        }
        Ok(found)
    }

    /// When the outage began that a run repairs which nobody started, and how a person would start it.
    fn alone(&self) -> Option<(Timestamp, String)> {
        let named = self.run.spec.incident_ref.as_ref().filter(|_| !permit::started_by_person(&self.run))?;
        let incident = get(&self.context.caches.incidents, &self.namespace, &named.name);
        let status = incident.as_ref().and_then(|incident| incident.status.as_ref());
        // An outage that has come back began again.
        let began = status.and_then(|status| status.returned_time.as_ref().or(status.start_time.as_ref()));
        let since = began.map(|time| time.0).or_else(|| self.run.creation_timestamp().map(|time| time.0))?;
        let by_hand =
            Command::new(Verb::Run).namespace(&*self.namespace).word(&*self.run.spec.runbook_ref.name);
        Some((since, by_hand.flag(Flag::Incident, &*named.name).to_string()))
    }

    /// Whether another run can be in the way of the next act.
    fn looks_at_others(&self) -> bool {
        let needs_room = !self.bounds().is_none() || !self.status.holds.is_empty();
        needs_room && self.run.is_repair() && !locks::is_sure(&self.status)
    }

    /// How many runs may work at once where this one does.
    fn bounds(&self) -> Bounds {
        let policies = self.context.caches.policies.state();
        let namespace = automation_limits::in_namespace(&policies, &self.namespace).concurrency;
        Bounds { namespace, cluster: self.context.config.runs.most() }
    }

    /// Looks at the other runs once more, after the start is stored. It comes right before the first act.
    async fn look_at_others(&self) -> Result<Permit, Error> {
        if self.admission.is_some() || !self.looks_at_others() {
            return Ok(Permit::Go);
        }
        let others = others::live(&self.context).await?;
        Ok(permit::among(&self.run, &self.status, &self.bounds(), &others, Timestamp::now()))
    }

    /// Withdraws an announced creation or request that was not sent, since no later pass could prove that.
    async fn hold_back(&mut self) -> Result<(), Error> {
        let Some(place) = parts::announced(&self.status).filter(|_| self.pass.sent == Sent::NotYet) else {
            return Ok(());
        };
        let open = parts::part(&self.status, place).open();
        if open.is_none_or(|act| !matches!(act.verb, ActVerb::Create | ActVerb::Send)) {
            return Ok(());
        }
        let generation = self.run.metadata.generation.unwrap_or_default();
        let entry = journal::Entry::new(&self.status, generation, Timestamp::now());
        self.advance(entry.never_sent(place).done());
        self.save().await
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

    /// Goes on from a status; it is stored later.
    fn advance(&mut self, status: RunbookRunStatus) {
        self.news.extend(news(&self.status, &status));
        self.unsaved |= self.run.status.as_ref() != Some(&status);
        self.status = status;
        self.pass = Pass::default();
    }

    /// Stores the journal if the next move relies on it: an announced act, the end, and what cannot be proved later.
    async fn save_if_needed(&mut self) -> Result<(), Error> {
        if state_machine::relies_on_store(&self.status) || std::mem::take(&mut self.must_store) {
            self.save().await?;
        }
        if parts::announced(&self.status).is_some() {
            self.pass.sent = Sent::NotYet;
        }
        Ok(())
    }

    /// Stores the journal over the version it was decided from.
    async fn save(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.unsaved) {
            return Ok(());
        }
        let mut status = self.status.clone();
        let told = self.told(&mut status);
        if parts::has_act(&status) {
            self.retain().await?;
        }
        store::create(&self.context, &Subject::from(&self.run), &told.messages).await?;
        let announced = parts::announced(&status).is_some();
        if let Some(stored) = status::write(&self.context, &self.run, status.clone()).await? {
            self.wrote(stored);
        }
        self.status = status;
        if let Some(mut begun) = self.admission.take().filter(|_| self.status.start_time.is_some()) {
            begun.add(&self.run);
        }
        if announced {
            failpoints::point(&self.context.config, "after-intent");
        }
        self.report();
        // An act does not wait for it: what fails here is settled with the next store, at the latest at the end.
        if let Err(error) = store::settle(&self.context, &self.namespace, &told.settle).await {
            tracing::warn!(run = %self.run.name_any(), namespace = %self.namespace, %error, "messages are not settled yet");
        }
        Ok(())
    }

    /// Goes on with the run as it was just stored.
    fn wrote(&mut self, stored: RunbookRun) {
        match stored.status.as_ref().is_some_and(|status| parts::announced(status).is_some()) {
            true => self.context.written.announce(&stored),
            false => self.context.written.forget(&stored),
        }
        self.run = stored;
    }

    /// The messages that the status calls for, and those that it ends.
    fn told(&self, status: &mut RunbookRunStatus) -> Told {
        let run = RunbookRun { status: Some(status.clone()), ..self.run.clone() };
        let caches = &self.context.caches;
        let facts = page::Facts {
            run: &run,
            services: &in_namespace(&caches.services, &self.namespace),
            rotations: &in_namespace(&caches.rotations, &self.namespace),
            overrides: &in_namespace(&caches.overrides, &self.namespace),
            channels: &in_namespace(&caches.channels, &self.namespace),
            notifications: &self.notifications(),
        };
        page::decide(&facts, status, Timestamp::now())
    }

    /// The Notifications about the run.
    fn notifications(&self) -> Vec<Arc<Notification>> {
        store::about(&self.context, &Subject::from(&self.run))
    }

    /// Releases a settled run, once all its pages are sent.
    async fn end(&mut self) -> Result<Requeue, Error> {
        let now = Timestamp::now();
        let namespace = get_cluster(&self.context.caches.namespaces, &self.namespace);
        let ends = namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
        let mut status = self.status.clone();
        let told = self.told(&mut status);
        if ends || !page::is_due(&self.run, &self.notifications(), now) {
            if self.run.finalizers().iter().any(|name| name == RUN_FINALIZER) {
                self.clear().await?;
            }
            store::settle(&self.context, &self.namespace, &told.settle).await?;
            self.release().await?;
            return Ok(Requeue::Never);
        }
        // Its pages are about it: it stays until they are sent.
        if status.paged_time.is_some() {
            self.retain().await?;
        }
        store::create(&self.context, &Subject::from(&self.run), &told.messages).await?;
        if let Some(stored) = status::write(&self.context, &self.run, status).await? {
            self.wrote(stored);
        }
        store::settle(&self.context, &self.namespace, &told.settle).await?;
        Ok(now.checked_add(LOOK_AGAIN).ok().into())
    }

    /// Writes an Event for each state that was reached, beside the next moves.
    fn report(&mut self) {
        let news = std::mem::take(&mut self.news);
        if news.is_empty() {
            return;
        }
        let (context, run) = (Arc::clone(&self.context), self.run.clone());
        let who = view::identities(&run);
        tokio::spawn(async move {
            for (state, note) in news {
                let (reason, note) = (format!("{state:?}"), format!("{note} ({who})"));
                match state {
                    RunState::Failed | RunState::Unknown => {
                        context.events.warning(&run, &reason, &note).await
                    }
                    _ => context.events.normal(&run, &reason, &note).await,
                }
            }
        });
    }

    /// Sets the finalizer: if the run vanished now, its act could never be settled.
    async fn retain(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            return Ok(());
        }
        finalizers.push(RUN_FINALIZER.to_owned());
        self.set_finalizers(finalizers).await
    }

    async fn release(&mut self) -> Result<(), Error> {
        let mut finalizers = self.run.finalizers().to_vec();
        if finalizers.iter().any(|name| name == RUN_FINALIZER) {
            finalizers.retain(|name| name != RUN_FINALIZER);
            self.set_finalizers(finalizers).await?;
        }
        Ok(())
    }

    async fn set_finalizers(&mut self, finalizers: Vec<String>) -> Result<(), Error> {
        let runs: Api<RunbookRun> = Api::namespaced(self.client().clone(), &self.namespace);
        let patch =
            json!({"metadata": {"finalizers": finalizers, "resourceVersion": self.run.resource_version()}});
        let stored = runs.patch(&self.run.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.wrote(stored);
        Ok(())
    }
}

/// The state that a run has reached, and what it means; `None` if it is as before.
fn news(before: &RunbookRunStatus, status: &RunbookRunStatus) -> Option<(RunState, String)> {
    let state = status.state.filter(|state| before.state != Some(*state))?;
    let said = status
        .conditions
        .iter()
        .find(|condition| matches!(condition.type_.as_str(), "Blocked" | "Succeeded"));
    let waits = status.next.as_ref().map_or("the run is at work", |next| next.what.as_str());
    Some((state, said.map_or(waits, |condition| condition.message.as_str()).to_owned()))
}
