//! What all steps have in common that change values of an object: the operations that are sent, and the proof from the
//! live object. Pure.
//!
//! The change carries the operation id into an annotation. It proves later that the act happened, even if somebody has
//! changed the values since.

use serde_json::{Map, Value, json};

use super::mutation::{Change, Plan, Proof, Scene, done};
use crate::api::change_request::Delta;
use crate::api::runbook_run::Act;
use crate::change::diff;

/// Annotation with the id of the operation that a run has done last to an object.
pub const OPERATION: &str = "mayday.dev/operation";
/// Field manager of what runs write.
pub const FIELD_MANAGER: &str = "mayday-run";
/// Most bytes of the request of one act.
pub const MAX_BODY: usize = 48 * 1024;
/// Most values that one act may change, as in the schema.
const MAX_VALUES: usize = 64;

/// A text of an object by JSON pointer.
pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// The plan that turns the live object into `after`, with the operation id as an annotation.
///
/// # Errors
/// Why it cannot be done, in words.
pub fn plan(scene: &Scene<'_>, after: &Value) -> Plan {
    let before = scene.live()?;
    if before == after {
        return Ok(None);
    }
    let mut marked = after.clone();
    mark(&mut marked, "/metadata", OPERATION, scene.operation_id);
    exactly(scene, before, &marked)
}

/// Sets an annotation in the metadata at a pointer.
pub fn mark(object: &mut Value, metadata: &str, name: &str, value: &str) {
    let Some(Value::Object(metadata)) = object.pointer_mut(metadata) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    if let Value::Object(annotations) = annotations {
        annotations.insert(name.to_owned(), value.into());
    }
}

/// The plan that turns `before` into `after` and changes nothing else.
///
/// # Errors
/// Why it cannot be done, in words.
pub fn exactly(scene: &Scene<'_>, before: &Value, after: &Value) -> Plan {
    let name = scene.name();
    let (Some(uid), Some(version)) =
        (text(before, "/metadata/uid"), text(before, "/metadata/resourceVersion"))
    else {
        return Err(format!("{name} was read without uid and resourceVersion"));
    };
    let delta = diff::diff(before, after);
    if delta.len() > MAX_VALUES {
        return Err(format!("the change of {name} has {} values, more than {MAX_VALUES}", delta.len()));
    }
    let body = Value::Array(operations(before, after));
    if body.to_string().len() > MAX_BODY {
        return Err(format!("the change of {name} is larger than {MAX_BODY} bytes"));
    }
    Ok(Some(Change {
        uid: uid.to_owned(),
        resource_version: version.to_owned(),
        generation: before.pointer("/metadata/generation").and_then(Value::as_i64),
        delta,
        body: Some(body),
        ..Change::default()
    }))
}

/// The operations of a JSON Patch that turn one object into another. A list that differs is replaced as a whole.
fn operations(before: &Value, after: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    found
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<Value>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            found.push(json!({"op": "replace", "path": path, "value": after}));
        }
        return;
    };
    for (name, old) in old {
        let path = format!("{path}/{}", diff::escape(name));
        match new.get(name) {
            Some(new) => compare(&path, old, new, found),
            None => found.push(json!({"op": "remove", "path": path})),
        }
    }
    for (name, new) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        found.push(json!({"op": "add", "path": format!("{path}/{}", diff::escape(name)), "value": new}));
    }
}

/// The JSON Patch of an act. It names UID and resourceVersion, so that the API server refuses it for another object or
/// for a later version.
pub fn request(act: &Act) -> Vec<Value> {
    let mut operations = vec![
        json!({"op": "replace", "path": "/metadata/uid", "value": act.uid}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": act.resource_version}),
    ];
    if let Some(Value::Array(more)) = &act.body {
        operations.extend(more.iter().cloned());
    }
    operations
}

/// Proves from the live object whether an act that changes values happened.
pub fn probe(act: &Act, scene: &Scene<'_>, refused: bool, participle: &str) -> Proof {
    let name = act.target.display();
    let Some(object) = scene.object.filter(|object| text(object, "/metadata/uid") == Some(&act.uid)) else {
        let lost =
            format!("{name} was deleted meanwhile, and with it the proof of whether it was {participle}");
        return if refused { Proof::NotDone } else { Proof::Unprovable(lost) };
    };
    let is_mark =
        |delta: &&Delta| delta.after.as_ref().and_then(Value::as_str) == Some(act.operation_id.as_str());
    if act.delta.iter().filter(is_mark).any(|mark| diff::holds(mark, object)) {
        return Proof::Done;
    }
    let mut values = act.delta.iter().filter(|delta| !is_mark(delta)).peekable();
    if values.peek().is_some() && values.all(|delta| diff::holds(delta, object)) {
        return Proof::Done;
    }
    // Every change of the spec raises the generation. While it is the same, the values cannot have been set and taken
    // back, as a GitOps tool might do. Kinds without a generation keep the annotation, unless it is removed by hand.
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let is_untouched = match act.generation {
        Some(planned) => generation == Some(planned),
        None => {
            let was = |delta: &Delta| diff::value_at(object, &delta.path) == delta.before.as_ref();
            act.delta.iter().all(was)
        }
    };
    if refused || is_untouched {
        return Proof::NotDone;
    }
    Proof::Unprovable(format!(
        "{name} was changed by somebody else while the act was on its way, so nobody can tell whether {}: kubectl \
         get -n {} {name} -o yaml",
        done(&act.target, participle),
        text(object, "/metadata/namespace").unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4).prop_map(Value::from),
            "[a-c/~]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What is sent makes exactly the planned object.
        #[test]
        fn the_operations_turn_one_object_into_the_other(before in value(), after in value()) {
            let (before, after) = (json!({"spec": before}), json!({"spec": after}));
            let patch: json_patch::Patch =
                serde_json::from_value(Value::Array(operations(&before, &after))).unwrap();
            let mut patched = before;
            json_patch::patch(&mut patched, &patch).unwrap();
            prop_assert_eq!(patched, after);
        }
    }

    #[test]
    fn a_request_names_the_object_and_the_version_that_were_read() {
        let act = Act {
            uid: "u".into(),
            resource_version: "7".into(),
            body: Some(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
            ..Act::default()
        };
        let sent = request(&act);
        assert_eq!(sent[0], json!({"op": "replace", "path": "/metadata/uid", "value": "u"}));
        assert_eq!(sent[1]["path"], "/metadata/resourceVersion");
        assert_eq!(sent[2]["path"], "/spec/replicas");
    }
}
