//! The difference between two states of an object, value by value. Pure.
//!
//! Lists whose elements have a known key are compared element by element; every other list is one value. Fields that the
//! API server maintains are left out; finalizers, owner references, labels and annotations are compared.

pub mod builtin_groups;
pub mod describe;
pub mod digest;
pub mod merge;
pub mod operations;
pub mod owned;
pub mod patch;
pub mod server_assigned;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::change_request::Delta;

/// Keys of the elements of a list by the name of the list, as in the built-in kinds.
pub fn keys_of(list: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let has = |key: &str| items.iter().all(|item| item.get(key).is_some());
    let keys: &[&str] = match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims" => &["name"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "hostAliases" => &["ip"],
        "ports" if has("containerPort") => &["containerPort", "protocol"],
        "ports" => &["port", "protocol"],
        _ => return None,
    };
    has(keys[0]).then_some(keys)
}

/// Every value that differs, leaf by leaf, in the order of paths. The status is left out.
pub fn diff(before: &Value, after: &Value) -> Vec<Delta> {
    let mut deltas = diff_with_status(before, after);
    deltas.retain(|delta| !is_under(&delta.path, "/status"));
    deltas
}

/// As [`diff`], with the status. Where the status is a subresource, a write of the object cannot change it: the API server
/// takes it from the stored object before admission. For other kinds it is a field as any other.
pub fn diff_with_status(before: &Value, after: &Value) -> Vec<Delta> {
    let mut deltas = values(before, after);
    if !before.is_null() {
        server_assigned::mark(&mut deltas, after);
    }
    deltas
}

/// As [`diff_with_status`], with the values that the API server chose as they are.
pub fn values(before: &Value, after: &Value) -> Vec<Delta> {
    let mut deltas = Vec::new();
    compare("", Some(before), Some(after), &mut deltas);
    deltas.retain(|delta| !server_assigned::is_maintained(before, after, &delta.path));
    deltas
}

/// Whether a path is `place` or below it.
pub fn is_under(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every value of a new object, as admission or a dry run shows it.
pub fn of_new(group: &str, object: &Value) -> Vec<Delta> {
    let diff = if builtin_groups::is(group) { diff } else { diff_with_status };
    diff(&Value::Null, &server_assigned::settled(object))
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, deltas: &mut Vec<Delta>) {
    // A null means the same as an absent value, and storing a plan turns one into the other.
    let (before, after) = (before.filter(|value| !value.is_null()), after.filter(|value| !value.is_null()));
    if before == after {
        return;
    }
    let empty = Map::new();
    match (before, after) {
        // An added or removed object is described by its leaves, so that a part of it can be compared.
        (Some(Value::Object(old)), Some(Value::Object(new))) => fields(path, old, new, deltas),
        (None, Some(Value::Object(new))) if !new.is_empty() => fields(path, &empty, new, deltas),
        (Some(Value::Object(old)), None) if !old.is_empty() => fields(path, old, &empty, deltas),
        (Some(Value::Array(old)), Some(Value::Array(new))) => match keyed(path, old, new) {
            Some(elements) => {
                for (element, (old, new)) in elements {
                    compare(&format!("{path}/{element}"), old, new, deltas);
                }
            }
            None => deltas.push(delta(path, before, after)),
        },
        _ => deltas.push(delta(path, before, after)),
    }
}

fn delta(path: &str, before: Option<&Value>, after: Option<&Value>) -> Delta {
    Delta { path: path.to_owned(), before: before.cloned(), after: after.cloned() }
}

fn fields(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, deltas: &mut Vec<Delta>) {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = format!("{path}/{}", escape(name));
        compare(&path, old.get(name), new.get(name), deltas);
    }
}

/// A name as a segment of a JSON pointer.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

type Elements<'a> = BTreeMap<String, (Option<&'a Value>, Option<&'a Value>)>;

/// The elements of both lists by their key. None if the list has no known key, if a key is duplicate, or if the keys do not
/// determine the order, which matters for containers and variables: common elements are in another order, or added ones do
/// not come last and sorted.
fn keyed<'a>(path: &str, old: &'a [Value], new: &'a [Value]) -> Option<Elements<'a>> {
    let list = path.rsplit('/').next().unwrap_or_default();
    let keys = keys_of(list, if new.is_empty() { old } else { new })?;
    let names = |items: &'a [Value]| -> Option<Vec<(String, &'a Value)>> {
        let named: Vec<_> =
            items.iter().map(|item| Some((element(keys, item)?, item))).collect::<Option<_>>()?;
        let unique: std::collections::BTreeSet<_> = named.iter().map(|(name, _)| name).collect();
        (unique.len() == named.len()).then_some(named)
    };
    let (old, new) = (names(old)?, names(new)?);
    let common = |items: &[(String, &'a Value)], others: &[(String, &'a Value)]| -> Vec<String> {
        let is_common = |name: &String| others.iter().any(|(other, _)| other == name);
        items.iter().map(|(name, _)| name.clone()).filter(is_common).collect()
    };
    let both = common(&old, &new);
    let tells_order = |items: &[(String, &'a Value)]| {
        let names: Vec<&String> = items.iter().map(|(name, _)| name).collect();
        let (head, tail) = names.split_at(both.len());
        head.iter().copied().eq(&both) && tail.is_sorted()
    };
    if !tells_order(&old) || !tells_order(&new) {
        return None;
    }
    let mut elements = Elements::new();
    for (name, item) in old {
        elements.entry(name).or_default().0 = Some(item);
    }
    for (name, item) in new {
        elements.entry(name).or_default().1 = Some(item);
    }
    Some(elements)
}

/// The element of a list as a segment of a path, by its keys; none if it lacks one.
pub fn element(keys: &[&str], item: &Value) -> Option<String> {
    let parts: Vec<String> = keys
        .iter()
        .map(|key| match item.get(key) {
            Some(Value::String(text)) => Some(format!("{key}={}", escape(text))),
            Some(Value::Number(number)) => Some(format!("{key}={number}")),
            // The one key that may be left out, and its default.
            None if *key == "protocol" => Some("protocol=TCP".to_owned()),
            _ => None,
        })
        .collect::<Option<_>>()?;
    Some(format!("[{}]", parts.join(",")))
}

/// The values in which an actual change and a plan differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Values that change otherwise than planned.
    pub unplanned: Vec<Delta>,
    /// Values that are planned and do not change.
    pub left_out: Vec<Delta>,
}

impl Difference {
    /// Whether the change is exactly the planned one.
    pub fn is_none(&self) -> bool {
        self.unplanned.is_empty() && self.left_out.is_empty()
    }
}

/// Compares an actual change with a plan.
pub fn difference(planned: &[Delta], actual: &[Delta]) -> Difference {
    differing(planned, actual, |planned, actual| planned == actual)
}

/// Compares an actual change with one that takes a use back. A value that the API server chose is taken back whatever it
/// is by now, and the API server may choose again.
pub fn difference_from_inverse(used: &[Delta], actual: &[Delta]) -> Difference {
    differing(&inverse(used), actual, |planned, actual| {
        let is_choice = server_assigned::may_hold_a_choice(&planned.path);
        let fits = |one: &Option<Value>, other: &Option<Value>| {
            one == other || (is_choice && server_assigned::fits(one.as_ref(), other.as_ref()))
        };
        planned.path == actual.path
            && fits(&planned.before, &actual.before)
            && fits(&actual.after, &planned.after)
    })
}

fn differing(planned: &[Delta], actual: &[Delta], is_same: impl Fn(&Delta, &Delta) -> bool) -> Difference {
    let is_planned = |delta: &&Delta| planned.iter().any(|planned| is_same(planned, delta));
    let is_actual = |delta: &&Delta| actual.iter().any(|actual| is_same(delta, actual));
    Difference {
        unplanned: actual.iter().filter(|delta| !is_planned(delta)).cloned().collect(),
        left_out: planned.iter().filter(|delta| !is_actual(delta)).cloned().collect(),
    }
}

/// The change that undoes another.
pub fn inverse(deltas: &[Delta]) -> Vec<Delta> {
    let back = |delta: &Delta| Delta {
        path: delta.path.clone(),
        before: delta.after.clone(),
        after: delta.before.clone(),
    };
    deltas.iter().map(back).collect()
}

/// The first planned value that is neither the old nor the new one of the plan; none if the plan still fits the object.
pub fn stale<'a>(planned: &'a [Delta], object: &Value) -> Option<&'a Delta> {
    planned.iter().find(|delta| {
        let now = value_at(object, &delta.path);
        now != delta.before.as_ref() && !holds(delta, object)
    })
}

/// Whether an object holds the value after a change; of a value that the API server chose, whether it holds any.
pub fn holds(delta: &Delta, object: &Value) -> bool {
    let now = value_at(object, &delta.path);
    now == delta.after.as_ref()
        || (server_assigned::may_hold_a_choice(&delta.path)
            && server_assigned::fits(delta.after.as_ref(), now))
}

/// The value at a path of [`diff`].
pub fn value_at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut list = "";
    for segment in path.split('/').skip(1) {
        value = match value {
            Value::Object(fields) => fields.get(&segment.replace("~1", "/").replace("~0", "~"))?,
            Value::Array(items) => {
                let keys = keys_of(list, items)?;
                items.iter().find(|item| element(keys, item).as_deref() == Some(segment))?
            }
            _ => return None,
        };
        list = segment;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(image: &str, replicas: i64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "checkout", "resourceVersion": "1"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [
                {"name": "app", "image": image, "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": "side:v1"}]}}}})
    }

    fn paths(deltas: &[Delta]) -> Vec<&str> {
        deltas.iter().map(|delta| delta.path.as_str()).collect()
    }

    #[test]
    fn a_changed_image_is_named_by_its_container() {
        let deltas = diff(&deployment("shop:v1", 3), &deployment("shop:v2", 3));
        assert_eq!(
            deltas,
            [Delta {
                path: "/spec/template/spec/containers/[name=app]/image".into(),
                before: Some(json!("shop:v1")),
                after: Some(json!("shop:v2"))
            }]
        );
    }

    #[test]
    fn maintained_fields_are_no_change_but_finalizers_and_labels_are() {
        let before = deployment("a", 1);
        let mut after = before.clone();
        after["metadata"]["resourceVersion"] = json!("2");
        after["metadata"]["generation"] = json!(7);
        after["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        after["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
        after["status"] = json!({"replicas": 3});
        after["apiVersion"] = json!("apps/v1beta1");
        assert_eq!(diff(&before, &after), []);
        after["metadata"]["finalizers"] = json!(["park/it"]);
        after["metadata"]["labels"] = json!({"env": "test"});
        assert_eq!(paths(&diff(&before, &after)), ["/metadata/finalizers", "/metadata/labels/env"]);
    }

    #[test]
    fn a_null_equals_an_absent_value() {
        assert_eq!(diff(&json!({"a": null}), &json!({})), []);
        assert_eq!(
            diff(&Value::Null, &json!({"metadata": {"name": "c", "creationTimestamp": null}, "x": null}))
                .len(),
            1
        );
    }

    #[test]
    fn an_unknown_list_and_another_order_count_as_a_whole() {
        let before = json!({"spec": {"args": ["a", "b"]}});
        assert_eq!(paths(&diff(&before, &json!({"spec": {"args": ["b", "a"]}}))), ["/spec/args"]);
        let before = deployment("a", 1);
        let mut after = before.clone();
        after["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().reverse();
        assert_eq!(paths(&diff(&before, &after)), ["/spec/template/spec/containers"]);
    }

    #[test]
    fn added_elements_are_named_only_where_keys_tell_the_order() {
        let object = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
            json!({"spec": {"template": {"spec": {"initContainers": list}}}})
        };
        const LIST: &str = "/spec/template/spec/initContainers";
        let whole = |before: &[&str], after: &[&str]| {
            let deltas = diff(&object(before), &object(after));
            deltas.iter().any(|delta| delta.path == LIST)
        };
        assert!(!whole(&["a"], &["a", "migrate", "seed"]));
        assert!(whole(&["a"], &["seed", "a", "migrate"]), "it would say the same as the one above");
        assert!(whole(&["a"], &["a", "seed", "migrate"]));
        assert!(whole(&["a", "b", "c"], &["a", "c"]), "taking it back would not say where it was");
        assert!(!whole(&["a", "b"], &["a"]));
        assert!(!whole(&["a", "b"], &["a", "c"]));
    }

    #[test]
    fn ports_are_told_apart_by_protocol_with_its_default() {
        let port = |protocol: Value, name: &str| {
            let mut port = json!({"containerPort": 53, "name": name});
            if !protocol.is_null() {
                port["protocol"] = protocol;
            }
            json!({"ports": [port, {"containerPort": 53, "protocol": "UDP"}]})
        };
        let deltas = diff(&port(json!("TCP"), "dns"), &port(Value::Null, "DNS"));
        assert_eq!(
            paths(&deltas),
            [
                "/ports/[containerPort=53,protocol=TCP]/name",
                "/ports/[containerPort=53,protocol=TCP]/protocol"
            ]
        );
    }

    #[test]
    fn a_change_differs_from_a_plan_by_what_it_adds_and_leaves_out() {
        let planned = diff(&deployment("v1", 3), &deployment("v2", 8));
        let part = diff(&deployment("v1", 3), &deployment("v2", 3));
        assert!(difference(&planned, &planned).is_none());
        let found = difference(&planned, &part);
        assert_eq!((paths(&found.unplanned), paths(&found.left_out)), (vec![], vec!["/spec/replicas"]));
        let more = diff(&deployment("v1", 3), &deployment("v3", 8));
        let image = "/spec/template/spec/containers/[name=app]/image";
        assert_eq!(paths(&difference(&planned, &more).unplanned), [image]);
        let from_elsewhere = diff(&deployment("v0", 3), &deployment("v2", 3));
        assert_eq!(difference(&planned, &from_elsewhere).unplanned.len(), 1);
    }

    #[test]
    fn a_plan_is_stale_when_a_value_is_neither_before_nor_after() {
        let planned = diff(&deployment("v1", 3), &deployment("v2", 3));
        assert_eq!(stale(&planned, &deployment("v1", 9)), None);
        assert_eq!(stale(&planned, &deployment("v2", 3)), None);
        assert!(stale(&planned, &deployment("v7", 3)).is_some());
        assert!(stale(&planned, &json!({})).is_some());
    }

    #[test]
    fn an_added_object_is_its_leaves_and_a_removed_value_has_no_after() {
        let deltas = diff(&json!({"a": 1}), &json!({"b": {"c": {"d": 2}, "e": {}}}));
        assert_eq!(paths(&deltas), ["/a", "/b/c/d", "/b/e"]);
        assert_eq!(deltas[0].after, None);
    }
}
