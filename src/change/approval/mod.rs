//! Whether a request is approved, from everything that has a say in it. Pure.

pub mod approvers;
pub mod binding;
pub mod quorum;
pub mod unproven_resolution;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::policy;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::{Approval, BusinessService, ChangePolicy, ChangeRequest, Freeze, Incident, OnCallRotation};
use crate::change::approval::binding::Binding;
use crate::change::approval::quorum::{Names, Outcome, Rules, Subject};
use crate::change::diff::digest;

/// What has a say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every policy.
    pub policies: Vec<Arc<ChangePolicy>>,
    /// Every freeze.
    pub freezes: Vec<Arc<Freeze>>,
    /// Every incident.
    pub incidents: Vec<Arc<Incident>>,
    /// The services in the namespace of the request.
    pub services: Vec<Arc<BusinessService>>,
    /// The rotations in the namespace of the request.
    pub rotations: Vec<Arc<OnCallRotation>>,
    /// The approvals in the namespace of the request.
    pub approvals: Vec<Arc<Approval>>,
    /// The operator's own namespace.
    pub operator_namespace: String,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weighed {
    /// Whether enough agree.
    pub outcome: Outcome,
    /// The incidents that bind.
    pub bindings: Vec<Binding>,
    /// Names of the policies that must agree.
    pub policies: Vec<String>,
    /// People by name.
    pub names: Names,
}

/// Weighs a request that has been planned. One without a plan, or whose digest is not that of its content, is
/// approved by nobody.
pub fn request(request: &ChangeRequest, facts: &Facts, now: Timestamp) -> Weighed {
    with(request, facts, |subject, rules| quorum::evaluate(subject, rules, &facts.approvals, now))
}

/// Whether one approval counts for a request, else why not.
///
/// # Errors
/// Why it does not count.
pub fn counts(
    approval: &Approval,
    request: &ChangeRequest,
    facts: &Facts,
    now: Timestamp,
) -> Result<(), quorum::NotCounted> {
    let mut result = Ok(());
    with(request, facts, |subject, rules| {
        result = quorum::counts(approval, subject, rules, now).map(|_| ());
        Outcome::default()
    });
    result
}

fn with(
    request: &ChangeRequest,
    facts: &Facts,
    evaluate: impl FnOnce(&Subject<'_>, &Rules<'_>) -> Outcome,
) -> Weighed {
    let plan = request.status.as_ref().map_or(&[][..], |status| &status.plan);
    let mut over: Vec<&ChangePolicy> = Vec::new();
    let mut bindings: Vec<Binding> = Vec::new();
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
        over.extend(governing);
    }
    over.sort_by_key(|policy| policy.name_any());
    over.dedup_by_key(|policy| policy.name_any());
    // Whatever its severity, an outage that nothing proves to be over takes its lead.
    let unproved = unproven_resolution::incident(plan, &facts.incidents);
    bindings.extend(unproved.map(Binding::of));
    bindings.sort_by(|a, b| a.incident.cmp(&b.incident));
    bindings.dedup();
    let names = approvers::names(&facts.services, &facts.rotations, plan);
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    let one_peer = unproved.is_some();
    let rules = Rules { policies: &specs, bindings: &bindings, names: &names, one_peer };
    let (name, uid) = (request.name_any(), request.uid().unwrap_or_default());
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: &name,
        uid: &uid,
        digest: digest_of(request).unwrap_or_default(),
        excluded: request.spec.requester.iter().map(|requester| requester.user.clone()).collect(),
    };
    let outcome = evaluate(&subject, &rules);
    Weighed { outcome, policies: over.iter().map(|policy| policy.name_any()).collect(), bindings, names }
}

/// The digest of a request, if it is that of its content and plan and somebody is known to have asked.
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
        request(&asked, &facts, Timestamp::UNIX_EPOCH).outcome.missing_phrase()
    }

    #[test]
    fn an_end_without_proof_takes_a_lead_whatever_the_severity_and_every_other_end_the_quorum() {
        let led = || json!({"lead": {"user": "lena"}});
        assert_eq!(missing("Unproved", led()), "lena (lead) and one of group shop-approvers");
        assert!(missing("Unproved", json!({})).starts_with("a lead (somebody entitled must claim it"));
        assert_eq!(missing("FalseAlarm", led()), "two of group shop-approvers");
    }
}
