//! The values that a client has set, by `managedFields`, in which the API server lists who set which fields. Pure.

use serde_json::{Map, Value, json};

/// The fields of an object that server-side apply has set and nobody else, with their values: applying a manifest without
/// them removes them. None if the object was not applied that way, or by several appliers of which none is kubectl.
pub fn last_applied(live: &Value) -> Option<Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let is_applied = |entry: &&Value| entry["operation"] == "Apply" && entry["subresource"].is_null();
    let appliers: Vec<&Value> = entries.iter().filter(is_applied).collect();
    let applier = match appliers.as_slice() {
        [one] => *one,
        several => several.iter().find(|entry| entry["manager"] == "kubectl")?,
    };
    let others: Vec<&Value> = entries
        .iter()
        .filter(|entry| !std::ptr::eq(*entry, applier))
        .filter_map(|entry| entry.get("fieldsV1"))
        .collect();
    values(applier.get("fieldsV1")?, &others, live)
}

/// A new object as its creator wrote it, without what the API server assigned. None if that is not known.
pub fn manifest(created: &Value) -> Option<Value> {
    let [entry] = created.pointer("/metadata/managedFields")?.as_array()?.as_slice() else { return None };
    let mut manifest = values(entry.get("fieldsV1")?, &[], created).unwrap_or_else(|| json!({}));
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    for field in ["apiVersion", "kind"] {
        manifest[field] = created.get(field)?.clone();
    }
    for field in ["name", "namespace"] {
        if let Some(value) = created["metadata"].get(field) {
            manifest["metadata"][field] = value.clone();
        }
    }
    Some(manifest)
}

/// The values of an object that `owned` names and no other does.
fn values(owned: &Value, others: &[&Value], live: &Value) -> Option<Value> {
    let named: Vec<(&String, &Value)> = owned.as_object()?.iter().filter(|(name, _)| *name != ".").collect();
    if named.is_empty() {
        return others.is_empty().then(|| live.clone());
    }
    let of_others =
        |name: &str| -> Vec<&Value> { others.iter().filter_map(|other| other.get(name)).collect() };
    match live {
        Value::Object(fields) => {
            let mut found = Map::new();
            for (name, owned) in named {
                let Some(field) = name.strip_prefix("f:") else { continue };
                let value = fields.get(field).and_then(|value| values(owned, &of_others(name), value));
                found.extend(value.map(|value| (field.to_owned(), value)));
            }
            (!found.is_empty()).then_some(Value::Object(found))
        }
        Value::Array(items) => {
            let element = |item: &Value| {
                let (name, owned, key) = named.iter().find_map(|(name, owned)| {
                    let key = key_of(name, item)?;
                    Some((name, owned, key))
                })?;
                let mut value = values(owned, &of_others(name), item)?;
                for (field, part) in key {
                    value[field] = part;
                }
                Some(value)
            };
            let found: Vec<Value> = items.iter().filter_map(element).collect();
            (!found.is_empty()).then_some(Value::Array(found))
        }
        _ => None,
    }
}

/// The fields by which a name of `managedFields` means this element of a list; none if it means another one.
fn key_of(name: &str, item: &Value) -> Option<Map<String, Value>> {
    if let Some(value) = name.strip_prefix("v:") {
        let is_it = serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item);
        return is_it.then(Map::new);
    }
    let Ok(Value::Object(key)) = serde_json::from_str(name.strip_prefix("k:")?) else { return None };
    key.iter().all(|(field, value)| item.get(field) == Some(value)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(managed: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "uid": "u", "labels": {"tier": "web", "team": "shop"}, "managedFields": managed},
            "spec": {"containers": [{"name": "z", "image": "v1", "args": ["-v"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "a", "image": "v1"}]}})
    }

    fn set_by(manager: &str, operation: &str) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsV1": {
            "f:metadata": {"f:labels": {"f:tier": {}}},
            "f:spec": {"f:containers": {
                "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}},
                "k:{\"name\":\"z\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}})
    }

    #[test]
    fn the_fields_of_the_applier_are_what_was_applied() {
        let last = last_applied(&object(json!([set_by("anything", "Apply")])));
        let containers = json!([{"name": "z", "image": "v1", "args": ["-v"], "env": [{"name": "A", "value": "1"}]},
            {"name": "a", "image": "v1"}]);
        let expected = json!({"metadata": {"labels": {"tier": "web"}}, "spec": {"containers": containers}});
        assert_eq!(last, Some(expected));
    }

    #[test]
    fn a_field_that_somebody_else_has_set_as_well_is_kept() {
        let other = json!({"manager": "kubectl-label", "operation": "Update",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:tier": {}}}}});
        let last = last_applied(&object(json!([set_by("kubectl", "Apply"), other]))).unwrap();
        assert_eq!(last["metadata"], Value::Null, "{last}");
    }

    #[test]
    fn of_several_appliers_kubectl_is_the_one() {
        let applied = |manager: &str, other: &str| {
            let team = json!({"manager": other, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}}}}});
            last_applied(&object(json!([set_by(manager, "Apply"), team])))
        };
        assert_eq!(applied("kubectl", "flux").unwrap()["metadata"]["labels"], json!({"tier": "web"}));
        assert_eq!(applied("argo", "flux"), None);
        assert_eq!(last_applied(&object(json!([]))), None);
        assert_eq!(last_applied(&object(json!([set_by("kubectl", "Update")]))), None);
    }

    #[test]
    fn a_new_object_is_its_manifest_in_the_order_in_which_it_was_written() {
        let made = manifest(&object(json!([set_by("kubectl-create", "Update")]))).unwrap();
        assert_eq!(made["metadata"], json!({"name": "web", "labels": {"tier": "web"}}));
        assert_eq!(
            (&made["kind"], &made["spec"]["containers"][0]["name"]),
            (&json!("Deployment"), &json!("z"))
        );
        assert_eq!(manifest(&object(json!([]))), None);
    }
}
