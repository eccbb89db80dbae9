//! Deletes runs whose retention is over.

use std::sync::Arc;

use futures::future::try_join_all;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Preconditions};

use super::retention::{Kept, RetentionFacts, due};
use crate::api::notification::SubjectKind;
use crate::api::runbook::RunbookStatus;
use crate::api::{Runbook, RunbookRun};
use crate::cluster::caches::{get, in_namespace};
use crate::cluster::{Context, Error};

/// Whether a run is one of this Runbook, and not of an earlier one of that name.
fn is_of(run: &RunbookRun, runbook: &Runbook) -> bool {
    let snapshot = run.status.as_ref().and_then(|status| status.snapshot.as_ref());
    run.spec.runbook_ref.name == runbook.name_any()
        && snapshot.is_none_or(|snapshot| Some(&snapshot.uid) == runbook.uid().as_ref())
}

/// Deletes the runs of a Runbook that are not kept any longer. Returns when to look again.
///
/// # Errors
/// When the API server does not answer.
pub async fn of_runbook(
    context: &Context,
    runbook: &Runbook,
    status: &RunbookStatus,
    runs: &[Arc<RunbookRun>],
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let kept = &context.config.retention;
    let count = runbook.spec.history_limit.and_then(|limit| usize::try_from(limit).ok());
    let count = count.or_else(|| usize::try_from(kept.run_history).ok()).unwrap_or(usize::MAX);
    let runs: Vec<_> = runs.iter().filter(|run| is_of(run, runbook)).cloned().collect();
    let counted: Vec<String> = status.recent_runs.iter().map(|run| run.uid.clone()).collect();
    let namespace = runbook.namespace().unwrap_or_default();
    delete(context, &namespace, (&runs, &counted), Kept { count, age: kept.runs.get() }, now).await
}

/// Deletes a run whose Runbook is gone, once it is old enough. Returns when to look again; `None` if its Runbook is there,
/// which looks after it.
///
/// # Errors
/// When the API server does not answer.
pub async fn without_runbook(
    context: &Context,
    run: &Arc<RunbookRun>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let namespace = run.namespace().unwrap_or_default();
    let runbook = get(&context.caches.runbooks, &namespace, &run.spec.runbook_ref.name);
    if runbook.is_some_and(|runbook| is_of(run, &runbook)) {
        return Ok(None);
    }
    let kept = Kept { count: usize::MAX, age: context.config.retention.runs.get() };
    delete(context, &namespace, (std::slice::from_ref(run), &[]), kept, now).await
}

async fn delete(
    context: &Context,
    namespace: &str,
    (runs, counted): (&[Arc<RunbookRun>], &[String]),
    kept: Kept,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let notifications = in_namespace(&context.caches.notifications, namespace);
    let told = notifications
        .iter()
        .filter(|known| known.is_queued() && known.spec.subject_ref.kind == SubjectKind::RunbookRun);
    let facts = RetentionFacts {
        runs,
        counted,
        told: &told.map(|known| known.spec.subject_ref.uid.clone()).collect::<Vec<_>>(),
        incidents: &in_namespace(&context.caches.incidents, namespace),
        kept,
    };
    let (over, next) = due(&facts, now);
    let api: Api<RunbookRun> = Api::namespaced(context.client.clone(), namespace);
    let deletions = over.iter().map(|run| {
        let only_this = Preconditions { uid: run.uid(), resource_version: run.resource_version() };
        let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        let api = &api;
        async move {
            match api.delete(&run.name_any(), &params).await {
                // It is gone, or has changed: the next look decides.
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
                deleted => deleted.map(drop).map_err(Error::from),
            }
        }
    });
    try_join_all(deletions).await?;
    Ok(next)
}
