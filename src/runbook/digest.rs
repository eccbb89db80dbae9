//! Digests of a run and of its questions: SHA-256 over canonical JSON (RFC 8785). Pure.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::RunbookRunSpec;

/// Digest of a value under tag v1.
///
/// # Errors
/// When the value cannot be written as canonical JSON, such as a number that JavaScript cannot hold.
pub fn of(value: &Value) -> Result<String, String> {
    let text =
        serde_json_canonicalizer::to_vec(value).map_err(|error| format!("no digest can be made: {error}"))?;
    let hash = Sha256::digest(&text);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("v1:sha256:{hex}"))
}

/// Defaults of tag v1: path, with `*` for every element, and value. They never change.
const DEFAULTS: [(&str, &str); 6] = [
    ("/start", "\"Manual\""),
    ("/approval", "\"PerRun\""),
    ("/onFailure", "\"Stop\""),
    ("/suspend", "false"),
    ("/steps/*/check/condition/status", "\"True\""),
    ("/steps/*/http/status", "200"),
];

/// Digest of a Runbook: everything but the summary, without nulls and defaults.
///
/// # Errors
/// As [`of`].
pub fn runbook(spec: &RunbookSpec) -> Result<String, String> {
    let mut value = serde_json::to_value(spec).map_err(|error| format!("no digest can be made: {error}"))?;
    if let Some(members) = value.as_object_mut() {
        members.remove("summary");
    }
    of(&without_defaults(&value, ""))
}

fn without_defaults(value: &Value, path: &str) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name, member, format!("{path}/{name}")))
            .filter(|(_, member, path)| {
                let is_default =
                    |(place, default): &(&str, &str)| place == path && member.to_string() == *default;
                !member.is_null() && !DEFAULTS.iter().any(is_default)
            })
            .map(|(name, member, path)| (name.clone(), without_defaults(member, &path)))
            .collect(),
        Value::Array(items) => {
            items.iter().map(|item| without_defaults(item, &format!("{path}/*"))).collect()
        }
        other => other.clone(),
    }
}

/// Digest of a run as a whole, which an approval of the run names: this run, of exactly this Runbook, for this
/// incident, with these values.
///
/// # Errors
/// As [`of`].
pub fn run(
    uid: &str,
    runbook_digest: &str,
    incident_uid: Option<&str>,
    spec: &RunbookRunSpec,
) -> Result<String, String> {
    of(&json!({
        "kind": "RunbookRun",
        "uid": uid,
        "runbook": runbook_digest,
        "incident": incident_uid,
        "parameters": spec.parameters,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reordered_key_changes_nothing_and_another_value_does() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": 2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b": 2, "a": 1}"#).unwrap();
        assert_eq!(of(&one), of(&two));
        assert_ne!(of(&one), of(&json!({"a": 1, "b": 3})));
        assert!(of(&one).unwrap().starts_with("v1:sha256:"));
    }

    #[test]
    fn any_edit_of_a_runbook_but_the_summary_voids_its_digest() {
        let spec = |change: Value| -> RunbookSpec {
            let mut value = json!({"summary": "s", "serviceAccountName": "sa", "steps": [{"name": "w", "wait": {"duration": "1s"}}]});
            json_patch::merge(&mut value, &change);
            serde_json::from_value(value).unwrap()
        };
        let base = runbook(&spec(json!({})));
        assert_eq!(base, runbook(&spec(json!({"summary": "other"}))));
        assert_eq!(base, runbook(&spec(json!({"start": "Manual", "suspend": false, "onFailure": "Stop"}))));
        for edit in [
            json!({"instructions": "i"}),
            json!({"start": "Automatic"}),
            json!({"serviceAccountName": "other"}),
            json!({"suspend": true}),
            json!({"limits": {"cooldown": "1m"}}),
            json!({"steps": [{"name": "w", "wait": {"duration": "1000ms"}}]}),
        ] {
            assert_ne!(base, runbook(&spec(edit.clone())), "{edit}");
        }
    }

    #[test]
    fn an_approval_of_a_run_fits_no_other_run_and_no_other_content() {
        let spec = RunbookRunSpec::default();
        let base = run("u", "d", Some("i"), &spec);
        for other in
            [run("v", "d", Some("i"), &spec), run("u", "e", Some("i"), &spec), run("u", "d", None, &spec)]
        {
            assert_ne!(base, other);
        }
    }
}
