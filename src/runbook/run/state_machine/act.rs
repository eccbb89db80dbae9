//! Acts on the targets of a step, or of its compensation: looks, announces, and goes on. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::super::journal::{self, Entry};
use super::super::parts::{self, Place};
use super::failure::{Again, fail, store_failure, unknown};
use super::guard::guard;
use super::{LOOK_AGAIN, Look, Move, RunFacts, Seen, hold, store};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Act, ActVerb, Outcome, Resolved, StepState};
use crate::change::diff::describe;
use crate::runbook::steps::kind::{Progress, StepKind};
use crate::runbook::steps::mutation::Mutation;
use crate::runbook::steps::{denied, is_workload, mutation};
use crate::runbook::{steps, targets};
use crate::text::cut;

/// Most bytes of values in the message of a dry run.
const MAX_SHOWN: usize = 500;

/// What a step of a dry run would do. What it would see after an earlier step is not known.
pub(super) fn would(facts: &RunFacts<'_>, place: Place) -> String {
    let Some(kind) = facts.step(place).and_then(steps::of) else { return String::new() };
    let targets = facts.known(place).map_or(&[][..], |known| &known.targets);
    let what = journal::what(kind, targets);
    if follows_a_change(facts, place) {
        return format!("would {what}; what it sees after the steps before it is not known");
    }
    format!("would {what}")
}

/// Whether a step before this one changes something.
pub(super) fn follows_a_change(facts: &RunFacts<'_>, place: Place) -> bool {
    steps::change_something(facts.spec.steps.get(..place.index).unwrap_or_default())
}

/// Acts on the targets of a part, one after the other. Of several, each batch takes effect before the next begins.
pub(super) fn mutate(facts: &RunFacts<'_>, place: Place, mutation: &dyn Mutation, now: Timestamp) -> Move {
    let part = parts::part(facts.status, place);
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
pub(super) fn look(facts: &RunFacts<'_>, place: Place, objects: Vec<ObjectRef>) -> Look {
    let of_runbook = !place.back && !parts::has_act(facts.status);
    Look { objects, related: Some(place), of_runbook, of_step: (!place.back).then_some(place.index) }
}

pub(super) fn needs_judgement(facts: &RunFacts<'_>, place: Place) -> bool {
    let of_step = facts.step(place).is_some_and(|step| !step.preconditions.is_empty());
    let of_runbook = !parts::has_act(facts.status) && !facts.spec.preconditions.is_empty();
    !place.back && (of_step || of_runbook)
}

/// Waits until an act has taken effect.
pub(super) fn settle(
    facts: &RunFacts<'_>,
    place: Place,
    (mutation, index): (&dyn Mutation, usize),
    now: Timestamp,
) -> Move {
    let part = parts::part(facts.status, place);
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

/// Announces an act over what was just seen.
pub(super) fn announce(
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
    if let Some(held) = guard(facts, place, &target.object, object, now) {
        return held;
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
            let what = would(facts, place);
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
            let what = would(facts, place);
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

pub(super) fn deadline(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Timestamp {
    let by_step = || facts.step(place).map_or(now, |step| journal::deadline(step, now));
    parts::part(facts.status, place).deadline.unwrap_or_else(by_step)
}

pub(super) fn summary(facts: &RunFacts<'_>, place: Place) -> String {
    let kind = facts.step(place).and_then(|step| match place.back {
        true => steps::compensation_of(step),
        false => steps::of(step),
    });
    kind.map_or_else(String::new, StepKind::summary)
}

/// Goes on after an act happened, or was not needed: with the next target, with the wait for its effect, or with the end of
/// the part. `entry` notes the act.
pub(super) fn happened(
    facts: &RunFacts<'_>,
    place: Place,
    mutation: &dyn Mutation,
    entry: Entry,
    now: Timestamp,
) -> Move {
    let status = entry.done();
    let targets = facts.targets(place).len();
    let part = parts::part(&status, place);
    let is_open = |act: &Act| act.outcome == Some(Outcome::Done);
    let waits = mutation.settles(targets > 1) && !facts.dry_run && part.acts.iter().any(is_open);
    if part.done() < targets || waits {
        return Move::Store(Box::new(status));
    }
    succeed(&RunFacts { status: &status, ..*facts }, place, mutation, now)
}

/// What the acts of a dry run would change, in words; the values themselves are in the acts.
fn shown(acts: &[Act], namespace: &str) -> String {
    let of_act = |act: &Act| {
        let is_own = |delta: &Delta| {
            let key = delta.path.rsplit('/').next().unwrap_or_default();
            delta.path.contains("/metadata/annotations/") && key.starts_with("mayday.dev~1")
        };
        let values: Vec<Delta> = act.delta.iter().filter(|delta| !is_own(delta)).cloned().collect();
        let is_told = act.verb == ActVerb::Update && !values.is_empty();
        is_told.then(|| describe::update(&act.target, namespace, &values))
    };
    let told: Vec<String> = acts.iter().filter_map(of_act).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", cut(&told.join("; "), MAX_SHOWN)) }
}

pub(super) fn succeed(facts: &RunFacts<'_>, place: Place, mutation: &dyn Mutation, now: Timestamp) -> Move {
    let part = parts::part(facts.status, place);
    if facts.dry_run {
        let what = would(facts, place);
        let shown = shown(part.acts, facts.namespace);
        let message = format!("{what}{shown}; the API server accepts it from {}", facts.actor);
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
