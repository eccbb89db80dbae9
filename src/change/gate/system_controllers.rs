//! The work of the controllers of Kubernetes, proved by identity, verb, kind, live owner and fields
//! (docs/rules.md#system-controllers). Pure.
//!
//! No group and no account passes as a whole: each row is one controller, one kind, some verbs and one proof. Rows that
//! need no reads are also match conditions in the API server, so that applications heal without Mayday; they are repeated
//! here for objects that those conditions do not see.

use kube::core::admission::Operation;
use serde_json::Value;

use super::action::Action;
use crate::api::GROUP;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::RUN_LABEL;

/// Account of a controller: `system:serviceaccount:kube-system:<name>`.
const CONTROLLERS: &str = "system:serviceaccount:kube-system:";
/// The one account of all controllers, in clusters without one for each.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// Account of a node: `system:node:<name>`.
const NODE: &str = "system:node:";

/// What must hold besides identity, verb and kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// The controlling owner has one of these kinds and exists.
    Owner(&'static [&'static str]),
    /// Every owner is gone or being deleted, and was protected, so its deletion was decided.
    Orphan,
    /// Only references to such owners are removed: they were deleted with `--cascade=orphan`.
    Orphaned,
    /// The namespace is being deleted.
    NamespaceEnds,
    /// Only these fields change.
    Fields(&'static [&'static str]),
    /// The object has this name.
    Named(&'static str),
    /// The replicas stay within the bounds of an autoscaler of that object.
    Autoscaler,
    /// The object is finished.
    Finished,
}

/// One kind of write by one controller.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    controller: &'static str,
    group: &'static str,
    plural: &'static str,
    subresource: &'static str,
    operations: &'static [Operation],
    /// The proof.
    pub proof: Proof,
}

const WRITE: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete];
const CREATE: &[Operation] = &[Operation::Create];
const UPDATE: &[Operation] = &[Operation::Update];
const MAKE: &[Operation] = &[Operation::Create, Operation::Update];
const DELETE: &[Operation] = &[Operation::Delete];
const ALL: &str = "*";

const fn row(
    controller: &'static str,
    group: &'static str,
    plural: &'static str,
    operations: &'static [Operation],
    proof: Proof,
) -> Row {
    Row { controller, group, plural, subresource: "", operations, proof }
}

/// Fields that the binder of volumes writes in a claim.
const CLAIM: &[&str] = &[
    "/spec/volumeName",
    "/metadata/annotations/pv.kubernetes.io~1bind-completed",
    "/metadata/annotations/pv.kubernetes.io~1bound-by-controller",
    "/metadata/annotations/volume.kubernetes.io~1storage-provisioner",
    "/metadata/annotations/volume.beta.kubernetes.io~1storage-provisioner",
    "/metadata/annotations/volume.kubernetes.io~1selected-node",
    "/metadata/annotations/pv.kubernetes.io~1migrated-to",
    // The default class, which may be set after the claim was created.
    "/spec/storageClassName",
];

/// The writes of the controllers of Kubernetes.
const ROWS: &[Row] = &[
    row("deployment-controller", "apps", "replicasets", WRITE, Proof::Owner(&["Deployment"])),
    row(
        "deployment-controller",
        "apps",
        "deployments",
        UPDATE,
        Proof::Fields(&["/metadata/annotations/deployment.kubernetes.io~1revision"]),
    ),
    row("replicaset-controller", "", "pods", WRITE, Proof::Owner(&["ReplicaSet"])),
    row("replication-controller", "", "pods", WRITE, Proof::Owner(&["ReplicationController"])),
    row("statefulset-controller", "", "pods", WRITE, Proof::Owner(&["StatefulSet"])),
    row("statefulset-controller", "apps", "controllerrevisions", WRITE, Proof::Owner(&["StatefulSet"])),
    row(
        "statefulset-controller",
        "",
        "persistentvolumeclaims",
        UPDATE,
        Proof::Fields(&["/metadata/ownerReferences"]),
    ),
    row("daemon-set-controller", "", "pods", WRITE, Proof::Owner(&["DaemonSet"])),
    row("daemon-set-controller", "apps", "controllerrevisions", WRITE, Proof::Owner(&["DaemonSet"])),
    row("job-controller", "", "pods", WRITE, Proof::Owner(&["Job"])),
    row("job-controller", "", "pods", UPDATE, Proof::Fields(&["/metadata/finalizers"])),
    row("cronjob-controller", "batch", "jobs", WRITE, Proof::Owner(&["CronJob"])),
    row("ttl-after-finished-controller", "batch", "jobs", DELETE, Proof::Finished),
    row("endpointslice-controller", "discovery.k8s.io", "endpointslices", WRITE, Proof::Owner(&["Service"])),
    row(
        "endpointslicemirroring-controller",
        "discovery.k8s.io",
        "endpointslices",
        WRITE,
        Proof::Owner(&["Endpoints"]),
    ),
    row("pod-garbage-collector", "", "pods", DELETE, Proof::Finished),
    row(
        "pvc-protection-controller",
        "",
        "persistentvolumeclaims",
        UPDATE,
        Proof::Fields(&["/metadata/finalizers"]),
    ),
    row("persistent-volume-binder", "", "persistentvolumeclaims", UPDATE, Proof::Fields(CLAIM)),
    row("root-ca-cert-publisher", "", "configmaps", MAKE, Proof::Named("kube-root-ca.crt")),
    row("service-account-controller", "", "serviceaccounts", CREATE, Proof::Named("default")),
    row("generic-garbage-collector", ALL, ALL, DELETE, Proof::Orphan),
    row("generic-garbage-collector", ALL, ALL, UPDATE, Proof::Fields(&["/metadata/finalizers"])),
    row("generic-garbage-collector", ALL, ALL, UPDATE, Proof::Orphaned),
    row("namespace-controller", ALL, ALL, DELETE, Proof::NamespaceEnds),
    Row {
        controller: "horizontal-pod-autoscaler",
        group: ALL,
        plural: ALL,
        subresource: "scale",
        operations: UPDATE,
        proof: Proof::Autoscaler,
    },
];

/// The rows that fit an action, before their proof.
pub fn rows(action: &Action) -> Vec<&'static Row> {
    let user = action.caller.user.as_str();
    ROWS.iter()
        .filter(|row| user == CONTROLLER_MANAGER || user.strip_prefix(CONTROLLERS) == Some(row.controller))
        .filter(|row| row.group == ALL || row.group == action.target.group())
        .filter(|row| row.plural == ALL || row.plural == action.plural)
        .filter(|row| row.subresource == action.subresource && row.operations.contains(&action.operation))
        .collect()
}

/// State of an owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnerState {
    /// It exists with that UID.
    Live,
    /// It is being deleted.
    Terminating,
    /// It does not exist, or another object has its name.
    Gone,
    /// It cannot be read.
    Unknown,
}

/// An owner as its dependent names it, and its state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Kind of the owner.
    pub kind: String,
    /// Its UID.
    pub uid: String,
    /// Whether the reference says that it controls the dependent.
    pub controller: bool,
    /// Its state.
    pub state: OwnerState,
    /// Whether a policy protects it, so that its own changes were decided, or it is the run that made the object.
    pub protected: bool,
}

/// Bounds of an autoscaler.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// The scaled object.
    pub target: ObjectRef,
    /// Minimum number of replicas.
    pub min: i64,
    /// Maximum number of replicas.
    pub max: i64,
}

/// Objects that were read for the proofs.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The owners of the object.
    pub owners: Vec<Owner>,
    /// Whether the namespace is being deleted.
    pub namespace_ends: bool,
    /// The autoscalers in the namespace.
    pub autoscalers: Vec<Bounds>,
}

/// Whether a row's proof holds.
pub fn proves(row: &Row, action: &Action, evidence: &Evidence) -> bool {
    match row.proof {
        Proof::Owner(kinds) => evidence.owners.iter().any(|owner| {
            let there = match action.operation {
                // A dependent created for an owner that is being deleted would outlive it.
                Operation::Create => owner.state == OwnerState::Live,
                _ => matches!(owner.state, OwnerState::Live | OwnerState::Terminating),
            };
            owner.controller && there && owner.protected && kinds.contains(&owner.kind.as_str())
        }),
        Proof::Orphan => !evidence.owners.is_empty() && evidence.owners.iter().all(is_leaving),
        Proof::Orphaned => is_orphaned(action, &evidence.owners),
        Proof::NamespaceEnds => evidence.namespace_ends,
        Proof::Fields(fields) => action.delta.iter().all(|delta| fields.contains(&delta.path.as_str())),
        Proof::Named(name) => action.target.name == name,
        Proof::Autoscaler => {
            let wanted = action.after.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
            evidence.autoscalers.iter().any(|bounds| {
                bounds.target.same_object(&action.target) && (bounds.min..=bounds.max).contains(&wanted)
            })
        }
        Proof::Finished => is_finished(&action.before),
    }
}

/// Whether an owner of an object is the run that has created it: a Job that carries its UID. No policy protects runs, but one
/// is deleted only when it is settled (docs/rules.md#write-runbookrun), and its Job goes with it.
pub fn is_own_run(action: &Action, api_version: &str, kind: &str, uid: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let is_job = action.target.group() == "batch" && action.plural == "jobs";
    let label = action.before["metadata"]["labels"][RUN_LABEL].as_str();
    is_job && group == GROUP && kind == "RunbookRun" && label == Some(uid)
}

fn is_leaving(owner: &Owner) -> bool {
    owner.protected && matches!(owner.state, OwnerState::Gone | OwnerState::Terminating)
}

/// Whether the only change is that references to leaving owners are removed.
fn is_orphaned(action: &Action, owners: &[Owner]) -> bool {
    let references = |object: &Value| -> Vec<Value> {
        object.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let after = references(&action.after);
    let (kept, removed): (Vec<Value>, Vec<Value>) =
        references(&action.before).into_iter().partition(|reference| after.contains(reference));
    let is_of_leaving = |reference: &Value| {
        owners.iter().any(|owner| reference["uid"] == owner.uid.as_str() && is_leaving(owner))
    };
    action.delta.iter().all(|delta| delta.path == "/metadata/ownerReferences")
        && kept == after
        && !removed.is_empty()
        && removed.iter().all(is_of_leaving)
}

/// Whether a node deletes a pod of its own that is being deleted already.
pub fn is_node_cleaning_up(action: &Action) -> bool {
    let Some(node) = action.caller.user.strip_prefix(NODE) else { return false };
    action.operation == Operation::Delete
        && action.target.group().is_empty()
        && action.plural == "pods"
        && action.is_terminating()
        && action.before.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node)
}

fn is_finished(object: &Value) -> bool {
    let phase = object.pointer("/status/phase").and_then(Value::as_str);
    let ended = |condition: &Value| {
        matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
    };
    matches!(phase, Some("Succeeded" | "Failed"))
        || object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::gate::action::tests::action;
    use serde_json::json;

    fn by(user: &str, edit: Value) -> Action {
        let mut whole = json!({"userInfo": {"username": user, "groups": ["system:authenticated"]}});
        json_patch::merge(&mut whole, &edit);
        if edit.get("object") == Some(&Value::Null) {
            whole["object"] = Value::Null;
        }
        action(whole)
    }

    fn passes(action: &Action, evidence: &Evidence) -> bool {
        rows(action).iter().any(|row| proves(row, action, evidence))
    }

    fn owner(kind: &str, state: OwnerState, protected: bool) -> Evidence {
        let owner = Owner { kind: kind.into(), uid: "ou".into(), controller: true, state, protected };
        Evidence { owners: vec![owner], ..Evidence::default() }
    }

    fn delete(user: &str, group: &str, plural: &str) -> Action {
        by(
            user,
            json!({"operation": "DELETE", "object": null, "resource": {"group": group, "resource": plural}}),
        )
    }

    const RS: &str = "system:serviceaccount:kube-system:replicaset-controller";
    const GC: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

    #[test]
    fn a_controller_acts_for_a_live_protected_owner_of_its_kind() {
        let pod = delete(RS, "", "pods");
        assert!(passes(&pod, &owner("ReplicaSet", OwnerState::Live, true)));
        assert!(!passes(&pod, &owner("ReplicaSet", OwnerState::Gone, true)));
        assert!(!passes(&pod, &owner("ReplicaSet", OwnerState::Unknown, true)));
        assert!(!passes(&pod, &owner("ReplicaSet", OwnerState::Live, false)));
        assert!(!passes(&pod, &owner("Job", OwnerState::Live, true)));
        assert!(!passes(&pod, &Evidence::default()));
    }

    #[test]
    fn a_group_or_a_similar_name_proves_nothing() {
        let evidence = owner("ReplicaSet", OwnerState::Live, true);
        for user in ["emil", "system:serviceaccount:shop:replicaset-controller", "system:masters"] {
            assert!(!passes(&delete(user, "", "pods"), &evidence), "{user}");
        }
        assert!(!passes(&delete(RS, "", "configmaps"), &evidence), "another kind");
        assert!(passes(&delete(CONTROLLER_MANAGER, "", "pods"), &evidence), "one account for all");
    }

    #[test]
    fn the_garbage_collector_deletes_dependents_of_protected_owners() {
        let set = delete(GC, "apps", "replicasets");
        assert!(passes(&set, &owner("Deployment", OwnerState::Gone, true)));
        assert!(passes(&set, &owner("Deployment", OwnerState::Terminating, true)));
        assert!(!passes(&set, &owner("Deployment", OwnerState::Live, true)));
        assert!(!passes(&set, &owner("Gateway", OwnerState::Gone, false)), "an unprotected owner");
        assert!(!passes(&set, &Evidence::default()), "no owner at all");
    }

    #[test]
    fn only_the_job_of_a_run_is_its_own() {
        let job = |plural: &str, label: &str| {
            let group = if plural == "jobs" { "batch" } else { "apps" };
            by(
                GC,
                json!({"operation": "DELETE", "object": null, "resource": {"group": group, "resource": plural},
                    "oldObject": {"apiVersion": format!("{group}/v1"), "metadata": {"labels": {"mayday.dev/run": label}}}}),
            )
        };
        let is_own = |action: &Action, api: &str, kind: &str| is_own_run(action, api, kind, "u");
        assert!(is_own(&job("jobs", "u"), "mayday.dev/v1alpha1", "RunbookRun"));
        for (action, api, kind) in [
            (job("jobs", "another"), "mayday.dev/v1alpha1", "RunbookRun"),
            (job("deployments", "u"), "mayday.dev/v1alpha1", "RunbookRun"),
            (job("jobs", "u"), "mayday.dev/v1alpha1", "Incident"),
            (job("jobs", "u"), "example.com/v1", "RunbookRun"),
            (job("jobs", "u"), "v1", "RunbookRun"),
        ] {
            assert!(!is_own(&action, api, kind), "{api} {kind}: {action:?}");
        }
    }

    #[test]
    fn the_garbage_collector_only_removes_references_when_it_orphans() {
        let reference = |uid: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": uid});
        let patch = |before: Value, after: Value, replicas: i64| {
            let template = json!({"spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}});
            by(
                GC,
                json!({"resource": {"group": "apps", "resource": "replicasets"},
                "oldObject": {"metadata": {"ownerReferences": before}, "spec": {"replicas": 3, "template": template}},
                "object": {"metadata": {"ownerReferences": after}, "spec": {"replicas": replicas, "template": template}}}),
            )
        };
        let orphans = patch(json!([reference("ou"), reference("other")]), json!([reference("other")]), 3);
        assert!(passes(&orphans, &owner("Deployment", OwnerState::Terminating, true)));
        assert!(passes(&orphans, &owner("Deployment", OwnerState::Gone, true)));
        assert!(!passes(&orphans, &owner("Deployment", OwnerState::Live, true)));
        assert!(!passes(&orphans, &owner("Gateway", OwnerState::Gone, false)));
        let gone = owner("Deployment", OwnerState::Gone, true);
        assert!(
            !passes(&patch(json!([reference("ou")]), json!([reference("new")]), 3), &gone),
            "another owner instead"
        );
        assert!(!passes(&patch(json!([reference("ou")]), json!([]), 9), &gone), "and replicas");
        assert!(!passes(&patch(json!([reference("other")]), json!([]), 3), &gone), "an unknown owner");
    }

    #[test]
    fn the_namespace_controller_empties_a_terminating_namespace() {
        let object = delete("system:serviceaccount:kube-system:namespace-controller", "apps", "deployments");
        assert!(!passes(&object, &Evidence::default()));
        assert!(passes(&object, &Evidence { namespace_ends: true, ..Evidence::default() }));
    }

    #[test]
    fn an_autoscaler_scales_within_its_bounds() {
        let scale = |replicas: i64| {
            by(
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                json!({"subResource": "scale", "object": {"spec": {"replicas": replicas}}}),
            )
        };
        let target =
            ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() };
        let evidence = Evidence {
            autoscalers: vec![Bounds { target: target.clone(), min: 2, max: 6 }],
            ..Evidence::default()
        };
        assert!(passes(&scale(6), &evidence));
        assert!(!passes(&scale(7), &evidence) && !passes(&scale(1), &evidence));
        let other = ObjectRef { name: "till".into(), ..target };
        let evidence =
            Evidence { autoscalers: vec![Bounds { target: other, min: 2, max: 6 }], ..Evidence::default() };
        assert!(!passes(&scale(4), &evidence));
    }

    #[test]
    fn fields_and_names_bound_what_a_controller_writes() {
        let revision = |annotation: &str| {
            by(
                "system:serviceaccount:kube-system:deployment-controller",
                json!({"object": {"metadata": {"annotations": {annotation: "2"}},
                    "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}}),
            )
        };
        assert!(passes(&revision("deployment.kubernetes.io/revision"), &Evidence::default()));
        assert!(!passes(&revision("team"), &Evidence::default()));
        let publish = |name: &str| {
            by(
                "system:serviceaccount:kube-system:root-ca-cert-publisher",
                json!({"name": name, "operation": "CREATE", "resource": {"group": "", "resource": "configmaps"}}),
            )
        };
        assert!(passes(&publish("kube-root-ca.crt"), &Evidence::default()));
        assert!(!passes(&publish("settings"), &Evidence::default()));
    }

    #[test]
    fn the_pod_garbage_collector_deletes_only_finished_pods() {
        let clear = |phase: &str| {
            by(
                "system:serviceaccount:kube-system:pod-garbage-collector",
                json!({"operation": "DELETE", "object": null, "resource": {"group": "", "resource": "pods"},
                    "oldObject": {"status": {"phase": phase}}}),
            )
        };
        assert!(passes(&clear("Succeeded"), &Evidence::default()));
        assert!(!passes(&clear("Running"), &Evidence::default()));
    }

    #[test]
    fn a_node_removes_its_own_stopped_pods() {
        let remove = |node: &str, stopped: bool| {
            let time = if stopped { json!("2026-01-01T00:00:00Z") } else { json!(null) };
            by(
                "system:node:kwok-0",
                json!({"operation": "DELETE", "object": null, "resource": {"group": "", "resource": "pods"},
                    "oldObject": {"metadata": {"deletionTimestamp": time}, "spec": {"nodeName": node}}}),
            )
        };
        assert!(is_node_cleaning_up(&remove("kwok-0", true)));
        assert!(!is_node_cleaning_up(&remove("kwok-1", true)));
        assert!(!is_node_cleaning_up(&remove("kwok-0", false)));
    }
}
