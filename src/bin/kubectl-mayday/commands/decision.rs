//! Stores a decision, and follows whether it counts.

use mayday::api::approval::ApprovalSpec;
use mayday::api::change_request::RequestState;
use mayday::api::conditions::{ConditionType, find};
use mayday::api::{Approval, ChangeRequest};
use mayday::command::Verb;

use crate::client::address::{Address, Kind};
use crate::client::failure::Failure;
use crate::client::session::{Session, generated, name_of, uid_of};
use crate::client::wait::{PATIENCE, Waited, until};
use crate::render;
use crate::render::Here;
use crate::render::terminal::say;

/// Writes the decision. `by` is stamped by the API server's side.
pub async fn store(
    session: &Session,
    subject: &Address,
    spec: ApprovalSpec,
    word: &str,
    role: &'static str,
) -> Result<Approval, Failure> {
    let metadata = generated(&subject.name, &session.namespace);
    let approval = Approval { metadata, spec, status: None };
    session.create(&approval, &format!("{word} {subject}"), role).await
}

/// Says whether the stored decision counts, and who must do what next.
pub async fn tell_if_counted(
    session: &Session,
    approval: &Approval,
    subject: &Address,
) -> Result<(), Failure> {
    let name = name_of(approval);
    say(&format!("Stored as appr/{name}."));
    let next = session.command(Verb::Show).word(subject.to_string());
    // The decision is stored, so failing to follow it is no failure of the command.
    let Ok(waited) = until::<Approval>(session, name, Some(PATIENCE), |seen| counted(seen).is_some()).await
    else {
        say(&format!("Next: {next}"));
        return Ok(());
    };
    match waited {
        Waited::Done(seen) => match counted(&seen) {
            Some((false, why)) => Err(Failure::new(format!("It does not count: {why}")).then(next)),
            _ => {
                let after = next_of_request(session, subject, uid_of(&seen)).await;
                let after = after.unwrap_or_else(|| format!("Next: {next}"));
                say(&format!("It counts.\n{after}"));
                Ok(())
            }
        },
        Waited::TimeOver(_) => {
            say(&format!("Whether it counts is not known yet.\nNext: {next}"));
            Ok(())
        }
    }
}

/// Who must do what next, once the request knows of the decision.
async fn next_of_request(session: &Session, subject: &Address, approval: &str) -> Option<String> {
    if subject.kind != Kind::ChangeRequest {
        return None;
    }
    let knows = |request: &ChangeRequest| {
        let decisions = request.status.iter().flat_map(|status| &status.decisions);
        decisions.into_iter().any(|decision| decision.uid == approval)
    };
    match until::<ChangeRequest>(session, &subject.name, Some(PATIENCE), knows).await {
        Ok(Waited::Done(request)) => {
            let status = request.status?;
            let is_over = status.state.is_some_and(RequestState::is_over);
            Some(render::next(status.next.as_ref(), is_over, &Here::of(session)))
        }
        _ => None,
    }
}

/// Whether the decision counts, and why not; absent while the operator has not said.
fn counted(approval: &Approval) -> Option<(bool, String)> {
    let conditions = &approval.status.as_ref()?.conditions;
    let condition = find(conditions, ConditionType::Counted)?;
    match condition.status.as_str() {
        "True" => Some((true, String::new())),
        "False" => Some((false, condition.message.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use mayday::api::approval::{ApprovalStatus, Decision, SubjectRef};

    #[test]
    fn a_decision_counts_once_the_operator_says_so() {
        let spec = ApprovalSpec {
            subject_ref: SubjectRef {
                kind: Kind::ChangeRequest,
                name: "v2".into(),
                uid: "u".into(),
                step: None,
                check: None,
            },
            digest: String::new(),
            incident_refs: Vec::new(),
            decision: Decision::Approve,
            comment: None,
            not_after: None,
            by: None,
        };
        let mut approval = Approval::new("v2-abcde", spec);
        assert_eq!(counted(&approval), None);
        let mut with = |status: &str| {
            let condition = Condition {
                type_: "Counted".into(),
                status: status.into(),
                reason: "Because".into(),
                message: "you asked for it yourself".into(),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
                observed_generation: None,
            };
            approval.status = Some(ApprovalStatus { conditions: vec![condition], ..Default::default() });
            counted(&approval)
        };
        assert_eq!(with("Unknown"), None);
        assert_eq!(with("False"), Some((false, "you asked for it yourself".into())));
        assert_eq!(with("True").map(|(yes, _)| yes), Some(true));
    }
}
