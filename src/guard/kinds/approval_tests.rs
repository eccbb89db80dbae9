use serde_json::{Value, from_value, json};

use super::approval::{Facts, Subject, create, delete, update};
use crate::api::{Approval, ChangePolicy};
use crate::guard::ruling::Ruling;
use crate::webhook::caller::Caller;

const DIGEST: &str = "v1:sha256:aa";

fn person(user: &str, group: &str) -> Caller {
    Caller { user: user.into(), groups: vec![group.into()], direct: true }
}

fn amir() -> Caller {
    person("amir", "shop-approvers")
}

fn approval(caller: &Caller, patch: Value) -> Approval {
    let mut whole = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": {"namespace": "shop"},
        "spec": {
            "subjectRef": {"kind": "ChangeRequest", "name": "checkout-v2", "uid": "u-1"},
            "digest": DIGEST, "decision": "Approve", "by": {"user": caller.user, "groups": caller.groups}
        }
    });
    json_patch::merge(&mut whole, &json!({"spec": patch}));
    from_value(whole).unwrap()
}

fn policy() -> ChangePolicy {
    ChangePolicy::new(
        "production",
        from_value(json!({
            "scope": {"namespaces": {"names": ["shop"]}},
            "approval": {
                "required": [{"name": "peers", "groups": ["shop-approvers", "shop-leads"], "count": 2}],
                "aliases": [{"users": ["emil", "emil-admin"]}]
            },
            "breakGlass": {"groups": ["shop-break-glass"]}
        }))
        .unwrap(),
    )
}

fn request() -> Subject {
    Subject {
        uid: "u-1".into(),
        digest: Some(DIGEST.into()),
        excluded: vec![("emil".into(), "the requester")],
        ..Subject::default()
    }
}

fn ruling(caller: &Caller, subject: Option<&Subject>, patch: Value) -> Ruling {
    let policy = policy();
    create(&Facts {
        approval: &approval(caller, patch),
        caller,
        subject: subject.cloned(),
        lacks_account: None,
        policies: vec![&policy],
        break_glass: vec!["shop-break-glass".into()],
        leads: vec!["lena".into()],
        on_duty: vec!["emil".into()],
        lead_groups: vec!["shift-leads".into()],
    })
}

fn refusal(ruling: Ruling) -> String {
    match ruling {
        Ruling::Refuse(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lead_decides_on_a_change_while_changes_are_frozen() {
    let max = person("max", "shift-leads");
    assert_eq!(ruling(&max, Some(&request()), json!({})), Ruling::Allow);
    let stranger = person("zoe", "others");
    assert!(matches!(ruling(&stranger, Some(&request()), json!({})), Ruling::Refuse(_)));
    let question = Subject { question: true, ..request() };
    let answer = ruling(&max, Some(&question), json!({"decision": "Confirm"}));
    assert!(matches!(answer, Ruling::Refuse(_)), "whoever is on duty answers");
}

#[test]
fn an_eligible_person_approves_and_rejects() {
    assert_eq!(ruling(&amir(), Some(&request()), json!({})), Ruling::Allow);
    assert_eq!(ruling(&amir(), Some(&request()), json!({"decision": "Reject"})), Ruling::Allow);
}

#[test]
fn a_decision_in_another_name_or_with_other_groups_is_refused() {
    for by in [json!({"user": "lena"}), json!({"user": "amir", "groups": ["shop-leads"]})] {
        assert!(refusal(ruling(&amir(), Some(&request()), json!({"by": by}))).contains("must be you, amir"));
    }
    assert!(refusal(ruling(&amir(), Some(&request()), json!({"by": null}))).contains("must be you"));
}

#[test]
fn a_service_account_never_approves() {
    let account = person("system:serviceaccount:shop:bot", "shop-approvers");
    assert!(
        refusal(ruling(&account, Some(&request()), json!({}))).contains("service account decides nothing")
    );
}

#[test]
fn an_impersonated_approval_does_not_count() {
    let impersonated = Caller { direct: false, ..amir() };
    assert!(refusal(ruling(&impersonated, Some(&request()), json!({}))).contains("direct login"));
}

#[test]
fn a_break_glass_group_never_approves() {
    let mut caller = amir();
    caller.groups.push("shop-break-glass".into());
    assert!(refusal(ruling(&caller, Some(&request()), json!({}))).contains("broke the glass"));
}

#[test]
fn a_subject_must_exist_with_that_uid_and_digest() {
    assert!(refusal(ruling(&amir(), None, json!({}))).contains("there is no chg/checkout-v2 in shop"));
    let replaced = Subject { uid: "u-2".into(), ..request() };
    assert!(refusal(ruling(&amir(), Some(&replaced), json!({}))).contains("another object now"));
    let edited = Subject { digest: Some("v1:sha256:bb".into()), ..request() };
    let message = refusal(ruling(&amir(), Some(&edited), json!({})));
    assert!(
        message.contains("v1:sha256:bb") && message.contains("kubectl mayday show -n shop chg/checkout-v2"),
        "{message}"
    );
    let unplanned = Subject { digest: None, ..request() };
    assert!(refusal(ruling(&amir(), Some(&unplanned), json!({}))).contains("no digest yet"));
}

#[test]
fn the_requester_never_approves_under_any_name_and_may_say_no() {
    for user in ["emil", "emil-admin"] {
        let requester = person(user, "shop-approvers");
        let message = refusal(ruling(&requester, Some(&request()), json!({})));
        assert!(message.contains("emil is the requester of chg/checkout-v2"), "{message}");
        let no = json!({"decision": "Reject"});
        assert_eq!(ruling(&requester, Some(&request()), no), Ruling::Allow, "as the quorum counts it");
    }
}

#[test]
fn only_the_required_groups_and_the_lead_decide() {
    let carl = person("carl", "shop-communications");
    let message = refusal(ruling(&carl, Some(&request()), json!({})));
    assert!(
        message.contains("carl may not decide") && message.contains("shop-approvers, shop-leads"),
        "{message}"
    );
    assert_eq!(ruling(&person("lena", "others"), Some(&request()), json!({})), Ruling::Allow);
}

/// Failure list 33: what approves a Runbook may use its account.
#[test]
fn an_approver_who_may_not_use_the_account_is_refused() {
    let (policy, caller) = (policy(), amir());
    let ruling = |lacks: Option<&str>| {
        create(&Facts {
            approval: &approval(&caller, json!({})),
            caller: &caller,
            subject: Some(request()),
            lacks_account: lacks.map(str::to_owned),
            policies: vec![&policy],
            break_glass: Vec::new(),
            leads: Vec::new(),
            on_duty: Vec::new(),
            lead_groups: Vec::new(),
        })
    };
    assert_eq!(ruling(None), Ruling::Allow);
    let message = refusal(ruling(Some("runbooks")));
    assert!(message.contains("amir may not use serviceaccount/runbooks"), "{message}");
    assert!(message.ends_with("--clusterrole=mayday-account-user --user=amir"), "{message}");
}

#[test]
fn a_subject_without_a_policy_takes_no_decision() {
    let caller = amir();
    let ruling = create(&Facts {
        approval: &approval(&caller, json!({})),
        caller: &caller,
        subject: Some(request()),
        lacks_account: None,
        policies: Vec::new(),
        break_glass: Vec::new(),
        leads: Vec::new(),
        on_duty: Vec::new(),
        lead_groups: Vec::new(),
    });
    assert!(refusal(ruling).contains("no ChangePolicy covers"));
}

#[test]
fn a_decision_fits_what_is_asked() {
    let question = Subject { question: true, excluded: Vec::new(), ..request() };
    let emil = person("emil", "shop-engineers");
    assert!(
        refusal(ruling(&amir(), Some(&request()), json!({"decision": "Confirm"})))
            .contains("takes Approve or Reject")
    );
    assert!(refusal(ruling(&emil, Some(&question), json!({}))).contains("answered by Confirm or Deny"));
    assert_eq!(ruling(&emil, Some(&question), json!({"decision": "Confirm"})), Ruling::Allow);
    assert_eq!(ruling(&emil, Some(&question), json!({"decision": "Deny"})), Ruling::Allow);
}

#[test]
fn a_question_is_answered_by_who_is_on_duty_or_leads() {
    let question = Subject { question: true, ..request() };
    let message = refusal(ruling(&amir(), Some(&question), json!({"decision": "Confirm"})));
    assert!(message.contains("on duty (emil)") && message.contains("you are amir"), "{message}");
    assert_eq!(ruling(&person("lena", "x"), Some(&question), json!({"decision": "Confirm"})), Ruling::Allow);
}

#[test]
fn an_approval_names_every_incident_that_binds() {
    let bound = Subject {
        incidents: vec![from_value(json!({"name": "checkout-x7k2p", "uid": "i-1"})).unwrap()],
        ..request()
    };
    let message = refusal(ruling(&amir(), Some(&bound), json!({})));
    assert!(
        message.contains("must name inc/checkout-x7k2p") && message.contains("kubectl mayday approve"),
        "{message}"
    );
    let named = |uid: &str| json!({"incidentRefs": [{"name": "checkout-x7k2p", "uid": uid}]});
    assert_eq!(ruling(&amir(), Some(&bound), named("i-1")), Ruling::Allow);
    refusal(ruling(&amir(), Some(&bound), named("i-0")));
    assert_eq!(ruling(&amir(), Some(&bound), json!({"decision": "Reject"})), Ruling::Allow);
}

#[test]
fn nothing_is_decided_on_what_is_over() {
    let over = Subject { over: Some("was withdrawn".into()), ..request() };
    assert!(refusal(ruling(&amir(), Some(&over), json!({}))).contains("chg/checkout-v2 was withdrawn"));
}

#[test]
fn a_decision_is_never_edited() {
    let old = approval(&amir(), json!({}));
    assert_eq!(update(&old, &old), Ruling::Allow);
    refusal(update(&old, &approval(&amir(), json!({"comment": "later"}))));
}

#[test]
fn an_approve_is_taken_back_by_its_author_and_a_reject_by_nobody() {
    let approve = approval(&amir(), json!({}));
    let reject = approval(&amir(), json!({"decision": "Reject"}));
    assert_eq!(delete(&approve, &amir(), false, false), Ruling::Allow);
    let message = refusal(delete(&approve, &person("emil", "x"), false, false));
    assert!(
        message.contains("by amir") && message.contains("kubectl mayday reject -n shop chg/checkout-v2"),
        "{message}"
    );
    assert!(refusal(delete(&reject, &amir(), false, false)).contains("Reject is final"));
    assert!(refusal(delete(&reject, &amir(), false, true)).contains("Reject is final"));
    for (kind, next) in [
        ("ChangeRequest", "kubectl mayday ask -n shop"),
        ("Runbook", "kubectl edit -n shop rb/checkout-v2"),
        ("RunbookRun", "kubectl mayday show -n shop run/checkout-v2"),
        ("Incident", "kubectl mayday show -n shop inc/checkout-v2"),
    ] {
        let no = json!({"decision": "Reject", "subjectRef": {"kind": kind}});
        let message = refusal(delete(&approval(&amir(), no), &amir(), false, false));
        assert!(message.contains(next), "{message}");
    }
}

#[test]
fn the_operator_clears_decisions_only_once_their_subject_is_gone() {
    let reject = approval(&amir(), json!({"decision": "Reject"}));
    let operator = person("system:serviceaccount:mayday-system:mayday", "x");
    assert_eq!(delete(&reject, &operator, true, true), Ruling::Allow);
    assert!(refusal(delete(&reject, &operator, true, false)).contains("still exists"));
}
