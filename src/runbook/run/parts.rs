//! The parts of a run that act, steps and their compensations, and where the run stands. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::runbook_run::{Act, Outcome, RunbookRunStatus, StepState};

/// Whether nothing more will happen to a step.
pub fn is_terminal(state: StepState) -> bool {
    matches!(state, StepState::Succeeded | StepState::Failed | StepState::Unknown | StepState::Skipped)
}

/// Index of the current step; `None` when all have ended.
pub fn current(status: &RunbookRunStatus) -> Option<usize> {
    status.steps.iter().position(|step| !is_terminal(step.state))
}

/// Whether an act was ever announced, so that it may have been done.
pub fn has_act(status: &RunbookRunStatus) -> bool {
    status.steps.iter().any(|step| !step.acts.is_empty())
}

/// A part of a run that acts: a step, or the compensation of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Index of the step.
    pub index: usize,
    /// Whether it is the compensation of the step.
    pub back: bool,
}

impl Place {
    /// The step itself.
    pub fn step(index: usize) -> Place {
        Place { index, back: false }
    }

    /// The compensation of the step.
    pub fn compensation(index: usize) -> Place {
        Place { index, back: true }
    }
}

/// What the journal says about a part of a run.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// State of the part.
    pub state: StepState,
    /// When the part began.
    pub start: Option<Timestamp>,
    /// When the part fails unless it has ended.
    pub deadline: Option<Timestamp>,
    /// Acts of the part in their order.
    pub acts: &'a [Act],
}

impl<'a> Part<'a> {
    /// The announced act whose outcome is open.
    pub fn open(&self) -> Option<&'a Act> {
        self.acts.last().filter(|act| act.outcome.is_none())
    }

    /// Number of targets that need no further act.
    pub fn done(&self) -> usize {
        let done =
            |act: &&Act| matches!(act.outcome, Some(Outcome::Done | Outcome::Settled | Outcome::Unneeded));
        self.acts.iter().filter(done).count()
    }
}

/// A part of a run; one without acts if there is no such part.
pub fn part(status: &RunbookRunStatus, place: Place) -> Part<'_> {
    let step = status.steps.get(place.index);
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let none = Part { state: StepState::Pending, start: None, deadline: None, acts: &[] };
    match (step, place.back) {
        (Some(step), false) => Part {
            state: step.state,
            start: time(&step.start_time),
            deadline: time(&step.deadline),
            acts: &step.acts,
        },
        (Some(step), true) => step.compensation.as_ref().map_or(none, |compensation| Part {
            state: compensation.state,
            start: time(&compensation.start_time),
            deadline: time(&compensation.deadline),
            acts: &compensation.acts,
        }),
        (None, _) => none,
    }
}

/// The part that has announced an act whose outcome is open.
pub fn announced(status: &RunbookRunStatus) -> Option<Place> {
    places(status).find(|place| part(status, *place).state == StepState::IntentRecorded)
}

/// Every part of a run.
pub fn places(status: &RunbookRunStatus) -> impl Iterator<Item = Place> + use<> {
    (0..status.steps.len()).flat_map(|index| [Place::step(index), Place::compensation(index)])
}

/// The compensation that comes next: the last one that has not ended.
pub fn next_compensation(status: &RunbookRunStatus) -> Option<Place> {
    let open = |index: &usize| {
        let compensation = status.steps.get(*index).and_then(|step| step.compensation.as_ref());
        compensation.is_some_and(|compensation| !is_terminal(compensation.state))
    };
    (0..status.steps.len()).rev().find(open).map(Place::compensation)
}
