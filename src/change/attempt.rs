//! A request on a protected object, reduced to what is judged. Pure.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, Operation};
use serde_json::Value;

use super::delta;
use super::policy::Resource;
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::cluster::client::RUN_EXTRA;

/// What somebody attempts.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who, as the API server authenticated it.
    pub user: String,
    /// Groups of the user.
    pub groups: Vec<String>,
    /// The run whose mark the request carries.
    pub run: Option<String>,
    /// What is done.
    pub operation: Operation,
    /// The object; for a subresource its parent.
    pub target: ObjectRef,
    /// Plural name of the resource: `deployments`.
    pub plural: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// Namespace; for a Namespace its own name.
    pub namespace: String,
    /// Whether the target is in a namespace.
    pub namespaced: bool,
    /// UID of the stored object; absent for create.
    pub uid: Option<String>,
    /// The object before; null for create and connect.
    pub before: Value,
    /// The object after; null for delete.
    pub after: Value,
    /// What changes.
    pub delta: Vec<Delta>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl Attempt {
    /// Reduces an admission request.
    ///
    /// # Errors
    /// When an object cannot be read as JSON; then the request must be refused.
    pub fn new(request: &AdmissionRequest<DynamicObject>) -> Result<Attempt, serde_json::Error> {
        let after = json(request.object.as_ref())?;
        let before = json(request.old_object.as_ref())?;
        let text =
            |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let subresource = request.sub_resource.clone().unwrap_or_default();
        let plural = request.resource.resource.clone();
        // A delete-collection names nothing: the stored object does.
        let name = Some(request.name.clone())
            .filter(|name| !name.is_empty())
            .or_else(|| text(&before, "/metadata/name"))
            .or_else(|| text(&after, "/metadata/name"))
            .unwrap_or_default();
        let is_namespace = request.resource.group.is_empty() && plural == "namespaces";
        let namespace =
            if is_namespace { name.clone() } else { request.namespace.clone().unwrap_or_default() };
        let kind = if subresource.is_empty() { request.kind.kind.clone() } else { kind_of(&plural) };
        let group = &request.resource.group;
        let version = &request.resource.version;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let delta = match (request.operation.clone(), subresource.as_str()) {
            (Operation::Update, "scale") => scaled(&before, &after),
            (Operation::Create | Operation::Update | Operation::Delete, _) => {
                let empty = Value::Object(serde_json::Map::new());
                let or_empty = |value: &'_ Value| if value.is_null() { empty.clone() } else { value.clone() };
                delta::diff(&or_empty(&before), &or_empty(&after))
            }
            _ => Vec::new(),
        };
        let evicted = after
            .pointer("/deleteOptions/dryRun")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty());
        let extra = request.user_info.extra.as_ref().and_then(|extra| extra.get(RUN_EXTRA));
        Ok(Attempt {
            user: request.user_info.username.clone().unwrap_or_default(),
            groups: request.user_info.groups.clone().unwrap_or_default(),
            run: extra.and_then(|values| values.first()).cloned(),
            operation: request.operation.clone(),
            target: ObjectRef { api_version, kind, name },
            plural,
            // An eviction's dry run stands only in its body.
            dry_run: request.dry_run || (subresource == "eviction" && evicted),
            subresource,
            namespaced: !is_namespace && request.namespace.is_some(),
            namespace,
            uid: text(&before, "/metadata/uid"),
            before,
            after,
            delta,
        })
    }

    /// The resource as policies name it.
    pub fn resource(&self) -> Resource<'_> {
        Resource { group: self.target.group(), plural: &self.plural, namespace: &self.namespace }
    }

    /// The namespace, for words and plans; none for cluster-scoped objects.
    pub fn place(&self) -> Option<&str> {
        self.namespaced.then_some(self.namespace.as_str())
    }

    /// Whether the stored object is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.before.pointer("/metadata/deletionTimestamp").is_some()
    }
}

fn json(object: Option<&DynamicObject>) -> Result<Value, serde_json::Error> {
    object.map_or(Ok(Value::Null), serde_json::to_value)
}

/// The replicas of a Scale, as the change of its parent that they are.
fn scaled(before: &Value, after: &Value) -> Vec<Delta> {
    let replicas = |scale: &Value| scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
    let (before, after) = (replicas(before), replicas(after));
    if before == after {
        return Vec::new();
    }
    vec![Delta { path: "/spec/replicas".to_owned(), before: Some(before), after: Some(after) }]
}

/// Kind of a resource whose subresource is asked for; admission names only the subresource's kind.
fn kind_of(plural: &str) -> String {
    match plural {
        "deployments" => "Deployment".to_owned(),
        "statefulsets" => "StatefulSet".to_owned(),
        "daemonsets" => "DaemonSet".to_owned(),
        "replicasets" => "ReplicaSet".to_owned(),
        "replicationcontrollers" => "ReplicationController".to_owned(),
        "pods" => "Pod".to_owned(),
        "namespaces" => "Namespace".to_owned(),
        "serviceaccounts" => "ServiceAccount".to_owned(),
        other => other.trim_end_matches('s').to_owned(),
    }
}
