//! Reconciles Runbooks: writes their statuses, and an Event when an approval is about to lapse.

use std::sync::Arc;

use jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Api, ResourceExt};

use super::decide::{RunbookFacts, decide};
use super::{approval, healthy, identity};
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::runbook::RunbookStatus;
use crate::api::{Runbook, RunbookRun};
use crate::change::stamps;
use crate::cluster::caches::{Change, Kind, in_namespace};
use crate::cluster::controller::{Reconciler, Requeue, all, same_namespace};
use crate::cluster::{Context, Error, SharedContext, status, workloads};
use crate::runbook::steps;

/// Reconciles Runbooks.
pub struct RunbookReconciler;

impl Reconciler for RunbookReconciler {
    const NAME: &'static str = "runbook";
    type Kind = Runbook;

    fn cache(context: &Context) -> &Store<Runbook> {
        &context.caches.runbooks
    }

    /// Runbooks that a change of something else may concern.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<Reference<Runbook>> {
        match change.kind {
            // Services and rotations know the names of the approvers who are missing.
            Kind::Approval | Kind::RunbookRun | Kind::BusinessService | Kind::OnCallRotation => {
                same_namespace(&context.caches.runbooks, change)
            }
            Kind::ChangePolicy => all(&context.caches.runbooks),
            Kind::ServiceAccount => {
                let acts_as = |runbook: &Runbook| {
                    runbook.metadata.namespace == change.namespace
                        && runbook.spec.service_account_name == change.name
                };
                let found = context.caches.runbooks.state_filter(acts_as);
                found.iter().map(|runbook| Reference::from_obj(&**runbook)).collect()
            }
            // Which templates were healthy is remembered, each once: a workload changes often.
            kind if kind.is_workload() => {
                let (caches, namespace) = (&context.caches, change.namespace.as_deref().unwrap_or_default());
                let found = workloads::one(caches, namespace, kind.as_str(), &change.name);
                let Ok(Some(workload)) = found else { return Vec::new() };
                let is_news = |runbook: &Runbook| {
                    let known = runbook.status.as_ref().map_or(&[][..], |status| &status.healthy_templates);
                    steps::rollback_targets(&runbook.spec.steps)
                        .filter(|object| object.kind == kind.as_str() && object.name == change.name)
                        .any(|object| healthy::unknown(known, &object, &workload).is_some())
                };
                in_namespace(&caches.runbooks, namespace)
                    .iter()
                    .filter(|runbook| is_news(runbook))
                    .map(|runbook| Reference::from_obj(&**runbook))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(&self, runbook: Arc<Runbook>, context: &SharedContext) -> Result<Requeue, Error> {
        let namespace = runbook.namespace().unwrap_or_default();
        let account = identity::account(context, &namespace, &runbook.spec.service_account_name).await?;
        let mut named = Vec::new();
        for object in steps::rollback_targets(&runbook.spec.steps) {
            let found = workloads::one(&context.caches, &namespace, &object.kind, &object.name)?;
            named.extend(found.map(|found| (object, found)));
        }
        let now = Timestamp::now();
        let facts = RunbookFacts {
            runbook: &stamps::with_known_authors(&context.stamps, (*runbook).clone()),
            account: account.as_ref(),
            approvals: &stamps::counting(
                &context.stamps,
                in_namespace(&context.caches.approvals, &namespace),
            ),
            policies: &context.caches.policies.state(),
            workloads: &named,
            runs: &runs_of(&runbook, context, &namespace).await?,
            names: approval::names(
                &in_namespace(&context.caches.services, &namespace),
                &in_namespace(&context.caches.rotations, &namespace),
                &runbook.spec,
            ),
        };
        let (decided, wake) = decide(&facts, now);
        let reason = |status: &RunbookStatus| {
            let approved = find(&status.conditions, ConditionType::Approved)?;
            Some((approved.reason.clone(), approved.message.clone()))
        };
        let before = runbook.status.as_ref().and_then(reason);
        let told = reason(&decided).filter(|(reason, _)| {
            reason == Reason::ApprovalEnds.as_str()
                && before.as_ref().is_none_or(|(before, _)| before != reason)
        });
        status::write(context, &*runbook, decided).await?;
        if let Some((_, message)) = told {
            context.events.warning(&*runbook, Reason::ApprovalEnds.as_str(), &message).await;
        }
        Ok(wake.into())
    }
}

/// The runs of the namespace. A run that the Runbook remembers as unfinished and the cache lacks is read live; if it does
/// not exist either, it is gone.
async fn runs_of(
    runbook: &Runbook,
    context: &Context,
    namespace: &str,
) -> Result<Vec<Arc<RunbookRun>>, Error> {
    let mut runs = in_namespace(&context.caches.runs, namespace);
    let remembered = runbook.status.iter().flat_map(|status| &status.recent_runs);
    for run in remembered.filter(|run| run.end_time.is_none()) {
        if runs.iter().all(|known| known.uid().as_ref() != Some(&run.uid)) {
            let api: Api<RunbookRun> = Api::namespaced(context.client.clone(), namespace);
            runs.extend(api.get_opt(&run.name).await?.map(Arc::new));
        }
    }
    Ok(runs)
}
