use serde_json::{Value, from_value, json};

use super::*;

fn freeze(edit: Value) -> Freeze {
    let mut spec = json!({"policyRef": {"name": "production"}, "stops": ["Changes", "Automation"], "reason": "year-end\nclosing",
        "startTime": "2026-12-20T00:00:00Z", "endTime": "2027-01-02T00:00:00Z"});
    json_patch::merge(&mut spec, &edit);
    let mut freeze = Freeze::new("year-end", from_value(spec).unwrap());
    freeze.metadata.generation = Some(4);
    freeze
}

fn weekend() -> Freeze {
    freeze(
        json!({"startTime": null, "endTime": null, "stops": ["Automation"], "schedule": {"timeZone": "Europe/Berlin",
        "from": {"day": "Fri", "time": "16:00"}, "until": {"day": "Mon", "time": "08:00"}}}),
    )
}

fn policy(edit: Value) -> ChangePolicy {
    let mut spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "incident": {"leads": {"groups": ["leads"]}}});
    json_patch::merge(&mut spec, &edit);
    ChangePolicy::new("production", from_value(spec).unwrap())
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn decided(freeze: &Freeze, now: &str) -> Decided {
    decide(freeze, Some(&policy(json!({}))), at(now))
}

/// Status, reason and message of a condition.
fn said(decided: &Decided, kind: &str) -> (String, String, String) {
    let found = decided.status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().clone();
    (found.status, found.reason, found.message)
}

/// Reasons of the Events, while time goes on.
fn events(freeze: &mut Freeze, now: &str) -> Vec<&'static str> {
    let decided = decided(freeze, now);
    freeze.status = Some(decided.status);
    decided.events.into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn a_freeze_in_force_says_what_it_stops_and_how_it_is_lifted() {
    let now = decided(&freeze(json!({})), "2026-12-24T12:00:00Z");
    let (status, reason, message) = said(&now, "Active");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Active"));
    assert_eq!(
        message,
        "changes need a lead and a peer, and nothing starts by itself in shop (cpol/production) until 2027-01-02 \
         00:00:00 UTC: year-end closing. Lift it: kubectl mayday unfreeze year-end"
    );
    assert_eq!(said(&now, "Ready").2, "accepted");
    assert_eq!(now.status.stops.as_deref(), Some("Changes, Automation"));
    assert_eq!(now.status.until_time.unwrap().0, at("2027-01-02T00:00:00Z"));
    assert_eq!((now.status.observed_generation, now.status.next_start_time), (4, None));
    assert_eq!(now.wake, Some(at("2027-01-02T00:00:00Z")), "exactly at its end");
}

#[test]
fn a_freeze_is_announced_a_day_ahead_and_its_ends_are_told_once() {
    let mut freeze = freeze(json!({}));
    assert_eq!(decided(&freeze, "2026-12-01T00:00:00Z").wake, Some(at("2026-12-19T00:00:00Z")));
    let said = [
        ("2026-12-18T23:59:59Z", vec![]),
        ("2026-12-19T00:00:00Z", vec!["FreezeAnnounced"]),
        ("2026-12-19T12:00:00Z", vec![]),
        ("2026-12-20T00:00:00Z", vec!["FreezeBegan"]),
        ("2026-12-24T00:00:00Z", vec![]),
        ("2027-01-02T00:00:00Z", vec!["FreezeEnded"]),
        ("2027-01-03T00:00:00Z", vec![]),
    ];
    for (now, expected) in said {
        assert_eq!(events(&mut freeze, now), expected, "{now}");
    }
    let over = decided(&freeze, "2027-01-03T00:00:00Z");
    assert_eq!(over.wake, None);
    assert_eq!(
        said_active(&over),
        ("False".into(), "Over".into(), "it ended at 2027-01-02 00:00:00 UTC".into())
    );
}

#[test]
fn a_start_with_a_fraction_of_a_second_is_announced_once() {
    let mut odd = freeze(json!({"startTime": "2026-12-20T00:00:00.5Z"}));
    assert_eq!(events(&mut odd, "2026-12-19T12:00:00Z"), ["FreezeAnnounced"]);
    assert_eq!(events(&mut odd, "2026-12-19T13:00:00Z"), Vec::<&str>::new());
}

fn said_active(decided: &Decided) -> (String, String, String) {
    said(decided, "Active")
}

#[test]
fn a_weekly_freeze_says_when_it_begins_and_ends_next() {
    let mut weekend = weekend();
    let before = decided(&weekend, "2026-11-25T12:00:00Z");
    let (status, reason, message) = said_active(&before);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Scheduled"));
    assert_eq!(
        message,
        "from 2026-11-27 15:00:00 UTC until 2026-11-30 07:00:00 UTC, nothing starts by itself in shop (cpol/production): \
         year-end closing"
    );
    assert_eq!(before.status.next_start_time.unwrap().0, at("2026-11-27T15:00:00Z"));
    assert_eq!(before.status.until_time.unwrap().0, at("2026-11-30T07:00:00Z"));
    let during = decided(&weekend, "2026-11-27T15:00:00Z");
    assert!(
        said_active(&during)
            .2
            .contains(" until 2026-11-30 07:00:00 UTC, and again from 2026-12-04 15:00:00 UTC: ")
    );
    assert_eq!(during.wake, Some(at("2026-11-30T07:00:00Z")));
    let weeks = [
        ("2026-11-26T15:00:00Z", vec!["FreezeAnnounced"]),
        ("2026-11-27T15:00:00Z", vec!["FreezeBegan"]),
        ("2026-11-30T07:00:00Z", vec!["FreezeEnded"]),
        ("2026-12-03T15:00:00Z", vec!["FreezeAnnounced"]),
        ("2026-12-04T15:00:00Z", vec!["FreezeBegan"]),
    ];
    for (now, expected) in weeks {
        assert_eq!(events(&mut weekend, now), expected, "{now}");
    }
}

#[test]
fn a_freeze_of_a_policy_that_does_not_exist_says_so() {
    let stray = decide(&freeze(json!({})), None, at("2026-12-24T12:00:00Z"));
    let (status, reason, message) = said(&stray, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotFound"));
    assert!(
        message.starts_with("spec.policyRef.name: there is no cpol/production, so it stops nothing"),
        "{message}"
    );
    assert_eq!(said_active(&stray).0, "False");
    assert_eq!(stray.events, []);
}

#[test]
fn a_freeze_whose_times_cannot_be_read_is_in_force_and_not_ready() {
    let odd = freeze(json!({"startTime": null, "endTime": null, "schedule": {"timeZone": "Europe/Atlantis",
        "from": {"day": "Fri", "time": "16:00"}, "until": {"day": "Mon", "time": "08:00"}}}));
    let odd = decided(&odd, "2026-12-24T12:00:00Z");
    let (status, reason, message) = said(&odd, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Invalid"));
    assert!(
        message.starts_with("spec.schedule.timeZone: ") && message.ends_with("it is in force"),
        "{message}"
    );
    assert_eq!(said_active(&odd).0, "True");
    assert_eq!((odd.status.until_time, odd.wake), (None, None));
}

#[test]
fn a_policy_under_which_a_freeze_does_little_is_named() {
    let ready = |edit: Value| {
        said(&decide(&freeze(json!({})), Some(&policy(edit)), at("2026-12-24T12:00:00Z")), "Ready").2
    };
    assert!(ready(json!({"enforcement": "Audit"})).contains("refuses nothing (enforcement: Audit)"));
    assert!(ready(json!({"incident": null})).contains("names no leads"));
}
