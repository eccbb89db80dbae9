//! Whether a run may go on: asked before it begins, and again right before each act. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::freeze::Stops;
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Start};
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::{ChangePolicy, Freeze, Incident, Runbook, RunbookRun};
use crate::change::approval::binding;
use crate::change::freeze::in_force;
use crate::cluster::conditions::NotReady;
use crate::command::{Command, Verb};
use crate::runbook::concurrency::{self, Bounds};
use crate::runbook::limits::Obstacle;
use crate::runbook::locks::{self, Claim};
use crate::runbook::siblings::{self, Share};
use crate::runbook::steps::kind::StepKind;
use crate::runbook::{automation_limits, cluster_identity, drill, ladder, limits, steps};

/// How long a run that a person started waits for an obstacle to end.
const MAX_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// How long a run without an incident waits for approval. (A run with one is cancelled when the incident ends.)
const MAX_WAIT_FOR_APPROVAL: SignedDuration = SignedDuration::from_hours(24);

/// Whether a run may go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Permit {
    /// Go on.
    Go,
    /// Not now.
    Wait(Obstacle),
    /// Only after an approval of the run, which must come by that instant if one is set.
    Ask(Next, Option<Timestamp>),
    /// Never: the run ends in that state, for that reason.
    Stop(RunState, String),
}

/// Whether an approval is complete.
#[derive(Clone, Debug, PartialEq)]
pub enum Approved {
    /// It is.
    Yes,
    /// It is not; who is missing, in words.
    Missing(String),
    /// It never will be: this user rejected it.
    Rejected(String),
}

/// What a permit is decided from.
#[derive(Clone, Copy, Debug)]
pub struct PermitFacts<'a> {
    /// The run.
    pub run: &'a RunbookRun,
    /// Its newest status.
    pub status: &'a RunbookRunStatus,
    /// The Runbook as it was when the run began.
    pub spec: &'a RunbookSpec,
    /// The Runbook as it is now, if it still exists.
    pub runbook: Option<&'a Runbook>,
    /// Whether the approvals of the Runbook count for the snapshot.
    pub runbook_approved: &'a Approved,
    /// Whether the run's own approval is complete; it may not need one.
    pub run_approved: &'a Approved,
    /// Whether the run may act as its ServiceAccount now; or why not.
    pub account: &'a Result<(), NotReady>,
    /// The incident as it is now, if it still exists.
    pub incident: Option<&'a Incident>,
    /// The incidents of the namespace. One that binds its changes binds the run, too, even if the run names another.
    pub incidents: &'a [Arc<Incident>],
    /// All policies.
    pub policies: &'a [Arc<ChangePolicy>],
    /// All freezes.
    pub freezes: &'a [Arc<Freeze>],
    /// How many of the others are healthy, if a policy asks and the run has not begun.
    pub siblings: &'a [Result<Share, String>],
    /// The most runs that may work at once in the cluster.
    pub cluster_concurrency: Option<usize>,
    /// The other runs that are not settled, in any namespace.
    pub runs: &'a [Arc<RunbookRun>],
    /// Whether the guard admitted the run, so that it is known who started it.
    pub is_stamped: bool,
}

/// Decides. An unknown fact counts as no.
pub fn decide(facts: &PermitFacts<'_>, now: Timestamp) -> Permit {
    let run = facts.run;
    let namespace = run.namespace().unwrap_or_default();
    if let Some(message) = incident_ended(run, facts.status, facts.incident) {
        return Permit::Stop(RunState::Cancelled, message);
    }
    if !facts.is_stamped {
        let message = "it was created past Mayday's webhook, so nobody knows who started it: start it again";
        return Permit::Stop(RunState::Cancelled, message.to_owned());
    }
    // A rejection is final, even if no approval is needed.
    if let Approved::Rejected(by) = facts.run_approved {
        return Permit::Stop(RunState::Cancelled, format!("{by} rejected the run"));
    }
    let begun = facts.status.start_time.is_some();
    // A run that has not begun waits. One that has begun stops: half a repair must not linger.
    let hold = |reason: Reason, message: String| {
        if begun {
            Permit::Stop(RunState::Failed, format!("stopped before its next act: {message}"))
        } else {
            wait(run, Obstacle { reason, message, until: None }, now)
        }
    };
    let name = &run.spec.runbook_ref.name;
    match facts.runbook {
        None if !begun => return Permit::Stop(RunState::Cancelled, format!("rb/{name} no longer exists")),
        Some(runbook) if !begun && !run.spec.dry_run && runbook.spec.suspend => {
            return hold(Reason::Suspended, format!("rb/{name} is suspended"));
        }
        _ => {}
    }
    match facts.runbook_approved {
        Approved::Yes => {}
        Approved::Missing(who) => {
            return hold(Reason::NotApproved, format!("rb/{name} is not approved: {who}"));
        }
        Approved::Rejected(by) => return hold(Reason::Rejected, format!("rb/{name} was rejected by {by}")),
    }
    if !begun
        && run.is_repair()
        && let Some(lapsed) = facts.runbook.and_then(|runbook| drill::lapse(runbook, facts.policies, now))
    {
        let message =
            format!("the approval of rb/{name} does not count until a drill succeeds: {}", lapsed.message);
        return hold(lapsed.reason, message);
    }
    if let Err(why) = facts.account {
        let again = look_again(facts.status, now);
        return looking_again(hold(Reason::AccountNotUsable, why.message().to_owned()), again);
    }
    if let Some(message) = cluster_identity::refuses(facts.policies, &namespace, facts.spec) {
        return hold(Reason::NotAllowed, message);
    }
    // A dry run changes nothing, so it needs no approval of its own. What it reads is part of the approved Runbook.
    if run.spec.dry_run {
        return Permit::Go;
    }
    let automation = automation_limits::in_namespace(facts.policies, &namespace);
    // A drill acts on copies. Only the kill switch stops it.
    if run.spec.drill {
        return match automation.refuses(Start::Manual, &namespace) {
            Some(message) => hold(Reason::NotAllowed, message),
            None => Permit::Go,
        };
    }
    let start = if started_by_person(run) { Start::Manual } else { Start::Automatic };
    if let Some(message) = automation.refuses(start, &namespace) {
        return hold(Reason::NotAllowed, message);
    }
    // A freeze ends by itself, so a run that it holds goes on then, even if it has begun.
    if start == Start::Automatic
        && let Some(freeze) =
            in_force::in_namespace(facts.freezes, facts.policies, &namespace, Stops::Automation, now)
    {
        let message = format!("{}; to lift it: {}", freeze.text(), freeze.unfreeze());
        return Permit::Wait(Obstacle { reason: Reason::Frozen, message, until: freeze.until });
    }
    if let Approved::Missing(who) = facts.run_approved
        && automation.asks_per_run(facts.spec.approval, is_led(facts, &namespace))
    {
        return asks(facts, &namespace, who, now);
    }
    let uid = run.uid();
    let broken = || limits::broken(facts.runbook?, facts.incidents, uid.as_deref(), now);
    if let Some(obstacle) = broken().filter(|_| !begun && start == Start::Automatic) {
        return wait(run, obstacle, now);
    }
    let few = siblings::too_few(facts.siblings, automation.min_healthy.as_ref(), now);
    if let Some(obstacle) = few.filter(|_| !begun && start == Start::Automatic) {
        return wait(run, obstacle, now);
    }
    let reached = || facts.runbook.and_then(|runbook| limits::reached(runbook, uid.as_deref(), now));
    if let Some(obstacle) = reached().filter(|_| !begun) {
        return wait(run, obstacle, now);
    }
    let bounds = Bounds { namespace: automation.concurrency, cluster: facts.cluster_concurrency };
    among(run, facts.status, &bounds, facts.runs, now)
}

/// Whether the other runs let a run go on that has sent no act yet.
pub fn among(
    run: &RunbookRun,
    status: &RunbookRunStatus,
    bounds: &Bounds,
    runs: &[Arc<RunbookRun>],
    now: Timestamp,
) -> Permit {
    if locks::is_sure(status) {
        return Permit::Go;
    }
    let namespace = run.namespace().unwrap_or_default();
    let claim = Claim::of(run, &namespace, status);
    let created = run.creation_timestamp().map(|time| time.0);
    let obstacle = ladder::ahead(run, status, runs).or_else(|| locks::busy(&claim, runs));
    let obstacle = obstacle.or_else(|| concurrency::reached(&claim, created, bounds, runs));
    obstacle.map_or(Permit::Go, |obstacle| wait(run, obstacle, now))
}

/// When a run looks again for something that no watch tells, such as rights: after as long as it has waited, at least five
/// seconds and at most a minute.
pub fn look_again(status: &RunbookRunStatus, now: Timestamp) -> Option<Timestamp> {
    let since = find(&status.conditions, ConditionType::Blocked);
    let waited = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since.last_transition_time.0));
    let wait = waited.clamp(SignedDuration::from_secs(5), SignedDuration::from_mins(1));
    now.checked_add(wait).ok()
}

/// A run that has not begun waits for an obstacle to end, or is cancelled if a person expects it no longer.
pub fn wait(run: &RunbookRun, obstacle: Obstacle, now: Timestamp) -> Permit {
    match waits(run, obstacle, now) {
        Ok(obstacle) => Permit::Wait(obstacle),
        Err(why) => Permit::Stop(RunState::Cancelled, why),
    }
}

/// A wait that ends by that instant at the latest.
pub fn looking_again(permit: Permit, again: Option<Timestamp>) -> Permit {
    match permit {
        Permit::Wait(obstacle) => {
            Permit::Wait(Obstacle { until: obstacle.until.into_iter().chain(again).min(), ..obstacle })
        }
        other => other,
    }
}

/// How a run that has not begun waits. If `until` is not known, a change of the obstacle wakes the run.
///
/// # Errors
/// Why it does not wait any longer.
pub fn waits(run: &RunbookRun, obstacle: Obstacle, now: Timestamp) -> Result<Obstacle, String> {
    match run.creation_timestamp().filter(|_| started_by_person(run)) {
        Some(created) => held(obstacle, created.0, now),
        None => Ok(obstacle),
    }
}

/// A run that a person started begins within 15 minutes or never: later it is no longer expected.
fn held(obstacle: Obstacle, created: Timestamp, now: Timestamp) -> Result<Obstacle, String> {
    let end = created.checked_add(MAX_WAIT).unwrap_or(Timestamp::MAX);
    if end <= now || obstacle.until.is_some_and(|until| until > end) {
        let minutes = MAX_WAIT.as_mins();
        return Err(format!(
            "{}; it cannot begin within {minutes} minutes: start it again if it is needed then",
            obstacle.message
        ));
    }
    Ok(Obstacle { until: Some(obstacle.until.unwrap_or(end)), ..obstacle })
}

/// Whether a lead has claimed the incident of the run, or one that binds changes in its namespace: a run cannot avoid the
/// lead by naming no incident, or another.
fn is_led(facts: &PermitFacts<'_>, namespace: &str) -> bool {
    let covering = facts.policies.iter().filter(|policy| automation_limits::covers(policy, namespace));
    let specs: Vec<_> = covering.map(|policy| &policy.spec).collect();
    let bindings = binding::bindings(facts.incidents, &specs, namespace);
    facts.incident.and_then(Incident::lead).is_some() || bindings.iter().any(|binding| binding.lead.is_some())
}

/// Whether a person started the run. A run that a ServiceAccount started, such as Mayday's own, is automatic.
pub fn started_by_person(run: &RunbookRun) -> bool {
    run.spec.started_by.as_ref().is_some_and(|starter| is_person(&starter.user))
}

/// Whether a user is a person and no part of the cluster. A person may be called `system:admin`.
pub fn is_person(user: &str) -> bool {
    const PARTS: [&str; 5] =
        ["system:serviceaccount:", "system:node:", "system:kube-", "system:apiserver", "system:anonymous"];
    !user.is_empty() && !PARTS.iter().any(|part| user.starts_with(part))
}

/// Why a run is no longer needed: its incident is over or does not exist. `None` if it is needed.
pub fn incident_ended(
    run: &RunbookRun,
    status: &RunbookRunStatus,
    incident: Option<&Incident>,
) -> Option<String> {
    let name = &run.spec.incident_ref.as_ref()?.name;
    let known = status.incident_ref.as_ref();
    let Some(incident) =
        incident.filter(|incident| known.is_none_or(|known| incident.uid().as_deref() == Some(&known.uid)))
    else {
        return Some(format!("inc/{name} no longer exists"));
    };
    let state = incident.status.as_ref().and_then(|status| status.state);
    state.filter(|state| !state.is_open()).map(|state| format!("inc/{name} is over ({state})"))
}

/// Waits for an approval of the run: while its incident lasts, or for 24 hours.
fn asks(facts: &PermitFacts<'_>, namespace: &str, who: &str, now: Timestamp) -> Permit {
    let run = facts.run;
    let next = ask(run, namespace, facts.spec, who);
    if run.spec.incident_ref.is_some() {
        return Permit::Ask(next, None);
    }
    let asking = facts.status.state == Some(RunState::WaitingForApproval);
    let since = find(&facts.status.conditions, ConditionType::Blocked).filter(|_| asking);
    let since = since.map_or(now, |blocked| blocked.last_transition_time.0);
    let end = since.checked_add(MAX_WAIT_FOR_APPROVAL).unwrap_or(Timestamp::MAX);
    if now < end {
        return Permit::Ask(next, Some(end));
    }
    let begun = facts.status.start_time.is_some();
    let state = if begun { RunState::Failed } else { RunState::Cancelled };
    Permit::Stop(
        state,
        format!("nobody approved the run within {} hours: {who}", MAX_WAIT_FOR_APPROVAL.as_hours()),
    )
}

fn ask(run: &RunbookRun, namespace: &str, spec: &RunbookSpec, who: &str) -> Next {
    let steps: Vec<String> = spec.steps.iter().filter_map(steps::of).map(StepKind::summary).collect();
    Next {
        who: crate::text::cut(who, 253),
        what: crate::text::cut(
            &format!("approve run/{}, which will: {}", run.name_any(), steps.join("; ")),
            500,
        ),
        command: Some(Command::new(Verb::Approve).namespace(namespace).on("run", &run.name_any()).into()),
    }
}

#[cfg(test)]
#[path = "permit_tests.rs"]
mod tests;
