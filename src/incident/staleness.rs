//! Stale signals: signals that fire and that no source will clear (docs/rules.md#signal-stale). Pure.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::signals;
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
    let mut wake = match left_out(status, now) {
        LeftOut::Stale(message) => return (Some(message), None),
        LeftOut::Firing { until } => Some(until),
        LeftOut::None => None,
    };
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

/// The firing signals for which the list has no place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LeftOut {
    /// There are none.
    None,
    /// Some fire.
    Firing {
        /// When they would be stale.
        until: Timestamp,
    },
    /// They have not been repeated for so long that nothing may ever clear them: why.
    Stale(String),
}

/// The firing signals for which the list has no place. Those that are not even tracked by hash would have been repeated,
/// and found a place, if they still fired; so after the silence they do not count any more.
pub fn left_out(status: &IncidentStatus, now: Timestamp) -> LeftOut {
    let fires = status.signals_left_out > 0;
    let Some(seen) = status.left_out_seen_time.as_ref().filter(|_| fires) else { return LeftOut::None };
    let until = seen.0.checked_add(MAX_SILENCE).unwrap_or(Timestamp::MAX);
    if until > now {
        return LeftOut::Firing { until };
    }
    if status.left_out_signals.is_empty() {
        return LeftOut::None;
    }
    LeftOut::Stale(format!(
        "{} signals that did not fit into the list have not been repeated since {}: either they are over, or \
         monitoring is silent",
        status.left_out_signals.len(),
        instant(seen.0)
    ))
}

fn firing(status: &IncidentStatus) -> impl Iterator<Item = &Signal> {
    status.signals.iter().filter(|signal| signal.end_time.is_none())
}

/// Why no source would report that a signal has cleared, and otherwise when to look again.
pub fn staleness(
    signal: &Signal,
    facts: &IncidentFacts,
    now: Timestamp,
) -> (Option<String>, Option<Timestamp>) {
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
        let uid = signal.id.split_once('/').map_or("", |(uid, _)| uid);
        let is_elsewhere =
            !watched.same_object(object) || signal.id != signals::condition_id(uid, &condition.type_);
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

    /// The kind: a bound of what is stored decides for ever what is known.
    #[test]
    fn signals_outside_the_list_are_failing_then_stale_and_lost_ones_end() {
        let left = |hashes: &[&str], count: i32, now: i64| {
            let status = json!({"leftOutSignals": hashes, "signalsLeftOut": count, "leftOutSeenTime": at(60).to_string()});
            left_out(&serde_json::from_value(status).unwrap(), at(now))
        };
        assert_eq!(left(&["a"], 1, 539), LeftOut::Firing { until: at(540) });
        assert!(
            matches!(left(&["a"], 1, 540), LeftOut::Stale(why) if why.starts_with("1 signals that did not fit"))
        );
        assert_eq!(left(&[], 1, 539), LeftOut::Firing { until: at(540) });
        assert_eq!(left(&[], 1, 540), LeftOut::None, "it would have been repeated and found a place");
        assert_eq!(left(&[], 0, 61), LeftOut::None);
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
