//! What Kubernetes does by itself on protected objects (rules §8), and what must be shown for it. Pure.
//!
//! What identity, verb, kind and controller reference prove never gets here: match conditions let it pass in
//! the API server. Never a whole group is exempt.

use kube::core::admission::Operation;
use serde_json::Value;

use super::attempt::Attempt;
use crate::api::common::ObjectRef;

/// What must be shown before the request passes as system traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// Nothing more: the request itself shows it.
    Given,
    /// Every owner of the object is gone or going.
    OwnersGone(Vec<Owner>),
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// A HorizontalPodAutoscaler of the target allows so many replicas.
    WithinAutoscaler(i64),
}

/// An owner of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// The owner.
    pub object: ObjectRef,
    /// Its UID: another object of the same name does not own it.
    pub uid: String,
}

/// What must be shown for this request, if it may be system traffic at all.
pub fn proof(attempt: &Attempt) -> Option<Proof> {
    let controller = controller(&attempt.user)?;
    let shared = controller == "shared";
    let is = |name: &str| shared || controller == name;
    let core = attempt.target.group().is_empty();
    let plural = attempt.plural.as_str();
    let main = attempt.subresource.is_empty();
    match attempt.operation {
        Operation::Delete if main && is("namespace-controller") && attempt.namespaced && !shared => {
            Some(Proof::NamespaceTerminating)
        }
        Operation::Update
            if plural == "namespaces" && core && is("namespace-controller") && attempt.is_terminating() =>
        {
            Some(Proof::Given)
        }
        Operation::Delete
            if main && is("generic-garbage-collector") && !owners(&attempt.before).is_empty() =>
        {
            Some(Proof::OwnersGone(owners(&attempt.before)))
        }
        Operation::Update
            if main
                && is("generic-garbage-collector")
                && only_touches(attempt, "/metadata/ownerReferences") =>
        {
            Some(Proof::OwnersGone(lost_owners(attempt)))
        }
        Operation::Update if attempt.subresource == "scale" && is("horizontal-pod-autoscaler") => {
            Some(Proof::WithinAutoscaler(attempt.after.pointer("/spec/replicas")?.as_i64()?))
        }
        Operation::Create | Operation::Update
            if main
                && core
                && plural == "configmaps"
                && attempt.target.name == "kube-root-ca.crt"
                && is("root-ca-cert-publisher") =>
        {
            Some(Proof::Given)
        }
        Operation::Create
            if main
                && core
                && plural == "serviceaccounts"
                && attempt.target.name == "default"
                && is("service-account-controller") =>
        {
            Some(Proof::Given)
        }
        Operation::Update
            if main
                && core
                && plural == "persistentvolumeclaims"
                && is("persistent-volume-binder")
                && attempt.delta.iter().all(|delta| {
                    delta.path == "/spec/volumeName" || delta.path.starts_with("/metadata/annotations/")
                }) =>
        {
            Some(Proof::Given)
        }
        Operation::Delete
            if main
                && plural == "jobs"
                && is("ttl-after-finished-controller")
                && attempt.before.pointer("/spec/ttlSecondsAfterFinished").is_some() =>
        {
            Some(Proof::Given)
        }
        // The job controller has counted the pod; its mark goes also when the Job is gone.
        Operation::Update
            if main
                && core
                && plural == "pods"
                && is("job-controller")
                && only_touches(attempt, "/metadata/finalizers") =>
        {
            Some(Proof::Given)
        }
        // Protection finalizers of claims and volumes.
        Operation::Update
            if main
                && core
                && plural == "persistentvolumeclaims"
                && is("pvc-protection-controller")
                && only_touches(attempt, "/metadata/finalizers") =>
        {
            Some(Proof::Given)
        }
        _ => None,
    }
}

/// Name of the controller: each has an account of its own, or all share one identity.
fn controller(user: &str) -> Option<&str> {
    if user == "system:kube-controller-manager" {
        return Some("shared");
    }
    user.strip_prefix("system:serviceaccount:kube-system:")
}

fn only_touches(attempt: &Attempt, path: &str) -> bool {
    !attempt.delta.is_empty() && attempt.delta.iter().all(|delta| delta.path == path)
}

fn owners(object: &Value) -> Vec<Owner> {
    let text =
        |owner: &Value, key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references
        .into_iter()
        .flatten()
        .map(|owner| Owner {
            object: ObjectRef {
                api_version: text(owner, "apiVersion"),
                kind: text(owner, "kind"),
                name: text(owner, "name"),
            },
            uid: text(owner, "uid"),
        })
        .collect()
}

/// The owners that an update takes away: each must be going (`--cascade=orphan`).
fn lost_owners(attempt: &Attempt) -> Vec<Owner> {
    let after = owners(&attempt.after);
    owners(&attempt.before).into_iter().filter(|owner| !after.contains(owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt(user: &str, operation: &str, plural: &str, before: Value, after: Value) -> Attempt {
        let object = |value: Value| if value.is_null() { json!(null) } else { value };
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": plural}, "name": "x", "namespace": "shop",
            "operation": operation, "userInfo": {"username": user}, "object": object(after), "oldObject": object(before),
            "dryRun": false}});
        let review: kube::core::admission::AdmissionReview<kube::core::DynamicObject> =
            serde_json::from_value(review).unwrap();
        Attempt::new(&review.try_into().unwrap()).unwrap()
    }

    fn named(metadata: Value) -> Value {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop"}});
        json_patch::merge(&mut object, &json!({"metadata": metadata}));
        object
    }

    const GC: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

    #[test]
    fn the_garbage_collector_must_show_that_the_owners_are_gone() {
        let owned = named(
            json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}]}),
        );
        let Some(Proof::OwnersGone(owners)) = proof(&attempt(GC, "DELETE", "pods", owned, Value::Null))
        else {
            panic!("not asked for owners");
        };
        assert_eq!(owners[0].uid, "u");
        let free = named(json!({}));
        assert_eq!(
            proof(&attempt(GC, "DELETE", "pods", free, Value::Null)),
            None,
            "an object without owners is nobody's child"
        );
    }

    #[test]
    fn the_namespace_controller_must_show_that_the_namespace_is_going() {
        let user = "system:serviceaccount:kube-system:namespace-controller";
        let found = proof(&attempt(user, "DELETE", "configmaps", named(json!({})), Value::Null));
        assert_eq!(found, Some(Proof::NamespaceTerminating));
        assert_eq!(
            proof(&attempt(
                user,
                "UPDATE",
                "configmaps",
                named(json!({})),
                named(json!({"labels": {"a": "b"}}))
            )),
            None
        );
    }

    #[test]
    fn a_person_is_never_system_traffic_and_neither_is_another_account_of_kube_system() {
        for user in [
            "emil",
            "system:admin",
            "system:serviceaccount:shop:generic-garbage-collector",
            "system:serviceaccount:kube-system:default",
        ] {
            let owned = named(
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "r", "uid": "u"}]}),
            );
            assert_eq!(proof(&attempt(user, "DELETE", "pods", owned, Value::Null)), None, "{user}");
        }
    }

    #[test]
    fn the_job_controller_takes_only_finalizers_away() {
        let user = "system:serviceaccount:kube-system:job-controller";
        let marked = || named(json!({"finalizers": ["batch.kubernetes.io/job-tracking"]}));
        assert_eq!(proof(&attempt(user, "UPDATE", "pods", marked(), named(json!({})))), Some(Proof::Given));
        assert_eq!(
            proof(&attempt(user, "UPDATE", "pods", marked(), named(json!({"labels": {"a": "b"}})))),
            None
        );
    }
}
