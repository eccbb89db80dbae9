//! Plans each change of a request once, by a dry run.
//!
//! All calls are made as the planner, whose writes must all be dry runs.

use kube::api::{Api, DeleteParams, DynamicObject, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::change_request::{Change, ChangeRequestSpec, Delta, PlannedChange};
use crate::api::common::ObjectRef;
use crate::change::diff;
use crate::change::diff::{describe, patch};
use crate::change::gate::plannable::{NEXT, PLANNER};
use crate::cluster::Error;

/// Maximum number of reads of an object that others keep writing.
const READS: u32 = 4;

/// Plans every change of a request in a namespace. Only requests in the operator's namespace may have cluster-scoped
/// targets.
///
/// # Errors
/// [`Error::Terminal`] with place and reason if the request can never be carried out as written; others if the API server
/// does not answer.
pub async fn plan(
    client: &Client,
    spec: &ChangeRequestSpec,
    namespace: &str,
    operator_namespace: &str,
) -> Result<Vec<PlannedChange>, Error> {
    let mut plan = Vec::new();
    for (index, change) in spec.changes.iter().enumerate() {
        let planned = one(client, change, namespace, operator_namespace).await;
        plan.push(planned.map_err(|error| at(index, error))?);
    }
    Ok(plan)
}

fn at(index: usize, error: Error) -> Error {
    // The API server would refuse the same dry run again.
    let final_answer =
        error.code().is_some_and(|code| (400..500).contains(&code) && code != 409 && code != 429);
    match error {
        Error::Api(error) if matches!(&*error, kube::Error::Api(answer) if answer.is_already_exists()) => {
            let said = crate::cluster::error::chain(&*error);
            Error::Terminal(format!("spec.changes[{index}]: {said}; ask for an update of what is there"))
        }
        Error::Api(error) if final_answer => {
            let said = crate::cluster::error::chain(&*error);
            let is_right_missing = said.contains(PLANNER) && said.contains(" cannot ");
            let next = if is_right_missing { format!("; {NEXT}") } else { String::new() };
            Error::Terminal(format!("spec.changes[{index}]: {said}{next}"))
        }
        Error::Terminal(message) => Error::Terminal(format!("spec.changes[{index}]: {message}")),
        other => other,
    }
}

async fn one(
    client: &Client,
    change: &Change,
    namespace: &str,
    operator_namespace: &str,
) -> Result<PlannedChange, Error> {
    let target = target(change)?;
    let (resource, capabilities) = discover(client, &target).await?;
    let is_namespaced = capabilities.scope == Scope::Namespaced;
    if !is_namespaced && namespace != operator_namespace {
        return Err(Error::Terminal(format!(
            "{} belongs to no namespace: ask from the operator's own, -n {operator_namespace}",
            target.display()
        )));
    }
    let api: Api<DynamicObject> = if is_namespaced {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let place = if is_namespaced { namespace } else { "" };
    let mut planned = PlannedChange {
        target: target.clone(),
        resource: resource.plural.clone(),
        namespace: is_namespaced.then(|| namespace.to_owned()),
        ..PlannedChange::default()
    };
    if let Some(create) = &change.create {
        let object: DynamicObject = serde_json::from_value(create.manifest.clone())
            .map_err(|error| Error::Terminal(format!("create.manifest: {error}")))?;
        let created = api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await?;
        planned.operation = "Create".to_owned();
        planned.delta = diff::of_new(target.group(), &serde_json::to_value(created)?);
        planned.summary = describe::creation(&target, place);
        return Ok(planned);
    }
    if let Some(delete) = &change.delete {
        // Only the UID is needed, so the object is not read: the content of a Secret stays where it is.
        let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let answer = api.delete(&target.name, &params).await?;
        planned.uid =
            answer.either(|object| object.uid(), |status| status.details.map(|details| details.uid));
        if planned.uid.as_ref().is_none_or(String::is_empty) {
            let name = target.display();
            return Err(Error::Terminal(format!(
                "the API server does not say which {name} would be deleted"
            )));
        }
        planned.operation = "Delete".to_owned();
        planned.summary = describe::deletion(&target, place, delete.orphans());
        return Ok(planned);
    }
    planned.operation = "Update".to_owned();
    if change.restart.is_some() {
        let live = api.get(&target.name).await?;
        planned.uid = live.uid();
        let live = serde_json::to_value(live)?;
        let before = diff::value_at(&live, describe::RESTARTED_AT).cloned();
        let after = Some(json!(describe::AT_THAT_TIME));
        planned.delta = vec![Delta { path: describe::RESTARTED_AT.to_owned(), before, after }];
    } else {
        let (live, patched) = patched(&api, &target.name, change).await?;
        planned.uid = live.uid();
        let has_status = capabilities.subresources.iter().any(|(resource, _)| resource.plural == "status");
        // A status subresource may change between the two reads, and the patch cannot touch it.
        let diff = if has_status { diff::diff } else { diff::diff_with_status };
        planned.delta = diff(&serde_json::to_value(live)?, &serde_json::to_value(patched)?);
        if planned.delta.is_empty() {
            return Err(Error::Terminal(format!("{} is already so: nothing would change", target.display())));
        }
    }
    planned.summary = crate::text::cut(&describe::update(&target, place, &planned.delta), 1000);
    Ok(planned)
}

/// The object as it is, and as the patch would make it. Both are read again if somebody wrote the object in between, whose
/// change would otherwise be planned with it.
async fn patched(
    api: &Api<DynamicObject>,
    name: &str,
    change: &Change,
) -> Result<(DynamicObject, DynamicObject), Error> {
    let patch = patch::of(change).map_err(Error::Terminal)?;
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let mut reads = 0;
    loop {
        let live = api.get(name).await?;
        let patched = api.patch(name, &params, &patch).await?;
        reads += 1;
        if reads == READS || live.resource_version() == patched.resource_version() {
            return Ok((live, patched));
        }
    }
}

/// The target of a change.
fn target(change: &Change) -> Result<ObjectRef, Error> {
    if let Some(target) = &change.target {
        return Ok(target.clone());
    }
    let manifest = change.create.as_ref().map_or(&Value::Null, |create| &create.manifest);
    let text =
        |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let target =
        ObjectRef { api_version: text("/apiVersion"), kind: text("/kind"), name: text("/metadata/name") };
    if target.kind.is_empty() || target.name.is_empty() {
        return Err(Error::Terminal("it names no object".to_owned()));
    }
    Ok(target)
}

async fn discover(client: &Client, target: &ObjectRef) -> Result<(ApiResource, ApiCapabilities), Error> {
    let version = target.api_version.rsplit('/').next().unwrap_or_default();
    let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
    match pinned_kind(client, &kind).await {
        Ok(found) => Ok(found),
        Err(kube::Error::Discovery(error)) => {
            Err(Error::Terminal(format!("{} {}: {error}", target.api_version, target.kind)))
        }
        Err(error) => Err(error.into()),
    }
}
