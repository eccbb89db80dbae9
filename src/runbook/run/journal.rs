//! The journal of a run: the only ways in which its status changes. Terminal states of steps never change. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::parts::{Place, announced, current, is_terminal, places};
use crate::api::change_request::Delta;
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::incident_status::Next;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{
    Act, CompensationStatus, Outcome, Output, Resolved, RunState, RunbookRunStatus, StepState, StepStatus,
};
use crate::api::runbook_step::Step;
use crate::cluster::conditions::{clear, set};
use crate::runbook::steps;
use crate::runbook::steps::kind::{DEFAULT_TIMEOUT, StepKind};
use crate::text::cut;

/// How long after its announcement an act may be sent.
const ACT_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Maximum length of the message of a step, in bytes.
const MAX_MESSAGE: usize = 1000;

/// Most values of the delta of an act, as in the schema.
const MAX_VALUES: usize = 64;
/// Most bytes of the steps of a run. A status of more than 256 KiB is slow to read and to write for everybody.
const MAX_STEPS: usize = 112 * 1024;

/// Whether the steps of a run take more bytes than a status should.
pub fn is_full(status: &RunbookRunStatus) -> bool {
    serde_json::to_string(&status.steps).is_ok_and(|steps| steps.len() > MAX_STEPS)
}

/// The steps of a run that has not begun, each with what it will do, and to which objects.
pub fn steps(spec: &RunbookSpec, targets: &[Vec<Resolved>]) -> Vec<StepStatus> {
    let step = |(index, step): (usize, &Step)| {
        let targets = targets.get(index).cloned().unwrap_or_default();
        StepStatus {
            name: step.name.clone(),
            message: steps::of(step).map(|kind| cut(&format!("will {}", what(kind, &targets)), MAX_MESSAGE)),
            targets,
            ..StepStatus::default()
        }
    };
    spec.steps.iter().enumerate().map(step).collect()
}

/// What a step does, with the objects that its target stands for.
pub fn what(kind: &dyn StepKind, targets: &[Resolved]) -> String {
    let is_named = kind.target().is_none_or(|target| target.name.is_some());
    if is_named || targets.is_empty() {
        return kind.summary();
    }
    let names: Vec<String> = targets.iter().map(|target| target.object.display()).collect();
    format!("{}: {}", kind.summary(), names.join(", "))
}

/// When a step that begins now fails, unless it has ended by then.
pub fn deadline(step: &Step, now: Timestamp) -> Timestamp {
    now.checked_add(timeout(step)).unwrap_or(Timestamp::MAX)
}

/// How long a step may take.
pub fn timeout(step: &Step) -> SignedDuration {
    let by_kind = || steps::of(step).map_or(DEFAULT_TIMEOUT, StepKind::default_timeout);
    step.timeout.as_ref().map_or_else(by_kind, |timeout| timeout.get())
}

/// When something ended that began at `start`: never before, even if the clock was set back, or another leader's is slow.
fn end_after(start: Option<&Time>, now: Timestamp) -> Time {
    let end = stored_time(now);
    start.filter(|start| start.0 > end.0).cloned().unwrap_or(end)
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

    /// A part begins to wait until something is so.
    pub fn settling(mut self, place: Place, deadline: Timestamp, message: &str) -> Entry {
        let now = self.now;
        self.part(place, |part| {
            *part.state = StepState::Settling;
            part.begin(now, deadline);
            *part.message = Some(cut(message, MAX_MESSAGE));
        });
        self.at_work(place)
    }

    /// Announces an act. It is stored before it is sent, and not sent after `actBefore`. An act that is announced again
    /// replaces its earlier announcement.
    pub fn intends(mut self, place: Place, deadline: Timestamp, mut act: Act, message: &str) -> Entry {
        let now = self.now;
        self.part(place, |part| {
            *part.state = StepState::IntentRecorded;
            let deadline = part.begin(now, deadline);
            act.time = Some(stored_time(now));
            act.act_before =
                Some(Time(now.checked_add(ACT_WITHIN).map_or(deadline, |limit| limit.min(deadline))));
            part.withdraw();
            part.acts.push(act);
            *part.message = Some(cut(message, MAX_MESSAGE));
        });
        self.at_work(place)
    }

    /// Withdraws an announced act that was proved not to have happened. The part goes on later, with its full time.
    pub fn withdraws(mut self, place: Place) -> Entry {
        self.part(place, |part| {
            *part.state = StepState::Pending;
            part.withdraw();
            (*part.start_time, *part.deadline) = (None, None);
            *part.message = Some("held back before it was done".to_owned());
        });
        self
    }

    /// Withdraws an announced act that certainly was never done, to announce it again later within the same time.
    pub fn never_sent(mut self, place: Place) -> Entry {
        self.part(place, |part| {
            *part.state = StepState::Pending;
            part.withdraw();
        });
        self.at_work(place)
    }

    /// Withdraws an announced act that was turned away before anything was done. A step is not begun again before that
    /// instant, and none of its retries is used up.
    pub fn turned_away(mut self, place: Place, at: Timestamp, message: &str) -> Entry {
        self.part(place, |part| {
            *part.state = StepState::Pending;
            part.withdraw();
            *part.message = Some(cut(message, MAX_MESSAGE));
        });
        self.not_before(place, at)
    }

    /// Notes when the receiver of the act wants to be asked again: no process asks earlier.
    pub fn not_before(mut self, place: Place, at: Timestamp) -> Entry {
        if let Some(step) = self.status.steps.get_mut(place.index) {
            step.retry_time = Some(Time(at));
        }
        self.at_work(place)
    }

    /// Notes what became of the announced act. The part goes on.
    pub fn settles(mut self, place: Place, outcome: Outcome) -> Entry {
        self.part(place, |part| {
            part.close(outcome);
            *part.state = StepState::Settling;
        });
        self.at_work(place)
    }

    /// Notes what the API server would change, in the place of what was planned. Nothing is noted that makes the status too
    /// large, or than it takes.
    pub fn shows(mut self, place: Place, delta: &[Delta]) -> Entry {
        if delta.is_empty() || delta.len() > MAX_VALUES {
            return self;
        }
        let planned = self.status.clone();
        self.part(place, |part| {
            if let Some(act) = part.acts.last_mut() {
                act.delta = delta.to_vec();
            }
        });
        if is_full(&self.status) {
            self.status = planned;
        }
        self
    }

    /// Notes that a target needs no act.
    pub fn needs_nothing(mut self, place: Place, deadline: Timestamp, act: Act) -> Entry {
        let now = self.now;
        self.part(place, |part| {
            *part.state = StepState::Settling;
            part.begin(now, deadline);
            part.acts.push(Act { outcome: Some(Outcome::Unneeded), time: Some(stored_time(now)), ..act });
        });
        self.at_work(place)
    }

    /// Notes that the act at `index` has taken effect.
    pub fn took_effect(mut self, place: Place, index: usize) -> Entry {
        self.part(place, |part| {
            if let Some(act) = part.acts.get_mut(index) {
                act.outcome = Some(Outcome::Settled);
            }
        });
        self.at_work(place)
    }

    /// Notes what a part waits for.
    pub fn notes(mut self, place: Place, message: &str) -> Entry {
        self.part(place, |part| *part.message = Some(cut(message, MAX_MESSAGE)));
        self.at_work(place)
    }

    /// Notes that the act that is open, or has happened last, led to a failure.
    pub fn fails_act(mut self, place: Place) -> Entry {
        self.part(place, |part| {
            let open = |act: &&mut Act| matches!(act.outcome, None | Some(Outcome::Done));
            if let Some(act) = part.acts.iter_mut().rev().find(open) {
                (act.outcome, act.body) = (Some(Outcome::Failed), None);
            }
        });
        self
    }

    /// Notes the results of a step.
    pub fn gives(mut self, place: Place, outputs: Vec<Output>) -> Entry {
        if let Some(step) =
            self.status.steps.get_mut(place.index).filter(|_| !place.back && !outputs.is_empty())
        {
            step.outputs = outputs;
        }
        if is_full(&self.status)
            && let Some(step) = self.status.steps.get_mut(place.index)
        {
            for output in &mut step.outputs {
                output.value = "left out: the results of the run are too large".to_owned();
            }
        }
        self
    }

    /// The step is tried again at that instant.
    pub fn retries(mut self, index: usize, at: Timestamp, message: &str) -> Entry {
        self.part(Place::step(index), |part| part.close(Outcome::Failed));
        if let Some(step) = self.status.steps.get_mut(index).filter(|step| !is_terminal(step.state)) {
            step.state = StepState::Pending;
            step.retries += 1;
            step.retry_time = Some(Time(at));
            step.message = Some(cut(message, MAX_MESSAGE));
        }
        self.running()
    }

    /// The steps that had an effect are rolled back, the last one first. False if none is.
    pub fn rolls_back(&mut self, spec: &RunbookSpec) -> bool {
        let mut any = false;
        for (step, written) in self.status.steps.iter_mut().zip(&spec.steps) {
            let had_effect = step.acts.iter().any(|act| act.outcome.is_some_and(Outcome::had_effect));
            if had_effect && steps::compensation_of(written).is_some() {
                step.compensation.get_or_insert_with(CompensationStatus::default);
                any = true;
            }
        }
        if any {
            self.status.state = Some(RunState::RollingBack);
            self.status.next = None;
            clear(&mut self.status.conditions, ConditionType::Blocked);
        }
        any
    }

    /// The run is at work at this place.
    fn at_work(mut self, place: Place) -> Entry {
        if !place.back {
            return self.running();
        }
        self.status.state = Some(RunState::RollingBack);
        self.status.step = self.status.steps.get(place.index).map(|step| step.name.clone());
        self
    }

    /// Puts a question to a person.
    pub fn questions(mut self, index: usize, deadline: Timestamp, digest: String, next: Next) -> Entry {
        let now = self.now;
        self.step(index, |step| {
            step.state = StepState::WaitingForPerson;
            step.start_time.get_or_insert_with(|| stored_time(now));
            step.deadline.get_or_insert(Time(deadline));
            step.digest = Some(digest);
            step.message = Some(cut(&next.what, MAX_MESSAGE));
        });
        self = self.running();
        self.status.state = Some(RunState::WaitingForPerson);
        self.status.next = Some(next);
        self
    }

    /// Ends a part for good.
    pub fn ends(mut self, place: Place, state: StepState, message: &str) -> Entry {
        let now = self.now;
        let outcome = match state {
            StepState::Unknown => Outcome::Unknown,
            _ => Outcome::Failed,
        };
        self.part(place, |part| {
            part.close(outcome);
            *part.state = state;
            *part.end_time = Some(end_after(part.start_time.as_ref(), now));
            *part.message = Some(cut(message, MAX_MESSAGE));
        });
        self.at_work(place)
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
        let open = announced(&self.status).is_some();
        let state = if open && state != RunState::DryRunComplete { RunState::Unknown } else { state };
        let now = self.now;
        for place in places(&self.status) {
            self.part(place, |part| {
                let unproved = *part.state == StepState::IntentRecorded;
                if *part.state == StepState::Pending {
                    *part.message = Some("not done: the run ended before it".to_owned());
                }
                *part.state = if unproved { StepState::Unknown } else { StepState::Skipped };
                *part.end_time = Some(end_after(part.start_time.as_ref(), now));
                part.close(Outcome::Unknown);
            });
        }
        self.status.state = Some(state);
        self.status.end_time = Some(end_after(self.status.start_time.as_ref(), now));
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

    /// Changes a part, unless it has ended or does not exist.
    fn part(&mut self, place: Place, change: impl FnOnce(&mut PartMut<'_>)) {
        let Some(step) = self.status.steps.get_mut(place.index) else { return };
        let mut part = match (place.back, step.compensation.as_mut()) {
            (false, _) => PartMut {
                state: &mut step.state,
                message: &mut step.message,
                start_time: &mut step.start_time,
                deadline: &mut step.deadline,
                end_time: &mut step.end_time,
                acts: &mut step.acts,
            },
            (true, Some(compensation)) => PartMut {
                state: &mut compensation.state,
                message: &mut compensation.message,
                start_time: &mut compensation.start_time,
                deadline: &mut compensation.deadline,
                end_time: &mut compensation.end_time,
                acts: &mut compensation.acts,
            },
            (true, None) => return,
        };
        if !is_terminal(*part.state) {
            change(&mut part);
        }
    }
}

/// The fields that a step and its compensation have in common.
struct PartMut<'a> {
    state: &'a mut StepState,
    message: &'a mut Option<String>,
    start_time: &'a mut Option<Time>,
    deadline: &'a mut Option<Time>,
    end_time: &'a mut Option<Time>,
    acts: &'a mut Vec<Act>,
}

impl PartMut<'_> {
    /// Notes when the part began and when it fails, unless that is known already. Returns when it fails.
    fn begin(&mut self, now: Timestamp, deadline: Timestamp) -> Timestamp {
        self.start_time.get_or_insert_with(|| stored_time(now));
        self.deadline.get_or_insert(Time(deadline)).0
    }

    /// Forgets the announced act whose outcome is open.
    fn withdraw(&mut self) {
        self.acts.pop_if(|act| act.outcome.is_none());
    }

    /// Notes what became of every act whose outcome is open. What was sent is kept no longer.
    fn close(&mut self, outcome: Outcome) {
        for act in self.acts.iter_mut().filter(|act| act.outcome.is_none()) {
            (act.outcome, act.body) = (Some(outcome), None);
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
        RunState::Degraded => Reason::Degraded,
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
        let after = Entry::new(&before, 1, at(9))
            .ends(Place::step(0), StepState::Failed, "no")
            .withdraws(Place::step(0))
            .done();
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

    /// Failure list 55: an object near its limit. The largest Runbook, with results, values and messages as long as they
    /// may be, in every step.
    #[test]
    fn the_status_of_the_largest_run_stays_below_256_kib() {
        let long = |length: usize| "x".repeat(length);
        let named: Vec<_> = (0..32)
            .map(|index| json!({"name": format!("{}{index}", long(60)), "manual": {"instructions": "i"}}))
            .collect();
        let mut spec: RunbookSpec = serde_json::from_value(json!({"summary": "s", "serviceAccountName": "a",
            "steps": named, "instructions": long(16384)}))
        .unwrap();
        // As large as the guard lets it be.
        for step in &mut spec.steps {
            let room = 64 * 1024 - serde_json::to_string(&spec.summary).unwrap().len();
            step.manual = serde_json::from_value(json!({"instructions": long(room / 32 - 700)})).ok();
        }
        let mut status = RunbookRunStatus { steps: steps(&spec, &[]), ..RunbookRunStatus::default() };
        let whole = serde_json::to_value(&spec).unwrap();
        status.snapshot = Some(crate::api::runbook_run::Snapshot { spec: whole, ..Default::default() });
        let size = |status: &RunbookRunStatus| serde_json::to_string(status).unwrap().len();
        assert!(size(&status) > 60 * 1024, "{}", size(&status));
        let value = || serde_json::Value::from(long(3000));
        let delta: Vec<Delta> = (0..8)
            .map(|index| Delta { path: format!("/{index}"), before: Some(value()), after: Some(value()) })
            .collect();
        let outputs: Vec<Output> =
            (0..8).map(|index| Output { name: format!("o{index}"), value: long(4096) }).collect();
        for index in 0..spec.steps.len() {
            let place = Place::step(index);
            let act = Act { operation_id: "o".into(), delta: delta.clone(), ..Act::default() };
            let announced = Entry::new(&status, 1, at(1)).intends(place, at(90), act, &long(2000)).done();
            // The run goes on with what fits, and fails the step that does not.
            if !is_full(&announced) {
                status = Entry::new(&announced, 1, at(2)).settles(place, Outcome::Done).done();
            }
            status = Entry::new(&status, 1, at(3)).gives(place, outputs.clone()).done();
            status = Entry::new(&status, 1, at(3)).ends(place, StepState::Failed, &long(2000)).done();
        }
        let ended = Entry::new(&status, 1, at(4)).finishes(RunState::Failed, &long(4000)).done();
        assert!(size(&ended) > 150 * 1024 && size(&ended) <= 256 * 1024, "{}", size(&ended));
    }

    #[test]
    fn a_deadline_is_absolute_and_a_second_look_does_not_move_it() {
        let first = Entry::new(&status(), 1, at(10)).settling(Place::step(2), at(70), "waits").done();
        let second = Entry::new(&first, 1, at(40)).settling(Place::step(2), at(100), "still waits").done();
        assert_eq!(second.steps[2].deadline, Some(Time(at(70))));
        assert_eq!(second.steps[2].start_time, Some(Time(at(10))));
        assert_eq!(second.start_time, first.start_time);
    }
}
