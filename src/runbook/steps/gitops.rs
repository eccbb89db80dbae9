//! The steps `suspendGitOps` and `resumeGitOps`: a GitOps tool takes back what a repair changes, unless it is suspended.
//! Flux has a field for it. Argo CD has none: its automated sync is taken away, kept in an annotation, and put back.

use serde_json::Value;

use super::kind::{StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::patching;
use crate::api::runbook_step::{GitOpsStep, ResumeGitOpsStep, Target};
use crate::problem::Problem;

/// Annotation of an Application with the automated sync that a run has taken away, as JSON.
const AUTOMATED: &str = "mayday.dev/suspended-automated-sync";

/// The kinds of GitOps objects: group and kind.
const KINDS: [(&str, &str); 3] = [
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("helm.toolkit.fluxcd.io", "HelmRelease"),
    ("argoproj.io", "Application"),
];

/// The problem of a target that is no GitOps object.
fn problem(target: &Target, written: &Written<'_>, field: &str) -> Option<Problem> {
    let (Some(_), Some(_)) = (&target.api_version, &target.kind) else { return None };
    let is_known = KINDS.iter().any(|(group, kind)| written.not_of(field, target, group, &[kind]).is_none());
    (!is_known).then(|| {
        written.problem(
            field,
            "only a Kustomization or HelmRelease of Flux, or an Application of Argo CD, is suspended",
        )
    })
}

impl StepKind for GitOpsStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        format!("suspend {}", self.target.words(None))
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        problem(&self.target, written, "suspendGitOps.target").into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl StepKind for ResumeGitOpsStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        format!("resume {}", self.target.words(None))
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        problem(&self.target, written, "resumeGitOps.target").into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

fn is_argo(scene: &Scene<'_>) -> bool {
    scene.target.group() == "argoproj.io"
}

impl Mutation for GitOpsStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let object = scene.live()?;
        let mut after = object.clone();
        if !is_argo(scene) {
            if object.pointer("/spec/suspend") == Some(&true.into()) {
                return Ok(None);
            }
            after["spec"]["suspend"] = true.into();
            return patching::plan(scene, &after);
        }
        let policy = after.pointer_mut("/spec/syncPolicy").and_then(Value::as_object_mut);
        let Some(automated) = policy.and_then(|policy| policy.remove("automated")) else { return Ok(None) };
        patching::mark(&mut after, "/metadata", AUTOMATED, &automated.to_string());
        patching::plan(scene, &after)
    }

    fn participle(&self) -> &'static str {
        "suspended"
    }
}

impl Mutation for ResumeGitOpsStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let object = scene.live()?;
        let mut after = object.clone();
        if !is_argo(scene) {
            if object.pointer("/spec/suspend") != Some(&true.into()) {
                return Ok(None);
            }
            after["spec"]["suspend"] = false.into();
            return patching::plan(scene, &after);
        }
        if object.pointer("/spec/syncPolicy/automated").is_some() {
            return Ok(None);
        }
        let annotations = after.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        let kept = annotations.and_then(|annotations| annotations.remove(AUTOMATED));
        let kept =
            kept.as_ref().and_then(Value::as_str).and_then(|kept| serde_json::from_str::<Value>(kept).ok());
        let Some(automated) = kept else {
            return Err(format!(
                "{} has no automated sync that a run has taken away, so there is nothing to put back",
                scene.name()
            ));
        };
        after["spec"]["syncPolicy"]["automated"] = automated;
        patching::plan(scene, &after)
    }

    fn participle(&self) -> &'static str {
        "resumed"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use crate::runbook::steps::stage::{act_of, applied, scene};
    use serde_json::json;

    fn target(group: &str, kind: &str) -> ObjectRef {
        ObjectRef { api_version: format!("{group}/v1"), kind: kind.into(), name: "shop".into() }
    }

    /// The object after a plan.
    fn after(target: &ObjectRef, object: &Value, plan: Plan) -> Value {
        applied(object, &act_of(target, plan))
    }

    fn suspend(target: &ObjectRef, object: &Value) -> Plan {
        GitOpsStep::default().plan(&scene(target, Some(object)))
    }

    fn resume(target: &ObjectRef, object: &Value) -> Plan {
        ResumeGitOpsStep::default().plan(&scene(target, Some(object)))
    }

    #[test]
    fn flux_is_suspended_and_resumed_by_its_field() {
        let target = target("kustomize.toolkit.fluxcd.io", "Kustomization");
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"path": "./"}});
        assert_eq!(resume(&target, &object), Ok(None));
        let suspended = after(&target, &object, suspend(&target, &object));
        assert_eq!(suspended["spec"]["suspend"], true);
        assert_eq!(suspend(&target, &suspended), Ok(None), "somebody else's suspension is left alone");
        assert_eq!(after(&target, &suspended, resume(&target, &suspended))["spec"]["suspend"], false);
    }

    #[test]
    fn the_automated_sync_of_argo_comes_back_as_it_was() {
        let target = target("argoproj.io", "Application");
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "7"},
            "spec": {"syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "retry": {"limit": 5}}}});
        let suspended = after(&target, &object, suspend(&target, &object));
        assert_eq!(suspended["spec"]["syncPolicy"], json!({"retry": {"limit": 5}}));
        assert_eq!(suspend(&target, &suspended), Ok(None));
        let resumed = after(&target, &suspended, resume(&target, &suspended));
        assert_eq!(resumed["spec"], object["spec"]);
        let manual = json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"syncPolicy": {}}});
        assert!(resume(&target, &manual).unwrap_err().contains("nothing to put back"));
    }
}
