//! The step `patch`: a merge patch or a JSON Patch, carried out on what was just read. The result may differ only where
//! `allowPaths` says: the limit is on the effect of the patch, not on its text.

use serde_json::Value;

use super::kind::{StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::patching;
use crate::api::runbook_step::{JsonOp, PatchStep, Target};
use crate::change::diff;
use crate::problem::Problem;

/// Parts of the metadata that no Runbook changes: who an object is, and whose it is.
const IDENTITY: [&str; 10] = [
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/generation",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/ownerReferences",
    "/metadata/finalizers",
    "/metadata/managedFields",
];

impl StepKind for PatchStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        format!("patch {} at {}", self.target.words(None), self.allow_paths.join(", "))
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found = Vec::new();
        if self.merge.is_some() == self.json.is_some() {
            found.push(written.problem("patch", "set exactly one of merge, json"));
        }
        if self.allow_paths.is_empty() {
            found.push(
                written.problem("patch.allowPaths", "name at least one place that the patch may change"),
            );
        }
        for (index, path) in self.allow_paths.iter().enumerate() {
            let field = format!("patch.allowPaths[{index}]");
            if let Some(why) = forbidden(path) {
                found.push(written.problem(&field, why));
            }
        }
        if self.merge.as_ref().is_some_and(has_null) {
            found.push(written.problem("patch.merge", "a null removes a value: use json with op: remove"));
        }
        for (index, operation) in self.json.iter().flatten().enumerate() {
            let field = format!("patch.json[{index}]");
            let changes = operation.op != JsonOp::Test;
            if operation.path.ends_with("/-") {
                found.push(written.problem(
                    &format!("{field}.path"),
                    "an addition to the end of a list would be added twice by a repeat: name the index",
                ));
            }
            if (operation.op == JsonOp::Remove) == operation.value.is_some() {
                found.push(
                    written.problem(&format!("{field}.value"), "remove has no value, the others have one"),
                );
            }
            if changes && !self.allows(&operation.path) {
                found.push(written.problem(&format!("{field}.path"), "it is not under patch.allowPaths"));
            }
        }
        for (index, value) in self.values.iter().enumerate() {
            let field = format!("patch.values[{index}]");
            found.extend(written.no_parameter(&format!("{field}.parameter"), &value.parameter));
            if !self.allows(&value.path) {
                found.push(written.problem(&format!("{field}.path"), "it is not under patch.allowPaths"));
            }
        }
        found
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl PatchStep {
    fn allows(&self, path: &str) -> bool {
        self.allow_paths.iter().any(|allowed| diff::is_under(path, allowed))
    }

    /// The object after the patch.
    fn patched(&self, scene: &Scene<'_>, object: &Value) -> Result<Value, String> {
        let mut after = object.clone();
        if let Some(merge) = &self.merge {
            json_patch::merge(&mut after, merge);
        }
        if let Some(operations) = &self.json {
            let written = serde_json::to_value(operations).map_err(|error| error.to_string())?;
            let patch: json_patch::Patch =
                serde_json::from_value(written).map_err(|error| format!("no JSON patch: {error}"))?;
            json_patch::patch(&mut after, &patch)
                .map_err(|error| format!("the patch does not fit {}: {error}", scene.name()))?;
        }
        for value in &self.values {
            let whole = scene
                .value(&value.parameter)
                .ok_or_else(|| format!("the parameter {} has no value", value.parameter))?;
            let place = after.pointer_mut(&value.path).ok_or_else(|| {
                format!("{} has no value at {} that could be replaced", scene.name(), value.path)
            })?;
            *place = whole;
        }
        Ok(after)
    }
}

impl Mutation for PatchStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let object = scene.live()?;
        let after = self.patched(scene, object)?;
        for delta in diff::diff_with_status(object, &after) {
            if let Some(why) = forbidden(&delta.path) {
                return Err(format!("{}: {why}", delta.path));
            }
            // The elements of a list are named by their keys, and a pointer by index would be another element tomorrow: a
            // path that is allowed ends at the list, or before it.
            if !self.allows(&delta.path) {
                return Err(format!(
                    "the patch would change {} of {}, which is not under allowPaths",
                    delta.path,
                    scene.name()
                ));
            }
        }
        patching::plan(scene, &after)
    }

    fn participle(&self) -> &'static str {
        "patched"
    }
}

/// Why no Runbook changes what is at a path; `None` if one may.
fn forbidden(path: &str) -> Option<String> {
    if !path.starts_with('/') || path == "/metadata" {
        return Some("a place is a JSON pointer within the object, such as /spec/replicas".to_owned());
    }
    if IDENTITY.iter().any(|place| diff::is_under(path, place)) {
        return Some("who an object is, and whose it is, is not patched".to_owned());
    }
    if diff::is_under(path, "/apiVersion") || diff::is_under(path, "/kind") {
        return Some("the kind of an object is not patched".to_owned());
    }
    if diff::is_under(path, "/status") {
        return Some("the status is what controllers see, and is not patched".to_owned());
    }
    let own = |place: &str| path.strip_prefix(place).is_some_and(|name| name.contains("mayday.dev~1"));
    if own("/metadata/annotations/") || own("/metadata/labels/") {
        return Some("the marks of mayday.dev are Mayday's".to_owned());
    }
    None
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::{ObjectRef, ParameterValue};
    use crate::runbook::steps::stage::{act_of, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "ConfigMap".into(), name: "limits".into() }
    }

    fn step(patch: Value) -> PatchStep {
        let mut value = json!({"target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"}, "allowPaths": ["/data/rate"]});
        json_patch::merge(&mut value, &patch);
        serde_json::from_value(value).unwrap()
    }

    fn object() -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "data": {"rate": "10", "burst": "5"}})
    }

    fn plan(patch: Value) -> Plan {
        let (target, object) = (target(), object());
        let values = [ParameterValue {
            name: "rate".into(),
            string: Some("\"} or vector(1) #".into()),
            integer: None,
        }];
        step(patch).plan(&Scene { values: &values, ..scene(&target, Some(&object)) })
    }

    #[test]
    fn the_effect_of_a_patch_stays_within_its_paths() {
        let act = act_of(&target(), plan(json!({"merge": {"data": {"rate": "20"}}})));
        assert_eq!(act.delta[0].path, "/data/rate");
        let beyond = plan(json!({"merge": {"data": {"rate": "20", "burst": "50"}}})).unwrap_err();
        assert!(beyond.contains("/data/burst"), "{beyond}");
        assert_eq!(plan(json!({"merge": {"data": {"rate": "10"}}})), Ok(None));
        let replaced = plan(json!({"json": [{"op": "replace", "path": "/data", "value": {"rate": "20"}}]}));
        assert!(replaced.unwrap_err().contains("/data/burst"));
    }

    #[test]
    fn a_test_that_fails_stops_the_patch() {
        let with = |value: &str| {
            plan(
                json!({"json": [{"op": "test", "path": "/data/rate", "value": value}, {"op": "replace", "path": "/data/rate", "value": "20"}]}),
            )
        };
        assert!(with("10").unwrap().is_some());
        assert!(with("11").unwrap_err().contains("does not fit"));
    }

    #[test]
    fn who_an_object_is_and_whose_it_is_is_never_patched() {
        for path in
            ["/metadata/ownerReferences", "/metadata/name", "/metadata/finalizers", "/status/x", "/kind"]
        {
            let steps = step(json!({"allowPaths": [path], "merge": {}}));
            let runbook = Default::default();
            let own = Default::default();
            let written = Written { runbook: &runbook, step: &own, path: "spec.steps[0]" };
            assert!(!steps.problems(&written).is_empty(), "{path}");
        }
        let owner = plan(
            json!({"allowPaths": ["/metadata/labels", "/data"], "merge": {"metadata": {"ownerReferences": []}}}),
        );
        assert!(owner.is_err(), "{owner:?}");
        let mark = plan(
            json!({"allowPaths": ["/metadata/annotations"], "merge": {"metadata": {"annotations": {"mayday.dev/operation": "x"}}}}),
        );
        assert!(mark.unwrap_err().contains("Mayday's"));
    }

    /// Parameters are data of a stranger: they are placed as whole values and never read as a part of the patch.
    #[test]
    fn a_parameter_is_placed_as_a_whole_value() {
        let act = act_of(
            &target(),
            plan(json!({"merge": {}, "values": [{"path": "/data/rate", "parameter": "rate"}]})),
        );
        assert_eq!(act.delta[0].after, Some("\"} or vector(1) #".into()));
        let nowhere = plan(
            json!({"merge": {}, "allowPaths": ["/data"], "values": [{"path": "/data/none", "parameter": "rate"}]}),
        );
        assert!(nowhere.unwrap_err().contains("no value at"));
    }

    #[test]
    fn a_patch_that_a_repeat_would_do_twice_is_refused() {
        let bad = step(
            json!({"allowPaths": ["/data"], "json": [{"op": "add", "path": "/data/list/-", "value": 1}]}),
        );
        let (runbook, own) = Default::default();
        let written = Written { runbook: &runbook, step: &own, path: "spec.steps[0]" };
        let found = bad.problems(&written);
        assert_eq!(found[0].path, "spec.steps[0].patch.json[0].path");
        let null = step(json!({"merge": {"data": {"rate": null}}}));
        assert!(has_null(&json!({"data": {"rate": null}})) && null.merge.is_some());
    }
}
