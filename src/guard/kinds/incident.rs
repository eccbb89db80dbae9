//! Who may change what of an Incident. Pure.
//!
//! Making an incident milder, or ending it, frees changes and sends people home. So it needs the lead, or the
//! quorum that a change in the same place needs. Making it worse, and adding to it, is for everybody.

use jiff::{SignedDuration, Timestamp};

use crate::api::Incident;
use crate::api::check::{NamedCheck, ReturnToService};
use crate::api::common::UserRef;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::incident::{Commitment, Outcome};
use crate::api::incident_status::IncidentState;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::incident::{changes, checks};
use crate::text::instant;
use crate::webhook::caller::Caller;

use crate::guard::ruling::Ruling;

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
    let ruling = lead(change)
        .and_then(|| nominated(change))
        .and_then(|| communications(change))
        .and_then(|| updates(change))
        .and_then(|| acknowledgement(change))
        .and_then(|| milder(change))
        .and_then(|| resolution(change));
    match ruling {
        Ruling::Quorum(_) if !change.facts.is_governed => Ruling::Allow,
        ruling => ruling,
    }
}

/// Whether the incident may be deleted: not while it is open, not before its lessons are written, and not
/// before its configured retention is over.
pub fn delete(old: &Incident, kept_for: SignedDuration, now: Timestamp) -> Ruling {
    let name = address(old);
    match old.status.as_ref().and_then(|status| status.state).unwrap_or(IncidentState::Open) {
        IncidentState::Closed | IncidentState::FalseAlarm | IncidentState::Duplicate => {
            let until = ended(old).unwrap_or(now).checked_add(kept_for).unwrap_or(Timestamp::MAX);
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
fn ended(incident: &Incident) -> Option<Timestamp> {
    let resolved = incident.status.as_ref().and_then(|status| status.resolved.as_ref());
    let ended = resolved.map(|resolved| &resolved.time).or(incident.metadata.creation_timestamp.as_ref());
    ended.map(|time| time.0)
}

fn lead(change: &Change<'_>) -> Ruling {
    let name = address(change.old);
    let claimed = |who: &str| format!("{}: {}", who, command(Verb::Lead, &name));
    // The same claim with another time is a new claim.
    if claim(change.old) == claim(change.new) {
        return Ruling::Allow;
    }
    match (lead_of(change.old), lead_of(change.new)) {
        (Some(before), None) => Ruling::Refuse(format!(
            "Refused: the lead of {} is handed over, not dropped; {before}: {}",
            name.0,
            command(Verb::Lead, &name).flag(Flag::To, "USER")
        )),
        (_, Some(after)) if after != change.facts.caller.user => Ruling::Refuse(format!(
            "Refused: everybody claims the lead for themselves, and you are {}; {}",
            change.facts.caller.user,
            claimed(after)
        )),
        (Some(before), Some(after))
            if before != after && !has_lapsed(change.old) && nominated_lead(change.old) != Some(after) =>
        {
            Ruling::Refuse(format!(
                "Refused: {before} leads {} and has not handed over to you; {before}: {}",
                name.0,
                command(Verb::Lead, &name).flag(Flag::To, after)
            ))
        }
        _ if !change.facts.caller.direct || change.facts.caller.is_service_account() => {
            Ruling::Refuse(format!(
                "Refused: a lead is a person who logged in directly, and this request is impersonated or a service \
             account's; log in as yourself, then: {}",
                command(Verb::Lead, &name)
            ))
        }
        _ => Ruling::require(change.facts.may_lead, || {
            format!(
                "Refused: no ChangePolicy lets {} lead incidents in {}; call somebody who may: {}",
                change.facts.caller.user,
                name.1,
                Command::new(Verb::Who).namespace(&name.1)
            )
        }),
    }
}

fn nominated(change: &Change<'_>) -> Ruling {
    let (before, after) = (nominated_lead(change.old), nominated_lead(change.new));
    let claims = before.is_some() && lead_of(change.new) == before;
    if before == after || leads(change) || (claims && after.is_none()) {
        return Ruling::Allow;
    }
    let name = address(change.old);
    Ruling::Refuse(format!(
        "Refused: only the lead hands {} over{}",
        name.0,
        ask_lead(change, command(Verb::Lead, &name).flag(Flag::To, "USER"))
    ))
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

/// Lower severity, fewer services or objects, weaker checks.
fn milder(change: &Change<'_>) -> Ruling {
    let (old, new) = (&change.old.spec, &change.new.spec);
    let mut what = Vec::new();
    if old.severity.worse_than(new.severity) {
        what.push(format!("lowering {} to {}", old.severity, new.severity));
    }
    if !old.service_refs.iter().all(|service| new.service_refs.contains(service)) {
        what.push("taking services away".to_owned());
    }
    let known = change.old.status.clone().unwrap_or_default();
    let (before, after) = (changes::affected(change.old, &known), changes::affected(change.new, &known));
    if !before.iter().all(|object| after.iter().any(|kept| kept.same_object(object))) {
        what.push("taking affected objects away".to_owned());
    }
    if weaker(&checks::of(change.old, &known), &checks::of(change.new, &known)) {
        what.push("weakening the checks that prove the return to service".to_owned());
    }
    if is_later(change) {
        what.push("letting it begin later".to_owned());
    }
    if what.is_empty() || leads(change) {
        return Ruling::Allow;
    }
    Ruling::Quorum(format!(
        "{}. Ask: {} (FILE: the incident as it is to be)",
        by_quorum(change, &what.join(" and ")),
        Command::new(Verb::Ask)
            .namespace(address(change.old).1)
            .flag(Flag::File, "FILE")
            .flag(Flag::Why, TEXT)
    ))
}

/// Whether the outage would have begun later than was known: it would become shorter. Without a start of its own an
/// incident began with its first signal, whenever that was.
fn is_later(change: &Change<'_>) -> bool {
    let known = change.old.status.as_ref().and_then(|status| status.start_time.as_ref());
    let known = known.or(change.old.metadata.creation_timestamp.as_ref());
    match (change.old.spec.start_time.as_ref().or(known), &change.new.spec.start_time) {
        (Some(before), Some(after)) => after.0 > before.0,
        (None, _) => false,
        (Some(_), None) => change.old.spec.start_time.is_some(),
    }
}

/// Whether less would be looked at, or for a shorter time. What a check is called does not matter.
fn weaker(old: &ReturnToService, new: &ReturnToService) -> bool {
    let looks = |check: &NamedCheck| NamedCheck { name: String::new(), ..check.clone() };
    let kept: Vec<NamedCheck> = new.checks.iter().map(looks).collect();
    checks::stable_for(new) < checks::stable_for(old)
        || !old.checks.iter().all(|check| kept.contains(&looks(check)))
}

fn resolution(change: &Change<'_>) -> Ruling {
    if change.old.spec.resolution == change.new.spec.resolution {
        return Ruling::Allow;
    }
    let name = address(change.old);
    let Some(resolution) = &change.new.spec.resolution else {
        return Ruling::Refuse(format!(
            "Refused: the resolution of {} stays; if it goes on, the next signal reopens it",
            name.0
        ));
    };
    let possible = match resolution.outcome {
        Outcome::Restored => {
            let proved = change
                .old
                .status
                .as_ref()
                .is_some_and(|status| is_true(&status.conditions, ConditionType::Restored));
            Ruling::require(proved, || {
                format!(
                    "Refused: the return of {} is not proved yet; what is missing: {}. If the checks cannot pass, \
                     the lead and one peer say so: {}",
                    name.0,
                    command(Verb::Show, &name),
                    asking(Outcome::Unproved, &name)
                )
            })
        }
        Outcome::Duplicate => Ruling::require(change.facts.original_exists, || {
            format!(
                "Refused: resolution.duplicateOf must name the other incident, which exists in {} and is no \
                 duplicate itself: kubectl get inc -n {}",
                name.1, name.1
            )
        }),
        Outcome::Unproved | Outcome::FalseAlarm => Ruling::Allow,
    };
    possible.and_then(|| match resolution.outcome {
        // The lead alone is not enough where nothing is proved.
        Outcome::Unproved => Ruling::Quorum(unproved(change)),
        _ if leads(change) => Ruling::Allow,
        outcome => {
            Ruling::Quorum(format!("{}. Ask: {}", by_quorum(change, "resolving it"), asking(outcome, &name)))
        }
    })
}

fn unproved(change: &Change<'_>) -> String {
    let name = address(change.old);
    let who = match lead_of(change.old) {
        Some(lead) if lead == change.facts.caller.user => "you, who lead, and one peer".to_owned(),
        Some(lead) => format!("{lead}, who leads, and one peer"),
        None => format!("a lead, whom nobody is yet ({}), and one peer", command(Verb::Lead, &name)),
    };
    format!(
        "Refused: resolving {} without proof takes {who}. Ask: {}",
        name.0,
        asking(Outcome::Unproved, &name)
    )
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

fn by_quorum(change: &Change<'_>, what: &str) -> String {
    let name = address(change.old);
    let approvals = format!("takes the approvals that a change in {} takes", name.1);
    let who = match lead_of(change.old) {
        Some(lead) if lead != change.facts.caller.user => format!("is for {lead}, who leads, or {approvals}"),
        Some(lead) => {
            format!("is for {lead} logged in directly, and this request is impersonated; else it {approvals}")
        }
        None => format!("is for a lead, whom nobody is yet, or {approvals}"),
    };
    format!("Refused: in {}, {what} {who}", name.0)
}

fn claim(incident: &Incident) -> Option<&Commitment> {
    incident.spec.roles.as_ref()?.lead.as_ref()
}

fn lead_of(incident: &Incident) -> Option<&str> {
    claim(incident).map(|lead| lead.user.as_str())
}

/// Whether the outage has come back since the lead was claimed. Then everybody who may lead may claim the lead: the
/// former lead may be asleep and unable to hand over.
fn has_lapsed(incident: &Incident) -> bool {
    let lapsed = incident.status.as_ref().and_then(|status| status.lapsed_lead.as_ref());
    claim(incident).zip(lapsed).is_some_and(|(claim, lapsed)| claim.repeats(lapsed))
}

fn nominated_lead(incident: &Incident) -> Option<&str> {
    user(incident.spec.roles.as_ref()?.nominated_lead.as_ref())
}

fn speaker(incident: &Incident) -> Option<&str> {
    user(incident.spec.roles.as_ref()?.communications.as_ref())
}

fn user(person: Option<&UserRef>) -> Option<&str> {
    person.map(|person| person.user.as_str())
}

/// Whether the caller is that person, by a login of their own.
fn is(change: &Change<'_>, person: Option<&str>) -> bool {
    change.facts.caller.direct && person == Some(change.facts.caller.user.as_str())
}

/// Whether the caller leads, before this write.
fn leads(change: &Change<'_>) -> bool {
    is(change, lead_of(change.old))
}

/// Whether the caller speaks to stakeholders, before this write.
fn speaks(change: &Change<'_>) -> bool {
    leads(change) || is(change, speaker(change.old))
}

fn ask_lead(change: &Change<'_>, next: Command) -> String {
    match lead_of(change.old) {
        Some(lead) => format!(", who is {lead}: {next}"),
        None => format!(", and nobody leads yet: {}", command(Verb::Lead, &address(change.old))),
    }
}

fn show(change: &Change<'_>) -> Command {
    command(Verb::Show, &address(change.old))
}

/// `inc/NAME` and its namespace.
fn address(incident: &Incident) -> (String, String) {
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    (format!("inc/{name}"), incident.metadata.namespace.clone().unwrap_or_default())
}

fn command(verb: Verb, (name, namespace): &(String, String)) -> Command {
    Command::new(verb).namespace(namespace).word(name)
}
