//! How often an entry of a request was used (docs/rules.md#uses). Pure.

use serde_json::Value;

use crate::api::change_request::{
    ChangeRequestSpec, ChangeRequestStatus, Delta, Partial, PlannedChange, Use,
};
use crate::change::diff;

/// The uses of the entry at this index.
pub fn of_entry(used: &[Use], index: usize) -> impl Iterator<Item = &Use> {
    used.iter().filter(move |used| usize::try_from(used.change) == Ok(index))
}

/// How often the entry at this index was used as a whole. Where parts may be used: how often each of its values was.
pub fn whole(spec: &ChangeRequestSpec, status: &ChangeRequestStatus, index: usize) -> usize {
    let planned = status.plan.get(index).map_or(&[][..], |planned| &planned.delta);
    let counts = planned.iter().map(|value| of_value(&status.used, index, value));
    match has_parts(spec, planned) {
        true => counts.min().unwrap_or_default(),
        false => of_entry(&status.used, index).count(),
    }
}

/// How often the entry was used for any of the values of an action: its next use is one more.
pub fn so_far(
    spec: &ChangeRequestSpec,
    used: &[Use],
    index: usize,
    planned: &[Delta],
    actual: &[Delta],
) -> usize {
    match has_parts(spec, planned) {
        true => actual.iter().map(|value| of_value(used, index, value)).max().unwrap_or_default(),
        false => of_entry(used, index).count(),
    }
}

/// Maximum number of uses that are stored for an entry of a plan.
pub fn most(spec: &ChangeRequestSpec, planned: &[Delta]) -> usize {
    let parts = if has_parts(spec, planned) { planned.len() } else { 1 };
    usize::try_from(spec.max_uses).unwrap_or_default().saturating_mul(parts)
}

/// Whether a use that was counted can be seen not to have been stored: the object is as it was before.
pub fn was_not_stored(used: &Use, planned: &PlannedChange, live: Option<&Value>) -> bool {
    let Some(live) = live else { return false };
    let is_same = live.pointer("/metadata/uid").and_then(Value::as_str) == planned.uid.as_deref();
    let is_as_before = |delta: &Delta| diff::value_at(live, &delta.path) == delta.before.as_ref();
    match planned.operation.as_str() {
        "Delete" => is_same && live.pointer("/metadata/deletionTimestamp").is_none(),
        "Update" => {
            is_same
                && used.restored_time.is_none()
                && !used.delta.is_empty()
                && used.delta.iter().all(is_as_before)
        }
        _ => false,
    }
}

fn has_parts(spec: &ChangeRequestSpec, planned: &[Delta]) -> bool {
    spec.partial == Partial::Allowed && !planned.is_empty()
}

fn of_value(used: &[Use], index: usize, value: &Delta) -> usize {
    of_entry(used, index).filter(|used| used.delta.iter().any(|delta| delta.path == value.path)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn delta(path: &str) -> Value {
        json!({"path": path, "before": 1, "after": 2})
    }

    fn status(used: &[&[&str]]) -> ChangeRequestStatus {
        let used: Vec<Value> = used
            .iter()
            .map(|paths| {
                let delta: Vec<Value> = paths.iter().map(|path| delta(path)).collect();
                json!({"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T12:00:00Z", "delta": delta})
            })
            .collect();
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        serde_json::from_value(
            json!({"used": used, "plan": [{"operation": "Update", "target": target, "summary": "s",
            "delta": [delta("/a"), delta("/b")]}]}),
        )
        .unwrap()
    }

    fn spec(partial: Partial) -> ChangeRequestSpec {
        ChangeRequestSpec { partial, max_uses: 2, ..ChangeRequestSpec::default() }
    }

    #[test]
    fn an_entry_is_used_as_a_whole() {
        let status = status(&[&["/a", "/b"], &["/a"]]);
        assert_eq!(whole(&spec(Partial::Forbidden), &status, 0), 2);
        assert_eq!(whole(&spec(Partial::Forbidden), &status, 1), 0);
        assert_eq!(most(&spec(Partial::Forbidden), &status.plan[0].delta), 2);
    }

    #[test]
    fn each_part_is_used_as_often_as_the_whole() {
        let parts = spec(Partial::Allowed);
        let status = status(&[&["/a"], &["/a"], &["/b"]]);
        let planned = &status.plan[0].delta;
        assert_eq!(whole(&parts, &status, 0), 1);
        assert_eq!(so_far(&parts, &status.used, 0, planned, &planned[..1]), 2);
        assert_eq!(so_far(&parts, &status.used, 0, planned, &planned[1..]), 1);
        assert_eq!(so_far(&parts, &status.used, 0, planned, planned), 2);
        assert_eq!(most(&parts, planned), 4);
    }

    #[test]
    fn a_deletion_has_no_parts() {
        let status = status(&[&[]]);
        assert_eq!(so_far(&spec(Partial::Allowed), &status.used, 0, &[], &[]), 1);
    }

    fn used_with(delta: Value) -> Use {
        serde_json::from_value(
            json!({"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T12:00:00Z", "delta": delta}),
        )
        .unwrap()
    }

    // The kind of fault: said although it did not happen. A use that was counted and never stored is no change.
    #[test]
    fn a_use_was_not_stored_while_the_object_is_as_before() {
        let planned = |operation: &str| PlannedChange {
            operation: operation.into(),
            uid: Some("u".into()),
            ..PlannedChange::default()
        };
        let scaled = used_with(json!([{"path": "/spec/replicas", "before": 3, "after": 8}]));
        let live =
            |uid: &str, replicas: i64| json!({"metadata": {"uid": uid}, "spec": {"replicas": replicas}});
        let lost = |live: Value| was_not_stored(&scaled, &planned("Update"), Some(&live));
        assert!(lost(live("u", 3)));
        assert!(!lost(live("u", 8)), "it was stored");
        assert!(!lost(live("u", 5)), "somebody else has changed it");
        assert!(!lost(live("v", 3)), "another object of that name");
        let mut taken_back = scaled.clone();
        taken_back.restored_time = Some(taken_back.time.clone());
        assert!(!was_not_stored(&taken_back, &planned("Update"), Some(&live("u", 3))));
        assert!(!was_not_stored(&scaled, &planned("Update"), None));
        assert!(was_not_stored(&used_with(json!([])), &planned("Delete"), Some(&live("u", 3))));
        assert!(!was_not_stored(&used_with(json!([])), &planned("Create"), Some(&live("u", 3))));
    }
}
