//! Asks for the permit of a run: counts the approvals of its Runbook and of the run itself, then decides. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::permit::{self, Permit, PermitFacts};
use crate::api::approval::CountedDecision;
use crate::api::common::UidRef;
use crate::api::conditions::Reason;
use crate::api::runbook::{RunbookSpec, RunbookStatus};
use crate::api::runbook_run::{RunbookRunStatus, Snapshot};
use crate::api::{Approval, ChangePolicy, Freeze, Incident, Runbook, RunbookRun};
use crate::change::approval::quorum::Names;
use crate::cluster::conditions::NotReady;
use crate::runbook::approval::{self, ApprovalFacts};
use crate::runbook::limits::Obstacle;
use crate::runbook::siblings::Share;
use crate::runbook::{account_use, limits};

/// What is stored now, as it was just read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The Runbook of the snapshot, if it still exists.
    pub runbook: Option<Runbook>,
    /// Whether the run may act as its ServiceAccount; or why not.
    pub account: Result<(), NotReady>,
    /// The decisions about the Runbook and about the run.
    pub approvals: Vec<Arc<Approval>>,
    /// All policies.
    pub policies: Vec<Arc<ChangePolicy>>,
    /// All freezes.
    pub freezes: Vec<Arc<Freeze>>,
    /// The incidents of the namespace.
    pub incidents: Vec<Arc<Incident>>,
    /// How many of the others are healthy, if a policy asks and the run has not begun.
    pub siblings: Vec<Result<Share, String>>,
    /// The most runs that may work at once in the cluster.
    pub cluster_concurrency: Option<usize>,
    /// The other runs that are not settled, in any namespace; empty once the run has acted.
    pub runs: Vec<Arc<RunbookRun>>,
    /// People by name, for texts about missing approvals.
    pub names: Names,
    /// Whether the guard admitted the run, so that it is known who started it.
    pub is_stamped: bool,
}

/// The permit, and what it is based on.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Whether the run may go on.
    pub permit: Permit,
    /// Whether the run begins with this permit.
    pub begins: bool,
    /// The approvals of the Runbook that the run relies on.
    pub relied_on: Vec<CountedDecision>,
    /// The decisions about the run itself.
    pub decisions: Vec<CountedDecision>,
}

impl Stored {
    /// The incident that a run names, if it exists.
    fn incident(&self, run: &RunbookRun) -> Option<&Incident> {
        let named = run.spec.incident_ref.as_ref()?;
        self.incidents.iter().find(|known| known.name_any() == named.name).map(|known| &**known)
    }

    /// Leaves out what these users have approved of Runbooks.
    pub fn forget_approvals_of(&mut self, users: &[String]) {
        let is_of = |approval: &Approval| {
            let by = approval.spec.by.as_ref().map(|by| by.user.as_str());
            by.is_some_and(|by| users.iter().any(|user| user == by))
        };
        self.approvals.retain(|approval| !(account_use::is_asked_of_approver(approval) && is_of(approval)));
    }
}

impl Asked {
    /// The same, but the run does not begin yet.
    pub fn withheld(
        self,
        run: &RunbookRun,
        reason: Reason,
        message: String,
        (again, now): (Option<Timestamp>, Timestamp),
    ) -> Asked {
        let permit = permit::wait(run, Obstacle { reason, message, until: None }, now);
        Asked { permit: permit::looking_again(permit, again), begins: false, ..self }
    }

    /// The same, with a reason why approvals are missing. Since no watch tells when that changes, the run looks again.
    pub fn noting(mut self, why: &str, again: Option<Timestamp>) -> Asked {
        let message = match &mut self.permit {
            Permit::Wait(obstacle) if obstacle.reason == Reason::NotApproved => Some(&mut obstacle.message),
            Permit::Stop(_, message) => Some(message),
            _ => None,
        };
        if let Some(message) = message {
            *message = format!("{message}; {why}");
        }
        Asked { permit: permit::looking_again(self.permit, again), ..self }
    }
}

/// Decides whether a run may go on with the Runbook of its snapshot.
pub fn permit(
    run: &RunbookRun,
    status: &RunbookRunStatus,
    (snapshot, spec): (&Snapshot, &RunbookSpec),
    stored: &Stored,
    now: Timestamp,
) -> Asked {
    let begins = status.start_time.is_none();
    let (namespace, name, uid) =
        (run.namespace().unwrap_or_default(), run.name_any(), run.uid().unwrap_or_default());
    let known = stored.runbook.as_ref();
    let of_runbook = ApprovalFacts {
        namespace: &namespace,
        name: &run.spec.runbook_ref.name,
        uid: &snapshot.uid,
        digest: &snapshot.digest,
        rejected_by: known.and_then(|runbook| runbook.status.as_ref()?.rejected_by(&snapshot.digest)),
        approvals: &stored.approvals,
        policies: &stored.policies,
        names: &stored.names,
    };
    let (runbook_approved, relied_on) = if begins {
        let count = approval::of_runbook(&of_runbook, known.and_then(Runbook::authors).as_deref(), now);
        (count.approved, count.decisions)
    } else {
        let relied_on = snapshot.approvals.clone();
        (approval::still_counts(&of_runbook, &relied_on, now), relied_on)
    };
    let of_run = ApprovalFacts {
        name: &name,
        uid: &uid,
        digest: status.digest.as_deref().unwrap_or_default(),
        ..of_runbook
    };
    let started_by = run.spec.started_by.as_ref().map(|starter| starter.user.as_str());
    let own = approval::of_run(&of_run, started_by, (&stored.incidents, &stored.freezes), now);
    let facts = PermitFacts {
        run,
        status,
        spec,
        runbook: known,
        runbook_approved: &runbook_approved,
        run_approved: &own.approved,
        account: &stored.account,
        incident: stored.incident(run),
        incidents: &stored.incidents,
        policies: &stored.policies,
        freezes: &stored.freezes,
        siblings: &stored.siblings,
        cluster_concurrency: stored.cluster_concurrency,
        runs: &stored.runs,
        is_stamped: stored.is_stamped,
    };
    let permit = permit::decide(&facts, now);
    Asked { begins: begins && permit == Permit::Go, permit, relied_on, decisions: own.decisions }
}

/// The Runbook of a run that begins, with the status that remembers the run. `None` if the run does not begin, is a dry
/// run or a drill, or is remembered already.
pub fn remembered<'a>(
    run: &RunbookRun,
    stored: &'a Stored,
    asked: &Asked,
    now: Timestamp,
) -> Option<(&'a Runbook, RunbookStatus)> {
    let runbook = stored.runbook.as_ref().filter(|_| asked.begins && run.is_repair())?;
    let incident = stored
        .incident(run)
        .map(|known| UidRef { name: known.name_any(), uid: known.uid().unwrap_or_default() });
    Some((runbook, limits::with_run(runbook, run, incident, now)?))
}
