//! The step `restart`: as `kubectl rollout restart`, but with the operation id as the value of Mayday's own
//! annotation on the pod template. A time as the value would restart again on every repeat; the operation id makes a
//! repeat a no-op, and proves afterwards whether the restart happened.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::{Progress, StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::{is_workload, patching, rolled_out};
use crate::api::runbook_run::Act;
use crate::api::runbook_step::{RestartStep, Target};
use crate::cluster::rollout;
use crate::problem::Problem;

/// Annotation on the pod template with the id of the operation that restarted the workload last.
pub const RESTARTED_BY: &str = "mayday.dev/restarted-by";
/// JSON pointer to the metadata of the pod template.
const METADATA: &str = "/spec/template/metadata";

impl StepKind for RestartStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        format!("restart {}", self.target.words(None))
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        written.not_a_workload("restart.target", &self.target).into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for RestartStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let object = scene.live()?;
        if !is_workload(scene.target) {
            return Err(format!(
                "{name} cannot be restarted: only a Deployment, StatefulSet or DaemonSet can"
            ));
        }
        if let Some(why) = rollout::replaces_nothing(&scene.target.kind, object, &name) {
            return Err(why);
        }
        if restarted_by(object) == Some(scene.operation_id) {
            return Ok(None);
        }
        let mut after = object.clone();
        if let Some(template) = after.pointer_mut("/spec/template").and_then(Value::as_object_mut) {
            template.entry("metadata").or_insert_with(|| json!({}));
        }
        patching::mark(&mut after, METADATA, RESTARTED_BY, scene.operation_id);
        patching::exactly(scene, object, &after)
    }

    fn settles(&self, several: bool) -> bool {
        several
    }

    fn settle(&self, _act: &Act, scene: &Scene<'_>, _now: Timestamp) -> Progress {
        rolled_out(scene.target, scene.object)
    }

    fn participle(&self) -> &'static str {
        "restarted"
    }
}

fn restarted_by(object: &Value) -> Option<&str> {
    patching::text(object, "/spec/template/metadata/annotations/mayday.dev~1restarted-by")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use crate::runbook::steps::mutation::Proof;
    use crate::runbook::steps::stage::{act_of, applied, scene};

    fn target(api_version: &str, kind: &str) -> ObjectRef {
        ObjectRef { api_version: api_version.into(), kind: kind.into(), name: "checkout".into() }
    }

    fn deployment() -> ObjectRef {
        target("apps/v1", "Deployment")
    }

    fn object(by: Option<&str>, generation: i64) -> Value {
        let annotations = by.map_or(json!({}), |by| json!({RESTARTED_BY: by}));
        json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "generation": generation},
            "spec": {"replicas": 3, "template": {"metadata": {"annotations": annotations}}},
        })
    }

    fn plan(target: &ObjectRef, object: Option<&Value>) -> Plan {
        RestartStep::default().plan(&scene(target, object))
    }

    fn probe(act: &Act, object: Option<&Value>, refused: bool) -> Proof {
        RestartStep::default().probe(act, &scene(&deployment(), object), refused)
    }

    #[test]
    fn the_request_does_what_the_stored_delta_says_and_nothing_else() {
        let live = object(Some("earlier"), 4);
        let act = act_of(&deployment(), plan(&deployment(), Some(&live)));
        assert_eq!((act.delta.len(), act.delta[0].before.clone()), (1, Some("earlier".into())));
        let mut expected = live.clone();
        *expected.pointer_mut(&act.delta[0].path).unwrap() = act.delta[0].after.clone().unwrap();
        assert_eq!(applied(&live, &act), expected);
    }

    #[test]
    fn a_template_without_annotations_or_metadata_can_be_restarted() {
        for template in [json!({}), json!({"metadata": {}}), json!({"metadata": {"annotations": null}})] {
            let mut live = object(None, 4);
            live["spec"]["template"] = template;
            let act = act_of(&deployment(), plan(&deployment(), Some(&live)));
            assert_eq!(restarted_by(&applied(&live, &act)), Some("run/step/0"));
        }
    }

    #[test]
    fn a_restart_that_would_do_nothing_is_refused() {
        let mut paused = object(None, 4);
        paused["spec"]["paused"] = true.into();
        let refused = |object: &Value, word: &str| matches!(plan(&deployment(), Some(object)), Err(message) if message.contains(word));
        assert!(refused(&paused, "paused"));
        let mut scaled_down = object(None, 4);
        scaled_down["spec"]["replicas"] = 0.into();
        assert!(refused(&scaled_down, "0 replicas"));
        assert!(plan(&target("v1", "Pod"), Some(&object(None, 4))).is_err());
        assert_eq!(plan(&deployment(), None), Err("deployment/checkout does not exist".into()));
    }

    #[test]
    fn a_repeat_of_the_same_operation_changes_nothing() {
        assert_eq!(plan(&deployment(), Some(&object(Some("run/step/0"), 5))), Ok(None));
    }

    #[test]
    fn the_live_object_proves_whether_the_restart_happened() {
        let before = object(None, 4);
        let act = act_of(&deployment(), plan(&deployment(), Some(&before)));
        assert_eq!(probe(&act, Some(&object(Some("run/step/0"), 5)), false), Proof::Done);
        assert_eq!(probe(&act, Some(&before), false), Proof::NotDone);
    }

    #[test]
    fn an_outcome_without_proof_is_unprovable() {
        let act = act_of(&deployment(), plan(&deployment(), Some(&object(None, 4))));
        let another = json!({"metadata": {"uid": "v", "generation": 4}});
        for unprovable in [None, Some(&another), Some(&object(None, 5)), Some(&object(Some("other"), 6))] {
            assert!(matches!(probe(&act, unprovable, false), Proof::Unprovable(_)), "{unprovable:?}");
            assert_eq!(probe(&act, unprovable, true), Proof::NotDone);
        }
    }
}
