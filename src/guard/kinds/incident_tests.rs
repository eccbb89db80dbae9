use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, from_value, json};

use super::incident::{Change, Facts, delete, update};
use crate::api::Incident;
use crate::guard::ruling::Ruling;
use crate::webhook::caller::Caller;

fn caller(user: &str) -> Caller {
    Caller { user: user.into(), groups: Vec::new(), direct: true }
}

/// Under a policy that lets the caller lead.
fn facts(caller: &Caller) -> Facts<'_> {
    Facts {
        caller,
        is_governed: true,
        may_lead: true,
        original_exists: true,
        kept_for: SignedDuration::ZERO,
        now: Timestamp::UNIX_EPOCH,
    }
}

/// An incident that lena leads and carl speaks for, after a merge patch.
fn incident(patch: Value) -> Incident {
    from_value(patched(base(), &patch)).unwrap()
}

fn patched(mut value: Value, patch: &Value) -> Value {
    json_patch::merge(&mut value, patch);
    value
}

fn base() -> Value {
    json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "checkout-x7k2p", "namespace": "shop"},
        "spec": {
            "title": "checkout is down", "severity": "SEV2",
            "serviceRefs": [{"name": "checkout"}],
            "roles": {"lead": {"user": "lena"}, "communications": {"user": "carl"}}
        },
        "status": {
            "state": "Crisis",
            "service": {
                "ref": {"name": "checkout", "uid": "u"}, "title": "Checkout",
                "objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}],
                "returnToService": {"checks": [{"name": "alerts", "alertsCleared": {}}], "stableFor": "30s"}
            }
        }
    })
}

struct Write<'a> {
    by: &'a str,
    before: Value,
    patch: Value,
    may_lead: bool,
}

fn ruling(write: Write<'_>) -> Ruling {
    let before = patched(base(), &write.before);
    let old: Incident = from_value(before.clone()).unwrap();
    let new: Incident = from_value(patched(before, &write.patch)).unwrap();
    let caller = caller(write.by);
    update(&Change { old: &old, new: &new, facts: &Facts { may_lead: write.may_lead, ..facts(&caller) } })
}

fn by(user: &str, spec: Value) -> Ruling {
    ruling(Write { by: user, before: json!({}), patch: json!({"spec": spec}), may_lead: true })
}

fn refusal(ruling: Ruling) -> String {
    match ruling {
        Ruling::Refuse(message) => message,
        other => panic!("{other:?}"),
    }
}

fn quorum(ruling: Ruling) -> String {
    match ruling {
        Ruling::Quorum(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn raising_adding_and_text_are_for_everybody() {
    for spec in [
        json!({"severity": "SEV1"}),
        json!({"title": "checkout and till are down"}),
        json!({"serviceRefs": [{"name": "till"}, {"name": "checkout"}]}),
        json!({"notes": [{"text": "the database is slow"}]}),
        json!({"impact": "nobody can pay"}),
        json!({"affected": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"}
        ]}),
    ] {
        assert_eq!(by("emil", spec.clone()), Ruling::Allow, "{spec}");
    }
}

#[test]
fn making_it_milder_takes_the_lead_or_the_quorum() {
    for spec in [
        json!({"severity": "SEV3"}),
        json!({"serviceRefs": [{"name": "till"}]}),
        json!({"affected": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"}]}),
        json!({"returnToService": {"checks": [{"name": "asked", "confirmation": {"question": "well?"}}], "stableFor": "30s"}}),
        json!({"returnToService": {"checks": [{"name": "alerts", "alertsCleared": {}}], "stableFor": "10s"}}),
    ] {
        let message = quorum(by("emil", spec.clone()));
        assert!(
            message.contains("is for lena, who leads") && message.contains("kubectl mayday ask -n shop"),
            "{message}"
        );
        assert_eq!(by("lena", spec), Ruling::Allow);
    }
}

#[test]
fn everybody_knows_an_earlier_start_and_nobody_alone_a_later_one() {
    let moved = |before: Value, after: Value| {
        let write =
            Write { by: "emil", before, patch: json!({"spec": {"startTime": after}}), may_lead: false };
        ruling(write)
    };
    let said = || json!({"spec": {"startTime": "2026-11-22T02:00:00Z"}});
    let seen = || json!({"status": {"startTime": "2026-11-22T02:00:00Z"}});
    for known in [said(), seen()] {
        assert_eq!(moved(known.clone(), json!("2026-11-22T01:00:00Z")), Ruling::Allow);
        assert!(quorum(moved(known, json!("2026-11-22T02:00:01Z"))).contains("letting it begin later"));
    }
    assert!(quorum(moved(said(), json!(null))).contains("letting it begin later"));
    let declared = json!({"metadata": {"creationTimestamp": "2026-11-22T02:00:00Z"}});
    assert!(quorum(moved(declared, json!("2026-11-22T02:01:00Z"))).contains("letting it begin later"));
}

#[test]
fn an_incident_without_a_policy_is_ended_by_everyone_who_may_edit_it() {
    let (old, emil) = (incident(json!({})), caller("emil"));
    let ends = |spec: Value| {
        let new = incident(json!({"spec": spec}));
        update(&Change {
            old: &old,
            new: &new,
            facts: &Facts { is_governed: false, may_lead: false, original_exists: false, ..facts(&emil) },
        })
    };
    assert_eq!(ends(json!({"resolution": {"outcome": "FalseAlarm", "reason": "a test"}})), Ruling::Allow);
    assert_eq!(ends(json!({"severity": "SEV5"})), Ruling::Allow);
    assert!(refusal(ends(json!({"resolution": {"outcome": "Restored"}}))).contains("not proved yet"));
    assert!(refusal(ends(json!({"acknowledgement": {"user": "bea"}}))).contains("for themselves"));
}

#[test]
fn an_impersonated_lead_has_none_of_the_powers_of_the_lead() {
    let old = incident(json!({}));
    let new = incident(json!({"spec": {"severity": "SEV5"}}));
    let pretender = Caller { user: "lena".into(), groups: Vec::new(), direct: false };
    let change = Change { old: &old, new: &new, facts: &facts(&pretender) };
    assert!(quorum(update(&change)).contains("this request is impersonated"));
}

#[test]
fn a_list_with_fewer_affected_objects_is_milder() {
    let message = quorum(by("emil", json!({"affected": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]})));
    assert!(message.contains("taking affected objects away"), "{message}");
}

#[test]
fn another_version_of_the_same_kind_is_the_same_object() {
    let same =
        json!({"affected": [{"apiVersion": "apps/v1beta1", "kind": "Deployment", "name": "checkout"}]});
    assert_eq!(by("emil", same), Ruling::Allow);
}

#[test]
fn checks_that_nobody_wrote_are_weakened_like_others() {
    let unsaid = json!({"status": {"service": {"returnToService": null}}});
    let with = |checks: Value| {
        let patch = json!({"spec": {"returnToService": {"checks": checks}}});
        ruling(Write { by: "emil", before: unsaid.clone(), patch, may_lead: false })
    };
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let rollout = json!({"name": "runs", "rollout": {"target": target}});
    let alerts = json!({"name": "quiet", "alertsCleared": {}});
    let question = json!({"name": "asked", "confirmation": {"question": "well?"}});
    assert_eq!(
        with(json!([question, alerts, rollout])),
        Ruling::Allow,
        "the same under other names, and more"
    );
    for fewer in [json!([rollout]), json!([alerts]), json!([question])] {
        assert!(quorum(with(fewer)).contains("weakening the checks"));
    }
}

#[test]
fn stricter_checks_are_for_everybody() {
    // An incident without checks of its own gets the checks that Mayday makes, also of the objects.
    let none = json!({"returnToService": {"checks": [], "stableFor": "30s"}});
    assert_eq!(by("emil", none), Ruling::Allow);
    let more = json!({"returnToService": {
        "checks": [{"name": "alerts", "alertsCleared": {}}, {"name": "q", "confirmation": {"question": "?"}}],
        "stableFor": "1m"
    }});
    assert_eq!(by("emil", more), Ruling::Allow);
}

fn unled(user: &str, claim: &str, may_lead: bool) -> Ruling {
    ruling(Write {
        by: user,
        before: json!({"spec": {"roles": null}}),
        patch: json!({"spec": {"roles": {"lead": {"user": claim}}}}),
        may_lead,
    })
}

#[test]
fn the_lead_is_claimed_for_oneself_by_whom_the_policy_lets() {
    assert_eq!(unled("lena", "lena", true), Ruling::Allow);
    let message = refusal(unled("emil", "lena", true));
    assert!(
        message.contains("you are emil") && message.contains("lena: kubectl mayday lead -n shop"),
        "{message}"
    );
    assert!(refusal(unled("emil", "emil", false)).contains("no ChangePolicy lets emil lead"));
}

#[test]
fn impersonation_and_service_accounts_claim_no_lead() {
    let old = incident(json!({"spec": {"roles": null}}));
    for (user, direct) in [("lena", false), ("system:serviceaccount:shop:bot", true)] {
        let new = incident(json!({"spec": {"roles": {"lead": {"user": user}, "communications": null}}}));
        let caller = Caller { user: user.into(), groups: Vec::new(), direct };
        let ruling = update(&Change { old: &old, new: &new, facts: &facts(&caller) });
        assert!(refusal(ruling).contains("logged in directly"));
    }
}

#[test]
fn the_lead_passes_only_to_whom_the_lead_nominated() {
    let take = json!({"roles": {"lead": {"user": "bea"}, "nominatedLead": null}});
    let message = refusal(by("bea", take.clone()));
    assert!(message.contains("lena: kubectl mayday lead -n shop inc/checkout-x7k2p --to bea"), "{message}");
    let nominated = json!({"spec": {"roles": {"nominatedLead": {"user": "bea"}}}});
    let claim = |user| {
        ruling(Write { by: user, before: nominated.clone(), patch: json!({"spec": take}), may_lead: true })
    };
    assert_eq!(claim("bea"), Ruling::Allow);
    assert!(refusal(claim("amir")).contains("you are amir"));
    assert_eq!(by("lena", json!({"roles": {"nominatedLead": {"user": "bea"}}})), Ruling::Allow);
    assert!(refusal(by("bea", json!({"roles": {"nominatedLead": {"user": "bea"}}}))).contains("who is lena"));
    assert!(refusal(by("lena", json!({"roles": {"lead": null}}))).contains("handed over, not dropped"));
}

#[test]
fn stakeholders_hear_one_voice() {
    let update = json!({"updates": [{"audience": "Internal", "text": "we are on it"}]});
    assert_eq!(by("lena", update.clone()), Ruling::Allow);
    assert_eq!(by("carl", update.clone()), Ruling::Allow);
    let message = refusal(by("emil", update));
    assert!(message.contains("kubectl mayday note -n shop inc/checkout-x7k2p"), "{message}");
    let voice = json!({"roles": {"communications": {"user": "emil"}}});
    assert!(refusal(by("emil", voice.clone())).contains("who is lena"));
    assert_eq!(by("lena", voice), Ruling::Allow);
}

#[test]
fn everybody_acknowledges_for_themselves() {
    assert_eq!(by("emil", json!({"acknowledgement": {"user": "emil"}})), Ruling::Allow);
    assert!(refusal(by("emil", json!({"acknowledgement": {"user": "bea"}}))).contains("you are emil"));
}

fn resolve(user: &str, resolution: Value, restored: bool) -> Ruling {
    let status = if restored { "True" } else { "False" };
    ruling(Write {
        by: user,
        before: json!({"status": {"conditions": [{
            "type": "Restored", "status": status, "reason": "r", "message": "", "lastTransitionTime": "2026-11-22T14:00:00Z"
        }]}}),
        patch: json!({"spec": {"resolution": resolution}}),
        may_lead: true,
    })
}

#[test]
fn restored_is_said_by_the_lead_and_only_once_it_is_proved() {
    assert_eq!(resolve("lena", json!({"outcome": "Restored"}), true), Ruling::Allow);
    assert!(refusal(resolve("lena", json!({"outcome": "Restored"}), false)).contains("not proved yet"));
    quorum(resolve("emil", json!({"outcome": "Restored"}), true));
}

#[test]
fn unproved_takes_the_lead_and_a_peer() {
    let message = quorum(resolve("lena", json!({"outcome": "Unproved", "reason": "no data"}), false));
    assert!(message.contains("takes you, who lead, and one peer"), "{message}");
    let ask =
        "Ask: kubectl mayday resolve -n shop inc/checkout-x7k2p --outcome unproved --reason \"…\" --ask";
    assert!(message.ends_with(ask), "{message}");
    let message = quorum(resolve("emil", json!({"outcome": "Unproved", "reason": "no data"}), true));
    assert!(message.contains("takes lena, who leads, and one peer") && message.ends_with(ask), "{message}");
}

#[test]
fn a_false_alarm_is_said_by_the_lead_or_the_quorum() {
    let resolution = json!({"outcome": "FalseAlarm", "reason": "a test"});
    assert_eq!(resolve("lena", resolution.clone(), false), Ruling::Allow);
    let message = quorum(resolve("emil", resolution, false));
    assert!(message.contains("resolving it is for lena, who leads, or takes the approvals"), "{message}");
    assert!(message.ends_with("inc/checkout-x7k2p --outcome false-alarm --reason \"…\" --ask"), "{message}");
}

#[test]
fn a_duplicate_names_an_incident_that_exists() {
    let old = incident(json!({}));
    let new = incident(
        json!({"spec": {"resolution": {"outcome": "Duplicate", "reason": "r", "duplicateOf": {"name": "x"}}}}),
    );
    let lena = caller("lena");
    let ruling = |original_exists| {
        update(&Change { old: &old, new: &new, facts: &Facts { original_exists, ..facts(&lena) } })
    };
    assert_eq!(ruling(true), Ruling::Allow);
    assert!(refusal(ruling(false)).contains("duplicateOf"));
}

#[test]
fn an_incident_is_not_deleted_while_open_or_before_its_review() {
    let delete = |old: &Incident| delete(old, SignedDuration::ZERO, Timestamp::now());
    let in_state = |state: &str| delete(&incident(json!({"status": {"state": state}})));
    assert!(refusal(in_state("Crisis")).contains("kubectl mayday resolve"));
    assert!(refusal(in_state("Resolved")).contains("review"));
    assert!(refusal(delete(&incident(json!({"status": null})))).contains("is open"));
    for state in ["Closed", "FalseAlarm", "Duplicate"] {
        assert_eq!(in_state(state), Ruling::Allow);
    }
}

#[test]
fn an_incident_that_has_ended_is_kept_for_as_long_as_is_set() {
    let at = |time: &str| -> Timestamp { time.parse().unwrap() };
    let ended = incident(json!({"status": {"state": "Closed",
        "resolved": {"user": "lena", "time": "2026-11-22T03:00:00Z"}}}));
    let delete = |now: &str| delete(&ended, SignedDuration::from_hours(48), at(now));
    let message = refusal(delete("2026-11-24T02:59:59Z"));
    assert!(message.contains("is kept until 2026-11-24 03:00:00 UTC"), "{message}");
    assert_eq!(delete("2026-11-24T03:00:00Z"), Ruling::Allow);
}

#[test]
fn people_say_it_again_for_themselves() {
    let answered = json!({"spec": {"acknowledgement": {"user": "emil"}}});
    let again = |user| {
        let patch = json!({"spec": {"acknowledgement": {"time": "2026-11-22T02:09:00Z"}}});
        ruling(Write { by: user, before: answered.clone(), patch, may_lead: true })
    };
    assert_eq!(again("emil"), Ruling::Allow);
    assert!(refusal(again("bea")).contains("everybody acknowledges for themselves, and you are bea"));
    let claim = json!({"roles": {"lead": {"time": "2026-11-22T02:09:00Z"}}});
    assert_eq!(by("lena", claim.clone()), Ruling::Allow);
    assert!(refusal(by("bea", claim)).contains("everybody claims the lead for themselves"));
}

#[test]
fn after_a_relapse_whoever_is_entitled_claims_the_lead() {
    let claim = |may_lead| {
        let before = json!({"status": {"lapsedLead": {"user": "lena"}}});
        let patch = json!({"spec": {"roles": {"lead": {"user": "bea"}}}});
        ruling(Write { by: "bea", before, patch, may_lead })
    };
    assert_eq!(claim(true), Ruling::Allow);
    assert!(refusal(claim(false)).contains("no ChangePolicy lets bea lead"));
    let message = refusal(by("bea", json!({"roles": {"lead": {"user": "bea"}}})));
    assert!(message.contains("has not handed over to you"), "{message}");
}
