//! How an incident ends, who may say so, and that it is said once (docs/rules.md#end-is-said-once). Pure.

use crate::api::conditions::{ConditionType, is_true};
use crate::api::incident::Outcome;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::guard::ruling::Ruling;
use crate::incident::recovery;

use super::Change;
use super::words::{address, by_quorum, command, declare, ended, lead_of, leads, on_a_duplicate, show};

/// Whether the resolution may be written.
pub fn rule(change: &Change<'_>) -> Ruling {
    let Some(resolution) = &change.new.spec.resolution else {
        return Ruling::require(change.old.spec.resolution.is_none(), || {
            format!(
                "Refused: the resolution of {} stays; if it goes on, the next signal reopens it",
                address(change.old).0
            )
        });
    };
    if change.old.spec.resolution.as_ref() == Some(resolution) {
        return Ruling::Allow;
    }
    if let Some(refusal) = said_before(change) {
        return Ruling::Refuse(refusal);
    }
    let name = address(change.old);
    let possible = match resolution.outcome {
        Outcome::Restored => Ruling::require(is_proved(change), || {
            format!(
                "Refused: the return of {} is not proved yet; what is missing: {}. If the checks cannot pass, \
                 the lead and one peer say so: {}",
                name.0,
                command(Verb::Show, &name),
                asking(Outcome::Unproved, &name)
            )
        }),
        Outcome::Duplicate => Ruling::require(change.facts.original_exists, || {
            format!(
                "Refused: resolution.duplicateOf must name the other incident, which exists in {} and is no \
                 duplicate itself: kubectl get inc -n {}",
                name.1, name.1
            )
        }),
        Outcome::Unproved | Outcome::FalseAlarm => Ruling::Allow,
    };
    possible.and_then(|| {
        let outcome = resolution.outcome;
        let against = change.old.contradictions();
        match outcome {
            // The lead alone is not enough where nothing is proved, or something speaks against it.
            Outcome::Unproved => Ruling::Quorum(takes_two(change, outcome, "without proof", "")),
            Outcome::FalseAlarm if !against.is_empty() => {
                let why = format!(", since {}", against.join(", and "));
                Ruling::Quorum(takes_two(change, outcome, "as a false alarm", &why))
            }
            _ if leads(change) => Ruling::Allow,
            outcome => Ruling::Quorum(format!(
                "{}. Ask: {}",
                by_quorum(change, "resolving it"),
                asking(outcome, &name)
            )),
        }
    })
}

fn is_proved(change: &Change<'_>) -> bool {
    change.old.status.as_ref().is_some_and(|status| is_true(&status.conditions, ConditionType::Restored))
}

/// The refusal of a second end. An end that waits for its proof is no end yet, so another one may take its place.
fn said_before(change: &Change<'_>) -> Option<String> {
    let (name, namespace) = address(change.old);
    if let Some(other) = change.old.goes_on_as() {
        let other = format!("inc/{other}");
        let there = command(Verb::Resolve, &(other.clone(), namespace));
        return Some(on_a_duplicate(change, &other, "resolve", there));
    }
    let status = change.old.status.clone().unwrap_or_default();
    let said = change.old.resolution(&status).filter(|_| !recovery::awaits_proof(change.old, &status));
    let ended = ended(change.old).or_else(|| Some(format!("is being resolved as {:?}", said?.outcome)))?;
    Some(format!(
        "Refused: {name} {ended}, and an end is said once: {}. If service is out again: {}",
        show(change),
        declare(change.old)
    ))
}

/// The refusal of an end that takes the lead and one peer.
fn takes_two(change: &Change<'_>, outcome: Outcome, how: &str, why: &str) -> String {
    let name = address(change.old);
    let who = match lead_of(change) {
        Some(lead) if lead == change.facts.caller.user => "you, who lead, and one peer".to_owned(),
        Some(lead) => format!("{lead}, who leads, and one peer"),
        None => format!("a lead, whom nobody is yet ({}), and one peer", command(Verb::Lead, &name)),
    };
    format!("Refused: resolving {} {how} takes {who}{why}. Ask: {}", name.0, asking(outcome, &name))
}

/// The command that asks the others for this end.
fn asking(outcome: Outcome, name: &(String, String)) -> Command {
    let resolve = command(Verb::Resolve, name);
    let resolve = match outcome {
        Outcome::Restored => resolve,
        Outcome::Unproved => resolve.flag(Flag::Outcome, "unproved").flag(Flag::Reason, TEXT),
        Outcome::FalseAlarm => resolve.flag(Flag::Outcome, "false-alarm").flag(Flag::Reason, TEXT),
        Outcome::Duplicate => resolve
            .flag(Flag::Outcome, "duplicate")
            .flag(Flag::DuplicateOf, "inc/NAME")
            .flag(Flag::Reason, TEXT),
    };
    resolve.switch(Flag::Ask)
}
