//! What the API server notes of who wrote an object: `managedFields`. They change with every change of a value, so
//! that a change is found without its content, and they say which client wrote last and when. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::json;

use crate::change::diff::digest;
use crate::cluster::Error;

/// Kubernetes' own controllers, by the name under which they write.
const CONTROLLERS: &[&str] = &["kube-controller-manager", "kube-scheduler", "kubelet"];
/// Kinds that controllers make for what people write. One of them that has a controller is not looked at.
const CHILDREN: &[&str] = &["controllerrevisions", "endpointslices", "jobs", "pods", "replicasets"];

/// Who wrote last, as the API server notes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// The field manager: mostly the name of the client, `kubectl-set`. Everybody may choose another.
    pub manager: String,
    /// When.
    pub time: Timestamp,
}

/// Whether an object is made and kept by a controller, or by Kubernetes for every namespace.
pub fn is_of_a_controller(plural: &str, name: &str, metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    plural == "endpoints"
        || (plural == "configmaps" && name == "kube-root-ca.crt")
        || (CHILDREN.contains(&plural) && owners.any(|owner| owner.controller == Some(true)))
}

/// Digest of an object's UID and of what people and pipelines wrote into it.
///
/// # Errors
/// When the notes cannot be written as canonical JSON.
pub fn digest(metadata: &ObjectMeta) -> Result<String, Error> {
    let entries: Vec<_> = by_people(metadata).collect();
    Ok(digest::of(&json!({"uid": metadata.uid, "entries": entries}))?)
}

/// Who wrote last, controllers aside.
pub fn last(metadata: &ObjectMeta) -> Option<Written> {
    by_people(metadata)
        .filter_map(|entry| Some(Written { manager: entry.manager.clone()?, time: entry.time.as_ref()?.0 }))
        .max_by_key(|written| written.time)
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
    fn what_people_write_is_a_difference_and_what_controllers_and_status_are_is_none() {
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
            "notes that were taken away"
        );
        assert_eq!(last(&healed).map(|written| written.manager).as_deref(), Some("kubectl-edit"));
    }

    #[test]
    fn children_of_controllers_are_left_alone_and_a_lone_pod_is_not() {
        let mut pod = object(json!([]));
        assert!(!is_of_a_controller("pods", "p", &pod));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "ru", "controller": true}]);
        pod.owner_references = serde_json::from_value(owner).unwrap();
        assert!(is_of_a_controller("pods", "p", &pod));
        assert!(!is_of_a_controller("configmaps", "c", &pod), "an owned setting is still a setting");
    }
}
