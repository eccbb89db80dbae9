//! The facts about the subject of a decision that the rules need. Pure.

use crate::api::approval::SubjectRef;
use crate::api::change_request::RequestState;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::{ChangeRequest, Incident, Runbook, RunbookRun};
use crate::change::diff::digest;

use super::stamp::requester;
use crate::guard::kinds::approval::Subject;
use crate::runbook::run::view::snapshot_spec;
use crate::runbook::steps;
use crate::runbook::steps::kind::Answerer;

/// A request.
pub fn request(request: &ChangeRequest) -> Subject {
    let status = request.status.clone().unwrap_or_default();
    let ended = [
        (ConditionType::Rejected, "was rejected, which is final"),
        (ConditionType::Expired, "has expired"),
        (ConditionType::Spent, "is spent"),
        (ConditionType::Stale, "is stale: its target changed"),
    ];
    let over = if request.spec.withdrawn {
        Some("was withdrawn")
    } else if status.state == Some(RequestState::Invalid) {
        Some("can never be carried out")
    } else {
        ended.iter().find(|(kind, _)| is_true(&status.conditions, *kind)).map(|(_, words)| *words)
    };
    Subject {
        uid: request.metadata.uid.clone().unwrap_or_default(),
        digest: status.digest,
        question: false,
        by_approver: false,
        excluded: requester(&request.spec)
            .map(|user| (user.to_owned(), "the requester"))
            .into_iter()
            .collect(),
        incidents: status.incidents,
        over: over.map(str::to_owned),
    }
}

/// A Runbook, by the content that is stored now; its status may be older.
pub fn runbook(runbook: &Runbook) -> Subject {
    Subject {
        uid: runbook.metadata.uid.clone().unwrap_or_default(),
        digest: digest::runbook(&runbook.spec).ok(),
        excluded: runbook.authors().into_iter().flatten().map(|user| (user, "an author")).collect(),
        ..Subject::default()
    }
}

/// A run as a whole, or the question of one of its steps.
pub fn run(run: &RunbookRun, reference: &SubjectRef) -> Subject {
    let status = run.status.clone().unwrap_or_default();
    let settled = status.is_settled().then(|| "is settled".to_owned());
    let uid = run.metadata.uid.clone().unwrap_or_default();
    let Some(name) = &reference.step else {
        let starter = run.spec.started_by.as_ref().map(|by| (by.user.clone(), "the starter"));
        return Subject {
            uid,
            digest: status.digest,
            excluded: starter.into_iter().collect(),
            over: settled,
            ..Subject::default()
        };
    };
    let spec = snapshot_spec(run).unwrap_or_default();
    let by_approver = steps::answerer(&spec.steps, name) == Some(Answerer::Approver);
    let starter = run.spec.started_by.as_ref().filter(|_| by_approver);
    let step = status.steps.into_iter().find(|step| step.name == *name);
    let answered = step.as_ref().and_then(|step| step.answered.as_ref());
    let answered = answered.map(|answered| format!("was answered by {}", answered.user));
    Subject {
        uid,
        digest: step.and_then(|step| step.digest),
        question: true,
        by_approver,
        excluded: starter.into_iter().map(|by| (by.user.clone(), "the starter")).collect(),
        over: settled.or(answered),
        ..Subject::default()
    }
}

/// The question of an incident's check.
pub fn incident(incident: &Incident, reference: &SubjectRef) -> Subject {
    let status = incident.status.clone().unwrap_or_default();
    let closed = status.state.is_some_and(|state| !state.is_open()).then(|| "is no longer open".to_owned());
    let check = status.checks.into_iter().find(|check| Some(&check.name) == reference.check.as_ref());
    let answered = check.as_ref().and_then(|check| check.answered.as_ref());
    let answered = answered.map(|answered| format!("was answered by {}", answered.user));
    Subject {
        uid: incident.metadata.uid.clone().unwrap_or_default(),
        digest: check.and_then(|check| check.digest),
        question: true,
        over: closed.or(answered),
        ..Subject::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn reference(part: serde_json::Value) -> SubjectRef {
        let mut whole = json!({"kind": "RunbookRun", "name": "r", "uid": "u"});
        json_patch::merge(&mut whole, &part);
        from_value(whole).unwrap()
    }

    #[test]
    fn a_request_that_ended_is_over_and_its_requester_excluded() {
        let with = |withdrawn: bool, condition: &str| -> Subject {
            let chg: ChangeRequest = from_value(json!({
                "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest", "metadata": {"uid": "u"},
                "spec": {"reason": "r", "changes": [], "requester": {"user": "emil"}, "withdrawn": withdrawn},
                "status": {"digest": "d", "conditions": [{"type": condition, "status": "True", "reason": "r",
                    "message": "", "lastTransitionTime": "2026-11-22T14:00:00Z"}]}
            }))
            .unwrap();
            request(&chg)
        };
        assert_eq!(with(false, "Approved").over, None);
        assert_eq!(with(false, "Approved").excluded, [("emil".to_owned(), "the requester")]);
        for ended in ["Rejected", "Expired", "Spent", "Stale"] {
            assert!(with(false, ended).over.is_some(), "{ended}");
        }
        assert_eq!(with(true, "Approved").over.as_deref(), Some("was withdrawn"));
    }

    #[test]
    fn a_runbook_is_decided_on_as_stored_and_not_as_its_status_says() {
        let stored: Runbook = from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"uid": "u", "annotations": {"mayday.dev/authors": "[\"emil\"]"}},
            "spec": {"summary": "s", "serviceAccountName": "a", "steps": []}, "status": {"digest": "stale"}
        }))
        .unwrap();
        let subject = runbook(&stored);
        assert_eq!(subject.digest, digest::runbook(&stored.spec).ok());
        assert_eq!(subject.excluded, [("emil".to_owned(), "an author")]);
    }

    #[test]
    fn a_run_asks_for_an_approval_and_its_steps_ask_questions() {
        let stored: RunbookRun = from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"uid": "u"},
            "spec": {"runbookRef": {"name": "b"}, "startedBy": {"user": "emil"}},
            "status": {"digest": "whole", "state": "WaitingForPerson", "steps": [
                {"name": "look", "state": "WaitingForPerson", "digest": "asked"},
                {"name": "seen", "state": "Succeeded", "digest": "asked",
                    "answered": {"user": "bea", "time": "2026-11-22T14:00:00Z"}}
            ]}
        }))
        .unwrap();
        let whole = run(&stored, &reference(json!({})));
        assert_eq!((whole.digest.as_deref(), whole.question), (Some("whole"), false));
        let step = run(&stored, &reference(json!({"step": "look"})));
        assert_eq!((step.digest.as_deref(), step.question, step.over), (Some("asked"), true, None));
        let over = run(&stored, &reference(json!({"step": "seen"}))).over;
        assert_eq!(over.as_deref(), Some("was answered by bea"));
        assert_eq!(run(&stored, &reference(json!({"step": "other"}))).digest, None);
    }

    #[test]
    fn an_incident_asks_only_while_it_is_open_and_only_once() {
        let in_state = |state: &str, answered: serde_json::Value| -> Option<String> {
            let stored: Incident = from_value(json!({
                "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"uid": "u"},
                "spec": {"title": "t", "severity": "SEV2"},
                "status": {"state": state, "checks": [{"name": "payments", "result": "Unknown", "message": "",
                    "sinceTime": "2026-11-22T14:00:00Z", "digest": "d", "answered": answered}]}
            }))
            .unwrap();
            incident(&stored, &reference(json!({"kind": "Incident", "check": "payments"}))).over
        };
        assert_eq!(in_state("Crisis", json!(null)), None);
        assert!(in_state("Resolved", json!(null)).is_some());
        assert!(in_state("Crisis", json!({"user": "emil", "time": "2026-11-22T14:00:00Z"})).is_some());
    }
}
