//! Whether an admission object was changed by somebody else, or only lacks what the operator fills in. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::compare::{differences, is_same};
use super::definition::without_filled;
use super::restore::{MANAGER, RESTORER};
use crate::text::{flat, instant};

/// How a stored object compares with what it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// It is as it should be.
    Right,
    /// Policies, certificates or the chart have changed since it was right, and no other client wrote it.
    Due,
    /// Somebody else changed it: how.
    Changed(Vec<String>),
    /// It is not there.
    Missing,
}

/// Judges one object. `settled` is what it should have been when this process last saw it right; none if it never has.
pub fn judge(stored: Option<&Value>, wanted: &Value, settled: Option<&Value>) -> Judgement {
    let Some(stored) = stored else { return Judgement::Missing };
    if is_same(stored, wanted) {
        return Judgement::Right;
    }
    match settled {
        Some(before) if is_same(stored, before) => Judgement::Due,
        Some(_) => Judgement::Changed(differences(stored, wanted)),
        // After an installation the fields that the operator fills in are empty.
        None => {
            let (stored, wanted) = (without_filled(stored), without_filled(wanted));
            match differences(&stored, &wanted) {
                none if none.is_empty() => Judgement::Due,
                found => Judgement::Changed(found),
            }
        }
    }
}

/// The last write by somebody else: the field manager, which a client chooses, and the time to the second.
pub fn last_write(entries: &[ManagedFieldsEntry]) -> Option<(String, Timestamp)> {
    let others = entries.iter().filter(|entry| {
        !entry.manager.as_deref().is_some_and(|manager| [MANAGER, RESTORER].contains(&manager))
    });
    let writes = others.filter_map(|entry| Some((entry.manager.clone()?, entry.time.as_ref()?.0)));
    writes.max_by_key(|(_, time)| *time)
}

/// What happened to an object, as people read it.
pub fn what(id: &str, differences: Option<&str>, last: Option<&(String, Timestamp)>) -> String {
    let Some(differences) = differences else { return format!("{id} was deleted") };
    let by = last.map(|(manager, time)| {
        format!(", last by the field manager {} at {}", flat(manager, 60), instant(*time))
    });
    format!("{id} was changed{}: {differences}", by.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gate(failure: &str, rules: Value) -> Value {
        json!({"metadata": {"name": "mayday-change-gate"}, "webhooks": [{"name": "change-gate.mayday.dev",
            "failurePolicy": failure, "rules": rules, "clientConfig": {"url": "https://m"}}]})
    }

    #[test]
    fn an_installation_and_a_new_policy_are_due_and_an_edit_is_a_change() {
        let (empty, rules) = (json!([]), json!([{"operations": ["*"], "scope": "*"}]));
        let wanted = gate("Fail", rules.clone());
        assert_eq!(judge(Some(&wanted), &wanted, None), Judgement::Right);
        assert_eq!(judge(Some(&gate("Fail", empty.clone())), &wanted, None), Judgement::Due, "installed");
        let before = gate("Fail", empty.clone());
        assert_eq!(judge(Some(&before), &wanted, Some(&before)), Judgement::Due, "a new policy");
        let emptied = judge(Some(&before), &wanted, Some(&wanted));
        assert!(
            matches!(&emptied, Judgement::Changed(found) if found[0].contains("rules is missing")),
            "{emptied:?}"
        );
        for settled in [None, Some(&wanted)] {
            let ignored = judge(Some(&gate("Ignore", rules.clone())), &wanted, settled);
            assert!(
                matches!(&ignored, Judgement::Changed(found) if found[0].contains("failurePolicy")),
                "{ignored:?}"
            );
            assert_eq!(judge(None, &wanted, settled), Judgement::Missing);
        }
    }

    #[test]
    fn the_last_write_of_another_manager_is_named() {
        let entry = |manager: &str, time: &str| -> ManagedFieldsEntry {
            serde_json::from_value(json!({"manager": manager, "time": time})).unwrap()
        };
        let entries = [
            entry("helm", "2026-11-22T01:00:00Z"),
            entry("kubectl-patch", "2026-11-22T02:00:00Z"),
            entry(MANAGER, "2026-11-22T03:00:00Z"),
        ];
        let last = last_write(&entries).unwrap();
        assert_eq!(last.0, "kubectl-patch");
        assert_eq!(
            what("validatingwebhookconfiguration/x", Some("a is b"), Some(&last)),
            "validatingwebhookconfiguration/x was changed, last by the field manager kubectl-patch at 2026-11-22 02:00:00 UTC: a is b"
        );
        assert_eq!(what("x/y", None, None), "x/y was deleted");
    }
}
