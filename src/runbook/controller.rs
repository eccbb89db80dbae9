//! The Runbook controller: whether a Runbook is accepted, approved, suspended, and when it last ran.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::runtime::reflector::{ObjectRef as Reference, Store};
use kube::{Api, ResourceExt};

use super::approval::{self, ApprovalFacts};
use super::{identity, limits, validate};
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::runbook::{Rejection, RunbookStatus};
use crate::api::{Runbook, RunbookRun};
use crate::change::approval::quorum::Names;
use crate::cluster::caches::{Change, in_namespace};
use crate::cluster::conditions::{NotReady, ready, set};
use crate::cluster::controller::{Reconciler, Requeue, all, same_namespace};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::command::{Command, Verb};
use crate::runbook::run::permit::Approved;

/// ServiceAccounts are not watched: one that is missing is looked for again after this.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Most rejected contents that are remembered, as the schema allows.
const REJECTIONS: usize = 16;

/// So long before an approval ends it is told that it will.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Reconciles Runbooks.
pub struct RunbookReconciler;

impl Reconciler for RunbookReconciler {
    const NAME: &'static str = "runbook";
    type Kind = Runbook;

    fn cache(context: &Context) -> &Store<Runbook> {
        &context.stores.runbooks
    }

    /// Runbooks that a change of something else may concern.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<Reference<Runbook>> {
        match change.kind {
            // Services and rotations say by name whose approval is missing.
            "Approval" | "RunbookRun" | "BusinessService" | "OnCallRotation" => {
                same_namespace(&context.stores.runbooks, change)
            }
            "ChangePolicy" => all(&context.stores.runbooks),
            _ => Vec::new(),
        }
    }

    async fn reconcile(&self, runbook: Arc<Runbook>, context: &SharedContext) -> Result<Requeue, Error> {
        let namespace = runbook.namespace().unwrap_or_default();
        let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &namespace);
        let account = accounts.get_opt(&runbook.spec.service_account_name).await?;
        let now = Timestamp::now();
        let facts = RunbookFacts {
            runbook: &runbook,
            account: account.as_ref(),
            approvals: &in_namespace(&context.stores.approvals, &namespace),
            policies: &context.stores.policies.state(),
            runs: &runs_of(&runbook, context, &namespace).await?,
            names: approval::names(
                &in_namespace(&context.stores.services, &namespace),
                &in_namespace(&context.stores.rotations, &namespace),
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
        status::write(&context.client, &*runbook, decided).await?;
        if let Some((_, message)) = told {
            context.events.warning(&*runbook, Reason::ApprovalEnds.as_str(), &message).await;
        }
        Ok(wake.into())
    }
}

/// The runs of the namespace, and those that the Runbook remembers as being at work though the cache does not know
/// them: what is not there either is gone.
async fn runs_of(
    runbook: &Runbook,
    context: &Context,
    namespace: &str,
) -> Result<Vec<Arc<RunbookRun>>, Error> {
    let mut runs = in_namespace(&context.stores.runs, namespace);
    let remembered = runbook.status.iter().flat_map(|status| &status.recent_runs);
    for run in remembered.filter(|run| run.end_time.is_none()) {
        if runs.iter().all(|known| known.uid().as_ref() != Some(&run.uid)) {
            let api: Api<RunbookRun> = Api::namespaced(context.client.clone(), namespace);
            runs.extend(api.get_opt(&run.name).await?.map(Arc::new));
        }
    }
    Ok(runs)
}

/// What is known of a Runbook.
struct RunbookFacts<'a> {
    runbook: &'a Runbook,
    account: Option<&'a ServiceAccount>,
    approvals: &'a [Arc<crate::api::Approval>],
    policies: &'a [Arc<crate::api::ChangePolicy>],
    runs: &'a [Arc<RunbookRun>],
    names: Names,
}

/// The status, and when to look again. Pure.
fn decide(facts: &RunbookFacts<'_>, now: Timestamp) -> (RunbookStatus, Option<Timestamp>) {
    let runbook = facts.runbook;
    let namespace = runbook.namespace().unwrap_or_default();
    let name = runbook.name_any();
    let generation = runbook.metadata.generation.unwrap_or_default();
    let mut status = runbook.status.clone().unwrap_or_default();
    let accepted = accepted(facts, &namespace);
    let look_again =
        matches!(accepted, Err(NotReady::Waiting(..))).then(|| now.checked_add(LOOK_AGAIN).ok()).flatten();
    ready(&mut status, generation, now, accepted);

    let count = match crate::change::diff::digest::runbook(&runbook.spec) {
        Ok(digest) => {
            let uid = runbook.uid().unwrap_or_default();
            let facts = ApprovalFacts {
                namespace: &namespace,
                name: &name,
                uid: &uid,
                digest: &digest,
                rejected_by: status.rejected_by(&digest),
                approvals: facts.approvals,
                policies: facts.policies,
                names: &facts.names,
            };
            let count = approval::of_runbook(&facts, runbook.authors().as_deref(), now);
            if let Approved::Rejected(by) = &count.approved {
                remember(&mut status, &digest, by);
            }
            status.digest = Some(digest);
            count
        }
        Err(error) => approval::Count {
            approved: Approved::Missing(format!("no digest can be made: {error}")),
            decisions: Vec::new(),
            until: None,
        },
    };
    let until = count.until;
    let noticed = until.and_then(|until| until.checked_sub(NOTICE).ok());
    let approve = || Command::new(Verb::Approve).namespace(namespace).on("rb", &name);
    let (approved, reason, message) = match &count.approved {
        Approved::Yes => {
            let by: Vec<&str> = count.decisions.iter().map(|decision| decision.by.as_str()).collect();
            let end = until.map_or_else(String::new, |until| format!(" until {until}"));
            let approved = format!("approved by {}{end}", by.join(" and "));
            match noticed.is_some_and(|noticed| noticed <= now) {
                true => (
                    true,
                    Reason::ApprovalEnds,
                    format!("{approved}; for it to go on, approve it again before: {}", approve()),
                ),
                false => (true, Reason::Approved, approved),
            }
        }
        Approved::Missing(who) => (false, Reason::ApprovalMissing, format!("{who}: {}", approve())),
        Approved::Rejected(by) => (
            false,
            Reason::Rejected,
            format!("{by} rejected this content: change it, then ask for approval again"),
        ),
    };
    set(&mut status.conditions, ConditionType::Approved, approved, reason, message, generation, now);
    status.approved_until_time = until.filter(|_| approved).map(stored_time);
    if approved {
        status.approved_digest.clone_from(&status.digest);
    }
    status.decisions = count.decisions;
    let (reason, message) = if runbook.spec.suspend {
        (Reason::Suspended, "nothing starts (spec.suspend)")
    } else {
        (Reason::NotSuspended, "it may start")
    };
    set(
        &mut status.conditions,
        ConditionType::Suspended,
        runbook.spec.suspend,
        reason,
        message,
        generation,
        now,
    );
    let run = |uid: &str| facts.runs.iter().find(|run| run.uid().as_deref() == Some(uid)).map(|run| &**run);
    limits::note_ends(&mut status.recent_runs, run, now);
    let last = status.recent_runs.iter().map(|run| run.start_time.clone()).max_by_key(|time| time.0);
    status.last_run_time = last.or(status.last_run_time);
    let noticed = noticed.filter(|noticed| *noticed > now);
    (status, [noticed, until, look_again].into_iter().flatten().min())
}

/// Notes that a content was rejected; of many the oldest is forgotten.
fn remember(status: &mut RunbookStatus, digest: &str, by: &str) {
    if status.rejected_by(digest).is_some() {
        return;
    }
    status.rejections.push(Rejection { digest: digest.to_owned(), by: by.to_owned() });
    let surplus = status.rejections.len().saturating_sub(REJECTIONS);
    status.rejections.drain(..surplus);
}

fn accepted(facts: &RunbookFacts<'_>, namespace: &str) -> Result<String, NotReady> {
    let spec = &facts.runbook.spec;
    if let Some(problem) = validate::problems(spec).first() {
        return Err(NotReady::Stalled(Reason::Invalid, problem.to_string()));
    }
    let fields = validate::not_implemented(spec);
    if !fields.is_empty() {
        return Err(NotReady::not_implemented(&fields));
    }
    let account = &spec.service_account_name;
    identity::fit(facts.account, namespace, account)?;
    Ok(format!("its steps act as serviceaccount/{account}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<K: serde::de::DeserializeOwned>(kind: &str, content: Value) -> K {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "shop", "uid": "u"}});
        json_patch::merge(&mut whole, &content);
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn that_an_approval_ends_is_told_two_weeks_before() {
        let spec = json!({"summary": "s", "serviceAccountName": "a", "steps": []});
        let runbook: Runbook = read(
            "Runbook",
            json!({"metadata": {"name": "rb", "annotations": {"mayday.dev/authors": "[\"emil\"]"}}, "spec": spec}),
        );
        let policy = json!({"metadata": {"name": "p"}, "spec": {"scope": {"namespaces": {"names": ["shop"]}},
            "approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 1}]}}});
        let digest = crate::change::diff::digest::runbook(&runbook.spec).unwrap();
        let approval = json!({"metadata": {"name": "yes", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"subjectRef": {"kind": "Runbook", "name": "rb", "uid": "u"}, "digest": digest, "decision": "Approve",
                "notAfter": "2026-12-31T00:00:00Z", "by": {"user": "amir", "groups": ["shop-approvers"]}}});
        let approvals = [Arc::new(read("Approval", approval))];
        let policies = [Arc::new(read("ChangePolicy", policy))];
        let facts = RunbookFacts {
            runbook: &runbook,
            account: None,
            approvals: &approvals,
            policies: &policies,
            runs: &[],
            names: Names::default(),
        };
        let at = |now: &str| {
            let (status, wake) = decide(&facts, now.parse().unwrap());
            let approved = find(&status.conditions, ConditionType::Approved).unwrap().clone();
            (approved.status, approved.reason, approved.message, wake.map(|wake| wake.to_string()))
        };
        let (status, reason, _, wake) = at("2026-12-16T23:59:59Z");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "Approved"));
        assert_eq!(wake.as_deref(), Some("2026-12-17T00:00:00Z"));
        let (status, reason, message, wake) = at("2026-12-17T00:00:00Z");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "ApprovalEnds"));
        assert!(
            message.ends_with("approve it again before: kubectl mayday approve -n shop rb/rb"),
            "{message}"
        );
        assert_eq!(wake.as_deref(), Some("2026-12-31T00:00:00Z"));
        assert_eq!(at("2026-12-31T00:00:00Z").0, "False");
    }
}
