//! What is left behind: the outage reports. All of it is pure: stored facts in, Markdown out.

pub mod external;
pub mod internal;
pub mod span;
pub mod words;

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::incident_status::{IncidentState, Reports};
use crate::api::review::Review;
use crate::api::{ChangeRequest, Incident, RunbookRun};

/// What a report is made of. Nothing is looked up, nothing is guessed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident, with the status as it is stored or about to be.
    pub incident: &'a Incident,
    /// Requests of the incident's namespace; those that the incident's changes name are explained.
    pub requests: &'a [Arc<ChangeRequest>],
    /// Runs of the incident's namespace; those that belong to the incident are listed.
    pub runs: &'a [Arc<RunbookRun>],
}

/// The reports of an outage that is over. What they are made of may be deleted later; that must take no name out of the
/// one, nor bring one into the other. So what is stored stays once something that it names is gone, and the public report
/// stays unless people have written something since.
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

/// Whether all the requests and runs that the incident names are there.
fn is_whole(facts: &Facts<'_>) -> bool {
    let status = facts.incident.status.iter();
    let mut changes = status.clone().flat_map(|status| &status.changes);
    let mut runs = status.flat_map(|status| &status.runs);
    let is_there = |name: &str| facts.requests.iter().any(|request| request.name_any() == name);
    changes.all(|change| {
        change.subject.as_deref().and_then(|subject| subject.strip_prefix("chg/")).is_none_or(is_there)
    }) && runs.all(|known| facts.runs.iter().any(|run| run.name_any() == known.name))
}

/// What an incident was instead of an outage of its own: nothing, or the same as another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Instead {
    /// There was no outage.
    FalseAlarm,
    /// The incident with this name, if it is known, is about the same outage.
    Duplicate(Option<String>),
}

/// Whether an incident was said to be no outage of its own. By the name of the other, or by what was resolved.
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

/// The fields of a review that this version keeps and does not act on: it reports owner and causes alone.
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
