//! Whether a request can be asked at all, before anything is planned. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::ChangePolicy;
use crate::api::change_request::{Change, ChangeRequestSpec, PatchType, PlannedChange, UpdateChange};
use crate::change::gate::standing;
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

/// What is wrong with a request that was asked at that time in a namespace, each with where and what to do; nothing if it
/// can be planned.
pub fn problems(spec: &ChangeRequestSpec, namespace: &str, asked: Timestamp) -> Vec<String> {
    let mut problems = Vec::new();
    if spec.changes.is_empty() {
        problems.push("spec.changes: a request names at least one change".to_owned());
    }
    for (index, change) in spec.changes.iter().enumerate() {
        let path = format!("spec.changes[{index}]");
        let found = of_change(change, namespace);
        problems.extend(found.into_iter().map(|(field, problem)| format!("{path}{field}: {problem}")));
    }
    if !standing::window_length(spec, asked).is_positive() {
        problems.push("spec.window: it has no length, or is over already".to_owned());
    }
    problems
}

/// What a request that was asked at that time asks for beyond the limits of the policies over its targets.
pub fn beyond_limits(spec: &ChangeRequestSpec, asked: Timestamp, policies: &[&ChangePolicy]) -> Vec<String> {
    let mut problems = Vec::new();
    let length = standing::window_length(spec, asked);
    for policy in policies {
        let (limits, name) = (&policy.spec.limits, policy.metadata.name.as_deref().unwrap_or_default());
        if length > limits.max_window.get() {
            let most = format!("longer than the {} that cpol/{name} allows", limits.max_window);
            problems.push(match &spec.window {
                Some(_) => format!("spec.window: {most}"),
                None => format!("spec.window: without one it is 1h, {most}; set spec.window.duration"),
            });
        }
        if spec.max_uses > limits.max_uses {
            problems.push(format!("spec.maxUses: more than the {} that cpol/{name} allows", limits.max_uses));
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

fn of_change(change: &Change, namespace: &str) -> Vec<(String, String)> {
    let mut problems: Vec<(String, String)> = Vec::new();
    let mut found = |field: &str, problem: String| problems.push((field.to_owned(), problem));
    if let Some(target) = &change.target {
        if target.name.contains('*') || target.kind.contains('*') {
            found(".target", "a wildcard names nothing; write one entry for each object".to_owned());
        }
        if target.kind == "Secret" && target.group().is_empty() && change.delete.is_none() {
            let is_patched = change.update.as_ref().is_some_and(|update| update.patch.is_some());
            found(if is_patched { ".update.patch" } else { ".target" }, SECRET.to_owned());
        }
        if change.restart.is_some() && !workloads::is_one(target.group(), &target.kind) {
            let kinds = workloads::KINDS.join(", ");
            found(".restart", format!("a {} cannot be restarted; {kinds} can", target.kind));
        }
    }
    if let Some(update) = &change.update {
        of_update(update, &mut found);
    }
    if let Some(create) = &change.create {
        of_manifest(&create.manifest, namespace, &mut found);
    }
    problems
}

const SECRET: &str = "the content of a Secret never stands in a request, which only deletes one";

fn of_update(update: &UpdateChange, found: &mut impl FnMut(&str, String)) {
    let is_list = update.patch_type == PatchType::Json;
    let Some(patch) = &update.patch else {
        if update.remove.is_empty() {
            found(".update", "set patch, remove, or both".to_owned());
        }
        return of_remove(update, found);
    };
    if let Some(place) = null_in(patch, ".update.patch") {
        found(&place, "is null; what is to go is listed in remove, as a JSON pointer".to_owned());
    }
    if is_list != patch.is_array() {
        let wanted = if is_list { "a list of operations" } else { "an object" };
        found(".update.patch", format!("a patch of this patchType is {wanted}"));
    }
    if !is_list && let Some(pointer) = update.remove.iter().find(|pointer| goes_through_a_list(pointer)) {
        let problem = format!("{pointer} goes through a list, which only patchType JSON can beside a patch");
        found(".update.remove", problem);
    }
    of_remove(update, found);
}

fn of_remove(update: &UpdateChange, found: &mut impl FnMut(&str, String)) {
    if let Some(pointer) = update.remove.iter().find(|pointer| !pointer.starts_with('/')) {
        found(".update.remove", format!("{pointer:?} is no JSON pointer: it begins with /"));
    }
}

fn of_manifest(manifest: &Value, namespace: &str, found: &mut impl FnMut(&str, String)) {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    for field in ["apiVersion", "kind", "metadata.name"] {
        if text(&format!("/{}", field.replace('.', "/"))).is_empty() {
            let problem = "is needed, so that exactly one object is meant".to_owned();
            found(&format!(".create.manifest.{field}"), problem);
        }
    }
    let named = text("/metadata/namespace");
    if !named.is_empty() && named != namespace {
        let problem = format!(
            "is {named}, but a request changes its own namespace, {namespace}, alone; ask in {named}"
        );
        found(".create.manifest.metadata.namespace", problem);
    }
    if text("/kind") == "Secret" && text("/apiVersion") == "v1" {
        found(".create.manifest", SECRET.to_owned());
    }
    if let Some(place) = null_in(manifest, ".create.manifest") {
        found(&place, "is null; leave it out".to_owned());
    }
}

/// Where the first null is, behind `path`.
pub fn null_in(value: &Value, path: &str) -> Option<String> {
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

fn goes_through_a_list(pointer: &str) -> bool {
    pointer.split('/').any(|segment| segment.parse::<usize>().is_ok())
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
