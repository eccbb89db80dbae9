//! Looks up what proves system traffic: owners, namespaces, autoscalers, disruption budgets.
//!
//! Every read is live: a proof from a cache may be a proof of yesterday. It is made as the planner, whose rights teams
//! widen for their own kinds.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{GroupVersion, GroupVersionKind};
use kube::discovery::{Scope, pinned_group, pinned_kind};

use super::action::Action;
use crate::api::common::ObjectRef;
use crate::change::gate::disruption_budget::Budget;
use crate::change::gate::system_controllers::{Bounds, Facts, Owner, OwnerState, Proof, Row};
use crate::change::policy;
use crate::change::policy::Resource;
use crate::cluster::error::chain;
use crate::cluster::{Context, Error};

/// What the proofs of these rows need.
///
/// # Errors
/// When the API server does not answer.
pub async fn facts(context: &Context, rows: &[&'static Row], action: &Action) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    for row in rows {
        match row.proof {
            Proof::Owner(_) | Proof::Orphan | Proof::Orphaned if facts.owners.is_empty() => {
                facts.owners = owners(context, action).await;
            }
            Proof::NamespaceEnds => facts.namespace_ends = namespace_ends(context, action).await?,
            Proof::Autoscaler => facts.autoscalers = autoscalers(context, action).await?,
            _ => {}
        }
    }
    Ok(facts)
}

async fn owners(context: &Context, action: &Action) -> Vec<Owner> {
    let references = [&action.before, &action.after]
        .into_iter()
        .filter_map(|object| object.pointer("/metadata/ownerReferences"))
        .find_map(|list| serde_json::from_value::<Vec<OwnerReference>>(list.clone()).ok())
        .unwrap_or_default();
    let mut owners = Vec::new();
    for reference in references {
        let (state, protected) = owner(context, action, &reference).await.unwrap_or_else(|error| {
            let (kind, name, error) = (&reference.kind, &reference.name, chain(&error));
            tracing::warn!(
                namespace = action.namespace, kind, name, error,
                "the owner of a protected object cannot be read, so its controllers are not let through; next: a \
                 ClusterRole with the verb get for its kind and the label mayday.dev/aggregate-to-planner: \"true\""
            );
            (OwnerState::Unknown, false)
        });
        let controller = reference.controller == Some(true);
        owners.push(Owner { kind: reference.kind, uid: reference.uid, controller, state, protected });
    }
    owners
}

/// How an owner is and whether it is protected itself. What cannot be read is unknown, which proves nothing.
async fn owner(
    context: &Context,
    action: &Action,
    reference: &OwnerReference,
) -> Result<(OwnerState, bool), kube::Error> {
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let kind = GroupVersionKind::gvk(group, version, &reference.kind);
    let (resource, capabilities) = pinned_kind(&context.planner, &kind).await?;
    let is_namespaced = capabilities.scope == Scope::Namespaced;
    let api: Api<DynamicObject> = if is_namespaced {
        Api::namespaced_with(context.planner.clone(), &action.namespace, &resource)
    } else {
        Api::all_with(context.planner.clone(), &resource)
    };
    let namespace = if is_namespaced { action.namespace.as_str() } else { "" };
    let protected = is_protected(context, &Resource { group, plural: &resource.plural, namespace });
    let state = match api.get_opt(&reference.name).await? {
        Some(found) if found.uid().as_deref() != Some(&reference.uid) => OwnerState::Gone,
        Some(found) if found.metadata.deletion_timestamp.is_some() => OwnerState::Terminating,
        Some(_) => OwnerState::Live,
        None => OwnerState::Gone,
    };
    Ok((state, protected))
}

/// The kind of an action's object, by its plural name.
///
/// # Errors
/// When the API server does not answer, or serves no such kind.
pub async fn kind(context: &Context, action: &Action) -> Result<String, Error> {
    let (group, version) =
        action.target.api_version.split_once('/').unwrap_or(("", &action.target.api_version));
    let served = pinned_group(&context.planner, &GroupVersion::gv(group, version)).await?;
    let found = served.recommended_resources().into_iter().find(|(kind, _)| kind.plural == action.plural);
    found
        .map(|(kind, _)| kind.kind)
        .ok_or_else(|| Error::Waiting(format!("no kind is called {} yet", action.plural)))
}

/// Whether any policy protects such objects.
pub fn is_protected(context: &Context, resource: &Resource<'_>) -> bool {
    let policies = context.stores.policies.state();
    !policy::protecting(&policies, resource, &context.config.namespace).is_empty()
}

async fn namespace_ends(context: &Context, action: &Action) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(context.planner.clone());
    let namespace = api.get_opt(&action.namespace).await?;
    Ok(namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

async fn autoscalers(context: &Context, action: &Action) -> Result<Vec<Bounds>, Error> {
    // What anybody may write proves nothing.
    if !is_protected(
        context,
        &Resource { group: "autoscaling", plural: "horizontalpodautoscalers", namespace: &action.namespace },
    ) {
        return Ok(Vec::new());
    }
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(context.planner.clone(), &action.namespace);
    let found = api.list(&ListParams::default()).await?;
    Ok(found
        .into_iter()
        .filter_map(|autoscaler| autoscaler.spec)
        .map(|spec| Bounds {
            target: ObjectRef {
                api_version: spec.scale_target_ref.api_version.unwrap_or_default(),
                kind: spec.scale_target_ref.kind,
                name: spec.scale_target_ref.name,
            },
            min: i64::from(spec.min_replicas.unwrap_or(1)),
            max: i64::from(spec.max_replicas),
        })
        .collect())
}

/// What the PodDisruptionBudgets say of evicting a pod. Of one that is not there nobody says anything.
///
/// # Errors
/// When the API server does not answer.
pub async fn budget(context: &Context, action: &Action) -> Result<Budget, Error> {
    let pods: Api<Pod> = Api::namespaced(context.planner.clone(), &action.namespace);
    let Some(pod) = pods.get_opt(&action.target.name).await? else { return Ok(Budget::Absent) };
    // What anybody may write allows nothing.
    if !is_protected(
        context,
        &Resource { group: "policy", plural: "poddisruptionbudgets", namespace: &action.namespace },
    ) {
        return Ok(Budget::Absent);
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(context.planner.clone(), &action.namespace);
    let budgets = budgets.list(&ListParams::default()).await?;
    Ok(Budget::of(pod.labels(), &budgets))
}
