//! Reads `managedFields`, in which the API server lists who wrote which fields. They change with every change of a value, so
//! a change is detected without content, and they name the last client and its time. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::json;

use crate::change::diff::digest;
use crate::cluster::Error;

/// Field managers of the controllers of Kubernetes.
const CONTROLLERS: &[&str] = &["kube-controller-manager", "kube-scheduler", "kubelet"];
/// Kinds that controllers create. Objects of these kinds with a controlling owner are not compared.
const CHILDREN: &[&str] = &["controllerrevisions", "endpointslices", "jobs", "pods", "replicasets"];

/// The last write of an object by a person or pipeline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastWrite {
    /// The field manager, usually the name of the client: `kubectl-set`. A client may choose any name.
    pub manager: String,
    /// Time of the write.
    pub time: Timestamp,
}

/// Whether a controller maintains the object, or Kubernetes creates it in every namespace.
pub fn is_of_a_controller(plural: &str, name: &str, metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    plural == "endpoints"
        || (plural == "configmaps" && name == "kube-root-ca.crt")
        || (CHILDREN.contains(&plural) && owners.any(|owner| owner.controller == Some(true)))
}

/// Digest of the UID of an object and of the fields that people and pipelines wrote.
///
/// # Errors
/// When the fields cannot be written as canonical JSON.
pub fn digest(metadata: &ObjectMeta) -> Result<String, Error> {
    let entries: Vec<_> = by_people(metadata).collect();
    Ok(digest::of(&json!({"uid": metadata.uid, "entries": entries}))?)
}

/// The last write, leaving out those of controllers.
pub fn last(metadata: &ObjectMeta) -> Option<LastWrite> {
    by_people(metadata)
        .filter_map(|entry| Some(LastWrite { manager: entry.manager.clone()?, time: entry.time.as_ref()?.0 }))
        .max_by_key(|write| write.time)
}

fn by_people(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let is_controller = |entry: &ManagedFieldsEntry| {
        entry.manager.as_deref().is_some_and(|manager| CONTROLLERS.contains(&manager))
    };
    let is_status = |entry: &ManagedFieldsEntry| entry.subresource.as_deref() == Some("status");
    let entries = metadata.managed_fields.iter().flatten();
    entries.filter(move |entry| !is_controller(entry) && !is_status(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn entry(manager: &str, time: &str, subresource: Value) -> Value {
        json!({"manager": manager, "operation": "Update", "time": time, "subresource": subresource,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}})
    }

    fn object(entries: Value) -> ObjectMeta {
        serde_json::from_value(json!({"name": "limits", "uid": "u", "managedFields": entries})).unwrap()
    }

    #[test]
    fn writes_of_people_change_the_digest_and_of_controllers_do_not() {
        let people = entry("kubectl-edit", "2026-11-22T03:04:05Z", json!(null));
        let before = object(json!([people]));
        let system = entry("kube-controller-manager", "2026-11-22T03:05:00Z", json!(null));
        let status = entry("some-operator", "2026-11-22T03:05:00Z", json!("status"));
        let healed = object(json!([people, system, status]));
        assert_eq!(digest(&healed).unwrap(), digest(&before).unwrap());
        let again = object(json!([entry("kubectl-edit", "2026-11-22T03:04:06Z", json!(null))]));
        assert_ne!(digest(&again).unwrap(), digest(&before).unwrap());
        assert_ne!(
            digest(&object(json!([]))).unwrap(),
            digest(&before).unwrap(),
            "entries that were removed"
        );
        assert_eq!(last(&healed).map(|write| write.manager).as_deref(), Some("kubectl-edit"));
    }

    #[test]
    fn children_of_controllers_are_ignored_and_a_lone_pod_is_not() {
        let mut pod = object(json!([]));
        assert!(!is_of_a_controller("pods", "p", &pod));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "ru", "controller": true}]);
        pod.owner_references = serde_json::from_value(owner).unwrap();
        assert!(is_of_a_controller("pods", "p", &pod));
        assert!(!is_of_a_controller("configmaps", "c", &pod), "an owned setting is still a setting");
    }
}
