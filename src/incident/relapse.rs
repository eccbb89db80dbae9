//! Which earlier outage a new incident is a relapse of, if that came back too late to be reopened
//! (docs/rules.md#relapse). Pure.

use std::sync::Arc;

use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::Incident;
use crate::api::incident_status::{IncidentState, IncidentStatus, Signal};

/// The earlier incident that was resolved before this one began and shares a signal with it; of several the one that
/// ended last.
pub fn of<'a>(
    incident: &Incident,
    status: &IncidentStatus,
    facts: &'a IncidentFacts,
) -> Option<&'a Arc<Incident>> {
    let began = incident.creation_timestamp()?;
    let is_known = |signal: &Signal| {
        status.signals.iter().any(|mine| mine.id == signal.id && mine.source_ref == signal.source_ref)
    };
    let ended = |earlier: &'a Arc<Incident>| {
        let before = earlier.status.as_ref()?;
        let resolved = &before.resolved.as_ref()?.time;
        let was_an_outage = matches!(before.state, Some(IncidentState::Resolved | IncidentState::Closed));
        let same = earlier.uid() != incident.uid() && before.signals.iter().any(is_known);
        (was_an_outage && same && resolved.0 <= began.0).then_some((resolved.0, earlier))
    };
    facts.incidents.iter().filter_map(ended).max_by_key(|(time, _)| *time).map(|(_, earlier)| earlier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident(
        name: &str,
        created: &str,
        state: &str,
        resolved: Option<&str>,
        signal: &str,
    ) -> Arc<Incident> {
        let signal = json!({"sourceRef": {"name": "am"}, "id": signal, "name": "CheckoutDown", "severity": "SEV2",
            "startTime": created, "lastSeenTime": created});
        let resolved = resolved.map(|time| json!({"user": "mayday", "time": time}));
        let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": name, "uid": name, "namespace": "shop", "creationTimestamp": created},
            "spec": {"title": "t", "severity": "SEV2"},
            "status": {"state": state, "resolved": resolved, "signals": [signal]}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_relapse_is_of_the_last_ended_outage_with_the_same_signal() {
        let (three, four, five) = ("2026-11-22T03:00:00Z", "2026-11-22T04:00:00Z", "2026-11-22T05:00:00Z");
        let new = incident("new", five, "Open", None, "a");
        let facts = IncidentFacts {
            incidents: vec![
                incident("older", three, "Closed", Some(three), "a"),
                incident("last", three, "Resolved", Some(four), "a"),
                incident("alarm", three, "FalseAlarm", Some(five), "a"),
                incident("other", three, "Resolved", Some(five), "b"),
                incident("open", three, "Open", None, "a"),
                incident("later", five, "Resolved", Some("2026-11-22T06:00:00Z"), "a"),
                Arc::clone(&new),
            ],
            ..IncidentFacts::default()
        };
        let status = new.status.clone().unwrap();
        assert_eq!(of(&new, &status, &facts).map(|earlier| earlier.name_any()).as_deref(), Some("last"));
        assert_eq!(of(&new, &IncidentStatus::default(), &facts), None, "a person's report is no signal");
    }
}
