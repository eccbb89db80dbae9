//! The checks that prove a return to service. Pure. Missing data is Unknown, which is not health.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::facts::Facts;
use crate::api::Incident;
use crate::api::approval::{Decision, SubjectKind};
use crate::api::check::{ConditionCheck, NamedCheck, ReturnToService, RolloutCheck};
use crate::api::common::Empty;
use crate::api::incident::DetectionMethod;
use crate::api::incident_status::{CheckResult, CheckStatus, IncidentStatus, Stamped};
use crate::change::digest;
use crate::cluster::conditions::seconds;
use crate::cluster::workloads;
use crate::detect::signal::LEFT_OUT;
use crate::text::cut;

/// How long all checks must pass, if nobody says.
const STABLE_FOR: SignedDuration = SignedDuration::from_mins(5);

/// The checks of an incident: its own, or its service's as they were when it opened, or else what can be seen
/// of the affected objects and the signals.
pub fn of(incident: &Incident, status: &IncidentStatus) -> ReturnToService {
    let of_service = || status.service.as_ref().and_then(|service| service.return_to_service.clone());
    let mut given = incident.spec.return_to_service.clone().or_else(of_service).unwrap_or_default();
    if given.checks.is_empty() {
        let objects = if incident.spec.affected.is_empty() {
            status.service.as_ref().map(|service| service.objects.clone()).unwrap_or_default()
        } else {
            incident.spec.affected.clone()
        };
        let rolled_out = objects.into_iter().filter(|object| workloads::is_one(object.group(), &object.kind));
        given.checks = rolled_out
            .take(15)
            .enumerate()
            .map(|(index, target)| NamedCheck {
                name: format!("rollout-{index}"),
                rollout: Some(RolloutCheck { target }),
                ..NamedCheck::default()
            })
            .collect();
        given.checks.push(NamedCheck {
            name: "alerts".to_owned(),
            alerts_cleared: Some(Empty {}),
            ..NamedCheck::default()
        });
    }
    given
}

/// How long all checks must pass without a break.
pub fn stable_for(given: &ReturnToService) -> SignedDuration {
    given.stable_for.as_ref().map_or(STABLE_FOR, |duration| duration.get())
}

/// Fields that no controller acts on yet.
pub fn not_implemented(given: &ReturnToService) -> Vec<String> {
    given
        .checks
        .iter()
        .flat_map(|check| {
            let name = &check.name;
            let query = check.query.is_some().then(|| format!("spec.returnToService.checks[{name}].query"));
            let http = check.http.is_some().then(|| format!("spec.returnToService.checks[{name}].http"));
            [query, http].into_iter().flatten()
        })
        .collect()
}

/// What the checks show, and when one must be looked at again although nothing changes.
pub fn evaluate(
    incident: &Incident,
    facts: &Facts,
    status: &IncidentStatus,
    given: &ReturnToService,
    now: Timestamp,
) -> (Vec<CheckStatus>, Option<Timestamp>) {
    let mut wake = None;
    let checks = given
        .checks
        .iter()
        .map(|check| {
            let mut seen = look(incident, facts, status, check, now, &mut wake);
            let known =
                status.checks.iter().find(|known| known.name == check.name && known.result == seen.result);
            if let Some(known) = known {
                seen.since_time = known.since_time.clone();
            }
            seen
        })
        .collect();
    (checks, wake)
}

fn look(
    incident: &Incident,
    facts: &Facts,
    status: &IncidentStatus,
    check: &NamedCheck,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> CheckStatus {
    let mut seen = CheckStatus {
        name: check.name.clone(),
        result: CheckResult::Unknown,
        message: String::new(),
        since_time: seconds(now),
        digest: None,
        answered: None,
    };
    let (result, message) = if check.alerts_cleared.is_some() {
        alerts(incident, facts, status, now, wake)
    } else if let Some(rollout) = &check.rollout {
        workload(facts.workload(&rollout.target), &rollout.target.display())
    } else if let Some(condition) = &check.condition {
        has_condition(facts.workload(&condition.target), condition)
    } else if let Some(confirmation) = &check.confirmation {
        let owner = format!("{}/{}", incident.uid().unwrap_or_default(), status.relapses);
        seen.digest = digest::question(&confirmation.question, &owner).ok();
        let answer = answer(incident, facts, &check.name, seen.digest.as_deref());
        let result = match &answer {
            Some((_, Decision::Confirm)) => CheckResult::Passing,
            Some(_) => CheckResult::Failing,
            None => CheckResult::Unknown,
        };
        seen.answered = answer.map(|(by, _)| by);
        let said = seen
            .answered
            .as_ref()
            .map_or("nobody has answered yet".to_owned(), |by| format!("{} answered", by.user));
        (result, format!("{} ({said})", confirmation.question))
    } else {
        (CheckResult::Unknown, "this version of Mayday cannot look at it yet".to_owned())
    };
    seen.result = result;
    seen.message = cut(&message, 500);
    seen
}

/// Every signal has cleared, for as long as its source asks, and none was lost.
fn alerts(
    incident: &Incident,
    facts: &Facts,
    status: &IncidentStatus,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> (CheckResult, String) {
    if usize::try_from(status.signals_left_out).is_ok_and(|count| count > LEFT_OUT) {
        let message =
            format!("more than {LEFT_OUT} signals did not fit, and nobody knows which of them cleared");
        return (CheckResult::Unknown, message);
    }
    if status.signals_left_out > 0 {
        let message = format!("{} signals that did not fit fire too", status.signals_left_out);
        return (CheckResult::Failing, message);
    }
    let method = incident.spec.detection.as_ref().map(|detection| detection.method).unwrap_or_default();
    let by_itself = matches!(
        method,
        DetectionMethod::Alert
            | DetectionMethod::Heartbeat
            | DetectionMethod::Condition
            | DetectionMethod::Query
    );
    if status.signals.is_empty() {
        let known = if by_itself { CheckResult::Unknown } else { CheckResult::Passing };
        return (known, "no source reports anything".to_owned());
    }
    let firing: Vec<&str> = status
        .signals
        .iter()
        .filter(|signal| signal.end_time.is_none())
        .map(|signal| signal.name.as_str())
        .collect();
    if !firing.is_empty() {
        return (CheckResult::Failing, format!("firing: {}", firing.join(", ")));
    }
    let settled = status.signals.iter().map(|signal| {
        let source = facts.sources.iter().find(|source| source.name_any() == signal.source_ref.name);
        let after = source
            .and_then(|source| source.spec.resolve_after.as_ref())
            .map_or(SignedDuration::ZERO, |d| d.get());
        signal.last_seen_time.0.saturating_add(after).unwrap_or(signal.last_seen_time.0)
    });
    match settled.max() {
        Some(at) if at > now => {
            *wake = [*wake, Some(at)].into_iter().flatten().min();
            (CheckResult::Failing, "cleared a moment ago".to_owned())
        }
        _ => (CheckResult::Passing, "every signal has cleared".to_owned()),
    }
}

/// A workload runs its newest template on all its replicas, and all are available.
pub fn workload(object: Option<&Value>, name: &str) -> (CheckResult, String) {
    let Some(object) = object else {
        return (CheckResult::Unknown, format!("{name} is not known: it does not exist, or is no workload"));
    };
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return (CheckResult::Unknown, format!("{name}: its newest state has not been looked at yet"));
    }
    let is_daemon_set = object.pointer("/status/desiredNumberScheduled").is_some();
    let (wanted, updated, available, all) = if is_daemon_set {
        let wanted = number("/status/desiredNumberScheduled");
        (wanted, number("/status/updatedNumberScheduled"), number("/status/numberAvailable"), wanted)
    } else {
        let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
        (
            wanted,
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
            number("/status/replicas"),
        )
    };
    if wanted == 0 {
        return (CheckResult::Failing, format!("{name} is scaled to nothing"));
    }
    if updated == wanted && available == wanted && all == wanted {
        return (CheckResult::Passing, format!("{name}: {wanted} of {wanted} available"));
    }
    (
        CheckResult::Failing,
        format!("{name}: {available} of {wanted} available, {updated} of the newest template"),
    )
}

fn has_condition(object: Option<&Value>, check: &ConditionCheck) -> (CheckResult, String) {
    let name = check.target.display();
    let conditions = object.and_then(|object| object.pointer("/status/conditions")?.as_array());
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == check.type_.as_str()));
    match found.and_then(|found| found["status"].as_str()) {
        Some(status) if status == check.status => {
            (CheckResult::Passing, format!("{name}: {} is {status}", check.type_))
        }
        Some(status) => (CheckResult::Failing, format!("{name}: {} is {status}", check.type_)),
        None => (CheckResult::Unknown, format!("{name} has no condition {}", check.type_)),
    }
}

/// The first valid answer to a question; the guard let only the entitled answer.
fn answer(
    incident: &Incident,
    facts: &Facts,
    check: &str,
    digest: Option<&str>,
) -> Option<(Stamped, Decision)> {
    let uid = incident.uid()?;
    facts
        .approvals
        .iter()
        .filter(|approval| {
            let subject = &approval.spec.subject_ref;
            subject.kind == SubjectKind::Incident
                && subject.uid == uid
                && subject.check.as_deref() == Some(check)
                && Some(approval.spec.digest.as_str()) == digest
                && approval.metadata.deletion_timestamp.is_none()
                && matches!(approval.spec.decision, Decision::Confirm | Decision::Deny)
        })
        .filter_map(|approval| {
            let time = approval.metadata.creation_timestamp.clone()?;
            let by = approval.spec.by.as_ref()?;
            Some((Stamped { user: by.user.clone(), time }, approval.spec.decision))
        })
        .min_by_key(|(by, _)| by.time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(edit: Value) -> Value {
        let mut whole = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}});
        json_patch::merge(&mut whole, &edit);
        whole
    }

    fn result(object: Option<Value>) -> CheckResult {
        workload(object.as_ref(), "deployment/checkout").0
    }

    #[test]
    fn a_rollout_passes_when_all_replicas_run_the_newest_template() {
        assert_eq!(result(Some(deployment(json!({})))), CheckResult::Passing);
        assert_eq!(
            result(Some(deployment(json!({"status": {"availableReplicas": 2}})))),
            CheckResult::Failing
        );
        assert_eq!(result(Some(deployment(json!({"status": {"replicas": 4}})))), CheckResult::Failing);
        assert_eq!(
            result(Some(deployment(json!({"status": {"observedGeneration": 1}})))),
            CheckResult::Unknown
        );
        assert_eq!(result(Some(deployment(json!({"spec": {"replicas": 0}})))), CheckResult::Failing);
        assert_eq!(result(None), CheckResult::Unknown);
    }
}
