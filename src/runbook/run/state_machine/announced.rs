//! An announced act: it is sent if it certainly was not yet, and otherwise proved. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::super::journal::Entry;
use super::super::parts::{self, Place};
use super::super::permit::Permit;
use super::act::{announce, happened, look};
use super::failure::{self, Again, fail, store_failure, unknown};
use super::{Move, RunFacts, Seen, Sent, cancelled, held_back, hold, store};
use crate::api::runbook_run::{Act, ActVerb, Outcome, RunState};
use crate::runbook::steps;
use crate::runbook::steps::mutation;
use crate::runbook::steps::mutation::{Mutation, Proof};

/// Wait before a creation that was never sent, or that was refused for now, is announced again.
pub(super) const CREATE_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// How the message of a step begins whose act is held up, and is tried again.
pub(super) const HELD_UP: &str = "waits: ";

/// Settles an announced act.
pub(super) fn announced(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> Move {
    let Some(act) = parts::part(facts.status, place).open() else {
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
        Sent::Tried(delta) => {
            let entry = facts.entry(now).shows(place, delta).settles(place, Outcome::Done);
            happened(facts, place, mutation, entry, now)
        }
        Sent::Failed(message) => store_failure(facts, place, Vec::new(), message, now),
        Sent::Refused(message) => fail(facts, place, message, Again::Never, now),
        Sent::Partly(message, asked) => {
            if facts.dry_run {
                return fail(facts, place, &format!("it would wait now: {message}"), Again::Never, now);
            }
            if is_late(facts, place, now) {
                return fail(facts, place, &format!("not in time: {message}"), Again::Never, now);
            }
            let deadline = parts::part(facts.status, place).deadline;
            let asked = asked.and_then(|asked| whole(now.checked_add(asked).ok()));
            let next = again(act).into_iter().chain(asked).max().into_iter().chain(deadline).min();
            let entry = facts.entry(now).notes(place, &format!("{HELD_UP}{message}"));
            hold(kept_to(entry, place, asked), next)
        }
        // What became of an earlier request is still open, so the act stays announced.
        Sent::TurnedAway(..) if act.verb == ActVerb::Send && act.attempt > 0 => {
            prove(facts, place, mutation, act, now)
        }
        Sent::TurnedAway(message, asked) => {
            let wait = failure::turned_away(facts, place, *asked, now);
            let deadline = parts::part(facts.status, place).deadline;
            match whole(now.checked_add(wait).ok())
                .filter(|at| deadline.is_none_or(|deadline| *at < deadline))
            {
                Some(at) => {
                    hold(facts.entry(now).turned_away(place, at, &format!("{HELD_UP}{message}")), Some(at))
                }
                None => fail(facts, place, &format!("not in time: {message}"), Again::Never, now),
            }
        }
        Sent::NotYet if in_time(act, now) => send(facts, place, act, now),
        Sent::NotYet | Sent::Unknown | Sent::Unanswered(_) | Sent::Busy(..) | Sent::Conflict => {
            prove(facts, place, mutation, act, now)
        }
    }
}

/// Notes when a receiver wants to be asked again, if it has said so.
fn kept_to(entry: Entry, place: Place, asked: Option<Timestamp>) -> Entry {
    match asked {
        Some(asked) => entry.not_before(place, asked),
        None => entry,
    }
}

/// The next whole second: what is stored has no parts of one, and must not come before its time.
fn whole(at: Option<Timestamp>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::from_second(at.as_second() + i64::from(at.subsec_nanosecond() > 0)).ok()
}

pub(super) fn is_late(facts: &RunFacts<'_>, place: Place, now: Timestamp) -> bool {
    parts::part(facts.status, place).deadline.is_some_and(|deadline| now >= deadline)
}

pub(super) fn in_time(act: &Act, now: Timestamp) -> bool {
    act.act_before.as_ref().is_some_and(|limit| now < limit.0)
}

/// Sends an act that has certainly not happened, if it is still permitted. A compensation needs no permit: it takes back
/// what was permitted.
pub(super) fn send(facts: &RunFacts<'_>, place: Place, act: &Act, now: Timestamp) -> Move {
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

/// Sends a request again whose effect is unknown. So it is not withdrawn.
pub(super) fn send_again(facts: &RunFacts<'_>, place: Place, act: &Act, now: Timestamp) -> Move {
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
pub(super) fn prove(
    facts: &RunFacts<'_>,
    place: Place,
    mutation: &dyn Mutation,
    act: &Act,
    now: Timestamp,
) -> Move {
    let targets = facts.targets(place);
    let target = targets.get(parts::part(facts.status, place).done());
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
            let asked = match &facts.pass.sent {
                Sent::Busy(_, asked) | Sent::TurnedAway(_, Some(asked)) => {
                    whole(now.checked_add(*asked).ok())
                }
                _ => facts.not_before(place),
            };
            let until = again(act).into_iter().chain(asked).max();
            if let Some(until) = until.filter(|until| unchanged && now < *until) {
                let deadline = parts::part(facts.status, place).deadline;
                let until = deadline.map_or(until, |deadline| until.min(deadline));
                return hold(kept_to(facts.entry(now), place, asked), Some(until));
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
pub(super) fn again(act: &Act) -> Option<Timestamp> {
    let attempt = u32::try_from(act.attempt).unwrap_or(0).min(5);
    let wait = SignedDuration::from_secs((1 << attempt) - 1);
    act.time.as_ref()?.0.checked_add(wait).ok()
}
