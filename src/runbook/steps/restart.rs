//! The step `restart`: as `kubectl rollout restart`, but with the operation id as the value of Mayday's own
//! annotation on the pod template. A time as the value would restart again on every repeat; the operation id makes a
//! repeat a no-op, and proves afterwards whether the restart happened.

use serde_json::{Value, json};

use super::is_workload;
use super::kind::{StepKind, Work, Written};
use super::mutation::{Change, Mutation, Phrase, Plan, Proof, Write};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::runbook::RestartStep;
use crate::api::runbook_run::Intent;
use crate::cluster::rollout;
use crate::problem::Problem;

/// Annotation on the pod template with the id of the operation that restarted the workload last.
pub const RESTARTED_BY: &str = "mayday.dev/restarted-by";
/// JSON pointer to the annotation, as a delta names it.
const PATH: &str = "/spec/template/metadata/annotations/mayday.dev~1restarted-by";

impl StepKind for RestartStep {
    fn target(&self) -> Option<&ObjectRef> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        format!("restart {}", self.target.display())
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        written.not_a_workload("restart.target", &self.target).into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for RestartStep {
    fn plan(&self, object: Option<&Value>, operation_id: &str) -> Plan {
        let name = self.target.display();
        let Some(object) = object else { return Plan::Refuse(format!("{name} does not exist")) };
        if !is_workload(&self.target) {
            return Plan::Refuse(format!(
                "{name} cannot be restarted: only a Deployment, StatefulSet or DaemonSet can"
            ));
        }
        if let Some(why) = rollout::replaces_nothing(&self.target.kind, object, &name) {
            return Plan::Refuse(why);
        }
        let (Some(uid), Some(resource_version)) =
            (text(object, "/metadata/uid"), text(object, "/metadata/resourceVersion"))
        else {
            return Plan::Refuse(format!("{name} was read without uid and resourceVersion"));
        };
        let before = annotation(object);
        if before == Some(operation_id) {
            return Plan::Nothing;
        }
        let delta = Delta {
            path: PATH.to_owned(),
            before: before.map(Value::from),
            after: Some(operation_id.into()),
        };
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
        Plan::Change(Change { uid, resource_version, generation, delta: vec![delta] })
    }

    fn write(&self, intent: &Intent) -> Write {
        // uid and resourceVersion make the API server refuse it for another object, or for a later version.
        Write::Patch(json!({
            "metadata": {"uid": intent.uid, "resourceVersion": intent.resource_version},
            "spec": {"template": {"metadata": {"annotations": {RESTARTED_BY: intent.operation_id}}}},
        }))
    }

    fn probe(&self, intent: &Intent, object: Option<&Value>, refused: bool) -> Proof {
        let name = intent.target.display();
        let Some(object) =
            object.filter(|object| text(object, "/metadata/uid").as_deref() == Some(&intent.uid))
        else {
            let lost =
                format!("{name} was deleted meanwhile, and with it the proof of whether it was restarted");
            return if refused { Proof::NotDone } else { Proof::Unprovable(lost) };
        };
        let present = annotation(object);
        if present == Some(intent.operation_id.as_str()) {
            return Proof::Done;
        }
        // Every change of the spec raises the generation. While the generation is the same, the annotation cannot
        // have been set and removed again, as a GitOps tool might do.
        let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
        if refused || (generation.is_some() && generation == intent.generation) {
            return Proof::NotDone;
        }
        Proof::Unprovable(format!(
            "{name} was changed by somebody else while the restart was on its way, so nobody can tell whether it \
             happened: kubectl rollout history -n {} {name}",
            namespace(object)
        ))
    }

    fn phrase(&self) -> Phrase {
        Phrase { object: self.target.display(), participle: "restarted".to_owned() }
    }
}

fn namespace(object: &Value) -> &str {
    object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

fn annotation(object: &Value) -> Option<&str> {
    object.pointer(PATH).and_then(Value::as_str)
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(api_version: &str, kind: &str) -> RestartStep {
        let target =
            ObjectRef { api_version: api_version.into(), kind: kind.into(), name: "checkout".into() };
        RestartStep { target }
    }

    fn step() -> RestartStep {
        of("apps/v1", "Deployment")
    }

    fn patch(intent: &Intent) -> Value {
        let Write::Patch(patch) = step().write(intent);
        patch
    }

    fn object(by: Option<&str>, generation: i64) -> Value {
        let annotations = by.map_or(json!({}), |by| json!({RESTARTED_BY: by}));
        json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "generation": generation},
            "spec": {"replicas": 3, "template": {"metadata": {"annotations": annotations}}},
        })
    }

    fn intent(object: &Value) -> Intent {
        let Plan::Change(change) = step().plan(Some(object), "run/restart/0") else { panic!("no change") };
        Intent {
            operation_id: "run/restart/0".into(),
            target: step().target,
            uid: change.uid,
            resource_version: change.resource_version,
            generation: change.generation,
            delta: change.delta,
            ..Intent::default()
        }
    }

    #[test]
    fn the_patch_does_what_the_stored_delta_says_and_nothing_else() {
        let mut live = object(Some("earlier"), 4);
        let intent = intent(&live);
        assert_eq!(intent.delta[0].before, Some("earlier".into()));
        let mut expected = live.clone();
        *expected.pointer_mut(&intent.delta[0].path).unwrap() = intent.delta[0].after.clone().unwrap();
        json_patch::merge(&mut live, &patch(&intent));
        assert_eq!(live, expected);
    }

    #[test]
    fn the_patch_names_the_object_and_the_version_that_were_looked_at() {
        let patch = patch(&intent(&object(None, 4)));
        assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
    }

    #[test]
    fn a_restart_that_would_do_nothing_is_refused() {
        let mut paused = object(None, 4);
        paused["spec"]["paused"] = true.into();
        assert!(
            matches!(step().plan(Some(&paused), "id"), Plan::Refuse(message) if message.contains("paused"))
        );
        let mut scaled_down = object(None, 4);
        scaled_down["spec"]["replicas"] = 0.into();
        assert!(
            matches!(step().plan(Some(&scaled_down), "id"), Plan::Refuse(message) if message.contains("0 replicas"))
        );
        assert!(matches!(of("v1", "Pod").plan(Some(&object(None, 4)), "id"), Plan::Refuse(_)));
        assert_eq!(step().plan(None, "id"), Plan::Refuse("deployment/checkout does not exist".into()));
    }

    #[test]
    fn a_repeat_of_the_same_operation_changes_nothing() {
        assert_eq!(step().plan(Some(&object(Some("run/restart/0"), 5)), "run/restart/0"), Plan::Nothing);
    }

    #[test]
    fn the_live_object_proves_whether_the_restart_happened() {
        let before = object(None, 4);
        let intent = intent(&before);
        assert_eq!(step().probe(&intent, Some(&object(Some("run/restart/0"), 5)), false), Proof::Done);
        assert_eq!(step().probe(&intent, Some(&before), false), Proof::NotDone);
    }

    #[test]
    fn an_outcome_without_proof_is_unprovable() {
        let intent = intent(&object(None, 4));
        let another = json!({"metadata": {"uid": "v", "generation": 4}});
        for unprovable in [None, Some(&another), Some(&object(None, 5)), Some(&object(Some("other"), 6))] {
            assert!(
                matches!(step().probe(&intent, unprovable, false), Proof::Unprovable(_)),
                "{unprovable:?}"
            );
            assert_eq!(step().probe(&intent, unprovable, true), Proof::NotDone);
        }
    }
}
