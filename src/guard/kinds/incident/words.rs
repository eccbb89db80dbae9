//! What the rules ask of an incident, and the words that several refusals share. Pure.

use crate::api::Incident;
use crate::api::incident::{Commitment, Outcome};
use crate::api::incident_status::MAYDAY;
use crate::command::{Command, Flag, TEXT, Verb};
use crate::text::instant;

use super::Change;

/// What is claimed in the spec, also from before a relapse.
pub fn claim(incident: &Incident) -> Option<&Commitment> {
    incident.spec.roles.as_ref()?.lead.as_ref()
}

/// Who leads, before this write and since the last relapse.
pub fn lead_of<'a>(change: &Change<'a>) -> Option<&'a str> {
    change.old.current_lead().map(|lead| lead.user.as_str())
}

/// The one voice to stakeholders.
pub fn speaker(incident: &Incident) -> Option<&str> {
    Some(incident.spec.roles.as_ref()?.communications.as_ref()?.user.as_str())
}

/// Whether the caller is that person, by a login of their own.
fn is(change: &Change<'_>, person: Option<&str>) -> bool {
    change.facts.caller.direct && person == Some(change.facts.caller.user.as_str())
}

/// Whether the caller leads, before this write.
pub fn leads(change: &Change<'_>) -> bool {
    is(change, lead_of(change))
}

/// Whether the caller speaks to stakeholders, before this write.
pub fn speaks(change: &Change<'_>) -> bool {
    leads(change) || is(change, speaker(change.old))
}

/// Why the incident is not worked on any more: `was resolved as Restored by lena at …`; `None` while it is open.
pub fn ended(incident: &Incident) -> Option<String> {
    let status = incident.status.as_ref()?;
    if status.state.is_none_or(|state| state.is_open()) {
        return None;
    }
    let outcome = incident.resolution(status).map_or(Outcome::Restored, |resolution| resolution.outcome);
    Some(match &status.resolved {
        Some(by) => {
            let who = if by.user == MAYDAY { "itself" } else { &by.user };
            format!("was resolved as {outcome:?} by {who} at {}", instant(by.time.0))
        }
        None => "is over".to_owned(),
    })
}

/// The other incident that the outage goes on as, if this one is a duplicate or becomes one: `inc/older`.
pub fn instead(change: &Change<'_>) -> Option<String> {
    let other = change.old.goes_on_as().or(change.facts.original.as_deref())?;
    Some(format!("inc/{other}"))
}

/// The refusal of what has no effect on a duplicate: the sentence, and the command for the other incident.
pub fn on_a_duplicate(change: &Change<'_>, other: &str, what: &str, command: Command) -> String {
    let name = address(change.old).0;
    format!(
        "Refused: {name} is about the same outage as {other}, which goes on; {what} {other} instead: {command}"
    )
}

/// The command that declares the outage of this incident once more.
pub fn declare(incident: &Incident) -> Command {
    let service = incident.spec.service_refs.first().map_or("SERVICE", |service| service.name.as_str());
    Command::new(Verb::Declare)
        .namespace(address(incident).1)
        .word(TEXT)
        .flag(Flag::Service, service)
        .flag(Flag::Severity, incident.spec.severity.to_string())
}

/// For whom a milder or ended incident is.
pub fn by_quorum(change: &Change<'_>, what: &str) -> String {
    let name = address(change.old);
    let approvals = format!("takes the approvals that a change in {} takes", name.1);
    let who = match lead_of(change) {
        Some(lead) if lead != change.facts.caller.user => format!("is for {lead}, who leads, or {approvals}"),
        Some(lead) => {
            format!("is for {lead} logged in directly, and this request is impersonated; else it {approvals}")
        }
        None => format!("is for a lead, whom nobody is yet, or {approvals}"),
    };
    format!("Refused: in {}, {what} {who}", name.0)
}

/// Who the lead is, with the next command.
pub fn ask_lead(change: &Change<'_>, next: Command) -> String {
    match lead_of(change) {
        Some(lead) => format!(", who is {lead}: {next}"),
        None => format!(", and nobody leads yet: {}", command(Verb::Lead, &address(change.old))),
    }
}

/// The command that shows the incident.
pub fn show(change: &Change<'_>) -> Command {
    command(Verb::Show, &address(change.old))
}

/// `inc/NAME` and its namespace.
pub fn address(incident: &Incident) -> (String, String) {
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    (format!("inc/{name}"), incident.metadata.namespace.clone().unwrap_or_default())
}

/// A command about the incident.
pub fn command(verb: Verb, (name, namespace): &(String, String)) -> Command {
    Command::new(verb).namespace(namespace).word(name)
}
