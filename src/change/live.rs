//! Reads past the caches, as the planner: what a proof or an allowance depends on is looked at as it is now.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::SelectorExt;
use kube::core::discovery::Scope;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::{ApiResource, pinned_kind};
use kube::{Api, Client, ResourceExt};

use super::system::Owner;
use crate::api::common::ObjectRef;
use crate::cluster::{Context, Error};

/// Reads as the planner.
pub struct Live {
    client: Client,
}

impl Live {
    /// As the planner of this installation.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(context: &Context) -> Result<Live, Error> {
        Ok(Live { client: context.impersonate.planner()? })
    }

    /// The client itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How the API server serves a kind, and whether it is in namespaces.
    ///
    /// # Errors
    /// When the kind is not served; the message names it.
    pub async fn resource(&self, object: &ObjectRef) -> Result<(ApiResource, Scope), Error> {
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(object.group(), version, &object.kind);
        match pinned_kind(&self.client, &kind).await {
            Ok((resource, capabilities)) => Ok((resource, capabilities.scope)),
            Err(kube::Error::Discovery(_)) => Err(Error::Terminal(format!(
                "{} {} is not served by this cluster: kubectl api-resources lists what is",
                object.api_version, object.kind
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// An object as it is now; none if there is no such object.
    ///
    /// # Errors
    /// When the kind is not served, or the object cannot be read.
    pub async fn get(&self, object: &ObjectRef, namespace: &str) -> Result<Option<DynamicObject>, Error> {
        let (resource, scope) = self.resource(object).await?;
        Ok(self.api(&resource, &scope, namespace).get_opt(&object.name).await?)
    }

    /// The API of a kind, in a namespace if it is in namespaces.
    pub fn api(&self, resource: &ApiResource, scope: &Scope, namespace: &str) -> Api<DynamicObject> {
        match scope {
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, resource),
            Scope::Cluster => Api::all_with(self.client.clone(), resource),
        }
    }

    /// Whether every owner is gone (or another object has its name) or is being deleted.
    ///
    /// # Errors
    /// When an owner cannot be looked at; then nothing is shown.
    pub async fn owners_are_gone(&self, owners: &[Owner], namespace: &str) -> Result<bool, Error> {
        for owner in owners {
            let found = self.get(&owner.object, namespace).await?;
            let lives = found.is_some_and(|found| {
                found.metadata.uid.as_deref() == Some(&owner.uid)
                    && found.metadata.deletion_timestamp.is_none()
            });
            if lives {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a namespace is being deleted.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub async fn is_terminating(&self, namespace: &str) -> Result<bool, Error> {
        let found = Api::<Namespace>::all(self.client.clone()).get_opt(namespace).await?;
        Ok(found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// Whether an autoscaler of the target allows so many replicas.
    ///
    /// # Errors
    /// When the autoscalers cannot be listed.
    pub async fn autoscaler_allows(
        &self,
        target: &ObjectRef,
        namespace: &str,
        replicas: i64,
    ) -> Result<bool, Error> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
        let all = api.list(&ListParams::default()).await?;
        Ok(all.items.iter().filter_map(|autoscaler| autoscaler.spec.as_ref()).any(|spec| {
            let reference = &spec.scale_target_ref;
            let group = reference
                .api_version
                .as_deref()
                .and_then(|version| version.split_once('/'))
                .map_or("", |(group, _)| group);
            let bounds = i64::from(spec.min_replicas.unwrap_or(1))..=i64::from(spec.max_replicas);
            reference.kind == target.kind
                && reference.name == target.name
                && group == target.group()
                && bounds.contains(&replicas)
        }))
    }

    /// Whether a budget covers the pod and allows one more disruption.
    ///
    /// # Errors
    /// When the pod or the budgets cannot be read.
    pub async fn budget_allows(&self, pod: &str, namespace: &str) -> Result<bool, Error> {
        let Some(pod) = Api::<Pod>::namespaced(self.client.clone(), namespace).get_opt(pod).await? else {
            return Ok(false);
        };
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), namespace);
        let all = budgets.list(&ListParams::default()).await?;
        let covering: Vec<_> = all.items.iter().filter(|budget| selects(budget, &pod)).collect();
        let allows = |budget: &&PodDisruptionBudget| {
            let status = budget.status.as_ref();
            let current = status.and_then(|status| status.observed_generation) == budget.metadata.generation;
            current && status.is_some_and(|status| status.disruptions_allowed > 0)
        };
        Ok(!covering.is_empty() && covering.iter().all(|budget| allows(budget)))
    }
}

/// Whether a budget's selector matches a pod's labels; what cannot be read matches nothing.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.clone()) else { return false };
    kube::core::Selector::try_from(selector).is_ok_and(|selector| selector.matches(pod.labels()))
}
