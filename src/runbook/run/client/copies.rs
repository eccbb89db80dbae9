//! Makes and removes the copies of a drill, as the ServiceAccount of the drill's namespace.

use kube::api::{Api, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::discovery::Scope;
use serde_json::Value;

use super::{RunClient, is_final, unknown_kind};
use crate::api::common::ObjectRef;
use crate::cluster::Error;
use crate::runbook::steps::patching::FIELD_MANAGER;

impl RunClient {
    /// Creates a copy. One that exists already is no error: the next look tells whose it is.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn create_copy(&self, target: &ObjectRef, copy: &Value) -> Result<Result<(), String>, Error> {
        let Some(api) = self.namespaced(target).await? else { return Ok(Err(unknown_kind(target))) };
        let object: DynamicObject = serde_json::from_value(copy.clone())?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &object).await {
            Ok(_) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Ok(())),
            Err(kube::Error::Api(status)) if is_final(&status) => {
                Ok(Err(self.refused("create", target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the copy with this UID. One that is gone is no error.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn delete_copy(&self, target: &ObjectRef, uid: &str) -> Result<Result<(), String>, Error> {
        let Some(api) = self.namespaced(target).await? else { return Ok(Err(unknown_kind(target))) };
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        match api.delete(&target.name, &params).await {
            Ok(_) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Ok(())),
            Err(kube::Error::Api(status)) if is_final(&status) => {
                Ok(Err(self.refused("delete", target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where the objects of a kind are; `None` if there is no such kind in a namespace.
    async fn namespaced(&self, target: &ObjectRef) -> Result<Option<Api<DynamicObject>>, Error> {
        let found = self.resource(target).await?.filter(|(_, scope)| *scope == Scope::Namespaced);
        Ok(found.map(|(resource, scope)| self.api_of(&resource, &scope)))
    }
}
