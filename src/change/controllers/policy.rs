//! Writes the status of every ChangePolicy: the namespaces it protects, how many incidents bind, and whether the gate
//! enforces it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::approval::{CountedDecision, Decision};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{Approval, ChangePolicy};
use crate::change::approval::binding;
use crate::change::gate_state::{GateState, Opening, ProbeResult};
use crate::change::policy;
use crate::cluster::caches::{Change, Kind};
use crate::cluster::conditions::{self, NotReady, State, set};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::outbound::endpoints;
use crate::text::instant;

/// Interval between looks at the result of the probe, which is sent every ten seconds.
const LOOK: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
/// Interval between looks while the gate is open, or was a moment ago.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);
/// Maximum age of a probe result that counts.
const FRESH: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Reconciles ChangePolicies.
pub struct ChangePolicyReconciler {
    /// The last result of the probe for each policy, and whether the gate is open.
    pub gate: Arc<GateState>,
}

impl Reconciler for ChangePolicyReconciler {
    const NAME: &'static str = "changepolicy";
    type Kind = ChangePolicy;

    fn cache(context: &Context) -> &Store<ChangePolicy> {
        &context.caches.policies
    }

    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<ChangePolicy>> {
        match change.kind {
            Kind::Namespace | Kind::Incident | Kind::ChangeRequest | Kind::Runbook => {
                context.caches.policies.state().iter().map(|policy| ObjectRef::from_obj(&**policy)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What it tells of incidents is for people; the gate reads them itself.
    fn patience(kind: Kind) -> Duration {
        if kind == Kind::Incident { Duration::from_secs(1) } else { Duration::ZERO }
    }

    async fn reconcile(&self, policy: Arc<ChangePolicy>, context: &SharedContext) -> Result<Requeue, Error> {
        if policy.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::Never);
        }
        let now = Timestamp::now();
        let next = decide(&policy, &gather(&policy, context, &self.gate), now);
        let api: Api<ChangePolicy> = Api::all(context.client.clone());
        status::replace(context, &api, &*policy, next).await?;
        let is_changing = self.gate.opening().is_some();
        Ok(now.checked_add(if is_changing { SOON } else { LOOK }).ok().into())
    }
}

/// Facts about a policy besides its spec.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The namespaces it means now, as far as they exist.
    pub namespaces: Vec<String>,
    /// Names it holds that no namespace has.
    pub unknown: Vec<String>,
    /// Names it holds that no policy may cover.
    pub refused: Vec<String>,
    /// Why its selector cannot be used.
    pub bad_selector: Option<String>,
    /// How many incidents bind.
    pub incidents: usize,
    /// When an approval first counted under it, as far as can be seen now.
    pub first_counted: Option<Time>,
    /// The last result of the probe.
    pub probe: Option<ProbeResult>,
    /// The time in which the gate is or was open; none once what passed meanwhile was looked for.
    pub opening: Option<Opening>,
}

fn gather(policy: &ChangePolicy, context: &Context, gate: &GateState) -> Facts {
    let (probe, opening) = (gate.probe(&policy.name_any()), gate.opening());
    let mut facts = Facts { probe, opening, ..Facts::default() };
    let operator_namespace = context.config.namespace.as_str();
    let existing = context.caches.namespaces.state();
    let scope = &policy.spec.scope.namespaces;
    let wanted: Vec<String> = match (&scope.names, &scope.selector) {
        (Some(names), _) => names.clone(),
        (None, Some(selector)) => match Selector::try_from(selector.clone()) {
            Ok(selector) => existing
                .iter()
                .filter(|namespace| selector.matches(namespace.labels()))
                .map(|namespace| namespace.name_any())
                .collect(),
            Err(error) => {
                facts.bad_selector = Some(error.to_string());
                Vec::new()
            }
        },
        (None, None) => Vec::new(),
    };
    for name in wanted {
        if policy::is_refused_scope(&name, operator_namespace) {
            facts.refused.push(name);
        } else if existing.iter().any(|namespace| namespace.name_any() == name) {
            facts.namespaces.push(name);
        } else {
            facts.unknown.push(name);
        }
    }
    facts.namespaces.sort();
    facts.namespaces.dedup();
    let incidents = context.caches.incidents.state();
    facts.incidents = facts
        .namespaces
        .iter()
        .map(|namespace| binding::bindings(&incidents, &[&policy.spec], namespace).len())
        .sum();
    // The first time is stored and never changes.
    if policy.status.as_ref().is_none_or(|status| status.in_force_since_time.is_none()) {
        facts.first_counted = first_counted(policy, context, &facts.namespaces);
    }
    facts
}

/// When the earliest approval that counts under the policy was made.
fn first_counted(policy: &ChangePolicy, context: &Context, namespaces: &[String]) -> Option<Time> {
    let policies = [Arc::new(policy.clone())];
    let freezes = context.caches.freezes.state();
    let requests = context.caches.requests.state();
    let of_requests = requests
        .iter()
        .filter_map(|request| request.status.as_ref())
        .filter(|status| {
            let own = &context.config.namespace;
            let concerns = |planned| !policy::governing(&policies, &freezes, planned, own).is_empty();
            status.plan.iter().any(concerns)
        })
        .flat_map(|status| &status.decisions);
    let runbooks = context.caches.runbooks.state();
    let of_runbooks = runbooks
        .iter()
        .filter(|runbook| runbook.namespace().is_some_and(|namespace| namespaces.contains(&namespace)))
        .filter_map(|runbook| runbook.status.as_ref())
        .flat_map(|status| &status.decisions);
    let approval = |decision: &CountedDecision| {
        context.caches.approvals.find(|approval| approval.metadata.uid.as_ref() == Some(&decision.uid))
    };
    let counts = |decision: &&CountedDecision| counts_under(policy, decision, approval(decision).as_deref());
    let of_all = of_requests.chain(of_runbooks).filter(counts);
    of_all.map(|decision| decision.time.clone()).min_by_key(|time| time.0)
}

/// Whether a decision that counted did so under this policy: it was made after the policy, by a member of a group that
/// the policy names. Decisions under another policy do not put this one in force: a mistake in a new policy, such as a
/// group that does not exist, can still be corrected. Pure.
fn counts_under(policy: &ChangePolicy, decision: &CountedDecision, approval: Option<&Approval>) -> bool {
    let is_since = policy.metadata.creation_timestamp.as_ref().is_none_or(|made| decision.time.0 >= made.0);
    let groups = approval.and_then(|approval| approval.spec.by.as_ref()).map_or(&[][..], |by| &by.groups);
    let is_named = |group: &String| groups.contains(group);
    decision.decision == Decision::Approve
        && is_since
        && policy.spec.approval.required.iter().any(|entry| entry.groups.iter().any(is_named))
}

/// The status that follows. Pure.
pub fn decide(
    policy: &ChangePolicy,
    facts: &Facts,
    now: Timestamp,
) -> crate::api::change_policy::ChangePolicyStatus {
    let mut next = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation.unwrap_or_default();
    next.namespaces = facts.namespaces.clone();
    next.incidents = i32::try_from(facts.incidents).unwrap_or(i32::MAX);
    if next.in_force_since_time.is_none() {
        next.in_force_since_time = facts.first_counted.clone();
    }
    let in_force = next.in_force_since_time.is_some();
    conditions::ready(&mut next, generation, now, accepted(policy, facts, in_force));
    let (state, reason, message) = enforced(facts, now);
    set(&mut next.conditions, ConditionType::Enforced, state, reason, message, generation, now);
    next
}

/// Whether the policy is accepted, and who may change it: before an approval has counted under it, a mistake, such as a
/// group without members, is corrected by whoever RBAC lets; afterwards that takes a quorum.
fn accepted(policy: &ChangePolicy, facts: &Facts, in_force: bool) -> Result<String, NotReady> {
    let stalled = |reason: Reason, message: String| Err(NotReady::Stalled(reason, message));
    if !facts.refused.is_empty() {
        let names = facts.refused.join(", ");
        return stalled(
            Reason::RefusedScope,
            format!(
                "spec.scope.namespaces: {names} cannot be protected, or nothing could be mended there; leave it out"
            ),
        );
    }
    if let Some(error) = &facts.bad_selector {
        return stalled(Reason::BadSelector, format!("spec.scope.namespaces.selector: {error}"));
    }
    if !facts.unknown.is_empty() {
        let names = facts.unknown.join(", ");
        return stalled(
            Reason::UnknownNamespace,
            format!(
                "spec.scope.namespaces.names: there is no namespace {names}; create it, or correct the name"
            ),
        );
    }
    for (index, endpoint) in policy.spec.automation.endpoints.iter().enumerate() {
        if let Some((field, why)) = endpoints::problem(endpoint) {
            let path = format!("spec.automation.endpoints[{index}].{field}");
            return stalled(
                Reason::Invalid,
                format!("{path}: {why}; until it is corrected the endpoint is not called"),
            );
        }
    }
    let name = policy.name_any();
    let groups: BTreeSet<&str> =
        policy.spec.approval.required.iter().flat_map(|entry| &entry.groups).map(String::as_str).collect();
    if groups.is_empty() {
        return Ok(format!(
            "accepted; but spec.approval.required names no group, so nobody can approve: kubectl edit cpol {name}"
        ));
    }
    if in_force {
        let others = "its break-glass group, or a quorum, which asks in the namespace of Mayday";
        return Ok(format!(
            "accepted; an approval has counted under it, so it is loosened or deleted by {others}"
        ));
    }
    Ok(format!(
        "accepted; no approval has counted under it yet, so RBAC alone decides who changes or deletes it. Kubernetes lists no \
         members of groups: make sure that somebody is in {}, else nobody can approve and not even the binding that is \
         missing can be made: kubectl edit cpol {name}, or kubectl delete cpol {name}",
        groups.into_iter().collect::<Vec<_>>().join(" and in ")
    ))
}

fn enforced(facts: &Facts, now: Timestamp) -> (State, Reason, String) {
    match (&facts.opening, &facts.probe) {
        (Some(Opening { closed: None, what, .. }), _) => {
            return (State::False, Reason::GateChanged, what.clone());
        }
        (Some(Opening { closed: Some(closed), what, .. }), probe)
            if probe.as_ref().is_none_or(|probe| probe.time <= *closed) =>
        {
            let what = format!("restored at {}, and not proved since: {what}", instant(*closed));
            return (State::False, Reason::GateChanged, what);
        }
        _ => {}
    }
    match &facts.probe {
        None => (State::Unknown, Reason::NotTried, "no unapproved change has been tried yet".to_owned()),
        Some(probe) if now.duration_since(probe.time) > FRESH => {
            (State::Unknown, Reason::NotTried, "no unapproved change has been tried for a minute".to_owned())
        }
        Some(ProbeResult { result: Ok(()), .. }) => {
            (State::True, Reason::ProbeRefused, "an unapproved change was tried and refused".to_owned())
        }
        Some(ProbeResult { result: Err(what), .. }) => (State::False, Reason::NotProved, what.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::is_true;
    use serde_json::json;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn policy() -> ChangePolicy {
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}},
            "approval": {"required": [{"name": "peers", "groups": ["g"], "count": 1}]}});
        ChangePolicy::new("production", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_condition_says_who_may_still_correct_the_policy() {
        let message = |status: serde_json::Value| {
            let mut policy = policy();
            policy.status = serde_json::from_value(status).unwrap();
            let facts = Facts { namespaces: vec!["shop".into()], ..Facts::default() };
            let status = decide(&policy, &facts, now());
            status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().message
        };
        let before = message(json!({}));
        assert!(before.contains("make sure that somebody is in g, else nobody can approve"), "{before}");
        assert!(
            before.ends_with("kubectl edit cpol production, or kubectl delete cpol production"),
            "{before}"
        );
        let after = message(json!({"inForceSinceTime": "2026-11-22T02:00:00Z", "namespaces": ["shop"]}));
        assert!(after.contains("loosened or deleted by its break-glass group, or a quorum"), "{after}");
    }

    #[test]
    fn an_endpoint_that_cannot_be_called_is_named() {
        let mut policy = policy();
        policy.spec.automation.endpoints = serde_json::from_value(
            json!([{"name": "a", "url": "http://a:9090"}, {"name": "b", "url": "http://B"}]),
        )
        .unwrap();
        let facts = Facts { namespaces: vec!["shop".into()], ..Facts::default() };
        let status = decide(&policy, &facts, now());
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Invalid"));
        assert!(ready.message.starts_with("spec.automation.endpoints[1].url: "), "{}", ready.message);
    }

    fn reason(facts: &Facts) -> String {
        let status = decide(&policy(), facts, now());
        status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().reason
    }

    #[test]
    fn a_namespace_that_does_not_exist_or_is_refused_is_named() {
        assert_eq!(reason(&Facts { namespaces: vec!["shop".into()], ..Facts::default() }), "Accepted");
        assert_eq!(reason(&Facts { unknown: vec!["shpo".into()], ..Facts::default() }), "UnknownNamespace");
        assert_eq!(
            reason(&Facts { refused: vec!["kube-system".into()], ..Facts::default() }),
            "RefusedScope"
        );
    }

    #[test]
    fn only_a_decision_under_a_policy_puts_it_in_force() {
        let mut made = policy();
        made.metadata.creation_timestamp = Some(Time(now()));
        let counts = |seconds: i64, decision: &str, group: &str| {
            let time = Timestamp::from_second(1_000_000 + seconds).unwrap().to_string();
            let counted = json!({"name": "a", "uid": "a", "by": "amir", "decision": decision, "role": "peers", "time": time});
            let approval = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "a"},
                "spec": {"subjectRef": {"kind": "ChangeRequest", "name": "c", "uid": "c"}, "digest": "d", "decision": decision,
                    "by": {"user": "amir", "groups": [group]}}});
            let approval: Approval = serde_json::from_value(approval).unwrap();
            counts_under(&made, &serde_json::from_value(counted).unwrap(), Some(&approval))
        };
        assert!(counts(0, "Approve", "g"));
        assert!(!counts(-1, "Approve", "g"), "before there was the policy");
        assert!(!counts(9, "Reject", "g"));
        assert!(!counts(9, "Approve", "of-another-policy"));
    }

    #[test]
    fn a_policy_is_enforced_only_while_the_probe_is_refused() {
        let seen = |seconds_ago: i64, result: Result<(), String>| {
            let time = Timestamp::from_second(1_000_000 - seconds_ago).unwrap();
            let facts = Facts { probe: Some(ProbeResult { time, result }), ..Facts::default() };
            is_true(&decide(&policy(), &facts, now()).conditions, ConditionType::Enforced)
        };
        assert!(seen(10, Ok(())));
        assert!(!seen(61, Ok(())), "too long ago");
        assert!(!seen(10, Err("it passed".into())));
        assert!(!is_true(&decide(&policy(), &Facts::default(), now()).conditions, ConditionType::Enforced));
    }

    #[test]
    fn a_changed_gate_is_not_enforced_until_a_later_probe() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let enforced = |closed: Option<i64>, probed: i64| {
            let opening =
                Opening { since: at(-20), closed: closed.map(at), what: "failurePolicy is Ignore".into() };
            let probe = ProbeResult { time: at(probed), result: Ok(()) };
            let facts = Facts { probe: Some(probe), opening: Some(opening), ..Facts::default() };
            let conditions = decide(&policy(), &facts, now()).conditions;
            let found = conditions.into_iter().find(|condition| condition.type_ == "Enforced").unwrap();
            (found.status, found.message)
        };
        let (status, message) = enforced(None, -1);
        assert_eq!(
            (status.as_str(), message.as_str()),
            ("False", "failurePolicy is Ignore"),
            "a probe proves too little"
        );
        assert!(enforced(Some(-5), -9).1.starts_with("restored at "));
        assert_eq!(enforced(Some(-5), -5).0, "False");
        assert_eq!(enforced(Some(-5), -4).0, "True");
    }

    #[test]
    fn a_policy_in_force_stays_in_force() {
        let mut policy = policy();
        let first = Facts { first_counted: Some(Time(now())), ..Facts::default() };
        policy.status = Some(decide(&policy, &first, now()));
        let status = decide(&policy, &Facts::default(), now());
        assert_eq!(status.in_force_since_time, Some(Time(now())));
    }
}
