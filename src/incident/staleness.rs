//! Stale signals: signals that fire and that no source will clear (docs/rules.md#signal-stale). Pure.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::common::ObjectRef;
use crate::api::incident_status::{IncidentStatus, Signal};
use crate::text::instant;

/// How long an Alertmanager signal may go without a repeat: twice its default repeat interval of four hours.
const MAX_SILENCE: SignedDuration = SignedDuration::from_hours(8);

/// Why a firing signal is stale, for the first that is; and otherwise when the next one could become stale.
pub fn stale(
    status: &IncidentStatus,
    facts: &IncidentFacts,
    now: Timestamp,
) -> (Option<String>, Option<Timestamp>) {
    let mut wake = None;
    for signal in firing(status) {
        match staleness(signal, facts, now) {
            (Some(message), _) => return (Some(message), None),
            (None, due) => wake = [wake, due].into_iter().flatten().min(),
        }
    }
    (None, wake)
}

/// Why the first firing signal is stale, if signals fire and all of them are stale.
pub fn all_stale(status: &IncidentStatus, facts: &IncidentFacts, now: Timestamp) -> Option<String> {
    let messages: Option<Vec<String>> =
        firing(status).map(|signal| staleness(signal, facts, now).0).collect();
    messages?.into_iter().next()
}

fn firing(status: &IncidentStatus) -> impl Iterator<Item = &Signal> {
    status.signals.iter().filter(|signal| signal.end_time.is_none())
}

/// Why no source would report that a signal has cleared, and otherwise when to look again.
fn staleness(signal: &Signal, facts: &IncidentFacts, now: Timestamp) -> (Option<String>, Option<Timestamp>) {
    let (name, source) = (&signal.name, &signal.source_ref.name);
    let Some(found) = facts.sources.iter().find(|found| found.name_any() == *source) else {
        return (Some(format!("asrc/{source} is gone: nobody will say that {name} has cleared")), None);
    };
    // A condition is watched: no report means no change, as long as the source still watches the object.
    if let (Some(condition), Some(object)) = (&found.spec.condition, &signal.object) {
        let watched = ObjectRef {
            api_version: condition.api_version.clone(),
            kind: condition.kind.clone(),
            ..object.clone()
        };
        let shown = object.display();
        let is_elsewhere =
            !watched.same_object(object) || !signal.id.ends_with(&format!("/{}", condition.type_));
        let message = match facts.workload(object) {
            _ if is_elsewhere => {
                format!("asrc/{source} watches something else now than what said {name} of {shown}")
            }
            None => format!("{shown} is gone: nobody will say that {name} has cleared"),
            Some(_) => return (None, None),
        };
        return (Some(message), None);
    }
    if found.spec.alertmanager.is_none() {
        return (None, None);
    }
    let due = signal.last_seen_time.0.checked_add(MAX_SILENCE).unwrap_or(Timestamp::MAX);
    if due > now {
        return (None, Some(due));
    }
    let seen = instant(signal.last_seen_time.0);
    let message = format!(
        "asrc/{source} has not repeated {name} since {seen}: either it is over, or monitoring is silent"
    );
    (Some(message), None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::{Value, json};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn firing(source: &str, end: Value) -> IncidentStatus {
        let signal = json!({"sourceRef": {"name": source}, "id": "a", "name": "CheckoutDown", "severity": "SEV2",
            "startTime": "1970-01-01T00:00:00Z", "lastSeenTime": "1970-01-01T01:00:00Z", "endTime": end});
        serde_json::from_value(json!({"signals": [signal]})).unwrap()
    }

    #[test]
    fn a_signal_that_no_source_repeats_or_could_clear_is_stale() {
        let source = |name: &str, kind: Value| {
            let mut object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "AlertSource",
                "metadata": {"name": name, "namespace": "shop"}, "spec": {"severity": {"fixed": "SEV2"}, "service": {"byObject": {}}}});
            json_patch::merge(&mut object, &json!({"spec": kind}));
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let condition = json!({"condition": {"apiVersion": "apps/v1", "kind": "Deployment", "selector": {},
            "type": "Available", "status": "False", "holdFor": "20s"}});
        let facts = IncidentFacts {
            sources: vec![source("am", json!({"alertmanager": {}})), source("workloads", condition)],
            ..IncidentFacts::default()
        };
        let said = |source: &str, end: Value, minute| stale(&firing(source, end), &facts, at(minute));
        assert_eq!(said("am", Value::Null, 539), (None, Some(at(540))));
        let (message, _) = said("am", Value::Null, 540);
        assert!(
            message
                .unwrap()
                .starts_with("asrc/am has not repeated CheckoutDown since 1970-01-01 01:00:00 UTC")
        );
        assert_eq!(said("am", json!("1970-01-01T02:00:00Z"), 540), (None, None), "it has cleared");
        assert_eq!(said("workloads", Value::Null, 540), (None, None));
        assert!(said("gone", Value::Null, 61).0.unwrap().starts_with("asrc/gone is gone"));
        let all = |source: &str, minute| all_stale(&firing(source, Value::Null), &facts, at(minute));
        assert!(all("am", 540).is_some() && all("am", 539).is_none());
        assert_eq!(all_stale(&IncidentStatus::default(), &facts, at(540)), None);

        let about = |kind: &str, id: &str| {
            let mut status = firing("workloads", Value::Null);
            status.signals[0].id = id.to_owned();
            status.signals[0].object =
                serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": kind, "name": "checkout"}))
                    .unwrap();
            stale(&status, &facts, at(61)).0.unwrap()
        };
        assert!(about("Deployment", "u/Available").starts_with("deployment/checkout is gone"));
        for other in [about("StatefulSet", "u/Available"), about("Deployment", "u/Progressing")] {
            assert!(other.starts_with("asrc/workloads watches something else"), "{other}");
        }
    }
}
