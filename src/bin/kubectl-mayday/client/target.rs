//! Objects of any kind that a change is about, as the API server serves them.

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use kube::{Api, Client};
use mayday::api::common::ObjectRef;
use serde_json::Value;

use crate::client::failure::{Failure, explain, role};
use crate::client::kinds;
use crate::client::session::Session;
use crate::text::names;

/// `KIND/NAME` as the object that the API server serves.
pub async fn resolve(
    session: &Session,
    text: &str,
) -> Result<(ObjectRef, ApiResource, ApiCapabilities), Failure> {
    let Some((word, name)) = text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
    else {
        return Err(Failure::usage(format!(
            "{text:?} names no object: write KIND/NAME, such as deploy/checkout."
        )));
    };
    let (api_version, kind) = match kinds::known(word) {
        Some(known) => known,
        None => discover(session, word).await?,
    };
    let target = ObjectRef { api_version, kind, name: name.to_owned() };
    let (resource, capabilities) = served(session, &target).await?;
    Ok((target, resource, capabilities))
}

async fn discover(session: &Session, word: &str) -> Result<(String, String), Failure> {
    let failed = |error| explain(&error, &session.attempt("list the kinds of the cluster", role::VIEWER));
    let core = session.client.list_core_api_versions_aggregated().await.map_err(failed)?;
    let others = session.client.list_api_groups_aggregated().await.map_err(failed)?;
    let served = kinds::served(core.items.into_iter().chain(others.items));
    kinds::choose(word, &served).map_err(|why| Failure::usage(why).then(session.kubectl("api-resources")))
}

/// How the API server serves the kind of an object.
pub async fn served(
    session: &Session,
    target: &ObjectRef,
) -> Result<(ApiResource, ApiCapabilities), Failure> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &target.kind);
    pinned_kind(&session.client, &gvk).await.map_err(|error| match error {
        kube::Error::Discovery(_) => {
            Failure::usage(format!("The cluster has no {} in {}.", target.kind, target.api_version))
                .then(session.kubectl("api-resources"))
        }
        other => {
            let what = format!("look up {} in {}", target.kind, target.api_version);
            explain(&other, &session.attempt(&what, role::VIEWER))
        }
    })
}

/// The API of the objects of a kind: in the session's namespace, or in none.
pub fn api(session: &Session, resource: &ApiResource, capabilities: &ApiCapabilities) -> Api<DynamicObject> {
    let client: Client = session.client.clone();
    match capabilities.scope {
        Scope::Namespaced => Api::namespaced_with(client, &session.namespace, resource),
        Scope::Cluster => Api::all_with(client, resource),
    }
}

/// The object's API, for carrying out a change to it.
pub async fn api_of(session: &Session, target: &ObjectRef) -> Result<Api<DynamicObject>, Failure> {
    let (resource, capabilities) = served(session, target).await?;
    Ok(api(session, &resource, &capabilities))
}

/// The object as it is stored, or what exists of its kind.
pub async fn read(
    session: &Session,
    target: &ObjectRef,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
) -> Result<Value, Failure> {
    let found = api(session, resource, capabilities).get_opt(&target.name).await;
    let what = format!("read {}", target.display());
    let found = found.map_err(|error| explain(&error, &session.attempt(&what, "view")))?;
    found_or_listed(session, found, target, resource, capabilities).await
}

/// The same where the person may read it; none otherwise.
pub async fn read_if_allowed(
    session: &Session,
    target: &ObjectRef,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
) -> Result<Option<Value>, Failure> {
    match api(session, resource, capabilities).get_opt(&target.name).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => {
            let what = format!("read {}", target.display());
            Err(explain(&error, &session.attempt(&what, "view")))
        }
        Ok(found) => found_or_listed(session, found, target, resource, capabilities).await.map(Some),
    }
}

async fn found_or_listed(
    session: &Session,
    found: Option<DynamicObject>,
    target: &ObjectRef,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
) -> Result<Value, Failure> {
    match found {
        Some(object) => as_value(&object, &target.display()),
        None => {
            let others =
                match api(session, resource, capabilities).list(&ListParams::default().limit(50)).await {
                    Ok(others) => names(
                        others.items.iter().filter_map(|object| object.metadata.name.as_deref()),
                        "none",
                    ),
                    // Not being allowed to look is not the same as nothing.
                    Err(_) => "not known".to_owned(),
                };
            Err(Failure::new(format!(
                "There is no {} in namespace {}. What there is of its kind: {others}.",
                target.display(),
                session.namespace
            ))
            .then(session.kubectl(&format!("get {} -n NAMESPACE", resource.plural))))
        }
    }
}

/// The object as JSON; `name` is how people write it.
pub fn as_value(object: &DynamicObject, name: &str) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::new(format!("{name} cannot be read: {error}.")))
}
