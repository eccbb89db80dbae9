//! The patch that carries out a change of values, for the planner and for people alike. Pure.

use kube::api::Patch;
use serde_json::{Value, json};

use crate::api::change_request::{Change, Delta, PatchType, UpdateChange};
use crate::change::diff;

/// The patch of a change that updates or scales.
///
/// # Errors
/// Why there is no patch, in words.
pub fn of(change: &Change) -> Result<Patch<Value>, String> {
    match (&change.scale, &change.update) {
        (Some(scale), _) => Ok(Patch::Merge(json!({"spec": {"replicas": scale.replicas}}))),
        (None, Some(update)) => of_update(update),
        (None, None) => Err("nothing is said that could be done to it".to_owned()),
    }
}

/// The patch of an update, with the removed values.
///
/// # Errors
/// Why there is no patch, in words.
pub fn of_update(update: &UpdateChange) -> Result<Patch<Value>, String> {
    let removals = || update.remove.iter().map(|path| json!({"op": "remove", "path": path}));
    let Some(body) = update.patch.clone() else { return json_patch(removals().collect()) };
    match update.patch_type {
        PatchType::Json => match body {
            Value::Array(operations) => json_patch(operations.into_iter().chain(removals()).collect()),
            _ => Err("update.patch: a JSON patch is a list of operations".to_owned()),
        },
        PatchType::Strategic => Ok(Patch::Strategic(with_nulls(body, &update.remove))),
        PatchType::Merge => Ok(Patch::Merge(with_nulls(body, &update.remove))),
    }
}

fn json_patch(operations: Vec<Value>) -> Result<Patch<Value>, String> {
    let patch = serde_json::from_value(Value::Array(operations))
        .map_err(|error| format!("update.patch: no JSON patch: {error}"))?;
    Ok(Patch::Json(patch))
}
/// The patch with a null at each pointer, which is how a merge patch removes a value.
fn with_nulls(mut patch: Value, remove: &[String]) -> Value {
    for pointer in remove {
        put(&mut patch, pointer, Value::Null);
    }
    patch
}

/// Puts a value at a JSON pointer of a merge patch, as deep as it says.
pub fn put(patch: &mut Value, pointer: &str, value: Value) {
    let segments = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
    let names: Vec<String> = segments.collect();
    overlay(patch, names.iter().rev().fold(value, |inner, name| json!({ name.as_str(): inner })));
}

/// The patch that makes exactly these changes: a merge patch, or a strategic one if the kind supports that. None if neither
/// can.
pub fn of_values(deltas: &[Delta], is_strategic: bool) -> Option<Value> {
    let mut patch = json!({});
    for delta in deltas {
        let value = delta.after.clone().unwrap_or_default();
        let in_element = delta.path.contains("/[");
        let is_list = value.is_array() || delta.before.as_ref().is_some_and(Value::is_array);
        // How a merge patch changes a list differs by kind.
        if (in_element || is_list) && !is_strategic {
            return None;
        }
        // A list inside an element is set as a whole only if there was none, or if its kind replaces it.
        let is_whole = || delta.before.is_none() || WHOLE.iter().any(|list| delta.path.ends_with(list));
        if (in_element && delta.after.is_none()) || (is_list && !(in_element && is_whole())) {
            return None;
        }
        if !delta.path.split("/[").skip(1).all(names_an_old_element) || !by_name(&delta.path) {
            return None;
        }
        put(&mut patch, &delta.path, value);
    }
    Some(with_lists(patch))
}

/// Lists in a container that a strategic patch replaces as one.
const WHOLE: &[&str] = &["/args", "/command"];
/// Lists that a strategic patch merges by the name of their elements.
const BY_NAME: &[&str] = &["containers", "initContainers", "env"];

/// Whether what follows `/[` is a name and something else of the element: a new element comes with its name, and a patch
/// would put it before the others.
fn names_an_old_element(rest: &str) -> bool {
    rest.split_once("]/").is_some_and(|(key, field)| key.starts_with("name=") && field != "name")
}

/// Whether every element in the path is one of a list that is merged by name.
fn by_name(path: &str) -> bool {
    path.split("/[")
        .zip(path.split("/[").skip(1))
        .all(|(before, _)| BY_NAME.iter().any(|list| before.rsplit('/').next() == Some(list)))
}

/// Turns objects that stand for lists into lists: `{"[name=app]": {…}}` becomes `[{"name": "app", …}]`.
fn with_lists(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let name = |field: &str| field.strip_prefix("[name=")?.strip_suffix(']').map(str::to_owned);
    if !fields.is_empty() && fields.keys().all(|field| name(field).is_some()) {
        let element = |(field, content): (String, Value)| {
            let mut element = with_lists(content);
            element["name"] = json!(name(&field));
            element
        };
        return fields.into_iter().map(element).collect();
    }
    fields.into_iter().map(|(field, content)| (field, with_lists(content))).collect()
}

/// Removes the nulls from a merge patch and returns their JSON pointers. Nulls within lists stay.
pub fn take_nulls(patch: &mut Value) -> Vec<String> {
    let Some(fields) = patch.as_object_mut() else { return Vec::new() };
    let mut taken = Vec::new();
    fields.retain(|name, value| {
        let place = format!("/{}", diff::escape(name));
        if value.is_null() {
            taken.push(place);
            return false;
        }
        let was_empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        taken.extend(take_nulls(value).into_iter().map(|rest| format!("{place}{rest}")));
        was_empty || value.as_object().is_none_or(|left| !left.is_empty())
    });
    taken
}

fn overlay(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (name, over) in over {
                overlay(fields.entry(name).or_insert_with(|| json!({})), over);
            }
        }
        (value, over) => *value = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_value_is_a_null_or_an_operation_by_patch_type() {
        let merged = with_nulls(json!({"spec": {"paused": true}}), &["/metadata/labels/a~1b".to_owned()]);
        assert_eq!(merged, json!({"spec": {"paused": true}, "metadata": {"labels": {"a/b": null}}}));
        let update = UpdateChange { remove: vec!["/spec/paused".into()], ..UpdateChange::default() };
        let Ok(Patch::Json(operations)) = of_update(&update) else { panic!("no JSON patch") };
        assert_eq!(
            serde_json::to_value(operations).unwrap(),
            json!([{"op": "remove", "path": "/spec/paused"}])
        );
    }

    #[test]
    fn values_become_the_patch_that_changes_exactly_them() {
        let container = "/spec/template/spec/containers/[name=a~1b]";
        let delta = |path: &str, before: Value, after: Value| Delta {
            path: path.replace("APP", container),
            before: Some(before).filter(|value| !value.is_null()),
            after: Some(after).filter(|value| !value.is_null()),
        };
        let limit = delta("APP/resources/limits/cpu", json!(null), json!("200m"));
        let env = delta("APP/env", json!(null), json!([{"name": "A", "value": "B"}]));
        let label = delta("/metadata/labels/x", json!("y"), json!(null));
        let whole = json!({
            "metadata": {"labels": {"x": null}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "a/b", "resources": {"limits": {"cpu": "200m"}}, "env": [{"name": "A", "value": "B"}]}]}}}
        });
        assert_eq!(of_values(&[limit.clone(), env, label], true), Some(whole));
        let value = delta("APP/env/[name=A]/value", json!("B"), json!("C"));
        let inner = json!([{"name": "a/b", "env": [{"name": "A", "value": "C"}]}]);
        assert_eq!(
            of_values(std::slice::from_ref(&value), true).unwrap().pointer("/spec/template/spec/containers"),
            Some(&inner)
        );
        assert_eq!(of_values(&[value], false), None, "a kind of one's own");
        let args = delta("APP/args", json!(["-v"]), json!(["-q"]));
        assert!(of_values(&[args], true).is_some());

        let new = delta("APP/env/[name=Z]/name", json!(null), json!("Z"));
        let gone = delta("APP/resources/limits/cpu", json!("200m"), json!(null));
        let merged = delta("APP/envFrom", json!([{"a": 1}]), json!([{"b": 1}]));
        let port = delta("APP/ports/[containerPort=80,protocol=TCP]/hostPort", json!(1), json!(2));
        let mount = delta("APP/volumeMounts/[mountPath=~1x]/readOnly", json!(true), json!(false));
        let volume = delta("/spec/template/spec/volumes/[name=x]/secret/secretName", json!("a"), json!("b"));
        let finalizers = delta("/metadata/finalizers", json!(["a"]), json!(["b"]));
        for other in [new, gone, merged, port, mount, volume, finalizers] {
            let path = other.path.clone();
            assert_eq!(of_values(&[limit.clone(), other], true), None, "{path}");
        }
    }

    #[test]
    fn a_null_becomes_the_pointer_of_the_removed_value() {
        let mut patch = json!({"spec": {"paused": null, "replicas": 3}, "metadata": {"labels": {"a/b": null}}, "data": {}});
        assert_eq!(take_nulls(&mut patch), ["/metadata/labels/a~1b", "/spec/paused"]);
        assert_eq!(patch, json!({"spec": {"replicas": 3}, "data": {}}));
        let mut listed = json!({"spec": {"args": [null]}});
        assert_eq!(take_nulls(&mut listed), Vec::<String>::new());
        assert_eq!(listed, json!({"spec": {"args": [null]}}));
    }

    #[test]
    fn an_invalid_json_patch_is_named() {
        let update = UpdateChange {
            patch_type: PatchType::Json,
            patch: Some(json!({"op": "add"})),
            ..UpdateChange::default()
        };
        assert!(of_update(&update).is_err());
    }
}
