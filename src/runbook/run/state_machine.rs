//! The run's state machine. Pure: the stored journal and what was read go in, the next move comes out.
//!
//! Every act is announced before it is sent (write-ahead, docs/decisions/0005-intent-before-act.md): read the target
//! live, store the intent, ask once more whether it is permitted, send it with preconditions, store the outcome. A
//! process that finds an intent without an outcome first proves from the target whether the act happened. An outcome
//! that cannot be proved is Unknown and goes to a person.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::journal::{self, Entry, Place};
use super::permit::Permit;
use crate::api::common::ObjectRef;
use crate::api::incident_status::Next;
use crate::api::runbook::{OnFailure, RunbookSpec, Step};
use crate::api::runbook_run::{
    Act, ActVerb, Outcome, Output, Resolved, RunState, RunbookRunStatus, StepState, StepStatus,
};
use crate::command::{Command, Verb};
use crate::outbound;
use crate::outbound::look::Verdict;
use crate::runbook::steps::kind::{Answerer, DEFAULT_TIMEOUT, Found, Poll, Progress, StepKind, Work};
use crate::runbook::steps::manual::Answer;
use crate::runbook::steps::mutation::{self, Mutation, Proof, Scene};
use crate::runbook::steps::{self, denied, is_workload};
use crate::runbook::targets;

/// Interval between two looks at an object that is not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Wait before the first further attempt of a step if its Runbook does not say.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// Longest wait between two attempts of a step.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Wait before a creation that was never sent, or that was refused for now, is announced again.
const CREATE_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// How the message of a step begins whose act is held up, and is tried again.
const HELD_UP: &str = "waits: ";

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
    /// It was done, and its receiver says that it failed.
    Failed(String),
    /// It was sent, and its receiver did not say what became of it.
    Unanswered(String),
    /// A part of it was done; what is missing, and why.
    Partly(String),
    /// The API server has refused it for good, and why.
    Refused(String),
    /// Another writer changed the object first.
    Conflict,
}

impl Sent {
    /// What the receiver did instead of answering.
    fn unanswered(&self) -> Option<&str> {
        match self {
            Sent::Unanswered(what) => Some(what),
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

/// Decides the next move.
pub fn decide(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let state = facts.status.state.unwrap_or_default();
    if state.is_settled() {
        return Move::Done;
    }
    // An announced act is settled first, even if the run is cancelled.
    if let Some(place) = journal::announced(facts.status) {
        return announced(facts, place, now);
    }
    if let Some(why) = facts.cancel {
        return store(facts.entry(now).finishes(RunState::Cancelled, &cancelled(facts.status, why)));
    }
    match state {
        RunState::Pending | RunState::Blocked | RunState::WaitingForApproval => begin(facts, now),
        RunState::RollingBack => roll_back(facts, now),
        _ => match journal::current(facts.status) {
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

    /// Identity of the next act of a part. An act that is announced again keeps its identity.
    fn operation_id(&self, place: Place) -> String {
        let part = journal::part(self.status, place);
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
            run_uid: self.uid,
            namespace: self.namespace,
            account: &self.spec.service_account_name,
            timeout: self.step(place).map_or(DEFAULT_TIMEOUT, journal::timeout),
            target,
            object,
            related,
            values: &self.status.values,
            healthy: &self.status.healthy_templates,
            several: targets.len() > 1,
            again: journal::part(self.status, place).open(),
            undoes: self.undone(place).into_iter().nth(journal::part(self.status, place).done()),
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
        .filter(|step| step.compensation.as_ref().is_some_and(|back| !journal::is_terminal(back.state)))
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
    if facts.dry_run {
        return store(
            entry.finishes(RunState::DryRunComplete, "nothing was changed; the steps say what would happen"),
        );
    }
    let failed: Vec<&str> = facts
        .status
        .steps
        .iter()
        .filter(|step| step.state == StepState::Failed)
        .map(|step| step.name.as_str())
        .collect();
    if failed.is_empty() {
        return store(entry.finishes(RunState::Succeeded, "every step succeeded"));
    }
    let message = format!("{} failed, and the run went on (onFailure: Continue)", failed.join(", "));
    store(entry.finishes(RunState::Degraded, &message))
}

/// Whether a failure may be tried again, if the Runbook says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Again {
    /// It changed nothing, or its effect is over.
    Maybe,
    /// The next attempt would fail as well, or what happened is not known.
    Never,
}

fn fail(facts: &RunFacts<'_>, place: Place, message: &str, again: Again, now: Timestamp) -> Move {
    let ended = || facts.entry(now).ends(place, StepState::Failed, message);
    if place.back {
        // The other compensations are done all the same: each takes back its own step.
        return store(ended());
    }
    if facts.dry_run {
        return store(ended().finishes(RunState::DryRunComplete, message));
    }
    if again == Again::Maybe
        && let Some(at) = retry_at(facts, place, now)
    {
        return store(facts.entry(now).retries(place.index, at, message));
    }
    match facts.spec.on_failure_of(facts.step(place)) {
        OnFailure::Continue => store(ended()),
        OnFailure::Rollback => {
            let mut entry = ended();
            match entry.rolls_back(facts.spec) {
                true => store(entry),
                false => store(entry.finishes(RunState::Failed, message)),
            }
        }
        OnFailure::Stop | OnFailure::Escalate => store(ended().finishes(RunState::Failed, message)),
    }
}

/// When a step that failed is tried again; `None` if it is not, or if its time is up before.
fn retry_at(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Option<Timestamp> {
    let (retry, known) = (facts.step(place)?.retry.as_ref()?, facts.known(place)?);
    if known.retries >= retry.maximum || facts.cancel.is_some() {
        return None;
    }
    let first = retry.wait.as_ref().map_or(RETRY_AFTER, |wait| wait.get());
    let factor = 1_i32 << known.retries.clamp(0, 10);
    let wait = first.checked_mul(factor).map_or(MAX_RETRY_AFTER, |wait| wait.min(MAX_RETRY_AFTER));
    let at = now.checked_add(wait).ok()?;
    let deadline = journal::part(facts.status, place).deadline;
    deadline.is_none_or(|deadline| at < deadline).then_some(at)
}

fn step(facts: &RunFacts<'_>, index: usize, now: Timestamp) -> Move {
    let place = Place::step(index);
    let (Some(step), Some(known)) = (facts.step(place), facts.known(place)) else {
        return fail(facts, place, "the Runbook has no such step", Again::Never, now);
    };
    let Some(kind) = steps::of(step) else {
        return fail(facts, place, "the step does not do exactly one thing", Again::Never, now);
    };
    if let Some(at) =
        known.retry_time.as_ref().filter(|at| known.acts.last().is_none_or(is_over) && now < at.0)
    {
        return hold(facts.entry(now), Some(at.0));
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
    let work = kind.work();
    if facts.dry_run && !matches!(work, Work::Mutation(_)) {
        let message = would(facts, place, kind);
        return store(facts.entry(now).ends(place, StepState::Skipped, &message));
    }
    match work {
        Work::Mutation(mutation) => mutate(facts, place, mutation, now),
        Work::Poll(waiting) => poll(facts, place, step, waiting, now),
        Work::Question(question, answerer) => ask(facts, index, step, (question, answerer), now),
    }
}

fn is_over(act: &Act) -> bool {
    act.outcome == Some(Outcome::Failed)
}

/// What a step of a dry run would do. What it would see after an earlier step is not known.
fn would(facts: &RunFacts<'_>, place: Place, kind: &dyn StepKind) -> String {
    let targets = facts.known(place).map_or(&[][..], |known| &known.targets);
    let what = journal::what(kind, targets);
    if follows_a_change(facts, place) {
        return format!("would {what}; what it sees after the steps before it is not known");
    }
    format!("would {what}")
}

/// Whether a step before this one changes something.
fn follows_a_change(facts: &RunFacts<'_>, place: Place) -> bool {
    steps::change_something(facts.spec.steps.get(..place.index).unwrap_or_default())
}

/// Takes back what the steps have done, the last one first.
fn roll_back(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let Some(place) = journal::next_compensation(facts.status) else { return rolled_back(facts, now) };
    match facts.step(place).and_then(|step| steps::mutation_of(step, true)) {
        Some(mutation) => mutate(facts, place, mutation, now),
        None => fail(facts, place, "the Runbook does not say how", Again::Never, now),
    }
}

fn rolled_back(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let failed = facts.status.steps.iter().find(|step| step.state == StepState::Failed);
    let mut message = failed.map_or_else(
        || "a step failed".to_owned(),
        |step| format!("{}: {}", step.name, step.message.as_deref().unwrap_or("failed")),
    );
    let compensations =
        || facts.status.steps.iter().filter_map(|step| Some((step, step.compensation.as_ref()?)));
    let with = |state: StepState| compensations().filter(move |(_, back)| back.state == state);
    let done: Vec<&str> = with(StepState::Succeeded).map(|(step, _)| step.name.as_str()).collect();
    if !done.is_empty() {
        message = format!("{message}; rolled back: {}", done.join(", "));
    }
    let left: Vec<String> = compensations()
        .filter(|(_, back)| back.state != StepState::Succeeded)
        .map(|(step, back)| format!("{} ({})", step.name, back.message.as_deref().unwrap_or("not done")))
        .collect();
    if !left.is_empty() {
        message = format!("{message}; still as the run left it: {}", left.join("; "));
    }
    let is_unknown = with(StepState::Unknown).next().is_some();
    let state = if is_unknown { RunState::Unknown } else { RunState::Failed };
    store(facts.entry(now).finishes(state, &message))
}

/// Acts on the targets of a part, one after the other. Of several, each batch takes effect before the next begins.
fn mutate(facts: &RunFacts<'_>, place: Place, mutation: &dyn Mutation, now: Timestamp) -> Move {
    let part = journal::part(facts.status, place);
    let targets = facts.targets(place);
    let done = part.done();
    let waits = mutation.settles(targets.len() > 1)
        && !facts.dry_run
        && (done >= targets.len() || targets::ends_batch(done));
    if waits && let Some(index) = part.acts.iter().position(|act| act.outcome == Some(Outcome::Done)) {
        return settle(facts, place, (mutation, index), now);
    }
    let Some(target) = targets.get(done) else { return succeed(facts, place, mutation, now) };
    match &facts.pass.seen {
        None if mutation.reads_target()
            || needs_judgement(facts, place)
            || !mutation.reads(&target.object, None).is_empty() =>
        {
            let objects = if mutation.reads_target() { vec![target.object.clone()] } else { Vec::new() };
            Move::Look(look(facts, place, objects))
        }
        None => {
            let nothing = Seen { objects: Ok(Vec::new()), related: Vec::new(), preconditions: Ok(()) };
            announce(facts, place, (mutation, target), &nothing, now)
        }
        Some(seen) => announce(facts, place, (mutation, target), seen, now),
    }
}

/// A look at the target of an act. The preconditions of the Runbook are judged before anything is touched, those of a step
/// before each of its acts, and none before a compensation.
fn look(facts: &RunFacts<'_>, place: Place, objects: Vec<ObjectRef>) -> Look {
    let of_runbook = !place.back && !journal::has_act(facts.status);
    Look { objects, related: Some(place), of_runbook, of_step: (!place.back).then_some(place.index) }
}

fn needs_judgement(facts: &RunFacts<'_>, place: Place) -> bool {
    let of_step = facts.step(place).is_some_and(|step| !step.preconditions.is_empty());
    let of_runbook = !journal::has_act(facts.status) && !facts.spec.preconditions.is_empty();
    !place.back && (of_step || of_runbook)
}

/// Waits until an act has taken effect.
fn settle(
    facts: &RunFacts<'_>,
    place: Place,
    (mutation, index): (&dyn Mutation, usize),
    now: Timestamp,
) -> Move {
    let part = journal::part(facts.status, place);
    let Some(act) = part.acts.get(index) else {
        return fail(facts, place, "the journal names no act", Again::Never, now);
    };
    let Some(seen) = &facts.pass.seen else {
        let objects = vec![act.target.clone()];
        return Move::Look(Look { objects, related: Some(place), of_runbook: false, of_step: None });
    };
    let objects = match &seen.objects {
        Ok(objects) => objects,
        Err(message) => return fail(facts, place, message, Again::Never, now),
    };
    let object = objects.first().and_then(Option::as_ref);
    let scene = facts.scene(place, &act.target, &act.operation_id, (object, &seen.related));
    match mutation.settle(act, &scene, now) {
        Progress::Done(message) => {
            let entry =
                facts.entry(now).took_effect(place, index).gives(place, mutation.outputs(act, &scene));
            let others = part.acts.iter().filter(|act| act.outcome == Some(Outcome::Done)).count();
            if others <= 1 && part.done() >= facts.targets(place).len() {
                let message = if message.is_empty() {
                    mutation::done(&act.target, mutation.participle())
                } else {
                    message
                };
                return store(entry.ends(place, StepState::Succeeded, &message));
            }
            store(entry)
        }
        Progress::Failed(message) => {
            store_failure(facts, place, mutation.outputs(act, &scene), &message, now)
        }
        Progress::Unknown(message) => unknown(facts, place, &message, now),
        Progress::NotYet { message, until } => {
            let deadline = part.deadline.unwrap_or(Timestamp::MAX);
            if now >= deadline {
                return fail(facts, place, &format!("not in time: {message}"), Again::Never, now);
            }
            let is_watched = is_workload(&act.target);
            let next = until.or_else(|| (!is_watched).then(|| now.checked_add(LOOK_AGAIN).ok()).flatten());
            let next = next.map_or(deadline, |next| next.min(deadline));
            hold(facts.entry(now).settling(place, deadline, &message), Some(next))
        }
    }
}

/// An act whose effect is a failure. Its results are kept: they say why.
fn store_failure(
    facts: &RunFacts<'_>,
    place: Place,
    outputs: Vec<Output>,
    message: &str,
    now: Timestamp,
) -> Move {
    let status = facts.entry(now).gives(place, outputs).fails_act(place).done();
    fail(&RunFacts { status: &status, ..*facts }, place, message, Again::Maybe, now)
}

/// Announces an act over what was just seen.
fn announce(
    facts: &RunFacts<'_>,
    place: Place,
    (mutation, target): (&dyn Mutation, &Resolved),
    seen: &Seen,
    now: Timestamp,
) -> Move {
    let object = match (&seen.preconditions, &seen.objects) {
        (Err(message), _) => return fail(facts, place, message, Again::Maybe, now),
        (_, Err(message)) => return fail(facts, place, message, Again::Never, now),
        (Ok(()), Ok(objects)) => objects.last().and_then(Option::as_ref),
    };
    let uid = object.and_then(|object| object.pointer("/metadata/uid")).and_then(Value::as_str);
    let is_lost = target.uid.is_some() && target.uid.as_deref() != uid;
    if is_lost && !mutation.is_done_without_target() && uid.is_some() {
        let message = format!(
            "{} was replaced by another object of that name since the run was prepared",
            target.object.display()
        );
        return fail(facts, place, &message, Again::Never, now);
    }
    if let Some(why) = denied::why(&target.object) {
        return fail(facts, place, &why, Again::Never, now);
    }
    let operation_id = facts.operation_id(place);
    let scene = facts.scene(place, &target.object, &operation_id, (object, &seen.related));
    let deadline = deadline(facts, place, now);
    let act = Act {
        operation_id: operation_id.clone(),
        target: target.object.clone(),
        actor: facts.actor.to_owned(),
        ..Act::default()
    };
    let plan = if is_lost && mutation.is_done_without_target() { Ok(None) } else { mutation.plan(&scene) };
    match plan {
        Err(why) if facts.dry_run && follows_a_change(facts, place) => {
            // The steps before it may change what stands in its way.
            let kind = facts.step(place).and_then(steps::of);
            let what = kind.map_or_else(String::new, |kind| would(facts, place, kind));
            store(facts.entry(now).ends(place, StepState::Skipped, &format!("{what}; as it is now: {why}")))
        }
        Err(message) => fail(facts, place, &message, Again::Maybe, now),
        Ok(None) => {
            // An act that is announced already turns out to be done.
            let entry = match scene.again {
                Some(_) => facts.entry(now).settles(place, Outcome::Done),
                None => facts.entry(now).needs_nothing(place, deadline, act),
            };
            happened(facts, place, mutation, entry, now)
        }
        Ok(Some(change)) if facts.dry_run && change.verb == ActVerb::Send => {
            let kind = facts.step(place).and_then(steps::of);
            let what = kind.map_or_else(String::new, |kind| would(facts, place, kind));
            let message = format!("{what}; a dry run sends nothing");
            store(facts.entry(now).ends(place, StepState::Skipped, &message))
        }
        Ok(Some(change)) => {
            // A removal does not name the version that was read, so each announcement of it counts.
            let same =
                |before: &&Act| before.resource_version == change.resource_version || !change.pods.is_empty();
            let before = scene.again.filter(same);
            let act = Act {
                attempt: before.map_or(0, |before| before.attempt.saturating_add(1)),
                verb: change.verb,
                target: change.object.unwrap_or(act.target),
                uid: change.uid,
                resource_version: change.resource_version,
                generation: change.generation,
                delta: change.delta,
                body: change.body,
                pods: change.pods,
                ..act
            };
            let message = format!("about to {}", summary(facts, place));
            let status = facts.entry(now).intends(place, deadline, act, &message).done();
            if journal::is_full(&status) {
                let message = "the journal of the run is full, so no further act can be stored";
                return fail(facts, place, message, Again::Never, now);
            }
            Move::Store(Box::new(status))
        }
    }
}

fn deadline(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Timestamp {
    let by_step = || facts.step(place).map_or(now, |step| journal::deadline(step, now));
    journal::part(facts.status, place).deadline.unwrap_or_else(by_step)
}

fn summary(facts: &RunFacts<'_>, place: Place) -> String {
    let kind = facts.step(place).and_then(|step| match place.back {
        true => steps::compensation_of(step),
        false => steps::of(step),
    });
    kind.map_or_else(String::new, StepKind::summary)
}

/// Goes on after an act happened, or was not needed: with the next target, with the wait for its effect, or with the end of
/// the part. `entry` notes the act.
fn happened(
    facts: &RunFacts<'_>,
    place: Place,
    mutation: &dyn Mutation,
    entry: Entry,
    now: Timestamp,
) -> Move {
    let status = entry.done();
    let targets = facts.targets(place).len();
    let part = journal::part(&status, place);
    let is_open = |act: &Act| act.outcome == Some(Outcome::Done);
    let waits = mutation.settles(targets > 1) && !facts.dry_run && part.acts.iter().any(is_open);
    if part.done() < targets || waits {
        return Move::Store(Box::new(status));
    }
    succeed(&RunFacts { status: &status, ..*facts }, place, mutation, now)
}

fn succeed(facts: &RunFacts<'_>, place: Place, mutation: &dyn Mutation, now: Timestamp) -> Move {
    let part = journal::part(facts.status, place);
    if facts.dry_run {
        let kind = facts.step(place).and_then(steps::of);
        let what = kind.map_or_else(String::new, |kind| would(facts, place, kind));
        let message = format!("{what}; the API server accepts it from {}", facts.actor);
        return store(facts.entry(now).ends(place, StepState::Skipped, &message));
    }
    let done: Vec<String> = part
        .acts
        .iter()
        .filter_map(|act| match act.outcome? {
            Outcome::Unneeded if act.delta.is_empty() => {
                Some(format!("{} was {} already", act.target.display(), mutation.participle()))
            }
            Outcome::Failed | Outcome::Unknown => None,
            _ => Some(mutation::done(&act.target, mutation.participle())),
        })
        .collect();
    let message = if done.is_empty() { "there was nothing to do".to_owned() } else { done.join("; ") };
    store(facts.entry(now).ends(place, StepState::Succeeded, &message))
}

/// Settles an announced act.
fn announced(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Move {
    let Some(act) = journal::part(facts.status, place).open() else {
        return unknown(facts, place, "the journal names no act", now);
    };
    let Some(mutation) = facts.step(place).and_then(|step| steps::mutation_of(step, place.back)) else {
        return unknown(facts, place, "the journal names an act of a step that changes nothing", now);
    };
    match &facts.pass.sent {
        Sent::Applied(outputs) => {
            let entry = facts.entry(now).settles(place, Outcome::Done).gives(place, outputs.clone());
            happened(facts, place, mutation, entry, now)
        }
        Sent::Failed(message) => store_failure(facts, place, Vec::new(), message, now),
        Sent::Refused(message) => fail(facts, place, message, Again::Never, now),
        Sent::Partly(message) => {
            if facts.dry_run {
                return fail(facts, place, &format!("it would wait now: {message}"), Again::Never, now);
            }
            if is_late(facts, place, now) {
                return fail(facts, place, &format!("not in time: {message}"), Again::Never, now);
            }
            let deadline = journal::part(facts.status, place).deadline;
            let next = again(act).into_iter().chain(deadline).min();
            hold(facts.entry(now).notes(place, &format!("{HELD_UP}{message}")), next)
        }
        Sent::NotYet if in_time(act, now) => send(facts, place, act, now),
        Sent::NotYet | Sent::Unknown | Sent::Unanswered(_) | Sent::Conflict => {
            prove(facts, place, mutation, act, now)
        }
    }
}

fn is_late(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> bool {
    journal::part(facts.status, place).deadline.is_some_and(|deadline| now >= deadline)
}

fn in_time(act: &Act, now: Timestamp) -> bool {
    act.act_before.as_ref().is_some_and(|limit| now < limit.0)
}

/// Sends an act that has certainly not happened, if it is still permitted. A compensation needs no permit: it takes back
/// what was permitted.
fn send(facts: &RunFacts<'_>, place: Place, act: &Act, now: Timestamp) -> Move {
    if act.verb == ActVerb::Send && act.attempt > 0 {
        return send_again(facts, place, act, now);
    }
    if let Some(why) = facts.cancel {
        let entry = facts.entry(now).withdraws(place);
        return store(entry.finishes(RunState::Cancelled, &cancelled(facts.status, why)));
    }
    if place.back {
        return Move::Act(Box::new(act.clone()));
    }
    match &facts.pass.permit {
        None => Move::AskPermit,
        Some(permit) => held_back(facts.entry(now).withdraws(place), permit)
            .unwrap_or_else(|| Move::Act(Box::new(act.clone()))),
    }
}

/// Sends a request again of which nobody knows whether it had an effect. So it is not withdrawn.
fn send_again(facts: &RunFacts<'_>, place: Place, act: &Act, now: Timestamp) -> Move {
    let lost = |why: &str| {
        let message = format!("{why}; nobody knows whether {} before", mutation::done(&act.target, "called"));
        unknown(facts, place, &message, now)
    };
    match (facts.cancel, &facts.pass.permit) {
        (Some(why), _) => lost(why),
        (None, None) => Move::AskPermit,
        (None, Some(Permit::Stop(_, why))) => lost(why),
        (None, Some(permit)) => {
            held_back(facts.entry(now), permit).unwrap_or_else(|| Move::Act(Box::new(act.clone())))
        }
    }
}

/// Proves from the live object whether an announced act has happened.
fn prove(facts: &RunFacts<'_>, place: Place, mutation: &dyn Mutation, act: &Act, now: Timestamp) -> Move {
    let targets = facts.targets(place);
    let target = targets.get(journal::part(facts.status, place).done());
    // No object tells what became of a request.
    let nothing = Seen { objects: Ok(Vec::new()), related: Vec::new(), preconditions: Ok(()) };
    let is_request = act.verb == ActVerb::Send;
    let Some(seen) = facts.pass.seen.as_ref().or_else(|| is_request.then_some(&nothing)) else {
        // An act may change another object than its target: the autoscaler of a workload.
        let mut objects = vec![act.target.clone()];
        objects.extend(
            target
                .filter(|_| mutation.reads_target())
                .map(|target| target.object.clone())
                .filter(|object| *object != act.target),
        );
        return Move::Look(look(facts, place, objects));
    };
    let participle = mutation.participle();
    let object = match &seen.objects {
        Ok(objects) => objects.first().and_then(Option::as_ref),
        Err(message) => {
            let done = mutation::done(&act.target, participle);
            return unknown(facts, place, &format!("it cannot be proved whether {done}: {message}"), now);
        }
    };
    // A request carries the version that was read. If this pass was the first to announce the act over that version,
    // its request was the only one, and the API server has refused it or never got it. A dry run changes nothing.
    let first = act.attempt == 0 && matches!(facts.pass.sent, Sent::NotYet | Sent::Conflict);
    let refused = facts.dry_run || first;
    let scene = facts.scene(place, &act.target, &act.operation_id, (object, &seen.related));
    match mutation.probe(act, &scene, refused) {
        Proof::Done => happened(facts, place, mutation, facts.entry(now).settles(place, Outcome::Done), now),
        Proof::Unprovable(message) => {
            let answer = facts.pass.sent.unanswered().map(|answer| format!("{answer}; "));
            unknown(facts, place, &format!("{}{message}", answer.unwrap_or_default()), now)
        }
        Proof::Repeatable if facts.cancel.is_some() || is_late(facts, place, now) => {
            let answer = facts.pass.sent.unanswered().unwrap_or("no answer came");
            let message =
                format!("{answer}, so nobody knows whether {}", mutation::done(&act.target, participle));
            unknown(facts, place, &message, now)
        }
        Proof::NotDone | Proof::Repeatable => {
            if let Some(why) = facts.cancel {
                let entry = facts.entry(now).withdraws(place);
                return store(entry.finishes(RunState::Cancelled, &cancelled(facts.status, why)));
            }
            if is_late(facts, place, now) {
                let said = facts.known(place).and_then(|step| step.message.as_deref()).unwrap_or_default();
                let message = match said.strip_prefix(HELD_UP) {
                    Some(why) => format!("not in time: {why}"),
                    None => format!("{} could not be {participle} in time", act.target.display()),
                };
                return fail(facts, place, &message, Again::Never, now);
            }
            if act.verb == ActVerb::Create {
                // It is announced again as if for the first time: what is created can be gone again, so only the first
                // announcement proves anything.
                return hold(facts.entry(now).never_sent(place), now.checked_add(CREATE_AGAIN).ok());
            }
            let version =
                object.and_then(|object| object.pointer("/metadata/resourceVersion")).and_then(Value::as_str);
            let unchanged = version.unwrap_or_default() == act.resource_version || !act.pods.is_empty();
            if unchanged && facts.pass.sent == Sent::Conflict {
                // A conflict over an unchanged object has another cause, which may be gone in a second.
                return hold(facts.entry(now), now.checked_add(SignedDuration::from_secs(1)).ok());
            }
            if let Some(until) = again(act).filter(|until| unchanged && now < *until) {
                return hold(facts.entry(now), Some(until));
            }
            match target {
                Some(target) => announce(facts, place, (mutation, target), seen, now),
                None => unknown(facts, place, "the journal names an act of no target", now),
            }
        }
    }
}

/// When an act that did not happen is announced again over the same version: at once, then after 1, 3, 7, 15 and 31
/// seconds, so that an API server in trouble is not asked without a pause.
fn again(act: &Act) -> Option<Timestamp> {
    let attempt = u32::try_from(act.attempt).unwrap_or(0).min(5);
    let wait = SignedDuration::from_secs((1 << attempt) - 1);
    act.time.as_ref()?.0.checked_add(wait).ok()
}

fn unknown(facts: &RunFacts<'_>, place: Place, message: &str, now: Timestamp) -> Move {
    let entry = facts.entry(now).ends(place, StepState::Unknown, message);
    if place.back {
        return store(entry);
    }
    store(entry.finishes(RunState::Unknown, message))
}

/// Waits until something is so.
fn poll(facts: &RunFacts<'_>, place: Place, step: &Step, waiting: &dyn Poll, now: Timestamp) -> Move {
    let targets = facts.known(place).map_or(&[][..], |known| &known.targets);
    if waiting.outside().is_some() && facts.pass.outside.is_none() {
        return Move::LookOutside(place.index);
    }
    let none = Vec::new();
    let objects = match &facts.pass.seen {
        _ if targets.is_empty() => &none,
        None => {
            let objects = targets.iter().map(|target| target.object.clone()).collect();
            return Move::Look(Look { objects, related: None, of_runbook: false, of_step: None });
        }
        Some(seen) => match &seen.objects {
            Ok(objects) => objects,
            Err(message) => return fail(facts, place, message, Again::Never, now),
        },
    };
    let found: Vec<Found> = targets
        .iter()
        .zip(objects)
        .map(|(target, object)| Found { target, object: object.as_ref() })
        .collect();
    let part = journal::part(facts.status, place);
    let progress = match &facts.pass.outside {
        Some(seen) if seen.verdict == Verdict::Passes => Progress::Done(seen.message.clone()),
        // What is inconclusive never passes, and may be known later.
        Some(seen) => Progress::not_yet(seen.message.clone()),
        None => waiting.poll(&found, part.start.unwrap_or(now), now),
    };
    match progress {
        Progress::Done(message) => store(facts.entry(now).ends(place, StepState::Succeeded, &message)),
        Progress::Failed(message) => fail(facts, place, &message, Again::Maybe, now),
        Progress::Unknown(message) => unknown(facts, place, &message, now),
        Progress::NotYet { message, until } => {
            let deadline = part.deadline.unwrap_or_else(|| journal::deadline(step, now));
            if now >= deadline {
                return fail(facts, place, &format!("not in time: {message}"), Again::Never, now);
            }
            // A change of a workload wakes the run; other objects are not watched.
            let is_watched = !targets.is_empty() && targets.iter().all(|target| is_workload(&target.object));
            let next = until.or_else(|| (!is_watched).then(|| now.checked_add(LOOK_AGAIN).ok()).flatten());
            let next = next.map_or(deadline, |next| next.min(deadline));
            hold(facts.entry(now).settling(place, deadline, &message), Some(next))
        }
    }
}

/// Puts a question to a person, and waits for the answer.
fn ask(
    facts: &RunFacts<'_>,
    index: usize,
    step: &Step,
    (question, answerer): (&str, Answerer),
    now: Timestamp,
) -> Move {
    let place = Place::step(index);
    let stored = &facts.status.steps[index];
    let (StepState::WaitingForPerson, Some(digest), Some(deadline)) =
        (stored.state, &stored.digest, &stored.deadline)
    else {
        let digest = crate::change::diff::digest::question(question, facts.uid);
        let next = Next {
            who: match answerer {
                Answerer::OnDuty => crate::text::cut(facts.asked, 253),
                Answerer::Approver => "an approver who did not start the run".to_owned(),
            },
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
            Err(error) => fail(facts, place, &format!("no digest can be made: {error}"), Again::Never, now),
        };
    };
    match &facts.pass.answer {
        None => Move::AskAnswer { step: step.name.clone(), digest: digest.clone() },
        Some(Some(answer)) => {
            let comment = answer.comment.as_ref().map_or_else(String::new, |comment| format!(": {comment}"));
            let entry = facts.entry(now).answered(index, &answer.by);
            if answer.confirmed {
                store(entry.ends(place, StepState::Succeeded, &format!("{} confirmed{comment}", answer.by)))
            } else {
                let message = format!("{} denied{comment}", answer.by);
                let status = entry.done();
                fail(&RunFacts { status: &status, ..*facts }, place, &message, Again::Never, now)
            }
        }
        Some(None) if now >= deadline.0 => fail(facts, place, "nobody answered in time", Again::Never, now),
        Some(None) => hold(facts.entry(now), Some(deadline.0)),
    }
}

#[cfg(test)]
#[path = "state_machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "outside_tests.rs"]
mod outside_tests;

#[cfg(test)]
#[path = "rollback_tests.rs"]
mod rollback_tests;
