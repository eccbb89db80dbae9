//! The report for the organisation. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::words::{clause, escaped};
use super::{Facts, Instead, span};
use crate::api::Incident;
use crate::api::incident::DetectionMethod;
use crate::api::incident_status::{IncidentStatus, KnownChange};
use crate::text::{cut, instant};

/// Maximum length of the report in bytes. The API refuses more than 32768 characters.
const MAX: usize = 32_000;
/// Maximum length of one text that comes from outside, in bytes.
const PART: usize = 300;

/// The report for the organisation, in Markdown. It tells what happened, when and to whom, how the outage was
/// found, and who changed and decided what. It names the last change before the outage but does not call it
/// the cause: the review decides that.
pub fn report(facts: &Facts<'_>) -> String {
    let incident = facts.incident;
    let empty = IncidentStatus::default();
    let status = incident.status.as_ref().unwrap_or(&empty);
    let mut report = format!("# {}\n\n{}\n", escaped(&incident.spec.title, PART), summary(facts, status));
    section(&mut report, "Times", times(incident, status));
    section(
        &mut report,
        "Checks",
        status
            .checks
            .iter()
            .map(|check| {
                format!(
                    "{}: {:?}, {}",
                    escaped(&check.name, PART),
                    check.result,
                    clause(&check.message, PART)
                )
            })
            .collect(),
    );
    section(&mut report, "Changes", status.changes.iter().map(|change| changed(facts, change)).collect());
    section(&mut report, "Runs", runs(facts, status));
    let causes = incident.spec.review.iter().flat_map(|review| &review.contributing_causes);
    section(&mut report, "Contributing causes", causes.map(|cause| escaped(cause, PART)).collect());
    let room = MAX.saturating_sub(report.len());
    section(&mut report, "Timeline (UTC)", timeline(status, room));
    // Escaping makes hostile text longer. The cut ensures that the report can always be stored.
    cut(&report, MAX)
}

/// One sentence each on the outage, how it was found, the outage that it is a relapse of, the last change
/// before it, the last change before service returned, and how it ended.
fn summary(facts: &Facts<'_>, status: &IncidentStatus) -> String {
    let incident = facts.incident;
    if let Some(instead) = super::instead(incident) {
        return no_outage(incident, status, &instead);
    }
    let span = span::of(incident);
    let copied = status.service.as_ref().and_then(|service| service.impact.as_deref());
    let impact = incident.spec.impact.as_deref().or(copied).unwrap_or(&incident.spec.title);
    let mut text = format!("{}: {} ({}).", span.words(), clause(impact, PART), incident.spec.severity);
    if let (Some(start), Some(found)) = (span.start(), status.detected_time.as_ref()) {
        text.push_str(&format!(
            " It was found after {}, {}.",
            span::length(start, found.0),
            found_by(incident)
        ));
    }
    if let Some(source) = &incident.spec.start_time_source {
        text.push_str(&format!(" When it began is known from: {}.", clause(source, PART)));
    }
    if let Some(earlier) = &status.relapse_of {
        text.push_str(&format!(" It is a relapse of inc/{}.", escaped(&earlier.name, PART)));
    }
    if let Some(change) = span.start().and_then(|start| last_before(status, start)) {
        text.push_str(&format!(" The last change before it: {}.", changed(facts, change)));
    }
    if let (Some(start), Some(end)) = (span.start(), span.end()) {
        let during = last_before(status, end).filter(|change| change.time.0 > start);
        if let Some(change) = during {
            text.push_str(&format!(" The last change before service returned: {}.", changed(facts, change)));
        }
    }
    if let (Some(healthy), Some(proved)) = (&status.healthy_since_time, &status.restored_time) {
        text.push_str(&format!(" Proved healthy for {}.", span::length(healthy.0, proved.0)));
    }
    // A resolution from before a relapse does not tell how the outage ended.
    if let Some(resolution) = incident.resolution(status) {
        let reason =
            resolution.reason.as_deref().map(|r| format!(": {}", clause(r, PART))).unwrap_or_default();
        text.push_str(&format!(" Outcome: {:?}{reason}.", resolution.outcome));
    }
    text
}

/// How the outage was found, and by whom: `by an alert (alertmanager)`.
fn found_by(incident: &Incident) -> String {
    let detection = incident.spec.detection.as_ref();
    let how = match detection.map(|detection| detection.method).unwrap_or_default() {
        DetectionMethod::Alert => "by an alert",
        DetectionMethod::Heartbeat => "by a heartbeat that stopped",
        DetectionMethod::Condition => "by a condition in Kubernetes",
        DetectionMethod::Query => "by a query over its limit",
        DetectionMethod::Customer => "by a customer",
        DetectionMethod::Stakeholder => "by a stakeholder",
        DetectionMethod::Staff => "by the staff",
    };
    let reporter = detection.and_then(|detection| detection.reporter.as_deref());
    reporter.map_or_else(|| how.to_owned(), |reporter| format!("{how} ({})", escaped(reporter, PART)))
}

/// The summary of a false alarm or a duplicate. It tells no duration, impact or cause.
fn no_outage(incident: &Incident, status: &IncidentStatus, instead: &Instead) -> String {
    let resolution = incident.spec.resolution.as_ref();
    let reason = resolution.and_then(|resolution| resolution.reason.as_deref());
    let reason = reason.map(|reason| format!(" Reason: {}.", clause(reason, PART))).unwrap_or_default();
    let by = status.resolved.as_ref().map(|resolved| escaped(&resolved.user, PART));
    let by = by.map(|by| format!(" {by} said so.")).unwrap_or_default();
    match instead {
        Instead::FalseAlarm => format!("There was no outage: it was a false alarm.{by}{reason}"),
        Instead::Duplicate(Some(other)) => {
            format!(
                "This is the same outage as inc/{}, whose report tells it.{by}{reason}",
                escaped(other, PART)
            )
        }
        Instead::Duplicate(None) => format!("This outage has another report.{by}{reason}"),
    }
}

/// The newest change at or before an instant.
fn last_before(status: &IncidentStatus, instant: Timestamp) -> Option<&KnownChange> {
    status.changes.iter().filter(|change| change.time.0 <= instant).max_by_key(|change| change.time.0)
}

/// `image of deployment/checkout: … (chg/back-to-v1, asked by emil, approved by lena as lead and amir, applied by …)`.
fn changed(facts: &Facts<'_>, change: &KnownChange) -> String {
    let mut said = Vec::new();
    if let Some(subject) = &change.subject {
        said.push(escaped(subject, PART));
        let name = subject.rsplit('/').next().unwrap_or(subject);
        let request =
            facts.requests.iter().find(|request| subject.starts_with("chg/") && request.name_any() == name);
        if let Some(request) = request {
            said.extend(
                request.spec.requester.iter().map(|p| format!("asked by {}", escaped(&p.user, PART))),
            );
            let by: Vec<String> = request
                .status
                .iter()
                .flat_map(|status| &status.decisions)
                .filter(|decision| decision.decision == crate::api::approval::Decision::Approve)
                .map(|decision| match decision.role.as_str() {
                    "" => escaped(&decision.by, PART),
                    role => format!("{} as {}", escaped(&decision.by, PART), escaped(role, PART)),
                })
                .collect();
            if !by.is_empty() {
                said.push(format!("approved by {}", by.join(" and ")));
            }
        }
    }
    said.push(format!("applied by {} at {}", escaped(&change.by, PART), span::second(change.time.0)));
    format!("{} ({})", clause(&change.what, PART), said.join(", "))
}

/// The stored times, each with the time elapsed since the start.
fn times(incident: &Incident, status: &IncidentStatus) -> Vec<String> {
    let start = span::of(incident).start();
    let stamped = |who: &crate::api::incident_status::Stamped| {
        (who.time.0, format!(" by {}", escaped(&who.user, PART)))
    };
    let plain = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| (time.0, String::new());
    [
        ("Began", start.map(|at| (at, String::new()))),
        ("Found", status.detected_time.as_ref().map(plain)),
        ("Acknowledged", status.acknowledgement.as_ref().map(stamped)),
        ("Lead claimed", status.former_leads.first().or(status.lead.as_ref()).map(stamped)),
        ("Healthy since", status.healthy_since_time.as_ref().map(plain)),
        ("Proved", status.restored_time.as_ref().map(plain)),
        ("Resolved", status.resolved.as_ref().map(stamped)),
    ]
    .into_iter()
    .map(|(what, known)| match (known, start) {
        (None, _) if matches!(what, "Acknowledged" | "Lead claimed") => format!("{what}: by nobody"),
        (None, _) => format!("{what}: not known"),
        (Some((at, by)), Some(from)) if at > from => {
            format!("{what}: {}{by}, after {}", instant(at), span::length(from, at))
        }
        (Some((at, by)), _) => format!("{what}: {}{by}", instant(at)),
    })
    .collect()
}

/// The runs of this incident and how they ended.
fn runs(facts: &Facts<'_>, status: &IncidentStatus) -> Vec<String> {
    let ours = facts.runs.iter().filter(|run| status.runs.iter().any(|known| known.name == run.name_any()));
    ours.map(|run| {
        let state =
            run.status.as_ref().and_then(|s| s.state).map_or("not begun".to_owned(), |s| format!("{s:?}"));
        let by = run.spec.started_by.as_ref().map_or("mayday", |person| person.user.as_str());
        format!(
            "run/{}: runbook {}, started by {}: {state}",
            run.name_any(),
            run.spec.runbook_ref.name,
            escaped(by, PART)
        )
    })
    .collect()
}

/// The timeline, cut to `room` bytes. A last line counts the entries that are left out.
fn timeline(status: &IncidentStatus, room: usize) -> Vec<String> {
    let (mut lines, mut used) = (Vec::new(), 200);
    for entry in &status.timeline {
        let line = format!(
            "{} {}: {}",
            span::second(entry.time.0),
            escaped(&entry.who, PART),
            escaped(&entry.what, 500)
        );
        used += line.len() + 3;
        if used > room {
            break;
        }
        lines.push(line);
    }
    let left_out =
        status.timeline.len() - lines.len() + usize::try_from(status.timeline_left_out).unwrap_or(0);
    if left_out > 0 {
        lines.push(format!("{left_out} further entries are left out"));
    }
    lines
}

/// Appends a heading with a list, or nothing if the list is empty.
fn section(report: &mut String, title: &str, lines: Vec<String>) {
    if !lines.is_empty() {
        report.push_str(&format!("\n## {title}\n\n- {}\n", lines.join("\n- ")));
    }
}
