//! Drills: when a Runbook is rehearsed, what its last drill says, and what follows for its approval
//! (docs/rules.md#drills). Pure.
//!
//! A drill is a run that Mayday creates by itself. Its name follows from the drill before it, so that two processes
//! create one run.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{automation_limits, matching};
use crate::api::change_policy::AutomationStart;
use crate::api::common::{NameRef, stored_time};
use crate::api::conditions::{ConditionType, Reason, find, is_true};
use crate::api::drill::{Drill, DrillMode, LastDrill};
use crate::api::runbook::RunbookStatus;
use crate::api::runbook_run::{RunState, RunbookRunSpec, StepState};
use crate::api::{ChangePolicy, Runbook, RunbookRun};
use crate::cluster::conditions::State;
use crate::command::{Command, Flag, Verb};
use crate::text::{cut, instant};

/// Shortest time between two drills.
pub const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
/// When a drill that failed or was cancelled is tried again, unless the next one is due earlier.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Bounds of the time by which a drill may be late before it is overdue: a tenth of the interval between them.
const GRACE: [SignedDuration; 2] = [SignedDuration::from_secs(10), SignedDuration::from_hours(1)];
/// Maximum length of what a drill found, as in the schema.
const MAX_MESSAGE: usize = 1000;

/// What the drills of a Runbook say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether its last drill succeeded, and is not too old.
    pub state: State,
    /// Reason for a condition.
    pub reason: Reason,
    /// The same as a sentence, with the next command.
    pub message: String,
    /// When it turns into another verdict by itself.
    pub until: Option<Timestamp>,
}

/// The last drill of a Runbook that has ended: the one that its status remembers, or a later one of `runs`.
pub fn last(runbook: &Runbook, runs: &[Arc<RunbookRun>]) -> Option<LastDrill> {
    let known = runbook.status.as_ref().and_then(|status| status.last_drill.clone());
    let ended = of(runbook, runs).filter_map(|run| {
        let status = run.status.as_ref()?;
        let time = status.end_time.clone()?;
        let state = status.state.filter(|state| *state != RunState::Cancelled)?;
        let (succeeded, message) = found(run, state);
        let digest = status.snapshot.as_ref().map(|snapshot| snapshot.digest.clone());
        let current = || runbook.status.as_ref().and_then(|status| status.digest.clone());
        Some(LastDrill {
            run: run.name_any(),
            time,
            succeeded,
            message: cut(&message, MAX_MESSAGE),
            // One that could not even be prepared is about the content of now.
            digest: digest.or_else(current).unwrap_or_default(),
        })
    });
    known.into_iter().chain(ended).max_by_key(|drill| drill.time.0)
}

/// When a run of the Runbook last did all that it should, be it a repair or a drill.
pub fn last_good(runbook: &Runbook, runs: &[Arc<RunbookRun>], last: Option<&LastDrill>) -> Option<Timestamp> {
    let uid = runbook.uid();
    let known = runbook.status.as_ref().and_then(|status| status.last_good_run_time.as_ref());
    let good = runs.iter().filter_map(|run| {
        let status = run.status.as_ref().filter(|_| run.is_repair())?;
        let is_mine = status.snapshot.as_ref().is_some_and(|snapshot| Some(&snapshot.uid) == uid.as_ref());
        let ended = status.end_time.as_ref()?.0;
        (is_mine && status.state == Some(RunState::Succeeded)).then_some(ended)
    });
    let drill = last.filter(|drill| drill.succeeded).map(|drill| drill.time.0);
    known.map(|time| time.0).into_iter().chain(good).chain(drill).max()
}

/// What the drills say, from the status of the Runbook; `None` if it is not rehearsed and need not be.
pub fn verdict(runbook: &Runbook, policies: &[Arc<ChangePolicy>], now: Timestamp) -> Option<Verdict> {
    let namespace = runbook.namespace().unwrap_or_default();
    let name = runbook.name_any();
    let no = |reason: Reason, message: String| Verdict { state: State::False, reason, message, until: None };
    let Some(drill) = &runbook.spec.drill else {
        let asking = asking(policies, &namespace);
        return (!asking.is_empty()).then(|| {
            let asking = asking.join(", ");
            let message = format!(
                "{asking} asks for drills (automation.requireDrill), and it has none: set spec.drill, such as {{every: 720h}}"
            );
            no(Reason::DrillMissing, message)
        });
    };
    let none = RunbookStatus::default();
    let status = runbook.status.as_ref().unwrap_or(&none);
    let start = Command::new(Verb::Run).namespace(&namespace).word(&name).switch(Flag::Drill);
    let late = |from: Timestamp, length: SignedDuration| {
        from.checked_add(length).ok().and_then(|due| due.checked_add(grace(drill)).ok())
    };
    let Some(last) = status.last_drill.as_ref().filter(|last| Some(&last.digest) == status.digest.as_ref())
    else {
        let approved = status.decisions.iter().map(|decision| decision.time.0).max();
        let overdue = approved.and_then(|approved| late(approved, SignedDuration::ZERO));
        return Some(match overdue {
            Some(overdue) if overdue <= now => {
                no(Reason::DrillOverdue, format!("no drill of this content has ended: {start}"))
            }
            _ => Verdict {
                state: State::Unknown,
                reason: Reason::DrillDue,
                message: format!(
                    "no drill of this content has ended; one begins by itself once it is approved, and: {start}"
                ),
                until: overdue,
            },
        });
    };
    let (run, ended) = (&last.run, instant(last.time.0));
    if !last.succeeded {
        return Some(no(
            Reason::DrillFailed,
            format!(
                "run/{run} failed at {ended}: {}; mend that, then: {start}",
                last.message.trim_end_matches('.')
            ),
        ));
    }
    let overdue = late(last.time.0, drill.every.get());
    Some(match overdue {
        Some(overdue) if now < overdue => Verdict {
            state: State::True,
            reason: Reason::DrillSucceeded,
            message: format!("run/{run} succeeded at {ended}"),
            until: Some(overdue),
        },
        _ => no(
            Reason::DrillOverdue,
            format!(
                "the last drill, run/{run}, ended at {ended}, and one is wanted every {}: {start}",
                drill.every
            ),
        ),
    })
}

/// Why the approval of the Runbook does not count now; `None` if its drills are in order, or not required.
pub fn lapse(runbook: &Runbook, policies: &[Arc<ChangePolicy>], now: Timestamp) -> Option<Verdict> {
    let namespace = runbook.namespace().unwrap_or_default();
    let required = runbook.spec.drill.as_ref().is_some_and(|drill| drill.required);
    verdict(runbook, policies, now)
        .filter(|verdict| verdict.state != State::True)
        .filter(|_| required || !asking(policies, &namespace).is_empty())
}

/// Whether a Runbook may be rehearsed: it is accepted, and people have approved it, without regard to its drills.
pub fn may_begin(status: &RunbookStatus) -> bool {
    const LAPSED: [Reason; 4] =
        [Reason::DrillFailed, Reason::DrillOverdue, Reason::DrillDue, Reason::DrillMissing];
    let approved = find(&status.conditions, ConditionType::Approved).is_some_and(|approved| {
        approved.status == "True" || LAPSED.iter().any(|reason| reason.as_str() == approved.reason)
    });
    approved && is_true(&status.conditions, ConditionType::Ready)
}

/// The drill that is due, and when to look again. Only an accepted, approved Runbook is rehearsed; `approved` says so, without
/// regard to its drills.
pub fn next(
    runbook: &Runbook,
    approved: bool,
    runs: &[Arc<RunbookRun>],
    policies: &[Arc<ChangePolicy>],
    now: Timestamp,
) -> (Option<RunbookRun>, Option<Timestamp>) {
    let Some(drill) = runbook.spec.drill.as_ref().filter(|_| approved && !runbook.spec.suspend) else {
        return (None, None);
    };
    let namespace = runbook.namespace().unwrap_or_default();
    let is_off = automation_limits::in_namespace(policies, &namespace).start == AutomationStart::Disabled;
    let is_at_work = of(runbook, runs).any(|run| !run.is_settled());
    if is_off || is_at_work {
        return (None, None);
    }
    let none = RunbookStatus::default();
    let status = runbook.status.as_ref().unwrap_or(&none);
    let again = drill.every.get().min(AGAIN);
    let last = status.last_drill.as_ref();
    let cancelled = of(runbook, runs)
        .filter(|run| run.status.as_ref().is_some_and(|status| status.state == Some(RunState::Cancelled)))
        .filter_map(|run| Some((run.status.as_ref()?.end_time.as_ref()?.0, run.name_any())))
        .filter(|(ended, _)| last.is_none_or(|last| last.time.0 < *ended))
        .max();
    let due = match (&cancelled, last) {
        (Some((ended, _)), _) => ended.checked_add(again).ok(),
        (None, Some(last)) if Some(&last.digest) == status.digest.as_ref() => {
            last.time.0.checked_add(if last.succeeded { drill.every.get() } else { again }).ok()
        }
        _ => Some(now),
    };
    let before = cancelled.map(|(_, name)| name).or_else(|| last.map(|last| last.run.clone()));
    match due {
        Some(due) if due <= now => (Some(begin(runbook, before.as_deref().unwrap_or_default())), None),
        due => (None, due),
    }
}

/// The drills of a Runbook.
fn of<'a>(
    runbook: &Runbook,
    runs: &'a [Arc<RunbookRun>],
) -> impl Iterator<Item = &'a Arc<RunbookRun>> + use<'a> {
    let (name, uid) = (runbook.name_any(), runbook.uid());
    runs.iter().filter(move |run| {
        let of_uid = run.status.as_ref().and_then(|status| Some(&status.snapshot.as_ref()?.uid));
        run.spec.drill
            && run.spec.runbook_ref.name == name
            && of_uid.is_none_or(|of_uid| Some(of_uid) == uid.as_ref())
    })
}

fn begin(runbook: &Runbook, before: &str) -> RunbookRun {
    let digest = runbook.status.as_ref().and_then(|status| status.digest.clone()).unwrap_or_default();
    let stem = format!("{}-drill", cut(&runbook.name_any(), 200));
    let uid = runbook.uid().unwrap_or_default();
    let name = matching::run_name(&stem, &uid, &format!("{digest}/{before}"), 0);
    let spec = RunbookRunSpec {
        runbook_ref: NameRef { name: runbook.name_any() },
        dry_run: runbook.spec.drill.as_ref().is_none_or(|drill| drill.mode == DrillMode::DryRun),
        drill: true,
        ..RunbookRunSpec::default()
    };
    let mut run = RunbookRun::new(&name, spec);
    run.metadata.namespace = runbook.namespace();
    run
}

/// Whether a drill that has ended in that state succeeded, and what it found.
fn found(run: &RunbookRun, state: RunState) -> (bool, String) {
    let status = run.status.as_ref();
    let mut steps = status.into_iter().flat_map(|status| &status.steps);
    if let Some(step) = steps.find(|step| matches!(step.state, StepState::Failed | StepState::Unknown)) {
        return (false, format!("{}: {}", step.name, step.message.as_deref().unwrap_or("it failed")));
    }
    let said = status.and_then(|status| find(&status.conditions, ConditionType::Succeeded));
    let said = said.map_or_else(|| format!("{state:?}"), |said| said.message.clone());
    (matches!(state, RunState::DryRunComplete | RunState::Succeeded), said)
}

/// The policies over a namespace that ask for drills, as people write them.
fn asking(policies: &[Arc<ChangePolicy>], namespace: &str) -> Vec<String> {
    let asks = |policy: &&Arc<ChangePolicy>| {
        policy.spec.automation.require_drill && automation_limits::covers(policy, namespace)
    };
    policies.iter().filter(asks).map(|policy| format!("cpol/{}", policy.name_any())).collect()
}

fn grace(drill: &Drill) -> SignedDuration {
    let [least, most] = GRACE;
    drill.every.get().checked_div(10).unwrap_or(least).clamp(least, most)
}

/// Writes what the drills say into a status.
pub fn note(status: &mut RunbookStatus, runbook: &Runbook, runs: &[Arc<RunbookRun>]) {
    status.last_drill = last(runbook, runs).filter(|_| runbook.spec.drill.is_some());
    status.last_good_run_time = last_good(runbook, runs, status.last_drill.as_ref()).map(stored_time);
}

#[cfg(test)]
#[path = "drill_tests.rs"]
mod tests;
