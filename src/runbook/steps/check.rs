//! The step `check`: what must be seen on a live object. Missing data does not pass.

use serde_json::Value;

use crate::api::check::{ConditionCheck, RolloutCheck};
use crate::api::runbook::CheckStep;

/// What was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// As it should be.
    Passes(String),
    /// Not yet, and what is missing.
    NotYet(String),
}

/// What the step waits for, in words.
pub fn summary(step: &CheckStep) -> String {
    match (&step.rollout, &step.condition) {
        (Some(check), _) => format!("wait until {} is rolled out", check.target.display()),
        (None, Some(check)) => {
            format!("wait until {} is {}={}", check.target.display(), check.type_, check.status)
        }
        (None, None) => "check nothing".to_owned(),
    }
}

/// Looks at the live object, `None` where there is none.
pub fn look(step: &CheckStep, object: Option<&Value>) -> Seen {
    match (&step.rollout, &step.condition, object) {
        (Some(RolloutCheck { target }), _, None) | (None, Some(ConditionCheck { target, .. }), None) => {
            Seen::NotYet(format!("{} does not exist", target.display()))
        }
        (Some(check), _, Some(object)) => rollout(check, object),
        (None, Some(check), Some(object)) => condition(check, object),
        (None, None, _) => Seen::NotYet("nothing to look at".to_owned()),
    }
}

/// The newest template runs on all replicas, all are available, and the controller speaks of this generation.
fn rollout(check: &RolloutCheck, object: &Value) -> Seen {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let name = check.target.display();
    let generation = number("/metadata/generation");
    if generation.is_none() || number("/status/observedGeneration") < generation {
        return Seen::NotYet(format!("the controller has not looked at the last change of {name} yet"));
    }
    // A DaemonSet says how many pods there should be; the others are told.
    let (wanted, updated, available, total) = if check.target.kind == "DaemonSet" {
        (
            number("/status/desiredNumberScheduled"),
            number("/status/updatedNumberScheduled"),
            number("/status/numberAvailable"),
            number("/status/currentNumberScheduled"),
        )
    } else {
        (
            number("/spec/replicas"),
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
            number("/status/replicas"),
        )
    };
    let Some(wanted) = wanted else {
        return Seen::NotYet(format!("{name} does not say how many replicas it should have"));
    };
    let (updated, available, total) = (updated.unwrap_or(0), available.unwrap_or(0), total.unwrap_or(0));
    if updated == wanted && available >= wanted && total == wanted {
        return Seen::Passes(format!("{name} runs its newest template on all {wanted} replicas"));
    }
    Seen::NotYet(format!(
        "{name}: {updated} of {wanted} replicas are updated, {available} available, {total} in all"
    ))
}

fn condition(check: &ConditionCheck, object: &Value) -> Seen {
    let name = check.target.display();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(&check.type_));
    let status = found.and_then(|condition| condition.get("status")).and_then(Value::as_str);
    match status {
        Some(status) if status == check.status => Seen::Passes(format!("{name} is {}={status}", check.type_)),
        Some(status) => Seen::NotYet(format!("{name} is {}={status}, not {}", check.type_, check.status)),
        None => Seen::NotYet(format!("{name} has no condition {}", check.type_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use serde_json::json;

    fn target(kind: &str) -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: kind.into(), name: "checkout".into() }
    }

    fn rollout_of(kind: &str) -> CheckStep {
        CheckStep { rollout: Some(RolloutCheck { target: target(kind) }), condition: None }
    }

    fn deployment(generation: i64, updated: i64, available: i64, total: i64) -> Value {
        json!({
            "metadata": {"generation": generation},
            "spec": {"replicas": 3},
            "status": {"observedGeneration": 4, "updatedReplicas": updated, "availableReplicas": available, "replicas": total},
        })
    }

    #[test]
    fn a_rollout_passes_only_when_the_newest_template_runs_everywhere() {
        let step = rollout_of("Deployment");
        assert!(matches!(look(&step, Some(&deployment(4, 3, 3, 3))), Seen::Passes(_)));
        for not_yet in
            [deployment(5, 3, 3, 3), deployment(4, 2, 3, 3), deployment(4, 3, 2, 3), deployment(4, 3, 3, 4)]
        {
            assert!(matches!(look(&step, Some(&not_yet)), Seen::NotYet(_)), "{not_yet}");
        }
    }

    #[test]
    fn missing_data_does_not_pass() {
        let step = rollout_of("Deployment");
        assert!(matches!(look(&step, None), Seen::NotYet(_)));
        assert!(matches!(look(&step, Some(&json!({}))), Seen::NotYet(_)));
        assert!(matches!(
            look(&step, Some(&json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}}))),
            Seen::NotYet(_)
        ));
        let daemon = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}});
        assert!(matches!(look(&rollout_of("DaemonSet"), Some(&daemon)), Seen::NotYet(_)));
    }

    #[test]
    fn a_condition_must_have_the_status_that_was_asked_for() {
        let check =
            ConditionCheck { target: target("Deployment"), type_: "Available".into(), status: "True".into() };
        let step = CheckStep { rollout: None, condition: Some(check) };
        let with =
            |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(matches!(look(&step, Some(&with("True"))), Seen::Passes(_)));
        assert!(matches!(look(&step, Some(&with("False"))), Seen::NotYet(_)));
        assert!(matches!(look(&step, Some(&json!({"status": {}}))), Seen::NotYet(_)));
    }
}
