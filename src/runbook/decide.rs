//! The status of a Runbook: whether it is accepted, approved and suspended, and when it last ran. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use serde_json::Value;

use super::approval::{self, ApprovalFacts};
use super::drill::Verdict;
use super::{
    automation_limits, breaker, cluster_identity, drill, flaps, healthy, identity, limits, steps, validate,
};
use crate::api::breaker::BreakerState;
use crate::api::common::{ObjectRef, stored_time};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::runbook::{Rejection, RunbookStatus};
use crate::api::{Approval, ChangePolicy, Incident, Runbook, RunbookRun};
use crate::change::approval::quorum::{Names, is_impossible};
use crate::cluster::conditions::{NotReady, clear, ready, set};
use crate::command::{Command, Verb};
use crate::outbound::{HttpUrl, endpoints};
use crate::runbook::run::permit::Approved;

/// Interval between two looks at a missing ServiceAccount; only those that Runbooks may act as are watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// Maximum number of rejected contents in a status, as in the schema.
const MAX_REJECTIONS: usize = 16;
/// How long before an approval lapses this is announced.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What the status is decided from.
#[derive(Clone, Debug)]
pub struct RunbookFacts<'a> {
    /// The Runbook.
    pub runbook: &'a Runbook,
    /// The ServiceAccount that its steps act as, if it exists.
    pub account: Option<&'a ServiceAccount>,
    /// The Approvals of its namespace.
    pub approvals: &'a [Arc<Approval>],
    /// All policies.
    pub policies: &'a [Arc<ChangePolicy>],
    /// The runs of its namespace.
    pub runs: &'a [Arc<RunbookRun>],
    /// The incidents of its namespace.
    pub incidents: &'a [Arc<Incident>],
    /// The workloads that its `rollback` steps name, as they are now.
    pub workloads: &'a [(ObjectRef, Value)],
    /// People by name, for texts about missing approvals.
    pub names: Names,
}

/// Decides the status, and when to look again.
pub fn decide(facts: &RunbookFacts<'_>, now: Timestamp) -> (RunbookStatus, Option<Timestamp>) {
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
    status.decisions.clone_from(&count.decisions);
    drill::note(&mut status, runbook, facts.runs);
    let planned = Runbook { status: Some(status.clone()), ..runbook.clone() };
    let rehearsed = drill::verdict(&planned, facts.policies, now);
    let lapse = drill::lapse(&planned, facts.policies, now);
    let until = count.until;
    let noticed = until.and_then(|until| until.checked_sub(NOTICE).ok());
    let approve = || Command::new(Verb::Approve).namespace(namespace).on("rb", &name);
    let (approved, reason, message) = match &count.approved {
        Approved::Yes => {
            let by: Vec<&str> = count.decisions.iter().map(|decision| decision.by.as_str()).collect();
            let end = until.map_or_else(String::new, |until| format!(" until {until}"));
            let approved = format!("approved by {}{end}", by.join(" and "));
            match (lapse, noticed.is_some_and(|noticed| noticed <= now)) {
                (Some(lapse), _) => {
                    (false, lapse.reason, format!("{approved}, which does not count now: {}", lapse.message))
                }
                (None, true) => (
                    true,
                    Reason::ApprovalEnds,
                    format!("{approved}; for it to go on, approve it again before: {}", approve()),
                ),
                (None, false) => (true, Reason::Approved, approved),
            }
        }
        // Where nobody can approve, the command would be refused.
        Approved::Missing(why) if is_impossible(why) => {
            let way_out = "whoever runs the cluster can write it: kubectl explain cpol.spec.approval";
            (false, Reason::ApprovalMissing, format!("{why}; {way_out}"))
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
    if count.approved == Approved::Yes {
        status.approved_digest.clone_from(&status.digest);
    }
    match &rehearsed {
        Some(Verdict { state, reason, message, .. }) => {
            set(&mut status.conditions, ConditionType::Drilled, *state, *reason, message, generation, now);
        }
        None => clear(&mut status.conditions, ConditionType::Drilled),
    }
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
    healthy::remember(&mut status.healthy_templates, facts.workloads, now);
    limits::note_ends(&mut status.recent_runs, run, now);
    flaps::note(&mut status.recent_runs, runbook, facts.incidents, now);
    let tried = breaks(&mut status, runbook, now);
    let last = status.recent_runs.iter().map(|run| run.start_time.clone()).max_by_key(|time| time.0);
    status.last_run_time = last.or(status.last_run_time);
    let noticed = noticed.filter(|noticed| *noticed > now);
    let turns = rehearsed.and_then(|verdict| verdict.until).filter(|turns| *turns > now);
    (status, [noticed, until, look_again, turns, tried].into_iter().flatten().min())
}

/// What became of the breaker, in the status. Returns when a run is tried.
fn breaks(status: &mut RunbookStatus, runbook: &Runbook, now: Timestamp) -> Option<Timestamp> {
    let breaker = runbook.spec.limits.as_ref().and_then(|limits| limits.breaker.as_ref());
    let judged = breaker::of(runbook, &status.recent_runs, None, now);
    let Some(judged) = judged else {
        status.breaker = None;
        clear(&mut status.conditions, ConditionType::BreakerOpen);
        return None;
    };
    status.breaker = breaker::status(breaker, &judged, status.breaker.as_ref());
    let (open, reason) = match judged.state {
        BreakerState::Closed => (false, Reason::BreakerClosed),
        BreakerState::Open => (true, Reason::BreakerOpen),
        BreakerState::HalfOpen => (judged.trial.is_some(), Reason::BreakerHalfOpen),
    };
    let message = breaker::obstacle(runbook, &judged).map_or_else(
        || match judged.state {
            BreakerState::HalfOpen => format!("one run may be tried: {}", judged.why),
            _ => "nothing holds it back".to_owned(),
        },
        |obstacle| obstacle.message,
    );
    let generation = runbook.metadata.generation.unwrap_or_default();
    set(&mut status.conditions, ConditionType::BreakerOpen, open, reason, message, generation, now);
    judged.until
}

/// Remembers that a content was rejected; of too many the oldest is forgotten.
fn remember(status: &mut RunbookStatus, digest: &str, by: &str) {
    if status.rejected_by(digest).is_some() {
        return;
    }
    status.rejections.push(Rejection { digest: digest.to_owned(), by: by.to_owned() });
    let surplus = status.rejections.len().saturating_sub(MAX_REJECTIONS);
    status.rejections.drain(..surplus);
}

fn accepted(facts: &RunbookFacts<'_>, namespace: &str) -> Result<String, NotReady> {
    let spec = &facts.runbook.spec;
    if let Some(problem) = validate::problems(spec).first() {
        return Err(NotReady::Stalled(Reason::Invalid, problem.to_string()));
    }
    if let Some(why) = unlisted(facts, namespace) {
        return Err(NotReady::Waiting(Reason::EndpointNotListed, why));
    }
    let account = &spec.service_account_name;
    identity::fit(facts.account, namespace, account)?;
    if let Some(why) = cluster_identity::refuses(facts.policies, namespace, spec) {
        return Err(NotReady::Waiting(Reason::NotAllowed, why));
    }
    Ok(format!("its steps act as serviceaccount/{account}"))
}

/// The first URL of the steps that a policy does not list.
fn unlisted(facts: &RunbookFacts<'_>, namespace: &str) -> Option<String> {
    let covering: Vec<&ChangePolicy> = facts
        .policies
        .iter()
        .map(|policy| &**policy)
        .filter(|policy| automation_limits::covers(policy, namespace))
        .collect();
    let steps = facts.runbook.spec.steps.iter().enumerate();
    let mut calls = steps.filter_map(|(index, step)| Some((index, steps::of(step)?.calls()?)));
    calls.find_map(|(index, (field, url))| {
        let url = HttpUrl::parse(url).ok()?;
        let why = endpoints::listed(&covering, namespace, &url).err()?;
        Some(format!("spec.steps[{index}].{field}: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::find;

    fn read<K: serde::de::DeserializeOwned>(kind: &str, content: Value) -> K {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind, "metadata": {"namespace": "shop", "uid": "u"}});
        json_patch::merge(&mut whole, &content);
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn an_endpoint_that_no_policy_lists_is_named() {
        let spec = json!({"summary": "s", "serviceAccountName": "a", "steps": [
            {"name": "flush", "http": {"url": "http://cache:8080", "method": "PUT", "idempotency": "Key"}},
            {"name": "errors", "check": {"query": {"url": "http://p:9090", "promQL": "up", "above": "0"}}}]});
        let runbook: Runbook = read("Runbook", json!({"metadata": {"name": "rb"}, "spec": spec}));
        let said = |urls: &[&str]| {
            let endpoints: Vec<Value> = urls.iter().map(|url| json!({"name": "e", "url": url})).collect();
            let policy: ChangePolicy = read(
                "ChangePolicy",
                json!({"metadata": {"name": "production"}, "spec": {"scope": {"namespaces": {"names": ["shop"]}},
                    "approval": {}, "automation": {"endpoints": endpoints}}}),
            );
            let facts = RunbookFacts {
                incidents: &[],
                runbook: &runbook,
                account: None,
                approvals: &[],
                policies: &[Arc::new(policy)],
                runs: &[],
                workloads: &[],
                names: Names::default(),
            };
            unlisted(&facts, "shop")
        };
        let first = said(&["http://p:9090"]).unwrap();
        assert!(first.starts_with(
            "spec.steps[0].http.url: cpol/production does not list the endpoint http://cache:8080"
        ));
        let second = said(&["http://cache:8080"]).unwrap();
        assert!(
            second.starts_with("spec.steps[1].check.query.url: cpol/production does not list"),
            "{second}"
        );
        assert_eq!(said(&["http://cache:8080", "http://p:9090"]), None);
    }

    #[test]
    fn an_approval_that_lapses_within_two_weeks_is_announced() {
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
            incidents: &[],
            runbook: &runbook,
            account: None,
            approvals: &approvals,
            policies: &policies,
            runs: &[],
            workloads: &[],
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
