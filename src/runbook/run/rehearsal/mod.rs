//! A drill in a namespace of its own: copies of the workloads are made there, the steps act on them, and at the end they are
//! removed (docs/rules.md#drill-namespace).
//!
//! Everything there is done as the ServiceAccount of that namespace, which says that it is meant for this. The operator has
//! no right of its own, and the originals are only read, as the Runbook's ServiceAccount.

pub mod copy;
pub mod stage;

use crate::api::common::ObjectRef;
use crate::api::drill::DrillMode;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::RunbookRunStatus;
use crate::api::runbook_step::{Step, Target};
use crate::api::{Runbook, RunbookRun};
use crate::runbook::steps;
use crate::runbook::targets::{Implied, POD};

/// Label of a ServiceAccount that drills of Runbooks of another namespace may act as; its value is that namespace.
pub const DRILLS_OF: &str = "mayday.dev/drills-of";

/// Steps that a drill does on its copies. All others reach what people use, ask people, or need a history.
const DONE: [&str; 6] = ["restart", "scale", "patch", "deletePod", "wait", "check"];

/// Whether a run is a drill in a namespace of its own.
pub fn is_one(run: &RunbookRun) -> bool {
    run.spec.drill && !run.spec.dry_run
}

/// The namespace of the drill that a Runbook asks for.
pub fn namespace_of(runbook: &Runbook) -> Option<&str> {
    let drill = runbook.spec.drill.as_ref().filter(|drill| drill.mode == DrillMode::Namespace)?;
    drill.namespace.as_deref()
}

/// Whether a drill does the step; if not, it only says what the step would do.
pub fn does(step: &Step) -> bool {
    let Some(kind) = steps::of(step).filter(|kind| kind.calls().is_none()) else { return false };
    DONE.contains(&steps::member_of(step))
        && kind.target().is_none_or(|target| is_there(target, kind.implied()))
}

/// Whether a drill takes the step back as its Runbook says.
pub fn takes_back(step: &Step) -> bool {
    steps::compensation_of(step)
        .is_some_and(|kind| kind.target().is_none_or(|target| is_there(target, kind.implied())))
}

/// Whether the objects of a target may be copies, or pods of copies.
pub fn is_there(target: &Target, implied: Implied) -> bool {
    match target.kind_of(implied) {
        Some((api_version, kind)) => {
            let object = ObjectRef {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                ..ObjectRef::default()
            };
            Some((api_version, kind)) == POD || copy::is_copied(&object)
        }
        None => target.from_incident.is_some(),
    }
}

/// The steps that a drill does, as they are written.
pub fn done(spec: &RunbookSpec) -> impl Iterator<Item = &Step> {
    spec.steps.iter().filter(|step| does(step))
}

/// Whether the copies of a drill are there, so that it may begin.
pub fn is_staged(status: &RunbookRunStatus) -> bool {
    status.drill.as_ref().is_some_and(|drill| drill.ready_time.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_drill_does_only_what_stays_in_its_namespace() {
        let target = |kind: &str| {
            let api_version = if matches!(kind, "Node" | "Pod" | "ConfigMap") { "v1" } else { "apps/v1" };
            json!({"apiVersion": api_version, "kind": kind, "name": "checkout"})
        };
        let does = |step: Value| {
            let mut whole = json!({"name": "s"});
            json_patch::merge(&mut whole, &step);
            super::does(&serde_json::from_value(whole).unwrap())
        };
        let patch =
            |kind: &str| json!({"patch": {"target": target(kind), "merge": {}, "allowPaths": ["/spec"]}});
        for step in [
            json!({"restart": {"target": target("Deployment")}}),
            json!({"restart": {"target": {"fromIncident": {}}}}),
            json!({"scale": {"target": target("StatefulSet"), "replicas": 3}}),
            patch("Deployment"),
            json!({"deletePod": {"target": {"selector": {"matchLabels": {"app": "checkout"}}}}}),
            json!({"wait": {"duration": "1s"}}),
            json!({"check": {"rollout": {"target": target("Deployment")}}}),
        ] {
            assert!(does(step.clone()), "{step}");
        }
        for step in [
            json!({"restart": {"target": target("DaemonSet")}}),
            patch("ConfigMap"),
            json!({"rollback": {"target": target("Deployment"), "to": "Previous"}}),
            json!({"drain": {"target": {"name": "worker-1"}}}),
            json!({"cordon": {"target": {"name": "worker-1"}}}),
            json!({"http": {"url": "http://cache", "method": "PUT", "idempotency": "Key"}}),
            json!({"check": {"http": {"url": "http://checkout"}}}),
            json!({"manual": {"instructions": "look"}}),
            json!({"approval": {"question": "may it?"}}),
        ] {
            assert!(!does(step.clone()), "{step}");
        }
    }
}
