//! The digest of a run. Pure.

use serde_json::json;

use crate::api::common::ParameterValue;
use crate::api::runbook_run::Resolved;
use crate::change::diff::digest::{DigestError, of};

/// The digest that an approval of a run names: this run, of exactly this Runbook, for this incident, with these values,
/// on these objects.
///
/// # Errors
/// When it cannot be written as canonical JSON.
pub fn run(
    uid: &str,
    runbook_digest: &str,
    incident_uid: Option<&str>,
    (values, targets): (&[ParameterValue], &[Vec<Resolved>]),
    dry_run: bool,
) -> Result<String, DigestError> {
    of(&json!({
        "kind": "RunbookRun",
        "uid": uid,
        "runbook": runbook_digest,
        "incident": incident_uid,
        "values": values,
        "targets": targets,
        "dryRun": dry_run,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_of_a_run_fits_no_other_run_and_no_other_content() {
        let digest = |uid, runbook, incident| run(uid, runbook, incident, (&[], &[]), false).unwrap();
        let base = digest("u", "d", Some("i"));
        let elsewhere = [vec![Resolved::default()]];
        assert_ne!(base, run("u", "d", Some("i"), (&[], &elsewhere), false).unwrap());
        for other in [digest("v", "d", Some("i")), digest("u", "e", Some("i")), digest("u", "d", None)] {
            assert_ne!(base, other);
        }
    }
}
