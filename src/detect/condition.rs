//! The `condition` source: what Kubernetes itself says is wrong, without any monitoring.
//!
//! Runs on the lease holder over the cached workloads: at every change, and when a condition has held for long
//! enough. What it sees goes the same way as a posted alert.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::record;
use super::signal::Observation;
use crate::api::alert_source::ObjectCondition;
use crate::api::common::ObjectRef;
use crate::api::incident_status::Signal;
use crate::api::{AlertSource, Incident};
use crate::cluster::caches::in_namespace;
use crate::cluster::error::chain;
use crate::cluster::{Context, SharedContext, workloads};
use crate::incident::signals;
use crate::text::flat;

/// Even if nothing changes.
const EVERY: Duration = Duration::from_secs(60);
/// So many changes at most are looked at together.
const BURST: usize = 1024;
/// After a failure to store.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until `stop`.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    let changes = context.stores.changes().filter_map(|change| async move {
        match change {
            Ok(change) => {
                (change.kind == "AlertSource" || workloads::KINDS.contains(&change.kind)).then_some(())
            }
            Err(_) => Some(()),
        }
    });
    let changes = changes.ready_chunks(BURST);
    futures::pin_mut!(changes);
    let mut reported = Reported::new();
    loop {
        let pause = look(&context, &mut reported).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            _ = changes.next() => {}
        }
    }
}

/// By namespace and name of a source: what it last reported as firing. A cache may not know it yet.
type Reported = BTreeMap<(String, String), BTreeSet<String>>;

/// Looks at every source once; how long until one must be looked at again.
async fn look(context: &Context, reported: &mut Reported) -> Duration {
    let now = Timestamp::now();
    let mut wake = EVERY;
    let mut last = std::mem::take(reported);
    for source in context.stores.sources.state() {
        let Some(condition) = &source.spec.condition else { continue };
        let namespace = source.namespace().unwrap_or_default();
        let group = condition.api_version.split_once('/').map_or("", |(group, _)| group);
        if !workloads::is_one(group, &condition.kind) {
            continue;
        }
        // What cannot be read is missing, and says nothing.
        let objects = workloads::all(&context.stores, &namespace, &condition.kind).unwrap_or_default();
        let incidents = in_namespace(&context.stores.incidents, &namespace);
        let firing = firing(&incidents, &source);
        let mut sighting = decide(&source, condition, &objects, now);
        let ended = superseded(condition, &objects, &sighting.observations, &firing, now);
        sighting.observations.extend(ended);
        let key = (namespace, source.name_any());
        let before = last.remove(&key).unwrap_or_default();
        let left_out = left_out(&incidents);
        let found_no_place =
            |seen: &Observation| left_out.contains(signals::key(&source.name_any(), &seen.id).as_str());
        sighting.observations.retain(|seen| is_news(seen, &firing, &before) || found_no_place(seen));
        if let Some(next) = sighting.wake {
            wake = wake.min(Duration::try_from(next.duration_since(now)).unwrap_or(RETRY));
        }
        if sighting.observations.is_empty() {
            continue;
        }
        let fires = sighting.observations.iter().filter(|seen| seen.end.is_none());
        let mut fires: BTreeSet<String> = fires.map(|seen| seen.id.clone()).collect();
        if let Err(error) = record::record(context, &source, sighting.observations).await {
            fires.extend(before);
            tracing::warn!(source = %source.name_any(), error = %chain(&error), "what was seen was not stored; trying again");
            wake = wake.min(RETRY);
        }
        reported.insert(key, fires);
    }
    wake
}

/// Whether anything could come of it: the end of what was not known to fire tells nothing. Pure.
fn is_news(seen: &Observation, firing: &[Signal], reported: &BTreeSet<String>) -> bool {
    seen.end.is_none() || reported.contains(&seen.id) || firing.iter().any(|signal| signal.id == seen.id)
}

/// What a look has shown.
#[derive(Debug, Default, PartialEq)]
struct Sighting {
    /// Every object, firing or cleared.
    observations: Vec<Observation>,
    /// When a condition will have held for long enough.
    wake: Option<Timestamp>,
}

/// What the source sees in the objects. Pure. An object without the condition says nothing: missing data is
/// neither trouble nor health.
fn decide(source: &AlertSource, condition: &ObjectCondition, objects: &[Value], now: Timestamp) -> Sighting {
    let hold = condition.hold_for.as_ref().map_or(SignedDuration::ZERO, |duration| duration.get());
    let mut sighting = Sighting::default();
    for object in objects.iter().filter(|object| is_selected(condition, object)) {
        let Some(found) = condition_of(object, &condition.type_) else { continue };
        let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
        let Ok(since) = text("lastTransitionTime").parse::<Timestamp>() else { continue };
        let is_trouble = text("status") == condition.status;
        let holds_from = since.saturating_add(hold).unwrap_or(since);
        if is_trouble && now < holds_from {
            sighting.wake = [sighting.wake, Some(holds_from)].into_iter().flatten().min();
            continue;
        }
        let end = (!is_trouble).then_some(since);
        sighting.observations.push(observe(source, condition, object, since, end, text("message")));
    }
    sighting
}

/// What is known to fire without a place in the list of signals, by its short hash.
fn left_out(incidents: &[Arc<Incident>]) -> BTreeSet<&str> {
    let open = incidents.iter().filter(|incident| incident.is_open());
    let status = open.filter_map(|incident| incident.status.as_ref());
    status.flat_map(|status| &status.left_out_signals).map(String::as_str).collect()
}

/// What the source has reported and nobody has cleared.
fn firing(incidents: &[Arc<Incident>], source: &AlertSource) -> Vec<Signal> {
    let signals = incidents.iter().filter(|incident| incident.is_open()).filter_map(|incident| {
        let signals = &incident.status.as_ref()?.signals;
        Some(signals.iter().filter(|signal| signal.end_time.is_none()))
    });
    signals.flatten().filter(|signal| signal.source_ref.name == source.name_any()).cloned().collect()
}

/// The end of signals that the source can never clear: another object has taken the name and has been seen in trouble or
/// in health, or it is not selected any more. Of an object that is only gone, or says nothing yet, the trouble goes on:
/// missing data is not health. Pure.
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

/// The identity of an object's condition.
fn id(uid: &str, condition: &ObjectCondition) -> String {
    format!("{uid}/{}", condition.type_)
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
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
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
    fn what_was_replaced_or_is_not_selected_any_more_is_over_and_what_is_only_gone_is_not() {
        let source = source();
        let condition = source.spec.condition.clone().unwrap();
        let down = decide(&source, &condition, &[deployment("False", 0)], at(30)).observations;
        let firing = [down[0].signal("workloads", at(30))];
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

    fn look(object: Value, now: i64) -> Sighting {
        let source = source();
        decide(&source, source.spec.condition.as_ref().unwrap(), &[object], at(now))
    }

    #[test]
    fn trouble_counts_once_it_has_held_from_the_instant_it_began() {
        let early = look(deployment("False", 100), 119);
        assert_eq!((early.observations.len(), early.wake), (0, Some(at(120))));
        let seen = look(deployment("False", 100), 120);
        assert_eq!((seen.observations[0].start, seen.observations[0].end), (at(100), None));
        assert_eq!(seen.observations[0].object.as_ref().unwrap().display(), "deployment/checkout");
    }

    #[test]
    fn the_end_is_news_only_of_what_fires() {
        let down = look(deployment("False", 0), 30).observations.remove(0);
        let up = look(deployment("True", 40), 50).observations.remove(0);
        let fires = down.signal("workloads", at(30));
        let reported = BTreeSet::from([down.id.clone()]);
        assert!(is_news(&down, &[], &BTreeSet::new()));
        assert!(!is_news(&up, &[], &BTreeSet::new()));
        assert!(is_news(&up, &[fires], &BTreeSet::new()));
        assert!(is_news(&up, &[], &reported), "before the cache has it");
    }

    #[test]
    fn what_found_no_place_is_known_by_its_hash() {
        let known = signals::key("workloads", "du/Available");
        let incident = |state: &str| {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
                "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": state, "leftOutSignals": [known]}});
            [Arc::new(serde_json::from_value::<Incident>(whole).unwrap())]
        };
        assert!(left_out(&incident("Open")).contains(known.as_str()));
        assert!(left_out(&incident("Closed")).is_empty());
    }

    #[test]
    fn the_end_of_trouble_is_seen_and_missing_data_is_neither() {
        assert_eq!(look(deployment("True", 200), 200).observations[0].end, Some(at(200)));
        let mut silent = deployment("False", 100);
        silent["status"] = json!({});
        assert_eq!(look(silent, 500), Sighting::default());
        let mut other = deployment("False", 100);
        other["metadata"]["labels"] = json!({"app": "till"});
        assert_eq!(look(other, 500), Sighting::default());
    }
}
