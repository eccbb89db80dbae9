//! The source `condition`: a condition of Kubernetes objects that means trouble, without any monitoring.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::{Look, Source, Watch};
use crate::api::AlertSource;
use crate::api::alert_source::ObjectCondition;
use crate::api::common::ObjectRef;
use crate::api::conditions::Reason;
use crate::api::incident::DetectionMethod;
use crate::api::incident_status::Signal;
use crate::cluster::conditions::NotReady;
use crate::cluster::{Context, workloads};
use crate::detect::decide::Sight;
use crate::detect::observation::Observation;
use crate::incident::signals;
use crate::text::flat;

impl Source for ObjectCondition {
    fn accept(&self) -> Result<(), NotReady> {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        if workloads::is_one(group, &self.kind) {
            return Ok(());
        }
        Err(NotReady::Stalled(
            Reason::NotImplemented,
            format!(
                "spec.condition.kind: this version of Mayday watches {}, not {} {}",
                workloads::KINDS.join(", "),
                self.api_version,
                self.kind
            ),
        ))
    }

    fn method(&self) -> DetectionMethod {
        DetectionMethod::Condition
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }
}

impl Watch for ObjectCondition {
    fn look<'a>(
        &'a self,
        context: &'a Context,
        source: &'a AlertSource,
        firing: &'a [Signal],
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Look> + Send + 'a>> {
        let namespace = source.namespace().unwrap_or_default();
        // An object that cannot be read is missing, and missing data changes nothing.
        let objects = workloads::all(&context.caches, &namespace, &self.kind).unwrap_or_default();
        let mut look = decide(source, self, &objects, now);
        look.observations.extend(superseded(self, &objects, &look.observations, firing, now));
        Box::pin(std::future::ready(look))
    }

    fn sight(&self, context: &Context, namespace: &str) -> Sight {
        sight(self, &workloads::all(&context.caches, namespace, &self.kind).unwrap_or_default())
    }
}

/// The conditions that Kubernetes sets on the objects of a kind; some only while they hold.
fn set_by_kubernetes(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" => &["Available", "Progressing", "ReplicaFailure"],
        _ => &[],
    }
}

/// What to do instead, for a kind on which Kubernetes sets no conditions.
fn instead(kind: &str) -> &'static str {
    match kind {
        "StatefulSet" => {
            ": Kubernetes sets none on a StatefulSet. Use an alert instead, such as \
             kube_statefulset_status_replicas_ready < kube_statefulset_replicas"
        }
        "DaemonSet" => {
            ": Kubernetes sets none on a DaemonSet. Use an alert instead, such as \
             kube_daemonset_status_number_unavailable > 0"
        }
        _ => "",
    }
}

/// Whether the selected objects carry the condition, or ever will. Pure.
fn sight(condition: &ObjectCondition, objects: &[Value]) -> Sight {
    let (kind, type_) = (&condition.kind, &condition.type_);
    let selected: Vec<&Value> = objects.iter().filter(|object| is_selected(condition, object)).collect();
    let carrying = selected.iter().filter(|object| condition_of(object, type_).is_some()).count();
    let count = selected.len();
    if carrying > 0 {
        return Sight::Sees(format!(
            "{carrying} of {count} selected objects of kind {kind} carry the condition {type_}"
        ));
    }
    if set_by_kubernetes(kind).contains(&type_.as_str()) {
        return Sight::Nothing(if count == 0 {
            format!("No {kind} is selected yet: spec.condition.selector names its labels")
        } else {
            format!("None of {count} selected objects of kind {kind} carries the condition {type_} yet")
        });
    }
    let carried: BTreeSet<&str> =
        selected.iter().flat_map(|object| conditions(object)).filter_map(type_of).collect();
    let known: BTreeSet<&str> = carried.into_iter().chain(set_by_kubernetes(kind).iter().copied()).collect();
    let known = if known.is_empty() {
        instead(kind).to_owned()
    } else {
        format!("; there are {}", Vec::from_iter(known).join(", "))
    };
    Sight::Blind(format!(
        "spec.condition.type: no {kind} carries a condition {type_}, so nothing will be reported{known}"
    ))
}

/// The observations of the objects. An object without the condition gives none: missing data is neither trouble nor
/// health. Pure.
fn decide(source: &AlertSource, condition: &ObjectCondition, objects: &[Value], now: Timestamp) -> Look {
    let hold = condition.hold_for.as_ref().map_or(SignedDuration::ZERO, |duration| duration.get());
    let mut look = Look::default();
    for object in objects.iter().filter(|object| is_selected(condition, object)) {
        let Some(found) = condition_of(object, &condition.type_) else { continue };
        let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
        let Ok(since) = text("lastTransitionTime").parse::<Timestamp>() else { continue };
        let is_trouble = text("status") == condition.status;
        let holds_from = since.saturating_add(hold).unwrap_or(since);
        if is_trouble && now < holds_from {
            look.wake = [look.wake, Some(holds_from)].into_iter().flatten().min();
            continue;
        }
        let end = (!is_trouble).then_some(since);
        look.observations.push(observe(source, condition, object, since, end, text("message")));
    }
    look
}

/// Ends the signals that no object can clear any more: another object has taken the name and its condition is known, or
/// the object is not selected any more. If the object is only gone, or the new one has no condition yet, the signal goes
/// on: missing data is not health. Pure.
fn superseded(
    condition: &ObjectCondition,
    objects: &[Value],
    seen: &[Observation],
    firing: &[Signal],
    now: Timestamp,
) -> Vec<Observation> {
    let text =
        |object: &'_ Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let is_watched = |signal: &&Signal| {
        objects
            .iter()
            .filter(|object| is_selected(condition, object))
            .any(|object| text(object, "/metadata/uid").is_some_and(|uid| signal.id == id(&uid, condition)))
    };
    let speaks = |object: &ObjectRef| {
        object.kind == condition.kind
            && objects
                .iter()
                .filter(|found| text(found, "/metadata/name").as_ref() == Some(&object.name))
                .any(|found| {
                    !is_selected(condition, found) || seen.iter().any(|o| o.object.as_ref() == Some(object))
                })
    };
    firing
        .iter()
        .filter(|signal| !is_watched(signal) && signal.object.as_ref().is_some_and(speaks))
        .map(|signal| Observation {
            id: signal.id.clone(),
            name: signal.name.clone(),
            summary: signal.summary.clone(),
            severity: signal.severity,
            start: signal.start_time.0,
            end: Some(now),
            labels: signal.labels.clone(),
            object: signal.object.clone(),
            group: signal.group.clone(),
        })
        .collect()
}

/// The id of the signal of an object's condition.
fn id(uid: &str, condition: &ObjectCondition) -> String {
    signals::condition_id(uid, &condition.type_)
}

fn observe(
    source: &AlertSource,
    condition: &ObjectCondition,
    object: &Value,
    since: Timestamp,
    end: Option<Timestamp>,
    message: &str,
) -> Observation {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    Observation {
        id: id(uid, condition),
        name: format!("{} {} is {}", condition.kind, condition.type_, condition.status),
        summary: (!message.is_empty()).then(|| flat(message, 500)),
        severity: source.spec.severity.fixed.or(source.spec.severity.default).unwrap_or_default(),
        start: since,
        end,
        labels: BTreeMap::new(),
        object: Some(ObjectRef {
            api_version: condition.api_version.clone(),
            kind: condition.kind.clone(),
            name: name.to_owned(),
        }),
        group: uid.to_owned(),
    }
}

fn is_selected(condition: &ObjectCondition, object: &Value) -> bool {
    let label = |key: &str| object.pointer("/metadata/labels").and_then(|labels| labels.get(key)?.as_str());
    condition.selector.match_labels.iter().all(|(key, value)| label(key) == Some(value))
}

fn condition_of<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions(object).find(|condition| type_of(condition) == Some(kind))
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

fn type_of(condition: &Value) -> Option<&str> {
    condition.get("type").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn source() -> AlertSource {
        let spec = json!({"condition": {"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"app": "checkout"}},
            "type": "Available", "status": "False", "holdFor": "20s"}, "severity": {"fixed": "SEV2"}});
        AlertSource::new("workloads", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_replaced_or_unselected_object_is_over_and_a_missing_one_is_not() {
        let source = source();
        let condition = source.spec.condition.clone().unwrap();
        let down = decide(&source, &condition, &[deployment("False", 0)], at(30)).observations;
        let firing = [down[0].signal("workloads", &BTreeSet::new(), at(30))];
        let ends = |objects: &[Value]| -> Vec<Option<Timestamp>> {
            let seen = decide(&source, &condition, objects, at(40)).observations;
            superseded(&condition, objects, &seen, &firing, at(40)).iter().map(|seen| seen.end).collect()
        };
        let mut replaced = deployment("True", 35);
        replaced["metadata"]["uid"] = json!("another");
        let mut relabelled = deployment("False", 0);
        relabelled["metadata"]["labels"]["app"] = json!("other");
        let mut silent = replaced.clone();
        silent["status"] = json!({});
        let mut young = replaced.clone();
        young["status"]["conditions"][0]["status"] = json!("False");
        assert_eq!(ends(&[silent]), [], "nobody knows yet how the new one is");
        assert_eq!(ends(&[young]), [], "it has not been down for long enough, nor up");
        assert_eq!(ends(&[replaced]), [Some(at(40))]);
        assert_eq!(ends(&[relabelled]), [Some(at(40))]);
        assert_eq!(ends(&[deployment("False", 0)]), [], "it clears by itself");
        assert_eq!(ends(&[]), [], "missing data is not health");
    }

    fn deployment(status: &str, since: i64) -> Value {
        json!({"metadata": {"name": "checkout", "uid": "du", "labels": {"app": "checkout"}},
            "status": {"conditions": [{"type": "Available", "status": status, "lastTransitionTime": at(since).to_string(), "message": "no pods"}]}})
    }

    fn look(object: Value, now: i64) -> Look {
        let source = source();
        decide(&source, source.spec.condition.as_ref().unwrap(), &[object], at(now))
    }

    /// The kind: a source is said to work although it can never report anything.
    #[test]
    fn a_condition_that_no_object_will_carry_is_said_to_be_missing() {
        let seen = |kind: &str, type_: &str, objects: &[Value]| {
            let watched = json!({"apiVersion": "apps/v1", "kind": kind, "type": type_, "status": "False"});
            sight(&serde_json::from_value(watched).unwrap(), objects)
        };
        let up = [deployment("True", 0)];
        assert!(matches!(seen("Deployment", "Available", &up), Sight::Sees(_)));
        assert!(
            matches!(seen("Deployment", "ReplicaFailure", &up), Sight::Nothing(_)),
            "only while it fails"
        );
        assert!(matches!(seen("Deployment", "Available", &[]), Sight::Nothing(_)), "none is there yet");
        let Sight::Blind(why) = seen("Deployment", "available", &up) else { panic!("a typo") };
        assert!(why.ends_with("; there are Available, Progressing, ReplicaFailure"), "{why}");
        for kind in ["StatefulSet", "DaemonSet"] {
            let bare = json!({"metadata": {"name": "db"}, "status": {"replicas": 3}});
            for objects in [vec![], vec![bare]] {
                let Sight::Blind(why) = seen(kind, "Ready", &objects) else { panic!("{kind}") };
                assert!(why.contains("Use an alert instead, such as kube_"), "{why}");
            }
        }
        // Somebody else may set conditions.
        assert!(matches!(seen("StatefulSet", "Available", &up), Sight::Sees(_)));
    }

    #[test]
    fn trouble_counts_from_its_beginning_once_it_has_held() {
        let early = look(deployment("False", 100), 119);
        assert_eq!((early.observations.len(), early.wake), (0, Some(at(120))));
        let seen = look(deployment("False", 100), 120);
        assert_eq!((seen.observations[0].start, seen.observations[0].end), (at(100), None));
        assert_eq!(seen.observations[0].object.as_ref().unwrap().display(), "deployment/checkout");
    }

    #[test]
    fn the_end_of_trouble_is_seen_and_missing_data_is_not_an_end() {
        assert_eq!(look(deployment("True", 200), 200).observations[0].end, Some(at(200)));
        let mut silent = deployment("False", 100);
        silent["status"] = json!({});
        assert_eq!(look(silent, 500), Look::default());
        let mut other = deployment("False", 100);
        other["metadata"]["labels"] = json!({"app": "till"});
        assert_eq!(look(other, 500), Look::default());
    }
}
