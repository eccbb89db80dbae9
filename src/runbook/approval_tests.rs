use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn digest(letter: char) -> String {
    format!("v1:sha256:{}", letter.to_string().repeat(64))
}

fn approval(name: &str, user: &str, groups: &[&str], change: Value) -> Arc<Approval> {
    let mut value = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": Timestamp::from_second(NOW - 60).unwrap()},
        "spec": {"subjectRef": {"kind": "Runbook", "name": "rb", "uid": "rb-uid"}, "digest": digest('a'),
            "decision": "Approve", "by": {"user": user, "groups": groups}},
    });
    json_patch::merge(&mut value, &change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn policy(change: Value) -> Arc<ChangePolicy> {
    let mut value = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "production"},
        "spec": {"scope": {"namespaces": {"names": ["shop"]}},
            "approval": {"required": [{"name": "peers", "groups": ["shop-approvers", "shop-leads"], "count": 2}],
                "aliases": [{"users": ["amir", "amir@corp"]}]},
            "incident": {"leads": {"groups": ["shop-leads"]}, "severities": ["SEV1", "SEV2"]},
            "breakGlass": {"groups": ["shop-break-glass"]}},
    });
    json_patch::merge(&mut value, &change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn amir() -> Arc<Approval> {
    approval("amir", "amir", &["shop-approvers"], json!({}))
}

fn bea() -> Arc<Approval> {
    approval("bea", "bea", &["shop-approvers"], json!({}))
}

fn count_under(policies: &[Arc<ChangePolicy>], approvals: &[Arc<Approval>], authors: &[&str]) -> Count {
    let digest = digest('a');
    let facts = Facts { namespace: "shop", uid: "rb-uid", digest: &digest, approvals, policies };
    let authors: Vec<String> = authors.iter().map(|author| (*author).to_owned()).collect();
    of_runbook(&facts, Some(&authors), now())
}

fn count(approvals: &[Arc<Approval>], authors: &[&str]) -> Count {
    count_under(&[policy(json!({}))], approvals, authors)
}

fn missing(count: &Count) -> &str {
    match &count.approved {
        Approved::Missing(who) => who,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_approvers_neither_of_them_the_author_approve_a_runbook() {
    let count_both = count(&[amir(), bea()], &["emil"]);
    assert_eq!(count_both.approved, Approved::Yes);
    assert_eq!(count_both.decisions.len(), 2);
    assert_eq!(
        missing(&count(&[amir()], &["emil"])),
        "1 more of shop-approvers or shop-leads, not emil (who wrote it)"
    );
    assert_eq!(
        missing(&count(&[amir(), bea()], &["bea"])),
        "1 more of shop-approvers or shop-leads, not bea (who wrote it)"
    );
}

#[test]
fn users_of_one_person_count_once_and_an_author_stays_one_under_another_name() {
    let twin = approval("twin", "amir@corp", &["shop-approvers"], json!({}));
    assert!(missing(&count(&[amir(), twin.clone()], &["emil"])).starts_with("1 more"));
    assert!(missing(&count(&[amir(), twin, bea()], &["amir@corp"])).starts_with("1 more"));
    assert!(missing(&count(&[amir(), amir()], &["emil"])).starts_with("1 more"), "the same person twice");
}

#[test]
fn who_is_not_eligible_does_not_count() {
    for (user, groups) in [
        ("carl", ["shop-communications"].as_slice()),
        ("carl", &[]),
        ("system:serviceaccount:shop:sa", &["shop-approvers"]),
        ("carl", &["shop-approvers", "shop-break-glass"]),
    ] {
        let other = approval("other", user, groups, json!({}));
        assert!(missing(&count(&[amir(), other], &["emil"])).starts_with("1 more"), "{user} {groups:?}");
    }
}

#[test]
fn an_approval_of_something_else_or_one_that_lapsed_does_not_count() {
    for change in [
        json!({"spec": {"digest": digest('b')}}),
        json!({"spec": {"subjectRef": {"uid": "an-older-one"}}}),
        json!({"spec": {"subjectRef": {"kind": "ChangeRequest"}}}),
        json!({"spec": {"notAfter": now()}}),
        json!({"spec": {"by": null}}),
        json!({"metadata": {"deletionTimestamp": now()}}),
        json!({"metadata": {"creationTimestamp": Timestamp::from_second(NOW - 180 * 86_400).unwrap()}}),
    ] {
        let other = approval("bea", "bea", &["shop-approvers"], change.clone());
        assert!(missing(&count(&[amir(), other], &["emil"])).starts_with("1 more"), "{change}");
    }
}

#[test]
fn the_first_that_lapses_says_until_when() {
    let short = approval(
        "bea",
        "bea",
        &["shop-approvers"],
        json!({"spec": {"notAfter": Timestamp::from_second(NOW + 5).unwrap()}}),
    );
    assert_eq!(count(&[amir(), short], &["emil"]).until, Some(Timestamp::from_second(NOW + 5).unwrap()));
}

#[test]
fn a_reject_of_anybody_eligible_is_final_for_the_digest() {
    let no = approval("no", "lena", &["shop-leads"], json!({"spec": {"decision": "Reject"}}));
    assert_eq!(count(&[amir(), bea(), no], &["emil"]).approved, Approved::Rejected("lena".into()));
    let stranger = approval("no", "carl", &["shop-communications"], json!({"spec": {"decision": "Reject"}}));
    assert_eq!(count(&[amir(), bea(), stranger], &["emil"]).approved, Approved::Yes);
}

#[test]
fn empty_lists_missing_policies_and_unknown_authors_mean_nobody() {
    assert!(missing(&count_under(&[], &[amir(), bea()], &["emil"])).contains("no ChangePolicy"));
    let nobody = policy(json!({"spec": {"approval": {"required": []}}}));
    assert!(missing(&count_under(&[nobody], &[amir(), bea()], &["emil"])).contains("requires nobody"));
    let no_groups =
        policy(json!({"spec": {"approval": {"required": [{"name": "peers", "groups": [], "count": 1}]}}}));
    assert!(missing(&count_under(&[no_groups], &[amir()], &["emil"])).contains("no groups"));
    let digest = digest('a');
    let facts = Facts {
        namespace: "shop",
        uid: "rb-uid",
        digest: &digest,
        approvals: &[amir(), bea()],
        policies: &[policy(json!({}))],
    };
    assert!(missing(&of_runbook(&facts, None, now())).contains("nobody knows who wrote it"));
}

#[test]
fn every_policy_must_be_satisfied() {
    let stricter = policy(
        json!({"metadata": {"name": "more"}, "spec": {"approval": {"required": [{"name": "leads", "groups": ["shop-leads"], "count": 1}]}}}),
    );
    let both = [policy(json!({})), stricter];
    assert_eq!(
        missing(&count_under(&both, &[amir(), bea()], &["emil"])),
        "1 more of shop-leads, not emil (who wrote it)"
    );
    let lena = approval("lena", "lena", &["shop-leads"], json!({}));
    assert_eq!(count_under(&both, &[amir(), lena], &["emil"]).approved, Approved::Yes);
}

#[test]
fn a_run_stops_when_an_approval_it_rests_on_goes() {
    let rested_on = count(&[amir(), bea()], &["emil"]).decisions;
    let digest = digest('a');
    let policies = [policy(json!({}))];
    let stands = |approvals: &[Arc<Approval>]| {
        let facts =
            Facts { namespace: "shop", uid: "rb-uid", digest: &digest, approvals, policies: &policies };
        still_stands(&facts, &rested_on, now())
    };
    assert_eq!(stands(&[amir(), bea()]), Approved::Yes);
    assert!(matches!(stands(&[amir()]), Approved::Missing(who) if who.contains("bea")));
    let no = approval("no", "lena", &["shop-leads"], json!({"spec": {"decision": "Reject"}}));
    assert!(matches!(stands(&[amir(), bea(), no]), Approved::Rejected(_)));
    let facts =
        Facts { namespace: "shop", uid: "rb-uid", digest: &digest, approvals: &[], policies: &policies };
    assert!(
        matches!(still_stands(&facts, &[], now()), Approved::Missing(_)),
        "resting on nothing is no approval"
    );
}

#[test]
fn a_run_is_approved_by_one_person_other_than_who_started_it_and_in_a_crisis_by_the_lead() {
    let run = |user: &str, groups: &[&str]| {
        approval(
            user,
            user,
            groups,
            json!({"spec": {"subjectRef": {"kind": "RunbookRun", "uid": "run-uid"}}}),
        )
    };
    let incident = |status: Value| -> Incident {
        serde_json::from_value(
            json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": status}),
        )
        .unwrap()
    };
    let digest = digest('a');
    let policies = [policy(json!({}))];
    let of = |approvals: &[Arc<Approval>], started_by: Option<&str>, incident: Option<&Incident>| {
        of_run(
            &Facts { namespace: "shop", uid: "run-uid", digest: &digest, approvals, policies: &policies },
            started_by,
            incident,
            now(),
        )
        .approved
    };
    let amir = run("amir", &["shop-approvers"]);
    let lena = run("lena", &["shop-leads"]);
    assert_eq!(of(&[amir.clone()], None, None), Approved::Yes);
    assert!(matches!(of(&[amir.clone()], Some("amir"), None), Approved::Missing(_)));
    assert!(
        matches!(of(&[], None, None), Approved::Missing(who) if who == "one of shop-approvers or shop-leads")
    );

    let led = incident(json!({"bindsSinceTime": now(), "lead": {"user": "lena", "time": now()}}));
    assert!(matches!(of(&[amir.clone()], None, Some(&led)), Approved::Missing(who) if who == "lena (lead)"));
    assert_eq!(of(&[lena.clone()], None, Some(&led)), Approved::Yes);
    assert!(matches!(of(&[lena], Some("lena"), Some(&led)), Approved::Missing(_)));
    assert_eq!(of(&[amir.clone()], Some("lena"), Some(&led)), Approved::Yes);
    let unled = incident(json!({"bindsSinceTime": now()}));
    assert!(
        matches!(of(&[amir], None, Some(&unled)), Approved::Missing(who) if who.contains("nobody has claimed"))
    );
}
