//! Reconciles one run: reads what [`super::state_machine`] asks for and carries out its moves.
//!
//! Every store of the journal is a compare-and-swap, so a pass may begin with the cached run: what it decides over an old
//! one is refused. Only a run with an announced act is read live first. A change of the journal is stored at the latest
//! before the next act, a wait or the end. If a process is lost before that, the next one proves from the objects what was
//! done.

mod moves;
mod permission;
mod save;
mod stage;

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::client::RunClient;
use super::news::News;
use super::others::{self, Begun};
use super::state_machine::Pass;
use super::{page, parts};
use crate::api::RunbookRun;
use crate::api::common::ObjectRef;
use crate::api::conditions::Reason;
use crate::api::notification::SubjectKind;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{RUN_FINALIZER, RunbookRunStatus};
use crate::cluster::caches::{Change, Kind};
use crate::cluster::client::Identity;
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::runbook::{clear, steps};

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
        let runs = context.caches.runs.state();
        // The copies of a drill are elsewhere.
        let is_here = |run: &RunbookRun| {
            let copies = run.status.as_ref().and_then(|status| status.drill.as_ref());
            run.namespace() == change.namespace
                || copies.is_some_and(|copies| Some(&copies.namespace) == change.namespace.as_ref())
        };
        runs.iter()
            .filter(|run| change.namespace.is_none() || is_here(run))
            .filter(|run| !run.is_settled() && relevant(run, &change.name))
            .map(|run| Reference::from_obj(&**run))
            .collect()
    }

    /// Nothing is lost by a failure: the next pass reads the journal and continues from there.
    async fn reconcile(&self, cached: Arc<RunbookRun>, context: &SharedContext) -> Result<Requeue, Error> {
        let held = cached.finalizers().iter().any(|name| name == RUN_FINALIZER);
        let notifications = store::about(context, &Subject::from(&*cached));
        let is_due = page::is_due(&cached, &notifications, Timestamp::now());
        if cached.is_settled() && !held && !is_due && !page::asks(&cached, &notifications) {
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
    /// What is told once it is stored.
    news: Vec<News>,
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
}
