//! `apply`: carries out an approved request as the person, exactly as approved. The gate has the last word.

use clap::Args;
use jiff::Timestamp;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use mayday::api::ChangeRequest;
use mayday::api::change_request::{Change, PlannedChange, PropagationPolicy as Propagation, RequestState};
use mayday::api::conditions::{ConditionType, is_true};
use mayday::change::diff::patch;
use mayday::command::Verb;
use serde_json::{Value, json};

use crate::client::address;
use crate::client::clock::whole_seconds;
use crate::client::failure::{Attempt, Failure, explain};
use crate::client::manifest;
use crate::client::session::{FIELD_MANAGER, Session};
use crate::client::target::api_of;
use crate::client::wait::{Waited, until};
use crate::render;
use crate::render::Here;
use crate::render::terminal::{confirm, say};

/// What `kubectl rollout restart` writes, and nothing else.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The request
    #[arg(value_name = "chg/NAME", value_parser = address::change_request)]
    pub request: String,
}

pub async fn run(session: &Session, args: ApplyArgs) -> Result<(), Failure> {
    let request: ChangeRequest = session.get(&args.request).await?;
    if !approved(&request) {
        return Err(not_approved(session, &args.request, &request));
    }
    let text = render::change::describe(&request, &Here::of(session));
    confirm(session.connection.yes, &format!("{text}\n\nYou carry this out."))?;
    carry_out(session, &args.request, &request).await
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
    carry_out(session, name, &request).await
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

async fn carry_out(session: &Session, name: &str, request: &ChangeRequest) -> Result<(), Failure> {
    let status = request.status.clone().unwrap_or_default();
    let count = request.spec.changes.len();
    for (index, change) in request.spec.changes.iter().enumerate() {
        let planned = status.plan.get(index);
        let summary =
            planned.map_or_else(|| format!("change {}", index + 1), |planned| planned.summary.clone());
        let used = status.used.iter().filter(|usage| usize::try_from(usage.change) == Ok(index)).count();
        if used >= usize::try_from(request.spec.max_uses).unwrap_or(0) {
            say(&format!("{}. {summary}: used already, left alone", index + 1));
            continue;
        }
        if let Err(failure) = act(session, name, change, planned, &summary).await {
            let done = format!(" Done before it: {index} of {count} changes of chg/{name}.");
            return Err(Failure { sentence: format!("{}{done}", failure.sentence), ..failure });
        }
        say(&format!("{}. {summary}: done", index + 1));
    }
    say(&format!("chg/{name} is carried out.\nNext: {}", session.command(Verb::Show).on("chg", name)));
    Ok(())
}

async fn act(
    session: &Session,
    name: &str,
    change: &Change,
    planned: Option<&PlannedChange>,
    summary: &str,
) -> Result<(), Failure> {
    let what = format!("carry out chg/{name} ({summary})");
    // No role of a namespace allows a change of a cluster-scoped object.
    let role = planned.is_none_or(|planned| planned.namespace.is_some()).then_some("edit");
    let next = session.command(Verb::Show).on("chg", name);
    let attempt = Attempt { role, next: next.into(), ..session.attempt(&what, "edit") };
    if let Some(create) = &change.create {
        let target = manifest::object(&create.manifest)?;
        let object: DynamicObject = serde_json::from_value(create.manifest.clone())
            .map_err(|error| Failure::new(format!("{} is no object: {error}.", target.display())))?;
        let api = api_of(session, &target).await?;
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        return done(api.create(&parameters, &object).await, &attempt);
    }
    let target = change.target.as_ref().ok_or_else(|| Failure::new("The change names no object."))?;
    let api = api_of(session, target).await?;
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    if change.update.is_some() || change.scale.is_some() {
        let patch = patch::of(change).map_err(|why| {
            Failure::new(format!("The change of {} cannot be made: {why}.", target.display()))
        })?;
        return match change.scale {
            Some(_) => done(api.patch_scale(&target.name, &parameters, &patch).await, &attempt),
            None => done(api.patch(&target.name, &parameters, &patch).await, &attempt),
        };
    }
    if change.restart.is_some() {
        let patch = Patch::Strategic(restart(Timestamp::now()));
        return done(api.patch(&target.name, &parameters, &patch).await, &attempt);
    }
    if let Some(delete) = &change.delete {
        let uid = planned.and_then(|planned| planned.uid.as_ref());
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid.clone()), resource_version: None });
        let propagation_policy = delete.propagation_policy.map(|policy| match policy {
            Propagation::Background => PropagationPolicy::Background,
            Propagation::Foreground => PropagationPolicy::Foreground,
            Propagation::Orphan => PropagationPolicy::Orphan,
        });
        let parameters = DeleteParams { preconditions, propagation_policy, ..DeleteParams::default() };
        return done(api.delete(&target.name, &parameters).await, &attempt);
    }
    Err(Failure::new(format!("{summary}: this is done with its own kubectl command, which passes now.")))
}

fn done<T>(outcome: Result<T, kube::Error>, attempt: &Attempt<'_>) -> Result<(), Failure> {
    outcome.map(|_| ()).map_err(|error| explain(&error, attempt))
}

fn restart(now: Timestamp) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: whole_seconds(now)}}}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_only_its_annotation() {
        let now = "2026-11-22T02:04:10.123Z".parse().unwrap();
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-22T02:04:10Z"});
        assert_eq!(restart(now), json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}));
    }

    #[test]
    fn an_expired_approval_lets_nothing_through() {
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
