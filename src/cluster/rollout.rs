//! How far the rollout of a workload is, with the same verdict as `kubectl rollout status`. Pure.

use serde_json::Value;

/// How far a rollout is, each with a sentence for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rollout {
    /// `kubectl rollout status` ends with success.
    Complete(String),
    /// The controller has not observed the newest spec yet, so nothing is known about it.
    Unobserved(String),
    /// Pods are still being replaced, or are not available yet.
    Underway(String),
    /// `kubectl rollout status` ends with an error: waiting does not help.
    Failed(String),
}

impl Rollout {
    /// The sentence for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Complete(message)
            | Self::Unobserved(message)
            | Self::Underway(message)
            | Self::Failed(message) => message,
        }
    }
}

/// The counts of a workload that decide, whatever its kind calls them. Missing counts are zero, as in the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Pods that the spec asks for.
    pub wanted: i64,
    /// Pods of the newest template.
    pub updated: i64,
    /// Pods that are ready.
    pub ready: i64,
    /// Pods that have been ready for `minReadySeconds`.
    pub available: i64,
    /// Pods of any template.
    pub total: i64,
}

/// The counts of a workload. A missing `spec.replicas` is 1, which is its default in the API.
pub fn counts(kind: &str, object: &Value) -> Counts {
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    if kind == "DaemonSet" {
        return Counts {
            wanted: status("desiredNumberScheduled"),
            updated: status("updatedNumberScheduled"),
            ready: status("numberReady"),
            available: status("numberAvailable"),
            total: status("currentNumberScheduled"),
        };
    }
    Counts {
        wanted: object["spec"]["replicas"].as_i64().unwrap_or(1),
        updated: status("updatedReplicas"),
        ready: status("readyReplicas"),
        available: status("availableReplicas"),
        total: status("replicas"),
    }
}

/// How far the rollout of a Deployment, StatefulSet or DaemonSet is. `name` is how people read it:
/// `deployment/checkout`.
pub fn status(kind: &str, object: &Value, name: &str) -> Rollout {
    let generation = object["metadata"]["generation"].as_i64();
    let observed = object["status"]["observedGeneration"].as_i64();
    // The number of pods is in the spec, except for a DaemonSet.
    let is_counted = kind != "DaemonSet" || object["status"]["desiredNumberScheduled"].is_i64();
    if generation.is_none() || observed.is_none() || observed < generation || !is_counted {
        return Rollout::Unobserved(format!(
            "the controller has not looked at the last change of {name} yet"
        ));
    }
    if let Some(strategy) = manual_strategy(object) {
        return Rollout::Failed(format!(
            "{name} replaces pods only when they are deleted ({strategy}), so its rollout has no status"
        ));
    }
    let counts = counts(kind, object);
    match kind {
        "Deployment" => deployment(object, name, counts),
        "StatefulSet" => stateful_set(object, name, counts),
        "DaemonSet" => daemon_set(name, counts),
        _ => Rollout::Failed(format!("{name} is a {kind}, which is not rolled out")),
    }
}

/// Why a new template would replace no pod now; `None` if it would replace some.
pub fn replaces_nothing(kind: &str, object: &Value, name: &str) -> Option<String> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if is_paused(object) {
        return Some(format!(
            "{name} is paused, so a restart would do nothing until somebody resumes it: \
             kubectl rollout resume -n {namespace} {name}"
        ));
    }
    if let Some(strategy) = manual_strategy(object) {
        return Some(format!(
            "{name} replaces pods only when they are deleted ({strategy}): a restart would do nothing"
        ));
    }
    let counts = counts(kind, object);
    if counts.wanted == 0 {
        return Some(if kind == "DaemonSet" {
            format!("{name} runs on no node, so a restart would do nothing: kubectl get nodes --show-labels")
        } else {
            format!(
                "{name} is scaled to 0 replicas, so a restart would do nothing: \
                 kubectl scale -n {namespace} {name} --replicas=NUMBER"
            )
        });
    }
    let partition = partition(object)?;
    (partition >= counts.wanted).then(|| {
        format!(
            "{name} keeps all {} replicas at their old template (updateStrategy.rollingUpdate.partition is \
             {partition}): a restart would do nothing",
            counts.wanted
        )
    })
}

fn deployment(object: &Value, name: &str, counts: Counts) -> Rollout {
    let Counts { wanted, updated, available, total, .. } = counts;
    let conditions = object["status"]["conditions"].as_array();
    let progressing = conditions.into_iter().flatten().find(|condition| condition["type"] == "Progressing");
    if progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Rollout::Failed(format!("{name} exceeded its progress deadline"));
    }
    if updated < wanted {
        let paused = if is_paused(object) { "; it is paused" } else { "" };
        return Rollout::Underway(format!("{name}: {updated} of {wanted} replicas are updated{paused}"));
    }
    if total > updated {
        return Rollout::Underway(format!("{name}: {} old replicas are not gone yet", total - updated));
    }
    if available < updated {
        return Rollout::Underway(format!("{name}: {available} of {updated} updated replicas are available"));
    }
    complete(name, wanted)
}

fn stateful_set(object: &Value, name: &str, counts: Counts) -> Rollout {
    let Counts { wanted, updated, ready, .. } = counts;
    if ready < wanted {
        return Rollout::Underway(format!("{name}: {ready} of {wanted} replicas are ready"));
    }
    if let Some(partition) = partition(object) {
        let due = wanted - partition;
        if updated < due {
            return Rollout::Underway(format!(
                "{name}: {updated} of {due} replicas above the partition are updated"
            ));
        }
        return match partition {
            0 => complete(name, wanted),
            _ => Rollout::Complete(format!(
                "{name} runs its newest template on {updated} of {wanted} replicas, as its partition says"
            )),
        };
    }
    let status = &object["status"];
    if status["updateRevision"] != status["currentRevision"] {
        return Rollout::Underway(format!("{name}: {updated} of {wanted} replicas are updated"));
    }
    complete(name, wanted)
}

fn daemon_set(name: &str, counts: Counts) -> Rollout {
    let Counts { wanted, updated, available, .. } = counts;
    if updated < wanted {
        return Rollout::Underway(format!("{name}: {updated} of {wanted} pods are updated"));
    }
    if available < wanted {
        return Rollout::Underway(format!("{name}: {available} of {wanted} pods are available"));
    }
    complete(name, wanted)
}

fn complete(name: &str, wanted: i64) -> Rollout {
    Rollout::Complete(format!("{name} runs its newest template on all {wanted} replicas"))
}

/// Whether its pods are replaced only when somebody deletes them, so that `kubectl rollout status` does not apply.
pub fn is_replaced_by_hand(object: &Value) -> bool {
    manual_strategy(object).is_some()
}

fn is_paused(object: &Value) -> bool {
    object["spec"]["paused"] == true
}

/// The strategy of a workload whose controller does not replace pods by itself. A Deployment always does.
fn manual_strategy(object: &Value) -> Option<&str> {
    object["spec"]["updateStrategy"]["type"].as_str().filter(|strategy| *strategy != "RollingUpdate")
}

/// Number of the first replicas of a StatefulSet that keep the old template.
fn partition(object: &Value) -> Option<i64> {
    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(mut whole: Value, edit: Value) -> Value {
        json_patch::merge(&mut whole, &edit);
        whole
    }

    fn deployment(edit: Value) -> Value {
        let whole = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": 2,
            "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}});
        with(whole, edit)
    }

    fn stateful_set(edit: Value) -> Value {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        let own = json!({"spec": {"updateStrategy": strategy},
            "status": {"currentRevision": "a", "updateRevision": "a"}});
        with(deployment(own), edit)
    }

    fn daemon_set(edit: Value) -> Value {
        let whole = json!({"metadata": {"generation": 2}, "spec": {"updateStrategy": {"type": "RollingUpdate"}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3,
                "numberAvailable": 3}});
        with(whole, edit)
    }

    fn is_complete(kind: &str, object: &Value) -> bool {
        matches!(status(kind, object, "it"), Rollout::Complete(_))
    }

    #[test]
    fn a_deployment_is_complete_when_every_pod_is_new_and_available() {
        assert!(is_complete("Deployment", &deployment(json!({}))));
        // While it is scaled down, surplus pods of the newest template do no harm.
        let scaled_down = json!({"spec": {"replicas": 2}});
        assert!(is_complete("Deployment", &deployment(scaled_down)));
        for not_yet in [
            json!({"metadata": {"generation": 3}}),
            json!({"metadata": {"generation": null}}),
            json!({"status": {"updatedReplicas": 2}}),
            json!({"status": {"replicas": 4}}),
            json!({"status": {"availableReplicas": 2}}),
            json!({"status": null}),
        ] {
            assert!(!is_complete("Deployment", &deployment(not_yet.clone())), "{not_yet}");
        }
        let late = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
        let late = deployment(json!({"status": {"updatedReplicas": 1, "conditions": late}}));
        assert!(matches!(status("Deployment", &late, "it"), Rollout::Failed(_)));
    }

    #[test]
    fn a_partition_is_complete_when_the_replicas_above_it_are_new() {
        let at = |partition: i64, updated: i64| {
            stateful_set(json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}},
                "status": {"updatedReplicas": updated, "updateRevision": "b"}}))
        };
        assert!(is_complete("StatefulSet", &at(2, 1)));
        assert!(is_complete("StatefulSet", &at(3, 0)));
        assert!(!is_complete("StatefulSet", &at(2, 0)));
        assert!(!is_complete("StatefulSet", &at(0, 2)));
        let without = json!({"spec": {"updateStrategy": {"rollingUpdate": null}}});
        assert!(is_complete("StatefulSet", &stateful_set(without.clone())));
        let behind = with(stateful_set(without), json!({"status": {"updateRevision": "b"}}));
        assert!(!is_complete("StatefulSet", &behind));
    }

    #[test]
    fn a_daemon_set_is_complete_when_every_node_runs_the_new_pod() {
        assert!(is_complete("DaemonSet", &daemon_set(json!({}))));
        assert!(!is_complete("DaemonSet", &daemon_set(json!({"status": {"updatedNumberScheduled": 2}}))));
        assert!(!is_complete("DaemonSet", &daemon_set(json!({"status": {"numberAvailable": 2}}))));
        assert!(!is_complete(
            "DaemonSet",
            &json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}})
        ));
    }

    // Kind of fault: an act that Kubernetes accepts and that changes nothing is called done.
    #[test]
    fn a_restart_that_replaces_no_pod_is_told_before_it_happens() {
        let nothing = |kind: &str, object: Value| replaces_nothing(kind, &object, "it").unwrap_or_default();
        assert_eq!(nothing("Deployment", deployment(json!({}))), "");
        assert_eq!(nothing("StatefulSet", stateful_set(json!({}))), "");
        assert_eq!(nothing("DaemonSet", daemon_set(json!({}))), "");
        let at = |partition: i64| {
            stateful_set(json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}}))
        };
        assert_eq!(nothing("StatefulSet", at(2)), "");
        assert!(nothing("StatefulSet", at(3)).contains("partition is 3"));
        assert!(nothing("StatefulSet", at(9)).contains("partition is 9"));
        assert!(nothing("Deployment", deployment(json!({"spec": {"replicas": 0}}))).contains("0 replicas"));
        assert!(
            nothing("StatefulSet", stateful_set(json!({"spec": {"replicas": 0}}))).contains("0 replicas")
        );
        let nowhere = json!({"status": {"desiredNumberScheduled": 0}});
        assert!(nothing("DaemonSet", daemon_set(nowhere)).contains("no node"));
        assert!(
            nothing("Deployment", deployment(json!({"spec": {"paused": true}}))).contains("rollout resume")
        );
        for kind in ["StatefulSet", "DaemonSet"] {
            let object =
                with(stateful_set(json!({})), json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}));
            assert!(nothing(kind, object).contains("OnDelete"));
        }
    }
}
