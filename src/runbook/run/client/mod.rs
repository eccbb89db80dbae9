//! Reads and writes as a Runbook's ServiceAccount, with the mark of the run. A run has no other way to an object: no
//! identity, no act, and never with the operator's own rights.

mod copies;
mod judge;
mod look;
mod send;

pub use judge::Verdict;

use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{GroupVersionKind, Status};
use kube::discovery::{ApiResource, Scope, pinned_kind};

use crate::api::common::ObjectRef;
use crate::cluster::client::{Identity, Impersonator};
use crate::cluster::{Error, error};
use crate::runbook::permissions::Right;
use crate::runbook::run::preflight;
use crate::runbook::steps::needs::Need;

/// A client that acts as a Runbook's ServiceAccount.
pub struct RunClient {
    client: Client,
    namespace: String,
    user: String,
}

impl RunClient {
    /// A client for the run with this UID, as `identity`.
    ///
    /// # Errors
    /// When the UID contains a character that an HTTP header cannot carry.
    pub fn new(impersonator: &Impersonator, identity: &Identity, run_uid: &str) -> Result<RunClient, Error> {
        Ok(RunClient {
            client: impersonator.run(identity, run_uid)?,
            namespace: identity.namespace().to_owned(),
            user: identity.user(),
        })
    }

    /// Namespace of the run.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where the objects of a kind are; `None` if there is no such kind.
    async fn api(&self, target: &ObjectRef) -> Result<Option<Api<DynamicObject>>, Error> {
        Ok(self.resource(target).await?.map(|(resource, scope)| self.api_of(&resource, &scope)))
    }

    fn api_of(&self, resource: &ApiResource, scope: &Scope) -> Api<DynamicObject> {
        match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &self.namespace, resource),
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
        }
    }

    async fn resource(&self, target: &ObjectRef) -> Result<Option<(ApiResource, Scope)>, Error> {
        resource_of(&self.client, target).await
    }

    /// The rights of these that the account lacks.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn lacking(&self, needs: Vec<(usize, Need)>) -> Result<Vec<Right>, Error> {
        preflight::lacking(&self.client, &self.namespace, needs).await
    }

    fn refused(&self, verb: &str, target: &ObjectRef, status: &Status) -> String {
        format!("{} could not {verb} {}: {}", self.user, target.display(), status.message)
    }
}

/// The resource of a kind, and whether it is in namespaces; `None` if there is no such kind.
///
/// # Errors
/// When the API server does not answer.
pub async fn resource_of(client: &Client, target: &ObjectRef) -> Result<Option<(ApiResource, Scope)>, Error> {
    // What is known need not be asked for at each step: that would cost a call.
    if KNOWN.contains(&(target.group(), &target.kind)) {
        return Ok(Some(plain(target)));
    }
    let version = target.api_version.rsplit('/').next().unwrap_or_default();
    let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
    match pinned_kind(client, &kind).await {
        Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(failure) if error::code(&failure) == Some(404) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Built-in kinds whose plural and scope are known, with their group.
const KNOWN: &[(&str, &str)] = &[
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("apps", "ControllerRevision"),
    ("", "Pod"),
    ("", "Node"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ConfigMap"),
    ("", "PersistentVolumeClaim"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("policy", "PodDisruptionBudget"),
];

/// The resource of a kind whose plural is regular.
fn plain(target: &ObjectRef) -> (ApiResource, Scope) {
    let version = target.api_version.rsplit('/').next().unwrap_or_default();
    let kind = GroupVersionKind::gvk(target.group(), version, &target.kind);
    let is_node = target.group().is_empty() && target.kind == "Node";
    let scope = if is_node { Scope::Cluster } else { Scope::Namespaced };
    (ApiResource::from_gvk(&kind), scope)
}

/// Whether an error is final: the same request would get the same answer.
fn is_final(status: &Status) -> bool {
    (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429)
}

fn unknown_kind(target: &ObjectRef) -> String {
    format!("there is no kind {} in {}", target.kind, target.api_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_decision_of_the_api_server_is_final() {
        let with = |code: u16| Status { code, ..Status::default() };
        for code in [400, 403, 404, 413, 422] {
            assert!(is_final(&with(code)), "{code}");
        }
        for code in [408, 409, 429, 500, 503, 504] {
            assert!(!is_final(&with(code)), "{code}");
        }
    }
}
