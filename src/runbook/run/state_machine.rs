//! The run's state machine. Pure: the stored journal and what was read go in, the next move comes out.
//!
//! Every act is announced before it is sent (write-ahead, docs/decisions/0005-intent-before-act.md): read the target
//! live, store the intent, ask once more whether it is permitted, send it with preconditions, store the outcome. A
//! process that finds an intent without an outcome first proves from the target whether the act happened. An outcome
//! that cannot be proved is Unknown and goes to a person.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::journal::{self, Entry};
use super::permit::Permit;
use crate::api::common::ObjectRef;
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Step};
use crate::api::runbook_run::{Intent, RunState, RunbookRunStatus, StepState};
use crate::command::{Command, Verb};
use crate::runbook::steps::kind::{Poll, Progress, StepKind, Work};
use crate::runbook::steps::manual::Answer;
use crate::runbook::steps::mutation::{Mutation, Plan, Proof, Write};
use crate::runbook::steps::{self, is_workload};

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

/// What was learnt since the journal was last stored or read; forgotten with every store.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Whether the run may go on.
    pub permit: Option<Permit>,
    /// The target, and whether the preconditions hold.
    pub seen: Option<Seen>,
    /// The answer to the question: `None` if it was not looked for, `Some(None)` if there is none yet.
    pub answer: Option<Option<Answer>>,
    /// The outcome of the announced act.
    pub sent: Sent,
}

/// A live look.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The target, `None` if it does not exist; or why it may not be read.
    pub target: Result<Option<Value>, String>,
    /// Whether every precondition holds; or which does not, and why.
    pub preconditions: Result<(), String>,
}

/// The outcome of the announced act, as far as this pass knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Sent {
    /// Nothing is known: an earlier pass may have sent it.
    #[default]
    Unknown,
    /// This pass has announced it, and it has not been sent.
    NotYet,
    /// The API server has done it.
    Applied,
    /// The API server has refused it for good, and why.
    Refused(String),
    /// Another writer changed the object first.
    Conflict,
}

/// The next move.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// Find out whether the run may go on.
    AskPermit,
    /// Read the target live, and judge the preconditions if asked to.
    Look {
        /// The object.
        target: ObjectRef,
        /// Whether the preconditions are needed.
        preconditions: bool,
    },
    /// Look for the answer to the question of that step.
    AskAnswer {
        /// Name of the step.
        step: String,
        /// Digest of its question.
        digest: String,
    },
    /// Store this, then go on.
    Store(Box<RunbookRunStatus>),
    /// Send the announced act of the current step.
    Act {
        /// The intent, as it is stored.
        intent: Box<Intent>,
        /// The request that carries it out.
        write: Write,
    },
    /// Store this if it differs, then wait for a change or that instant.
    Hold(Box<RunbookRunStatus>, Option<Timestamp>),
    /// The run is settled: release it.
    Done,
}

/// Decides the next move.
pub fn decide(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let state = facts.status.state.unwrap_or_default();
    if state.is_settled() {
        return Move::Done;
    }
    let current = journal::current(facts.status);
    // An announced act is settled first, even if the run is cancelled.
    if let Some(index) = current.filter(|index| facts.status.steps[*index].state == StepState::IntentRecorded)
    {
        return announced(facts, index, now);
    }
    if let Some(why) = facts.cancel {
        return store(facts.entry(now).finishes(RunState::Cancelled, why));
    }
    match state {
        RunState::Pending | RunState::Blocked | RunState::WaitingForApproval => begin(facts, now),
        _ => match current {
            Some(index) => step(facts, index, now),
            None => finish(facts, now),
        },
    }
}

impl RunFacts<'_> {
    fn entry(&self, now: Timestamp) -> Entry {
        Entry::new(self.status, self.generation, now)
    }

    fn operation_id(&self, step: &Step) -> String {
        // Always iteration 0: an act is repeated only if it was proved not to have happened.
        format!("{}/{}/0", self.uid, step.name)
    }
}

fn store(entry: Entry) -> Move {
    Move::Store(Box::new(entry.done()))
}

fn hold(entry: Entry, until: Option<Timestamp>) -> Move {
    Move::Hold(Box::new(entry.done()), until)
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
    if facts.dry_run {
        return store(
            facts
                .entry(now)
                .finishes(RunState::DryRunComplete, "nothing was changed; the steps say what would happen"),
        );
    }
    store(facts.entry(now).finishes(RunState::Succeeded, "every step succeeded"))
}

fn fail(facts: &RunFacts<'_>, index: usize, message: &str, now: Timestamp) -> Move {
    let end = if facts.dry_run { RunState::DryRunComplete } else { RunState::Failed };
    store(facts.entry(now).ends(index, StepState::Failed, message).finishes(end, message))
}

fn step(facts: &RunFacts<'_>, index: usize, now: Timestamp) -> Move {
    let Some(step) = facts.spec.steps.get(index) else {
        return fail(facts, index, "the Runbook has no such step", now);
    };
    let Some(kind) = steps::of(step) else {
        return fail(facts, index, "the step does not do exactly one thing", now);
    };
    let work = kind.work();
    if facts.dry_run && !matches!(work, Work::Mutation(_)) {
        let message = format!("would {}", kind.summary());
        return store(facts.entry(now).ends(index, StepState::Skipped, &message));
    }
    match work {
        Work::Mutation(mutation) => match (kind.target(), &facts.pass.seen) {
            (None, _) => fail(facts, index, "the step names no object to change", now),
            (Some(target), None) => Move::Look { target: target.clone(), preconditions: true },
            (Some(target), Some(seen)) => announce(facts, index, step, (mutation, target), seen, now),
        },
        Work::Poll(waiting) => poll(facts, index, step, (waiting, kind.target()), now),
        Work::Question(question) => ask(facts, index, step, question, now),
        Work::NotImplemented(name) => {
            fail(facts, index, &format!("this version of Mayday does not act on {name}"), now)
        }
    }
}

/// Announces an act over what was just seen. Preconditions are judged before anything is touched.
fn announce(
    facts: &RunFacts<'_>,
    index: usize,
    step: &Step,
    (mutation, target): (&dyn Mutation, &ObjectRef),
    seen: &Seen,
    now: Timestamp,
) -> Move {
    let object = match (&seen.preconditions, &seen.target) {
        (Err(message), _) | (_, Err(message)) => return fail(facts, index, message, now),
        (Ok(()), Ok(object)) => object.as_ref(),
    };
    let operation_id = facts.operation_id(step);
    match mutation.plan(object, &operation_id) {
        Plan::Refuse(message) => fail(facts, index, &message, now),
        Plan::Nothing => succeed(facts, index, mutation, now),
        Plan::Change(change) => {
            let before = facts.status.steps[index].intent.as_ref();
            let same_version = before.filter(|before| before.resource_version == change.resource_version);
            let intent = Intent {
                attempt: same_version.map_or(0, |before| before.attempt.saturating_add(1)),
                operation_id,
                target: target.clone(),
                uid: change.uid,
                resource_version: change.resource_version,
                generation: change.generation,
                actor: facts.actor.to_owned(),
                delta: change.delta,
                time: None,
                act_before: None,
            };
            let message = format!("about to {}", summary(step));
            store(facts.entry(now).intends(index, journal::deadline(step, now), intent, &message))
        }
    }
}

fn summary(step: &Step) -> String {
    steps::of(step).map_or_else(String::new, StepKind::summary)
}

fn succeed(facts: &RunFacts<'_>, index: usize, mutation: &dyn Mutation, now: Timestamp) -> Move {
    store(facts.entry(now).ends(index, StepState::Succeeded, &mutation.phrase().done()))
}

/// Settles an announced act.
fn announced(facts: &RunFacts<'_>, index: usize, now: Timestamp) -> Move {
    let (Some(intent), Some(step)) = (&facts.status.steps[index].intent, facts.spec.steps.get(index)) else {
        return unknown(facts, index, "the journal names no intent", now);
    };
    let Some(Work::Mutation(mutation)) = steps::of(step).map(StepKind::work) else {
        return unknown(facts, index, "the journal names an intent of a step that changes nothing", now);
    };
    match &facts.pass.sent {
        Sent::Applied if facts.dry_run => {
            let message = format!("would {}; the API server accepts it from {}", summary(step), intent.actor);
            store(facts.entry(now).ends(index, StepState::Skipped, &message))
        }
        Sent::Applied => succeed(facts, index, mutation, now),
        Sent::Refused(message) => fail(facts, index, message, now),
        Sent::NotYet if in_time(intent, now) => send(facts, index, mutation, intent, now),
        Sent::NotYet | Sent::Unknown | Sent::Conflict => prove(facts, index, step, mutation, intent, now),
    }
}

fn in_time(intent: &Intent, now: Timestamp) -> bool {
    intent.act_before.as_ref().is_some_and(|limit| now < limit.0)
}

/// Sends an act that has certainly not happened, if it is still permitted.
fn send(
    facts: &RunFacts<'_>,
    index: usize,
    mutation: &dyn Mutation,
    intent: &Intent,
    now: Timestamp,
) -> Move {
    if let Some(why) = facts.cancel {
        return store(facts.entry(now).withdraws(index).finishes(RunState::Cancelled, why));
    }
    match &facts.pass.permit {
        None => Move::AskPermit,
        Some(permit) => held_back(facts.entry(now).withdraws(index), permit)
            .unwrap_or_else(|| Move::Act { intent: Box::new(intent.clone()), write: mutation.write(intent) }),
    }
}

/// Proves from the live object whether an announced act has happened.
fn prove(
    facts: &RunFacts<'_>,
    index: usize,
    step: &Step,
    mutation: &dyn Mutation,
    intent: &Intent,
    now: Timestamp,
) -> Move {
    let Some(seen) = &facts.pass.seen else {
        return Move::Look { target: intent.target.clone(), preconditions: true };
    };
    let object = match &seen.target {
        Ok(object) => object.as_ref(),
        Err(message) => {
            let message = format!("it cannot be proved whether {}: {message}", mutation.phrase().done());
            return unknown(facts, index, &message, now);
        }
    };
    // A request carries the version that was read. If this pass was the first to announce the act over that version,
    // its request was the only one, and the API server has refused it or never got it. A dry run changes nothing.
    let first = intent.attempt == 0 && matches!(facts.pass.sent, Sent::NotYet | Sent::Conflict);
    let refused = facts.dry_run || first;
    match mutation.probe(intent, object, refused) {
        Proof::Done => succeed(facts, index, mutation, now),
        Proof::Unprovable(message) => unknown(facts, index, &message, now),
        Proof::NotDone => {
            if let Some(why) = facts.cancel {
                return store(facts.entry(now).withdraws(index).finishes(RunState::Cancelled, why));
            }
            if facts.status.steps[index].deadline.as_ref().is_some_and(|deadline| now >= deadline.0) {
                let phrase = mutation.phrase();
                let message = format!("{} could not be {} in time", phrase.object, phrase.participle);
                return fail(facts, index, &message, now);
            }
            let version =
                object.and_then(|object| object.pointer("/metadata/resourceVersion")).and_then(Value::as_str);
            let unchanged = version == Some(intent.resource_version.as_str());
            if unchanged && facts.pass.sent == Sent::Conflict {
                // A conflict over an unchanged object has another cause, which may be gone in a second.
                return hold(facts.entry(now), now.checked_add(SignedDuration::from_secs(1)).ok());
            }
            if let Some(until) = again(intent).filter(|until| unchanged && now < *until) {
                return hold(facts.entry(now), Some(until));
            }
            announce(facts, index, step, (mutation, &intent.target), seen, now)
        }
    }
}

/// When an act that did not happen is announced again over the same version: at once, then after 1, 3, 7, 15 and 31
/// seconds, so that an API server in trouble is not asked without a pause.
fn again(intent: &Intent) -> Option<Timestamp> {
    let attempt = u32::try_from(intent.attempt).unwrap_or(0).min(5);
    let wait = SignedDuration::from_secs((1 << attempt) - 1);
    intent.time.as_ref()?.0.checked_add(wait).ok()
}

fn unknown(facts: &RunFacts<'_>, index: usize, message: &str, now: Timestamp) -> Move {
    store(facts.entry(now).ends(index, StepState::Unknown, message).finishes(RunState::Unknown, message))
}

/// Waits until something is so.
fn poll(
    facts: &RunFacts<'_>,
    index: usize,
    step: &Step,
    (waiting, target): (&dyn Poll, Option<&ObjectRef>),
    now: Timestamp,
) -> Move {
    let object = match (target, &facts.pass.seen) {
        (None, _) => None,
        (Some(target), None) => return Move::Look { target: target.clone(), preconditions: false },
        (Some(_), Some(seen)) => match &seen.target {
            Ok(object) => object.as_ref(),
            Err(message) => return fail(facts, index, message, now),
        },
    };
    let stored = &facts.status.steps[index];
    let started = stored.start_time.as_ref().map_or(now, |time| time.0);
    match waiting.poll(object, started, now) {
        Progress::Done(message) => store(facts.entry(now).ends(index, StepState::Succeeded, &message)),
        Progress::Failed(message) => fail(facts, index, &message, now),
        Progress::NotYet { message, until } => {
            let deadline =
                stored.deadline.as_ref().map_or_else(|| journal::deadline(step, now), |time| time.0);
            if now >= deadline {
                return fail(facts, index, &format!("not in time: {message}"), now);
            }
            // A change of a workload wakes the run; other objects are not watched.
            let next = until.or_else(|| match target {
                Some(target) if is_workload(target) => None,
                _ => now.checked_add(LOOK_AGAIN).ok(),
            });
            let next = next.map_or(deadline, |next| next.min(deadline));
            hold(facts.entry(now).settling(index, deadline, &message), Some(next))
        }
    }
}

/// Puts a question to a person, and waits for the answer.
fn ask(facts: &RunFacts<'_>, index: usize, step: &Step, question: &str, now: Timestamp) -> Move {
    let stored = &facts.status.steps[index];
    let (StepState::WaitingForPerson, Some(digest), Some(deadline)) =
        (stored.state, &stored.digest, &stored.deadline)
    else {
        let digest = crate::change::diff::digest::question(question, facts.uid);
        let next = Next {
            who: crate::text::cut(facts.asked, 253),
            what: crate::text::cut(question, 500),
            command: Some(
                Command::new(Verb::Answer)
                    .namespace(facts.namespace)
                    .on("run", facts.name)
                    .word(&step.name)
                    .word("confirm")
                    .to_string(),
            ),
        };
        return match digest {
            Ok(digest) => {
                store(facts.entry(now).questions(index, journal::deadline(step, now), digest, next))
            }
            Err(error) => fail(facts, index, &format!("no digest can be made: {error}"), now),
        };
    };
    match &facts.pass.answer {
        None => Move::AskAnswer { step: step.name.clone(), digest: digest.clone() },
        Some(Some(answer)) => {
            let comment = answer.comment.as_ref().map_or_else(String::new, |comment| format!(": {comment}"));
            let entry = facts.entry(now).answered(index, &answer.by);
            if answer.confirmed {
                store(entry.ends(index, StepState::Succeeded, &format!("{} confirmed{comment}", answer.by)))
            } else {
                let message = format!("{} denied{comment}", answer.by);
                store(entry.ends(index, StepState::Failed, &message).finishes(RunState::Failed, &message))
            }
        }
        Some(None) if now >= deadline.0 => fail(facts, index, "nobody answered in time", now),
        Some(None) => hold(facts.entry(now), Some(deadline.0)),
    }
}

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;
