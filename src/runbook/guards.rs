//! Built-in preconditions, which hold for every Runbook: they are judged right before each act, over the object
//! that was just read (docs/rules.md#run-guards). Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::cluster::rollout::{self, Counts};
use crate::runbook::steps;

/// A rollout that has not moved for so long is stuck, and not in progress. As the default of
/// `spec.progressDeadlineSeconds`.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// A rollout that goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rolling {
    /// How far it is, in words.
    pub message: String,
    /// When it counts as stuck unless it moves; `None` if that cannot be told.
    pub until: Option<Timestamp>,
}

/// The rollout of a workload that goes on; `None` if there is none. Pods that crash without a new template are no rollout,
/// and neither is one that has exceeded its deadline or does not move.
pub fn rolling_out(target: &ObjectRef, object: &Value, now: Timestamp) -> Option<Rolling> {
    if !steps::is_workload(target) {
        return None;
    }
    let name = target.display();
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    // Without it the controller has never looked, and nothing says that it works on it.
    let is_unobserved = Some(number("/status/observedGeneration")?) < number("/metadata/generation");
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let progressing = conditions.into_iter().flatten().find(|condition| condition["type"] == "Progressing");
    let counts = rollout::counts(&target.kind, object);
    let message = match target.kind.as_str() {
        _ if is_unobserved => Some(format!("the controller has not looked at the last change of {name} yet")),
        "Deployment" => deployment(&name, object, progressing, counts),
        "StatefulSet" => stateful_set(&name, object, counts),
        _ => daemon_set(&name, object, counts),
    }?;
    let moved = progressing.and_then(|condition| condition["lastUpdateTime"].as_str()?.parse().ok());
    let until = moved
        .or_else(|| status_time(object))
        .and_then(|moved: Timestamp| moved.checked_add(STUCK_AFTER).ok());
    until.is_none_or(|until| now < until).then_some(Rolling { message, until })
}

fn deployment(name: &str, object: &Value, progressing: Option<&Value>, counts: Counts) -> Option<String> {
    // A paused one goes on when somebody resumes it, and one that exceeded its deadline does not.
    let is_over =
        |condition: &Value| condition["status"] != "True" || condition["reason"] == "NewReplicaSetAvailable";
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) || progressing.is_some_and(is_over) {
        return None;
    }
    let Counts { wanted, updated, available, total, .. } = counts;
    if updated < wanted {
        return Some(format!("{name} is being rolled out: {updated} of {wanted} replicas are updated"));
    }
    if total > updated {
        return Some(format!(
            "{name} is being rolled out: {} old replicas are not gone yet",
            total - updated
        ));
    }
    (progressing.is_some() && available < updated).then(|| {
        format!("{name} is being rolled out: {available} of {updated} updated replicas are available")
    })
}

fn stateful_set(name: &str, object: &Value, counts: Counts) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let is_new = text("/status/updateRevision") != text("/status/currentRevision");
    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    let wanted = counts.wanted - partition.unwrap_or(0);
    (is_new && rolls_by_itself(object) && counts.updated < wanted)
        .then(|| format!("{name} is being rolled out: {} of {wanted} replicas are updated", counts.updated))
}

fn daemon_set(name: &str, object: &Value, counts: Counts) -> Option<String> {
    (rolls_by_itself(object) && counts.updated < counts.wanted).then(|| {
        format!("{name} is being rolled out: {} of {} pods are updated", counts.updated, counts.wanted)
    })
}

fn rolls_by_itself(object: &Value) -> bool {
    object.pointer("/spec/updateStrategy/type") != Some(&"OnDelete".into())
}

/// When the status of an object was last written.
fn status_time(object: &Value) -> Option<Timestamp> {
    let entries = entries(object).filter(|entry| entry["subresource"] == "status");
    entries.filter_map(|entry| entry["time"].as_str()?.parse().ok()).max()
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// A change by somebody else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change<'a> {
    /// Name of the client, as the API server noted it: `kubectl-edit`.
    pub manager: &'a str,
    /// When.
    pub time: Timestamp,
}

/// The newest change of what an object should be, by somebody other than a controller of the cluster or a run, after that
/// instant. What GitOps applies counts: a person wrote it.
pub fn changed_since(object: &Value, since: Timestamp) -> Option<Change<'_>> {
    let changes = entries(object).filter_map(|entry| {
        let manager = entry["manager"].as_str()?;
        let is_meant = entry["subresource"] != "status" && entry.pointer("/fieldsV1/f:spec").is_some();
        let time = entry["time"].as_str()?.parse().ok()?;
        (is_meant && time > since && !is_controller(manager)).then_some(Change { manager, time })
    });
    changes.max_by_key(|change| change.time)
}

/// Whether the API server's name of a client is that of a controller: it writes by itself, and no person stands behind it.
fn is_controller(manager: &str) -> bool {
    const GIT_OPS: [&str; 4] =
        ["argocd-controller", "argocd-application-controller", "kustomize-controller", "helm-controller"];
    const KNOWN: [&str; 4] = ["kubelet", "kube-scheduler", "mayday", "mayday-run"];
    const ENDS: [&str; 4] = ["controller-manager", "-controller", "-autoscaler", "-operator"];
    !GIT_OPS.contains(&manager) && (KNOWN.contains(&manager) || ENDS.iter().any(|end| manager.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn rolling(kind: &str, object: Value, now: i64) -> Option<Rolling> {
        let target = ObjectRef { api_version: "apps/v1".into(), kind: kind.into(), name: "checkout".into() };
        let mut whole = json!({"metadata": {"generation": 4}, "spec": {"replicas": 3}, "status": {"observedGeneration": 4}});
        json_patch::merge(&mut whole, &object);
        rolling_out(&target, &whole, at(now))
    }

    fn deployment(status: &str, reason: &str, counts: (i64, i64, i64)) -> Value {
        let (updated, available, total) = counts;
        json!({"status": {"updatedReplicas": updated, "availableReplicas": available, "replicas": total,
            "conditions": [{"type": "Progressing", "status": status, "reason": reason, "lastUpdateTime": at(1_000)}]}})
    }

    #[test]
    fn a_rollout_goes_on_while_it_moves() {
        let said = |counts| rolling("Deployment", deployment("True", "ReplicaSetUpdated", counts), 1_100);
        assert_eq!(
            said((1, 3, 4)).unwrap(),
            Rolling {
                message: "deployment/checkout is being rolled out: 1 of 3 replicas are updated".into(),
                until: Some(at(1_600)),
            }
        );
        assert!(said((3, 3, 4)).unwrap().message.ends_with("1 old replicas are not gone yet"));
        assert!(said((3, 2, 3)).unwrap().message.ends_with("2 of 3 updated replicas are available"));
        let unobserved = json!({"status": {"observedGeneration": 3}});
        assert!(rolling("Deployment", unobserved, 1_100).is_some());
    }

    /// The kind: every pod crashes, and the repair that would help is held back as if somebody were at work.
    #[test]
    fn a_workload_that_crashes_or_is_stuck_is_not_being_rolled_out() {
        let crashes = deployment("True", "NewReplicaSetAvailable", (3, 0, 3));
        assert_eq!(rolling("Deployment", crashes, 1_100), None);
        let late = deployment("False", "ProgressDeadlineExceeded", (1, 0, 4));
        assert_eq!(rolling("Deployment", late, 1_100), None);
        let still = deployment("True", "ReplicaSetUpdated", (1, 0, 4));
        assert!(rolling("Deployment", still.clone(), 1_599).is_some());
        assert_eq!(rolling("Deployment", still, 1_600), None, "it has not moved for ten minutes");
        let mut paused = deployment("Unknown", "DeploymentPaused", (1, 3, 4));
        paused["spec"] = json!({"paused": true});
        assert_eq!(rolling("Deployment", paused, 1_100), None);
        assert_eq!(rolling("Deployment", json!({"status": null}), 1_100), None, "nothing says so");
    }

    #[test]
    fn stateful_and_daemon_sets_are_rolled_out_until_their_pods_are_updated() {
        let written = json!({"managedFields": [{"manager": "kube-controller-manager", "subresource": "status", "time": at(1_000)}]});
        let stateful = |updated: i64, more: Value| {
            let mut object = json!({"metadata": written, "status": {"updateRevision": "b", "currentRevision": "a", "updatedReplicas": updated}});
            json_patch::merge(&mut object, &more);
            object
        };
        assert!(
            rolling("StatefulSet", stateful(1, json!({})), 1_100)
                .unwrap()
                .message
                .ends_with("1 of 3 replicas are updated")
        );
        assert_eq!(
            rolling("StatefulSet", stateful(1, json!({})), 1_700),
            None,
            "it has not moved for ten minutes"
        );
        let same = json!({"status": {"currentRevision": "b"}});
        assert_eq!(rolling("StatefulSet", stateful(0, same), 1_100), None, "its pods crash");
        let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}});
        assert_eq!(rolling("StatefulSet", stateful(1, partition), 1_100), None);
        let by_hand = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        assert_eq!(rolling("StatefulSet", stateful(1, by_hand), 1_100), None);
        let daemons = json!({"status": {"desiredNumberScheduled": 5, "updatedNumberScheduled": 2}});
        assert!(rolling("DaemonSet", daemons, 1_100).unwrap().message.ends_with("2 of 5 pods are updated"));
        assert_eq!(rolling("ReplicaSet", json!({"status": {"observedGeneration": 1}}), 1_100), None);
    }

    #[test]
    fn a_change_of_the_spec_by_a_person_after_the_outage_began_is_found() {
        let entry = |manager: &str, time: i64, subresource: Value, fields: &str| {
            json!({"manager": manager, "operation": "Update",
            "time": at(time), "subresource": subresource, "fieldsV1": {fields: {}}})
        };
        let found = |entries: Value| {
            let object = json!({"metadata": {"managedFields": entries}});
            changed_since(&object, at(100)).map(|change| (change.manager.to_owned(), change.time))
        };
        let spec = |manager: &str, time: i64| entry(manager, time, Value::Null, "f:spec");
        assert_eq!(found(json!([spec("kubectl-edit", 150)])), Some(("kubectl-edit".into(), at(150))));
        assert_eq!(
            found(json!([entry("kubectl", 150, json!("scale"), "f:spec")])),
            Some(("kubectl".into(), at(150)))
        );
        assert_eq!(
            found(json!([spec("helm", 150), spec("kubectl-set", 170)])),
            Some(("kubectl-set".into(), at(170)))
        );
        assert_eq!(
            found(json!([spec("kustomize-controller", 150)])),
            Some(("kustomize-controller".into(), at(150)))
        );
        assert_eq!(found(json!([spec("kubectl-edit", 100)])), None, "before the outage began");
        assert_eq!(found(json!([entry("kubectl", 150, json!("status"), "f:status")])), None);
        assert_eq!(found(json!([entry("kubectl-label", 150, Value::Null, "f:metadata")])), None);
        for controller in [
            "kube-controller-manager",
            "mayday-run",
            "keda-operator",
            "cluster-autoscaler",
            "vpa-recommender-controller",
        ] {
            assert_eq!(found(json!([spec(controller, 150)])), None, "{controller}");
        }
        assert_eq!(found(json!(null)), None);
    }
}
