//! Signals that fire since before an incident opened: their own incident is over although they never cleared, and a
//! source says nothing new about them. So an incident that a person declares shows them at once
//! (docs/rules.md#end-is-said-once). Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::signals::merge;
use super::{changes, staleness};
use crate::api::Incident;
use crate::api::incident_status::{IncidentState, IncidentStatus, Signal};

/// Adds the signals about the same service or objects that fire in incidents that are over, to the status of an incident
/// that has just opened.
pub fn carry_over(incident: &Incident, status: &mut IncidentStatus, facts: &IncidentFacts, now: Timestamp) {
    for signal in found(incident, status, facts, now) {
        // The newer of the two says how it is.
        merge(status, signal, SignedDuration::ZERO);
    }
}

fn found(incident: &Incident, status: &IncidentStatus, facts: &IncidentFacts, now: Timestamp) -> Vec<Signal> {
    let others = || facts.incidents.iter().filter(|other| other.uid() != incident.uid());
    let is_newest = |signal: &Signal| {
        let same = |known: &&Signal| known.source_ref == signal.source_ref && known.id == signal.id;
        let mut known = others().flat_map(|other| signals(other)).filter(same);
        known.all(|known| known.last_seen_time.0 <= signal.last_seen_time.0)
    };
    others()
        .filter(|other| is_over(other) && is_same(other, incident, status))
        .flat_map(|other| signals(other))
        .filter(|signal| signal.end_time.is_none() && is_newest(signal))
        .filter(|signal| staleness::staleness(signal, facts, now).0.is_none())
        .cloned()
        .collect()
}

/// Whether an incident is over. The signals of a duplicate are those of the other incident.
fn is_over(other: &Incident) -> bool {
    let state = other.status.as_ref().and_then(|status| status.state);
    !other.is_open() && state != Some(IncidentState::Duplicate)
}

/// Whether another incident was about the service of this one; without a service, about one of its objects.
fn is_same(other: &Arc<Incident>, incident: &Incident, status: &IncidentStatus) -> bool {
    let theirs = other.status.as_ref().and_then(|status| status.service.as_ref());
    match (&status.service, theirs) {
        (Some(own), Some(theirs)) => own.r#ref.uid == theirs.r#ref.uid || own.r#ref.name == theirs.r#ref.name,
        _ => {
            let affected = changes::affected(incident, status);
            let mut objects = signals(other).filter_map(|signal| signal.object.as_ref());
            objects.any(|object| affected.iter().any(|known| known.same_object(object)))
        }
    }
}

fn signals(incident: &Incident) -> impl Iterator<Item = &Signal> {
    incident.status.iter().flat_map(|status| &status.signals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn incident(name: &str, state: &str, seen: i64, patch: Value) -> Arc<Incident> {
        let mut signal = json!({"sourceRef": {"name": "am"}, "id": "f", "name": "Down", "severity": "SEV2",
            "startTime": at(10).to_string(), "lastSeenTime": at(seen).to_string(),
            "object": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}});
        json_patch::merge(&mut signal, &patch);
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": name, "uid": name},
            "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": state, "signals": [signal],
                "service": {"ref": {"name": "checkout", "uid": "cu"}, "title": "Checkout"}}});
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    /// What a new incident shows beside these, which are over.
    fn shows(others: &[Arc<Incident>], now: i64) -> usize {
        let am = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "AlertSource", "metadata": {"name": "am"},
            "spec": {"alertmanager": {}, "severity": {"fixed": "SEV2"}}});
        let new = incident("new", "Open", 100, json!({}));
        let facts = IncidentFacts {
            incidents: others.iter().cloned().chain([Arc::clone(&new)]).collect(),
            sources: vec![Arc::new(serde_json::from_value(am).unwrap())],
            ..IncidentFacts::default()
        };
        let mut status = new.status.clone().unwrap();
        status.signals.clear();
        carry_over(&new, &mut status, &facts, at(now));
        status.signals.len()
    }

    /// The kind: what fires after an end is not heard. A false alarm, and then a declared incident about the same outage.
    #[test]
    fn a_new_incident_shows_what_fires_since_before_it() {
        let alarm = || incident("alarm", "FalseAlarm", 50, json!({}));
        assert_eq!(shows(&[alarm()], 200), 1);
        assert_eq!(shows(&[alarm()], 50 + 8 * 3600), 0, "it is stale");
        let cleared = json!({"endTime": at(60).to_string()});
        assert_eq!(shows(&[incident("alarm", "FalseAlarm", 60, cleared.clone())], 200), 0);
        assert_eq!(
            shows(&[alarm(), incident("later", "Closed", 60, cleared)], 200),
            0,
            "a later incident knows better"
        );
        assert_eq!(shows(&[incident("other", "Duplicate", 50, json!({}))], 200), 0);
        assert_eq!(shows(&[incident("open", "Crisis", 50, json!({}))], 200), 0, "it is a duplicate of that");
    }
}
