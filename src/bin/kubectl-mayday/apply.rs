//! `apply`: carries out an approved request as the person, exactly as approved. The gate has the last word.

use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use mayday::api::ChangeRequest;
use mayday::api::change_request::{Change, PatchType, RequestState, UpdateChange};
use mayday::api::common::{ObjectRef, is_true};
use serde_json::{Value, json};

use crate::address;
use crate::ask::api_of;
use crate::clock::whole_seconds;
use crate::cluster::{FIELD_MANAGER, Session};
use crate::failure::{Attempt, Failure, explain};
use crate::output::{confirm, say};
use crate::show::{self, Here};
use crate::wait::{Waited, until};

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
    let text = show::change::describe(&request, &Here::of(session));
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
                .then(session.command("show", &format!("chg/{name}"))));
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
    is_true(conditions, "Approved") && over(request).is_none()
}

/// Why nothing more comes of the request.
fn over(request: &ChangeRequest) -> Option<RequestState> {
    request.status.as_ref()?.state.filter(|state| state.is_over())
}

fn not_approved(session: &Session, name: &str, request: &ChangeRequest) -> Failure {
    let status = request.status.clone().unwrap_or_default();
    let state = status
        .state
        .map_or_else(|| "not looked at by the operator yet".to_owned(), |state| state.to_string());
    let missing = status.missing.map(|missing| format!(" Missing: {missing}.")).unwrap_or_default();
    Failure::new(format!("chg/{name} is {state}, so it lets nothing through.{missing}"))
        .then(session.command("show", &format!("chg/{name}")))
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
        let uid = planned.and_then(|planned| planned.uid.as_deref());
        if let Err(failure) = act(session, change, uid, &summary).await {
            let done = format!(" Done before it: {index} of {count} changes of chg/{name}.");
            return Err(Failure { sentence: format!("{}{done}", failure.sentence), ..failure });
        }
        say(&format!("{}. {summary}: done", index + 1));
    }
    say(&format!("chg/{name} is carried out.\nNext: {}", session.command("show", &format!("chg/{name}"))));
    Ok(())
}

async fn act(session: &Session, change: &Change, uid: Option<&str>, summary: &str) -> Result<(), Failure> {
    let attempt = Attempt { next: session.command("show", ""), ..session.attempt(summary, "edit") };
    let refused = |error: kube::Error| explain(&error, &attempt);
    if let Some(create) = &change.create {
        let target = manifest_target(&create.manifest)?;
        let object: DynamicObject = serde_json::from_value(create.manifest.clone())
            .map_err(|error| Failure::new(format!("{} is no object: {error}.", target.display())))?;
        let api = api_of(session, &target).await?;
        return api.create(&post(), &object).await.map(|_| ()).map_err(refused);
    }
    let target = change.target.as_ref().ok_or_else(|| Failure::new("The change names no object."))?;
    let api = api_of(session, target).await?;
    if let Some(update) = &change.update {
        return self::update(&api, target, update, &attempt).await;
    }
    if let Some(scale) = &change.scale {
        let patch = json!({"spec": {"replicas": scale.replicas}});
        return api
            .patch_scale(&target.name, &patch_params(), &Patch::Merge(&patch))
            .await
            .map(|_| ())
            .map_err(refused);
    }
    if change.restart.is_some() {
        let patch = restart(Timestamp::now());
        return api
            .patch(&target.name, &patch_params(), &Patch::Strategic(&patch))
            .await
            .map(|_| ())
            .map_err(refused);
    }
    if change.delete.is_some() {
        let preconditions =
            uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        return api.delete(&target.name, &parameters).await.map(|_| ()).map_err(refused);
    }
    Err(Failure::new(format!("{summary}: this is done with its own kubectl command, which passes now.")))
}

async fn update(
    api: &Api<DynamicObject>,
    target: &ObjectRef,
    update: &UpdateChange,
    attempt: &Attempt<'_>,
) -> Result<(), Failure> {
    let refused = |error: kube::Error| explain(&error, attempt);
    let name = target.name.as_str();
    if update.patch_type == PatchType::Json {
        let live = api.get(name).await.map_err(refused)?;
        let next = patched(live, update)?;
        return api.replace(name, &post(), &next).await.map(|_| ()).map_err(refused);
    }
    let patch = with_removals(update)?;
    let patch = match update.patch_type {
        PatchType::Strategic => Patch::Strategic(&patch),
        _ => Patch::Merge(&patch),
    };
    api.patch(name, &patch_params(), &patch).await.map(|_| ()).map_err(refused)
}

/// The object after a JSON patch, still with the version that was read: if somebody is faster, nothing happens.
fn patched(live: DynamicObject, update: &UpdateChange) -> Result<DynamicObject, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::new(format!("The patch does not fit the object: {error}."));
    let mut operations = update.patch.clone().unwrap_or_else(|| json!([]));
    if let Some(list) = operations.as_array_mut() {
        list.extend(update.remove.iter().map(|path| json!({"op": "remove", "path": path})));
    }
    let patch: json_patch::Patch = serde_json::from_value(operations).map_err(|error| wrong(&error))?;
    let mut object = serde_json::to_value(live).map_err(|error| wrong(&error))?;
    json_patch::patch(&mut object, &patch).map_err(|error| wrong(&error))?;
    serde_json::from_value(object).map_err(|error| wrong(&error))
}

/// The patch with a null for everything in `remove`, which is how merge patches delete.
fn with_removals(update: &UpdateChange) -> Result<Value, Failure> {
    let mut patch = update.patch.clone().unwrap_or_else(|| json!({}));
    for pointer in &update.remove {
        let mut place = &mut patch;
        for field in pointer.split('/').skip(1).map(|field| field.replace("~1", "/").replace("~0", "~")) {
            if place.is_null() {
                *place = json!({});
            }
            // An element of a list has no name in a merge patch.
            let fields =
                place.as_object_mut().filter(|_| field.parse::<u32>().is_err()).ok_or_else(|| {
                    Failure::new(format!(
                        "{pointer} cannot be removed by a merge patch: use kubectl patch --type json."
                    ))
                })?;
            place = fields.entry(field).or_insert(Value::Null);
        }
        *place = Value::Null;
    }
    Ok(patch)
}

fn restart(now: Timestamp) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: whole_seconds(now)}}}}})
}

fn manifest_target(manifest: &Value) -> Result<ObjectRef, Failure> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match (text("/apiVersion"), text("/kind"), text("/metadata/name")) {
        (Some(api_version), Some(kind), Some(name)) => Ok(ObjectRef { api_version, kind, name }),
        _ => Err(Failure::new("The manifest names no object.")),
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_become_nulls_beside_the_patch() {
        let update = UpdateChange {
            patch: Some(json!({"metadata": {"labels": {"a": "b"}}})),
            remove: vec!["/metadata/labels/c".into(), "/metadata/annotations/example.org~1x".into()],
            ..UpdateChange::default()
        };
        assert_eq!(
            with_removals(&update).unwrap(),
            json!({"metadata": {"labels": {"a": "b", "c": null}, "annotations": {"example.org/x": null}}})
        );
        let in_list =
            UpdateChange { remove: vec!["/spec/containers/0/image".into()], ..UpdateChange::default() };
        assert!(with_removals(&in_list).unwrap_err().sentence.contains("--type json"));
    }

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
