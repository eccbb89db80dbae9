//! Writes a status only if it differs, and only over the version of the object that it was computed from.

use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use super::{Context, Error};

/// Writes the status of a namespaced object if it differs from the one in `object`. Returns the stored
/// object, or `None` if nothing was written.
///
/// # Errors
/// [`Error::Conflict`] if the stored object is no longer the one that was decided from.
pub async fn write<K>(context: &Context, object: &K, status: K::Status) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + HasStatus
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
    K::Status: PartialEq,
{
    let api = Api::namespaced(context.client.clone(), object.namespace().unwrap_or_default().as_str());
    replace(context, &api, object, status).await
}

/// Like [`write()`], but for any scope, through an API that the caller chooses.
///
/// # Errors
/// [`Error::Conflict`] if the stored object is no longer the one that was decided from.
pub async fn replace<K>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    status: K::Status,
) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + Debug + DeserializeOwned + Serialize,
    K::Status: PartialEq,
{
    if object.status() == Some(&status) {
        return Ok(None);
    }
    let mut next = object.clone();
    *next.status_mut() = Some(status);
    // The resourceVersion stays as it was read, so the API server refuses the write if another writer was
    // faster.
    let stored = api.replace_status(&object.name_any(), &PostParams::default(), &next).await?;
    context.written.note(&stored);
    Ok(Some(stored))
}
