//! The object after a manifest is applied: it gets the fields of the manifest, loses the fields that only the
//! manifest before had, and keeps all others. Of a union it keeps one member. Pure.

use serde_json::{Map, Value};

use super::{element, keys_of};

/// Unions of the built-in kinds whose fields depend on a `type`, by the field that holds them.
const TYPED: &[&str] = &["strategy", "updateStrategy", "seccompProfile", "appArmorProfile"];
/// Unions of the built-in kinds of which one member is set, by the field or list that holds them.
const MEMBERS: &[(&str, &[&str])] = &[
    ("env", &["value", "valueFrom"]),
    ("valueFrom", &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"]),
    ("livenessProbe", PROBE),
    ("readinessProbe", PROBE),
    ("startupProbe", PROBE),
    ("postStart", HANDLER),
    ("preStop", HANDLER),
    ("backend", &["service", "resource"]),
    ("defaultBackend", &["service", "resource"]),
    // The port of a Service that an Ingress leads to.
    ("port", &["name", "number"]),
    // How many pods of a PodDisruptionBudget must stay, or may go.
    ("spec", &["minAvailable", "maxUnavailable"]),
];
const PROBE: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const HANDLER: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

/// How objects of a kind are merged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum How {
    /// A list is one value, as for custom resources.
    Whole,
    /// Lists are merged element by element, as for the kinds that the API server itself serves.
    ByKey,
    /// The same, and a union keeps one member.
    OneMember,
}

/// The object after applying. `by_key` says whether lists are merged element by element, as the kinds that the API
/// server itself serves have it; elsewhere a list is one value.
pub fn applied(last: Option<&Value>, manifest: &Value, live: &Value, by_key: bool) -> Value {
    merge("", last, manifest, Some(live), if by_key { How::OneMember } else { How::Whole })
}

/// The object after a patch, as the API server makes it of a strategic one (`by_key`) or a merge patch.
pub fn patched(patch: &Value, live: &Value, by_key: bool) -> Value {
    merge("", None, patch, Some(live), if by_key { How::ByKey } else { How::Whole })
}

fn merge(name: &str, last: Option<&Value>, new: &Value, live: Option<&Value>, how: How) -> Value {
    match (new, live) {
        (Value::Object(new), live) => {
            let empty = Map::new();
            let live = live.and_then(Value::as_object).unwrap_or(&empty);
            let mut merged = fields(last.and_then(Value::as_object), new, live, how);
            if how == How::OneMember {
                keep_one_member(name, new, live, &mut merged);
            }
            Value::Object(merged)
        }
        (Value::Array(new), Some(Value::Array(live))) if how != How::Whole => {
            let last = last.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let merged = keys_of(name, new).and_then(|keys| elements(name, keys, last, (new, live), how));
            Value::Array(merged.unwrap_or_else(|| new.clone()))
        }
        (new, _) => new.clone(),
    }
}

/// Removes from a merged union the members that the new one does not set, if it sets another.
fn keep_one_member(
    name: &str,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
    merged: &mut Map<String, Value>,
) {
    let is_set = |field: &str| new.get(field).is_some_and(|value| !value.is_null());
    if TYPED.contains(&name) && is_set("type") && new.get("type") != live.get("type") {
        merged.retain(|field, _| is_set(field));
    }
    // A volume has its name and one source.
    if name == "volumes" && new.keys().any(|field| field != "name" && is_set(field)) {
        merged.retain(|field, _| is_set(field) || field == "name");
    }
    for (_, members) in MEMBERS.iter().filter(|(place, _)| *place == name) {
        if members.iter().any(|member| is_set(member)) {
            merged.retain(|field, _| !members.contains(&field.as_str()) || is_set(field));
        }
    }
}

fn fields(
    last: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
    how: How,
) -> Map<String, Value> {
    let mut merged = live.clone();
    let is_dropped =
        |name: &String| last.is_some_and(|last| last.contains_key(name)) && !new.contains_key(name);
    merged.retain(|name, _| !is_dropped(name));
    for (name, value) in new {
        if value.is_null() {
            merged.remove(name);
            continue;
        }
        let last = last.and_then(|last| last.get(name));
        merged.insert(name.clone(), merge(name, last, value, live.get(name), how));
    }
    merged
}

/// The elements of a list in the order of the new one. Elements that only the live list has keep their place.
/// None if an element has no key.
fn elements(
    list: &str,
    keys: &[&str],
    last: &[Value],
    (new, live): (&[Value], &[Value]),
    how: How,
) -> Option<Vec<Value>> {
    let named =
        |items: &[Value]| -> Option<Vec<String>> { items.iter().map(|item| element(keys, item)).collect() };
    let (last_names, new_names, live_names) = (named(last)?, named(new)?, named(live)?);
    let is_elsewhere = |at: &usize| {
        let name = &live_names[*at];
        !new_names.contains(name) && !last_names.contains(name)
    };
    let mut others = (0..live.len()).filter(is_elsewhere).peekable();
    let place = |names: &[String], name: &String| names.iter().position(|known| known == name);
    let mut merged = Vec::new();
    for (item, name) in new.iter().zip(&new_names) {
        let at = place(&live_names, name);
        // An element that only the live list has comes before its live successors and before new elements.
        while let Some(other) = others.next_if(|other| at.is_none_or(|at| *other < at)) {
            merged.push(live[other].clone());
        }
        let before = place(&last_names, name).map(|at| &last[at]);
        merged.push(merge(list, before, item, at.map(|at| &live[at]), how));
    }
    merged.extend(others.map(|other| live[other].clone()));
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn the_fields_of_the_manifest_are_set_and_the_others_stay() {
        let live =
            json!({"metadata": {"labels": {"set": "elsewhere"}}, "spec": {"replicas": 3, "paused": true}});
        let wanted = applied(None, &json!({"spec": {"replicas": 5}}), &live, true);
        assert_eq!(
            wanted,
            json!({"metadata": {"labels": {"set": "elsewhere"}}, "spec": {"replicas": 5, "paused": true}})
        );
    }

    #[test]
    fn a_field_that_was_applied_before_and_left_the_manifest_is_removed() {
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        let last = labels(json!({"tier": "web", "team": "shop"}));
        let live = labels(json!({"tier": "web", "team": "shop", "set": "elsewhere"}));
        let wanted = applied(Some(&last), &labels(json!({"team": "shop"})), &live, true);
        assert_eq!(wanted, labels(json!({"team": "shop", "set": "elsewhere"})));
        assert_eq!(
            applied(
                None,
                &json!({"metadata": {"labels": {"tier": null}}}),
                &labels(json!({"tier": "web"})),
                true
            ),
            labels(json!({}))
        );
    }

    #[test]
    fn elements_are_merged_by_their_key_and_keep_their_place() {
        let live = pod(
            json!([{"name": "injected", "image": "i"}, {"name": "app", "image": "v1", "tty": false}, {"name": "old", "image": "o"}]),
        );
        let last = pod(json!([{"name": "app", "image": "v1"}, {"name": "old", "image": "o"}]));
        let wanted = applied(Some(&last), &pod(json!([{"name": "app", "image": "v2"}])), &live, true);
        assert_eq!(
            wanted,
            pod(json!([{"name": "injected", "image": "i"}, {"name": "app", "image": "v2", "tty": false}]))
        );
        let custom = applied(None, &pod(json!([{"name": "app"}])), &live, false);
        assert_eq!(custom, pod(json!([{"name": "app"}])), "a list of a custom resource is one value");
    }

    #[test]
    fn another_member_of_a_union_replaces_the_one_before() {
        let live = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "volumes": [{"name": "work", "emptyDir": {}}]});
        let other = json!({"strategy": {"type": "Recreate"}, "volumes": [{"name": "work", "secret": {"secretName": "s"}}]});
        assert_eq!(applied(None, &other, &live, true), other);
        assert_eq!(applied(None, &json!({"strategy": {"type": "RollingUpdate"}}), &live, true), live);
    }

    #[test]
    fn each_union_of_the_built_in_kinds_keeps_one_member() {
        let env = |rest: Value| {
            let mut variable = json!({"name": "A"});
            json_patch::merge(&mut variable, &rest);
            json!({"env": [variable]})
        };
        let reference = json!({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let field = json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
        let probe = |handler: Value| json!({"livenessProbe": handler});
        for (live, new, merged) in [
            (env(reference.clone()), env(json!({"value": "1"})), env(json!({"value": "1"}))),
            (env(json!({"value": "1"})), env(reference.clone()), env(reference.clone())),
            (env(reference), env(field.clone()), env(field)),
            (
                probe(json!({"httpGet": {"port": 80}, "periodSeconds": 5})),
                probe(json!({"tcpSocket": {"port": 80}})),
                probe(json!({"tcpSocket": {"port": 80}, "periodSeconds": 5})),
            ),
            (
                json!({"preStop": {"exec": {"command": ["sleep"]}}}),
                json!({"preStop": {"sleep": {"seconds": 5}}}),
                json!({"preStop": {"sleep": {"seconds": 5}}}),
            ),
            (
                json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
                json!({"updateStrategy": {"type": "OnDelete"}}),
                json!({"updateStrategy": {"type": "OnDelete"}}),
            ),
            (
                json!({"spec": {"minAvailable": 1, "selector": {}}}),
                json!({"spec": {"maxUnavailable": "50%"}}),
                json!({"spec": {"maxUnavailable": "50%", "selector": {}}}),
            ),
            (
                json!({"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}),
                json!({"defaultBackend": {"service": {"name": "a", "port": {"name": "web"}}}}),
                json!({"defaultBackend": {"service": {"name": "a", "port": {"name": "web"}}}}),
            ),
            (
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}),
                json!({"seccompProfile": {"type": "RuntimeDefault"}}),
                json!({"seccompProfile": {"type": "RuntimeDefault"}}),
            ),
        ] {
            assert_eq!(applied(None, &new, &live, true), merged, "{new}");
        }
    }

    #[test]
    fn a_null_removes_a_value_within_an_element() {
        let container = |rest: Value| {
            let mut container = json!({"name": "app", "image": "v1"});
            json_patch::merge(&mut container, &rest);
            json!({"containers": [container]})
        };
        let patch = json!({"containers": [{"name": "app", "livenessProbe": null}]});
        assert_eq!(
            applied(None, &patch, &container(json!({"livenessProbe": {"exec": {}}})), true),
            container(json!({}))
        );
    }

    #[test]
    fn a_port_for_two_protocols_is_two_ports() {
        let ports = json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "nodePort": 1}, {"port": 53, "protocol": "UDP", "nodePort": 2}]}});
        let unchanged = json!({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(applied(Some(&unchanged), &unchanged, &ports, true), ports);
    }
}
