//! The attempted write of one admission review: who, which operation, which object, which values. Pure.

use kube::core::admission::Operation;
use serde_json::{Value, json};

use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::change::diff;
use crate::change::gate::object_version::Version;
use crate::change::policy::Resource;
use crate::cluster::client::RUN_EXTRA;
use crate::webhook::caller::Caller;
use crate::webhook::review::Request;

/// One attempted write.
#[derive(Clone, Debug)]
pub struct Action {
    /// The user who attempts it.
    pub caller: Caller,
    /// UID of the run whose mark the request carries; only the operator may set it.
    pub run: Option<String>,
    /// The operation.
    pub operation: Operation,
    /// Plural name of the kind: `deployments`.
    pub plural: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// The object; for a scale the scaled workload.
    pub target: ObjectRef,
    /// Namespace of the object; for a Namespace its own name; empty for other cluster-scoped objects.
    pub namespace: String,
    /// UID of the object; empty for a creation.
    pub uid: String,
    /// The object before, as sent; null if there was none.
    pub before: Value,
    /// The object after, as sent; null for a deletion.
    pub after: Value,
    /// The values that change.
    pub delta: Vec<Delta>,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// Whether a deletion orphans the dependents.
    pub orphans: bool,
}

impl Action {
    /// Reads a review. `marker` is the key of the extra that only a direct login has.
    ///
    /// # Errors
    /// When the review names no object.
    pub fn read(request: &Request, marker: &str) -> Result<Action, String> {
        let before = whole(request.old_object.as_ref());
        let after = whole(request.object.as_ref());
        let subresource = request.sub_resource.clone().unwrap_or_default();
        // The items of a delete-collection are reviewed without a name, and a generated name is only in the object.
        let text = |pointer: &str| {
            [&before, &after]
                .into_iter()
                .find_map(|object| object.pointer(pointer).and_then(Value::as_str))
                .unwrap_or_default()
                .to_owned()
        };
        let name = if request.name.is_empty() { text("/metadata/name") } else { request.name.clone() };
        if name.is_empty() && request.operation != Operation::Create {
            return Err("it names no object".to_owned());
        }
        let group = request.resource.group.clone();
        let version = request.resource.version.clone();
        let plural = request.resource.resource.clone();
        let kind = match parent_kind(&plural) {
            Some(kind) if !subresource.is_empty() => kind.to_owned(),
            _ => request.kind.kind.clone(),
        };
        let is_namespace = group.is_empty() && plural == "namespaces";
        let api_version = if group.is_empty() { version } else { format!("{group}/{version}") };
        let mut delta = match (&request.operation, subresource.as_str()) {
            (Operation::Delete | Operation::Connect, _) => Vec::new(),
            (_, "scale") => scale(&before, &after),
            (Operation::Create, "") => diff::of_new(&group, &after),
            (Operation::Create, _) => Vec::new(),
            (Operation::Update, "") => diff::diff_with_status(&before, &after),
            (Operation::Update, _) => diff::diff(&before, &after),
        };
        if group.is_empty() && plural == "secrets" {
            delta.iter_mut().for_each(hide);
        }
        Ok(Action {
            caller: Caller::new(&request.user_info, marker),
            run: extra(request, RUN_EXTRA),
            operation: request.operation.clone(),
            namespace: if is_namespace {
                name.clone()
            } else {
                request.namespace.clone().unwrap_or_default()
            },
            uid: if request.operation == Operation::Create { String::new() } else { text("/metadata/uid") },
            dry_run: request.dry_run || asks_for_dry_run(&after, &subresource),
            orphans: request.operation == Operation::Delete && orphans(request),
            target: ObjectRef { api_version, kind, name },
            plural,
            subresource,
            before,
            after,
            delta,
        })
    }

    /// The object as policies see it.
    pub fn resource(&self) -> Resource<'_> {
        Resource { group: self.target.group(), plural: &self.plural, namespace: &self.namespace }
    }

    /// Whether the review does not say the kind of the object: for the scale of a custom resource it only says `Scale`.
    pub fn names_no_kind(&self) -> bool {
        self.subresource == "scale" && self.target.kind == "Scale"
    }

    /// Whether the object is already being deleted.
    pub fn is_terminating(&self) -> bool {
        self.before.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
    }

    /// Whether the caller accesses a pod: `exec`, `attach`, `port-forward`, proxy or a debug container.
    pub fn is_interactive(&self) -> bool {
        matches!(
            self.subresource.as_str(),
            "exec" | "attach" | "portforward" | "proxy" | "ephemeralcontainers"
        ) && self.target.group().is_empty()
    }

    /// Whether the object is a Secret of Mayday's own type, before and after. The type of a Secret never changes, so no
    /// application's Secret can become one.
    pub fn is_about_a_credential(&self) -> bool {
        let is_credential = |object: &Value| object["type"] == crate::notify::credential::TYPE;
        let mut known = [&self.before, &self.after].into_iter().filter(|object| !object.is_null()).peekable();
        self.plural == "secrets"
            && self.target.group().is_empty()
            && known.peek().is_some()
            && known.all(is_credential)
    }

    /// The version of the object before the action; none for a creation.
    pub fn version(&self) -> Option<Version> {
        let generation = |object: &Value| object.pointer("/metadata/generation").and_then(Value::as_i64);
        // Kinds without a generation may carry one that a client wrote; it is never raised.
        let raised = generation(&self.before)
            .filter(|before| generation(&self.after).is_some_and(|now| now > *before));
        let resource_version = || self.before.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        raised.map(Version::Generation).or_else(|| Some(Version::Resource(resource_version()?.to_owned())))
    }

    /// Whether it evicts a pod.
    pub fn is_eviction(&self) -> bool {
        self.subresource == "eviction" && self.plural == "pods"
    }

    /// Whether it is an update that changes no value. Without both objects that cannot be known.
    pub fn changes_nothing(&self) -> bool {
        self.operation == Operation::Update
            && self.delta.is_empty()
            && !self.before.is_null()
            && !self.after.is_null()
    }

    /// Whether it only removes finalizers from an object that is being deleted, whose deletion was decided before. The
    /// garbage collector's own finalizers must stay: without `orphan` it would delete dependents that should be kept.
    pub fn only_removes_finalizers(&self) -> bool {
        let finalizers = |object: &Value| -> Vec<Value> {
            object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let (before, after) = (finalizers(&self.before), finalizers(&self.after));
        let is_collectors =
            |finalizer: &&Value| **finalizer == "orphan" || **finalizer == "foregroundDeletion";
        self.operation == Operation::Update
            && self.is_terminating()
            && self.delta.iter().all(|delta| delta.path == "/metadata/finalizers")
            && after.iter().all(|left| before.contains(left))
            && before.iter().filter(is_collectors).all(|kept| after.contains(kept))
    }
}

fn whole(object: Option<&kube::core::DynamicObject>) -> Value {
    object.and_then(|object| serde_json::to_value(object).ok()).unwrap_or(Value::Null)
}

fn extra(request: &Request, key: &str) -> Option<String> {
    match request.user_info.extra.as_ref()?.get(key)?.as_slice() {
        [value] => Some(value.clone()),
        // The operator sets exactly one.
        _ => None,
    }
}

/// Kinds whose subresources are sent with another kind.
fn parent_kind(plural: &str) -> Option<&'static str> {
    Some(match plural {
        "deployments" => "Deployment",
        "statefulsets" => "StatefulSet",
        "replicasets" => "ReplicaSet",
        "replicationcontrollers" => "ReplicationController",
        "pods" => "Pod",
        "serviceaccounts" => "ServiceAccount",
        "namespaces" => "Namespace",
        "services" => "Service",
        _ => return None,
    })
}

/// A scale as the change of the workload. Zero replicas are sent as an absent field.
fn scale(before: &Value, after: &Value) -> Vec<Delta> {
    let replicas = |scale: &Value| scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| json!(0));
    diff::diff(
        &json!({"spec": {"replicas": replicas(before)}}),
        &json!({"spec": {"replicas": replicas(after)}}),
    )
}

/// Hides the content of a Secret, which would end up in refusals, messages and the audit log. No request holds such
/// content, so nothing is compared with it.
fn hide(delta: &mut Delta) {
    if ["/data", "/stringData"].iter().any(|place| diff::is_under(&delta.path, place)) {
        for value in [&mut delta.before, &mut delta.after].into_iter().flatten() {
            *value = json!("hidden");
        }
    }
}

/// Whether the deletion orphans, as `kubectl delete --cascade=orphan` or an older client asks for it.
fn orphans(request: &Request) -> bool {
    let options = request.options.as_ref().map_or(&Value::Null, |options| &options.0);
    options["propagationPolicy"] == "Orphan" || options["orphanDependents"] == true
}

/// Whether an eviction asks for a dry run in its body, as it may.
fn asks_for_dry_run(body: &Value, subresource: &str) -> bool {
    subresource == "eviction"
        && body.pointer("/deleteOptions/dryRun").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request as the API server sends it: an update of a Deployment by emil, with `edit` merged in.
    pub fn request(edit: Value) -> Request {
        let deployment = |image: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "checkout", "namespace": "shop", "uid": "du"},
                "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
        };
        let mut whole = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "r", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "name": "checkout", "namespace": "shop", "operation": "UPDATE",
            "userInfo": {"username": "emil", "groups": ["shop-engineers"]},
            "oldObject": deployment("shop/checkout:v1"), "object": deployment("shop/checkout:v2"),
            "dryRun": false, "options": null}});
        merge(&mut whole["request"], &edit);
        crate::webhook::review::read(whole.to_string().as_bytes()).unwrap()
    }

    /// Merges as a merge patch does, except that null is a value.
    fn merge(value: &mut Value, edit: &Value) {
        match (value, edit) {
            (Value::Object(fields), Value::Object(edits)) => {
                for (name, edit) in edits {
                    merge(fields.entry(name.clone()).or_insert(Value::Null), edit);
                }
            }
            (value, edit) => *value = edit.clone(),
        }
    }

    pub fn action(edit: Value) -> Action {
        Action::read(&request(edit), "authentication.kubernetes.io/credential-id").unwrap()
    }

    #[test]
    fn an_update_is_read_as_its_changed_values() {
        let action = action(json!({}));
        assert_eq!(action.target.display(), "deployment/checkout");
        assert_eq!(action.uid, "du");
        assert_eq!(action.delta.len(), 1);
        assert_eq!(action.delta[0].path, "/spec/template/spec/containers/[name=app]/image");
    }

    #[test]
    fn a_scale_is_read_as_a_change_of_its_workload() {
        let scale = |replicas: Value| {
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "du"}, "spec": replicas})
        };
        let action =
            action(json!({"kind": {"group": "autoscaling", "kind": "Scale"}, "subResource": "scale",
            "oldObject": scale(json!({"replicas": 3})), "object": scale(json!({}))}));
        // The merge above keeps fields of the Deployment, as a real Scale would not.
        assert_eq!(action.target.kind, "Deployment");
        assert_eq!(action.target.api_version, "apps/v1");
        assert_eq!(action.uid, "du");
        assert!(action.delta.iter().all(|delta| delta.path == "/spec/replicas"));
    }

    #[test]
    fn only_a_secret_of_our_own_type_is_a_credential() {
        let about = |plural: &str, before: Value, after: Value| {
            action(
                json!({"resource": {"group": "", "resource": plural}, "kind": {"group": "", "kind": "Secret"},
                "oldObject": before, "object": after}),
            )
            .is_about_a_credential()
        };
        let secret = |kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": "s", "namespace": "shop"}});
        let (ours, theirs) = (secret("mayday.dev/credential"), secret("Opaque"));
        assert!(about("secrets", ours.clone(), ours.clone()));
        assert!(about("secrets", json!(null), ours.clone()));
        assert!(about("secrets", ours.clone(), json!(null)));
        assert!(!about("secrets", theirs.clone(), ours.clone()));
        assert!(!about("secrets", json!(null), theirs));
        assert!(!about("configmaps", json!(null), ours));
    }

    #[test]
    fn an_item_of_a_delete_collection_is_named_by_its_old_object() {
        let action = action(json!({"name": "", "operation": "DELETE", "object": null}));
        assert_eq!((action.target.name.as_str(), action.uid.as_str()), ("checkout", "du"));
    }

    #[test]
    fn a_review_that_names_no_object_is_not_read() {
        let request = request(json!({"name": "", "operation": "DELETE", "object": null, "oldObject": null}));
        assert!(Action::read(&request, "m").is_err());
    }

    #[test]
    fn the_body_of_an_eviction_may_ask_for_a_dry_run() {
        let eviction = |options: Value| {
            json!({"operation": "CREATE", "subResource": "eviction", "resource": {"group": "", "resource": "pods"},
                "oldObject": null, "object": {"apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": {"name": "checkout"}, "deleteOptions": options}})
        };
        assert!(action(eviction(json!({"dryRun": ["All"]}))).dry_run);
        assert!(!action(eviction(json!({}))).dry_run);
    }

    #[test]
    fn an_object_that_is_being_deleted_may_only_lose_finalizers() {
        let with = |finalizers: Value| json!({"metadata": {"finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": null});
        let let_go = action(json!({"oldObject": with(json!(["a", "b"])), "object": with(json!(["b"]))}));
        assert!(let_go.only_removes_finalizers());
        let adopted = action(json!({"oldObject": with(json!(["orphan"])), "object": with(json!([]))}));
        assert!(!adopted.only_removes_finalizers(), "its dependents were to be kept");
        let added = action(json!({"oldObject": with(json!(["a"])), "object": with(json!(["a", "c"]))}));
        assert!(!added.only_removes_finalizers());
        let edited =
            action(json!({"oldObject": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}}));
        assert!(!edited.only_removes_finalizers(), "parked with a finalizer, then edited");
    }

    #[test]
    fn the_content_of_a_secret_is_hidden() {
        let secret = |password: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "namespace": "shop"}, "spec": null, "data": {"password": password}})
        };
        let changed = action(
            json!({"kind": {"group": "", "kind": "Secret"}, "resource": {"group": "", "resource": "secrets"},
            "oldObject": secret("b2xk"), "object": secret("bmV3")}),
        );
        assert!(!changed.changes_nothing());
        let told = format!("{:?}", changed.delta);
        assert!(
            told.contains("/data/password") && !told.contains("b2xk") && !told.contains("bmV3"),
            "{told}"
        );
    }

    #[test]
    fn a_status_counts_unless_it_is_written_as_a_subresource() {
        let with = |ready: bool| json!({"metadata": {"name": "till", "namespace": "shop"}, "spec": null, "status": {"ready": ready}});
        let written = |subresource: &str| {
            action(json!({"subResource": subresource, "oldObject": with(false), "object": with(true)}))
        };
        assert!(!written("").changes_nothing());
        assert!(written("status").changes_nothing());
    }

    #[test]
    fn a_deletion_may_orphan_the_dependents() {
        let deletion = |options: Value| {
            action(json!({"operation": "DELETE", "object": null, "options": options})).orphans
        };
        assert!(deletion(json!({"propagationPolicy": "Orphan"})));
        assert!(deletion(json!({"orphanDependents": true})));
        assert!(!deletion(json!({"propagationPolicy": "Foreground"})));
        assert!(!deletion(json!(null)));
    }

    #[test]
    fn an_update_without_a_changed_value_changes_nothing() {
        let same = json!({"object": {"metadata": {"resourceVersion": "9"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}});
        assert!(action(same).changes_nothing());
        assert!(!action(json!({})).changes_nothing());
        assert!(
            !action(json!({"object": null, "oldObject": null})).changes_nothing(),
            "the values are unknown"
        );
        assert!(!action(json!({"operation": "DELETE", "object": null})).changes_nothing());
    }
}
