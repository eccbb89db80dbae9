//! The step `check`: waits until a live object is as it should be. Missing data does not pass.

use jiff::Timestamp;
use serde_json::Value;

use super::kind::{Poll, Progress, StepKind, Work, Written};
use super::unreadable;
use crate::api::check::ConditionCheck;
use crate::api::common::ObjectRef;
use crate::api::runbook::CheckStep;
use crate::cluster::rollout::{self, Rollout};
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
        let Some(object) = object else {
            return Progress::NotYet { message: format!("{} does not exist", target.display()), until: None };
        };
        if let Some(check) = &self.condition {
            return match condition(check, object) {
                Ok(message) => Progress::Done(message),
                Err(message) => Progress::NotYet { message, until: None },
            };
        }
        match rollout::status(&target.kind, object, &target.display()) {
            Rollout::Complete(message) => Progress::Done(message),
            Rollout::Unobserved(message) | Rollout::Underway(message) => {
                Progress::NotYet { message, until: None }
            }
            Rollout::Failed(message) => Progress::Failed(message),
        }
    }
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
    use crate::api::check::RolloutCheck;
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

    #[test]
    fn a_rollout_passes_fails_or_waits_as_kubectl_says() {
        let step = rollout_of("Deployment");
        let object = |updated: i64, reason: &str| {
            json!({"metadata": {"generation": 4}, "spec": {"replicas": 3}, "status": {"observedGeneration": 4,
                "updatedReplicas": updated, "availableReplicas": 3, "replicas": 3,
                "conditions": [{"type": "Progressing", "reason": reason}]}})
        };
        let poll = |object: Value| step.poll(Some(&object), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        assert!(matches!(poll(object(3, "NewReplicaSetAvailable")), Progress::Done(_)));
        assert!(matches!(poll(object(2, "ReplicaSetUpdated")), Progress::NotYet { .. }));
        assert!(matches!(poll(object(2, "ProgressDeadlineExceeded")), Progress::Failed(_)));
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
