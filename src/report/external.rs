//! The report for the public. It names no person, object, image or digest. Pure.

use std::collections::BTreeSet;

use super::words::{escaped, names};
use super::{Facts, Instead, span};
use crate::api::incident::Audience;
use crate::api::incident_status::{MAYDAY, PEOPLE};
use crate::text::instant;

/// Maximum length of the summary in bytes. Escaping makes it at most five times as long, and the API refuses
/// 8192 characters.
const MAX: usize = 1_200;
/// Neutral sentence that every public report contains.
const NEUTRAL: &str = "a service was not available as usual.";

/// The report for the public, in Markdown. A public summary that names a person, an object, an image or a
/// digest is left out completely, because a sentence with gaps would reveal more than no sentence.
pub fn report(facts: &Facts<'_>) -> String {
    let incident = facts.incident;
    match super::instead(incident) {
        Some(Instead::FalseAlarm) => return "# Outage report\n\nThere was no outage.\n".to_owned(),
        Some(Instead::Duplicate(_)) => {
            return "# Outage report\n\nThis outage has another report.\n".to_owned();
        }
        None => {}
    }
    let copied =
        incident.status.as_ref().and_then(|s| s.service.as_ref()).and_then(|s| s.public_summary.as_deref());
    let summary = incident.spec.public_summary.as_deref().or(copied).unwrap_or_default();
    let secret = secrets(facts);
    let publishable = !summary.trim().is_empty()
        && !summary.contains("sha256:")
        && !secret.iter().any(|name| names(summary, name));
    let span = span::of(incident);
    let mut report = format!("# Outage report\n\n{}, {NEUTRAL}\n", span.words());
    // The summary was written before or during the outage. A person decided whether it was published.
    if publishable {
        let is_told = incident.spec.updates.iter().any(|update| update.audience == Audience::External);
        let what = if is_told { "What we said then" } else { "As known while it lasted" };
        report.push_str(&format!("\n{what}: {}\n", escaped(summary, MAX)));
    }
    if let (Some(from), Some(to), Some(length)) = (span.start(), span.end(), span.length()) {
        let lines = [("Began", instant(from)), ("Ended", instant(to)), ("Duration", length)];
        report.push('\n');
        for (what, value) in lines {
            report.push_str(&format!("- {what}: {value}\n"));
        }
    }
    report
}

/// Every name of a person, object or image in the facts.
pub fn secrets(facts: &Facts<'_>) -> BTreeSet<String> {
    let incident = facts.incident;
    let mut found = BTreeSet::new();
    let mut add = |name: &str| {
        if !name.trim().is_empty() && ![MAYDAY, PEOPLE].contains(&name) {
            found.insert(name.trim().to_owned());
        }
    };
    let spec = &incident.spec;
    incident.metadata.name.iter().for_each(|name| add(name));
    spec.affected.iter().for_each(|object| add(&object.name));
    spec.acknowledgement.iter().for_each(|person| add(&person.user));
    spec.notes.iter().filter_map(|note| note.by.as_ref()).for_each(|person| add(&person.user));
    if let Some(roles) = &spec.roles {
        roles.lead.iter().chain(&roles.nominated_lead).for_each(|person| add(&person.user));
        roles.communications.iter().for_each(|person| add(&person.user));
    }
    spec.updates.iter().filter_map(|update| update.by.as_ref()).for_each(|person| add(&person.user));
    if let Some(status) = &incident.status {
        let people = status.acknowledgement.iter().chain(&status.lead).chain(&status.former_leads);
        people.chain(&status.resolved).for_each(|person| add(&person.user));
        status.service.iter().flat_map(|s| &s.objects).for_each(|object| add(&object.name));
        status.signals.iter().filter_map(|s| s.object.as_ref()).for_each(|object| add(&object.name));
        status.escalation.iter().flat_map(|e| &e.people).for_each(|person| add(person));
        status.paged.iter().for_each(|person| add(person));
        status.timeline.iter().for_each(|entry| add(&entry.who));
        for change in &status.changes {
            add(&change.by);
            // A word with a colon or a slash counts as an image: `shop/checkout:v1`.
            change.what.split_whitespace().filter(|word| word.contains([':', '/'])).for_each(|word| {
                add(word.trim_matches(|c: char| !c.is_alphanumeric()));
            });
        }
    }
    for request in facts.requests {
        request.spec.requester.iter().chain(&request.spec.actors).for_each(|person| add(&person.user));
        request.spec.changes.iter().filter_map(|c| c.target.as_ref()).for_each(|object| add(&object.name));
        if let Some(status) = &request.status {
            status.decisions.iter().for_each(|decision| add(&decision.by));
            status.used.iter().for_each(|used| add(&used.by));
        }
    }
    for run in facts.runs {
        run.spec.started_by.iter().for_each(|person| add(&person.user));
        run.status.iter().flat_map(|s| &s.decisions).for_each(|decision| add(&decision.by));
    }
    found
}
