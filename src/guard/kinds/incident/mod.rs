//! Who may change what of an Incident. Pure.
//!
//! Making an incident milder, or ending it, frees changes and sends people home. So it needs the lead, or the
//! quorum that a change in the same place needs. Making it worse, and adding to it, is for everybody. What would have no
//! effect any more is refused; the rest of that rule needs no look-up, and is in the admission policy.

mod milder;
mod resolution;
mod roles;
mod words;

#[cfg(test)]
mod incident_tests;

use jiff::{SignedDuration, Timestamp};

use crate::api::Incident;
use crate::api::incident_status::IncidentState;
use crate::command::{TEXT, Verb};
use crate::text::instant;
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;
use words::{address, ask_lead, command, show, speaker, speaks};

/// What the rules look up before an Incident is written.
pub struct Facts<'a> {
    /// Who writes it.
    pub caller: &'a Caller,
    /// Whether a policy covers the namespace. Without one the incident binds no change, and there are no people
    /// whose agreement could be asked for, so everybody who may edit it may end it.
    pub is_governed: bool,
    /// Whether the policies over the namespace let the caller lead.
    pub may_lead: bool,
    /// Whether the incident named by `resolution.duplicateOf` exists, is another one, and is no duplicate itself.
    pub original_exists: bool,
    /// Name of the older open incident about the same outage, if there is one: this one becomes its duplicate.
    pub original: Option<String>,
    /// Users that a rotation of the namespace knows.
    pub known_users: Vec<String>,
    /// How long an incident is kept after it ended.
    pub kept_for: SignedDuration,
    /// The time of the review.
    pub now: Timestamp,
}

/// An update of an Incident, with its facts.
pub struct Change<'a> {
    /// The incident before.
    pub old: &'a Incident,
    /// The incident as it would be.
    pub new: &'a Incident,
    /// What was looked up.
    pub facts: &'a Facts<'a>,
}

/// Whether the update may be made.
pub fn update(change: &Change<'_>) -> Ruling {
    let ruling = roles::lead(change)
        .and_then(|| roles::nominated(change))
        .and_then(|| communications(change))
        .and_then(|| updates(change))
        .and_then(|| acknowledgement(change))
        .and_then(|| milder::rule(change))
        .and_then(|| resolution::rule(change));
    match ruling {
        Ruling::Quorum(_) if !change.facts.is_governed => Ruling::Allow,
        ruling => ruling,
    }
}

/// What the author of an update that passes should know.
pub fn warnings(change: &Change<'_>) -> Vec<String> {
    roles::unknown_nominee(change).into_iter().collect()
}

/// Whether the incident may be deleted: not while it is open, not before its lessons are written, and not
/// before its configured retention is over.
pub fn delete(old: &Incident, kept_for: SignedDuration, now: Timestamp) -> Ruling {
    let name = address(old);
    match old.status.as_ref().and_then(|status| status.state).unwrap_or(IncidentState::Open) {
        IncidentState::Closed | IncidentState::FalseAlarm | IncidentState::Duplicate => {
            let until = ended_at(old).unwrap_or(now).checked_add(kept_for).unwrap_or(Timestamp::MAX);
            Ruling::require(until <= now, || {
                format!(
                    "Refused: {} is kept until {}; then it can be deleted. What it holds: {}",
                    name.0,
                    instant(until),
                    command(Verb::Show, &name)
                )
            })
        }
        IncidentState::Resolved => Ruling::Refuse(format!(
            "Refused: {} is resolved but not closed; its review comes first: {}",
            name.0,
            command(Verb::Show, &name)
        )),
        _ => Ruling::Refuse(format!(
            "Refused: {} is open; resolve it first: {}",
            name.0,
            command(Verb::Resolve, &name)
        )),
    }
}

/// When it ended; a duplicate was never more than that.
fn ended_at(incident: &Incident) -> Option<Timestamp> {
    let resolved = incident.status.as_ref().and_then(|status| status.resolved.as_ref());
    let ended = resolved.map(|resolved| &resolved.time).or(incident.metadata.creation_timestamp.as_ref());
    ended.map(|time| time.0)
}

fn communications(change: &Change<'_>) -> Ruling {
    if speaker(change.old) == speaker(change.new) {
        return Ruling::Allow;
    }
    Ruling::require(speaks(change), || {
        format!(
            "Refused: roles.communications of {} is set by the lead{}",
            address(change.old).0,
            ask_lead(change, show(change))
        )
    })
}

fn updates(change: &Change<'_>) -> Ruling {
    if change.old.spec.updates == change.new.spec.updates {
        return Ruling::Allow;
    }
    Ruling::require(speaks(change), || {
        format!(
            "Refused: stakeholders of {} hear one voice, the communications lead's or the lead's{}. What you saw \
             goes into a note: {}",
            address(change.old).0,
            ask_lead(change, show(change)),
            command(Verb::Note, &address(change.old)).word(TEXT)
        )
    })
}

fn acknowledgement(change: &Change<'_>) -> Ruling {
    let after = &change.new.spec.acknowledgement;
    if change.old.spec.acknowledgement == *after {
        return Ruling::Allow;
    }
    let own = after.as_ref().is_some_and(|by| by.user == change.facts.caller.user);
    Ruling::require(own && !change.facts.caller.is_service_account(), || {
        format!(
            "Refused: everybody acknowledges for themselves, and you are {}: {}",
            change.facts.caller.user,
            command(Verb::Ack, &address(change.old))
        )
    })
}
