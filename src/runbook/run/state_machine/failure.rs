//! What follows from a failure: another attempt, the end of the run, or the way back. Pure.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::super::parts::{self, Place};
use super::super::rehearsal;
use super::act::mutate;
use super::{Move, RunFacts, hold, store};
use crate::api::runbook::OnFailure;
use crate::api::runbook_run::{Output, RunState, StepState};
use crate::runbook::steps;

/// Wait before the first further attempt of a step if its Runbook does not say.
pub(super) const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// Longest wait between two attempts of a step.
pub(super) const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Whether a failure may be tried again, if the Runbook says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// It changed nothing, or its effect is over.
    Maybe,
    /// The next attempt would fail as well, or what happened is not known.
    Never,
}

pub(super) fn fail(facts: &RunFacts<'_>, place: Place, message: &str, again: Again, now: Timestamp) -> Move {
    let ended = || facts.entry(now).ends(place, StepState::Failed, message);
    if place.back {
        // The other compensations are done all the same: each takes back its own step.
        return store(ended());
    }
    if facts.dry_run {
        // The other steps say as well what they would do.
        return store(ended());
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
pub(super) fn retry_at(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Option<Timestamp> {
    let (retry, known) = (facts.step(place)?.retry.as_ref()?, facts.known(place)?);
    if known.retries >= retry.maximum || facts.cancel.is_some() {
        return None;
    }
    let first = retry.wait.as_ref().map_or(RETRY_AFTER, |wait| wait.get());
    let factor = 1_i32 << known.retries.clamp(0, 10);
    let longest = first.checked_mul(factor).map_or(MAX_RETRY_AFTER, |wait| wait.min(MAX_RETRY_AFTER));
    // Runs that failed together do not come back together, and none before the wait that its Runbook names.
    let wait = first.max(between(first, longest, &format!("{}/{}", facts.uid, known.retries)));
    let at = now.checked_add(wait).ok()?;
    let deadline = parts::part(facts.status, place).deadline;
    deadline.is_none_or(|deadline| at < deadline).then_some(at)
}

/// How long an act waits that was turned away: for as long as its receiver asks, else a part of the time that the part of
/// the run has taken so far, from one second to thirty.
pub(super) fn turned_away(
    facts: &RunFacts<'_>,
    place: Place,
    asked: Option<SignedDuration>,
    now: Timestamp,
) -> SignedDuration {
    let start = parts::part(facts.status, place).start;
    let taken = start.map_or(SignedDuration::ZERO, |start| now.duration_since(start));
    let (least, most) = (SignedDuration::from_secs(1), SignedDuration::from_secs(30));
    asked
        .unwrap_or_else(|| between(least, taken.clamp(least, most), &format!("{}/{now}", facts.uid)))
        .max(least)
}

/// A time of whole seconds between two, chosen by a text: another one for each run, and the same whenever it is computed.
fn between(least: SignedDuration, most: SignedDuration, seed: &str) -> SignedDuration {
    let digest = Sha256::digest(seed.as_bytes());
    let share = digest.first().copied().map_or(0, i64::from);
    let width = most.checked_sub(least).unwrap_or_default().as_secs().max(0);
    let part = width.saturating_mul(share) / 255;
    least.checked_add(SignedDuration::from_secs(part)).unwrap_or(least)
}

/// Takes back what the steps have done, the last one first.
pub(super) fn roll_back(facts: &RunFacts<'_>, now: Timestamp) -> Move {
    let Some(place) = parts::next_compensation(facts.status) else { return rolled_back(facts, now) };
    let is_new = parts::part(facts.status, place).state == StepState::Pending;
    if let Some(at) = facts.not_before(place).filter(|at| is_new && now < *at) {
        return hold(facts.entry(now), Some(at));
    }
    if facts.on_copies && !facts.step(place).is_some_and(rehearsal::takes_back) {
        return store(facts.entry(now).ends(place, StepState::Skipped, "a drill on copies leaves it out"));
    }
    match facts.step(place).and_then(|step| steps::mutation_of(step, true)) {
        Some(mutation) => mutate(facts, place, mutation, now),
        None => fail(facts, place, "the Runbook does not say how", Again::Never, now),
    }
}

pub(super) fn rolled_back(facts: &RunFacts<'_>, now: Timestamp) -> Move {
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

/// An act whose effect is a failure. Its results are kept: they say why.
pub(super) fn store_failure(
    facts: &RunFacts<'_>,
    place: Place,
    outputs: Vec<Output>,
    message: &str,
    now: Timestamp,
) -> Move {
    let status = facts.entry(now).gives(place, outputs).fails_act(place).done();
    fail(&RunFacts { status: &status, ..*facts }, place, message, Again::Maybe, now)
}

pub(super) fn unknown(facts: &RunFacts<'_>, place: Place, message: &str, now: Timestamp) -> Move {
    let entry = facts.entry(now).ends(place, StepState::Unknown, message);
    if place.back {
        return store(entry);
    }
    store(entry.finishes(RunState::Unknown, message))
}
