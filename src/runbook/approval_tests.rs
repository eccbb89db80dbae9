use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn digest(letter: char) -> String {
    format!("v1:sha256:{}", letter.to_string().repeat(64))
}

fn approval(user: &str, groups: &[&str], change: Value) -> Arc<Approval> {
    let mut value = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": user, "namespace": "shop", "uid": user, "creationTimestamp": Timestamp::from_second(NOW - 60).unwrap()},
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
    approval("amir", &["shop-approvers"], json!({}))
}

fn bea() -> Arc<Approval> {
    approval("bea", &["shop-approvers"], json!({}))
}

fn rejection(user: &str, group: &str) -> Arc<Approval> {
    approval(user, &[group], json!({"metadata": {"name": "no", "uid": "no"}, "spec": {"decision": "Reject"}}))
}

/// Calls `ask` with facts about the Runbook `rb`.
fn with<T>(
    policies: &[Arc<ChangePolicy>],
    approvals: &[Arc<Approval>],
    ask: impl FnOnce(&ApprovalFacts<'_>) -> T,
) -> T {
    let digest = digest('a');
    let names = Names::default();
    ask(&ApprovalFacts {
        namespace: "shop",
        name: "rb",
        uid: "rb-uid",
        digest: &digest,
        rejected_by: None,
        approvals,
        policies,
        names: &names,
    })
}

fn count_under(policies: &[Arc<ChangePolicy>], approvals: &[Arc<Approval>], authors: &[&str]) -> Count {
    let authors: Vec<String> = authors.iter().map(|author| (*author).to_owned()).collect();
    with(policies, approvals, |facts| of_runbook(facts, Some(&authors), now()))
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
    let both = count(&[amir(), bea()], &["emil"]);
    assert_eq!(both.approved, Approved::Yes);
    assert_eq!(both.decisions.len(), 2);
    let wanted = "one of groups shop-approvers, shop-leads must approve, and not emil, who wrote it";
    assert_eq!(missing(&count(&[amir()], &["emil"])), wanted);
    assert!(missing(&count(&[amir(), bea()], &["bea"])).ends_with("must approve, and not bea, who wrote it"));
}

#[test]
fn a_sentence_about_missing_approvals_reads_whole_for_each_combination() {
    let said = |policies: &[Arc<ChangePolicy>], authors: &[&str]| {
        missing(&count_under(policies, &[], authors)).to_owned()
    };
    let (one, none) = ([policy(json!({}))], [policy(json!({"spec": {"approval": {"required": []}}}))]);
    let must = "two of groups shop-approvers, shop-leads must approve";
    let nobody = "nobody can approve here: no ChangePolicy is over this namespace";
    let empty = "nobody can approve here: spec.approval.required of the policy is empty";
    for (policies, authors, sentence) in [
        (&one[..], &[][..], must.to_owned()),
        (&one, &["emil"], format!("{must}, and not emil, who wrote it")),
        (&one, &["emil", "lena"], format!("{must}, and none of emil, lena, who wrote it")),
        (&[], &["admin"], nobody.to_owned()),
        (&[], &[], nobody.to_owned()),
        (&none, &["admin"], empty.to_owned()),
    ] {
        assert_eq!(said(policies, authors), sentence);
    }
}

#[test]
fn a_person_counts_once_and_an_author_stays_one_under_another_user() {
    let twin = approval("amir@corp", &["shop-approvers"], json!({}));
    assert!(missing(&count(&[amir(), twin.clone()], &["emil"])).starts_with("one of"));
    assert!(missing(&count(&[amir(), twin, bea()], &["amir@corp"])).starts_with("one of"));
}

#[test]
fn one_decision_of_each_person_is_kept_within_the_bound_of_a_status() {
    let again = |user: &str, number: i64| {
        let created = Timestamp::from_second(NOW - 60 + number).unwrap();
        let metadata = json!({"name": format!("{user}-{number}"), "uid": format!("{user}-{number}"), "creationTimestamp": created});
        approval(user, &["shop-approvers"], json!({"metadata": metadata}))
    };
    let mut many: Vec<_> = (0..40).map(|number| again("amir", number)).collect();
    many.push(bea());
    let counted = count(&many, &["emil"]);
    assert_eq!(counted.approved, Approved::Yes);
    let names: Vec<&str> = counted.decisions.iter().map(|decision| decision.name.as_str()).collect();
    assert_eq!(names, ["bea", "amir-39"]);
    let crowd: Vec<_> = (0..40).map(|number| again(&format!("user{number}"), number)).collect();
    assert_eq!(count(&crowd, &["emil"]).decisions.len(), 32);
}

#[test]
fn an_ineligible_person_does_not_count() {
    for (user, groups) in [
        ("carl", ["shop-communications"].as_slice()),
        ("carl", &[]),
        ("system:serviceaccount:shop:sa", &["shop-approvers"]),
        ("carl", &["shop-approvers", "shop-break-glass"]),
    ] {
        let other = approval(user, groups, json!({}));
        assert!(missing(&count(&[amir(), other], &["emil"])).starts_with("one of"), "{user} {groups:?}");
    }
}

#[test]
fn an_approval_of_something_else_or_one_that_lapsed_does_not_count() {
    let half_a_year_ago = Timestamp::from_second(NOW - 180 * 86_400).unwrap();
    for change in [
        json!({"spec": {"digest": digest('b')}}),
        json!({"spec": {"subjectRef": {"uid": "an-older-one"}}}),
        json!({"spec": {"subjectRef": {"kind": "ChangeRequest"}}}),
        json!({"spec": {"notAfter": now()}}),
        json!({"spec": {"by": null}}),
        json!({"metadata": {"deletionTimestamp": now()}}),
        json!({"metadata": {"creationTimestamp": half_a_year_ago}}),
        json!({"metadata": {"creationTimestamp": null}}),
    ] {
        let other = approval("bea", &["shop-approvers"], change.clone());
        assert!(missing(&count(&[amir(), other], &["emil"])).starts_with("one of"), "{change}");
    }
}

#[test]
fn an_approval_counts_until_the_first_decision_lapses() {
    let soon = Timestamp::from_second(NOW + 5).unwrap();
    let short = approval("bea", &["shop-approvers"], json!({"spec": {"notAfter": soon}}));
    assert_eq!(count(&[amir(), short], &["emil"]).until, Some(soon));
    let by_default = Timestamp::from_second(NOW - 60 + 180 * 86_400).unwrap();
    assert_eq!(count(&[amir(), bea()], &["emil"]).until, Some(by_default));
}

#[test]
fn a_rejection_by_an_eligible_person_is_final_for_the_digest() {
    let both_and = |third| count(&[amir(), bea(), third], &["emil"]).approved;
    assert_eq!(both_and(rejection("lena", "shop-leads")), Approved::Rejected("lena".into()));
    assert_eq!(both_and(rejection("carl", "shop-communications")), Approved::Yes);
}

#[test]
fn empty_lists_missing_policies_and_unknown_authors_mean_nobody() {
    assert!(
        missing(&count_under(&[], &[amir(), bea()], &["emil"]))
            .contains("nobody can approve here: no ChangePolicy")
    );
    let nobody = policy(json!({"spec": {"approval": {"required": []}}}));
    assert!(
        missing(&count_under(&[nobody], &[amir(), bea()], &["emil"]))
            .contains("spec.approval.required of the policy is empty")
    );
    let entry = json!([{"name": "peers", "groups": [], "count": 1}]);
    let no_groups = policy(json!({"spec": {"approval": {"required": entry}}}));
    assert!(matches!(count_under(&[no_groups], &[amir()], &["emil"]).approved, Approved::Missing(_)));
    let unknown = with(&[policy(json!({}))], &[amir(), bea()], |facts| of_runbook(facts, None, now()));
    assert!(missing(&unknown).contains("nobody knows who wrote it"));
}

#[test]
fn every_policy_must_be_satisfied() {
    let leads = json!([{"name": "leads", "groups": ["shop-leads"], "count": 1}]);
    let stricter = policy(json!({"metadata": {"name": "more"}, "spec": {"approval": {"required": leads}}}));
    let both = [policy(json!({})), stricter];
    assert!(missing(&count_under(&both, &[amir(), bea()], &["emil"])).starts_with("one of group shop-leads"));
    let lena = approval("lena", &["shop-leads"], json!({}));
    assert_eq!(count_under(&both, &[amir(), lena], &["emil"]).approved, Approved::Yes);
}

#[test]
fn a_run_stops_when_an_approval_it_relies_on_is_withdrawn() {
    let relied_on = count(&[amir(), bea()], &["emil"]).decisions;
    let policies = [policy(json!({}))];
    let stands = |approvals: &[Arc<Approval>]| {
        with(&policies, approvals, |facts| still_counts(facts, &relied_on, now()))
    };
    assert_eq!(stands(&[amir(), bea()]), Approved::Yes);
    assert!(matches!(stands(&[amir()]), Approved::Missing(who) if who.contains("bea")));
    assert!(matches!(stands(&[amir(), bea(), rejection("lena", "shop-leads")]), Approved::Rejected(_)));
    let on_nothing = with(&policies, &[amir(), bea()], |facts| still_counts(facts, &[], now()));
    assert!(matches!(on_nothing, Approved::Missing(_)), "resting on nothing is no approval");
}

#[test]
fn a_run_needs_another_person_than_its_starter_and_in_a_crisis_the_lead() {
    let of_the_run = |user: &str, group: &str| {
        let subject = json!({"kind": "RunbookRun", "name": "run", "uid": "run-uid"});
        approval(user, &[group], json!({"spec": {"subjectRef": subject}}))
    };
    let incident = |spec: Value| -> Arc<Incident> {
        let mut whole = json!({"title": "t", "severity": "SEV2", "acknowledgement": {"user": "emil"}});
        json_patch::merge(&mut whole, &spec);
        let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i", "namespace": "shop", "uid": "i-uid"}, "spec": whole, "status": {"state": "Acknowledged"}});
        Arc::new(serde_json::from_value(object).unwrap())
    };
    let policies = [policy(json!({}))];
    let of = |approvals: &[Arc<Approval>], started_by: Option<&str>, incidents: &[Arc<Incident>]| {
        with(&policies, approvals, |facts| {
            of_run(
                &ApprovalFacts { name: "run", uid: "run-uid", ..*facts },
                started_by,
                (incidents, &[]),
                now(),
            )
            .approved
        })
    };
    let amir = of_the_run("amir", "shop-approvers");
    let lena = of_the_run("lena", "shop-leads");
    assert_eq!(of(std::slice::from_ref(&amir), None, &[]), Approved::Yes);
    assert!(
        matches!(of(std::slice::from_ref(&amir), Some("amir@corp"), &[]), Approved::Missing(_)),
        "the same person"
    );
    assert!(
        matches!(of(&[], None, &[]), Approved::Missing(who) if who == "one of shop-approvers or shop-leads")
    );

    let names = Names { approvers: vec!["amir".into(), "bea".into()], leads: Vec::new() };
    let by_name = |started_by| {
        with(&policies, &[], |facts| {
            of_run(
                &ApprovalFacts { name: "run", uid: "run-uid", names: &names, ..*facts },
                started_by,
                (&[], &[]),
                now(),
            )
            .approved
        })
    };
    assert_eq!(by_name(Some("emil")), Approved::Missing("one of amir, bea".into()));
    assert_eq!(by_name(Some("amir")), Approved::Missing("bea".into()), "never who started it");

    let led = [incident(json!({"roles": {"lead": {"user": "lena"}}}))];
    assert!(
        matches!(of(std::slice::from_ref(&amir), None, &led), Approved::Missing(who) if who == "lena (lead)")
    );
    assert_eq!(of(std::slice::from_ref(&lena), None, &led), Approved::Yes);
    assert!(matches!(of(&[lena], Some("lena"), &led), Approved::Missing(_)));
    assert_eq!(of(std::slice::from_ref(&amir), Some("lena"), &led), Approved::Yes);
    let led_by_amir = [incident(json!({"roles": {"lead": {"user": "amir"}}}))];
    let bea = of_the_run("bea", "shop-approvers");
    assert_eq!(
        of(&[bea], Some("amir@corp"), &led_by_amir),
        Approved::Yes,
        "the lead started it, by another name"
    );
    let unled = [incident(json!({}))];
    assert!(
        matches!(of(&[amir], None, &unled), Approved::Missing(who) if who.contains("kubectl mayday lead -n shop inc/i"))
    );
}

#[test]
fn a_rejection_stays_when_its_author_is_no_longer_eligible() {
    let policies = [policy(json!({}))];
    let both = [amir(), bea()];
    let relied_on = count(&both, &["emil"]).decisions;
    with(&policies, &both, |facts| {
        let facts = ApprovalFacts { rejected_by: Some("lena"), ..*facts };
        let authors = ["emil".to_owned()];
        assert_eq!(of_runbook(&facts, Some(&authors), now()).approved, Approved::Rejected("lena".into()));
        assert_eq!(still_counts(&facts, &relied_on, now()), Approved::Rejected("lena".into()));
    });
}

#[test]
fn each_policy_over_a_run_needs_one_of_its_own_approvers() {
    let second = policy(json!({"metadata": {"name": "till"},
        "spec": {"approval": {"required": [{"name": "till", "groups": ["till-approvers"], "count": 1}]}}}));
    let policies = [policy(json!({})), second];
    let by = |people: &[(&str, &str)]| {
        let subject = json!({"kind": "RunbookRun", "name": "run", "uid": "run-uid"});
        let approvals: Vec<Arc<Approval>> = people
            .iter()
            .map(|(user, group)| approval(user, &[group], json!({"spec": {"subjectRef": subject}})))
            .collect();
        with(&policies, &approvals, |facts| {
            of_run(&ApprovalFacts { name: "run", uid: "run-uid", ..*facts }, None, (&[], &[]), now()).approved
        })
    };
    assert_eq!(by(&[("amir", "shop-approvers")]), Approved::Missing("one of till-approvers".into()));
    assert_eq!(by(&[("amir", "shop-approvers"), ("tina", "till-approvers")]), Approved::Yes);
}

#[test]
fn a_run_under_a_freeze_of_changes_waits_for_a_lead() {
    let leads = json!({"incident": {"leads": {"groups": ["shop-leads"]}}});
    let policies = [policy(leads)];
    let freeze = |stops: &str| -> Arc<Freeze> {
        let name = &policies[0].metadata.name;
        let spec = json!({"policyRef": {"name": name}, "stops": [stops], "reason": "r", "endTime": "9999-01-01T00:00:00Z"});
        Arc::new(Freeze::new("sale", serde_json::from_value(spec).unwrap()))
    };
    let under = |stops: &str, user: &str, group: &str| {
        let subject = json!({"kind": "RunbookRun", "name": "run", "uid": "run-uid"});
        let approvals = [approval(user, &[group], json!({"spec": {"subjectRef": subject}}))];
        with(&policies, &approvals, |facts| {
            let facts = ApprovalFacts { name: "run", uid: "run-uid", ..*facts };
            of_run(&facts, Some("emil"), (&[], &[freeze(stops)]), now()).approved
        })
    };
    assert_eq!(
        under("Changes", "amir", "shop-approvers"),
        Approved::Missing("one of shop-leads (lead)".into())
    );
    assert_eq!(under("Changes", "lena", "shop-leads"), Approved::Yes);
    assert_eq!(under("Automation", "amir", "shop-approvers"), Approved::Yes);
}
