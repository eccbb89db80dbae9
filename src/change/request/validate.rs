//! Checks a request before and after it is planned. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::ChangePolicy;
use crate::api::change_request::{Change, ChangeRequestSpec, PatchType, PlannedChange, UpdateChange};
use crate::change::gate::{standing, uses};
use crate::cluster::workloads;
use crate::problem::Problem;

/// Maximum number of values in one change, as in the schema of the plan.
const VALUES: usize = 256;
/// Maximum length of the path of a value in bytes, as in the schema of the plan.
const PATH: usize = 1024;
/// Maximum number of uses of all changes together, as in the schema of the status.
const USES: usize = 200;
/// Maximum size in bytes of a request with its plan and all uses: a larger one does not fit into one object.
const BYTES: usize = 512 * 1024;

/// Paths of the set fields that this version does not act on.
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

/// Problems of a request made at that time in a namespace; none if it can be planned.
pub fn problems(spec: &ChangeRequestSpec, namespace: &str, asked: Timestamp) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.changes.is_empty() {
        problems.push(Problem::new("spec.changes", "a request names at least one change"));
    }
    for (index, change) in spec.changes.iter().enumerate() {
        let found = of_change(change, namespace);
        problems.extend(
            found
                .into_iter()
                .map(|(field, problem)| Problem::new(format!("spec.changes[{index}]{field}"), problem)),
        );
    }
    if !standing::window_length(spec, asked).is_positive() {
        problems.push(Problem::new("spec.window", "it has no length, or is over already"));
    }
    problems
}

/// Problems of a request, made at that time, with the limits of the policies over its targets.
pub fn beyond_limits(spec: &ChangeRequestSpec, asked: Timestamp, policies: &[&ChangePolicy]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let length = standing::window_length(spec, asked);
    for policy in policies {
        let (limits, name) = (&policy.spec.limits, policy.metadata.name.as_deref().unwrap_or_default());
        if length > limits.max_window.get() {
            let most = format!("longer than the {} that cpol/{name} allows", limits.max_window);
            let message = match &spec.window {
                Some(_) => most,
                None => format!("without one it is 1h, {most}; set spec.window.duration"),
            };
            problems.push(Problem::new("spec.window", message));
        }
        if spec.max_uses > limits.max_uses {
            let message = format!("more than the {} that cpol/{name} allows", limits.max_uses);
            problems.push(Problem::new("spec.maxUses", message));
        }
    }
    problems
}

/// Problems of a planned request that is too large to be stored with its uses.
pub fn beyond_store(spec: &ChangeRequestSpec, plan: &[PlannedChange]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, planned) in plan.iter().enumerate() {
        let path = format!("spec.changes[{index}]");
        let count = planned.delta.len();
        if count > VALUES {
            let message =
                format!("it touches {count} values, and one change may touch {VALUES}: ask for it in parts");
            problems.push(Problem::new(path.clone(), message));
        }
        if planned.delta.iter().any(|delta| delta.path.len() > PATH) {
            problems.push(Problem::new(path, format!("the path of a value is longer than {PATH} bytes")));
        }
    }
    let times = usize::try_from(spec.max_uses).unwrap_or_default();
    let uses = plan.iter().map(|planned| uses::most(spec, &planned.delta)).fold(0, usize::saturating_add);
    if uses > USES {
        let message =
            format!("{uses} uses in all are more than {USES}: ask for fewer, or for fewer changes at once");
        problems.push(Problem::new("spec.maxUses", message));
    }
    let bytes = |value: Result<Vec<u8>, serde_json::Error>| value.map_or(usize::MAX, |text| text.len());
    let of_plan = bytes(serde_json::to_vec(plan));
    let all = of_plan.saturating_mul(times.saturating_add(1)).saturating_add(bytes(serde_json::to_vec(spec)));
    if all > BYTES {
        let message = format!(
            "with what they replace and each use they take {all} bytes, and {BYTES} can be kept: ask for them in parts"
        );
        problems.push(Problem::new("spec.changes", message));
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

/// Path of the first null in a value that stands at `path`.
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
