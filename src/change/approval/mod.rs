//! Who must agree to a request, and whether enough do. Pure, but [`facts`], which gathers.

pub mod approvers;
pub mod binding;
pub mod facts;
pub mod missing;
pub mod quorum;
pub mod unproven_resolution;

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::policy;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::freeze::Stops;
use crate::api::{Approval, ChangePolicy, ChangeRequest};
use crate::change::approval::binding::Binding;
use crate::change::approval::facts::Facts;
use crate::change::approval::quorum::{Names, Outcome, Rules, Subject};
use crate::change::diff::digest;
use crate::change::freeze::in_force::{self, InForce};

/// How the approvals of a request stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Whether enough people approve.
    pub outcome: Outcome,
    /// The incidents that bind.
    pub bindings: Vec<Binding>,
    /// Names of the policies whose rules must be satisfied.
    pub policies: Vec<String>,
    /// People by name.
    pub names: Names,
    /// The freezes of changes in force over it. While an incident binds they change nothing.
    pub freezes: Vec<InForce>,
    /// When the next such freeze begins or ends.
    pub next_edge: Option<Timestamp>,
    /// Which such freeze begins next, and when.
    pub next_freeze: Option<(String, Timestamp)>,
}

impl Evaluation {
    /// The freeze of changes for which a lead must approve, the one that ends last. An incident that binds has a lead of
    /// its own.
    pub fn freeze(&self) -> Option<&InForce> {
        self.freezes.last().filter(|_| self.bindings.is_empty())
    }
}

/// Evaluates the approvals of a planned request under the policies over its targets and the incidents that bind. A request
/// without a plan, or whose digest is not that of its content, is never approved.
pub fn evaluate(request: &ChangeRequest, facts: &Facts, now: Timestamp) -> Evaluation {
    let grounds = Grounds::of(request, facts, now);
    let outcome = quorum::evaluate(&subject(request), &grounds.rules(), &facts.approvals, now);
    let policies = grounds.policies.iter().map(|policy| policy.name_any()).collect();
    let Grounds { bindings, names, freezes, next_edge, next_freeze, .. } = grounds;
    Evaluation { outcome, policies, bindings, names, freezes, next_edge, next_freeze }
}

/// Whether one approval counts for a request.
///
/// # Errors
/// Why it does not count.
pub fn counts(
    approval: &Approval,
    request: &ChangeRequest,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), quorum::NotCounted> {
    let grounds = Grounds::of(request, facts, now);
    quorum::counts(approval, &subject(request), &grounds.rules(), now).map(|_| ())
}

/// The request as the subject of approvals.
fn subject(request: &ChangeRequest) -> Subject<'_> {
    Subject {
        kind: SubjectKind::ChangeRequest,
        name: request.metadata.name.as_deref().unwrap_or_default(),
        uid: request.metadata.uid.as_deref().unwrap_or_default(),
        digest: digest_of(request).unwrap_or_default(),
        excluded: request.spec.requester.iter().map(|requester| requester.user.clone()).collect(),
    }
}

/// The policies, incidents and people that determine who must approve a request.
struct Grounds<'a> {
    policies: Vec<&'a ChangePolicy>,
    specs: Vec<&'a ChangePolicySpec>,
    bindings: Vec<Binding>,
    names: Names,
    one_peer: bool,
    freezes: Vec<InForce>,
    frozen: Vec<&'a ChangePolicySpec>,
    next_edge: Option<Timestamp>,
    next_freeze: Option<(String, Timestamp)>,
}

impl Grounds<'_> {
    fn of<'a>(request: &ChangeRequest, facts: &'a Facts, now: Timestamp) -> Grounds<'a> {
        let plan = request.status.as_ref().map_or(&[][..], |status| &status.plan);
        let mut policies: Vec<&ChangePolicy> = Vec::new();
        let mut bindings: Vec<Binding> = Vec::new();
        // A freeze stops changes of what its policy protects, never those of Mayday's own objects: otherwise it could not
        // be lifted.
        let mut freezable: Vec<&ChangePolicy> = Vec::new();
        for planned in plan {
            let governing =
                policy::governing(&facts.policies, &facts.freezes, planned, &facts.operator_namespace);
            let specs: Vec<&ChangePolicySpec> = governing.iter().map(|policy| &policy.spec).collect();
            let namespaces: BTreeSet<&str> = match policy::namespace_of(planned) {
                "" => governing
                    .iter()
                    .flat_map(|policy| policy::namespaces(policy, &facts.operator_namespace))
                    .collect(),
                namespace => BTreeSet::from([namespace]),
            };
            for namespace in namespaces {
                bindings.extend(binding::bindings(&facts.incidents, &specs, namespace));
            }
            if planned.target.group() != crate::api::GROUP {
                freezable.extend(&governing);
            }
            policies.extend(governing);
        }
        let (half, all) = (Stops::Changes, &facts.freezes);
        let freezes = in_force::over(all, freezable.iter().copied(), half, now);
        let next_edge = in_force::next_edge(all, freezable.iter().copied(), half, now);
        let next_freeze = in_force::next_start(all, freezable.iter().copied(), half, now);
        policies.sort_by_key(|policy| policy.name_any());
        policies.dedup_by_key(|policy| policy.name_any());
        // Ending an incident without proof needs its lead, at any severity.
        let unproven = unproven_resolution::incidents(plan, &facts.incidents);
        bindings.extend(unproven.into_iter().map(Binding::of));
        bindings.sort_by(|a, b| a.incident.cmp(&b.incident));
        bindings.dedup();
        let is_frozen =
            |policy: &&ChangePolicy| freezes.iter().any(|freeze| freeze.policy == policy.name_any());
        let frozen = policies.iter().copied().filter(is_frozen).map(|policy| &policy.spec).collect();
        Grounds {
            freezes,
            frozen,
            next_edge,
            next_freeze,
            specs: policies.iter().map(|policy| &policy.spec).collect(),
            policies,
            bindings,
            names: approvers::names(&facts.services, &facts.rotations, plan),
            one_peer: unproven_resolution::is_all(plan, &facts.incidents),
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            policies: &self.specs,
            bindings: &self.bindings,
            names: &self.names,
            one_peer: self.one_peer,
            frozen: &self.frozen,
        }
    }
}

/// The stored digest of a request, if it matches its content and plan and its requester is known.
pub fn digest_of(request: &ChangeRequest) -> Option<&str> {
    let status = request.status.as_ref()?;
    let stored = status.digest.as_deref()?;
    let uid = request.metadata.uid.as_deref()?;
    request.spec.requester.as_ref()?;
    let computed = digest::request(uid, &request.spec, &status.plan).ok()?;
    (!status.plan.is_empty() && computed == stored).then_some(stored)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::{Value, json};

    fn missing(outcome: &str, roles: Value) -> String {
        let object = |kind: &str, name: &str, content: Value| {
            let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
                "metadata": {"name": name, "namespace": "shop", "uid": name}});
            json_patch::merge(&mut whole, &content);
            whole
        };
        let policy = json!({"spec": {"scope": {"namespaces": {"names": ["shop"]}},
            "approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 2}]},
            "incident": {"leads": {"groups": ["shop-leads"]}, "severities": ["SEV1"]}}});
        let incident = json!({"spec": {"title": "t", "severity": "SEV3", "roles": roles}});
        let plan = json!([{"operation": "Update", "resource": "incidents", "namespace": "shop", "uid": "i", "summary": "s",
            "target": {"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "name": "i"},
            "delta": [{"path": "/spec/resolution/outcome", "after": outcome}]}]);
        let asked = json!({"spec": {"reason": "r", "requester": {"user": "emil"}, "changes": []}, "status": {"plan": plan}});
        let facts = Facts {
            policies: vec![Arc::new(serde_json::from_value(object("ChangePolicy", "p", policy)).unwrap())],
            incidents: vec![Arc::new(serde_json::from_value(object("Incident", "i", incident)).unwrap())],
            ..Facts::default()
        };
        let asked: ChangeRequest = serde_json::from_value(object("ChangeRequest", "c", asked)).unwrap();
        evaluate(&asked, &facts, Timestamp::UNIX_EPOCH).outcome.missing_phrase()
    }

    #[test]
    fn an_end_without_proof_needs_the_lead_and_other_ends_the_quorum() {
        let led = || json!({"lead": {"user": "lena"}});
        assert_eq!(missing("Unproved", led()), "lena (lead) and one of group shop-approvers");
        assert!(missing("Unproved", json!({})).starts_with("a lead (somebody entitled must claim it"));
        assert_eq!(missing("FalseAlarm", led()), "two of group shop-approvers");
    }
}
