//! The patch that carries out a change of values, for the plan and for whoever carries it out alike. Pure.

use kube::api::Patch;
use serde_json::{Value, json};

use super::delta;
use crate::api::change_request::{Change, PatchType, UpdateChange};

/// The patch of a change that updates or scales.
///
/// # Errors
/// Why there is none, in words.
pub fn of(change: &Change) -> Result<Patch<Value>, String> {
    match (&change.scale, &change.update) {
        (Some(scale), _) => Ok(Patch::Merge(json!({"spec": {"replicas": scale.replicas}}))),
        (None, Some(update)) => of_update(update),
        (None, None) => Err("nothing is said that could be done to it".to_owned()),
    }
}

/// The patch of an update, with what is to go.
///
/// # Errors
/// Why there is none, in words.
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
/// The patch with a null at each pointer, which is how a merge patch says that something goes.
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

/// Takes the nulls out of a merge patch; gives their JSON pointers. Those within lists stay: they have none.
pub fn take_nulls(patch: &mut Value) -> Vec<String> {
    let Some(fields) = patch.as_object_mut() else { return Vec::new() };
    let mut taken = Vec::new();
    fields.retain(|name, value| {
        let place = format!("/{}", delta::escape(name));
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
    fn what_goes_is_a_null_in_a_merge_patch_and_an_operation_in_a_json_patch() {
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
    fn a_null_becomes_the_pointer_of_what_goes() {
        let mut patch = json!({"spec": {"paused": null, "replicas": 3}, "metadata": {"labels": {"a/b": null}}, "data": {}});
        assert_eq!(take_nulls(&mut patch), ["/metadata/labels/a~1b", "/spec/paused"]);
        assert_eq!(patch, json!({"spec": {"replicas": 3}, "data": {}}));
        let mut listed = json!({"spec": {"args": [null]}});
        assert_eq!(take_nulls(&mut listed), Vec::<String>::new());
        assert_eq!(listed, json!({"spec": {"args": [null]}}));
    }

    #[test]
    fn a_json_patch_that_is_none_is_named() {
        let update = UpdateChange {
            patch_type: PatchType::Json,
            patch: Some(json!({"op": "add"})),
            ..UpdateChange::default()
        };
        assert!(of_update(&update).is_err());
    }
}
