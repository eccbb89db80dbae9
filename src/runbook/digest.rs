//! Digests of a run and of its questions: SHA-256 over canonical JSON (RFC 8785). Pure.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

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
