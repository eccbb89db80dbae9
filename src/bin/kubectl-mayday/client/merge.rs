//! The object after a manifest is applied: it gets the fields of the manifest, loses the fields that only the
//! manifest before had, and keeps all others. Pure.

use mayday::change::diff;
use serde_json::{Map, Value};

/// Unions of the built-in kinds, which a change replaces: the strategy of a Deployment, and each volume.
const UNIONS: [&str; 2] = ["strategy", "volumes"];

/// The object after applying. `by_key` says whether lists are merged element by element, as the kinds that the API
/// server itself serves have it; elsewhere a list is one value.
pub fn applied(last: Option<&Value>, manifest: &Value, live: &Value, by_key: bool) -> Value {
    merge("", last, manifest, Some(live), by_key)
}

fn merge(name: &str, last: Option<&Value>, new: &Value, live: Option<&Value>, by_key: bool) -> Value {
    match (new, live) {
        (Value::Object(new), live) => {
            let empty = Map::new();
            let live = live.and_then(Value::as_object).unwrap_or(&empty);
            let mut merged = fields(last.and_then(Value::as_object), new, live, by_key);
            if by_key && UNIONS.contains(&name) && merged != *live {
                merged.retain(|field, _| new.contains_key(field));
            }
            Value::Object(merged)
        }
        (Value::Array(new), Some(Value::Array(live))) if by_key => {
            let last = last.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let merged = diff::keys_of(name, new).and_then(|keys| elements(name, keys, last, new, live));
            Value::Array(merged.unwrap_or_else(|| new.clone()))
        }
        (new, _) => new.clone(),
    }
}

fn fields(
    last: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
    by_key: bool,
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
        merged.insert(name.clone(), merge(name, last, value, live.get(name), by_key));
    }
    merged
}

/// The elements of a list in the order of the new one. Elements that only the live list has keep their place.
/// None if an element has no key.
fn elements(list: &str, keys: &[&str], last: &[Value], new: &[Value], live: &[Value]) -> Option<Vec<Value>> {
    let named = |items: &[Value]| -> Option<Vec<String>> {
        items.iter().map(|item| diff::element(keys, item)).collect()
    };
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
        merged.push(merge(list, before, item, at.map(|at| &live[at]), true));
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
    fn a_port_for_two_protocols_is_two_ports() {
        let ports = json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "nodePort": 1}, {"port": 53, "protocol": "UDP", "nodePort": 2}]}});
        let unchanged = json!({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(applied(Some(&unchanged), &unchanged, &ports, true), ports);
    }
}
