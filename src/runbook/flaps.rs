//! Repairs that did not last: the run succeeded, and the outage came back (docs/rules.md#run-breaker). Pure.
//!
//! The incident of a run says so within the run's window ([`watch`]). A breaker that counts flaps looks further: for its own
//! time, and at later incidents about the same.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{matching, watch};
use crate::api::common::stored_time;
use crate::api::incident_status::IncidentState;
use crate::api::runbook::RecentRun;
use crate::api::runbook_run::RunState;
use crate::api::{Incident, Runbook};

/// Notes of each remembered run that succeeded whether its outage has come back. `incidents` are those of the namespace.
pub fn note(recent: &mut [RecentRun], runbook: &Runbook, incidents: &[Arc<Incident>], now: Timestamp) {
    watch::note(recent, incidents);
    let breaker = runbook.spec.limits.as_ref().and_then(|limits| limits.breaker.as_ref());
    let Some(breaker) = breaker.filter(|breaker| breaker.flaps.is_some()) else { return };
    let within = breaker.within().get();
    for run in recent.iter_mut().filter(|run| run.regressed_time.is_none()) {
        if came_back(run, runbook, incidents, within) {
            run.regressed_time = Some(stored_time(now));
        }
    }
}

/// Whether the outage of a run came back within that time of its success: its incident has reopened, or a later one that
/// the Runbook answers is about the same.
fn came_back(
    run: &RecentRun,
    runbook: &Runbook,
    incidents: &[Arc<Incident>],
    within: SignedDuration,
) -> bool {
    let (Some(RunState::Succeeded), Some(end), Some(of)) = (run.outcome, &run.end_time, &run.incident_ref)
    else {
        return false;
    };
    let until = end.0.checked_add(within).unwrap_or(Timestamp::MAX);
    let is_soon = |at: Timestamp| at > end.0 && at <= until;
    let own = incidents.iter().find(|incident| incident.uid().as_ref() == Some(&of.uid));
    let returned = own.and_then(|own| own.status.as_ref()?.returned_time.as_ref());
    if returned.is_some_and(|time| is_soon(time.0)) {
        return true;
    }
    incidents.iter().any(|later| {
        let status = later.status.as_ref();
        let is_one = !status.is_some_and(|status| {
            status.duplicate_of.is_some() || status.state == Some(IncidentState::FalseAlarm)
        });
        later.uid().as_ref() != Some(&of.uid)
            && later.creation_timestamp().is_some_and(|time| is_soon(time.0))
            && is_one
            && matching::answers(runbook, later)
            // If the earlier incident is gone, the symptom that both share must do.
            && own.is_none_or(|own| is_about_the_same(own, later))
    })
}

fn is_about_the_same(one: &Incident, other: &Incident) -> bool {
    let services = |incident: &Incident| incident.spec.service_refs.clone();
    let shares_service = services(one).iter().any(|service| other.spec.service_refs.contains(service));
    let subjects = other.subjects();
    let shares_object =
        one.subjects().iter().any(|object| subjects.iter().any(|known| known.same_object(object)));
    let says_nothing = services(one).is_empty() && one.subjects().is_empty();
    shares_service || shares_object || says_nothing
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn runbook() -> Runbook {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": "restart", "namespace": "shop"},
            "spec": {"summary": "s", "serviceAccountName": "sa", "steps": [],
                "match": [{"serviceRef": {"name": "checkout"}}, {"severities": ["SEV1"]}],
                "limits": {"breaker": {"flaps": 1, "within": "60s"}}}}))
        .unwrap()
    }

    fn incident(uid: &str, created: i64, service: &str, change: Value) -> Arc<Incident> {
        let mut value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": uid, "namespace": "shop", "uid": uid, "creationTimestamp": at(created)},
            "spec": {"title": "t", "severity": "SEV1", "serviceRefs": [{"name": service}]}, "status": {}});
        json_patch::merge(&mut value, &change);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    /// A run for the incident `first` that ended at second 100.
    fn regressed(outcome: &str, incidents: &[Arc<Incident>]) -> bool {
        let mut recent = [serde_json::from_value(
            json!({"name": "r", "uid": "r", "startTime": at(90), "endTime": at(100),
            "outcome": outcome, "incidentRef": {"name": "first", "uid": "first"}}),
        )
        .unwrap()];
        note(&mut recent, &runbook(), incidents, at(200));
        let RecentRun { regressed_time, .. } = &recent[0];
        assert!(
            regressed_time.is_none() || *regressed_time == Some(stored_time(at(200))),
            "when it was noticed"
        );
        regressed_time.is_some()
    }

    #[test]
    fn an_incident_that_reopens_soon_after_a_success_has_come_back() {
        let returned = |second: i64| {
            [incident("first", 10, "checkout", json!({"status": {"returnedTime": at(second)}}))]
        };
        assert!(regressed("Succeeded", &returned(130)));
        assert!(!regressed("Succeeded", &returned(161)), "too late");
        assert!(!regressed("Succeeded", &returned(95)), "before the run ended");
        assert!(!regressed("Failed", &returned(130)), "it repaired nothing");
    }

    #[test]
    fn a_later_incident_about_the_same_service_has_come_back() {
        let first = || incident("first", 10, "checkout", json!({}));
        let later = |created: i64, service: &str, change: Value| {
            regressed("Succeeded", &[first(), incident("later", created, service, change)])
        };
        assert!(later(130, "checkout", json!({})));
        assert!(!later(170, "checkout", json!({})), "too late");
        assert!(!later(130, "search", json!({})), "another service with the same symptom");
        assert!(!later(130, "checkout", json!({"status": {"duplicateOf": {"name": "first"}}})));
        assert!(!later(130, "checkout", json!({"status": {"state": "FalseAlarm"}})));
        let gone = [incident("later", 130, "search", json!({}))];
        assert!(regressed("Succeeded", &gone), "the earlier incident is gone, and the symptom is the same");
        let other = incident("later", 130, "search", json!({"spec": {"severity": "SEV3"}}));
        assert!(!regressed("Succeeded", &[other]), "the Runbook does not answer it");
    }
}
