//! The run's state machine. Pure: the stored journal and what was read go in, the next move comes out.
//!
//! Every act is announced before it is sent (write-ahead, docs/decisions/0005-intent-before-act.md): read the target
//! live, store the intent, ask once more whether it is permitted, send it with preconditions, store the outcome. A
//! process that finds an intent without an outcome first proves from the target whether the act happened. An outcome
//! that cannot be proved is Unknown and goes to a person.

mod act;
mod announced;
mod failure;
mod guard;
mod wait;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::act::{mutate, would};
use self::announced::announced;
use self::failure::{Again, fail, roll_back};
use self::wait::{ask, poll};
use super::journal::{self, Entry};
use super::parts::{self, Place};
use super::permit::Permit;
use super::rehearsal;
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{
    Act, ActVerb, Outcome, Output, Resolved, RunState, RunbookRunStatus, StepState, StepStatus,
};
use crate::api::runbook_step::Step;
use crate::outbound;
use crate::runbook::steps;
use crate::runbook::steps::kind::{DEFAULT_TIMEOUT, Work};
use crate::runbook::steps::manual::Answer;
use crate::runbook::steps::mutation::Scene;

/// Interval between two looks at an object that is not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// What is stored, and what was learnt in this pass.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'a> {
    /// Namespace of the run, for commands.
    pub namespace: &'a str,
    /// Name of the run.
    pub name: &'a str,
    /// UID of the run.
    pub uid: &'a str,
    /// `metadata.generation` of the run.
    pub generation: i64,
    /// Why the run must stop; `None` if it may go on.
    pub cancel: Option<&'a str>,
    /// Whether it only says what would happen.
    pub dry_run: bool,
    /// Namespace of the objects that it acts on: its own, or that of a drill.
    pub place: &'a str,
    /// Whether it is a drill that acts on copies.
    pub on_copies: bool,
    /// For an automatic run: what binds it beyond one that a person has started.
    pub alone: Option<Alone<'a>>,
    /// The user that acts.
    pub actor: &'a str,
    /// Who is asked a question, in words.
    pub asked: &'a str,
    /// The Runbook as it was when the run began.
    pub spec: &'a RunbookSpec,
    /// The journal.
    pub status: &'a RunbookRunStatus,
    /// What was learnt in this pass.
    pub pass: &'a Pass,
}

/// An automatic run.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'a> {
    /// When the outage began that it repairs. A person who changes a target later may be repairing it.
    pub since: Timestamp,
    /// The command by which a person would start it.
    pub by_hand: &'a str,
}

/// What was learnt since the journal was last stored or read; forgotten with every store.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Whether the run may go on.
    pub permit: Option<Permit>,
    /// What was read, and whether the preconditions hold.
    pub seen: Option<Seen>,
    /// Whether the condition of the step is true; or why it cannot be told.
    pub when: Option<Result<bool, String>>,
    /// The answer to the question: `None` if it was not looked for, `Some(None)` if there is none yet.
    pub answer: Option<Option<Answer>>,
    /// What the check of the step has seen outside of the API server.
    pub outside: Option<outbound::look::Seen>,
    /// The outcome of the announced act.
    pub sent: Sent,
}

/// A live look.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The objects in the order of the look, each `None` if it does not exist; or why one may not be read.
    pub objects: Result<Vec<Option<Value>>, String>,
    /// What the mutation asked for besides its target.
    pub related: Vec<Vec<Value>>,
    /// Whether every precondition holds; or which does not, and why.
    pub preconditions: Result<(), String>,
}

/// What a live look is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The objects.
    pub objects: Vec<ObjectRef>,
    /// The part of the run whose mutation says what else is read.
    pub related: Option<Place>,
    /// Whether the preconditions of the Runbook are judged: before the first act.
    pub of_runbook: bool,
    /// The step whose own preconditions are judged.
    pub of_step: Option<usize>,
}

/// The outcome of the announced act, as far as this pass knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sent {
    /// Nothing is known: an earlier pass may have sent it.
    #[default]
    Unknown,
    /// This pass has announced it, and it has not been sent.
    NotYet,
    /// It was done, with these results.
    Applied(Vec<Output>),
    /// The API server would do it, and would change these values: what a dry run was for.
    Tried(Vec<Delta>),
    /// It was done, and its receiver says that it failed.
    Failed(String),
    /// It was sent, and its receiver did not say what became of it.
    Unanswered(String),
    /// It was sent, and its receiver did not say what became of it, but asks for this time before the next request.
    Busy(String, SignedDuration),
    /// It was turned away before anything was done; how long the receiver asks to be left alone, if it says so.
    TurnedAway(String, Option<SignedDuration>),
    /// A part of it was done; what is missing, and why, and how long the API server asks to be left alone, if it says so.
    Partly(String, Option<SignedDuration>),
    /// The API server has refused it for good, and why.
    Refused(String),
    /// Another writer changed the object first.
    Conflict,
}

impl Sent {
    /// What the receiver did instead of answering.
    fn unanswered(&self) -> Option<&str> {
        match self {
            Sent::Unanswered(what) | Sent::Busy(what, _) => Some(what),
            _ => None,
        }
    }
}

/// The next move.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Find out whether the run may go on.
    AskPermit,
    /// Read live, and judge preconditions.
    Look(Look),
    /// Judge the condition of the step at this index.
    AskWhen(usize),
    /// Look for the check of the step at this index, outside of the API server.
    LookOutside(usize),
    /// Look for the answer to the question of that step.
    AskAnswer {
        /// Name of the step.
        step: String,
        /// Digest of its question.
        digest: String,
    },
    /// Store this, then go on.
    Store(Box<RunbookRunStatus>),
    /// Send the announced act, as it is stored.
    Act(Box<Act>),
    /// Store this if it differs, then wait for a change or that instant.
    Hold(Box<RunbookRunStatus>, Option<Timestamp>),
    /// The run is settled: release it.
    Done,
}

/// Whether a status must be stored before the next move: an announced act, and the end. Another may be stored together
/// with a later one, since a process that finds the older one comes to the same.
pub fn relies_on_store(status: &RunbookRunStatus) -> bool {
    parts::announced(status).is_some() || status.is_settled()
}

/// Whether a later process cannot prove from an object what became of an act, so that its outcome is stored at once.
pub fn is_unprovable(act: &Act) -> bool {
    matches!(act.verb, ActVerb::Create | ActVerb::Send)
}

/// Decides the next move.
pub fn decide(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let state = facts.status.state.unwrap_or_default();
    if state.is_settled() {
        return Move::Done;
    }
    // An announced act is settled first, even if the run is cancelled.
    if let Some(place) = parts::announced(facts.status) {
        return announced(facts, place, now);
    }
    if let Some(why) = facts.cancel {
        return store(facts.entry(now).finishes(RunState::Cancelled, &cancelled(facts.status, why)));
    }
    match state {
        RunState::Pending | RunState::Blocked | RunState::WaitingForApproval => begin(facts, now),
        RunState::RollingBack => roll_back(facts, now),
        _ => match parts::current(facts.status) {
            Some(index) => step(facts, index, now),
            None => finish(facts, now),
        },
    }
}

impl<'a> RunFacts<'a> {
    fn entry(&self, now: Timestamp) -> Entry {
        Entry::new(self.status, self.generation, now)
    }

    fn step(&self, place: Place) -> Option<&'a Step> {
        self.spec.steps.get(place.index)
    }

    fn known(&self, place: Place) -> Option<&'a StepStatus> {
        self.status.steps.get(place.index)
    }

    /// When the next attempt of a part may begin, if that was stored.
    fn not_before(&self, place: Place) -> Option<Timestamp> {
        self.known(place)?.retry_time.as_ref().map(|time| time.0)
    }

    /// Identity of the next act of a part. An act that is announced again keeps its identity.
    fn operation_id(&self, place: Place) -> String {
        let part = parts::part(self.status, place);
        let number = part.acts.len() - usize::from(part.open().is_some());
        let name = self.step(place).map_or("", |step| step.name.as_str());
        let back = if place.back { "back/" } else { "" };
        format!("{}/{name}/{back}{number}", self.uid)
    }

    fn scene(
        &self,
        place: Place,
        target: &'a ObjectRef,
        operation_id: &'a str,
        (object, related): (Option<&'a Value>, &'a [Vec<Value>]),
    ) -> Scene<'a> {
        let targets = self.targets(place);
        Scene {
            operation_id,
            run_name: (self.place == self.namespace).then_some(self.name),
            run_uid: self.uid,
            namespace: self.place,
            account: &self.spec.service_account_name,
            timeout: self.step(place).map_or(DEFAULT_TIMEOUT, journal::timeout),
            target,
            object,
            related,
            values: &self.status.values,
            healthy: &self.status.healthy_templates,
            several: targets.len() > 1,
            again: parts::part(self.status, place).open(),
            undoes: self.undone(place).into_iter().nth(parts::part(self.status, place).done()),
        }
    }

    /// The acts that a compensation takes back, the last one first.
    fn undone(&self, place: Place) -> Vec<&'a Act> {
        let Some(step) = self.known(place).filter(|_| place.back) else { return Vec::new() };
        let had_effect = |act: &&Act| act.outcome.is_some_and(Outcome::had_effect);
        step.acts.iter().rev().filter(had_effect).collect()
    }

    /// The objects that a part acts on, one after the other.
    fn targets(&self, place: Place) -> Vec<Resolved> {
        let (Some(step), Some(known)) = (self.step(place), self.known(place)) else { return Vec::new() };
        let kind = if place.back { steps::compensation_of(step) } else { steps::of(step) };
        match kind.and_then(|kind| Some((kind.target()?, kind.implied()))) {
            Some(_) if !place.back => known.targets.clone(),
            Some((target, implied)) => target.known(implied, &self.status.subjects),
            None if place.back => {
                let resolved =
                    |act: &&Act| Resolved { object: act.target.clone(), uid: Some(act.uid.clone()) };
                self.undone(place).iter().map(resolved).collect()
            }
            // A Job or a request is about nothing that exists before.
            None => vec![Resolved::default()],
        }
    }
}

fn store(entry: Entry) -> Move {
    Move::Store(Box::new(entry.done()))
}

fn hold(entry: Entry, until: Option<Timestamp>) -> Move {
    Move::Hold(Box::new(entry.done()), until)
}

/// Why a run was cancelled, with the compensations that were not done.
fn cancelled(status: &RunbookRunStatus, why: &str) -> String {
    let left: Vec<&str> = status
        .steps
        .iter()
        .filter(|step| step.compensation.as_ref().is_some_and(|back| !parts::is_terminal(back.state)))
        .map(|step| step.name.as_str())
        .collect();
    if left.is_empty() {
        return why.to_owned();
    }
    format!("{why}; not rolled back: {}", left.join(", "))
}

/// Begins the run, or continues it after an obstacle.
fn begin(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    match &facts.pass.permit {
        None => Move::AskPermit,
        Some(permit) => {
            held_back(facts.entry(now), permit).unwrap_or_else(|| store(facts.entry(now).running()))
        }
    }
}

/// The move that follows from a permit that is not given; `None` if it is given.
fn held_back(entry: Entry, permit: &Permit) -> Option<Move> {
    Some(match permit {
        Permit::Go => return None,
        Permit::Wait(obstacle) => hold(entry.blocked(obstacle.reason, &obstacle.message), obstacle.until),
        Permit::Ask(next, until) => hold(entry.asks(next.clone()), *until),
        Permit::Stop(state, message) => store(entry.finishes(*state, message)),
    })
}

fn finish(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let entry = facts.entry(now);
    let failed: Vec<&str> = facts
        .status
        .steps
        .iter()
        .filter(|step| step.state == StepState::Failed)
        .map(|step| step.name.as_str())
        .collect();
    if facts.dry_run {
        let would_fail = match failed.as_slice() {
            [] => String::new(),
            failed => format!("; as it is now, {} would fail", failed.join(", ")),
        };
        let message = format!("nothing was changed; the steps say what would happen{would_fail}");
        return store(entry.finishes(RunState::DryRunComplete, &message));
    }
    if failed.is_empty() {
        return store(entry.finishes(RunState::Succeeded, "every step succeeded"));
    }
    let message = format!("{} failed, and the run went on (onFailure: Continue)", failed.join(", "));
    store(entry.finishes(RunState::Degraded, &message))
}

fn step(facts: &RunFacts<'_>, index: usize, now: Timestamp) -> Move {
    let place = Place::step(index);
    let (Some(step), Some(known)) = (facts.step(place), facts.known(place)) else {
        return fail(facts, place, "the Runbook has no such step", Again::Never, now);
    };
    let Some(kind) = steps::of(step) else {
        return fail(facts, place, "the step does not do exactly one thing", Again::Never, now);
    };
    if let Some(at) = facts.not_before(place).filter(|at| known.state == StepState::Pending && now < *at) {
        return hold(facts.entry(now), Some(at));
    }
    if step.when.is_some() && known.state == StepState::Pending && known.acts.is_empty() {
        match &facts.pass.when {
            None => return Move::AskWhen(index),
            Some(Ok(true)) => {}
            Some(Ok(false)) => {
                let message = "not needed: its condition (when) is false";
                return store(facts.entry(now).ends(place, StepState::Skipped, message));
            }
            Some(Err(why)) => {
                return fail(facts, place, &format!("its condition (when): {why}"), Again::Maybe, now);
            }
        }
    }
    if facts.on_copies && !rehearsal::does(step) {
        let message = format!("{}; a drill on copies leaves it out", would(facts, place));
        return store(facts.entry(now).ends(place, StepState::Skipped, &message));
    }
    if facts.dry_run && !known.lacks.is_empty() {
        let account = &facts.spec.service_account_name;
        let message =
            format!("{}; serviceaccount/{account} may not {}", would(facts, place), known.lacks.join("; "));
        return fail(facts, place, &message, Again::Never, now);
    }
    let work = kind.work();
    if facts.dry_run && !matches!(work, Work::Mutation(_)) {
        let message = would(facts, place);
        return store(facts.entry(now).ends(place, StepState::Skipped, &message));
    }
    match work {
        Work::Mutation(mutation) => mutate(facts, place, mutation, now),
        Work::Poll(waiting) => poll(facts, place, step, waiting, now),
        Work::Question(question, answerer) => ask(facts, index, step, (question, answerer), now),
    }
}

#[cfg(test)]
mod stage;

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;

#[cfg(test)]
mod outside_tests;

#[cfg(test)]
mod rollback_tests;
