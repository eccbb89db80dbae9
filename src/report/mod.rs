//! Outage reports. The whole module is pure: stored facts in, Markdown out.

pub mod external;
pub mod internal;
pub mod span;
pub mod words;

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::incident_status::{IncidentState, Reports};
use crate::api::review::Review;
use crate::api::{ChangeRequest, Incident, RunbookRun};

/// The input of a report. A report looks up and guesses nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident, with the status that is stored or about to be stored.
    pub incident: &'a Incident,
    /// Requests in the incident's namespace. The report explains those that the incident's changes name.
    pub requests: &'a [Arc<ChangeRequest>],
    /// Runs in the incident's namespace. The report lists those that belong to the incident.
    pub runs: &'a [Arc<RunbookRun>],
}

/// The reports of an outage that is over. Their inputs may be deleted later. A deletion must not remove a
/// name from the internal report, nor let one into the public report. So both stored reports stay once an
/// object that the incident names is gone. The public report also stays unless people have edited the
/// incident since (`is_edited`).
pub fn reports(facts: &Facts<'_>, stored: Option<Reports>, is_edited: bool) -> Reports {
    let is_whole = is_whole(facts);
    let stored = stored.unwrap_or_default();
    Reports {
        internal: stored.internal.filter(|_| !is_whole).or_else(|| Some(internal::report(facts))),
        external: stored
            .external
            .filter(|_| !(is_whole && is_edited))
            .or_else(|| Some(external::report(facts))),
    }
}

/// Whether all requests and runs that the incident names still exist.
fn is_whole(facts: &Facts<'_>) -> bool {
    let status = facts.incident.status.iter();
    let mut changes = status.clone().flat_map(|status| &status.changes);
    let mut runs = status.flat_map(|status| &status.runs);
    let is_there = |name: &str| facts.requests.iter().any(|request| request.name_any() == name);
    changes.all(|change| {
        change.subject.as_deref().and_then(|subject| subject.strip_prefix("chg/")).is_none_or(is_there)
    }) && runs.all(|known| facts.runs.iter().any(|run| run.name_any() == known.name))
}

/// Why an incident was not an outage of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Instead {
    /// There was no outage.
    FalseAlarm,
    /// Another incident is about the same outage. Holds its name, if known.
    Duplicate(Option<String>),
}

/// Why the incident is not an outage of its own; `None` if it is one. The other incident's name comes from
/// the status or else from the resolution.
pub fn instead(incident: &Incident) -> Option<Instead> {
    let status = incident.status.as_ref()?;
    let resolution = incident.spec.resolution.as_ref();
    let other = status.duplicate_of.as_ref().or_else(|| resolution?.duplicate_of.as_ref());
    match (status.state?, other) {
        (IncidentState::FalseAlarm, _) => Some(Instead::FalseAlarm),
        (IncidentState::Duplicate, other) => Some(Instead::Duplicate(other.map(|other| other.name.clone()))),
        _ => None,
    }
}

/// The fields of a review that this version stores but does not act on. It reports only owner and causes.
pub fn not_implemented(review: &Review) -> Vec<String> {
    let Review {
        owner: _,
        summary,
        contributing_causes: _,
        why_not_detected_by_itself,
        technical,
        organisation,
        runbook,
    } = review;
    let set = [
        ("summary", summary.is_some()),
        ("whyNotDetectedByItself", why_not_detected_by_itself.is_some()),
        ("technical", !technical.is_empty()),
        ("organisation", organisation.is_some()),
        ("runbook", runbook.is_some()),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| format!("spec.review.{field}")).collect()
}

#[cfg(test)]
mod report_tests;
