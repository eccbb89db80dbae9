//! The step `manual`: a question to a person, answered by an Approval that names its digest.

use super::kind::{Answerer, StepKind, Work};
use crate::api::Approval;
use crate::api::approval::{Decision, SubjectKind};
use crate::api::runbook_step::ManualStep;

impl StepKind for ManualStep {
    fn summary(&self) -> String {
        "ask a person".to_owned()
    }

    fn work(&self) -> Work<'_> {
        Work::Question(&self.instructions, Answerer::OnDuty)
    }
}

/// A person's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The user who answered.
    pub by: String,
    /// Whether the decision is Confirm; otherwise it is Deny.
    pub confirmed: bool,
    /// The comment of the Approval.
    pub comment: Option<String>,
}

/// The first valid answer to this question (`digest`) of this step of this run, by an entitled person. Approvals are
/// ordered by creation time, then by name.
pub fn first_answer<'a>(
    approvals: impl IntoIterator<Item = &'a Approval>,
    run_uid: &str,
    step_name: &str,
    digest: &str,
    entitled: impl Fn(&Approval) -> bool,
) -> Option<Answer> {
    let mut answers: Vec<&Approval> = approvals
        .into_iter()
        .filter(|approval| {
            let subject = &approval.spec.subject_ref;
            subject.kind == SubjectKind::RunbookRun
                && subject.uid == run_uid
                && subject.step.as_deref() == Some(step_name)
                && approval.spec.digest == digest
                && approval.metadata.deletion_timestamp.is_none()
                && matches!(approval.spec.decision, Decision::Confirm | Decision::Deny)
        })
        .filter(|approval| entitled(approval))
        .collect();
    answers.sort_by_key(|approval| {
        (approval.metadata.creation_timestamp.as_ref().map(|time| time.0), approval.metadata.name.clone())
    });
    let first = answers.first()?;
    Some(Answer {
        by: first.spec.by.as_ref()?.user.clone(),
        confirmed: first.spec.decision == Decision::Confirm,
        comment: first.spec.comment.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::approval::{ApprovalSpec, By, SubjectRef};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn answer(name: &str, second: i64, user: &str, decision: Decision, digest: &str) -> Approval {
        let mut approval = Approval::new(
            name,
            ApprovalSpec {
                subject_ref: SubjectRef {
                    kind: SubjectKind::RunbookRun,
                    name: "run".into(),
                    uid: "run-uid".into(),
                    step: Some("look".into()),
                    check: None,
                },
                digest: digest.into(),
                incident_refs: Vec::new(),
                decision,
                comment: None,
                not_after: None,
                by: Some(By { user: user.into(), groups: Vec::new() }),
            },
        );
        approval.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
        approval
    }

    #[test]
    fn the_first_valid_answer_stands() {
        let answers = [
            answer("b", 20, "emil", Decision::Confirm, "d"),
            answer("a", 10, "stranger", Decision::Deny, "d"),
            answer("c", 15, "bea", Decision::Deny, "d"),
        ];
        let entitled =
            |approval: &Approval| approval.spec.by.as_ref().is_some_and(|by| by.user != "stranger");
        let found = first_answer(&answers, "run-uid", "look", "d", entitled).unwrap();
        assert_eq!((found.by.as_str(), found.confirmed), ("bea", false));
    }

    #[test]
    fn an_answer_to_another_question_does_not_count() {
        let mut terminating = answer("a", 10, "emil", Decision::Confirm, "d");
        terminating.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        for wrong in [
            answer("a", 10, "emil", Decision::Confirm, "other"),
            answer("a", 10, "emil", Decision::Approve, "d"),
            terminating,
        ] {
            assert_eq!(first_answer([&wrong], "run-uid", "look", "d", |_| true), None);
        }
        let fits = answer("a", 10, "emil", Decision::Confirm, "d");
        assert_eq!(first_answer([&fits], "other-uid", "look", "d", |_| true), None);
        assert_eq!(first_answer([&fits], "run-uid", "other", "d", |_| true), None);
        assert!(first_answer([&fits], "run-uid", "look", "d", |_| true).is_some());
    }
}
