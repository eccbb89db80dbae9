//! Compares an admission object as it is stored with what it should be: every field that decides. Defaults that the API
//! server has filled in are no difference. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Maximum number of differences that are named.
const NAMED: usize = 6;
/// Maximum length of a value in a text, in bytes.
const VALUE: usize = 60;

/// The fields by which two objects differ, in words: `failurePolicy of change-gate.mayday.dev is Ignore instead of Fail`.
/// Empty if they mean the same.
pub fn differences(stored: &Value, wanted: &Value) -> Vec<String> {
    let (mut stored, mut wanted) = (canonical(stored), canonical(wanted));
    let mut found = Vec::new();
    // A whole entry is named once, not field by field.
    let (added, missing) = (only_in(&stored, &wanted), only_in(&wanted, &stored));
    found.extend(missing.iter().map(|name| format!("{name} was removed")));
    found.extend(added.iter().map(|name| format!("{name} was added")));
    remove(&mut wanted, &missing);
    remove(&mut stored, &added);
    let (stored, wanted) = (leaves(&stored), leaves(&wanted));
    for (path, value) in &wanted {
        match stored.get(path) {
            Some(held) if held == value => {}
            Some(held) if is_long(held) || is_long(value) => found.push(format!("{path} is another")),
            Some(held) => found.push(format!("{path} is {} instead of {}", short(held), short(value))),
            None => found.push(format!("{path} is missing ({})", short(value))),
        }
    }
    let added = stored.iter().filter(|(path, _)| !wanted.contains_key(*path));
    found.extend(added.map(|(path, value)| format!("{path} was added ({})", short(value))));
    found
}

/// The webhooks of one object that another does not have.
fn only_in(one: &Value, other: &Value) -> Vec<String> {
    let webhooks = one["webhooks"].as_object().into_iter().flatten();
    webhooks.map(|(name, _)| name.clone()).filter(|name| other["webhooks"].get(name).is_none()).collect()
}

fn remove(object: &mut Value, webhooks: &[String]) {
    if let Some(held) = object["webhooks"].as_object_mut() {
        held.retain(|name, _| !webhooks.contains(name));
    }
}

/// Whether a value is too long for a text, and would look the same when it is cut.
fn is_long(value: &Value) -> bool {
    !value.is_string() && value.to_string().len() > VALUE
}

/// Whether two objects mean the same.
pub fn is_same(stored: &Value, wanted: &Value) -> bool {
    canonical(stored) == canonical(wanted)
}

/// Differences as one text.
pub fn text(differences: &[String]) -> String {
    let named = differences.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match differences.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// The part that decides, with defaults, without what is empty, and with lists by the names of their entries.
fn canonical(object: &Value) -> Value {
    let mut webhooks = object.get("webhooks").cloned().unwrap_or_default();
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        default(webhook, &[("failurePolicy", json!("Fail")), ("matchPolicy", json!("Equivalent"))]);
        default(webhook, &[("timeoutSeconds", json!(10)), ("reinvocationPolicy", json!("Never"))]);
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            default(service, &[("port", json!(443))]);
        }
        default_scopes(webhook.get_mut("rules"));
    }
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    if spec.get("policyName").is_none() && spec.is_object() {
        default(&mut spec, &[("failurePolicy", json!("Fail"))]);
    }
    for place in ["/matchConstraints", "/matchResources"] {
        let Some(matched) = spec.pointer_mut(place) else { continue };
        default(matched, &[("matchPolicy", json!("Equivalent"))]);
        default_scopes(matched.get_mut("resourceRules"));
        default_scopes(matched.get_mut("excludeResourceRules"));
    }
    full(json!({"webhooks": webhooks, "spec": spec})).unwrap_or_default()
}

fn default_scopes(rules: Option<&mut Value>) {
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        default(rule, &[("scope", json!("*"))]);
    }
}

fn default(object: &mut Value, defaults: &[(&str, Value)]) {
    let Some(object) = object.as_object_mut() else { return };
    for (field, value) in defaults {
        let held = object.entry(*field).or_insert(Value::Null);
        if held.is_null() {
            *held = value.clone();
        }
    }
}

/// The value without what is empty; none if nothing is left. A list whose entries have names becomes a map.
fn full(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, value)| Some((name, full(value)?)));
            Some(kept.collect::<Map<_, _>>()).filter(|kept| !kept.is_empty()).map(Value::Object)
        }
        Value::Array(entries) => {
            let entries: Vec<Value> = entries.into_iter().filter_map(full).collect();
            if entries.is_empty() {
                return None;
            }
            let names: BTreeMap<String, Value> = entries
                .iter()
                .filter_map(|entry| Some((entry.get("name")?.as_str()?.to_owned(), entry.clone())))
                .collect();
            if names.len() == entries.len() {
                return Some(names.into_iter().collect::<Map<_, _>>().into());
            }
            Some(Value::Array(entries))
        }
        other => Some(other),
    }
}

/// The values of an object by their paths, as people read them.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(value, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut Vec<String>, found: &mut BTreeMap<String, Value>) {
    let Value::Object(fields) = value else {
        found.insert(path.join("."), value.clone());
        return;
    };
    for (name, value) in fields {
        // The path holds it already.
        if name == "name" && fields.len() > 1 && value.as_str() == path.last().map(String::as_str) {
            continue;
        }
        // The names of a webhook or an expression say enough.
        if !matches!(name.as_str(), "webhooks" | "spec") {
            path.push(name.clone());
            collect(value, path, found);
            path.pop();
        } else {
            collect(value, path, found);
        }
    }
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    crate::text::flat(&text, VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Value {
        json!({"metadata": {"name": "mayday-change-gate"}, "webhooks": [{
            "name": "change-gate.mayday.dev", "clientConfig": {"service": {"name": "mayday", "namespace": "m", "path": "/gate"}, "caBundle": "UEVN"},
            "failurePolicy": "Fail", "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"], "timeoutSeconds": 3,
            "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["*/*"]}],
            "namespaceSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["shop"]}]},
            "matchConditions": [{"name": "a", "expression": "true"}, {"name": "b", "expression": "1 == 1"}]}]})
    }

    /// What the API server makes of it.
    fn stored() -> Value {
        let mut stored = gate();
        stored["metadata"]["generation"] = json!(7);
        let webhook = &mut stored["webhooks"][0];
        webhook["matchPolicy"] = json!("Equivalent");
        webhook["objectSelector"] = json!({});
        webhook["clientConfig"]["service"]["port"] = json!(443);
        webhook["rules"][0]["scope"] = json!("*");
        webhook["matchConditions"].as_array_mut().unwrap().reverse();
        stored
    }

    #[test]
    fn defaults_and_the_order_of_named_entries_are_no_difference() {
        assert_eq!(differences(&stored(), &gate()), Vec::<String>::new());
        assert!(is_same(&stored(), &gate()));
        let binding = json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}});
        assert!(is_same(&binding, &binding));
    }

    /// The kind: a field of a webhook that decides which requests are asked about, or what becomes of the answer.
    #[test]
    fn every_field_that_decides_is_compared_and_named() {
        for (pointer, value, named) in [
            (
                "/failurePolicy",
                json!("Ignore"),
                "change-gate.mayday.dev.failurePolicy is Ignore instead of Fail",
            ),
            (
                "/objectSelector",
                json!({"matchLabels": {"a": "b"}}),
                "objectSelector.matchLabels.a was added (b)",
            ),
            ("/namespaceSelector", json!({}), "namespaceSelector.matchExpressions is missing"),
            ("/matchPolicy", json!("Exact"), "matchPolicy is Exact instead of Equivalent"),
            ("/timeoutSeconds", json!(1), "timeoutSeconds is 1 instead of 3"),
            ("/sideEffects", json!("None"), "sideEffects is None instead of NoneOnDryRun"),
            ("/reinvocationPolicy", json!("IfNeeded"), "reinvocationPolicy is IfNeeded instead of Never"),
            ("/admissionReviewVersions", json!(["v1beta1"]), "admissionReviewVersions is"),
            ("/clientConfig/caBundle", json!("eA=="), "clientConfig.caBundle is eA== instead of UEVN"),
            ("/clientConfig/service/path", json!("/x"), "clientConfig.service.path is /x instead of /gate"),
            ("/clientConfig/url", json!("https://x"), "clientConfig.url was added (https://x)"),
            ("/rules/0/operations", json!(["CREATE"]), "rules is another"),
            ("/rules/0/scope", json!("Cluster"), "rules is another"),
            ("/rules", json!([]), "rules is missing"),
            (
                "/matchConditions/0/expression",
                json!("false"),
                "matchConditions.b.expression is false instead of 1 == 1",
            ),
            (
                "/matchConditions/2",
                json!({"name": "c", "expression": "false"}),
                "matchConditions.c.expression was added (false)",
            ),
        ] {
            let mut changed = stored();
            let webhook = &mut changed["webhooks"][0];
            match pointer.rsplit_once('/') {
                Some((list, "2")) => webhook.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value),
                Some((parent, field)) => match webhook.pointer_mut(parent).unwrap() {
                    Value::Array(entries) => entries[field.parse::<usize>().unwrap()] = value,
                    parent => parent[field] = value,
                },
                None => unreachable!(),
            }
            let found = differences(&changed, &gate());
            assert_eq!(found.len(), 1, "{pointer}: {found:?}");
            assert!(found[0].contains(named), "{pointer}: {found:?}");
            assert!(!is_same(&changed, &gate()), "{pointer}");
        }
        let mut another = stored();
        another["webhooks"].as_array_mut().unwrap().push(json!({"name": "x.example"}));
        assert!(differences(&another, &gate()).iter().any(|found| found.contains("x.example")));
        assert!(!differences(&json!({}), &gate()).is_empty(), "an entry that was taken away");
    }

    /// The kind: a field of an admission policy or its binding.
    #[test]
    fn policies_and_bindings_are_compared_whole() {
        let policy = json!({"spec": {"failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["mayday.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}]},
            "matchConditions": [{"name": "m", "expression": "true"}], "variables": [{"name": "v", "expression": "1"}],
            "validations": [{"expression": "false", "reason": "Forbidden", "message": "no"}]}});
        let mut stored = policy.clone();
        stored["spec"]["matchConstraints"]["matchPolicy"] = json!("Equivalent");
        stored["spec"]["matchConstraints"]["namespaceSelector"] = json!({});
        stored["spec"]["matchConstraints"]["resourceRules"][0]["scope"] = json!("*");
        stored["status"] = json!({"observedGeneration": 1});
        assert!(is_same(&stored, &policy));
        for (pointer, value) in [
            ("/spec/failurePolicy", json!("Ignore")),
            ("/spec/matchConstraints/excludeResourceRules", json!([{"apiGroups": ["*"]}])),
            ("/spec/matchConstraints/namespaceSelector", json!({"matchLabels": {"a": "b"}})),
            ("/spec/matchConditions", json!([{"name": "m", "expression": "false"}])),
            ("/spec/variables", json!([{"name": "v", "expression": "2"}])),
            ("/spec/validations", json!([{"expression": "true", "reason": "Forbidden", "message": "no"}])),
            ("/spec/paramKind", json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        ] {
            let mut changed = stored.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[field] = value;
            assert!(!is_same(&changed, &policy), "{pointer}");
        }
        let binding = json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}});
        for spec in [
            json!({"policyName": "p", "validationActions": ["Warn"]}),
            json!({"policyName": "q", "validationActions": ["Deny"]}),
            json!({"policyName": "p", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}),
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}}),
        ] {
            assert!(!is_same(&json!({"spec": spec}), &binding), "{spec}");
        }
    }

    #[test]
    fn many_differences_are_counted() {
        let many: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(text(&many), "0; 1; 2; 3; 4; 5; and 3 more");
    }
}
