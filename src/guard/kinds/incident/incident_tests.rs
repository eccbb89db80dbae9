use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, from_value, json};

use super::{Change, Facts, delete, update, warnings};
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
        original: None,
        known_users: vec!["lena".into(), "bea".into()],
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

/// An act that is accepted and counts nowhere: what is written is refused once it has no effect, with what to do instead.
#[test]
fn leading_and_ending_count_only_while_the_incident_is_open() {
    let by_lena = json!({"user": "lena", "time": "2026-11-22T02:30:00Z"});
    let ended = |state: &str, outcome: &str| {
        let said = json!({"outcome": outcome, "reason": "r", "duplicateOf": {"name": "other"}});
        json!({"spec": {"resolution": said}, "status": {"state": state, "resolved": by_lena}})
    };
    let taken_over = json!({"status": {"state": "Duplicate", "duplicateOf": {"name": "older"}}});
    let by_itself = json!({"status": {"state": "Closed", "resolved": {"user": "mayday", "time": "2026-11-22T02:30:00Z"}}});
    let again =
        "If service is out again: kubectl mayday declare -n shop \"…\" --service checkout --severity SEV2";
    let lead = json!({"roles": {"lead": {"user": "lena", "time": "2026-11-22T02:40:00Z"}}});
    let hand_over = json!({"roles": {"nominatedLead": {"user": "bea"}}});
    let resolve = json!({"resolution": {"outcome": "FalseAlarm", "reason": "another", "duplicateOf": null}});
    for (before, said) in [
        (ended("Resolved", "Unproved"), "was resolved as Unproved by lena at 2026-11-22 02:30:00 UTC"),
        (ended("Closed", "Restored"), "was resolved as Restored by lena"),
        (ended("FalseAlarm", "FalseAlarm"), "was resolved as FalseAlarm by lena"),
        (by_itself, "was resolved as Restored by itself"),
    ] {
        for spec in [&lead, &hand_over, &resolve] {
            let patch = json!({"spec": spec});
            let message =
                refusal(ruling(Write { by: "lena", before: before.clone(), patch, may_lead: true }));
            let start = format!("Refused: inc/checkout-x7k2p {said}");
            assert!(message.starts_with(&start) && message.ends_with(again), "{message}");
        }
    }
    for (before, other) in [(taken_over, "inc/older"), (ended("Duplicate", "Duplicate"), "inc/other")] {
        for (spec, command) in [
            (&lead, format!("lead {other} instead: kubectl mayday lead -n shop {other}")),
            (&hand_over, format!("instead: kubectl mayday lead -n shop {other} --to USER")),
            (&resolve, format!("resolve {other} instead: kubectl mayday resolve -n shop {other}")),
        ] {
            let patch = json!({"spec": spec});
            let message =
                refusal(ruling(Write { by: "lena", before: before.clone(), patch, may_lead: true }));
            let start =
                format!("Refused: inc/checkout-x7k2p is about the same outage as {other}, which goes on; ");
            assert!(message.starts_with(&start) && message.ends_with(&command), "{message}");
        }
    }
}

#[test]
fn the_younger_of_two_open_incidents_is_led_by_nobody_new() {
    let (old, bea) = (incident(json!({"spec": {"roles": null}})), caller("bea"));
    let new = incident(json!({"spec": {"roles": {"lead": {"user": "bea"}, "communications": null}}}));
    let facts = Facts { original: Some("older".into()), ..facts(&bea) };
    let message = refusal(update(&Change { old: &old, new: &new, facts: &facts }));
    assert!(message.ends_with("lead inc/older instead: kubectl mayday lead -n shop inc/older"), "{message}");
}

#[test]
fn an_end_that_waits_for_its_proof_may_still_become_another_one() {
    let unproved = json!({"spec": {"resolution": {"outcome": "Unproved", "reason": "r"}}});
    let after = |before: Value| ruling(Write { by: "lena", before, patch: unproved.clone(), may_lead: true });
    quorum(after(json!({"spec": {"resolution": {"outcome": "Restored"}}})));
    let alarm = json!({"spec": {"resolution": {"outcome": "FalseAlarm", "reason": "r"}}});
    assert!(
        refusal(after(alarm.clone())).contains("is being resolved as FalseAlarm, and an end is said once")
    );
    let mut lapsed = alarm.clone();
    lapsed["status"] = json!({"lapsedResolution": alarm["spec"]["resolution"]});
    quorum(after(lapsed));
}

#[test]
fn a_false_alarm_that_something_contradicts_takes_the_lead_and_a_peer() {
    let alarm = json!({"outcome": "FalseAlarm", "reason": "a test"});
    let check = json!([{"name": "rollout-0", "result": "Failing", "message": "deployment/checkout: 0 of 3 available",
        "sinceTime": "2026-11-22T02:04:10Z"}]);
    let signal = json!([{"sourceRef": {"name": "am"}, "id": "a", "name": "CheckoutDown", "severity": "SEV2",
        "startTime": "2026-11-22T02:04:10Z", "lastSeenTime": "2026-11-22T02:04:10Z"}]);
    let said = |by: &str, status: Value| {
        let (before, patch) = (json!({"status": status}), json!({"spec": {"resolution": alarm}}));
        quorum(ruling(Write { by, before, patch, may_lead: true }))
    };
    let message = said("lena", json!({"checks": check}));
    assert_eq!(
        message,
        "Refused: resolving inc/checkout-x7k2p as a false alarm takes you, who lead, and one peer, since check \
         rollout-0 fails (deployment/checkout: 0 of 3 available). Ask: kubectl mayday resolve -n shop \
         inc/checkout-x7k2p --outcome false-alarm --reason \"…\" --ask"
    );
    assert!(
        said("emil", json!({"signals": signal}))
            .contains("takes lena, who leads, and one peer, since CheckoutDown")
    );
    let proved = json!({"pastOutages": [{"endTime": "2026-11-22T02:04:10Z"}]});
    assert!(said("lena", proved).contains("since its return to service was proved"));
}

#[test]
fn a_nomination_ends_with_a_relapse_or_another_lead() {
    let (lena, mia) = (
        json!({"user": "lena", "time": "2026-11-22T02:10:00Z"}),
        json!({"user": "mia", "time": "2026-11-22T02:40:00Z"}),
    );
    let bea = json!({"user": "bea", "time": "2026-11-22T02:20:00Z"});
    let claims = |lead: &Value, status: Value| {
        let before = json!({"spec": {"roles": {"lead": lead, "nominatedLead": bea}}, "status": status});
        let patch = json!({"spec": {"roles": {"lead": {"user": "bea", "time": "2026-11-22T02:50:00Z"}, "nominatedLead": null}}});
        ruling(Write { by: "bea", before, patch, may_lead: true })
    };
    assert_eq!(claims(&lena, json!({})), Ruling::Allow);
    let by_mia = "mia leads inc/checkout-x7k2p and has not handed over to you; mia: kubectl mayday lead";
    assert!(refusal(claims(&mia, json!({}))).contains(by_mia), "lena named her, not mia");
    let mut undated = mia.clone();
    undated["time"] = Value::Null;
    assert!(refusal(claims(&undated, json!({"lapsedNomination": bea}))).contains(by_mia));
    // After a relapse everybody who may lead may claim, and clears what was said before.
    assert_eq!(claims(&lena, json!({"lapsedLead": lena, "lapsedNomination": bea})), Ruling::Allow);
}

#[test]
fn a_lead_hands_over_to_somebody_else_and_is_warned_of_an_unknown_name() {
    let old = incident(json!({}));
    let lena = caller("lena");
    let hands_to = |user: &str| {
        let new = incident(json!({"spec": {"roles": {"nominatedLead": {"user": user}}}}));
        let facts = facts(&lena);
        let change = Change { old: &old, new: &new, facts: &facts };
        (update(&change), warnings(&change))
    };
    assert_eq!(hands_to("bea"), (Ruling::Allow, Vec::new()));
    assert!(refusal(hands_to("lena").0).contains("handing it over to yourself changes nothing"));
    let (allowed, warned) = hands_to("zeo");
    assert_eq!(allowed, Ruling::Allow);
    assert_eq!(
        warned,
        ["no rotation here knows a user zeo, so Mayday cannot page them: check the name, and call them \
          (kubectl mayday who -n shop)"]
    );
}

#[test]
fn a_lead_from_before_a_relapse_has_no_powers_until_claiming_again() {
    let lapsed = json!({"status": {"lapsedLead": {"user": "lena"}}});
    for spec in [json!({"severity": "SEV4"}), json!({"resolution": {"outcome": "FalseAlarm", "reason": "r"}})]
    {
        let patch = json!({"spec": spec});
        let message = quorum(ruling(Write { by: "lena", before: lapsed.clone(), patch, may_lead: true }));
        assert!(message.contains("is for a lead, whom nobody is yet"), "{message}");
    }
    let patch = json!({"spec": {"roles": {"nominatedLead": {"user": "bea"}}}});
    let message = refusal(ruling(Write { by: "lena", before: lapsed, patch, may_lead: true }));
    assert!(message.contains("and nobody leads yet: kubectl mayday lead -n shop"), "{message}");
}

#[test]
fn an_outage_began_at_the_latest_when_it_was_found() {
    let before =
        json!({"status": {"detectedTime": "2026-11-22T02:04:30Z", "startTime": "2026-11-22T02:04:10Z"}});
    let moved = |to: &str| {
        let patch = json!({"spec": {"startTime": to}});
        ruling(Write { by: "lena", before: before.clone(), patch, may_lead: true })
    };
    assert_eq!(moved("2026-11-22T02:04:30Z"), Ruling::Allow);
    assert!(
        refusal(moved("2026-11-22T02:04:31Z"))
            .contains("was found at 2026-11-22 02:04:30 UTC, so it began at that")
    );
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
