//! Changes from manifests, as `kubectl apply -f` would make them. Pure.

use mayday::api::change_request::{Change, CreateChange, PatchType, UpdateChange};
use mayday::api::common::ObjectRef;
use serde_json::{Value, json};

use super::kinds::knows_strategic_merge;
use crate::failure::Failure;

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

/// The documents of a YAML or JSON text.
pub fn documents(text: &str, file: &str) -> Result<Vec<Value>, Failure> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::usage(format!("{file} is no YAML: {error}")))?;
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.is_empty() {
        return Err(Failure::usage(format!("{file} holds no object.")));
    }
    Ok(documents)
}

/// The object that a manifest is about.
pub fn target(manifest: &Value, namespace: &str) -> Result<ObjectRef, Failure> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(name)) =
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    else {
        return Err(Failure::usage("A manifest needs apiVersion, kind and metadata.name."));
    };
    let target =
        ObjectRef { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() };
    if let Some(other) = text("/metadata/namespace").filter(|other| *other != namespace) {
        return Err(Failure::usage(format!(
            "{} is in namespace {other}, and a request is made where its target is.",
            target.display()
        ))
        .then(crate::text::command("ask", other, "-f FILE --why \"…\"")));
    }
    refuse_nulls(&target, manifest)?;
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

/// The manifest as a patch of the object that is there.
pub fn update(target: ObjectRef, mut manifest: Value) -> Result<Change, Failure> {
    if let Some(fields) = manifest.as_object_mut() {
        for field in ["apiVersion", "kind", "status"] {
            fields.remove(field);
        }
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !NOT_A_CHANGE.contains(&field.as_str()));
        if metadata.is_empty()
            && let Some(fields) = manifest.as_object_mut()
        {
            fields.remove("metadata");
        }
    }
    patch(target, manifest)
}

/// A patch of the object that is there: strategic where its kind knows that, a merge patch elsewhere.
pub fn patch(target: ObjectRef, patch: Value) -> Result<Change, Failure> {
    if patch.as_object().is_none_or(|fields| fields.is_empty()) {
        return Err(Failure::usage(format!(
            "Nothing of {} would change: a patch is an object.",
            target.display()
        )));
    }
    refuse_nulls(&target, &patch)?;
    let patch_type =
        if knows_strategic_merge(&target.api_version) { PatchType::Strategic } else { PatchType::Merge };
    let update = UpdateChange { patch_type, patch: Some(patch), ..UpdateChange::default() };
    Ok(Change { target: Some(target), update: Some(update), ..Change::default() })
}

/// The manifest as a new object; in the request's namespace, unless its kind has none.
pub fn create(mut manifest: Value, namespace: Option<&str>) -> Result<Change, Failure> {
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    if let (Some(namespace), Some(metadata)) =
        (namespace, manifest.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    Ok(Change { create: Some(CreateChange { manifest }), ..Change::default() })
}

fn refuse_nulls(target: &ObjectRef, value: &Value) -> Result<(), Failure> {
    let Some(place) = null_in(value, "") else { return Ok(()) };
    Err(Failure::usage(format!(
        "{} has a null at {place}: a request holds none, because a null would delete without being seen.",
        target.display()
    )))
}

/// Where the first null stands.
fn null_in(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| null_in(item, &format!("{path}/{index}")))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(field, value)| null_in(value, &format!("{path}/{field}")))
        }
        _ => None,
    }
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
    fn an_object_that_is_there_is_patched_with_what_the_manifest_says() {
        let manifest = documents(LIMITS, "f").unwrap().remove(0);
        let target = target(&manifest, "shop").unwrap();
        let change = update(target, manifest).unwrap().update.unwrap();
        assert_eq!(change.patch_type, PatchType::Strategic);
        assert_eq!(change.patch, Some(json!({"data": {"maxCart": "50"}})));
    }

    #[test]
    fn several_documents_are_several_changes() {
        assert_eq!(documents(&format!("---\n{LIMITS}---\n{LIMITS}---\n"), "f").unwrap().len(), 2);
        assert_eq!(documents("", "f").unwrap_err().code, 2);
        assert_eq!(documents("a: [", "f").unwrap_err().code, 2);
    }

    #[test]
    fn what_a_request_must_not_hold_is_refused_with_a_reason() {
        let refused = |manifest: Value| target(&manifest, "shop").unwrap_err().sentence;
        let object = |kind: &str, more: Value| {
            let mut manifest = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
            if let (Some(fields), Some(more)) = (manifest.as_object_mut(), more.as_object()) {
                fields.extend(more.clone());
            }
            manifest
        };
        assert!(refused(json!({"kind": "ConfigMap"})).contains("metadata.name"));
        assert!(refused(object("ConfigMap", json!({"data": {"a": null}}))).contains("null at /data/a"));
        assert!(
            refused(object("Secret", json!({"stringData": {"a": "b"}})))
                .contains("never goes into a request")
        );
        let elsewhere = object("ConfigMap", json!({"metadata": {"name": "x", "namespace": "play"}}));
        assert!(refused(elsewhere).contains("in namespace play"));
    }
}
