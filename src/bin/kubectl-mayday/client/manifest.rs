//! Changes from manifests, as `kubectl apply -f` would make them. Pure.

use mayday::api::change_request::{Change, CreateChange, PatchType, UpdateChange};
use mayday::api::common::ObjectRef;
use mayday::change::diff::server_assigned::LAST_APPLIED;
use mayday::change::diff::{merge, operations, owned, patch};
use mayday::change::request::validate::null_in;
use serde_json::{Value, json};

use super::kinds::knows_strategic_merge;
use crate::client::failure::Failure;

/// Fields of `metadata` that say which object it is, or that the API server writes.
const NOT_A_CHANGE: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// The objects of a YAML or JSON text, those of a `kind: List` one by one.
pub fn documents(text: &str, file: &str) -> Result<Vec<Value>, Failure> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::usage(format!("{file} is no YAML: {error}")))?;
    let documents: Vec<Value> =
        documents.into_iter().filter(|document| !document.is_null()).flat_map(items).collect();
    if documents.is_empty() {
        return Err(Failure::usage(format!("{file} holds no object.")));
    }
    Ok(documents)
}

/// The items of a list as `kubectl get -o yaml` writes one; any other value unchanged.
fn items(mut document: Value) -> Vec<Value> {
    let is_list = document["apiVersion"] == "v1" && document["kind"] == "List";
    match document.get_mut("items").filter(|_| is_list).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}

/// The object that a manifest names.
pub fn object(manifest: &Value) -> Result<ObjectRef, Failure> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
        (Some(api_version), Some(kind), Some(name)) => Ok(ObjectRef { api_version, kind, name }),
        _ => Err(Failure::usage("A manifest needs apiVersion, kind and metadata.name.")),
    }
}

/// The object that a manifest is about, if a request may hold it here.
pub fn target(manifest: &Value, namespace: &str) -> Result<ObjectRef, Failure> {
    let target = object(manifest)?;
    let other = manifest.pointer("/metadata/namespace").and_then(Value::as_str);
    if let Some(other) = other.filter(|other| *other != namespace) {
        return Err(Failure::usage(format!(
            "{} is in namespace {other}, and a request is made where its target is: put what is there into a file of \
             its own, and ask for it with -n {other}.",
            target.display()
        )));
    }
    let secret = target.group().is_empty() && target.kind == "Secret";
    if secret && (manifest.get("data").is_some() || manifest.get("stringData").is_some()) {
        return Err(Failure::usage(format!(
            "{} holds data, and the content of a Secret never goes into a request: anybody who may read the request \
             could read it.",
            target.display()
        )));
    }
    Ok(target)
}

/// What applying the manifest would change of the object that is there; none if nothing. `live` is that object.
pub fn update(target: ObjectRef, mut manifest: Value, live: &Value) -> Result<Option<Change>, Failure> {
    keep_content(&mut manifest);
    // An applied object always has annotations: kubectl records the last applied manifest there.
    if live.pointer("/metadata/annotations").is_some() && manifest["metadata"]["annotations"].is_null() {
        manifest["metadata"]["annotations"] = json!({});
    }
    let by_key = knows_strategic_merge(&target.api_version);
    let wanted = merge::applied(last_applied(live).as_ref(), &manifest, live, by_key);
    let operations = operations::between(live, &wanted);
    Ok((!operations.is_empty()).then(|| by_operations(target, Value::Array(operations))))
}

fn by_operations(target: ObjectRef, operations: Value) -> Change {
    let update =
        UpdateChange { patch_type: PatchType::Json, patch: Some(operations), ..UpdateChange::default() };
    Change { target: Some(target), update: Some(update), ..Change::default() }
}

/// The last applied manifest, as `kubectl apply` records it, or what server-side apply has set. Fields that it has and the
/// new one lacks are removed.
fn last_applied(live: &Value) -> Option<Value> {
    let mut last = match live.pointer(LAST_APPLIED) {
        Some(noted) => serde_json::from_str(noted.as_str()?).ok()?,
        None => owned::last_applied(live)?,
    };
    keep_content(&mut last);
    Some(last)
}

/// Removes the fields that are no content of an object.
fn keep_content(manifest: &mut Value) {
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !NOT_A_CHANGE.contains(&field.as_str()));
    }
}

/// A patch of the existing object: a list of operations is a JSON patch; an object is a strategic patch where its kind
/// supports that, and a merge patch elsewhere. A field that is null in it is removed. With the object as it is, a null within
/// a list is understood, and of a union only the member of the patch stays, both by a JSON patch of the difference.
pub fn patch(target: ObjectRef, mut patch: Value, live: Option<&Value>) -> Result<Change, Failure> {
    let name = target.display();
    if patch.is_array() {
        check_operations(&name, &patch, live)?;
        return Ok(by_operations(target, patch));
    }
    let by_key = knows_strategic_merge(&target.api_version);
    if let Some(live) = live.filter(|_| by_key && patch.is_object() && !has_directive(&patch)) {
        let wanted = merge::applied(None, &patch, live, by_key);
        let is_simple = null_in_list(&patch).is_none() && wanted == merge::patched(&patch, live, by_key);
        let operations = operations::between(live, &wanted);
        if !is_simple && !operations.is_empty() {
            return Ok(by_operations(target, Value::Array(operations)));
        }
    }
    let remove = patch::take_nulls(&mut patch);
    let is_empty = patch.as_object().is_none_or(serde_json::Map::is_empty);
    if !patch.is_object() || (is_empty && remove.is_empty()) {
        return Err(Failure::usage(format!(
            "Nothing of {name} would change: a patch is an object, or a list of operations."
        )));
    }
    if let Some(place) = null_in(&patch, "patch") {
        return Err(Failure::usage(format!(
            "{name} has a null at {place}, within a list, where it says nothing: leave it out."
        )));
    }
    let patch_type = if by_key { PatchType::Strategic } else { PatchType::Merge };
    let patch = (!is_empty).then_some(patch);
    let update = UpdateChange { patch_type, patch, remove, ..UpdateChange::default() };
    Ok(Change { target: Some(target), update: Some(update), ..Change::default() })
}

/// Checks the operations of a JSON patch, and whether they can be done to the object.
fn check_operations(name: &str, operations: &Value, live: Option<&Value>) -> Result<(), Failure> {
    let patch: json_patch::Patch = serde_json::from_value(operations.clone())
        .map_err(|error| Failure::usage(format!("--patch is no JSON patch: {error}.")))?;
    if patch.0.is_empty() {
        return Err(Failure::usage(format!("Nothing of {name} would change: the patch holds no operation.")));
    }
    if let Some(place) = null_in(operations, "patch") {
        return Err(Failure::usage(format!("{name} has a null at {place}: say remove instead.")));
    }
    let mut patched = live.cloned();
    if let Some(Err(error)) = patched.as_mut().map(|object| json_patch::patch(object, &patch)) {
        return Err(Failure::usage(format!("The patch does not fit {name} as it is: {error}.")));
    }
    Ok(())
}

/// Place of the first null within a list.
fn null_in_list(value: &Value) -> Option<String> {
    match value {
        Value::Array(_) => null_in(value, ""),
        Value::Object(fields) => fields.values().find_map(null_in_list),
        _ => None,
    }
}

/// Whether a strategic patch holds a directive such as `$patch: delete`, which only the API server carries out.
fn has_directive(patch: &Value) -> bool {
    match patch {
        Value::Array(items) => items.iter().any(has_directive),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.starts_with('$') || has_directive(value))
        }
        _ => false,
    }
}

/// The manifest as a new object; in the request's namespace, unless its kind has none.
pub fn create(mut manifest: Value, namespace: Option<&str>) -> Result<Change, Failure> {
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    // A null in a new object says nothing.
    patch::take_nulls(&mut manifest);
    if let (Some(namespace), Some(metadata)) =
        (namespace, manifest.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    Ok(Change { create: Some(CreateChange { manifest }), ..Change::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: checkout-limits}\ndata: {maxCart: \"50\"}\n";

    #[test]
    fn a_new_object_is_created_as_the_example_shows() {
        let manifest = documents(LIMITS, "f").unwrap().remove(0);
        let change = create(manifest, Some("shop")).unwrap();
        assert_eq!(
            serde_json::to_value(change).unwrap(),
            json!({"create": {"manifest": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "checkout-limits", "namespace": "shop"},
                "data": {"maxCart": "50"}
            }}})
        );
    }

    #[test]
    fn a_manifest_of_an_existing_object_asks_for_the_difference_only() {
        let manifest = || documents(LIMITS, "f").unwrap().remove(0);
        let about = || target(&manifest(), "shop").unwrap();
        let live = |max: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"maxCart": max, "left": "alone"},
            "metadata": {"name": "checkout-limits", "namespace": "shop", "uid": "u"}})
        };
        let change = update(about(), manifest(), &live("40")).unwrap().unwrap().update.unwrap();
        assert_eq!(change.patch_type, PatchType::Json);
        assert_eq!(change.patch, Some(json!([{"op": "replace", "path": "/data/maxCart", "value": "50"}])));
        assert_eq!(update(about(), manifest(), &live("50")).unwrap(), None);
        let mut applied = live("50");
        let last =
            r#"{"metadata":{"annotations":{"a":"b"},"name":"checkout-limits"},"data":{"left":"alone"}}"#;
        applied["metadata"]["annotations"] =
            json!({"a": "b", "c": "d", "kubectl.kubernetes.io/last-applied-configuration": last});
        let gone = update(about(), manifest(), &applied).unwrap().unwrap().update.unwrap().patch.unwrap();
        let removal = |path: &str| json!({"op": "remove", "path": path});
        let operations = gone.as_array().unwrap();
        assert_eq!(operations.len(), 2, "{gone}");
        assert!(
            operations.contains(&removal("/data/left"))
                && operations.contains(&removal("/metadata/annotations/a"))
        );
    }

    #[test]
    fn a_null_of_a_patch_is_what_goes() {
        let about = || target(&documents(LIMITS, "f").unwrap().remove(0), "shop").unwrap();
        let asked = |value: Value| patch(about(), value, None).unwrap().update.unwrap();
        let goes = asked(json!({"metadata": {"labels": {"tier": null}}}));
        assert_eq!((goes.patch, goes.remove), (None, vec!["/metadata/labels/tier".to_owned()]));
        let both = asked(json!({"data": {"a": "1", "b": null}}));
        assert_eq!(
            (both.patch, both.remove),
            (Some(json!({"data": {"a": "1"}})), vec!["/data/b".to_owned()])
        );
        assert!(
            patch(about(), json!({"x": [null]}), None).unwrap_err().sentence.contains("null at patch.x[0]")
        );
    }

    // The kind of fault: a printed command does not do what it says. A strategic patch cannot say everything.
    #[test]
    fn a_null_in_a_list_and_another_member_of_a_union_become_operations() {
        let target =
            || ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "web".into() };
        let live = json!({"spec": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [{"name": "app", "image": "v1", "livenessProbe": {"exec": {}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]}}}});
        let asked = |value: Value| patch(target(), value, Some(&live)).unwrap().update.unwrap();
        let container = |rest: Value| {
            let mut container = json!({"name": "app"});
            json_patch::merge(&mut container, &rest);
            json!({"spec": {"template": {"spec": {"containers": [container]}}}})
        };
        let place = "/spec/template/spec/containers/0";
        for (patch, operations) in [
            (
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
                json!([{"op": "remove", "path": "/spec/strategy/rollingUpdate"},
                    {"op": "replace", "path": "/spec/strategy/type", "value": "Recreate"}]),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "livenessProbe": null}]}}}}),
                json!([{"op": "remove", "path": format!("{place}/livenessProbe")}]),
            ),
            (
                container(json!({"env": [{"name": "A", "value": "1"}]})),
                json!([{"op": "remove", "path": format!("{place}/env/0/valueFrom")},
                    {"op": "add", "path": format!("{place}/env/0/value"), "value": "1"}]),
            ),
        ] {
            let update = asked(patch);
            assert_eq!((update.patch_type, update.patch), (PatchType::Json, Some(operations)));
        }
        let simple = asked(container(json!({"image": "v2"})));
        assert_eq!(simple.patch_type, PatchType::Strategic);
        let directive = asked(container(json!({"env": [{"name": "A", "$patch": "delete"}]})));
        assert_eq!(directive.patch_type, PatchType::Strategic, "the API server knows what that means");
    }

    #[test]
    fn a_list_of_operations_is_a_json_patch_that_fits_the_object() {
        let about = || target(&documents(LIMITS, "f").unwrap().remove(0), "shop").unwrap();
        let live = json!({"data": {"a": "1"}});
        let asked = |value: Value| patch(about(), value, Some(&live));
        let remove = json!([{"op": "remove", "path": "/data/a"}]);
        let update = asked(remove.clone()).unwrap().update.unwrap();
        assert_eq!((update.patch_type, update.patch), (PatchType::Json, Some(remove)));
        for (wrong, said) in [
            (json!([]), "holds no operation"),
            (json!([{"op": "gone"}]), "is no JSON patch"),
            (json!([{"op": "remove", "path": "/data/b"}]), "does not fit configmap/checkout-limits as it is"),
            (json!([{"op": "add", "path": "/data/b", "value": null}]), "say remove instead"),
        ] {
            let failure = asked(wrong).unwrap_err();
            assert!(failure.code == 2 && failure.sentence.contains(said), "{failure}");
        }
    }

    #[test]
    fn a_file_without_a_field_that_was_applied_by_the_server_removes_it() {
        let about = || target(&documents(LIMITS, "f").unwrap().remove(0), "shop").unwrap();
        let manifest = documents(LIMITS, "f").unwrap().remove(0);
        let managed = json!([{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:data": {"f:maxCart": {}, "f:gone": {}}}}]);
        let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"maxCart": "50", "gone": "x", "else": "y"},
            "metadata": {"name": "checkout-limits", "managedFields": managed}});
        let update = update(about(), manifest, &live).unwrap().unwrap().update.unwrap();
        assert_eq!(update.patch, Some(json!([{"op": "remove", "path": "/data/gone"}])));
    }

    #[test]
    fn several_documents_are_several_changes() {
        assert_eq!(documents(&format!("---\n{LIMITS}---\n{LIMITS}---\n"), "f").unwrap().len(), 2);
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{"kind": "A"}, {"kind": "B"}]}"#;
        assert_eq!(documents(list, "f").unwrap(), [json!({"kind": "A"}), json!({"kind": "B"})]);
        assert_eq!(documents("", "f").unwrap_err().code, 2);
        assert_eq!(documents("a: [", "f").unwrap_err().code, 2);
    }

    #[test]
    fn content_that_a_request_must_not_hold_is_refused_with_a_reason() {
        let refused = |manifest: Value| target(&manifest, "shop").unwrap_err().sentence;
        let object = |kind: &str, more: Value| {
            let mut manifest = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
            if let (Some(fields), Some(more)) = (manifest.as_object_mut(), more.as_object()) {
                fields.extend(more.clone());
            }
            manifest
        };
        assert!(refused(json!({"kind": "ConfigMap"})).contains("metadata.name"));
        assert!(
            refused(object("Secret", json!({"stringData": {"a": "b"}})))
                .contains("never goes into a request")
        );
        let elsewhere = object("ConfigMap", json!({"metadata": {"name": "x", "namespace": "play"}}));
        assert!(refused(elsewhere).contains("in namespace play"));
    }
}
