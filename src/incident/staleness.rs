//! What to doubt of what signals and checks say: a service that comes and goes, and a signal that nobody would clear
//! (rules §5). Pure.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::common::{ObjectRef, is_true};
use crate::api::incident_status::{IncidentStatus, Signal};
use crate::cluster::conditions::seconds;
use crate::text::instant;

/// Changes of the checks older than this are another story.
const WINDOW: SignedDuration = SignedDuration::from_mins(30);
/// So many within the window are flapping: three times up and down.
const BEGINS: usize = 6;
/// It ends only with fewer than this, or it would flap itself.
const ENDS: usize = 3;
/// Most changes that are kept, as the schema allows.
const KEPT: usize = 20;
/// Alertmanager repeats what fires, by default every four hours; twice that without a word is doubtful.
const SILENCE: SignedDuration = SignedDuration::from_hours(8);

/// Remembers that the checks have begun or ceased to pass.
pub fn turned(status: &mut IncidentStatus, now: Timestamp) {
    status.check_transition_times.push(seconds(now));
    let surplus = status.check_transition_times.len().saturating_sub(KEPT);
    status.check_transition_times.drain(..surplus);
}

/// Until when the service is said to come and go if nothing changes; none if it does not.
pub fn flaps_until(status: &IncidentStatus, now: Timestamp) -> Option<Timestamp> {
    let recent: Vec<Timestamp> = status
        .check_transition_times
        .iter()
        .filter_map(|time| time.0.checked_add(WINDOW).ok())
        .filter(|end| *end > now)
        .collect();
    let enough = if is_true(&status.conditions, "Flapping") { ENDS } else { BEGINS };
    if recent.len() < enough {
        return None;
    }
    recent.iter().rev().nth(ENDS - 1).copied()
}

/// Which firing signal nobody would clear, in words; and when to look again if none is so yet.
pub fn stale(
    status: &IncidentStatus,
    facts: &IncidentFacts,
    now: Timestamp,
) -> (Option<String>, Option<Timestamp>) {
    let mut wake = None;
    for signal in firing(status) {
        match doubt(signal, facts, now) {
            (Some(message), _) => return (Some(message), None),
            (None, due) => wake = [wake, due].into_iter().flatten().min(),
        }
    }
    (None, wake)
}

/// The doubt of one signal that fires, if there are any and every one of them is doubtful.
pub fn of_all(status: &IncidentStatus, facts: &IncidentFacts, now: Timestamp) -> Option<String> {
    let doubts: Option<Vec<String>> = firing(status).map(|signal| doubt(signal, facts, now).0).collect();
    doubts?.into_iter().next()
}

fn firing(status: &IncidentStatus) -> impl Iterator<Item = &Signal> {
    status.signals.iter().filter(|signal| signal.end_time.is_none())
}

/// Why nobody would say that a signal has cleared; and when to look again if somebody would.
fn doubt(signal: &Signal, facts: &IncidentFacts, now: Timestamp) -> (Option<String>, Option<Timestamp>) {
    let (name, source) = (&signal.name, &signal.source_ref.name);
    let Some(found) = facts.sources.iter().find(|found| found.name_any() == *source) else {
        return (Some(format!("asrc/{source} is gone: nobody will say that {name} has cleared")), None);
    };
    // A condition is watched: there a silence says that nothing changes, unless there is nothing to be watched.
    if let (Some(condition), Some(object)) = (&found.spec.condition, &signal.object) {
        let watched = ObjectRef {
            api_version: condition.api_version.clone(),
            kind: condition.kind.clone(),
            ..object.clone()
        };
        let shown = object.display();
        let is_other = !watched.same_object(object) || !signal.id.ends_with(&format!("/{}", condition.type_));
        let message = match facts.workload(object) {
            _ if is_other => {
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
    let due = signal.last_seen_time.0.checked_add(SILENCE).unwrap_or(Timestamp::MAX);
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
    use crate::cluster::conditions::set;
    use serde_json::{Value, json};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn three_times_up_and_down_is_flapping_until_it_is_steady() {
        let mut status = IncidentStatus::default();
        for minute in 1..=5 {
            turned(&mut status, at(minute));
            assert_eq!(flaps_until(&status, at(minute)), None, "minute {minute}");
        }
        turned(&mut status, at(6));
        assert_eq!(flaps_until(&status, at(6)), Some(at(34)), "the third newest leaves the window then");
        set(&mut status.conditions, "Flapping", true, "Unsteady", "", 1, at(6));
        assert_eq!(
            flaps_until(&status, at(33)),
            Some(at(34)),
            "two have left the window, and it still flaps"
        );
        assert_eq!(flaps_until(&status, at(34)), None);
        for minute in 100..200 {
            turned(&mut status, at(minute));
        }
        assert_eq!(status.check_transition_times.len(), KEPT);
    }

    fn firing(source: &str, end: Value) -> IncidentStatus {
        let signal = json!({"sourceRef": {"name": source}, "id": "a", "name": "CheckoutDown", "severity": "SEV2",
            "startTime": "1970-01-01T00:00:00Z", "lastSeenTime": "1970-01-01T01:00:00Z", "endTime": end});
        serde_json::from_value(json!({"signals": [signal]})).unwrap()
    }

    #[test]
    fn what_nobody_repeats_or_could_clear_is_doubted() {
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
        let all = |source: &str, minute| of_all(&firing(source, Value::Null), &facts, at(minute));
        assert!(all("am", 540).is_some() && all("am", 539).is_none());
        assert_eq!(of_all(&IncidentStatus::default(), &facts, at(540)), None);

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
