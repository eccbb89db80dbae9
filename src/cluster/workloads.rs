//! Workloads run applications: Deployments, StatefulSets and DaemonSets. Each kind has a cache.

use std::sync::Arc;

use kube::Resource;
use kube::runtime::reflector::Store;
use serde::Serialize;
use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::cluster::caches::{Caches, get, in_namespace};

/// API group of workloads.
pub const GROUP: &str = "apps";
/// Kinds of workloads.
pub const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Whether a kind is a workload.
pub fn is_one(group: &str, kind: &str) -> bool {
    group == GROUP && KINDS.contains(&kind)
}

/// The workloads of a kind in a namespace as JSON, sorted by name. Empty if the kind is not a workload.
///
/// # Errors
/// When a workload cannot be written as JSON.
pub fn all(caches: &Caches, namespace: &str, kind: &str) -> Result<Vec<Value>, serde_json::Error> {
    fn of<K>(store: &Store<K>, namespace: &str) -> Result<Vec<Value>, serde_json::Error>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + 'static,
    {
        in_namespace(store, namespace).iter().map(|object| serde_json::to_value(&**object)).collect()
    }
    match kind {
        "Deployment" => of(&caches.deployments, namespace),
        "StatefulSet" => of(&caches.stateful_sets, namespace),
        "DaemonSet" => of(&caches.daemon_sets, namespace),
        _ => Ok(Vec::new()),
    }
}

/// Every workload of a namespace, with its name.
///
/// # Errors
/// When a workload cannot be written as JSON.
pub fn named(caches: &Caches, namespace: &str) -> Result<Vec<(ObjectRef, Value)>, serde_json::Error> {
    let mut found = Vec::new();
    for kind in KINDS {
        for object in all(caches, namespace, kind)? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let api_version = format!("{GROUP}/v1");
            found.push((ObjectRef { api_version, kind: kind.to_owned(), name }, object));
        }
    }
    Ok(found)
}

/// The workload with this kind and name, as JSON. `None` if it does not exist or the kind is not a workload.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn one(
    caches: &Caches,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<Option<Value>, serde_json::Error> {
    fn of<K: Serialize>(found: Option<Arc<K>>) -> Result<Option<Value>, serde_json::Error> {
        found.map(|object| serde_json::to_value(&*object)).transpose()
    }
    match kind {
        "Deployment" => of(get(&caches.deployments, namespace, name)),
        "StatefulSet" => of(get(&caches.stateful_sets, namespace, name)),
        "DaemonSet" => of(get(&caches.daemon_sets, namespace, name)),
        _ => Ok(None),
    }
}
