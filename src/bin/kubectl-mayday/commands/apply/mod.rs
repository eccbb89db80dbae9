//! `apply`: carries out an approved request as the person, exactly as approved. The gate has the last word.

mod write;

use clap::Args;
use mayday::api::ChangeRequest;
use mayday::api::change_request::{ChangeRequestStatus, RequestState, Use};
use mayday::api::conditions::{ConditionType, is_true};
use mayday::change::gate::uses;
use mayday::command::Verb;
use serde_json::Value;

use self::write::Write;
use crate::client::address;
use crate::client::failure::{Attempt, Failure, explain, is_without_dry_run};
use crate::client::session::Session;
use crate::client::target;
use crate::client::wait::{Waited, until};
use crate::render;
use crate::render::Here;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The request
    #[arg(value_name = "chg/NAME", value_parser = address::change_request)]
    pub request: String,
}

pub async fn run(session: &Session, args: ApplyArgs) -> Result<(), Failure> {
    let request: ChangeRequest = session.get(&args.request).await?;
    let due = due(session, &request).await?;
    // What was used and never stored is carried out again; whether it may be, the gate decides.
    let is_lost = due.iter().any(|due| matches!(due, Some(Due::Again(_))));
    let can_be_repeated = is_lost && over(&request) == Some(RequestState::Spent);
    if !approved(&request) && !can_be_repeated {
        return Err(not_approved(session, &args.request, &request));
    }
    let text = render::change::describe(&request, &Here::of(session));
    let again = match is_lost {
        true => "It was counted as used and never stored, so you carry it out again.",
        false => "You carry this out.",
    };
    confirm(session.connection.yes, &format!("{text}\n\n{again}"))?;
    carry_out(session, &args.request, &request, &due).await
}

/// Waits until the request is decided; carries it out if it was approved.
pub async fn when_approved(session: &Session, name: &str) -> Result<(), Failure> {
    say("\nWaiting for the approvals; stopping this command leaves the request as it is.");
    let decided = |request: &ChangeRequest| approved(request) || over(request).is_some();
    let request = match until::<ChangeRequest>(session, name, None, decided).await? {
        Waited::Done(request) => request,
        Waited::TimeOver(_) => {
            return Err(Failure::new(format!("chg/{name} can no longer be watched; it stays as it is."))
                .then(session.command(Verb::Show).on("chg", name)));
        }
    };
    if !approved(&request) {
        return Err(not_approved(session, name, &request));
    }
    say("Approved.");
    let due = due(session, &request).await?;
    carry_out(session, name, &request, &due).await
}

fn approved(request: &ChangeRequest) -> bool {
    let conditions = request.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    is_true(conditions, ConditionType::Approved) && over(request).is_none()
}

/// The state of a request that is over; none before.
fn over(request: &ChangeRequest) -> Option<RequestState> {
    request.status.as_ref()?.state.filter(|state| state.is_over())
}

fn not_approved(session: &Session, name: &str, request: &ChangeRequest) -> Failure {
    let status = request.status.clone().unwrap_or_default();
    let state = render::state(status.state);
    let missing = status.missing.map(|missing| format!(" Missing: {missing}.")).unwrap_or_default();
    Failure::new(format!("chg/{name} is {state}, so it lets nothing through.{missing}"))
        .then(session.command(Verb::Show).on("chg", name))
}

/// What is left to do of an entry.
#[derive(Clone, Debug)]
enum Due {
    /// Its next use.
    Next,
    /// This use once more, which was counted and not stored.
    Again(Box<Use>),
}

/// What is left to do of each entry of a request; none of one that was used as often as approved.
async fn due(session: &Session, request: &ChangeRequest) -> Result<Vec<Option<Due>>, Failure> {
    let none = ChangeRequestStatus::default();
    let status = request.status.as_ref().unwrap_or(&none);
    let mut all = Vec::new();
    for index in 0..request.spec.changes.len() {
        if uses::whole(&request.spec, status, index) < usize::try_from(request.spec.max_uses).unwrap_or(0) {
            all.push(Some(Due::Next));
            continue;
        }
        let last = uses::of_entry(&status.used, index).last();
        let (Some(last), Some(planned)) = (last, status.plan.get(index)) else {
            all.push(None);
            continue;
        };
        let api = target::api_of(session, &planned.target).await?;
        let name = planned.target.display();
        let live = api.get_opt(&planned.target.name).await;
        let what = format!("read {name}");
        let live = live.map_err(|error| explain(&error, &session.attempt(&what, "view")))?;
        let live: Option<Value> = live.map(|object| target::as_value(&object, &name)).transpose()?;
        let is_lost = uses::was_not_stored(last, planned, live.as_ref());
        all.push(is_lost.then(|| Due::Again(Box::new(last.clone()))));
    }
    Ok(all)
}

async fn carry_out(
    session: &Session,
    name: &str,
    request: &ChangeRequest,
    due: &[Option<Due>],
) -> Result<(), Failure> {
    let count = request.spec.changes.len();
    for (index, due) in due.iter().enumerate() {
        let summary = summary(request, index);
        let Some(due) = due else {
            say(&format!("{}. {summary}: used already, left alone", index + 1));
            continue;
        };
        if let Err(failure) = act(session, name, request, index, due).await {
            // The sentence may end with a command, which stays one that can be pasted.
            let done = format!("\nDone before it: {index} of {count} changes of chg/{name}.");
            return Err(Failure { sentence: format!("{}{done}", failure.sentence), ..failure });
        }
        say(&format!("{}. {summary}: done", index + 1));
    }
    say(&format!("chg/{name} is carried out.\nNext: {}", session.command(Verb::Show).on("chg", name)));
    Ok(())
}

fn summary(request: &ChangeRequest, index: usize) -> String {
    let plan = request.status.as_ref().map_or(&[][..], |status| &status.plan);
    plan.get(index).map_or_else(|| format!("change {}", index + 1), |planned| planned.summary.clone())
}

/// Carries out one entry. It is tried first, so that what somebody else refuses costs no use.
async fn act(
    session: &Session,
    name: &str,
    request: &ChangeRequest,
    index: usize,
    due: &Due,
) -> Result<(), Failure> {
    let Some(change) = request.spec.changes.get(index) else { return Ok(()) };
    let planned = request.status.as_ref().and_then(|status| status.plan.get(index));
    let again = match due {
        Due::Again(used) => Some(&**used),
        Due::Next => None,
    };
    let write = Write::of(session, change, planned, again).await?;
    let what = format!("carry out chg/{name} ({})", summary(request, index));
    // No role of a namespace allows a change of a cluster-scoped object.
    let role = planned.is_none_or(|planned| planned.namespace.is_some()).then_some("edit");
    let next = session.command(Verb::Show).on("chg", name);
    let attempt = Attempt { role, next: next.into(), ..session.attempt(&what, "edit") };
    match write.send(true).await {
        Err(kube::Error::Api(status)) if !is_without_dry_run(&status) => {
            let failure = explain(&kube::Error::Api(status), &attempt);
            let sentence = format!(
                "{}\nIt was only tried: nothing was written, and no use was counted.",
                failure.sentence
            );
            return Err(Failure { sentence, ..failure });
        }
        // A webhook that can try nothing, or a broken connection, says nothing about the write itself.
        _ => {}
    }
    let Err(error) = write.send(false).await else { return Ok(()) };
    let is_answer = matches!(error, kube::Error::Api(_));
    let failure = explain(&error, &attempt);
    if !is_answer || again.is_some() || !is_counted(session, name, request, index).await {
        return Err(failure);
    }
    Err(match write.can_be_repeated() {
        true => {
            let more = "The use is counted, and nothing was written. Once that is mended, the same again needs no further use.";
            Failure { sentence: format!("{}\n{more}", failure.sentence), ..failure }
                .then(session.command(Verb::Apply).on("chg", name))
        }
        false => {
            let more =
                "The use is counted, and nothing was created. A creation cannot be repeated: ask again.";
            Failure { sentence: format!("{}\n{more}", failure.sentence), ..failure }
        }
    })
}

/// Whether a use of the entry was counted since the request was read.
async fn is_counted(session: &Session, name: &str, before: &ChangeRequest, index: usize) -> bool {
    let count = |request: &ChangeRequest| {
        request.status.as_ref().map_or(0, |status| uses::of_entry(&status.used, index).count())
    };
    session.get::<ChangeRequest>(name).await.is_ok_and(|now| count(&now) > count(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_approval_lets_nothing_through() {
        use jiff::Timestamp;
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
        let mut request = ChangeRequest::new("v2", Default::default());
        assert!(!approved(&request));
        let condition = Condition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: "Complete".into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let status = mayday::api::change_request::ChangeRequestStatus {
            conditions: vec![condition],
            state: Some(RequestState::Approved),
            ..Default::default()
        };
        request.status = Some(status);
        assert!(approved(&request));
        if let Some(status) = &mut request.status {
            status.state = Some(RequestState::Expired);
        }
        assert!(!approved(&request));
    }
}
