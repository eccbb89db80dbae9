//! Reconciles Runbooks: writes their statuses, begins the drills that are due, and tells what people must know.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Api, ResourceExt};
use tokio::sync::Mutex;

use super::decide::{RunbookFacts, decide};
use super::permitted::{Asked, Permitted};
use super::run::{preflight, start};
use super::{account_use, approval, clear, drill, healthy, identity, page, permissions, permitted, watch};
use crate::api::breaker::BreakerState;
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason, find, is_true};
use crate::api::runbook::RunbookStatus;
use crate::api::{Approval, Runbook, RunbookRun};
use crate::change::stamps;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::client::Identity;
use crate::cluster::controller::{Reconciler, Requeue, all, same_namespace};
use crate::cluster::{Context, Error, SharedContext, access, status, workloads};
use crate::notify::message::Subject;
use crate::notify::store;
use crate::runbook::steps;

/// Interval between two attempts to find a person to page about a breaker.
const PAGE_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// Reconciles Runbooks.
#[derive(Default)]
pub struct RunbookReconciler {
    /// What was asked about the rights of each Runbook, by its UID. A process that starts asks again.
    asked: Mutex<HashMap<String, Asked>>,
}

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
            Kind::Approval | Kind::BusinessService | Kind::OnCallRotation => {
                same_namespace(&context.caches.runbooks, change)
            }
            // Of a run only its own Runbook takes notice, and the one that remembers it when it is gone.
            Kind::RunbookRun => {
                let namespace = change.namespace.as_deref().unwrap_or_default();
                let run = get(&context.caches.runs, namespace, &change.name);
                let is_its = |runbook: &Runbook| {
                    let recent = runbook.status.iter().flat_map(|status| &status.recent_runs);
                    run.as_ref().is_some_and(|run| run.spec.runbook_ref.name == runbook.name_any())
                        || recent.into_iter().any(|known| known.name == change.name)
                };
                let runbooks = in_namespace(&context.caches.runbooks, namespace);
                let its = runbooks.iter().filter(|runbook| is_its(runbook));
                its.map(|runbook| Reference::from_obj(&**runbook)).collect()
            }
            Kind::ChangePolicy => all(&context.caches.runbooks),
            // An incident that comes back after a run is one of the breaker's facts.
            Kind::Incident => {
                let (caches, namespace) = (&context.caches, change.namespace.as_deref().unwrap_or_default());
                let incident = get(&caches.incidents, namespace, &change.name);
                let is_concerned = |runbook: &&Arc<Runbook>| {
                    runbook.spec.limits.as_ref().is_some_and(|limits| limits.breaker.is_some())
                        || incident.as_ref().is_some_and(|incident| watch::is_news(runbook, incident))
                };
                let found = in_namespace(&caches.runbooks, namespace);
                found.iter().filter(is_concerned).map(|runbook| Reference::from_obj(&**runbook)).collect()
            }
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
            incidents: &in_namespace(&context.caches.incidents, &namespace),
            runs: &runs_of(&runbook, context, &namespace).await?,
            names: approval::names(
                &in_namespace(&context.caches.services, &namespace),
                &in_namespace(&context.caches.rotations, &namespace),
                &runbook.spec,
            ),
        };
        let (mut decided, mut wake) = decide(&facts, now);
        let look_again = page_breaker(&runbook, &mut decided, context, now).await?;
        let asked = self.asked(&runbook, &decided, facts.approvals, (context, now)).await?;
        permitted::note(&mut decided, &asked, now);
        let planned = Runbook { status: Some(decided.clone()), ..(*runbook).clone() };
        let (drill, due) = drill::next(&planned, drill::may_begin(&decided), facts.runs, facts.policies, now);
        let cleared = clear::of_runbook(context, &runbook, &decided, facts.runs, now).await?;
        let again = permitted::again(&decided, &asked);
        wake = [wake, due, cleared, look_again, Some(again)].into_iter().flatten().min();
        let told = news(runbook.status.as_ref(), &decided);
        status::write(context, &*runbook, decided).await?;
        for (reason, message) in told {
            context.events.warning(&*runbook, &reason, &message).await;
        }
        if let Some(drill) = drill {
            start::create(context, &drill).await?;
        }
        Ok(wake.into())
    }
}

/// What people are told once, as reason and message: that the approval is about to lapse, that a drill failed or is
/// overdue, that the breaker has opened.
fn news(before: Option<&RunbookStatus>, decided: &RunbookStatus) -> Vec<(String, String)> {
    const NEWS: [(ConditionType, &[Reason]); 3] = [
        (ConditionType::Approved, &[Reason::ApprovalEnds]),
        (ConditionType::Drilled, &[Reason::DrillFailed, Reason::DrillOverdue]),
        (ConditionType::BreakerOpen, &[Reason::BreakerOpen]),
    ];
    let told = |(kind, reasons): (ConditionType, &[Reason])| {
        let now = find(&decided.conditions, kind)?;
        let before = before.and_then(|before| find(&before.conditions, kind));
        let is_news = before.is_none_or(|before| before.reason != now.reason);
        let counts = reasons.iter().any(|reason| reason.as_str() == now.reason);
        (is_news && counts).then(|| (now.reason.clone(), now.message.clone()))
    };
    NEWS.into_iter().filter_map(told).collect()
}

impl RunbookReconciler {
    /// What is known about the rights of a Runbook, asked again if it is due.
    async fn asked(
        &self,
        runbook: &Runbook,
        decided: &RunbookStatus,
        approvals: &[Arc<Approval>],
        (context, now): (&Context, Timestamp),
    ) -> Result<Asked, Error> {
        let uid = runbook.uid().unwrap_or_default();
        let generation = runbook.metadata.generation.unwrap_or_default();
        let counted: Vec<String> = decided.decisions.iter().map(|decision| decision.uid.clone()).collect();
        let known = self.asked.lock().await.get(&uid).cloned();
        let is_ready = is_true(&decided.conditions, ConditionType::Ready);
        let may_hold = |asked: &Asked| is_ready != matches!(asked.answer, Permitted::NotAsked(_));
        if let Some(known) = known
            .filter(|known| may_hold(known) && permitted::holds(decided, known, (generation, &counted), now))
        {
            return Ok(known);
        }
        let answer = match is_ready {
            true => ask(runbook, &counted, approvals, context).await?,
            false => Permitted::NotAsked("rights are asked about once the Runbook is Ready".to_owned()),
        };
        let asked = Asked { generation, approvals: counted, time: now, answer };
        let mut all = self.asked.lock().await;
        // Those of Runbooks that are gone are forgotten.
        let runbooks = context.caches.runbooks.state();
        all.retain(|uid, _| runbooks.iter().any(|runbook| runbook.uid().as_ref() == Some(uid)));
        all.insert(uid, asked.clone());
        Ok(asked)
    }
}

/// Asks the API server about the rights of a Runbook: as its account, and about those who approved it.
async fn ask(
    runbook: &Runbook,
    counted: &[String],
    approvals: &[Arc<Approval>],
    context: &Context,
) -> Result<Permitted, Error> {
    let (namespace, spec) = (runbook.namespace().unwrap_or_default(), &runbook.spec);
    let account = &spec.service_account_name;
    let client = context.impersonate.account(&Identity::of(&namespace, account)?)?;
    let lacking = match preflight::lacking(&client, &namespace, permissions::needs(spec, None)).await {
        Ok(lacking) => lacking,
        // The right to act as accounts may be granted in other namespaces only.
        Err(error) if error.code() == Some(403) => {
            return Ok(Permitted::NotAsked(format!(
                "Mayday cannot act as serviceaccount/{account}: {error}"
            )));
        }
        Err(error) => return Err(error),
    };
    if !lacking.is_empty() {
        return Ok(Permitted::AccountLacks(permissions::lacks(&lacking, spec, &namespace)));
    }
    let mut without = Vec::new();
    for approval in approvals.iter().filter(|known| known.uid().is_some_and(|uid| counted.contains(&uid))) {
        let Some(by) = &approval.spec.by else { continue };
        let questions = account_use::questions(&account_use::decided_by(by), &namespace, account);
        if account_use::is_asked_of_approver(approval)
            && !access::any_allowed(&context.client, questions).await?
        {
            without.push(by.user.clone());
        }
    }
    if !without.is_empty() {
        return Ok(Permitted::ApproversLack(account_use::none_may(&without, &namespace, account)));
    }
    Ok(Permitted::Yes(permissions::suffice(spec)))
}

/// Pages who leads about a breaker that has opened, once. Returns when to look again for somebody to page.
async fn page_breaker(
    runbook: &Runbook,
    decided: &mut RunbookStatus,
    context: &SharedContext,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let namespace = runbook.namespace().unwrap_or_default();
    let caches = &context.caches;
    let Some(breaker) = decided.breaker.as_mut().filter(|breaker| breaker.state == BreakerState::Open) else {
        return Ok(None);
    };
    let facts = page::Facts {
        runbook,
        services: &in_namespace(&caches.services, &namespace),
        rotations: &in_namespace(&caches.rotations, &namespace),
        overrides: &in_namespace(&caches.overrides, &namespace),
        channels: &in_namespace(&caches.channels, &namespace),
    };
    let messages = page::decide(&facts, breaker, now);
    if messages.is_empty() {
        let is_paged = breaker.paged_time.is_some();
        return Ok(now.checked_add(PAGE_AGAIN).ok().filter(|_| !is_paged));
    }
    store::create(context, &Subject::from(runbook), &messages).await?;
    breaker.paged_time = Some(stored_time(now));
    Ok(None)
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
