//! Waits: until something is so, or until a person answers. Pure.

use jiff::Timestamp;

use super::super::journal;
use super::super::parts::{self, Place};
use super::failure::{Again, fail, unknown};
use super::{LOOK_AGAIN, Look, Move, RunFacts, hold, store};
use crate::api::incident_status::Next;
use crate::api::runbook_run::StepState;
use crate::api::runbook_step::Step;
use crate::command::{Command, Verb};
use crate::outbound::look::Verdict;
use crate::runbook::steps::is_workload;
use crate::runbook::steps::kind::{Answerer, Found, Poll, Progress};

/// Waits until something is so.
pub(super) fn poll(
    facts: &RunFacts<'_>,
    place: Place,
    step: &Step,
    waiting: &dyn Poll,
    now: Timestamp,
) -> Move {
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
    let part = parts::part(facts.status, place);
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
pub(super) fn ask(
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
