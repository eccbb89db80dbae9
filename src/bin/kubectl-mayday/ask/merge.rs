//! The object as it would be once a manifest is applied: what the manifest says, without what the one before it said and
//! this one does not, and everything else as it is. Pure.

use serde_json::{Map, Value};

/// The object after applying. `by_key` says whether lists are merged element by element, as the kinds that the API server
/// itself serves have it; elsewhere a list is one value.
pub fn applied(last: Option<&Value>, manifest: &Value, live: &Value, by_key: bool) -> Value {
    merge("", last, manifest, Some(live), by_key)
}

/// By which field the elements of a list are told apart when it is patched.
fn key_of(list: &str, items: &[Value]) -> Option<&'static str> {
    let has = |key: &str| items.iter().all(|item| item.get(key).is_some());
    let key = match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "secrets" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "ports" if has("containerPort") => "containerPort",
        "ports" => "port",
        _ => return None,
    };
    has(key).then_some(key)
}

fn merge(name: &str, last: Option<&Value>, new: &Value, live: Option<&Value>, by_key: bool) -> Value {
    match (new, live) {
        (Value::Object(new), live) => {
            let empty = Map::new();
            let live = live.and_then(Value::as_object).unwrap_or(&empty);
            Value::Object(fields(last.and_then(Value::as_object), new, live, by_key))
        }
        (Value::Array(new), Some(Value::Array(live))) if by_key => {
            let last = last.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            match key_of(name, new).filter(|key| live.iter().all(|item| item.get(key).is_some())) {
                Some(key) => Value::Array(elements(key, last, new, live)),
                None => Value::Array(new.clone()),
            }
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

/// The elements of a list in the order of the new one; what only the live one has stays where it stands.
fn elements(key: &str, last: &[Value], new: &[Value], live: &[Value]) -> Vec<Value> {
    // One key may be there twice, a port for TCP and for UDP: then the protocol tells them apart.
    let same = |one: &Value, other: &Value| {
        let protocol = |item: &Value| item.get("protocol").cloned().unwrap_or_else(|| "TCP".into());
        one[key] == other[key] && (!key.to_lowercase().ends_with("port") || protocol(one) == protocol(other))
    };
    let find = |items: &'_ [Value], item: &Value| items.iter().position(|other| same(item, other));
    let stays = |item: &&Value| find(new, item).is_none() && find(last, item).is_none();
    let mut others = live.iter().filter(stays).peekable();
    let mut merged = Vec::new();
    for item in new {
        let place = find(live, item);
        // What only the live list has comes before what stands behind it there, or is new.
        let comes_first =
            |other: &&Value| place.is_none_or(|place| find(live, other).is_some_and(|at| at < place));
        while let Some(other) = others.next_if(comes_first) {
            merged.push(other.clone());
        }
        let before = find(last, item).and_then(|at| last.get(at));
        merged.push(merge("", before, item, place.and_then(|at| live.get(at)), true));
    }
    merged.extend(others.cloned());
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn what_the_manifest_says_is_set_and_everything_else_stays() {
        let live =
            json!({"metadata": {"labels": {"set": "elsewhere"}}, "spec": {"replicas": 3, "paused": true}});
        let wanted = applied(None, &json!({"spec": {"replicas": 5}}), &live, true);
        assert_eq!(
            wanted,
            json!({"metadata": {"labels": {"set": "elsewhere"}}, "spec": {"replicas": 5, "paused": true}})
        );
    }

    #[test]
    fn what_was_applied_before_and_is_not_in_the_manifest_any_more_goes() {
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
    fn a_port_for_two_protocols_is_two_ports() {
        let ports = json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "nodePort": 1}, {"port": 53, "protocol": "UDP", "nodePort": 2}]}});
        let unchanged = json!({"spec": {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(applied(Some(&unchanged), &unchanged, &ports, true), ports);
    }
}
