//! Reads what proves an exemption: owners, namespaces, autoscalers, disruption budgets, and the intents of runs.
//!
//! Every read is live, since a cache may be stale. Objects of other kinds are read as the planner, whose rights teams
//! extend to their own kinds.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::{GroupVersion, GroupVersionKind};
use kube::discovery::{Scope, pinned_group, pinned_kind};

use super::action::Action;
use crate::api::RunbookRun;
use crate::api::common::ObjectRef;
use crate::change::gate::disruption_budget::Budget;
use crate::change::gate::system_controllers::{Bounds, Evidence, Owner, OwnerState, Proof, Row, is_own_run};
use crate::change::gate::{plannable, run_step, system_controllers};
use crate::change::policy;
use crate::change::policy::Resource;
use crate::cluster::error::chain;
use crate::cluster::{Context, Error};

/// Whether an action is proved to be the work of a controller of Kubernetes.
pub fn is_proved_controller<'a>(
    context: &'a Context,
    action: &'a Action,
) -> BoxFuture<'a, Result<bool, Error>> {
    async move {
        let rows = system_controllers::rows(action);
        let evidence = evidence(context, &rows, action).await?;
        Ok(rows.iter().any(|row| system_controllers::proves(row, action, &evidence)))
    }
    .boxed()
}

/// Whether an action is a stored, unsettled intent of the run whose mark it carries.
///
/// An unknown run and one that may not act now are errors, so that the operator tries again: a refusal would fail the run.
pub fn is_run_step<'a>(context: &'a Context, action: &'a Action) -> BoxFuture<'a, Result<bool, Error>> {
    async move {
        let Some(uid) = &action.run else { return Ok(false) };
        let cached = context.caches.runs.find(|run| run.metadata.uid.as_deref() == Some(uid));
        // The process that stored the intent a moment ago mostly also answers here.
        let written = context.written.announced(uid, cached.as_deref());
        if written.is_some_and(|run| run_step::is_announced(&run, action, Timestamp::now()) == Ok(true)) {
            return Ok(true);
        }
        let Some(cached) = cached else {
            return Err(Error::Waiting("the run that it is a step of is not known here yet".to_owned()));
        };
        // The intent was stored a moment ago: the cache may not have it yet.
        let api: Api<RunbookRun> =
            Api::namespaced(context.client.clone(), cached.namespace().unwrap_or_default().as_str());
        let Some(run) = api.get_opt(&cached.name_any()).await? else { return Ok(false) };
        if run.metadata.uid.as_deref() != Some(uid) {
            return Ok(false);
        }
        run_step::is_announced(&run, action, Timestamp::now())
            .map_err(|why| Error::Waiting(format!("run/{} {why}", run.name_any())))
    }
    .boxed()
}

/// Whether the PodDisruptionBudgets allow an eviction now.
pub fn is_within_budget<'a>(context: &'a Context, action: &'a Action) -> BoxFuture<'a, Result<bool, Error>> {
    async move { Ok(budget(context, action).await? == Budget::Allows) }.boxed()
}

/// Reads the evidence for the proofs of these rows.
async fn evidence(context: &Context, rows: &[&'static Row], action: &Action) -> Result<Evidence, Error> {
    let mut evidence = Evidence::default();
    for row in rows {
        match row.proof {
            Proof::Owner(_) | Proof::Orphan | Proof::Orphaned if evidence.owners.is_empty() => {
                evidence.owners = owners(context, action).await;
            }
            Proof::NamespaceEnds => evidence.namespace_ends = namespace_ends(context, action).await?,
            Proof::Autoscaler => evidence.autoscalers = autoscalers(context, action).await?,
            _ => {}
        }
    }
    Ok(evidence)
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
        let (version, uid) = (&reference.api_version, &reference.uid);
        let protected = protected || is_own_run(action, version, &reference.kind, uid);
        let controller = reference.controller == Some(true);
        owners.push(Owner { kind: reference.kind, uid: reference.uid, controller, state, protected });
    }
    owners
}

/// State of an owner, and whether a policy protects it.
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
    let policies = context.caches.policies.state();
    !policy::protecting(&policies, resource, &context.config.namespace).is_empty()
}

async fn namespace_ends(context: &Context, action: &Action) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(context.planner.clone());
    let namespace = api.get_opt(&action.namespace).await?;
    Ok(namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

async fn autoscalers(context: &Context, action: &Action) -> Result<Vec<Bounds>, Error> {
    // An unprotected autoscaler proves nothing: it can be written without approval.
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

/// The verbs that the planner lacks for planning an action. None are asked for where every installation has them.
///
/// # Errors
/// When the API server does not answer.
pub async fn missing_verbs(context: &Context, action: &Action) -> Result<Vec<&'static str>, Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(context.planner.clone());
    // Like each of its writes, a question of the planner is a dry run.
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut missing = Vec::new();
    for verb in plannable::verbs(action) {
        let mut question = SelfSubjectAccessReview::default();
        question.spec.resource_attributes = Some(ResourceAttributes {
            namespace: Some(action.namespace.clone()),
            group: Some(action.target.group().to_owned()),
            resource: Some(action.plural.clone()),
            name: Some(action.target.name.clone()),
            verb: Some((*verb).to_owned()),
            ..ResourceAttributes::default()
        });
        let answer = api.create(&params, &question).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            missing.push(*verb);
        }
    }
    Ok(missing)
}

/// The answer of the PodDisruptionBudgets about the eviction of a pod.
///
/// # Errors
/// When the API server does not answer.
pub async fn budget(context: &Context, action: &Action) -> Result<Budget, Error> {
    let pods: Api<Pod> = Api::namespaced(context.planner.clone(), &action.namespace);
    let Some(pod) = pods.get_opt(&action.target.name).await? else { return Ok(Budget::NoPod) };
    // An unprotected budget allows nothing: it can be written without approval.
    if !is_protected(
        context,
        &Resource { group: "policy", plural: "poddisruptionbudgets", namespace: &action.namespace },
    ) {
        return Ok(Budget::Absent);
    }
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(context.planner.clone(), &action.namespace);
    let budgets = budgets.list(&ListParams::default()).await?;
    Ok(Budget::of(&pod, &budgets))
}
