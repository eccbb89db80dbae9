//! Whether a run may go on: asked before it begins, and again right before each act. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Start};
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::{ChangePolicy, Incident, Runbook, RunbookRun};
use crate::change::approval::binding;
use crate::cluster::conditions::NotReady;
use crate::command::{Command, Verb};
use crate::runbook::limits::Obstacle;
use crate::runbook::steps::changed_targets;
use crate::runbook::steps::kind::StepKind;
use crate::runbook::{automation_limits, limits, steps};

/// So long a run that a person started waits for what stands in its way.
const HELD: SignedDuration = SignedDuration::from_mins(15);
/// So long a run waits for its approval that belongs to no incident, whose end would end it.
const ASKS: SignedDuration = SignedDuration::from_hours(24);

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Permit {
    /// Go on.
    Go,
    /// Something stands in the way for now.
    Wait(Obstacle),
    /// Somebody must approve the run first, by that instant if one is set.
    Ask(Next, Option<Timestamp>),
    /// Never again: the state in which the run ends, and why.
    Stop(RunState, String),
}

/// Whether an approval is complete.
#[derive(Clone, Debug, PartialEq)]
pub enum Approved {
    /// It is.
    Yes,
    /// Somebody is missing; who, in words.
    Missing(String),
    /// Somebody said no, for good.
    Rejected(String),
}

/// What is known when a run asks.
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
    /// Whether the run's own approval is complete, should it need one.
    pub run_approved: &'a Approved,
    /// Whether the ServiceAccount may be acted as now; or why not.
    pub account: &'a Result<(), NotReady>,
    /// The incident as it is now, if it still exists.
    pub incident: Option<&'a Incident>,
    /// The incidents of the namespace: one that binds its changes binds the run, whichever the run names.
    pub incidents: &'a [Arc<Incident>],
    /// All policies.
    pub policies: &'a [Arc<ChangePolicy>],
    /// The runs of the namespace.
    pub runs: &'a [Arc<RunbookRun>],
}

/// Decides. What is not known counts as no.
pub fn decide(facts: &PermitFacts<'_>, now: Timestamp) -> Permit {
    let run = facts.run;
    let namespace = run.namespace().unwrap_or_default();
    if let Some(message) = incident_ended(run, facts.status, facts.incident) {
        return Permit::Stop(RunState::Cancelled, message);
    }
    // A no is final, also where nobody needs to say yes.
    if let Approved::Rejected(by) = facts.run_approved {
        return Permit::Stop(RunState::Cancelled, format!("{by} rejected the run"));
    }
    let begun = facts.status.start_time.is_some();
    // Before it begins it waits; later it stops, since half a repair must not linger.
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
    if let Err(why) = facts.account {
        return hold(Reason::AccountNotUsable, why.message().to_owned());
    }
    // It changes nothing, so nobody need agree to the run; what it reads as the account is in the approved Runbook.
    if run.spec.dry_run {
        return Permit::Go;
    }
    let automation = automation_limits::in_namespace(facts.policies, &namespace);
    let start = if started_by_person(run) { Start::Manual } else { Start::Automatic };
    if let Some(message) = automation.refuses(start, &namespace) {
        return hold(Reason::NotAllowed, message);
    }
    if let Approved::Missing(who) = facts.run_approved
        && automation.asks_per_run(facts.spec.approval, is_led(facts, &namespace))
    {
        return asks(facts, &namespace, who, now);
    }
    if !begun {
        let uid = run.uid();
        let in_the_way = facts
            .runbook
            .and_then(|runbook| limits::reached(runbook, uid.as_deref(), now))
            .or_else(|| limits::busy(&changed_targets(&facts.spec.steps), facts.runs, uid.as_deref()));
        if let Some(obstacle) = in_the_way {
            return wait(run, obstacle, now);
        }
    }
    Permit::Go
}

fn wait(run: &RunbookRun, obstacle: Obstacle, now: Timestamp) -> Permit {
    match waits(run, obstacle, now) {
        Ok(obstacle) => Permit::Wait(obstacle),
        Err(why) => Permit::Stop(RunState::Cancelled, why),
    }
}

/// How a run waits that has not begun. Where no instant is known, a change of what stands in its way wakes it.
///
/// # Errors
/// Why it waits no longer.
pub fn waits(run: &RunbookRun, obstacle: Obstacle, now: Timestamp) -> Result<Obstacle, String> {
    match run.creation_timestamp().filter(|_| started_by_person(run)) {
        Some(created) => held(obstacle, created.0, now),
        None => Ok(obstacle),
    }
}

/// What a person started begins soon or not at all: when nobody looks any more, it would be a surprise.
fn held(obstacle: Obstacle, created: Timestamp, now: Timestamp) -> Result<Obstacle, String> {
    let end = created.checked_add(HELD).unwrap_or(Timestamp::MAX);
    if end <= now || obstacle.until.is_some_and(|until| until > end) {
        let minutes = HELD.as_mins();
        return Err(format!(
            "{}; it cannot begin within {minutes} minutes: start it again if it is needed then",
            obstacle.message
        ));
    }
    Ok(Obstacle { until: Some(obstacle.until.unwrap_or(end)), ..obstacle })
}

/// Whether a lead has claimed the incident of the run, or one that binds changes in its namespace: a run that names
/// no incident, or another, does not get round the lead.
fn is_led(facts: &PermitFacts<'_>, namespace: &str) -> bool {
    let covering = facts.policies.iter().filter(|policy| automation_limits::covers(policy, namespace));
    let specs: Vec<_> = covering.map(|policy| &policy.spec).collect();
    let bindings = binding::bindings(facts.incidents, &specs, namespace);
    facts.incident.and_then(Incident::lead).is_some() || bindings.iter().any(|binding| binding.lead.is_some())
}

/// What a ServiceAccount starts, Mayday's own above all, starts by itself.
fn started_by_person(run: &RunbookRun) -> bool {
    run.spec.started_by.as_ref().is_some_and(|starter| is_person(&starter.user))
}

/// Whether a user is a person, who may be called `system:admin`, and no part of the cluster.
pub fn is_person(user: &str) -> bool {
    const PARTS: [&str; 5] =
        ["system:serviceaccount:", "system:node:", "system:kube-", "system:apiserver", "system:anonymous"];
    !user.is_empty() && !PARTS.iter().any(|part| user.starts_with(part))
}

/// Why a run is no longer needed: the incident it is for is over, or not there.
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

/// Waits for an approval of the run: while its incident lasts, or for a day.
fn asks(facts: &PermitFacts<'_>, namespace: &str, who: &str, now: Timestamp) -> Permit {
    let run = facts.run;
    let next = ask(run, namespace, facts.spec, who);
    if run.spec.incident_ref.is_some() {
        return Permit::Ask(next, None);
    }
    let asking = facts.status.state == Some(RunState::WaitingForApproval);
    let since = find(&facts.status.conditions, ConditionType::Blocked).filter(|_| asking);
    let since = since.map_or(now, |blocked| blocked.last_transition_time.0);
    let end = since.checked_add(ASKS).unwrap_or(Timestamp::MAX);
    if now < end {
        return Permit::Ask(next, Some(end));
    }
    let begun = facts.status.start_time.is_some();
    let state = if begun { RunState::Failed } else { RunState::Cancelled };
    Permit::Stop(state, format!("nobody approved the run within {} hours: {who}", ASKS.as_hours()))
}

fn ask(run: &RunbookRun, namespace: &str, spec: &RunbookSpec, who: &str) -> Next {
    let steps: Vec<String> = spec.steps.iter().filter_map(steps::kind).map(StepKind::summary).collect();
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
