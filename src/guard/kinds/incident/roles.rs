//! Who leads an incident, and who is to lead it next. Pure.

use crate::api::Incident;
use crate::api::incident::Commitment;
use crate::command::{Command, Flag, Verb};
use crate::guard::ruling::Ruling;

use super::Change;
use super::words::{address, ask_lead, claim, command, declare, ended, instead, leads, on_a_duplicate, show};

/// Whether the lead may be claimed, or handed over, as it is written.
pub fn lead(change: &Change<'_>) -> Ruling {
    let name = address(change.old);
    // The same claim with another time is a new claim.
    if claim(change.old) == claim(change.new) {
        return Ruling::Allow;
    }
    let caller = change.facts.caller;
    let user = |claim: Option<&'_ Commitment>| claim.map(|claim| claim.user.clone());
    let current = change.old.current_lead().map(|lead| lead.user.as_str());
    match (user(claim(change.old)), user(claim(change.new))) {
        (Some(before), None) => Ruling::Refuse(format!(
            "Refused: the lead of {} is handed over, not dropped; {before}: {}",
            name.0,
            command(Verb::Lead, &name).flag(Flag::To, "USER")
        )),
        (_, Some(after)) if after != caller.user => Ruling::Refuse(format!(
            "Refused: everybody claims the lead for themselves, and you are {}; {after}: {}",
            caller.user,
            command(Verb::Lead, &name)
        )),
        _ if is_over(change) => {
            without_effect(change, "nobody leads it any more", "lead", |other| command(Verb::Lead, other))
        }
        (_, Some(after))
            if current.is_some_and(|lead| lead != after) && change.old.nominee() != Some(after.as_str()) =>
        {
            let lead = current.unwrap_or_default();
            Ruling::Refuse(format!(
                "Refused: {lead} leads {} and has not handed over to you; {lead}: {}",
                name.0,
                command(Verb::Lead, &name).flag(Flag::To, after)
            ))
        }
        _ if !caller.direct || caller.is_service_account() => Ruling::Refuse(format!(
            "Refused: a lead is a person who logged in directly, and this request is impersonated or a service \
             account's; log in as yourself, then: {}",
            command(Verb::Lead, &name)
        )),
        _ => Ruling::require(change.facts.may_lead, || {
            format!(
                "Refused: no ChangePolicy lets {} lead incidents in {}; call somebody who may: {}",
                caller.user,
                name.1,
                Command::new(Verb::Who).namespace(&name.1)
            )
        }),
    }
}

/// Whether the next lead may be named, or a nomination taken away, as it is written.
pub fn nominated(change: &Change<'_>) -> Ruling {
    let (before, after) = (nomination(change.old), nomination(change.new));
    if before == after {
        return Ruling::Allow;
    }
    let name = address(change.old);
    let hand_over = || command(Verb::Lead, &name).flag(Flag::To, "USER");
    match after {
        // Who claims the lead, which `lead` has allowed, clears what the lead before has said.
        None if leads(change) || claim(change.old) != claim(change.new) => Ruling::Allow,
        Some(_) if is_over(change) => {
            without_effect(change, "there is no lead to hand over", "hand over the lead of", |other| {
                command(Verb::Lead, other).flag(Flag::To, "USER")
            })
        }
        _ if !leads(change) => Ruling::Refuse(format!(
            "Refused: only the lead hands {} over{}",
            name.0,
            ask_lead(change, hand_over())
        )),
        Some(named) if named.user == change.facts.caller.user => Ruling::Refuse(format!(
            "Refused: you, {}, lead {} already, so handing it over to yourself changes nothing; name somebody else: {}",
            named.user,
            name.0,
            hand_over()
        )),
        _ => Ruling::Allow,
    }
}

/// The warning about a nominee whom no rotation knows: the name may be mistyped, and nobody can be paged for it.
pub fn unknown_nominee(change: &Change<'_>) -> Option<String> {
    let named = nomination(change.new).filter(|named| nomination(change.old) != Some(named))?;
    let is_known = change.facts.known_users.contains(&named.user);
    (!is_known).then(|| {
        format!(
            "no rotation here knows a user {}, so Mayday cannot page them: check the name, and call them ({})",
            named.user,
            Command::new(Verb::Who).namespace(address(change.old).1)
        )
    })
}

fn nomination(incident: &Incident) -> Option<&Commitment> {
    incident.spec.roles.as_ref()?.nominated_lead.as_ref()
}

/// Whether a claim counts nowhere: the incident is over, or goes on as another one.
fn is_over(change: &Change<'_>) -> bool {
    instead(change).is_some() || ended(change.old).is_some()
}

/// The refusal of what counts nowhere any more.
fn without_effect(
    change: &Change<'_>,
    why: &str,
    what: &str,
    there: impl Fn(&(String, String)) -> Command,
) -> Ruling {
    let (name, namespace) = address(change.old);
    Ruling::Refuse(match (instead(change), ended(change.old)) {
        (Some(other), _) => {
            let command = there(&(other.clone(), namespace));
            on_a_duplicate(change, &other, what, command)
        }
        (None, ended) => format!(
            "Refused: {name} {}, so {why}: {}. If service is out again: {}",
            ended.unwrap_or_else(|| "is over".to_owned()),
            show(change),
            declare(change.old)
        ),
    })
}
