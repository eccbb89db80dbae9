use serde_json::{Value, json};

use super::*;
use crate::api::runbook_run::RunState;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn incident(change: Value) -> Incident {
    let mut value = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "checkout-x7k2p", "namespace": "shop", "uid": "incident-uid"},
        "spec": {"title": "checkout is down", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}]},
        "status": {"state": "Open", "signals": [signal(json!({}))]},
    });
    json_patch::merge(&mut value, &change);
    serde_json::from_value(value).unwrap()
}

fn signal(change: Value) -> Value {
    let mut value = json!({
        "sourceRef": {"name": "alertmanager"}, "id": "f", "name": "CheckoutDown", "severity": "SEV1",
        "startTime": now(), "lastSeenTime": now(), "labels": {"team": "pay"},
    });
    json_patch::merge(&mut value, &change);
    value
}

fn runbook(name: &str, change: Value) -> Arc<Runbook> {
    let mut value = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("{name}-uid"), "generation": 1},
        "spec": {"summary": "s", "serviceAccountName": "sa", "start": "Automatic", "approval": "Standing",
            "match": [{"alertName": "CheckoutDown"}],
            "steps": [{"name": "r", "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}]},
        "status": {"observedGeneration": 1, "digest": "d", "approvedDigest": "d",
            "conditions": [condition("Ready", "True", ""), condition("Approved", "True", "")]},
    });
    json_patch::merge(&mut value, &change);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": now()})
}

fn policy(automation: Value) -> Arc<ChangePolicy> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "production"},
            "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "automation": automation},
        }))
        .unwrap(),
    )
}

fn matched(incident: &Incident, runbooks: &[Arc<Runbook>], runs: &[Arc<RunbookRun>]) -> Matching {
    let policies = [policy(json!({"start": "Automatic", "approval": "Standing"}))];
    decide(&MatchFacts { incident, incidents: &[], runbooks, runs, policies: &policies, freezes: &[] }, now())
}

fn blocked(incident: &Incident, runbook: Arc<Runbook>) -> Option<String> {
    let decided = matched(incident, &[runbook], &[]);
    assert_eq!(decided.start.is_empty(), decided.runbooks[0].blocked.is_some());
    decided.runbooks[0].blocked.clone()
}

#[test]
fn an_approved_runbook_that_matches_starts_once_an_episode_by_name() {
    let incident = incident(json!({}));
    let runbooks = [runbook("restart", json!({}))];
    let first = matched(&incident, &runbooks, &[]);
    assert_eq!(first.start.len(), 1);
    let run = &first.start[0];
    assert_eq!(run.name_any(), run_name("restart", "restart-uid", "incident-uid", 0));
    assert_eq!(run.spec.incident_ref.as_ref().unwrap().name, "checkout-x7k2p");

    let again = matched(&incident, &runbooks, &[Arc::new(run.clone())]);
    assert_eq!(again.start, []);
    assert_eq!(again.runbooks[0].blocked, None);
}

#[test]
fn a_run_that_somebody_deleted_is_not_repeated() {
    let name = run_name("restart", "restart-uid", "incident-uid", 0);
    let incident = incident(json!({"status": {"runs": [{"name": name}]}}));
    let decided = matched(&incident, &[runbook("restart", json!({}))], &[]);
    assert_eq!(decided.start, []);
    assert!(decided.runbooks[0].blocked.as_ref().unwrap().contains("has run"));
}

#[test]
fn a_relapse_is_another_episode() {
    let once = run_name("restart", "restart-uid", "incident-uid", 0);
    let relapsed = incident(json!({"status": {"relapses": 1, "runs": [{"name": once}]}}));
    assert_eq!(matched(&relapsed, &[runbook("restart", json!({}))], &[]).start.len(), 1);
}

#[test]
fn every_part_of_an_entry_must_hold_of_one_firing_signal() {
    let matches = |symptom: Value, incident: &Incident| {
        let runbook = runbook("restart", json!({"spec": {"match": [symptom]}}));
        !matched(incident, &[runbook], &[]).runbooks.is_empty()
    };
    let plain = incident(json!({}));
    assert!(matches(
        json!({"alertName": "CheckoutDown", "labels": {"team": "pay"}, "severities": ["SEV2"]}),
        &plain
    ));
    assert!(matches(json!({"serviceRef": {"name": "checkout"}}), &plain));
    assert!(matches(json!({"sourceRef": {"name": "alertmanager"}}), &plain));
    assert!(!matches(json!({"alertName": "checkoutdown"}), &plain), "byte for byte");
    assert!(!matches(json!({"alertName": "CheckoutDown", "labels": {"team": "other"}}), &plain));
    assert!(
        !matches(json!({"alertName": "CheckoutDown", "severities": ["SEV1"]}), &plain),
        "of the incident"
    );
    assert!(!matches(json!({"serviceRef": {"name": "other"}}), &plain));

    let two = incident(
        json!({"status": {"signals": [signal(json!({"labels": {"team": null}})), signal(json!({"name": "Other"}))]}}),
    );
    assert!(!matches(json!({"alertName": "CheckoutDown", "labels": {"team": "pay"}}), &two), "of one signal");
    let cleared = incident(json!({"status": {"signals": [signal(json!({"endTime": now()}))]}}));
    assert!(!matches(json!({"alertName": "CheckoutDown"}), &cleared));
}

#[test]
fn a_hostile_label_is_only_compared() {
    let hostile = "\"} or vector(1) #`$(id){{.}}\n";
    let incident = incident(json!({"status": {"signals": [signal(json!({"labels": {"team": hostile}}))]}}));
    let runbook = runbook("restart", json!({"spec": {"match": [{"labels": {"team": "pay"}}]}}));
    assert!(matched(&incident, &[runbook], &[]).runbooks.is_empty());
}

#[test]
fn the_most_specific_runbook_starts_and_the_others_say_why_not() {
    let general = runbook("a-general", json!({"spec": {"match": [{"serviceRef": {"name": "checkout"}}]}}));
    let exact = runbook(
        "b-exact",
        json!({"spec": {"match": [{"alertName": "CheckoutDown", "labels": {"team": "pay"}}]}}),
    );
    let decided = matched(&incident(json!({})), &[general, exact], &[]);
    assert_eq!(decided.start.len(), 1);
    assert_eq!(decided.start[0].spec.runbook_ref.name, "b-exact");
    assert_eq!(decided.runbooks[0].name, "b-exact");
    let why = decided.runbooks[1].blocked.as_ref().unwrap();
    assert!(
        why.contains("b-exact answers this incident") && why.contains("kubectl mayday run -n shop a-general"),
        "{why}"
    );
}

#[test]
fn an_incident_that_becomes_worse_starts_no_second_runbook() {
    let small = runbook("a-small", json!({"spec": {"match": [{"severities": ["SEV3"]}]}}));
    let large = runbook("b-large", json!({"spec": {"match": [{"severities": ["SEV1"]}]}}));
    let before = incident(json!({"spec": {"severity": "SEV3"}}));
    let mut run = matched(&before, &[Arc::clone(&small), Arc::clone(&large)], &[]).start.remove(0);
    assert_eq!(run.spec.runbook_ref.name, "a-small");
    let snapshot = json!({"snapshot": {"uid": "a-small-uid", "digest": "d", "spec": {}}});
    run.status = serde_json::from_value(snapshot).unwrap();
    let (run, worse) = (Arc::new(run), incident(json!({"spec": {"severity": "SEV1"}})));
    for runbooks in [&[small, Arc::clone(&large)][..], &[large][..]] {
        let decided = matched(&worse, runbooks, std::slice::from_ref(&run));
        assert_eq!(decided.start, []);
        let why = decided.runbooks[0].blocked.as_ref().unwrap();
        assert!(why.starts_with("a-small answers this incident"), "{why}");
    }
}

#[test]
fn an_unusable_runbook_does_not_keep_another_from_starting() {
    let suspended = runbook(
        "a",
        json!({"spec": {"suspend": true, "match": [{"alertName": "CheckoutDown", "labels": {"team": "pay"}}]}}),
    );
    let decided = matched(&incident(json!({})), &[suspended, runbook("b", json!({}))], &[]);
    assert_eq!(decided.start[0].spec.runbook_ref.name, "b");
}

#[test]
fn an_unapproved_runbook_does_not_start_and_says_who_is_missing() {
    let plain = incident(json!({}));
    let missing = json!({"status": {"conditions": [condition("Ready", "True", ""), condition("Approved", "False", "one more of shop-approvers")]}});
    assert!(blocked(&plain, runbook("r", missing)).unwrap().contains("one more of shop-approvers"));
    let edited = json!({"metadata": {"generation": 2}});
    assert!(blocked(&plain, runbook("r", edited)).unwrap().contains("changed a moment ago"));
    let other_digest = json!({"status": {"digest": "e"}});
    assert!(
        blocked(&plain, runbook("r", other_digest)).unwrap().contains("kubectl mayday approve -n shop rb/r")
    );
    let not_ready = json!({"status": {"conditions": [condition("Ready", "False", "no ServiceAccount"), condition("Approved", "True", "")]}});
    assert!(blocked(&plain, runbook("r", not_ready)).unwrap().contains("no ServiceAccount"));
    let unseen = json!({"status": null});
    assert!(blocked(&plain, runbook("r", unseen)).is_some());
}

#[test]
fn policy_and_suspension_and_health_hold_it_back() {
    let plain = incident(json!({}));
    assert!(blocked(&plain, runbook("r", json!({"spec": {"suspend": true}}))).unwrap().contains("suspended"));
    let healthy = incident(json!({"status": {"conditions": [condition("Mitigated", "True", "")]}}));
    assert!(blocked(&healthy, runbook("r", json!({}))).unwrap().contains("passes already"));
    let over = incident(json!({"status": {"state": "Resolved"}}));
    assert!(blocked(&over, runbook("r", json!({}))).unwrap().contains("over"));
    for automation in [json!({}), json!({"start": "Manual"})] {
        let policies = [policy(automation)];
        let runbooks = [runbook("r", json!({}))];
        let decided = decide(
            &MatchFacts {
                incidents: &[],
                incident: &plain,
                runbooks: &runbooks,
                runs: &[],
                policies: &policies,
                freezes: &[],
            },
            now(),
        );
        assert_eq!(decided.start, []);
        assert!(decided.runbooks[0].blocked.as_ref().unwrap().contains("cpol/production"));
    }
}

#[test]
fn a_manual_runbook_is_shown_and_never_started() {
    let decided = matched(&incident(json!({})), &[runbook("r", json!({"spec": {"start": "Manual"}}))], &[]);
    assert_eq!(decided.start, []);
    assert!(!decided.runbooks[0].automatic);
    assert_eq!(decided.runbooks[0].blocked, None);
}

#[test]
fn a_cooldown_holds_it_back_until_it_ends() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let earlier =
        json!({"name": "r-earlier", "uid": "earlier", "startTime": at(NOW - 50), "endTime": at(NOW - 20)});
    let limited = json!({"spec": {"limits": {"cooldown": "1m"}}, "status": {"recentRuns": [earlier]}});
    let decided = matched(&incident(json!({})), &[runbook("r", limited)], &[]);
    assert_eq!(decided.start, []);
    assert_eq!(decided.wake, Some(at(NOW + 40)));
}

#[test]
fn a_freeze_of_automation_is_named_and_ends_by_itself() {
    let until = Timestamp::from_second(NOW + 3600).unwrap();
    let freeze = |stops: Value| {
        let spec =
            json!({"policyRef": {"name": "production"}, "stops": stops, "reason": "sale", "endTime": until});
        [Arc::new(Freeze::new("sale", serde_json::from_value(spec).unwrap()))]
    };
    let policies = [policy(json!({"start": "Automatic", "approval": "Standing"}))];
    let incident = incident(json!({}));
    let under = |freezes: &[Arc<Freeze>], start: &str| {
        let runbooks = [runbook("restart", json!({"spec": {"start": start}}))];
        let facts = MatchFacts {
            incident: &incident,
            incidents: &[],
            runbooks: &runbooks,
            runs: &[],
            policies: &policies,
            freezes,
        };
        decide(&facts, now())
    };
    let held = under(&freeze(json!(["Changes", "Automation"])), "Automatic");
    assert_eq!((held.start.len(), held.wake), (0, Some(until)));
    let why = held.runbooks[0].blocked.clone().unwrap();
    assert!(why.starts_with("frz/sale stops automation under cpol/production until "), "{why}");
    assert!(
        why.ends_with("; by hand: kubectl mayday run -n shop restart --incident checkout-x7k2p"),
        "{why}"
    );
    assert_eq!(under(&freeze(json!(["Automation"])), "Manual").runbooks[0].blocked, None);
    assert_eq!(under(&freeze(json!(["Changes"])), "Automatic").start.len(), 1);
}

#[test]
fn the_rungs_of_a_ladder_begin_one_after_the_other() {
    let incident = incident(json!({}));
    let rung =
        |name: &str, order: i64| runbook(name, json!({"spec": {"order": order, "verify": {"window": "1m"}}}));
    // The most specific of all is not part of the ladder, and the ladder comes first.
    let other =
        runbook("other", json!({"spec": {"match": [{"alertName": "CheckoutDown", "severities": ["SEV2"]}]}}));
    let books = [other, rung("second", 20), rung("first", 10)];
    let begun = matched(&incident, &books, &[]);
    assert_eq!(begun.start.iter().map(|run| &run.spec.runbook_ref.name).collect::<Vec<_>>(), ["first"]);
    let why = |decided: &Matching, name: &str| {
        decided.runbooks.iter().find(|found| found.name == name).unwrap().blocked.clone().unwrap_or_default()
    };
    assert!(why(&begun, "second").starts_with("first comes first, and this begins if that does not help"));
    assert!(why(&begun, "other").starts_with("first answers this incident"), "{}", why(&begun, "other"));

    let run = |state: &str, second: i64| {
        let mut run = begun.start[0].clone();
        let time = Timestamp::from_second(NOW - second).unwrap();
        run.metadata.creation_timestamp = Some(crate::api::common::stored_time(time));
        run.status =
            serde_json::from_value(json!({"state": state, "startTime": time, "endTime": time})).unwrap();
        Arc::new(run)
    };
    let at_work = matched(&incident, &books, &[run("Running", 99)]);
    assert_eq!((at_work.start.len(), why(&at_work, "first")), (0, String::new()));
    let proves = matched(&incident, &books, &[run("Succeeded", 59)]);
    assert_eq!((proves.start, proves.wake), (Vec::new(), Some(Timestamp::from_second(NOW + 1).unwrap())));
    let failed = matched(&incident, &books, &[run("Failed", 1)]);
    assert_eq!(failed.start[0].spec.runbook_ref.name, "second");
    assert_eq!(failed.exhausted, None);

    let ended = |found: &Matching| {
        let mut second = found.start[0].clone();
        second.status = serde_json::from_value(json!({"state": "Failed", "endTime": now()})).unwrap();
        [run("Failed", 1), Arc::new(second)]
    };
    let over = matched(&incident, &books, &ended(&failed));
    assert_eq!((over.start.len(), over.exhausted.as_deref()), (0, Some("first failed; second failed")));
}

#[test]
fn a_rung_waits_while_a_runbook_that_no_longer_matches_is_at_work() {
    let incident = incident(json!({}));
    let mut edited = runbook("edited", json!({"spec": {"order": 1}}));
    let mut run = matched(&incident, &[edited.clone()], &[]).start.remove(0);
    Arc::make_mut(&mut edited).spec.matches.clear();
    let snapshot = json!({"uid": "edited-uid", "digest": "d", "spec": {}});
    run.status =
        serde_json::from_value(json!({"state": "Running", "startTime": now(), "snapshot": snapshot}))
            .unwrap();
    let books = [edited, runbook("second", json!({"spec": {"order": 2}}))];
    assert_eq!(matched(&incident, &books, &[Arc::new(run.clone())]).start, []);
    run.status.as_mut().unwrap().state = Some(RunState::Failed);
    assert_eq!(matched(&incident, &books, &[Arc::new(run)]).start.len(), 1);
}
