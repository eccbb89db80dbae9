//! Digests: exactly what a person approved (docs/rules.md#digests). Pure.
//!
//! `v1:sha256:<64 hex>` over canonical JSON (RFC 8785) of the content without nulls and without values equal
//! to the default of tag v1. The defaults of a tag never change: new defaults need a new tag.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::change_request::{ChangeRequestSpec, PlannedChange};
use crate::api::runbook::RunbookSpec;

/// The content cannot be written as canonical JSON, so it has no digest.
pub type DigestError = serde_json::Error;

/// Defaults of tag v1 in a Runbook: path, with `*` for each list element, and value.
const RUNBOOK_DEFAULTS: &[(&str, &str)] = &[
    ("/start", "\"Manual\""),
    ("/approval", "\"PerRun\""),
    ("/suspend", "false"),
    ("/drill/mode", "\"DryRun\""),
    ("/drill/required", "false"),
    ("/steps/*/check/condition/status", "\"True\""),
    ("/steps/*/http/status", "200"),
];

/// Defaults of tag v1 in a ChangeRequest.
const REQUEST_DEFAULTS: &[(&str, &str)] =
    &[("/partial", "\"Forbidden\""), ("/maxUses", "1"), ("/changes/*/update/patchType", "\"Strategic\"")];

/// Digest of content without defaults.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn of(content: &Value) -> Result<String, DigestError> {
    with_defaults(content, &[])
}

/// Digest of a Runbook, without what no run depends on: its summary, and how many runs are kept.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn runbook(spec: &RunbookSpec) -> Result<String, DigestError> {
    let mut content = serde_json::to_value(spec)?;
    if let Some(fields) = content.as_object_mut() {
        fields.remove("summary");
        fields.remove("historyLimit");
    }
    with_defaults(&content, RUNBOOK_DEFAULTS)
}

/// Digest of a request without `withdrawn`, with its plan and the UIDs of the targets.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn request(uid: &str, spec: &ChangeRequestSpec, plan: &[PlannedChange]) -> Result<String, DigestError> {
    let mut content = serde_json::to_value(spec)?;
    if let Some(fields) = content.as_object_mut() {
        fields.remove("withdrawn");
    }
    let content = without_defaults(&content, "", REQUEST_DEFAULTS);
    of(&json!({"uid": uid, "spec": content, "plan": plan}))
}

/// Digest of a question: its prompt, and the run or incident that asks.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn question(prompt: &str, owner_uid: &str) -> Result<String, DigestError> {
    of(&json!({"prompt": prompt, "owner": owner_uid}))
}

fn with_defaults(content: &Value, defaults: &[(&str, &str)]) -> Result<String, DigestError> {
    let content = without_defaults(content, "", defaults);
    let canonical = serde_json_canonicalizer::to_vec(&content)?;
    let hex: String = Sha256::digest(&canonical).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("v1:sha256:{hex}"))
}

/// The value without nulls and defaults. `path` is the pointer to it, with `*` for list elements.
fn without_defaults(value: &Value, path: &str, defaults: &[(&str, &str)]) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(name, value)| {
                let path = format!("{path}/{name}");
                let is_default = defaults.iter().any(|(place, default)| {
                    *place == path
                        && serde_json::from_str(default).is_ok_and(|default: Value| default == *value)
                });
                let keep = !value.is_null() && !is_default;
                keep.then(|| (name.clone(), without_defaults(value, &path, defaults)))
            })
            .collect(),
        Value::Array(items) => {
            let path = format!("{path}/*");
            items.iter().map(|item| without_defaults(item, &path, defaults)).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(spec: Value) -> RunbookSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn least() -> Value {
        json!({"summary": "s", "serviceAccountName": "a",
            "steps": [{"name": "look", "check": {"condition": {"target": {"apiVersion": "v1", "kind": "Pod", "name": "p"}, "type": "Ready"}}}]})
    }

    #[test]
    fn a_digest_has_its_tag_and_is_stable() {
        let digest = of(&json!({"b": 1, "a": [true, null]})).unwrap();
        assert!(digest.starts_with("v1:sha256:") && digest.len() == 10 + 64);
        // This value must never change: stored approvals name it.
        assert_eq!(digest, of(&json!({"a": [true, null], "b": 1})).unwrap());
    }

    #[test]
    fn a_written_default_keeps_the_digest_and_another_value_does_not() {
        let digest = runbook(&book(least())).unwrap();
        let mut written = least();
        json_patch::merge(&mut written, &json!({"start": "Manual", "approval": "PerRun", "suspend": false}));
        assert_eq!(runbook(&book(written)).unwrap(), digest);
        for edit in [
            json!({"start": "Automatic"}),
            json!({"approval": "Standing"}),
            json!({"serviceAccountName": "b"}),
            json!({"instructions": "x"}),
            json!({"suspend": true}),
            json!({"limits": {"cooldown": "1m"}}),
        ] {
            let mut edited = least();
            json_patch::merge(&mut edited, &edit);
            assert_ne!(runbook(&book(edited)).unwrap(), digest, "{edit}");
        }
    }

    #[test]
    fn the_summary_of_a_runbook_may_change() {
        let mut edited = least();
        edited["summary"] = json!("other words");
        edited["historyLimit"] = json!(5);
        assert_eq!(runbook(&book(edited)).unwrap(), runbook(&book(least())).unwrap());
    }

    #[test]
    fn every_default_of_the_table_is_a_default_of_its_type() {
        let spec = serde_json::to_value(book(least())).unwrap();
        for (place, default) in RUNBOOK_DEFAULTS.iter().filter(|(place, _)| place.matches('/').count() == 1) {
            assert_eq!(spec.pointer(place).map(Value::to_string).as_deref(), Some(*default), "{place}");
        }
        let request: ChangeRequestSpec = serde_json::from_value(json!({"reason": "r",
            "changes": [{"target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}, "update": {"patch": {}}}]}))
        .unwrap();
        let spec = serde_json::to_value(request).unwrap();
        for (place, default) in REQUEST_DEFAULTS {
            let found = spec.pointer(&place.replace('*', "0")).map(Value::to_string);
            assert_eq!(found.as_deref(), Some(*default), "{place}");
        }
    }

    #[test]
    fn another_object_or_plan_changes_the_digest_of_a_request() {
        let spec = ChangeRequestSpec { reason: "r".into(), max_uses: 1, ..ChangeRequestSpec::default() };
        let plan =
            [PlannedChange { operation: "Update".into(), uid: Some("1".into()), ..PlannedChange::default() }];
        let digest = request("u", &spec, &plan).unwrap();
        assert_ne!(request("v", &spec, &plan).unwrap(), digest);
        let mut replaced = plan.clone();
        replaced[0].uid = Some("2".into());
        assert_ne!(request("u", &spec, &replaced).unwrap(), digest);
        let withdrawn = ChangeRequestSpec { withdrawn: true, ..spec.clone() };
        assert_eq!(request("u", &withdrawn, &plan).unwrap(), digest);
    }
}
