//! Locks: which objects a run holds, and which other run is in its way (docs/rules.md#run-locks). Pure.
//!
//! A run holds its objects from its start until it is settled; a lock never expires. The start is stored before the last
//! look at the other runs, which comes right before the first act. So of two runs that begin at once, at least one sees
//! the other (docs/decisions/0067-a-lock-is-claimed-then-checked.md).

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::limits::Obstacle;
use super::{steps, targets};
use crate::api::RunbookRun;
use crate::api::common::ObjectRef;
use crate::api::conditions::Reason;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{ActVerb, Outcome, Resolved, RunbookRunStatus};
use crate::cluster::workloads;

/// Maximum number of objects that a run holds, as in the schema.
pub const MOST: usize = 256;

/// What a change of an object disturbs besides it: its controller, the Deployment of its ReplicaSet, and the workload that
/// it scales. `deployments` are those of the namespace: a pod names its ReplicaSet and not its Deployment.
pub fn owners(object: &Value, deployments: &[Arc<Deployment>]) -> Vec<ObjectRef> {
    let mut found: Vec<ObjectRef> =
        object.pointer("/spec/scaleTargetRef").and_then(scaled).into_iter().collect();
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let mut references = references.into_iter().flatten();
    let controller = references.find(|reference| reference["controller"] == true).and_then(reference);
    if let Some(owner) = controller {
        if owner.group() == workloads::GROUP && owner.kind == "ReplicaSet" {
            let selecting = deployments.iter().filter(|deployment| selects(deployment, object));
            found.extend(selecting.map(|deployment| workload("Deployment", &deployment.name_any())));
        }
        found.push(owner);
    }
    found
}

fn reference(value: &Value) -> Option<ObjectRef> {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    Some(ObjectRef { api_version: text("apiVersion")?, kind: text("kind")?, name: text("name")? })
}

/// The workload of an autoscaler. Those of KEDA leave out what is usual.
fn scaled(value: &Value) -> Option<ObjectRef> {
    let text = |field: &str| value[field].as_str();
    let named = workload(text("kind").unwrap_or("Deployment"), text("name")?);
    Some(ObjectRef { api_version: text("apiVersion").map_or(named.api_version, str::to_owned), ..named })
}

fn workload(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: format!("{}/v1", workloads::GROUP),
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// Whether a Deployment selects a pod.
fn selects(deployment: &Deployment, pod: &Value) -> bool {
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone());
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector
        .zip(serde_json::from_value(labels).ok())
        .is_some_and(|(selector, labels)| selector.matches(&labels))
}

/// What a run holds: what its steps and their compensations change, and the owners of it. `resolved` and `owners` are in
/// the order of the steps.
pub fn held(
    spec: &RunbookSpec,
    subjects: &[ObjectRef],
    resolved: &[Vec<Resolved>],
    owners: &[Vec<ObjectRef>],
) -> Vec<ObjectRef> {
    let mut found: Vec<ObjectRef> = Vec::new();
    let mut hold = |object: &ObjectRef| {
        if !object.name.is_empty() && !found.iter().any(|known| known.same_object(object)) {
            found.push(object.clone());
        }
    };
    for (index, step) in spec.steps.iter().enumerate() {
        if steps::mutation_of(step, false).is_some() {
            resolved.get(index).into_iter().flatten().for_each(|target| hold(&target.object));
            owners.get(index).into_iter().flatten().for_each(&mut hold);
        }
        let back = steps::compensation_of(step).and_then(|kind| Some((kind.target()?, kind.implied())));
        if let Some((target, implied)) = back {
            target.known(implied, subjects).iter().for_each(|target| hold(&target.object));
        }
    }
    found
}

/// What a run needs for itself.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The objects.
    pub objects: &'a [ObjectRef],
    /// UID of the run; empty if there is none yet.
    pub uid: &'a str,
    /// When the run began; `None` before that.
    pub start: Option<Timestamp>,
}

impl<'a> Claim<'a> {
    /// The claim of a run with this status.
    pub fn of(run: &'a RunbookRun, namespace: &'a str, status: &'a RunbookRunStatus) -> Claim<'a> {
        Claim {
            namespace,
            objects: &status.holds,
            uid: run.metadata.uid.as_deref().unwrap_or_default(),
            start: status.start_time.as_ref().map(|time| time.0),
        }
    }

    /// Whether another run comes first. Before the own start each run that has begun does. After it those do that began
    /// earlier, and those that may have acted: they have made their last look, perhaps before the own start was stored.
    pub fn comes_after(&self, other: &RunbookRun) -> bool {
        let Some(status) = other.status.as_ref().filter(|_| other.is_repair()) else { return false };
        let uid = other.metadata.uid.as_deref().unwrap_or_default();
        let Some(start) = status.start_time.as_ref().filter(|_| uid != self.uid) else { return false };
        if status.is_settled() {
            return false;
        }
        self.start.is_none_or(|own| may_have_acted(status) || (start.0, uid) < (own, self.uid))
    }
}

/// The obstacle of another run that holds one of the objects.
pub fn busy(claim: &Claim<'_>, runs: &[Arc<RunbookRun>]) -> Option<Obstacle> {
    runs.iter().filter(|run| claim.comes_after(run)).find_map(|run| {
        let namespace = run.namespace().unwrap_or_default();
        let is_shared = |object: &&ObjectRef| {
            let reachable =
                namespace == claim.namespace || targets::is_cluster_scoped(&object.api_version, &object.kind);
            let holds = || run.status.iter().flat_map(|status| &status.holds);
            reachable && holds().any(|held| held.same_object(object))
        };
        let shared = claim.objects.iter().find(is_shared)?;
        let place =
            if namespace == claim.namespace { String::new() } else { format!(" of namespace {namespace}") };
        Some(Obstacle {
            reason: Reason::TargetBusy,
            message: format!("run/{}{place} is working on {}", run.name_any(), shared.display()),
            until: None,
        })
    })
}

/// Whether a run may have changed something.
fn may_have_acted(status: &RunbookRunStatus) -> bool {
    status.acts().any(|act| act.outcome != Some(Outcome::Unneeded))
}

/// Whether a run has made its last look at the other runs: it has sent an act.
pub fn is_sure(status: &RunbookRunStatus) -> bool {
    status.acts().any(|act| match act.outcome {
        Some(outcome) => outcome != Outcome::Unneeded,
        None => act.verb == ActVerb::Send && act.attempt > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef { api_version: api_version.into(), kind: kind.into(), name: name.into() }
    }

    fn deployment(name: &str, app: &str) -> Arc<Deployment> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": app}}, "template": {}}}))
            .unwrap(),
        )
    }

    fn run(namespace: &str, uid: &str, status: Value) -> Arc<RunbookRun> {
        let mut value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": uid, "namespace": namespace, "uid": uid}, "spec": {"runbookRef": {"name": "rb"}},
            "status": {"state": "Running", "startTime": "2026-01-01T00:00:10Z",
                "holds": [object("apps/v1", "Deployment", "checkout"), object("v1", "Node", "n1")]}});
        json_patch::merge(&mut value, &json!({"status": status}));
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn open_act() -> Value {
        json!({"steps": [{"name": "r", "state": "IntentRecorded", "acts": [{"operationId": "o", "verb": "Update",
            "target": object("apps/v1", "Deployment", "checkout"), "uid": "u", "resourceVersion": "1", "actor": "a"}]}]})
    }

    fn found(
        namespace: &str,
        wanted: &ObjectRef,
        start: Option<&str>,
        run: &Arc<RunbookRun>,
    ) -> Option<String> {
        let start = start.map(|start| start.parse().unwrap());
        let claim = Claim { namespace, objects: std::slice::from_ref(wanted), uid: "me", start };
        busy(&claim, std::slice::from_ref(run)).map(|obstacle| obstacle.message)
    }

    #[test]
    fn a_pod_an_autoscaler_and_a_controlled_object_have_owners() {
        let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}]);
        let pod = json!({"metadata": {"labels": {"app": "checkout"}, "ownerReferences": owner("ReplicaSet", "checkout-7d9")}});
        let known = [deployment("till", "till"), deployment("checkout", "checkout")];
        let names =
            |object: &Value| owners(object, &known).iter().map(ObjectRef::display).collect::<Vec<_>>();
        assert_eq!(names(&pod), ["deployment/checkout", "replicaset/checkout-7d9"]);
        let stateful = json!({"metadata": {"labels": {"app": "checkout"}, "ownerReferences": owner("StatefulSet", "db")}});
        assert_eq!(names(&stateful), ["statefulset/db"]);
        let scaler = json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}}});
        assert_eq!(names(&scaler), ["statefulset/db"]);
        assert_eq!(names(&json!({"spec": {"scaleTargetRef": {"name": "web"}}})), ["deployment/web"]);
        let uncontrolled = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}]}});
        assert_eq!(names(&uncontrolled), Vec::<String>::new());
    }

    #[test]
    fn a_run_holds_what_it_changes_its_owners_and_its_way_back() {
        let named = |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
        let spec: RunbookSpec =
            serde_json::from_value(json!({"summary": "s", "serviceAccountName": "sa", "steps": [
            {"name": "look", "check": {"rollout": {"target": named("Deployment", "other")}}},
            {"name": "remove", "deletePod": {"target": {"name": "checkout-1"}},
                "compensation": {"restart": {"target": named("StatefulSet", "cache")}}}]}))
            .unwrap();
        let resolved = |object| vec![Resolved { object, uid: Some("u".into()) }];
        let targets =
            [resolved(object("apps/v1", "Deployment", "other")), resolved(object("v1", "Pod", "checkout-1"))];
        let of_pod =
            vec![object("apps/v1", "Deployment", "checkout"), object("apps/v1", "Deployment", "checkout")];
        let found = held(&spec, &[], &targets, &[Vec::new(), of_pod]);
        let names: Vec<String> = found.iter().map(ObjectRef::display).collect();
        assert_eq!(names, ["pod/checkout-1", "deployment/checkout", "statefulset/cache"]);
    }

    #[test]
    fn an_object_is_held_in_its_namespace_and_a_node_everywhere() {
        let (other, checkout) =
            (run("shop", "other", json!({})), object("apps/v1beta2", "Deployment", "checkout"));
        let node = object("v1", "Node", "n1");
        assert_eq!(
            found("shop", &checkout, None, &other).unwrap(),
            "run/other is working on deployment/checkout"
        );
        assert_eq!(found("depot", &checkout, None, &other), None);
        assert_eq!(
            found("depot", &node, None, &other).unwrap(),
            "run/other of namespace shop is working on node/n1"
        );
        assert_eq!(found("depot", &object("v1", "Node", "n2"), None, &other), None);
    }

    #[test]
    fn an_object_is_held_from_the_start_until_the_run_is_settled() {
        let checkout = object("apps/v1", "Deployment", "checkout");
        let held = |status: Value| found("shop", &checkout, None, &run("shop", "other", status)).is_some();
        assert!(
            held(json!({})) && held(json!({"state": "Blocked"})) && held(json!({"state": "RollingBack"}))
        );
        assert!(!held(json!({"startTime": null, "state": "Blocked"})), "it has not begun");
        for ended in ["Succeeded", "Failed", "Unknown", "Cancelled", "Degraded"] {
            assert!(!held(json!({"state": ended})), "{ended}");
        }
        assert_eq!(
            found("shop", &checkout, None, &run("shop", "me", json!({}))),
            None,
            "it is no obstacle for itself"
        );
    }

    #[test]
    fn a_run_that_began_earlier_or_may_have_acted_comes_first() {
        let checkout = object("apps/v1", "Deployment", "checkout");
        let blocks = |start: &str, status: Value| {
            found("shop", &checkout, Some(start), &run("shop", "other", status)).is_some()
        };
        let (earlier, later) = ("2026-01-01T00:00:05Z", "2026-01-01T00:00:15Z");
        assert!(blocks(later, json!({})));
        assert!(!blocks(earlier, json!({})));
        assert!(blocks(earlier, open_act()), "it may have looked before this start was stored");
        assert!(!blocks("2026-01-01T00:00:10Z", json!({})), "of two at once the smaller UID comes first");
    }

    /// One step of a run under two operators that race: store the start, store the intent, look, act, end.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Stage {
        Waiting,
        Claimed,
        Announced,
        Looked,
        Sure,
        Ended,
    }

    fn seen(uid: &str, start: i64, stage: Stage) -> Arc<RunbookRun> {
        let time = Timestamp::from_second(start).unwrap();
        let mut acts = open_act();
        match stage {
            Stage::Waiting => return run("shop", uid, json!({"startTime": null, "state": "Blocked"})),
            Stage::Claimed => acts = json!({}),
            Stage::Announced | Stage::Looked => {}
            Stage::Sure => acts["steps"][0]["acts"][0]["outcome"] = "Done".into(),
            Stage::Ended => acts["state"] = "Succeeded".into(),
        }
        acts["startTime"] = json!(time);
        run("shop", uid, acts)
    }

    proptest! {
        /// Failure list 42. Three runs want one object, begun by operators that do not know of each other and whose clocks
        /// differ: in any order of their stores and looks at most one acts at a time, and in the end each has.
        #[test]
        fn of_runs_that_begin_at_once_one_acts_and_none_is_stuck(
            starts in prop::collection::vec(0_i64..3, 3),
            order in prop::collection::vec((0_usize..3, 0_usize..3), 0..60),
        ) {
            let checkout = [object("apps/v1", "Deployment", "checkout")];
            let mut stages = [Stage::Waiting; 3];
            // A look may be old by the time the run begins, and never when it is asked right before its first act.
            let mut stale = stages;
            let uids = ["a", "b", "c"];
            let blocked = |at: usize, start: Option<i64>, seen_stages: &[Stage; 3]| {
                let others: Vec<_> = (0..3).map(|index| seen(uids[index], starts[index], seen_stages[index])).collect();
                let start = start.map(|start| Timestamp::from_second(start).unwrap());
                busy(&Claim { namespace: "shop", objects: &checkout, uid: uids[at], start }, &others).is_some()
            };
            let fair = (0..30).flat_map(|_| (0..3).map(|index| (index, index)));
            for (index, refresh) in order.into_iter().chain(fair) {
                stale[refresh] = stages[refresh];
                let own = Some(starts[index]);
                let next = match stages[index] {
                    Stage::Waiting if blocked(index, None, &stale) => Stage::Waiting,
                    Stage::Waiting => Stage::Claimed,
                    Stage::Claimed if blocked(index, own, &stages) => Stage::Claimed,
                    Stage::Claimed => Stage::Announced,
                    Stage::Announced if blocked(index, own, &stages) => Stage::Claimed,
                    Stage::Announced => Stage::Looked,
                    Stage::Looked => Stage::Sure,
                    Stage::Sure | Stage::Ended => Stage::Ended,
                };
                stages[index] = next;
                let acting = stages.iter().filter(|stage| matches!(stage, Stage::Looked | Stage::Sure)).count();
                prop_assert!(acting <= 1, "{stages:?}");
            }
            prop_assert_eq!(stages, [Stage::Ended; 3]);
        }
    }
}
