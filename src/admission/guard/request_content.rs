//! What a ChangeRequest must be to be stored: whatever can be seen without looking at its targets. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::ChangePolicy;
use crate::api::change_request::{Change, ChangeRequestSpec, PatchType};
use crate::change::grant::window_length;

use super::ruling::Ruling;

/// Whether the request may be stored so, in that namespace, under those policies, if it is asked now.
pub fn write(
    spec: &ChangeRequestSpec,
    namespace: &str,
    policies: &[&ChangePolicy],
    now: Timestamp,
) -> Ruling {
    let mut problems = Vec::new();
    if spec.changes.is_empty() {
        problems.push("spec.changes: a request names at least one change".to_owned());
    }
    for (index, change) in spec.changes.iter().enumerate() {
        of_change(&format!("spec.changes[{index}]"), change, namespace, &mut problems);
    }
    limits(spec, policies, now, &mut problems);
    Ruling::require(problems.is_empty(), || {
        format!(
            "Refused: {}. Mend that and ask again: kubectl mayday ask -n {namespace} --help; what each field takes: \
             kubectl explain chg.spec",
            problems.join("; ")
        )
    })
}

fn of_change(path: &str, change: &Change, namespace: &str, problems: &mut Vec<String>) {
    if let Some(target) = &change.target {
        if target.name.contains('*') {
            problems.push(format!(
                "{path}.target.name: {} is no name; name each object, without wildcards",
                target.name
            ));
        }
        let secret = target.group().is_empty() && target.kind == "Secret";
        let patch = change.update.as_ref().and_then(|update| update.patch.as_ref());
        if secret && patch.is_some_and(holds_content) {
            problems.push(format!(
                "{path}.update.patch: the content of a Secret never stands in a request; give its keyed digests in \
                 contentDigests"
            ));
        }
    }
    if let Some(patch) = change.update.as_ref().and_then(|update| update.patch.as_ref()) {
        let root = format!("{path}.update.patch");
        if let Some(place) = null_in(patch, &root) {
            problems.push(format!("{place}: is null; what is to go is listed in remove, as a JSON pointer"));
        }
        let list = change.update.as_ref().is_some_and(|update| update.patch_type == PatchType::Json);
        if list != patch.is_array() {
            let wanted = if list { "a list of operations" } else { "an object" };
            problems.push(format!("{root}: a patch of this patchType is {wanted}"));
        }
    }
    if let Some(create) = &change.create {
        of_manifest(&format!("{path}.create.manifest"), &create.manifest, namespace, problems);
    }
}

fn of_manifest(path: &str, manifest: &Value, namespace: &str, problems: &mut Vec<String>) {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    for (pointer, field) in
        [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")]
    {
        if text(pointer).is_none_or(str::is_empty) {
            problems.push(format!("{path}.{field}: is needed, so that exactly one object is meant"));
        }
    }
    if let Some(other) = text("/metadata/namespace").filter(|other| *other != namespace) {
        problems.push(format!(
            "{path}.metadata.namespace: is {other}, but a request changes its own namespace, {namespace}, alone; ask \
             in {other}"
        ));
    }
    if text("/apiVersion") == Some("v1") && text("/kind") == Some("Secret") && holds_content(manifest) {
        problems.push(format!("{path}: the content of a Secret never stands in a request"));
    }
}

fn limits(spec: &ChangeRequestSpec, policies: &[&ChangePolicy], now: Timestamp, problems: &mut Vec<String>) {
    let length = spec.window.as_ref().and_then(|window| window_length(window, now));
    if length.is_some_and(|length| !length.is_positive()) {
        problems.push("spec.window: it has no length, or is over already".to_owned());
    }
    for policy in policies {
        let (limits, name) = (&policy.spec.limits, policy.metadata.name.as_deref().unwrap_or_default());
        if length.is_some_and(|length| length > limits.max_window.get()) {
            problems
                .push(format!("spec.window: longer than the {} that cpol/{name} allows", limits.max_window));
        }
        if spec.max_uses > limits.max_uses {
            problems.push(format!("spec.maxUses: more than the {} that cpol/{name} allows", limits.max_uses));
        }
    }
}

/// Whether a Secret, or a patch of one, carries content.
fn holds_content(secret: &Value) -> bool {
    match secret {
        Value::Array(operations) => operations.iter().any(|operation| {
            let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
            path.is_empty() || path.starts_with("/data") || path.starts_with("/stringData")
        }),
        other => other.get("data").is_some() || other.get("stringData").is_some(),
    }
}

/// Where the first null is.
fn null_in(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| null_in(value, &format!("{path}.{name}")))
        }
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| null_in(item, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn ruling(spec: Value) -> Ruling {
        let policy = ChangePolicy::new(
            "production",
            from_value(json!({
                "scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "limits": {"maxUses": 10, "maxWindow": "8h"}
            }))
            .unwrap(),
        );
        let mut whole =
            json!({"reason": "r", "changes": [update(json!({"patch": {"spec": {"replicas": 3}}}))]});
        json_patch::merge(&mut whole, &spec);
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        write(&from_value(whole).unwrap(), "shop", &[&policy], now)
    }

    fn update(update: Value) -> Value {
        json!({"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "update": update})
    }

    fn refused(spec: Value, start: &str) {
        let Ruling::Refuse(message) = ruling(spec.clone()) else { panic!("{spec}") };
        assert!(message.starts_with(&format!("Refused: {start}")), "{message}");
    }

    fn create(manifest: Value) -> Value {
        json!({"changes": [{"create": {"manifest": manifest}}]})
    }

    #[test]
    fn a_request_that_says_what_it_wants_is_stored() {
        assert_eq!(ruling(json!({})), Ruling::Allow);
        assert_eq!(ruling(json!({"window": {"duration": "8h"}, "maxUses": 10})), Ruling::Allow);
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits", "namespace": "shop"}});
        assert_eq!(ruling(create(manifest)), Ruling::Allow);
    }

    #[test]
    fn a_request_has_changes() {
        refused(json!({"changes": []}), "spec.changes: ");
    }

    #[test]
    fn a_target_is_one_object_of_the_requests_own_namespace() {
        let wild = json!({"target": {"apiVersion": "v1", "kind": "Pod", "name": "*"}, "delete": {}});
        refused(json!({"changes": [wild]}), "spec.changes[0].target.name: * is no name");
        let manifest = |meta: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
        refused(
            create(manifest(json!({"name": "x", "namespace": "till"}))),
            "spec.changes[0].create.manifest.metadata.namespace: is till",
        );
        refused(
            create(manifest(json!({"generateName": "x-"}))),
            "spec.changes[0].create.manifest.metadata.name: ",
        );
    }

    #[test]
    fn a_window_and_uses_stay_within_what_the_policy_allows() {
        refused(
            json!({"window": {"duration": "481m"}}),
            "spec.window: longer than the 8h that cpol/production allows",
        );
        refused(
            json!({"window": {"notBefore": "2026-11-22T00:00:00Z", "notAfter": "2027-11-22T00:00:00Z"}}),
            "spec.window: longer",
        );
        refused(json!({"window": {"notAfter": "2026-11-22T08:00:01Z"}}), "spec.window: longer");
        refused(
            json!({"window": {"notAfter": "2026-11-21T23:59:59Z"}}),
            "spec.window: it has no length, or is over",
        );
        assert_eq!(ruling(json!({"window": {"notAfter": "2026-11-22T08:00:00Z"}})), Ruling::Allow);
        refused(
            json!({"window": {"notBefore": "2026-11-22T00:00:00Z", "notAfter": "2026-11-21T00:00:00Z"}}),
            "spec.window: it has no length",
        );
        refused(json!({"maxUses": 11}), "spec.maxUses: more than the 10");
    }

    #[test]
    fn a_patch_holds_no_null_and_the_place_is_named() {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": null}]}}}});
        refused(
            json!({"changes": [update(json!({"patch": patch}))]}),
            "spec.changes[0].update.patch.spec.template.spec.containers[0].image: is null; what is to go is listed in remove",
        );
    }

    #[test]
    fn a_patch_has_the_shape_of_its_type() {
        refused(json!({"changes": [update(json!({"patch": []}))]}), "spec.changes[0].update.patch: ");
        refused(
            json!({"changes": [update(json!({"patchType": "JSON", "patch": {}}))]}),
            "spec.changes[0].update.patch: ",
        );
    }

    #[test]
    fn the_content_of_a_secret_never_stands_in_a_request() {
        let target = json!({"apiVersion": "v1", "kind": "Secret", "name": "db"});
        for update in [
            json!({"patch": {"data": {"password": "cA=="}}}),
            json!({"patch": {"stringData": {"password": "p"}}}),
            json!({"patchType": "JSON", "patch": [{"op": "replace", "path": "/data/password", "value": "cA=="}]}),
        ] {
            refused(
                json!({"changes": [{"target": target, "update": update}]}),
                "spec.changes[0].update.patch: the content of a Secret",
            );
        }
        let label = json!({"changes": [{"target": target, "update": {"patch": {"metadata": {"labels": {"a": "b"}}}}}]});
        assert_eq!(ruling(label), Ruling::Allow);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"p": "p"}});
        refused(create(secret), "spec.changes[0].create.manifest: the content of a Secret");
    }
}
