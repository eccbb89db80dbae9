//! The digest of a run. Pure.

use serde_json::json;

use crate::api::runbook_run::RunbookRunSpec;
use crate::change::diff::digest::{DigestError, of};

/// The digest that an approval of a run names: this run, of exactly this Runbook, for this incident, with these values.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn run(
    uid: &str,
    runbook_digest: &str,
    incident_uid: Option<&str>,
    spec: &RunbookRunSpec,
) -> Result<String, DigestError> {
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
    fn an_approval_of_a_run_fits_no_other_run_and_no_other_content() {
        let spec = RunbookRunSpec::default();
        let digest = |uid, runbook, incident| run(uid, runbook, incident, &spec).unwrap();
        let base = digest("u", "d", Some("i"));
        for other in [digest("v", "d", Some("i")), digest("u", "e", Some("i")), digest("u", "d", None)] {
            assert_ne!(base, other);
        }
    }
}
