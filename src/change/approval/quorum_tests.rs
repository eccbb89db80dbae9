use super::*;
use crate::api::common::{Severity, UidRef};
use serde_json::{Value, json};

const DIGEST: &str = "v1:sha256:d";

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn policy(edit: Value) -> ChangePolicySpec {
    let mut whole = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {"required":
        [{"name": "peers", "groups": ["shop-approvers", "shop-leads"], "count": 2}]},
        "breakGlass": {"groups": ["shop-break-glass"]}});
    json_patch::merge(&mut whole, &edit);
    serde_json::from_value(whole).unwrap()
}

fn binding(lead: Option<&str>) -> Binding {
    Binding {
        incident: UidRef { name: "checkout-x7k2p".into(), uid: "iu".into() },
        namespace: "shop".into(),
        severity: Severity::Sev2,
        lead: lead.map(str::to_owned),
    }
}

fn groups(user: &str) -> Vec<&'static str> {
    match user {
        "lena" => vec!["shop-leads"],
        "emil" => vec!["shop-engineers"],
        _ => vec!["shop-approvers"],
    }
}

fn approval_of(user: &str, edit: Value) -> Arc<Approval> {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": format!("by-{user}"), "namespace": "shop", "uid": user, "creationTimestamp": "1970-01-02T00:00:00Z"},
        "spec": {"subjectRef": {"kind": "ChangeRequest", "name": "c", "uid": "cu"}, "digest": DIGEST, "decision": "Approve",
            "incidentRefs": [{"name": "checkout-x7k2p", "uid": "iu"}], "by": {"user": user, "groups": groups(user)}}});
    json_patch::merge(&mut whole, &edit);
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn approval(user: &str) -> Arc<Approval> {
    approval_of(user, json!({}))
}

struct Case {
    policies: Vec<ChangePolicySpec>,
    bindings: Vec<Binding>,
    requester: &'static str,
    one_peer: bool,
    is_frozen: bool,
}

impl Case {
    fn quiet() -> Case {
        Case {
            policies: vec![policy(json!({}))],
            bindings: vec![],
            requester: "emil",
            one_peer: false,
            is_frozen: false,
        }
    }

    /// Changes are frozen under the policy, whose leads are the group shop-leads.
    fn frozen() -> Case {
        let policy = policy(json!({"incident": {"leads": {"groups": ["shop-leads"]}}}));
        Case { policies: vec![policy], is_frozen: true, ..Case::quiet() }
    }

    fn crisis(lead: Option<&str>) -> Case {
        Case { bindings: vec![binding(lead)], ..Case::quiet() }
    }

    fn with(&self, approvals: &[Arc<Approval>]) -> Outcome {
        let policies: Vec<&ChangePolicySpec> = self.policies.iter().collect();
        let names = Names { approvers: vec!["amir".into(), "bea".into()], leads: vec!["lena".into()] };
        let rules = Rules {
            policies: &policies,
            bindings: &self.bindings,
            names: &names,
            one_peer: self.one_peer,
            frozen: if self.is_frozen { &policies[..1] } else { &[] },
        };
        let subject = Subject {
            kind: SubjectKind::ChangeRequest,
            name: "c",
            uid: "cu",
            digest: DIGEST,
            excluded: BTreeSet::from([self.requester.to_owned()]),
        };
        evaluate(&subject, &rules, approvals, now())
    }

    fn by(&self, users: &[&str]) -> Outcome {
        self.with(&users.iter().map(|user| approval(user)).collect::<Vec<_>>())
    }
}

#[test]
fn every_required_entry_must_reach_its_count() {
    assert!(!Case::quiet().by(&["amir"]).approved);
    let outcome = Case::quiet().by(&["amir", "bea"]);
    assert!(outcome.approved);
    assert_eq!(outcome.counted.iter().map(|d| d.role.as_str()).collect::<Vec<_>>(), ["peers", "peers"]);
    assert!(Case::quiet().by(&["amir", "lena"]).approved);
}

#[test]
fn a_subject_without_a_policy_cannot_be_approved() {
    let case = Case { policies: Vec::new(), ..Case::quiet() };
    assert!(!case.by(&["amir", "bea"]).approved);
    let rules =
        Rules { policies: &[], bindings: &[], names: &Names::default(), one_peer: false, frozen: &[] };
    let by = approval("amir").spec.by.clone().unwrap();
    assert_eq!(eligible(&by, &rules), Err(NotCounted::NoPolicy));
}

#[test]
fn the_requester_never_counts() {
    let case = Case { requester: "amir", ..Case::quiet() };
    assert!(!case.by(&["amir", "bea"]).approved);
    assert!(case.by(&["bea", "lena"]).approved);
}

#[test]
fn an_end_without_proof_needs_the_lead_and_one_peer() {
    let asked_by = |requester| Case { requester, one_peer: true, ..Case::crisis(Some("lena")) };
    assert_eq!(asked_by("lena").by(&[]).missing_phrase(), "one of amir, bea");
    assert!(asked_by("lena").by(&["amir"]).approved, "the lead has said so by asking");
    assert!(!asked_by("lena").by(&["lena"]).approved, "never the lead alone");
    assert!(!asked_by("emil").by(&["amir", "bea"]).approved);
    assert!(asked_by("emil").by(&["lena", "amir"]).approved);
    assert!(!asked_by("amir").by(&["lena"]).approved, "who asks never counts as the peer");
    let nobody = Case { requester: "emil", one_peer: true, ..Case::crisis(None) };
    assert!(!nobody.by(&["amir", "bea"]).approved, "nobody leads");
}

#[test]
fn a_crisis_needs_the_lead_and_one_peer_and_neither_alone() {
    let crisis = Case::crisis(Some("lena"));
    assert_eq!(crisis.by(&[]).missing_phrase(), "lena (lead) and one of amir, bea");
    assert!(!crisis.by(&["lena"]).approved);
    let outcome = crisis.by(&["amir"]);
    assert!(!outcome.approved);
    assert_eq!(outcome.missing_phrase(), "lena (lead)");
    assert!(!crisis.by(&["amir", "bea"]).approved, "two peers without the lead");
    assert!(crisis.by(&["lena", "amir"]).approved);
}

#[test]
fn the_leads_of_two_incidents_alone_are_not_enough() {
    let other =
        Binding { incident: UidRef { name: "till-k3p9q".into(), uid: "tu".into() }, ..binding(Some("amir")) };
    let case = Case { bindings: vec![binding(Some("lena")), other], ..Case::quiet() };
    let both = json!([{"name": "checkout-x7k2p", "uid": "iu"}, {"name": "till-k3p9q", "uid": "tu"}]);
    let by = |users: &[&str]| {
        let edit = json!({"spec": {"incidentRefs": both}});
        let approvals: Vec<_> = users.iter().map(|user| approval_of(user, edit.clone())).collect();
        case.with(&approvals)
    };
    assert_eq!(by(&["lena", "amir"]).missing_phrase(), "bea");
    assert!(by(&["lena", "amir", "bea"]).approved);
}

#[test]
fn a_crisis_is_never_weaker_than_a_quiet_day() {
    let three = policy(
        json!({"approval": {"required": [{"name": "peers", "groups": ["shop-approvers", "shop-leads"], "count": 3}]}}),
    );
    let case = Case { policies: vec![three], ..Case::crisis(Some("lena")) };
    assert!(!case.by(&["lena", "amir"]).approved);
    assert!(case.by(&["lena", "amir", "bea"]).approved);
    let one = policy(
        json!({"approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 1}]}}),
    );
    let case = Case { policies: vec![one], ..Case::crisis(Some("lena")) };
    assert!(!case.by(&["lena"]).approved, "at least one peer");
}

#[test]
fn the_leads_own_request_needs_the_full_count_of_others() {
    let case = Case { requester: "lena", ..Case::crisis(Some("lena")) };
    assert!(!case.by(&["lena", "amir"]).approved);
    assert_eq!(case.by(&["amir"]).missing_phrase(), "bea");
    assert!(case.by(&["amir", "bea"]).approved);
}

#[test]
fn a_missing_lead_must_be_claimed_first() {
    let outcome = Case::crisis(None).by(&["amir", "bea", "lena"]);
    assert!(!outcome.approved);
    assert_eq!(
        outcome.missing,
        ["a lead (lena must claim it: kubectl mayday lead -n shop inc/checkout-x7k2p)"]
    );
}

#[test]
fn a_freeze_of_changes_takes_any_lead_and_a_peer() {
    let frozen = Case::frozen();
    assert_eq!(frozen.by(&[]).missing_phrase(), "lena (lead) and one of amir, bea");
    assert_eq!(frozen.by(&["amir", "bea"]).missing_phrase(), "lena (lead)");
    assert_eq!(frozen.by(&["lena"]).missing_phrase(), "one of amir, bea");
    let outcome = frozen.by(&["lena", "amir"]);
    assert!(outcome.approved);
    assert_eq!(outcome.counted.iter().map(|one| one.role.as_str()).collect::<Vec<_>>(), ["peers", "lead"]);
    let max = approval_of("max", json!({"spec": {"by": {"groups": ["shop-leads"]}}}));
    assert!(frozen.with(&[max.clone(), approval("lena")]).approved, "of two leads one is the peer");
    assert!(!frozen.with(&[max]).approved, "never one person alone");
    let own = Case { requester: "lena", ..Case::frozen() };
    assert_eq!(own.by(&["amir", "bea"]).missing_phrase(), "one of group shop-leads (lead)", "another lead");
}

#[test]
fn a_lead_who_is_no_peer_is_eligible_only_while_changes_are_frozen() {
    let edit = json!({"incident": {"leads": {"groups": ["shop-leads"]}},
        "approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 3}]}});
    let frozen = Case { policies: vec![policy(edit)], ..Case::frozen() };
    assert_eq!(frozen.by(&["lena", "amir"]).missing_phrase(), "bea", "as many people as on a quiet day");
    assert!(frozen.by(&["lena", "amir", "bea"]).approved);
    let quiet = Case { is_frozen: false, ..frozen };
    assert_eq!(quiet.by(&["lena"]).counted, []);
}

#[test]
fn an_incident_that_binds_decides_even_while_changes_are_frozen() {
    let case = Case { bindings: vec![binding(Some("bea"))], ..Case::frozen() };
    assert_eq!(case.by(&["lena", "amir"]).missing_phrase(), "bea (lead)");
    assert!(case.by(&["bea", "amir"]).approved);
}

#[test]
fn nobody_approves_while_changes_of_a_policy_without_leads_are_frozen() {
    let case = Case { policies: vec![policy(json!({}))], ..Case::frozen() };
    let outcome = case.by(&["lena", "amir", "bea"]);
    assert!(!outcome.approved && is_impossible(&outcome.missing_phrase()), "{}", outcome.missing_phrase());
}

#[test]
fn a_freeze_of_one_policy_asks_no_more_of_another() {
    let dbas = policy(json!({"approval": {"required": [{"name": "dba", "groups": ["dbas"], "count": 1}]}}));
    let mut case = Case::frozen();
    case.policies.push(dbas);
    let dba = approval_of("dora", json!({"spec": {"by": {"groups": ["dbas"]}}}));
    assert!(case.with(&[approval("lena"), approval("amir"), dba.clone()]).approved);
    assert!(!case.with(&[approval("lena"), approval("amir")]).approved);
    assert!(!case.with(&[approval("amir"), approval("bea"), dba]).approved);
}

#[test]
fn an_old_lead_counts_as_a_peer_after_a_handoff() {
    let crisis = Case::crisis(Some("lena"));
    assert!(crisis.by(&["lena", "amir"]).approved);
    let handed = Case::crisis(Some("bea"));
    assert_eq!(handed.by(&["lena", "amir"]).missing_phrase(), "bea (lead)");
    assert!(handed.by(&["lena", "bea"]).approved);
}

#[test]
fn every_binding_incident_must_be_named() {
    let unnamed = approval_of("amir", json!({"spec": {"incidentRefs": []}}));
    assert!(!Case::crisis(Some("lena")).with(&[unnamed, approval("lena")]).approved);
    let other =
        approval_of("amir", json!({"spec": {"incidentRefs": [{"name": "checkout-x7k2p", "uid": "older"}]}}));
    assert!(!Case::crisis(Some("lena")).with(&[other, approval("lena")]).approved);
    let quiet = approval_of("amir", json!({"spec": {"incidentRefs": []}}));
    assert!(Case::quiet().with(&[quiet, approval("bea")]).approved);
}

#[test]
fn an_approval_of_another_digest_uid_or_kind_does_not_count() {
    for edit in [
        json!({"spec": {"digest": "v1:sha256:e"}}),
        json!({"spec": {"subjectRef": {"uid": "older"}}}),
        json!({"spec": {"subjectRef": {"name": "d"}}}),
        json!({"spec": {"subjectRef": {"kind": "Runbook"}}}),
        json!({"spec": {"decision": "Confirm"}}),
        json!({"spec": {"notAfter": "1970-01-12T00:00:00Z"}}),
        json!({"spec": {"by": null}}),
        json!({"metadata": {"deletionTimestamp": "1970-01-02T00:00:00Z"}}),
    ] {
        assert!(
            !Case::quiet().with(&[approval_of("amir", edit.clone()), approval("bea")]).approved,
            "{edit}"
        );
    }
}

#[test]
fn service_accounts_strangers_and_glass_breakers_do_not_count() {
    let robot = "system:serviceaccount:shop:robot";
    assert!(!Case::quiet().by(&[robot, "bea"]).approved);
    let stranger = approval_of("zoe", json!({"spec": {"by": {"groups": ["others"]}}}));
    assert!(!Case::quiet().with(&[stranger, approval("bea")]).approved);
    let broke =
        approval_of("amir", json!({"spec": {"by": {"groups": ["shop-approvers", "shop-break-glass"]}}}));
    assert!(!Case::quiet().with(&[broke, approval("bea")]).approved);
}

#[test]
fn one_person_under_two_names_counts_once() {
    let aliased = policy(json!({"approval": {"aliases": [{"users": ["amir", "amir@shop.example"]}]}}));
    let case = Case { policies: vec![aliased], ..Case::quiet() };
    assert!(!case.by(&["amir", "amir@shop.example"]).approved);
    assert!(case.by(&["amir@shop.example", "bea"]).approved);
    let own = Case { requester: "amir", ..case };
    assert!(!own.by(&["amir@shop.example", "bea"]).approved, "the requester under another name");
}

#[test]
fn aliases_that_share_a_name_are_one_person_across_policies() {
    let aliases = |lists: Value| policy(json!({"approval": {"aliases": lists}}));
    let one = aliases(json!([{"users": ["amir", "a1"]}, {"users": ["zoe", "amir"]}]));
    let other = aliases(json!([{"users": ["emil", "a2"]}, {"users": ["a2", "bea"]}]));
    let case = Case { policies: vec![one, other], ..Case::quiet() };
    assert!(!case.by(&["zoe", "a1"]).approved);
    assert!(!case.by(&["amir", "bea"]).approved, "bea is emil, who asked");
}

#[test]
fn a_rejection_outweighs_every_approval() {
    let no = approval_of("lena", json!({"spec": {"decision": "Reject"}}));
    let outcome = Case::quiet().with(&[approval("amir"), approval("bea"), no]);
    assert!(!outcome.approved);
    assert_eq!(outcome.rejected_by.as_deref(), Some("lena"));
    let stranger = approval_of("emil", json!({"spec": {"decision": "Reject"}}));
    assert!(Case::quiet().with(&[approval("amir"), approval("bea"), stranger]).approved);
}

#[test]
fn an_empty_list_allows_no_approver() {
    let nobody = policy(json!({"approval": {"required": []}}));
    assert!(!Case { policies: vec![nobody], ..Case::quiet() }.by(&["amir", "bea"]).approved);
    let no_groups = policy(json!({"approval": {"required": [{"name": "p", "groups": [], "count": 1}]}}));
    assert!(!Case { policies: vec![no_groups], ..Case::quiet() }.by(&["amir", "bea"]).approved);
    assert!(!Case { policies: vec![], ..Case::quiet() }.by(&["amir", "bea"]).approved, "no policy");
}

#[test]
fn every_policy_over_the_object_must_be_satisfied() {
    let other = policy(json!({"approval": {"required": [{"name": "dba", "groups": ["dbas"], "count": 1}]}}));
    let case = Case { policies: vec![policy(json!({})), other], ..Case::quiet() };
    let outcome = case.by(&["amir", "bea"]);
    assert!(!outcome.approved);
    let dba = approval_of("dora", json!({"spec": {"by": {"groups": ["dbas"]}}}));
    assert!(case.with(&[approval("amir"), approval("bea"), dba]).approved);
}

#[test]
fn groups_are_named_where_people_are_unknown() {
    let policies = [policy(json!({}))];
    let refs: Vec<&ChangePolicySpec> = policies.iter().collect();
    let names = Names::default();
    let rules = Rules { policies: &refs, bindings: &[], names: &names, one_peer: false, frozen: &[] };
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: "c",
        uid: "cu",
        digest: DIGEST,
        excluded: BTreeSet::new(),
    };
    let outcome = evaluate(&subject, &rules, &[], now());
    assert_eq!(outcome.missing_phrase(), "two of groups shop-approvers, shop-leads");
}
