//! What is recorded when an incident opens: when it was detected, when the outage started, and a copy of its service.
//! Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::timeline;
use crate::api::Incident;
use crate::api::common::{UidRef, stored_time};
use crate::api::incident_status::{IncidentStatus, ServiceCopy};

/// Records the detection once, and keeps the start and the copy of the service up to date.
pub fn record(incident: &Incident, facts: &IncidentFacts, status: &mut IncidentStatus, now: Timestamp) {
    detection(incident, status, now);
    start(incident, status, now);
    service(incident, facts, status);
}

/// When, how and by whom the outage was detected.
fn detection(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    if status.detected_time.is_some() {
        return;
    }
    let detection = incident.spec.detection.as_ref();
    let created = incident.metadata.creation_timestamp.clone().unwrap_or_else(|| stored_time(now));
    let detected = detection.and_then(|detection| detection.time.clone()).unwrap_or(created);
    // A reporter's clock may be ahead of Mayday's.
    let detected = stored_time(detected.0.min(now));
    let method = detection.map(|detection| detection.method).unwrap_or_default();
    let reporter =
        detection.and_then(|detection| detection.reporter.clone()).unwrap_or_else(|| "staff".to_owned());
    timeline::add(status, detected.0, &reporter, &format!("reported ({method:?}): {}", incident.spec.title));
    status.detected_time = Some(detected);
}

/// When the outage started: as people say, or else with its first signal, but never after its detection.
fn start(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let first = status.signals.iter().map(|signal| signal.start_time.clone()).min_by_key(|time| time.0);
    let start = incident.spec.start_time.clone().or(first);
    let before = status.start_time.clone();
    status.start_time = start.into_iter().chain(status.detected_time.clone()).min_by_key(|time| time.0);
    timeline::add_start(incident, status, before.as_ref(), now);
}

/// The service as it was when the incident opened; an incident that is over gets none any more.
fn service(incident: &Incident, facts: &IncidentFacts, status: &mut IncidentStatus) {
    if status.service.is_some() || status.resolved.is_some() || status.duplicate_of.is_some() {
        return;
    }
    status.service = facts.service(incident).map(|service| ServiceCopy {
        r#ref: UidRef { name: service.name_any(), uid: service.uid().unwrap_or_default() },
        title: service.spec.title.clone(),
        objects: service.spec.objects.clone(),
        impact: service.spec.impact.clone(),
        public_summary: service.spec.public_summary.clone(),
        rotations: service.spec.rotations.clone(),
        stakeholders: service.spec.stakeholders.clone(),
        bridge: service.spec.bridge.clone(),
        return_to_service: service.spec.return_to_service.clone(),
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::api::incident_status::Stamped;

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).unwrap()
    }

    /// The status after opening, of an incident that is resolved or not.
    fn opened(is_resolved: bool) -> IncidentStatus {
        let service = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "BusinessService",
            "metadata": {"name": "checkout", "uid": "cu"}, "spec": {"title": "Checkout"}});
        let facts = IncidentFacts {
            services: vec![Arc::new(serde_json::from_value(service).unwrap())],
            ..IncidentFacts::default()
        };
        let spec = json!({"title": "t", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}],
            "detection": {"method": "Customer", "time": "2999-01-01T00:00:00Z"}});
        let incident = Incident::new("i", serde_json::from_value(spec).unwrap());
        let end = Stamped { user: "mayday".to_owned(), time: stored_time(now()) };
        let mut status = IncidentStatus { resolved: is_resolved.then_some(end), ..IncidentStatus::default() };
        record(&incident, &facts, &mut status, now());
        status
    }

    #[test]
    fn a_service_that_is_created_later_is_not_copied_into_an_ended_incident() {
        assert!(opened(false).service.is_some() && opened(true).service.is_none());
    }

    #[test]
    fn a_detection_is_never_in_the_future() {
        assert_eq!(opened(false).detected_time.unwrap().0, now());
    }
}
