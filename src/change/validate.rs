//! Whether a request can be asked at all, before anything is planned. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::grant;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::change_request::{Change, ChangeRequestSpec, PatchType, PlannedChange};
use crate::cluster::workloads;

/// Most values that one change may touch, as the schema of the plan allows.
const VALUES: usize = 256;
/// Longest path of a value, as the schema of the plan allows.
const PATH: usize = 1024;
/// Most uses of all changes together, as the schema of the status allows.
const USES: usize = 200;
/// Largest request with its plan and all uses: what is larger does not fit into one object of the API server.
const BYTES: usize = 512 * 1024;

/// Fields that this version does not act on.
pub fn not_implemented(spec: &ChangeRequestSpec) -> Vec<String> {
    let mut fields = Vec::new();
    for (index, change) in spec.changes.iter().enumerate() {
        let members = [
            (change.exec.is_some(), "exec"),
            (change.attach.is_some(), "attach"),
            (change.debug.is_some(), "debug"),
            (change.port_forward.is_some(), "portForward"),
            (change.evict.is_some(), "evict"),
            (
                change.update.as_ref().is_some_and(|update| !update.content_digests.is_empty()),
                "update.contentDigests",
            ),
        ];
        let set = members.iter().filter(|(set, _)| *set);
        fields.extend(set.map(|(_, member)| format!("spec.changes[{index}].{member}")));
    }
    fields
}

/// What is wrong with a request in a namespace, each with where and what to do; nothing if it can be planned.
pub fn problems(spec: &ChangeRequestSpec, namespace: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if spec.changes.is_empty() {
        problems.push("spec.changes: there is no change; say what shall be done".to_owned());
    }
    for (index, change) in spec.changes.iter().enumerate() {
        problems.extend(
            of_change(change, namespace)
                .into_iter()
                .map(|(field, problem)| format!("spec.changes[{index}]{field}: {problem}")),
        );
    }
    if let Some(window) = &spec.window {
        let (before, after) = (window.not_before.as_ref(), window.not_after.as_ref());
        if matches!((before, after), (Some(before), Some(after)) if before.0 >= after.0) {
            problems.push("spec.window: notBefore must be before notAfter".to_owned());
        }
    }
    problems
}

/// What a request that was asked at that time asks for beyond the limits of the policies over its targets.
pub fn beyond_limits(
    spec: &ChangeRequestSpec,
    asked: Timestamp,
    policies: &[(String, &ChangePolicySpec)],
) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, policy) in policies {
        let limits = &policy.limits;
        if spec.max_uses > limits.max_uses {
            problems.push(format!(
                "spec.maxUses: {} is more than the {} that policy {name} allows",
                spec.max_uses, limits.max_uses
            ));
        }
        let length = spec.window.as_ref().and_then(|window| grant::window_length(window, asked));
        if length.is_some_and(|length| length > limits.max_window.get()) {
            problems.push(format!(
                "spec.window: it is longer than the {} that policy {name} allows",
                limits.max_window
            ));
        }
    }
    problems
}

/// What of a planned request is more than can be stored: it could never be decided.
pub fn beyond_store(spec: &ChangeRequestSpec, plan: &[PlannedChange]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, planned) in plan.iter().enumerate() {
        let count = planned.delta.len();
        if count > VALUES {
            problems.push(format!(
                "spec.changes[{index}]: it touches {count} values, and one change may touch {VALUES}: ask for it in parts"
            ));
        }
        if planned.delta.iter().any(|delta| delta.path.len() > PATH) {
            problems.push(format!("spec.changes[{index}]: the path of a value is longer than {PATH} bytes"));
        }
    }
    let times = usize::try_from(spec.max_uses).unwrap_or_default();
    let uses = times.saturating_mul(plan.len());
    if uses > USES {
        problems.push(format!(
            "spec.maxUses: {uses} uses in all are more than {USES}: ask for fewer, or for fewer changes at once"
        ));
    }
    let bytes = |value: Result<Vec<u8>, serde_json::Error>| value.map_or(usize::MAX, |text| text.len());
    let of_plan = bytes(serde_json::to_vec(plan));
    let all = of_plan.saturating_mul(times.saturating_add(1)).saturating_add(bytes(serde_json::to_vec(spec)));
    if all > BYTES {
        problems.push(format!(
            "spec.changes: with what they replace and each use they take {all} bytes, and {BYTES} can be kept: ask for \
             them in parts"
        ));
    }
    problems
}

fn of_change(change: &Change, namespace: &str) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if let Some(target) = &change.target {
        if target.name.contains('*') || target.kind.contains('*') {
            problems
                .push((".target", "a wildcard names nothing; write one entry for each object".to_owned()));
        }
        if target.kind == "Secret" && target.group().is_empty() && change.delete.is_none() {
            problems.push((".target", SECRET.to_owned()));
        }
        if change.restart.is_some() && !workloads::is_one(target.group(), &target.kind) {
            let kinds = workloads::KINDS.join(", ");
            problems.push((".restart", format!("a {} cannot be restarted; {kinds} can", target.kind)));
        }
    }
    if let Some(update) = &change.update {
        if update.patch.is_none() && update.remove.is_empty() {
            problems.push((".update", "set patch, remove, or both".to_owned()));
        }
        if let Some(path) = update.patch.as_ref().and_then(|patch| null_in(patch, String::new())) {
            problems.push((".update.patch", format!("null at {path}: name what is to go in remove instead")));
        }
        if update.patch_type != PatchType::Json
            && update.patch.is_some()
            && let Some(pointer) = update.remove.iter().find(|pointer| goes_through_a_list(pointer))
        {
            problems.push((
                ".update.remove",
                format!("{pointer} goes through a list, which only patchType JSON can beside a patch"),
            ));
        }
        if let Some(pointer) = update.remove.iter().find(|pointer| !pointer.starts_with('/')) {
            problems.push((".update.remove", format!("{pointer:?} is no JSON pointer: it begins with /")));
        }
    }
    if let Some(create) = &change.create {
        problems
            .extend(of_manifest(&create.manifest, namespace).map(|problem| (".create.manifest", problem)));
    }
    problems
}

const SECRET: &str = "the content of a Secret never stands in a request";

fn of_manifest(manifest: &Value, namespace: &str) -> Option<String> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    for field in ["apiVersion", "kind"] {
        if text(&format!("/{field}")).is_empty() {
            return Some(format!("{field} is missing"));
        }
    }
    if text("/metadata/name").is_empty() {
        return Some("metadata.name is missing; a generated name cannot be approved".to_owned());
    }
    let named = text("/metadata/namespace");
    if !named.is_empty() && named != namespace {
        return Some(format!(
            "it is in {named}; a request is about objects of its own namespace, {namespace}"
        ));
    }
    if text("/kind") == "Secret" && text("/apiVersion") == "v1" {
        return Some(SECRET.to_owned());
    }
    null_in(manifest, String::new()).map(|path| format!("null at {path}: leave it out"))
}

/// Where the first null is, as a JSON pointer.
pub fn null_in(value: &Value, path: String) -> Option<String> {
    match value {
        Value::Null => Some(path),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| null_in(value, format!("{path}/{}", super::delta::escape(name)))),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| null_in(value, format!("{path}/{index}")))
        }
        _ => None,
    }
}

fn goes_through_a_list(pointer: &str) -> bool {
    pointer.split('/').any(|segment| segment.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(changes: Value) -> ChangeRequestSpec {
        serde_json::from_value(json!({"reason": "r", "changes": changes})).unwrap()
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"})
    }

    #[test]
    fn bad_input_is_named_with_its_place() {
        for (changes, said) in [
            (json!([]), "there is no change"),
            (json!([{"target": {"apiVersion": "v1", "kind": "Pod", "name": "*"}, "delete": {}}]), "wildcard"),
            (
                json!([{"target": deployment(), "update": {"patch": {"spec": {"paused": null}}}}]),
                "spec.changes[0].update.patch: null at /spec/paused",
            ),
            (json!([{"target": deployment(), "update": {}}]), "set patch, remove"),
            (json!([{"target": deployment(), "update": {"remove": ["spec"]}}]), "no JSON pointer"),
            (
                json!([{"target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}, "restart": {}}]),
                "cannot be restarted",
            ),
            (
                json!([{"target": {"apiVersion": "v1", "kind": "Secret", "name": "s"}, "update": {"patch": {"data": {"a": "b"}}}}]),
                "content of a Secret",
            ),
            (
                json!([{"create": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "till"}}}}]),
                "it is in till",
            ),
            (
                json!([{"create": {"manifest": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}}}}]),
                "content of a Secret",
            ),
            (
                json!([{"create": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}}}}]),
                "metadata.name is missing",
            ),
        ] {
            let problems = problems(&spec(changes), "shop");
            assert!(problems.iter().any(|problem| problem.contains(said)), "{said}: {problems:?}");
        }
    }

    #[test]
    fn what_is_more_than_can_be_stored_is_named() {
        let spec = |uses: i32| -> ChangeRequestSpec {
            serde_json::from_value(json!({"reason": "r", "changes": [], "maxUses": uses})).unwrap()
        };
        let plan = |values: usize, size: usize| -> Vec<PlannedChange> {
            let delta: Vec<Value> = (0..values)
                .map(|value| json!({"path": format!("/data/{value}"), "after": "x".repeat(size)}))
                .collect();
            serde_json::from_value(json!([{"operation": "Update", "summary": "s", "delta": delta,
                "target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c"}}]))
            .unwrap()
        };
        assert_eq!(beyond_store(&spec(1), &plan(256, 10)), Vec::<String>::new());
        assert!(beyond_store(&spec(1), &plan(257, 10))[0].contains("it touches 257 values"));
        assert!(beyond_store(&spec(1), &plan(1, 300_000))[0].contains("524288 can be kept"));
        assert!(beyond_store(&spec(100), &plan(1, 6_000))[0].contains("524288 can be kept"));
        assert!(
            beyond_store(&spec(100), &[plan(1, 1), plan(1, 1), plan(1, 1)].concat())[0].contains("300 uses")
        );
    }

    #[test]
    fn a_good_request_has_no_problem() {
        let changes = json!([{"target": deployment(), "scale": {"replicas": 8}}, {"target": deployment(), "restart": {}}]);
        assert_eq!(problems(&spec(changes), "shop"), Vec::<String>::new());
    }

    #[test]
    fn a_window_or_uses_beyond_a_limit_are_named_with_the_policy() {
        let policy: ChangePolicySpec =
            serde_json::from_value(json!({"scope": {"namespaces": {"names": ["shop"]}},
            "approval": {}, "limits": {"maxUses": 2, "maxWindow": "1h"}}))
            .unwrap();
        let policies = [("production".to_owned(), &policy)];
        let with = |edit: Value| {
            let mut whole = json!({"reason": "r", "changes": []});
            json_patch::merge(&mut whole, &edit);
            let asked = "2026-01-01T00:00:00Z".parse().unwrap();
            beyond_limits(&serde_json::from_value(whole).unwrap(), asked, &policies)
        };
        assert_eq!(with(json!({})), Vec::<String>::new());
        assert!(with(json!({"maxUses": 3}))[0].contains("policy production"));
        assert!(with(json!({"window": {"duration": "2h"}}))[0].contains("longer than the 1h"));
        let year =
            json!({"window": {"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2027-01-01T00:00:00Z"}});
        assert_eq!(with(year).len(), 1);
        assert_eq!(with(json!({"window": {"notAfter": "2026-01-01T01:00:00Z"}})), Vec::<String>::new());
        assert_eq!(with(json!({"window": {"notAfter": "2026-01-01T01:00:01Z"}})).len(), 1);
    }

    #[test]
    fn what_is_not_acted_on_is_named() {
        let changes = json!([{"target": deployment(), "exec": {"command": ["jstack"]}}]);
        assert_eq!(not_implemented(&spec(changes)), ["spec.changes[0].exec"]);
    }
}
