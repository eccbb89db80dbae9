//! The conditions of an incident (docs/rules.md#incident-conditions). Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::{checks, flapping, staleness};
use crate::api::Incident;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::incident_status::{IncidentState, IncidentStatus};
use crate::change::policy;
use crate::cluster::conditions::{NotReady, State, ready, set};
use crate::report;

/// Sets Ready: whether Mayday acts on every field of the incident.
pub fn readiness(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &mut IncidentStatus,
    generation: i64,
    now: Timestamp,
) {
    let given = checks::of(incident, status);
    let mut fields = checks::not_implemented(&given);
    fields.extend(incident.spec.review.iter().flat_map(report::not_implemented));
    let namespace = incident.namespace().unwrap_or_default();
    let policies = policy::covering(&facts.policies, &namespace, &facts.operator_namespace);
    let outcome = match (fields.as_slice(), checks::cannot_look(&given, &policies, &namespace)) {
        ([], None) => Ok("The incident is being worked on; status.next says by whom".to_owned()),
        ([], Some(why)) => Err(why),
        (fields, _) => Err(NotReady::not_implemented(fields)),
    };
    ready(status, generation, now, outcome);
}

/// Sets every condition but Ready from the rest of the status.
pub fn lifecycle(status: &mut IncidentStatus, facts: &IncidentFacts, generation: i64, now: Timestamp) {
    let is_open = status.state.is_none_or(IncidentState::is_open);
    let stale = if is_open { staleness::stale(status, facts, now).0 } else { None };
    let flapping = is_open && flapping::ends_at(status, now).is_some();
    let needs_no_review = matches!(
        status.state,
        Some(IncidentState::Closed | IncidentState::FalseAlarm | IncidentState::Duplicate)
    );
    let rows = [
        (
            ConditionType::Acknowledged,
            status.acknowledgement.is_some(),
            Reason::Answered,
            Reason::Unanswered,
            "a person has answered",
            "nobody has answered",
        ),
        (
            ConditionType::Mitigated,
            status.healthy_since_time.is_some(),
            Reason::ChecksPass,
            Reason::ChecksFail,
            "every check passes now",
            "not every check passes now",
        ),
        (
            ConditionType::Restored,
            status.restored_time.is_some(),
            Reason::Proved,
            Reason::NotProved,
            "every check has passed for long enough",
            "the checks have not passed for long enough",
        ),
        (
            ConditionType::Resolved,
            status.resolved.is_some(),
            Reason::Over,
            Reason::GoesOn,
            "the outage is over",
            "the outage goes on",
        ),
        (
            ConditionType::Reviewed,
            needs_no_review,
            Reason::NotNeeded,
            Reason::NotReviewed,
            "it needs no review",
            "nobody has written down what was learnt",
        ),
        (
            ConditionType::Flapping,
            flapping,
            Reason::Unsteady,
            Reason::Steady,
            "the checks begin and cease to pass again and again: it does not resolve by itself until they hold",
            "the checks do not come and go",
        ),
        (
            ConditionType::SignalStale,
            stale.is_some(),
            Reason::NotRepeated,
            Reason::Fresh,
            stale.as_deref().unwrap_or_default(),
            "what fires is repeated, or watched",
        ),
    ];
    for (kind, holds, yes, no, yes_message, no_message) in rows {
        let (reason, message) = if holds { (yes, yes_message) } else { (no, no_message) };
        set(&mut status.conditions, kind, State::from(holds), reason, message, generation, now);
    }
}
