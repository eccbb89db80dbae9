//! The journal of a run: the only ways in which its status changes. Terminal states of steps never change. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Step};
use crate::api::runbook_run::{Intent, RunState, RunbookRunStatus, StepState, StepStatus};
use crate::cluster::conditions::{clear, set};
use crate::runbook::steps;
use crate::runbook::steps::kind::{DEFAULT_TIMEOUT, StepKind};
use crate::text::cut;

/// How long after its announcement an act may be sent.
const ACT_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Maximum length of the message of a step, in bytes.
const MAX_MESSAGE: usize = 1000;

/// Whether nothing more will happen to a step.
pub fn is_terminal(state: StepState) -> bool {
    matches!(state, StepState::Succeeded | StepState::Failed | StepState::Unknown | StepState::Skipped)
}

/// Index of the current step; `None` when all have ended.
pub fn current(status: &RunbookRunStatus) -> Option<usize> {
    status.steps.iter().position(|step| !is_terminal(step.state))
}

/// Whether an act was ever announced, so that it may have been done.
pub fn has_intent(status: &RunbookRunStatus) -> bool {
    status.steps.iter().any(|step| step.intent.is_some())
}

/// The steps of a run that has not begun, each with what it will do.
pub fn steps(spec: &RunbookSpec) -> Vec<StepStatus> {
    let step = |step: &Step| StepStatus {
        name: step.name.clone(),
        message: steps::of(step).map(|kind| cut(&format!("will {}", kind.summary()), MAX_MESSAGE)),
        ..StepStatus::default()
    };
    spec.steps.iter().map(step).collect()
}

/// When a step that begins now fails, unless it has ended by then.
pub fn deadline(step: &Step, now: Timestamp) -> Timestamp {
    let by_kind = || steps::of(step).map_or(DEFAULT_TIMEOUT, StepKind::default_timeout);
    let timeout = step.timeout.as_ref().map_or_else(by_kind, |timeout| timeout.get());
    now.checked_add(timeout).unwrap_or(Timestamp::MAX)
}

/// A status that is being changed before it is stored.
pub struct Entry {
    status: RunbookRunStatus,
    generation: i64,
    now: Timestamp,
}

impl Entry {
    /// Starts from the stored status.
    pub fn new(status: &RunbookRunStatus, generation: i64, now: Timestamp) -> Entry {
        let mut status = status.clone();
        status.observed_generation = generation;
        set(
            &mut status.conditions,
            ConditionType::Ready,
            true,
            Reason::Accepted,
            "the run is looked after",
            generation,
            now,
        );
        Entry { status, generation, now }
    }

    /// The status to store.
    pub fn done(self) -> RunbookRunStatus {
        self.status
    }

    fn condition(&mut self, kind: ConditionType, state: bool, reason: Reason, message: &str) {
        set(&mut self.status.conditions, kind, state, reason, message, self.generation, self.now);
    }

    /// The run is at work. The first call sets when it began.
    pub fn running(mut self) -> Entry {
        self.status.state = Some(RunState::Running);
        self.status.start_time.get_or_insert_with(|| stored_time(self.now));
        self.status.next = None;
        clear(&mut self.status.conditions, ConditionType::Blocked);
        self.status.step = current(&self.status).map(|index| self.status.steps[index].name.clone());
        self
    }

    /// An obstacle keeps the run from beginning.
    pub fn blocked(mut self, reason: Reason, message: &str) -> Entry {
        self.status.state = Some(RunState::Blocked);
        self.status.next = Some(Next { who: "nobody".to_owned(), what: cut(message, 500), command: None });
        self.condition(ConditionType::Blocked, true, reason, message);
        self
    }

    /// The run needs an approval of its own.
    pub fn asks(mut self, next: Next) -> Entry {
        self.status.state = Some(RunState::WaitingForApproval);
        self.condition(ConditionType::Blocked, true, Reason::ApprovalMissing, &next.what);
        self.status.next = Some(next);
        self
    }

    /// A step begins that waits until something is so.
    pub fn settling(mut self, index: usize, deadline: Timestamp, message: &str) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.state = StepState::Settling;
            step.start_time.get_or_insert_with(|| stored_time(now));
            step.deadline.get_or_insert(Time(deadline));
            step.message = Some(cut(message, MAX_MESSAGE));
        });
        self.running()
    }

    /// Announces an act. The intent is stored before the act is sent, and the act is not sent after `actBefore`.
    pub fn intends(mut self, index: usize, deadline: Timestamp, mut intent: Intent, message: &str) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.state = StepState::IntentRecorded;
            step.start_time.get_or_insert_with(|| stored_time(now));
            let deadline = step.deadline.get_or_insert(Time(deadline)).0;
            intent.time = Some(stored_time(now));
            intent.act_before =
                Some(Time(now.checked_add(ACT_WITHIN).map_or(deadline, |limit| limit.min(deadline))));
            step.intent = Some(intent);
            step.message = Some(cut(message, MAX_MESSAGE));
        });
        self.running()
    }

    /// Withdraws an announced act that was proved not to have happened. The step begins again later, with its full time.
    pub fn withdraws(mut self, index: usize) -> Entry {
        self.step(index, |step| {
            step.state = StepState::Pending;
            step.intent = None;
            (step.start_time, step.deadline) = (None, None);
            step.message = Some("held back before it was done".to_owned());
        });
        self
    }

    /// Puts a question to a person.
    pub fn questions(mut self, index: usize, deadline: Timestamp, digest: String, next: Next) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.state = StepState::WaitingForPerson;
            step.start_time = Some(stored_time(now));
            step.deadline = Some(Time(deadline));
            step.digest = Some(digest);
            step.message = Some(cut(&next.what, MAX_MESSAGE));
        });
        self = self.running();
        self.status.state = Some(RunState::WaitingForPerson);
        self.status.next = Some(next);
        self
    }

    /// Ends a step for good.
    pub fn ends(mut self, index: usize, state: StepState, message: &str) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.state = state;
            step.end_time = Some(stored_time(now));
            step.message = Some(cut(message, MAX_MESSAGE));
        });
        self.running()
    }

    /// Notes who answered the question of a step.
    pub fn answered(mut self, index: usize, by: &str) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.answered =
                Some(crate::api::incident_status::Stamped { user: by.to_owned(), time: stored_time(now) });
        });
        self
    }

    /// Ends the run. Steps that have not begun are skipped; an act whose outcome is open makes the run Unknown.
    pub fn finishes(mut self, state: RunState, message: &str) -> Entry {
        let open = self.status.steps.iter().any(|step| step.state == StepState::IntentRecorded);
        let state = if open && state != RunState::DryRunComplete { RunState::Unknown } else { state };
        let now = self.now;
        for index in 0..self.status.steps.len() {
            self.step(index, |step| {
                let unproved = step.state == StepState::IntentRecorded;
                if step.state == StepState::Pending {
                    step.message = Some("not done: the run ended before it".to_owned());
                }
                step.state = if unproved { StepState::Unknown } else { StepState::Skipped };
                step.end_time = Some(stored_time(now));
            });
        }
        self.status.state = Some(state);
        self.status.end_time = Some(stored_time(now));
        self.status.step = None;
        self.status.next = None;
        clear(&mut self.status.conditions, ConditionType::Blocked);
        let succeeded = matches!(state, RunState::Succeeded | RunState::DryRunComplete);
        self.condition(ConditionType::Succeeded, succeeded, ended(state), message);
        if state == RunState::Cancelled {
            self.condition(ConditionType::Cancelled, true, Reason::Cancelled, message);
        }
        self
    }

    /// Changes a step, unless it has ended.
    fn step(&mut self, index: usize, change: impl FnOnce(&mut StepStatus)) {
        if let Some(step) = self.status.steps.get_mut(index).filter(|step| !is_terminal(step.state)) {
            change(step);
        }
    }
}

/// The reason of `Succeeded` for the state in which a run ends.
fn ended(state: RunState) -> Reason {
    match state {
        RunState::Succeeded => Reason::Succeeded,
        RunState::DryRunComplete => Reason::DryRunComplete,
        RunState::Failed => Reason::Failed,
        RunState::Cancelled => Reason::Cancelled,
        _ => Reason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status() -> RunbookRunStatus {
        serde_json::from_value(json!({"state": "Running", "steps": [
            {"name": "a", "state": "Succeeded", "message": "done"}, {"name": "b", "state": "IntentRecorded"}, {"name": "c", "state": "Pending"}]}))
        .unwrap()
    }

    #[test]
    fn terminal_step_states_never_change() {
        let before = status();
        let after = Entry::new(&before, 1, at(9)).ends(0, StepState::Failed, "no").withdraws(0).done();
        assert_eq!(after.steps[0], before.steps[0]);
        let finished = Entry::new(&before, 1, at(9)).finishes(RunState::Failed, "f").done();
        assert_eq!(finished.steps[0], before.steps[0]);
    }

    #[test]
    fn a_run_with_an_act_whose_outcome_is_open_ends_unknown() {
        let ended = Entry::new(&status(), 1, at(9)).finishes(RunState::Cancelled, "cancelled").done();
        assert_eq!(ended.state, Some(RunState::Unknown));
        assert_eq!(ended.steps[1].state, StepState::Unknown);
        assert_eq!(ended.steps[2].state, StepState::Skipped);
        assert_eq!(ended.steps[2].message.as_deref(), Some("not done: the run ended before it"));
    }

    #[test]
    fn a_deadline_is_absolute_and_a_second_look_does_not_move_it() {
        let first = Entry::new(&status(), 1, at(10)).settling(2, at(70), "waits").done();
        let second = Entry::new(&first, 1, at(40)).settling(2, at(100), "still waits").done();
        assert_eq!(second.steps[2].deadline, Some(Time(at(70))));
        assert_eq!(second.steps[2].start_time, Some(Time(at(10))));
        assert_eq!(second.start_time, first.start_time);
    }
}
