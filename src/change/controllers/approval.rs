//! Records in every Approval whether it counts, and deletes those whose subject is gone.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use crate::api::approval::{ApprovalStatus, SubjectKind};
use crate::api::change_policy::ChangePolicySpec;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{Approval, ChangeRequest, Incident, Runbook, RunbookRun};
use crate::change::approval::facts::Facts;
use crate::change::approval::quorum;
use crate::change::approval::quorum::{Names, NotCounted, Rules, Subject};
use crate::change::{approval, policy, stamps};
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::conditions::{self, State};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::command::{Command, Verb};

/// Reconciles Approvals.
pub struct ApprovalReconciler;

impl Reconciler for ApprovalReconciler {
    const NAME: &'static str = "approval";
    type Kind = Approval;

    fn cache(context: &Context) -> &Store<Approval> {
        &context.caches.approvals
    }

    /// Approvals of the object that changed; a policy or an incident may concern all of theirs.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<Approval>> {
        let is_concerned = |approval: &Approval| {
            let subject = &approval.spec.subject_ref;
            let same_namespace = approval.metadata.namespace == change.namespace;
            let is_of_lost_runbook = || {
                let namespace = approval.metadata.namespace.as_deref().unwrap_or_default();
                subject.kind == SubjectKind::Runbook
                    && get(&context.caches.runbooks, namespace, &subject.name).is_none()
            };
            match change.kind {
                Kind::RunbookRun if same_namespace && is_of_lost_runbook() => true,
                Kind::ChangePolicy | Kind::Freeze => true,
                Kind::Incident => same_namespace || subject.kind == SubjectKind::ChangeRequest,
                kind => {
                    same_namespace && subject.name == change.name && kind.as_str() == subject.kind.to_string()
                }
            }
        };
        let found = context.caches.approvals.state_filter(is_concerned);
        found.iter().map(|approval| ObjectRef::from_obj(&**approval)).collect()
    }

    async fn reconcile(&self, approval: Arc<Approval>, context: &SharedContext) -> Result<Requeue, Error> {
        if approval.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::Never);
        }
        let now = Timestamp::now();
        let namespace = approval.namespace().unwrap_or_default();
        if is_gone(context, &approval, &namespace).await? {
            // The end of the run comes here again.
            if !is_needed(context, &approval, &namespace) {
                delete(context, &approval, &namespace).await?;
            }
            return Ok(Requeue::Never);
        }
        let (counts, reason, message) = decide(context, &approval, &namespace, now);
        let subject = &approval.spec.subject_ref;
        let mut next: ApprovalStatus = approval.status.clone().unwrap_or_default();
        let generation = approval.metadata.generation.unwrap_or_default();
        next.subject = Some(format!("{}/{}", subject.kind.short(), subject.name));
        conditions::ready(&mut next, generation, now, Ok("the decision is recorded".to_owned()));
        conditions::set(
            &mut next.conditions,
            ConditionType::Counted,
            counts,
            reason,
            message,
            generation,
            now,
        );
        status::write(context, &*approval, next).await?;
        let lapses = approval.spec.not_after.as_ref().map(|time| time.0).filter(|time| *time > now);
        Ok(lapses.into())
    }
}

/// Whether an approval counts, with reason and message. For requests it is decided here. The controllers of other
/// subjects decide it and copy the decisions that count into their status.
fn decide(
    context: &Context,
    approval: &Approval,
    namespace: &str,
    now: Timestamp,
) -> (State, Reason, String) {
    let subject = &approval.spec.subject_ref;
    let uid = approval.uid().unwrap_or_default();
    if !stamps::may_count(&context.stamps, approval) {
        return (State::False, Reason::Unstamped, NotCounted::Unstamped.message().to_owned());
    }
    let copied = match subject.kind {
        SubjectKind::ChangeRequest => {
            let Some(request) = get(&context.caches.requests, namespace, &subject.name) else {
                return (State::Unknown, Reason::NoSubject, "its request is not known yet".to_owned());
            };
            let facts = Facts::cached(context, namespace);
            return match approval::counts(approval, &request, &facts, now) {
                Ok(()) => (State::True, Reason::Counted, format!("it counts for chg/{}", subject.name)),
                Err(why) => (State::False, reason(why), why.message().to_owned()),
            };
        }
        SubjectKind::Runbook => get(&context.caches.runbooks, namespace, &subject.name)
            .and_then(|runbook| runbook.status.as_ref().map(|status| status.decisions.clone())),
        SubjectKind::RunbookRun if subject.step.is_none() => {
            get(&context.caches.runs, namespace, &subject.name)
                .and_then(|run| run.status.as_ref().map(|status| status.decisions.clone()))
        }
        SubjectKind::RunbookRun | SubjectKind::Incident => return answer(context, approval, namespace),
    };
    if copied.is_some_and(|decisions| decisions.iter().any(|decision| decision.uid == uid)) {
        return (
            State::True,
            Reason::Counted,
            format!("it counts for {}/{}", subject.kind.short(), subject.name),
        );
    }
    // The controllers of other subjects look a moment later; until then only a final no is reported.
    match hindrance(context, approval, namespace, now) {
        Some(why) => (State::False, reason(why), why.message().to_owned()),
        None => {
            let look = Command::new(Verb::Show).namespace(namespace).on(subject.kind.short(), &subject.name);
            (
                State::Unknown,
                Reason::NotRead,
                format!("it is not among the decisions that count yet; see: {look}"),
            )
        }
    }
}

/// Why a decision on a Runbook or a run can never count, as far as the decision itself shows.
fn hindrance(context: &Context, approval: &Approval, namespace: &str, now: Timestamp) -> Option<NotCounted> {
    let subject = &approval.spec.subject_ref;
    let (digest, excluded) = match subject.kind {
        SubjectKind::Runbook => {
            let runbook = get(&context.caches.runbooks, namespace, &subject.name)?;
            let authors = runbook.authors()?;
            (runbook.status.as_ref()?.digest.clone()?, authors.into_iter().collect())
        }
        _ => {
            let run = get(&context.caches.runs, namespace, &subject.name)?;
            let starter = run.spec.started_by.iter().map(|starter| starter.user.clone()).collect();
            (run.status.as_ref()?.digest.clone()?, starter)
        }
    };
    let policies = context.caches.policies.state();
    let covering = policy::covering(&policies, namespace, &context.config.namespace);
    let policies: Vec<&ChangePolicySpec> = covering.iter().map(|policy| &policy.spec).collect();
    let names = Names::default();
    let rules = Rules { policies: &policies, bindings: &[], names: &names, one_peer: false, frozen: &[] };
    let (name, uid) = (subject.name.as_str(), subject.uid.as_str());
    let subject = Subject { kind: subject.kind, name, uid, digest: &digest, excluded };
    quorum::counts(approval, &subject, &rules, now).err()
}

/// Whether an answer is the first valid one, which is the one that stands.
fn answer(context: &Context, approval: &Approval, namespace: &str) -> (State, Reason, String) {
    let subject = &approval.spec.subject_ref;
    let by = approval.spec.by.as_ref().map(|by| by.user.as_str());
    let answered = match subject.kind {
        SubjectKind::RunbookRun => get(&context.caches.runs, namespace, &subject.name).and_then(|run| {
            let steps = run.status.as_ref().map(|status| status.steps.clone()).unwrap_or_default();
            let step = steps.into_iter().find(|step| Some(&step.name) == subject.step.as_ref())?;
            (step.digest.as_ref() == Some(&approval.spec.digest)).then_some(step.answered).flatten()
        }),
        _ => get(&context.caches.incidents, namespace, &subject.name).and_then(|incident| {
            let checks = incident.status.as_ref().map(|status| status.checks.clone()).unwrap_or_default();
            let check = checks.into_iter().find(|check| Some(&check.name) == subject.check.as_ref())?;
            (check.digest.as_ref() == Some(&approval.spec.digest)).then_some(check.answered).flatten()
        }),
    };
    match answered {
        Some(stamped) if Some(stamped.user.as_str()) == by => {
            (State::True, Reason::Counted, "it is the answer that stands".to_owned())
        }
        Some(stamped) => (State::False, Reason::Answered, format!("{} answered first", stamped.user)),
        None => (
            State::Unknown,
            Reason::NotRead,
            "the question is not open to this answer, or not read yet".to_owned(),
        ),
    }
}

fn reason(why: NotCounted) -> Reason {
    use NotCounted as No;
    match why {
        No::OtherContent => Reason::OtherContent,
        No::Unstamped => Reason::Unstamped,
        No::ServiceAccount => Reason::ServiceAccount,
        No::BreakGlass => Reason::BreakGlass,
        No::Excluded => Reason::Requester,
        No::NotEligible => Reason::NotEligible,
        No::NoPolicy => Reason::NoPolicy,
        No::OtherIncidents => Reason::OtherIncidents,
        No::Lapsed => Reason::Lapsed,
        No::Withdrawn => Reason::Withdrawn,
        No::Answer => Reason::NoQuestion,
    }
}

/// Whether the subject is gone for good. If the cache lacks it, the API server is asked.
async fn is_gone(context: &Context, approval: &Approval, namespace: &str) -> Result<bool, Error> {
    let subject = &approval.spec.subject_ref;
    let name = subject.name.as_str();
    let caches = &context.caches;
    let cached = match subject.kind {
        SubjectKind::ChangeRequest => get(&caches.requests, namespace, name).and_then(|object| object.uid()),
        SubjectKind::Runbook => get(&caches.runbooks, namespace, name).and_then(|object| object.uid()),
        SubjectKind::RunbookRun => get(&caches.runs, namespace, name).and_then(|object| object.uid()),
        SubjectKind::Incident => get(&caches.incidents, namespace, name).and_then(|object| object.uid()),
    };
    if cached.as_deref() == Some(&subject.uid) {
        return Ok(false);
    }
    let live = match subject.kind {
        SubjectKind::ChangeRequest => uid_of::<ChangeRequest>(context, namespace, name).await?,
        SubjectKind::Runbook => uid_of::<Runbook>(context, namespace, name).await?,
        SubjectKind::RunbookRun => uid_of::<RunbookRun>(context, namespace, name).await?,
        SubjectKind::Incident => uid_of::<Incident>(context, namespace, name).await?,
    };
    Ok(live.as_deref() != Some(&subject.uid))
}

/// Whether a running run still needs the approval of a deleted Runbook: it keeps the snapshot it began with.
fn is_needed(context: &Context, approval: &Approval, namespace: &str) -> bool {
    let subject = &approval.spec.subject_ref;
    let rests = |run: &Arc<RunbookRun>| {
        run.status.as_ref().is_some_and(|status| {
            let is_of_it = status.snapshot.as_ref().is_some_and(|snapshot| snapshot.uid == subject.uid);
            is_of_it && !status.is_settled()
        })
    };
    subject.kind == SubjectKind::Runbook && in_namespace(&context.caches.runs, namespace).iter().any(rests)
}

async fn uid_of<K>(context: &Context, namespace: &str, name: &str) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    Ok(api.get_metadata_opt(name).await?.and_then(|object| object.metadata.uid))
}

async fn delete(context: &Context, approval: &Approval, namespace: &str) -> Result<(), Error> {
    let api: Api<Approval> = Api::namespaced(context.client.clone(), namespace);
    let only_this = Preconditions { uid: approval.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
    match api.delete(&approval.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(error) if crate::cluster::error::code(&error) == Some(404) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
