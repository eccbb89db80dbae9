//! The outage reports, in Markdown, from what is stored with the incident. Pure.
//!
//! The internal one says who did what. The external one holds no person, object, image or digest: it is made
//! of the public summary and times alone.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::Incident;
use crate::api::incident::DetectionMethod;
use crate::api::incident_status::{IncidentStatus, KnownChange};
use crate::cluster::events::cut;
use crate::oncall::text::flat;

/// Longest internal report; the API takes a little more.
const MAX_INTERNAL: usize = 32_000;
/// Longest external report.
const MAX_EXTERNAL: usize = 8_000;

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Its status as it is about to be written.
    pub status: &'a IncidentStatus,
}

impl Facts<'_> {
    fn start(&self) -> Option<Timestamp> {
        self.status.start_time.as_ref().map(|time| time.0)
    }

    /// When people could do again what the service is for: the beginning of the health that was proved.
    fn end(&self) -> Option<Timestamp> {
        let healthy = self.status.healthy_since_time.as_ref();
        healthy.map(|time| time.0).or_else(|| self.status.resolved.as_ref().map(|resolved| resolved.time.0))
    }

    fn impact(&self) -> String {
        let service = self.status.service.as_ref();
        let impact = self.incident.spec.impact.clone().or_else(|| service?.impact.clone());
        let impact = impact.unwrap_or_else(|| format!("{} was out", self.incident.spec.title));
        past(&flat(&impact, 1_000))
    }

    /// The last change to what is affected before the outage began.
    fn last_change(&self) -> Option<&KnownChange> {
        let start = self.start()?;
        self.status.changes.iter().filter(|change| change.time.0 <= start).max_by_key(|change| change.time.0)
    }

    /// The last act that was followed by health.
    fn repair(&self) -> Option<&KnownChange> {
        let (start, end) = (self.start()?, self.end()?);
        self.status
            .changes
            .iter()
            .filter(|change| change.time.0 > start && change.time.0 <= end)
            .max_by_key(|change| change.time.0)
    }
}

/// For the organisation.
pub fn internal(facts: &Facts<'_>) -> String {
    let (incident, status) = (facts.incident, facts.status);
    let mut text = format!("# Outage report: {}\n\n", escape(&incident.spec.title));
    text.push_str(&format!("{}\n\n", summary(facts)));
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("| {name} | {value} |\n"));
        }
    };
    row("fact", Some("value".to_owned()));
    row("---", Some("---".to_owned()));
    row(
        "incident",
        Some(format!("inc/{} in {}", incident.name_any(), incident.namespace().unwrap_or_default())),
    );
    row("severity", Some(incident.spec.severity.to_string()));
    row("began", facts.start().map(instant));
    row("how that is known", incident.spec.start_time_source.as_deref().map(escape));
    row(
        "found",
        status.detected_time.as_ref().map(|time| format!("{} ({})", instant(time.0), method(incident))),
    );
    row(
        "answered",
        status.acknowledgement.as_ref().map(|by| format!("{} by {}", instant(by.time.0), escape(&by.user))),
    );
    row("led", status.lead.as_ref().map(|by| format!("from {} by {}", instant(by.time.0), escape(&by.user))));
    row("healthy again", status.healthy_since_time.as_ref().map(|time| instant(time.0)));
    row("proved", status.restored_time.as_ref().map(|time| instant(time.0)));
    row(
        "resolved",
        status.resolved.as_ref().map(|by| format!("{} by {}", instant(by.time.0), escape(&by.user))),
    );
    for (name, from, to) in [
        ("time to find", facts.start(), status.detected_time.as_ref().map(|time| time.0)),
        (
            "time to answer",
            status.detected_time.as_ref().map(|time| time.0),
            status.acknowledgement.as_ref().map(|by| by.time.0),
        ),
        ("time to repair", status.detected_time.as_ref().map(|time| time.0), facts.end()),
    ] {
        if let (Some(from), Some(to)) = (from, to) {
            text.push_str(&format!("| {name} | {} |\n", length(to.duration_since(from))));
        }
    }
    text.push_str("\n## Last changes\n\n");
    if status.changes.is_empty() {
        text.push_str("Mayday knows of none.\n");
    }
    for change in &status.changes {
        let subject = change.subject.as_deref().map_or_else(|| "without a request".to_owned(), escape);
        text.push_str(&format!(
            "- {}: {} ({subject}, by {})\n",
            instant(change.time.0),
            escape(&change.what),
            escape(&change.by)
        ));
    }
    text.push_str("\n## What proved the return to service\n\n");
    for check in &status.checks {
        text.push_str(&format!(
            "- {}: {:?}, {}\n",
            escape(&check.name),
            check.result,
            escape(&check.message)
        ));
    }
    text.push_str("\n## Timeline\n\n");
    for entry in &status.timeline {
        text.push_str(&format!(
            "- {} {}: {}\n",
            instant(entry.time.0),
            escape(&entry.who),
            escape(&entry.what)
        ));
    }
    if status.timeline_left_out > 0 {
        text.push_str(&format!("- {} entries are left out\n", status.timeline_left_out));
    }
    if !incident.spec.notes.is_empty() {
        text.push_str("\n## Notes\n\n");
        for note in &incident.spec.notes {
            text.push_str(&format!("- {}\n", escape(&note.text)));
        }
    }
    cut(&text, MAX_INTERNAL)
}

/// The model sentence of rules §10.
fn summary(facts: &Facts<'_>) -> String {
    let (status, impact) = (facts.status, escape(&facts.impact()));
    let mut text = match (facts.start(), facts.end()) {
        (Some(start), Some(end)) => {
            format!(
                "For {}, from {} to {} UTC, {impact}",
                length(end.duration_since(start)),
                clock(start),
                clock(end)
            )
        }
        _ => capital(&impact),
    };
    if let Some(change) = facts.last_change() {
        let subject = change.subject.as_deref().unwrap_or("a change without a request");
        text.push_str(&format!(
            ". The last change before it: {} ({}, applied by {} at {})",
            escape(&change.what),
            escape(subject),
            escape(&change.by),
            clock(change.time.0)
        ));
    }
    text.push('.');
    if let (Some(start), Some(found)) = (facts.start(), status.detected_time.as_ref()) {
        text.push_str(&format!(
            " {} after {}",
            found_by(facts.incident),
            length(found.0.duration_since(start))
        ));
        match facts.repair() {
            Some(repair) => {
                let subject = repair.subject.as_deref().unwrap_or("a change without a request");
                text.push_str(&format!(
                    "; {} ({}, by {}) restored it",
                    escape(subject),
                    escape(&repair.what),
                    escape(&repair.by)
                ));
            }
            None => text.push_str("; no change that Mayday knows of restored it"),
        }
        if let (Some(healthy), Some(proved)) = (&status.healthy_since_time, &status.restored_time) {
            text.push_str(&format!("; proved healthy for {}", length(proved.0.duration_since(healthy.0))));
        }
        text.push('.');
    }
    text
}

/// For the public.
pub fn external(facts: &Facts<'_>) -> String {
    let service = facts.status.service.as_ref();
    let public = facts.incident.spec.public_summary.clone().or_else(|| service?.public_summary.clone());
    let mut text = "# Outage report\n\n".to_owned();
    if let (Some(start), Some(end)) = (facts.start(), facts.end()) {
        text.push_str(&format!(
            "From {} to {} ({}) our service was impaired.\n",
            instant(start),
            instant(end),
            length(end.duration_since(start))
        ));
    }
    if let Some(public) = public {
        text.push_str(&format!("\n{}\n", escape(&flat(&public, 1_000))));
    }
    if facts.status.restored_time.is_some() {
        text.push_str("\nService has returned, and its health has been proved.\n");
    } else {
        text.push_str("\nService has returned.\n");
    }
    cut(&text, MAX_EXTERNAL)
}

fn method(incident: &Incident) -> String {
    let detection = incident.spec.detection.as_ref();
    let reporter = detection.and_then(|detection| detection.reporter.as_deref()).unwrap_or("staff");
    format!("{:?}, {}", detection.map(|detection| detection.method).unwrap_or_default(), escape(reporter))
}

fn found_by(incident: &Incident) -> &'static str {
    match incident.spec.detection.as_ref().map(|detection| detection.method).unwrap_or_default() {
        DetectionMethod::Alert
        | DetectionMethod::Heartbeat
        | DetectionMethod::Condition
        | DetectionMethod::Query => "Mayday found it",
        DetectionMethod::Customer => "A customer reported it",
        DetectionMethod::Stakeholder => "A stakeholder reported it",
        DetectionMethod::Staff => "Somebody of the staff reported it",
    }
}

/// `22 min 2 s`.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// `Customers may be unable to pay` becomes `customers were unable to pay`.
fn past(impact: &str) -> String {
    let impact = impact.trim_end_matches('.').replace(" may be ", " were ").replace(" may ", " could ");
    let mut chars = impact.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), chars.as_str())
        }
        _ => impact,
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}

/// A text of somebody else as plain text in Markdown: one line, nothing of it is markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in flat(text, 4_000).chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
