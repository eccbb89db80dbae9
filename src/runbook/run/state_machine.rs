//! The run's state machine. Pure: what is stored and what was seen in, the next move out.
//!
//! Every act is announced before it is sent (write-ahead): look at the live object, store the intent, ask once
//! more whether it is permitted, send it with preconditions, store what came of it. Whoever finds an intent
//! without an outcome proves from the object whether it happened, before anything else. What cannot be proved
//! is Unknown and goes to a person.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::journal::{self, Entry};
use super::permit::Permit;
use crate::api::common::ObjectRef;
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Step};
use crate::api::runbook_run::{Intent, RunState, RunbookRunStatus, StepState};
use crate::runbook::steps::{Action, check, is_workload, manual, restart, wait};

/// How often a check looks at an object that is not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// What is stored, and what was learnt in this pass.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Namespace and name of the run, for commands.
    pub namespace: &'a str,
    /// Name of the run.
    pub name: &'a str,
    /// UID of the run.
    pub uid: &'a str,
    /// `metadata.generation` of the run.
    pub generation: i64,
    /// Why the run is to stop, if it is.
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
    /// The answer to the question, asked for and perhaps not there.
    pub answer: Option<Option<manual::Answer>>,
    /// What became of the announced act.
    pub sent: Sent,
}

/// A live look.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The target, absent where there is none; or why it may not be read.
    pub target: Result<Option<Value>, String>,
    /// Whether every precondition holds; or which does not, and why.
    pub preconditions: Result<(), String>,
}

/// What became of the announced act, as far as this pass knows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Sent {
    /// Nothing is known: an earlier pass may have sent it.
    #[default]
    Unknown,
    /// This pass has announced it, and nobody has sent it.
    NotYet,
    /// The API server has done it.
    Applied,
    /// The API server has refused it for good, and why.
    Refused(String),
    /// Somebody changed the object first.
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
    /// Send the announced act of the step that is worked on.
    Act(Box<Intent>),
    /// Store this if it differs, then wait for a change or that instant.
    Hold(Box<RunbookRunStatus>, Option<Timestamp>),
    /// The run is settled: let go of it.
    Done,
}

/// Says what comes next.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Move {
    let state = facts.status.state.unwrap_or_default();
    if state.is_settled() {
        return Move::Done;
    }
    let current = journal::current(facts.status);
    // What was announced is settled first, cancelled or not.
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

impl Facts<'_> {
    fn entry(&self, now: Timestamp) -> Entry {
        Entry::new(self.status, self.generation, now)
    }

    fn operation_id(&self, step: &Step) -> String {
        // One iteration: an act is repeated only where it was proved not to have happened.
        format!("{}/{}/0", self.uid, step.name)
    }
}

fn store(entry: Entry) -> Move {
    Move::Store(Box::new(entry.done()))
}

fn hold(entry: Entry, until: Option<Timestamp>) -> Move {
    Move::Hold(Box::new(entry.done()), until)
}

/// Begins, or goes on after something stood in the way.
fn begin(facts: &Facts<'_>, now: Timestamp) -> Move {
    match &facts.pass.permit {
        None => Move::AskPermit,
        Some(permit) => {
            held_back(facts.entry(now), permit).unwrap_or_else(|| store(facts.entry(now).running()))
        }
    }
}

/// What follows from a permit that is not given; `None` if it is.
fn held_back(entry: Entry, permit: &Permit) -> Option<Move> {
    Some(match permit {
        Permit::Go => return None,
        Permit::Wait(obstacle) => hold(entry.blocked(obstacle.reason, &obstacle.message), obstacle.until),
        Permit::Ask(next, until) => hold(entry.asks(next.clone()), *until),
        Permit::Stop(state, message) => store(entry.finishes(*state, message)),
    })
}

fn finish(facts: &Facts<'_>, now: Timestamp) -> Move {
    if facts.dry_run {
        return store(
            facts
                .entry(now)
                .finishes(RunState::DryRunComplete, "nothing was changed; the steps say what would happen"),
        );
    }
    store(facts.entry(now).finishes(RunState::Succeeded, "every step succeeded"))
}

fn fail(facts: &Facts<'_>, index: usize, message: &str, now: Timestamp) -> Move {
    let end = if facts.dry_run { RunState::DryRunComplete } else { RunState::Failed };
    store(facts.entry(now).ends(index, StepState::Failed, message).finishes(end, message))
}

fn step(facts: &Facts<'_>, index: usize, now: Timestamp) -> Move {
    let Some(step) = facts.spec.steps.get(index) else {
        return fail(facts, index, "the Runbook has no such step", now);
    };
    let Some(action) = Action::of(step) else {
        return fail(facts, index, "the step does not do exactly one thing", now);
    };
    if facts.dry_run && !action.is_mutating() {
        let message = format!("would {}", action.summary());
        return store(facts.entry(now).ends(index, StepState::Skipped, &message));
    }
    match action {
        Action::Restart(target) => match &facts.pass.seen {
            None => Move::Look { target: target.target.clone(), preconditions: true },
            Some(seen) => announce(facts, index, step, &target.target, seen, now),
        },
        Action::Check(check) => look(facts, index, step, check, now),
        Action::Wait(duration) => {
            let started = facts.status.steps[index].start_time.as_ref().map_or(now, |time| time.0);
            let until = wait::until(duration, started);
            if now >= until {
                return store(facts.entry(now).ends(
                    index,
                    StepState::Succeeded,
                    &format!("waited {}", duration.duration),
                ));
            }
            let message = format!("waits {}, until {until}", duration.duration);
            hold(facts.entry(now).settling(index, journal::deadline(step, now), &message), Some(until))
        }
        Action::Manual(question) => ask(facts, index, step, question, now),
        Action::NotImplemented(name) => {
            fail(facts, index, &format!("this version of Mayday does not act on {name}"), now)
        }
    }
}

/// Announces an act over what was just seen. Preconditions are judged before anything is touched.
fn announce(
    facts: &Facts<'_>,
    index: usize,
    step: &Step,
    target: &ObjectRef,
    seen: &Seen,
    now: Timestamp,
) -> Move {
    let object = match (&seen.preconditions, &seen.target) {
        (Err(message), _) | (_, Err(message)) => return fail(facts, index, message, now),
        (Ok(()), Ok(None)) => {
            return fail(facts, index, &format!("{} does not exist", target.display()), now);
        }
        (Ok(()), Ok(Some(object))) => object,
    };
    let operation_id = facts.operation_id(step);
    match restart::plan(target, object, &operation_id) {
        restart::Plan::Refuse(message) => fail(facts, index, &message, now),
        restart::Plan::Nothing => {
            store(facts.entry(now).ends(index, StepState::Succeeded, &restarted(target)))
        }
        restart::Plan::Change(change) => {
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
            let message = format!("about to restart {}", target.display());
            store(facts.entry(now).intends(index, journal::deadline(step, now), intent, &message))
        }
    }
}

fn restarted(target: &ObjectRef) -> String {
    format!("{} was restarted", target.display())
}

/// Settles an announced act.
fn announced(facts: &Facts<'_>, index: usize, now: Timestamp) -> Move {
    let stored = &facts.status.steps[index];
    let (Some(intent), Some(step)) = (&stored.intent, facts.spec.steps.get(index)) else {
        return unknown(facts, index, "the journal names no intent", now);
    };
    match &facts.pass.sent {
        Sent::Applied if facts.dry_run => {
            let message = format!(
                "would restart {}; the API server accepts it from {}",
                intent.target.display(),
                intent.actor
            );
            store(facts.entry(now).ends(index, StepState::Skipped, &message))
        }
        Sent::Applied => {
            store(facts.entry(now).ends(index, StepState::Succeeded, &restarted(&intent.target)))
        }
        Sent::Refused(message) => fail(facts, index, message, now),
        Sent::NotYet if in_time(intent, now) => send(facts, index, intent, now),
        Sent::NotYet | Sent::Unknown | Sent::Conflict => prove(facts, index, step, intent, now),
    }
}

fn in_time(intent: &Intent, now: Timestamp) -> bool {
    intent.act_before.as_ref().is_some_and(|limit| now < limit.0)
}

/// Sends an act that has certainly not happened, if it is still permitted.
fn send(facts: &Facts<'_>, index: usize, intent: &Intent, now: Timestamp) -> Move {
    if let Some(why) = facts.cancel {
        return store(facts.entry(now).withdraws(index).finishes(RunState::Cancelled, why));
    }
    match &facts.pass.permit {
        None => Move::AskPermit,
        Some(permit) => held_back(facts.entry(now).withdraws(index), permit)
            .unwrap_or_else(|| Move::Act(Box::new(intent.clone()))),
    }
}

/// Proves from the live object whether an announced act has happened.
fn prove(facts: &Facts<'_>, index: usize, step: &Step, intent: &Intent, now: Timestamp) -> Move {
    let Some(seen) = &facts.pass.seen else {
        return Move::Look { target: intent.target.clone(), preconditions: true };
    };
    let object = match &seen.target {
        Ok(object) => object.as_ref(),
        Err(message) => {
            return unknown(
                facts,
                index,
                &format!("it cannot be proved whether {}: {message}", restarted(&intent.target)),
                now,
            );
        }
    };
    // A request carries the version that was looked at. If this pass was the first to announce the act over it,
    // there was no other request, and the API server has refused ours. A dry run changes nothing anyway.
    let first = intent.attempt == 0 && matches!(facts.pass.sent, Sent::NotYet | Sent::Conflict);
    let refused = facts.dry_run || first;
    match restart::probe(intent, object, refused) {
        restart::Proof::Done => {
            store(facts.entry(now).ends(index, StepState::Succeeded, &restarted(&intent.target)))
        }
        restart::Proof::Unprovable(message) => unknown(facts, index, &message, now),
        restart::Proof::NotDone => {
            if let Some(why) = facts.cancel {
                return store(facts.entry(now).withdraws(index).finishes(RunState::Cancelled, why));
            }
            if facts.status.steps[index].deadline.as_ref().is_some_and(|deadline| now >= deadline.0) {
                return fail(
                    facts,
                    index,
                    &format!("{} could not be restarted in time", intent.target.display()),
                    now,
                );
            }
            let version =
                object.and_then(|object| object.pointer("/metadata/resourceVersion")).and_then(Value::as_str);
            let unchanged = version == Some(intent.resource_version.as_str());
            if unchanged && facts.pass.sent == Sent::Conflict {
                // Refused over an unchanged object: whatever it is, it needs a moment.
                return hold(facts.entry(now), now.checked_add(SignedDuration::from_secs(1)).ok());
            }
            if let Some(until) = again(intent).filter(|until| unchanged && now < *until) {
                return hold(facts.entry(now), Some(until));
            }
            announce(facts, index, step, &intent.target, seen, now)
        }
    }
}

/// When an act that did not happen is announced anew over the same version: at once, then later each time, or an API
/// server that has trouble would be asked without a pause.
fn again(intent: &Intent) -> Option<Timestamp> {
    let attempt = u32::try_from(intent.attempt).unwrap_or(0).min(5);
    let wait = SignedDuration::from_secs((1 << attempt) - 1);
    intent.time.as_ref()?.0.checked_add(wait).ok()
}

fn unknown(facts: &Facts<'_>, index: usize, message: &str, now: Timestamp) -> Move {
    store(facts.entry(now).ends(index, StepState::Unknown, message).finishes(RunState::Unknown, message))
}

fn look(
    facts: &Facts<'_>,
    index: usize,
    step: &Step,
    check: &crate::api::runbook::CheckStep,
    now: Timestamp,
) -> Move {
    let Some(seen) = &facts.pass.seen else {
        return match Action::Check(check).target() {
            Some(target) => Move::Look { target: target.clone(), preconditions: false },
            None => fail(facts, index, "the check looks at nothing", now),
        };
    };
    let object = match &seen.target {
        Ok(object) => object.as_ref(),
        Err(message) => return fail(facts, index, message, now),
    };
    match check::look(check, object) {
        check::Seen::Passes(message) => store(facts.entry(now).ends(index, StepState::Succeeded, &message)),
        check::Seen::NotYet(message) => {
            let deadline = facts.status.steps[index]
                .deadline
                .as_ref()
                .map_or_else(|| journal::deadline(step, now), |time| time.0);
            if now >= deadline {
                return fail(facts, index, &format!("not in time: {message}"), now);
            }
            // The change of a workload wakes the run; of nothing else does anybody hear.
            let next = match Action::Check(check).target() {
                Some(target) if is_workload(target) => deadline,
                _ => now.checked_add(LOOK_AGAIN).unwrap_or(deadline).min(deadline),
            };
            hold(facts.entry(now).settling(index, deadline, &message), Some(next))
        }
    }
}

fn ask(
    facts: &Facts<'_>,
    index: usize,
    step: &Step,
    question: &crate::api::runbook::ManualStep,
    now: Timestamp,
) -> Move {
    let stored = &facts.status.steps[index];
    let (StepState::WaitingForPerson, Some(digest), Some(deadline)) =
        (stored.state, &stored.digest, &stored.deadline)
    else {
        let digest = crate::change::diff::digest::question(&question.instructions, facts.uid);
        let next = Next {
            who: crate::text::cut(facts.asked, 253),
            what: crate::text::cut(&question.instructions, 500),
            command: Some(format!(
                "kubectl mayday answer -n {} run/{} {} confirm",
                facts.namespace, facts.name, step.name
            )),
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
