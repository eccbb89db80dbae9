//! The JSON patch (RFC 6902) that turns one state of an object into another. It can say every change: removed elements of
//! lists, another member of a union, an emptied map. Pure.

use serde_json::{Map, Value, json};

use super::escape;

/// The operations, in the order in which they are to be done; none if nothing changes. A null counts as absent.
pub fn between(before: &Value, after: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    compare("", &without_nulls(before), &without_nulls(after), &mut operations);
    operations
}

/// The value without the fields that are null. A null within a list stays.
pub fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn compare(path: &str, before: &Value, after: &Value, operations: &mut Vec<Value>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(old), Value::Object(new)) => fields(path, old, new, operations),
        (Value::Array(old), Value::Array(new)) => items(path, old, new, operations),
        _ => operations.push(json!({"op": "replace", "path": path, "value": after})),
    }
}

fn fields(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, operations: &mut Vec<Value>) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        operations.push(json!({"op": "remove", "path": format!("{path}/{}", escape(name))}));
    }
    for (name, value) in new {
        let path = format!("{path}/{}", escape(name));
        match old.get(name) {
            Some(old) => compare(&path, old, value, operations),
            None => operations.push(json!({"op": "add", "path": path, "value": value})),
        }
    }
}

/// What both lists begin and end with stays. Between that, elements are changed in pairs, then removed or added.
fn items(path: &str, old: &[Value], new: &[Value], operations: &mut Vec<Value>) {
    let is_same = |(old, new): &(&Value, &Value)| is_same_element(old, new);
    let begin = old.iter().zip(new).take_while(is_same).count();
    let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(is_same).count();
    for (index, (old, new)) in old.iter().zip(new).take(begin).enumerate() {
        compare(&format!("{path}/{index}"), old, new, operations);
    }
    let (from, to) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);
    let pairs = from.len().min(to.len());
    for index in (0..pairs).map(|index| begin + index) {
        compare(&format!("{path}/{index}"), &old[index], &new[index], operations);
    }
    for index in (begin + pairs..begin + from.len()).rev() {
        operations.push(json!({"op": "remove", "path": format!("{path}/{index}")}));
    }
    for (index, value) in to.iter().enumerate().skip(pairs) {
        operations.push(json!({"op": "add", "path": format!("{path}/{}", begin + index), "value": value}));
    }
    for back in (1..=end).rev() {
        let index = new.len() - back;
        compare(&format!("{path}/{index}"), &old[old.len() - back], &new[index], operations);
    }
}

/// Whether two elements are the same one: equal, or of the same name.
fn is_same_element(old: &Value, new: &Value) -> bool {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    old == new || (name(old).is_some() && name(old) == name(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn applied(mut value: Value, operations: &[Value]) -> Value {
        let patch: json_patch::Patch = serde_json::from_value(json!(operations)).unwrap();
        json_patch::patch(&mut value, &patch).unwrap();
        value
    }

    #[test]
    fn a_removed_element_and_another_member_of_a_union_are_operations() {
        let container = |container: Value| json!({"spec": {"containers": [container]}});
        let before = container(
            json!({"name": "app", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "livenessProbe": {"httpGet": {"port": 80}}}),
        );
        let after = container(json!({"name": "app", "env": [{"name": "B", "value": "2"}],
            "livenessProbe": {"tcpSocket": {"port": 80}}}));
        assert_eq!(
            between(&before, &after),
            [
                json!({"op": "remove", "path": "/spec/containers/0/env/0"}),
                json!({"op": "remove", "path": "/spec/containers/0/livenessProbe/httpGet"}),
                json!({"op": "add", "path": "/spec/containers/0/livenessProbe/tcpSocket", "value": {"port": 80}}),
            ]
        );
    }

    #[test]
    fn a_null_says_nothing() {
        assert_eq!(between(&json!({"a": null}), &json!({"b": {"c": null}})).len(), 1);
        assert_eq!(between(&json!({"a": null, "l": [1]}), &json!({"l": [1]})), Vec::<Value>::new());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(1)),
            Just(json!("x")),
            "[a-c~/]{0,3}".prop_map(Value::from),
            Just(json!(true))
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~]{1,2}|name", inner, 0..5)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_operations_turn_one_state_into_the_other(before in any_value(), after in any_value()) {
            prop_assert_eq!(applied(before.clone(), &between(&before, &after)), after);
        }
    }
}
