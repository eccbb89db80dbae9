//! Reads what a run depends on. What allows it to act is read live, since a stale read must not cause an act: approvals,
//! policies, freezes, open incidents, other runs. The Runbook may come from the cache: the write that remembers the run
//! fails if it has changed. So may its ServiceAccount, and the names of people in texts.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Resource, ResourceExt};

use super::ask::Stored;
use crate::api::incident_status::IncidentState;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::RunbookRunStatus;
use crate::api::{Approval, ChangePolicy, Incident, Runbook, RunbookRun};
use crate::change::freeze::live;
use crate::change::stamps;
use crate::cluster::caches::{get, in_namespace, list_decisions, list_in_other_states, list_live};
use crate::cluster::{Context, Error};
use crate::runbook::siblings::Share;
use crate::runbook::{approval, identity};

/// The objects of a kind in the namespace of a run.
fn api<K>(context: &Context, run: &RunbookRun) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default())
}

/// The Runbook of a run, if it exists: from the cache, or live if the cache does not hold it yet.
///
/// # Errors
/// When the API server does not answer.
pub async fn runbook(context: &Context, run: &RunbookRun) -> Result<Option<Runbook>, Error> {
    let (namespace, name) = (run.namespace().unwrap_or_default(), &run.spec.runbook_ref.name);
    if let Some(known) = get(&context.caches.runbooks, &namespace, name) {
        return Ok(Some((*known).clone()));
    }
    Ok(api::<Runbook>(context, run).get_opt(name).await?)
}

/// The incident of a run, if it names one that exists. It comes from the cache if it is open there: that it is over is
/// read live.
///
/// # Errors
/// When the API server does not answer.
pub async fn incident(context: &Context, run: &RunbookRun) -> Result<Option<Arc<Incident>>, Error> {
    let Some(named) = &run.spec.incident_ref else { return Ok(None) };
    let namespace = run.namespace().unwrap_or_default();
    let known = get(&context.caches.incidents, &namespace, &named.name);
    match known.filter(|known| known.is_open()) {
        Some(open) => Ok(Some(open)),
        None => Ok(api::<Incident>(context, run).get_opt(&named.name).await?.map(Arc::new)),
    }
}

/// The decisions about a run, and about the questions of its steps.
///
/// # Errors
/// When the API server does not answer.
pub async fn approvals(context: &Context, run: &RunbookRun) -> Result<Vec<Arc<Approval>>, Error> {
    let uid = run.uid().unwrap_or_default();
    let all = list_decisions(api(context, run), &context.caches.approvals, &uid).await?;
    Ok(stamps::counting(&context.stamps, all))
}

/// The decisions about the Runbook of a run, and about the run. Most runs are decided on by nobody: those about the run are
/// read live once the cache knows of one, or the run has counted one.
async fn decisions(
    context: &Context,
    run: &RunbookRun,
    status: &RunbookRunStatus,
) -> Result<Vec<Arc<Approval>>, Error> {
    let (cache, uid) = (&context.caches.approvals, run.uid().unwrap_or_default());
    let of_runbook = status.snapshot.as_ref().map_or("", |snapshot| &snapshot.uid);
    let is_decided =
        !status.decisions.is_empty() || cache.find(|approval| approval.spec.subject_ref.uid == uid).is_some();
    let of_run = async { if is_decided { approvals(context, run).await } else { Ok(Vec::new()) } };
    let (of_runbook, of_run) =
        futures::try_join!(list_decisions(api(context, run), cache, of_runbook), of_run)?;
    let mut all = stamps::counting(&context.stamps, of_runbook);
    all.extend(of_run);
    Ok(all)
}

/// All policies.
///
/// # Errors
/// When the API server does not answer.
pub async fn policies(context: &Context) -> Result<Vec<Arc<ChangePolicy>>, Error> {
    list_live(Api::all(context.client.clone()), &context.caches.policies).await
}

/// What is stored now about a run that asks whether it may go on. `runs` are the others that may be in its way,
/// `siblings` how many of the others are healthy.
///
/// # Errors
/// When the API server does not answer.
pub async fn stored(
    context: &Context,
    run: &RunbookRun,
    status: &RunbookRunStatus,
    spec: &RunbookSpec,
    runs: Vec<Arc<RunbookRun>>,
    siblings: Vec<Result<Share, String>>,
) -> Result<Stored, Error> {
    let (caches, namespace) = (&context.caches, run.namespace().unwrap_or_default());
    // All at once: an act waits for the slowest of them, and not for their sum.
    let (runbook, account, approvals, policies, freezes, mut incidents) = futures::try_join!(
        runbook(context, run),
        identity::account(context, &namespace, &spec.service_account_name),
        decisions(context, run, status),
        policies(context),
        live::list(&context.client),
        list_in_other_states(api(context, run), &caches.incidents, IncidentState::OVER),
    )?;
    // An incident that is not among the open ones is over or gone; the run says which.
    if let Some(named) = &run.spec.incident_ref
        && !incidents.iter().any(|open| open.name_any() == named.name)
    {
        incidents.extend(incident(context, run).await?);
    }
    // What earlier runs were for may be over: the breaker asks whether it came back.
    let remembered =
        runbook.iter().filter_map(|runbook| runbook.status.as_ref()).flat_map(|status| &status.recent_runs);
    for of in remembered.filter_map(|run| run.incident_ref.as_ref()) {
        if !incidents.iter().any(|known| known.uid().as_ref() == Some(&of.uid)) {
            let known = get(&caches.incidents, &namespace, &of.name);
            incidents.extend(known.filter(|known| known.uid().as_ref() == Some(&of.uid)));
        }
    }
    let uid = status.snapshot.as_ref().map(|snapshot| snapshot.uid.as_str());
    let runbook = runbook.filter(|runbook| runbook.uid().as_deref() == uid);
    Ok(Stored {
        runbook: runbook.map(|runbook| stamps::with_known_authors(&context.stamps, runbook)),
        account: identity::fit(account.as_ref(), &namespace, &spec.service_account_name),
        approvals,
        is_stamped: stamps::is_stamped(&context.stamps, run),
        policies,
        freezes,
        incidents,
        siblings,
        cluster_concurrency: context.config.runs.most(),
        runs,
        names: approval::names(
            &in_namespace(&caches.services, &namespace),
            &in_namespace(&caches.rotations, &namespace),
            spec,
        ),
    })
}
