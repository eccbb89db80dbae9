//! The step `check`: waits until live objects are as they should be. Missing data does not pass.

use jiff::Timestamp;
use serde_json::Value;

use super::kind::{Found, Poll, Progress, StepKind, Work, Written};
use super::rolled_out;
use crate::api::runbook_step::{CheckStep, ConditionStep, STEP_CHECK_MEMBERS, Target};
use crate::outbound::look::Look;
use crate::outbound::{HttpUrl, encode};
use crate::problem::Problem;
use crate::runbook::preconditions;

impl StepKind for CheckStep {
    fn target(&self) -> Option<&Target> {
        let rollout = self.rollout.as_ref().map(|check| &check.target);
        let condition = || self.condition.as_ref().map(|check| &check.target);
        rollout.or_else(condition).or_else(|| self.expression.as_ref().map(|check| &check.target))
    }

    fn target_field(&self) -> &'static str {
        match (&self.rollout, &self.condition) {
            (Some(_), _) => "rollout.target",
            (None, Some(_)) => "condition.target",
            (None, None) => "expression.target",
        }
    }

    fn calls(&self) -> Option<(&'static str, &str)> {
        let query = self.query.as_ref().map(|query| ("check.query.url", query.url.as_str()));
        query.or_else(|| self.http.as_ref().map(|http| ("check.http.url", http.url.as_str())))
    }

    fn summary(&self) -> String {
        match self.outside() {
            Some(Look::Query(check)) => {
                let limit = check.above.as_ref().map(|limit| format!("above {limit}"));
                let limit = limit.or_else(|| check.below.as_ref().map(|limit| format!("below {limit}")));
                return format!("wait until {} is {}", check.prom_ql, limit.unwrap_or_default());
            }
            Some(Look::Http(check)) => return format!("wait until {} answers {}", check.url, check.status),
            None => {}
        }
        let Some(target) = self.target() else { return "check nothing".to_owned() };
        let name = target.words(None);
        match (&self.rollout, &self.condition, &self.expression) {
            (_, Some(check), _) => format!("wait until {name} is {}={}", check.type_, check.status),
            (_, _, Some(check)) => format!("wait until `{}` holds for {name}", check.expression),
            _ => format!("wait until {name} is rolled out"),
        }
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found = Vec::new();
        let of_objects = [self.rollout.is_some(), self.condition.is_some(), self.expression.is_some()];
        let set = of_objects.into_iter().chain([self.query.is_some(), self.http.is_some()]);
        if set.filter(|is_set| *is_set).count() != 1 {
            let message = format!("set exactly one of {}", STEP_CHECK_MEMBERS.join(", "));
            found.push(written.problem("check", message));
        }
        if let Some((field, url)) = self.calls()
            && let Err(why) = HttpUrl::parse(url)
        {
            found.push(written.problem(field, why));
        }
        if let Some(query) = &self.query {
            match encode::parameters(&query.prom_ql) {
                Ok(names) => {
                    found.extend(
                        names.into_iter().filter_map(|name| written.no_text("check.query.promQL", name)),
                    );
                }
                Err(why) => found.push(written.problem("check.query.promQL", why)),
            }
        }
        if let Some(rollout) = &self.rollout {
            found.extend(written.not_a_workload("check.rollout.target", &rollout.target));
        }
        if let Some(check) = &self.expression
            && let Err(message) = preconditions::compile(&check.expression)
        {
            found.push(written.problem("check.expression.expression", message));
        }
        found
    }

    fn secrets(&self) -> Vec<String> {
        self.outside().and_then(|look| look.secret()).map(|secret| secret.name.clone()).into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Poll(self)
    }
}

impl Poll for CheckStep {
    fn outside(&self) -> Option<Look<'_>> {
        self.query.as_ref().map(Look::Query).or_else(|| self.http.as_ref().map(Look::Http))
    }

    fn poll(&self, objects: &[Found<'_>], _started: Timestamp, _now: Timestamp) -> Progress {
        Progress::of_all(objects.iter().map(|found| {
            let Some(object) = found.object else {
                return Progress::not_yet(format!("{} does not exist", found.name()));
            };
            let verdict = match (&self.condition, &self.expression) {
                (Some(check), _) => condition(check, &found.name(), object),
                (None, Some(check)) => preconditions::judge(&check.expression, object)
                    .map(|()| format!("`{}` holds for {}", check.expression, found.name()))
                    .map_err(|why| format!("{}: {why}", found.name())),
                (None, None) => return rolled_out(&found.target.object, found.object),
            };
            verdict.map_or_else(Progress::not_yet, Progress::Done)
        }))
    }
}

/// Passes when the condition has the status that was asked for. An error says what is missing.
fn condition(check: &ConditionStep, name: &str, object: &Value) -> Result<String, String> {
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
    use crate::api::common::ObjectRef;
    use crate::api::runbook::RunbookSpec;
    use crate::api::runbook_run::Resolved;
    use crate::api::runbook_step::RolloutStep;
    use serde_json::json;

    fn target(kind: &str) -> Target {
        serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": kind, "name": "checkout"})).unwrap()
    }

    fn rollout_of(kind: &str) -> CheckStep {
        CheckStep { rollout: Some(RolloutStep { target: target(kind) }), ..CheckStep::default() }
    }

    fn poll(step: &CheckStep, objects: &[Option<&Value>]) -> Progress {
        let object: ObjectRef = step.target().and_then(|target| target.named(None)).unwrap();
        let resolved = Resolved { object, uid: None };
        let found: Vec<Found> =
            objects.iter().map(|object| Found { target: &resolved, object: *object }).collect();
        step.poll(&found, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
    }

    fn passes(step: &CheckStep, object: Option<&Value>) -> bool {
        match poll(step, &[object]) {
            Progress::Done(_) => true,
            Progress::NotYet { .. } => false,
            Progress::Failed(message) | Progress::Unknown(message) => panic!("{message}"),
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
        let poll = |object: Value| poll(&step, &[Some(&object)]);
        assert!(matches!(poll(object(3, "NewReplicaSetAvailable")), Progress::Done(_)));
        assert!(matches!(poll(object(2, "ReplicaSetUpdated")), Progress::NotYet { .. }));
        assert!(matches!(poll(object(2, "ProgressDeadlineExceeded")), Progress::Failed(_)));
    }

    #[test]
    fn a_check_outside_is_one_of_the_members_and_its_fields_are_named() {
        let said = |check: Value| {
            let runbook: RunbookSpec =
                serde_json::from_value(json!({"summary": "s", "serviceAccountName": "a",
                "parameters": [{"name": "queue", "string": {}}, {"name": "count", "integer": {}}],
                "steps": [{"name": "s", "check": check}]}))
                .unwrap();
            let step = &runbook.steps[0];
            let written = Written { runbook: &runbook, step, path: "spec.steps[0]" };
            let found = step.check.as_ref().unwrap().problems(&written);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let query =
            |prom_ql: &str| json!({"query": {"url": "http://p:9090", "promQL": prom_ql, "below": "1"}});
        assert_eq!(said(query(r#"max(queue{queue="$queue"})"#)), "");
        let http = json!({"http": {"url": "http://shop:8080/healthz"}});
        assert_eq!(said(http.clone()), "");
        for (check, why) in [
            (
                query(r#"up{a="$none"}"#),
                "spec.steps[0].check.query.promQL: no string parameter is named \"none\"",
            ),
            (query(r#"up{a="$count"}"#), "no string parameter is named \"count\""),
            (
                query(r#"up{a=~"$queue"}"#),
                "spec.steps[0].check.query.promQL: $queue: a parameter stands after",
            ),
            (
                json!({"http": {"url": "http://127.1"}}),
                "spec.steps[0].check.http.url: it is not in its normal form",
            ),
            (
                json!({"http": http["http"], "query": query("up")["query"]}),
                "set exactly one of rollout, condition,",
            ),
            (json!({}), "set exactly one of rollout"),
        ] {
            let said = said(check.clone());
            assert!(said.contains(why), "{check}: {said}");
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
            ConditionStep { target: target("Deployment"), type_: "Available".into(), status: "True".into() };
        let step = CheckStep { condition: Some(check), ..CheckStep::default() };
        let with =
            |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status}]}});
        assert!(passes(&step, Some(&with("True"))));
        assert!(!passes(&step, Some(&with("False"))));
        assert!(!passes(&step, Some(&json!({"status": {}}))));
    }

    #[test]
    fn every_object_must_pass_and_one_that_failed_decides() {
        let check = json!({"expression": {"target": {"apiVersion": "v1", "kind": "Pod", "selector": {"matchLabels": {"a": "b"}}},
            "expression": "object.spec.ready"}});
        let step: CheckStep = serde_json::from_value(check).unwrap();
        let object = |ready: bool| json!({"spec": {"ready": ready}});
        let resolved = Resolved {
            object: ObjectRef { api_version: "v1".into(), kind: "Pod".into(), name: "p".into() },
            uid: None,
        };
        let poll = |objects: &[Value]| {
            let found: Vec<Found> =
                objects.iter().map(|object| Found { target: &resolved, object: Some(object) }).collect();
            step.poll(&found, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
        };
        assert!(matches!(poll(&[object(true), object(true)]), Progress::Done(_)));
        assert!(matches!(poll(&[object(true), object(false)]), Progress::NotYet { .. }));
        assert!(matches!(poll(&[object(true), json!({})]), Progress::NotYet { .. }));
    }
}
