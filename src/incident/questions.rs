//! Checks that a person answers. Pure.
//!
//! A question is asked once every check that Mayday can evaluate passes, and an answer holds while they go on passing.
//! After a no the question is asked again, since an answer only describes its moment.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::approval::{Decision, SubjectKind};
use crate::api::check::{ConfirmationCheck, NamedCheck, ReturnToService};
use crate::api::common::stored_time;
use crate::api::incident::REPORTED;
use crate::api::incident_status::{CheckResult, CheckStatus, IncidentStatus, Stamped};
use crate::api::{Approval, Incident};
use crate::change::diff::digest;
use crate::incident::checks;
use crate::text::flat;

/// Interval after which a denied question is asked again.
const ASK_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The checks of an incident, with a question if only a person has reported the outage and no check sees it: then a person
/// says when it is over (docs/rules.md#reported-by-a-person). A question among the checks already asks a person.
pub fn with_the_report(incident: &Incident, status: &IncidentStatus) -> ReturnToService {
    let mut given = checks::of(incident, status);
    let asks = given.checks.iter().any(|check| check.confirmation.is_some());
    if asks || incident.is_noticed(status) {
        return given;
    }
    let reporter = incident.spec.detection.as_ref().and_then(|detection| detection.reporter.as_deref());
    let who = reporter.map_or_else(|| "people".to_owned(), |reporter| flat(reporter, 100));
    let question = format!("Is the outage over that was reported ({who})? No check has seen it");
    given.checks.push(NamedCheck {
        name: REPORTED.to_owned(),
        confirmation: Some(ConfirmationCheck { question }),
        ..NamedCheck::default()
    });
    given
}

/// The status of a question. `round` identifies the period for which an answer holds; without one the question is not
/// asked yet.
pub fn ask(
    incident: &Incident,
    approvals: &[Arc<Approval>],
    check: &NamedCheck,
    round: Option<&str>,
    now: Timestamp,
    wake: &mut Option<Timestamp>,
) -> CheckStatus {
    let question = check.confirmation.as_ref().map(|confirmation| confirmation.question.clone());
    let question = question.unwrap_or_default();
    let mut seen = CheckStatus {
        name: check.name.clone(),
        result: CheckResult::Unknown,
        message: format!("{question} (asked once every other check passes)"),
        since_time: stored_time(now),
        digest: None,
        answered: None,
    };
    let Some(round) = round else { return seen };
    let uid = incident.uid().unwrap_or_default();
    // Time of the last denial that was asked again, in Unix seconds; 0 if there is none.
    let mut denied = 0;
    let answer = loop {
        seen.digest = digest::question(&question, &format!("{uid}/{round}/{denied}")).ok();
        match answer(&uid, approvals, &check.name, seen.digest.as_deref()) {
            Some((by, Decision::Deny)) if by.time.0.as_second() > denied => {
                let again = by.time.0.saturating_add(ASK_AGAIN_AFTER).unwrap_or(Timestamp::MAX);
                if now < again {
                    *wake = [*wake, Some(again)].into_iter().flatten().min();
                    break Some((by, Decision::Deny));
                }
                denied = by.time.0.as_second();
            }
            answer => break answer,
        }
    };
    seen.result = match &answer {
        Some((_, Decision::Confirm)) => CheckResult::Passing,
        Some(_) => CheckResult::Failing,
        None => CheckResult::Unknown,
    };
    let said = match &answer {
        Some((by, Decision::Confirm)) => format!("{} confirms it", by.user),
        Some((by, _)) => format!("{} denies it", by.user),
        None => "nobody has answered yet".to_owned(),
    };
    seen.message = format!("{question} ({said})");
    seen.answered = answer.map(|(by, _)| by);
    seen
}

/// The first valid answer to a question. The guard has checked who may answer.
fn answer(
    uid: &str,
    approvals: &[Arc<Approval>],
    check: &str,
    digest: Option<&str>,
) -> Option<(Stamped, Decision)> {
    approvals
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    #[test]
    fn an_answer_holds_for_its_round_and_a_no_only_for_a_while() {
        let check: NamedCheck = serde_json::from_value(
            json!({"name": "payments", "confirmation": {"question": "Do payments work?"}}),
        )
        .unwrap();
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.uid = Some("iu".into());
        let mut approvals = Vec::new();
        let look = |approvals: &[Arc<Approval>], round: Option<&str>, second: i64| {
            let mut wake = None;
            let seen = ask(&incident, approvals, &check, round, at(second), &mut wake);
            (seen.result, seen.digest, wake)
        };
        let answers = |digest: &Option<String>, decision: &str, second: i64| -> Arc<Approval> {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
                "metadata": {"name": "a", "creationTimestamp": at(second).to_string()},
                "spec": {"subjectRef": {"kind": "Incident", "name": "i", "uid": "iu", "check": "payments"},
                    "digest": digest, "decision": decision, "by": {"user": "emil"}}});
            Arc::new(serde_json::from_value(whole).unwrap())
        };
        assert_eq!(look(&approvals, None, 0), (CheckResult::Unknown, None, None), "not yet");
        let (result, first, _) = look(&approvals, Some("0/1"), 10);
        assert_eq!(result, CheckResult::Unknown);
        approvals.push(answers(&first, "Deny", 20));
        assert_eq!(look(&approvals, Some("0/1"), 30), (CheckResult::Failing, first.clone(), Some(at(320))));
        let (result, again, _) = look(&approvals, Some("0/1"), 320);
        assert!(result == CheckResult::Unknown && again != first, "asked again");
        approvals.push(answers(&again, "Confirm", 330));
        assert_eq!(look(&approvals, Some("0/1"), 9999), (CheckResult::Passing, again, None));
        assert_eq!(look(&approvals, Some("0/9000"), 9999).0, CheckResult::Unknown, "something broke since");
    }

    /// An outage that only a person reported, and that no check sees, goes to a person before it counts as restored.
    #[test]
    fn a_person_says_when_an_outage_is_over_that_no_check_has_seen() {
        let incident = |detection: serde_json::Value| {
            let spec = json!({"title": "t", "severity": "SEV2", "detection": detection});
            Incident::new("i", serde_json::from_value(spec).unwrap())
        };
        let asked = |incident: &Incident, status: serde_json::Value| {
            let status: IncidentStatus = serde_json::from_value(status).unwrap();
            let checks = with_the_report(incident, &status).checks;
            checks
                .into_iter()
                .filter_map(|check| check.confirmation)
                .map(|asks| asks.question)
                .collect::<Vec<_>>()
        };
        let reported = incident(json!({"method": "Customer", "reporter": "support ticket 4711"}));
        assert_eq!(
            asked(&reported, json!({})),
            ["Is the outage over that was reported (support ticket 4711)? No check has seen it"]
        );
        assert!(asked(&incident(json!({"method": "Alert"})), json!({})).is_empty());
        assert!(asked(&reported, json!({"noticedTime": "2026-11-22T02:04:10Z"})).is_empty());
        let mut own = reported;
        own.spec.return_to_service = serde_json::from_value(
            json!({"checks": [{"name": "payments", "confirmation": {"question": "Do payments work?"}}]}),
        )
        .unwrap();
        assert_eq!(asked(&own, json!({})), ["Do payments work?"], "a person is asked anyway");
    }
}
