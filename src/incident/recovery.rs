//! From passing checks to the end of the outage, and back when it returns (docs/rules.md#states). Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::timeline;
use crate::api::Incident;
use crate::api::common::{Severity, stored_time};
use crate::api::incident::{Outcome, REPORTED};
use crate::api::incident_status::{
    CheckResult, CheckStatus, IncidentState, IncidentStatus, MAYDAY, PEOPLE, PastOutage, Stamped,
};
use crate::incident::{checks, flapping, roles};
use crate::report::span;

/// Maximum number of past outages in the status, as the schema allows.
const MAX_PAST_OUTAGES: usize = 50;

/// Advances the incident by the checks in the status: mitigated, restored, resolved, or out again. Returns when to decide
/// again.
pub fn advance(
    incident: &Incident,
    status: &mut IncidentStatus,
    stable_for: SignedDuration,
    observed_since: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let passes =
        !status.checks.is_empty() && status.checks.iter().all(|check| check.result == CheckResult::Passing);
    // The question about a report is asked because no check has noticed the outage. A look outside that is inconclusive has
    // noticed nothing.
    let given = checks::of(incident, status);
    let is_outside =
        |name: &str| given.checks.iter().any(|check| check.name == name && checks::outside(check).is_some());
    let fails = |check: &CheckStatus| match check.result {
        CheckResult::Passing => false,
        CheckResult::Failing => check.name != REPORTED,
        CheckResult::Unknown => check.name != REPORTED && !is_outside(&check.name),
    };
    if status.checks.iter().any(fails) {
        status.noticed_time.get_or_insert_with(|| stored_time(now));
    }
    let mut wake = None;
    match (passes, status.healthy_since_time.clone()) {
        (true, None) => {
            status.healthy_since_time = Some(stored_time(now));
            flapping::record_transition(status, now);
            timeline::add(status, now, MAYDAY, "every check passes");
        }
        (false, Some(_)) => {
            status.healthy_since_time = None;
            flapping::record_transition(status, now);
            let what = match status.restored_time.take() {
                Some(_) => "a check fails again: not restored after all",
                None => "a check fails again",
            };
            timeline::add(status, now, MAYDAY, what);
        }
        _ => {}
    }
    if let Some(proved) = proved_at(status, stable_for, observed_since) {
        if now < proved {
            wake = Some(proved);
        } else if status.restored_time.is_none() {
            status.restored_time = Some(stored_time(now));
            timeline::add(status, now, MAYDAY, "proved healthy: service is restored");
        }
    }
    resolve(incident, status, now);
    [wake, flapping::ends_at(status, now)].into_iter().flatten().min()
}

/// When the return to service is proved if every check goes on passing. Time before `observed_since` proves nothing, since
/// nothing was observed.
pub fn proved_at(
    status: &IncidentStatus,
    stable_for: SignedDuration,
    observed_since: Timestamp,
) -> Option<Timestamp> {
    let since = status.healthy_since_time.as_ref()?.0.max(observed_since);
    Some(since.saturating_add(stable_for).unwrap_or(since))
}

/// Whether people have resolved it as restored before that is proved. The guard allowed it by an older status.
pub fn awaits_proof(incident: &Incident, status: &IncidentStatus) -> bool {
    status.restored_time.is_none()
        && incident.resolution(status).is_some_and(|said| said.outcome == Outcome::Restored)
}

/// Reopens the incident if a signal fires after the resolution (docs/rules.md#relapse). `detect` stores such a signal only
/// within the time in which an incident may be reopened.
pub fn reopen(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let ended = incident.resolution(status).map(|resolution| resolution.outcome);
    if matches!(ended, Some(Outcome::FalseAlarm | Outcome::Duplicate)) {
        return;
    }
    let Some(resolved) = &status.resolved else { return };
    let firing = status.signals.iter().filter(|signal| signal.end_time.is_none());
    let began = firing.clone().map(|signal| signal.start_time.0).min();
    let listed = firing.clone().find(|signal| signal.last_seen_time.0 >= resolved.time.0);
    let left_out = status.left_out_seen_time.as_ref().is_some_and(|seen| seen.0 >= resolved.time.0);
    let returned = listed
        .map(|signal| signal.name.clone())
        .or_else(|| left_out.then(|| "signals that do not fit into the list".to_owned()));
    if let Some(name) = returned {
        let last = span::last(incident, status);
        let end = last.end.unwrap_or(resolved.time.0);
        status.past_outages.push(PastOutage { start_time: last.start.map(Time), end_time: Time(end) });
        let surplus = status.past_outages.len().saturating_sub(MAX_PAST_OUTAGES);
        status.past_outages.drain(..surplus);
        // A signal that fires since before the resolution means the outage never ended. A sender's clock may be ahead.
        status.returned_time = Some(Time(began.unwrap_or(now).min(now).max(end)));
        status.resolved = None;
        status.restored_time = None;
        status.healthy_since_time = None;
        flapping::record_transition(status, now);
        status.relapses = status.relapses.saturating_add(1);
        status.lapsed_resolution = incident.spec.resolution.clone();
        roles::lapse(incident, status);
        timeline::add(status, now, MAYDAY, &format!("the outage has returned ({name}): reopened"));
    }
}

fn resolve(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    if status.resolved.is_some() || awaits_proof(incident, status) {
        return;
    }
    let (user, what) = match incident.resolution(status) {
        Some(resolution) => {
            // The guard lets only the lead or a quorum write it.
            let lead = status.lead.as_ref().map(|lead| lead.user.as_str()).or(incident.lead());
            let user = lead.unwrap_or(PEOPLE).to_owned();
            let reason = resolution.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            (user, format!("resolved as {:?}{reason}", resolution.outcome))
        }
        // Without a lead a proved incident resolves by itself, unless it flaps.
        None if status.restored_time.is_some()
            && status.lead.is_none()
            && incident.checks_see_the_end(status)
            && flapping::ends_at(status, now).is_none() =>
        {
            (MAYDAY.to_owned(), "resolved by itself".to_owned())
        }
        None => return,
    };
    timeline::add(status, now, &user, &what);
    status.resolved = Some(Stamped { user, time: stored_time(now) });
}

/// The state of the incident: the most advanced one that applies. `is_remediating`: a run is acting.
pub fn state(incident: &Incident, status: &IncidentStatus, is_remediating: bool) -> IncidentState {
    if status.duplicate_of.is_some() {
        return IncidentState::Duplicate;
    }
    if status.resolved.is_some() {
        return match incident.resolution(status).map(|resolution| resolution.outcome) {
            Some(Outcome::FalseAlarm) => IncidentState::FalseAlarm,
            Some(Outcome::Duplicate) => IncidentState::Duplicate,
            _ if needs_review(incident) => IncidentState::Resolved,
            _ => IncidentState::Closed,
        };
    }
    if status.restored_time.is_some() {
        IncidentState::Restored
    } else if status.healthy_since_time.is_some() {
        IncidentState::Monitoring
    } else if status.lead.is_some() {
        IncidentState::Crisis
    } else if is_remediating {
        IncidentState::Remediating
    } else if status.acknowledgement.is_some() {
        IncidentState::Acknowledged
    } else {
        IncidentState::Open
    }
}

/// Whether the incident needs a review before it closes: SEV2 and worse do.
fn needs_review(incident: &Incident) -> bool {
    !Severity::Sev2.worse_than(incident.spec.severity)
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
