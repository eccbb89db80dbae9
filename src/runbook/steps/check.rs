//! The step `check`: waits until a live object is as it should be. Missing data does not pass.

use jiff::Timestamp;
use serde_json::Value;

use super::kind::{Poll, Progress, StepKind, Work, Written};
use super::unreadable;
use crate::api::check::{ConditionCheck, RolloutCheck};
use crate::api::common::ObjectRef;
use crate::api::runbook::CheckStep;
use crate::problem::Problem;

impl StepKind for CheckStep {
    fn target(&self) -> Option<&ObjectRef> {
        let rollout = self.rollout.as_ref().map(|check| &check.target);
        rollout.or_else(|| self.condition.as_ref().map(|check| &check.target))
    }

    fn summary(&self) -> String {
        match (&self.rollout, &self.condition) {
            (Some(check), _) => format!("wait until {} is rolled out", check.target.display()),
            (None, Some(check)) => {
                format!("wait until {} is {}={}", check.target.display(), check.type_, check.status)
            }
            (None, None) => "check nothing".to_owned(),
        }
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found = Vec::new();
        if self.rollout.is_some() == self.condition.is_some() {
            found.push(written.problem("check", "set exactly one of rollout, condition"));
        }
        if let Some(rollout) = &self.rollout {
            found.extend(written.not_a_workload("check.rollout.target", &rollout.target));
        }
        if let Some(condition) = &self.condition {
            found.extend(unreadable(&condition.target, &format!("{}.check.condition.target", written.path)));
        }
        found
    }

    fn work(&self) -> Work<'_> {
        Work::Poll(self)
    }
}

impl Poll for CheckStep {
    fn poll(&self, object: Option<&Value>, _started: Timestamp, _now: Timestamp) -> Progress {
        let Some(target) = self.target() else {
            return Progress::Failed("the check looks at nothing".to_owned());
        };
        let seen = match (&self.rollout, &self.condition, object) {
            (_, _, None) => Err(format!("{} does not exist", target.display())),
            (Some(check), _, Some(object)) => rollout(check, object),
            (None, Some(check), Some(object)) => condition(check, object),
            (None, None, Some(_)) => Err("nothing to look at".to_owned()),
        };
        match seen {
            Ok(message) => Progress::Done(message),
            Err(message) => Progress::NotYet { message, until: None },
        }
    }
}

/// Passes when the newest template runs on all replicas, all are available, and the controller has observed this
/// generation. An error says what is missing.
fn rollout(check: &RolloutCheck, object: &Value) -> Result<String, String> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let name = check.target.display();
    let generation = number("/metadata/generation");
    if generation.is_none() || number("/status/observedGeneration") < generation {
        return Err(format!("the controller has not looked at the last change of {name} yet"));
    }
    // The number of pods is in the spec, except for a DaemonSet.
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
        return Err(format!("{name} does not say how many replicas it should have"));
    };
    let (updated, available, total) = (updated.unwrap_or(0), available.unwrap_or(0), total.unwrap_or(0));
    if updated == wanted && available >= wanted && total == wanted {
        return Ok(format!("{name} runs its newest template on all {wanted} replicas"));
    }
    Err(format!("{name}: {updated} of {wanted} replicas are updated, {available} available, {total} in all"))
}

/// Passes when the condition has the status that was asked for. An error says what is missing.
fn condition(check: &ConditionCheck, object: &Value) -> Result<String, String> {
    let name = check.target.display();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(&check.type_));
    let status = found.and_then(|condition| condition.get("status")).and_then(Value::as_str);
    match status {
        Some(status) if status == check.status => Ok(format!("{name} is {}={status}", check.type_)),
        Some(status) => Err(format!("{name} is {}={status}, not {}", check.type_, check.status)),
        None => Err(format!("{name} has no condition {}", check.type_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(kind: &str) -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: kind.into(), name: "checkout".into() }
    }

    fn rollout_of(kind: &str) -> CheckStep {
        CheckStep { rollout: Some(RolloutCheck { target: target(kind) }), condition: None }
    }

    fn passes(step: &CheckStep, object: Option<&Value>) -> bool {
        match step.poll(object, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH) {
            Progress::Done(_) => true,
            Progress::NotYet { .. } => false,
            Progress::Failed(message) => panic!("{message}"),
        }
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
        assert!(passes(&step, Some(&deployment(4, 3, 3, 3))));
        for not_yet in
            [deployment(5, 3, 3, 3), deployment(4, 2, 3, 3), deployment(4, 3, 2, 3), deployment(4, 3, 3, 4)]
        {
            assert!(!passes(&step, Some(&not_yet)), "{not_yet}");
        }
    }

    #[test]
    fn missing_data_does_not_pass() {
        let step = rollout_of("Deployment");
        assert!(!passes(&step, None));
        assert!(!passes(&step, Some(&json!({}))));
        assert!(!passes(&step, Some(&json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}}))));
        let daemon = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}});
        assert!(!passes(&rollout_of("DaemonSet"), Some(&daemon)));
    }

    #[test]
    fn a_condition_must_have_the_status_that_was_asked_for() {
        let check =
            ConditionCheck { target: target("Deployment"), type_: "Available".into(), status: "True".into() };
        let step = CheckStep { rollout: None, condition: Some(check) };
        let with =
            |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(passes(&step, Some(&with("True"))));
        assert!(!passes(&step, Some(&with("False"))));
        assert!(!passes(&step, Some(&json!({"status": {}}))));
    }
}
