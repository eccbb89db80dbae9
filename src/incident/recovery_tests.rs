use super::*;
use crate::api::conditions::{ConditionType, is_true};
use crate::incident::conditions;
use crate::incident::facts::IncidentFacts;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn incident(spec: Value) -> Incident {
    let mut whole = json!({"title": "t", "severity": "SEV2"});
    json_patch::merge(&mut whole, &spec);
    Incident::new("i", serde_json::from_value(whole).unwrap())
}

fn with(result: CheckResult) -> IncidentStatus {
    let mut status = IncidentStatus::default();
    check(&mut status, result);
    status
}

fn check(status: &mut IncidentStatus, result: CheckResult) {
    let mut check: Value = json!({"name": "c", "message": "", "sinceTime": "1970-01-01T00:00:00Z"});
    check["result"] = serde_json::to_value(result).unwrap();
    status.checks = vec![serde_json::from_value(check).unwrap()];
}

fn step(incident: &Incident, status: &mut IncidentStatus, second: i64) -> IncidentState {
    reopen(incident, status, at(second));
    advance(incident, status, SignedDuration::from_secs(30), at(0), at(second));
    state(incident, status, false)
}

#[test]
fn time_without_observation_proves_nothing() {
    let incident = incident(json!({"detection": {"method": "Alert"}}));
    let mut status = with(CheckResult::Passing);
    step(&incident, &mut status, 10);
    let mut looks = |second| {
        let wake = advance(&incident, &mut status, SignedDuration::from_secs(30), at(1000), at(second));
        (wake, state(&incident, &status, false))
    };
    assert_eq!(looks(1000), (Some(at(1030)), IncidentState::Monitoring), "another process looks now");
    assert_eq!(looks(1030).1, IncidentState::Resolved);
}

#[test]
fn a_look_outside_that_is_inconclusive_has_noticed_nothing() {
    let with_check = |member: Value| {
        let mut check = json!({"name": "c"});
        json_patch::merge(&mut check, &member);
        incident(json!({"returnToService": {"checks": [check]}}))
    };
    let outside = with_check(json!({"http": {"url": "http://a.example"}}));
    let rollout = with_check(
        json!({"rollout": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
    );
    for (incident, result, is_noticed) in [
        (&outside, CheckResult::Unknown, false),
        (&outside, CheckResult::Failing, true),
        (&rollout, CheckResult::Unknown, true),
    ] {
        let mut status = with(result);
        step(incident, &mut status, 10);
        assert_eq!(status.noticed_time.is_some(), is_noticed, "{result:?}");
    }
}

#[test]
fn a_resolution_as_restored_waits_for_the_proof() {
    let said = incident(json!({"resolution": {"outcome": "Restored"}}));
    let mut status = with(CheckResult::Failing);
    status.lead = Some(Stamped { user: "lena".into(), time: stored_time(at(0)) });
    assert_eq!(step(&said, &mut status, 5), IncidentState::Crisis, "it broke as she said so");
    check(&mut status, CheckResult::Passing);
    assert_eq!(step(&said, &mut status, 10), IncidentState::Monitoring);
    assert!(awaits_proof(&said, &status));
    assert_eq!(step(&said, &mut status, 40), IncidentState::Resolved);
    assert_eq!(status.resolved.unwrap().user, "lena");
}

#[test]
fn a_flapping_incident_does_not_resolve_by_itself_until_it_is_steady() {
    let incident = incident(json!({}));
    let mut status = with(CheckResult::Failing);
    for second in 1..=7 {
        let result = if second % 2 == 1 { CheckResult::Passing } else { CheckResult::Failing };
        check(&mut status, result);
        step(&incident, &mut status, second);
    }
    assert_eq!(step(&incident, &mut status, 37), IncidentState::Restored, "proved, and yet");
    conditions::lifecycle(&mut status, &IncidentFacts::default(), 1, at(37));
    assert!(is_true(&status.conditions, ConditionType::Flapping));
    let wake = advance(&incident, &mut status, SignedDuration::from_secs(30), at(0), at(38));
    assert_eq!(wake, Some(at(5 + 1800)));
    assert_eq!(step(&incident, &mut status, 5 + 1800), IncidentState::Resolved);
}

#[test]
fn only_proved_and_stable_health_returns_service() {
    let incident = incident(json!({}));
    let mut status = with(CheckResult::Unknown);
    assert_eq!(step(&incident, &mut status, 0), IncidentState::Open);
    check(&mut status, CheckResult::Passing);
    assert_eq!(step(&incident, &mut status, 10), IncidentState::Monitoring);
    check(&mut status, CheckResult::Failing);
    assert_eq!(step(&incident, &mut status, 20), IncidentState::Open, "a break starts the time anew");
    check(&mut status, CheckResult::Passing);
    assert_eq!(step(&incident, &mut status, 30), IncidentState::Monitoring);
    assert_eq!(step(&incident, &mut status, 59), IncidentState::Monitoring);
    assert_eq!(
        step(&incident, &mut status, 60),
        IncidentState::Resolved,
        "without a lead it resolves by itself"
    );
    assert_eq!(status.resolved.unwrap().user, "mayday");
}

#[test]
fn an_outage_that_only_a_person_has_noticed_does_not_end_by_itself() {
    let reported = incident(json!({}));
    let mut status = with(CheckResult::Passing);
    assert_eq!(step(&reported, &mut status, 0), IncidentState::Monitoring);
    assert_eq!(step(&reported, &mut status, 60), IncidentState::Restored);
    assert_eq!(step(&reported, &mut status, 9999), IncidentState::Restored, "a person must say so");
    let found = incident(json!({"detection": {"method": "Condition"}}));
    assert_eq!(step(&found, &mut status, 9999), IncidentState::Resolved);
}

#[test]
fn no_checks_prove_nothing() {
    let mut status = IncidentStatus::default();
    assert_eq!(step(&incident(json!({})), &mut status, 0), IncidentState::Open);
    assert_eq!(step(&incident(json!({})), &mut status, 9999), IncidentState::Open);
}

#[test]
fn an_incident_with_a_lead_waits_for_the_lead() {
    let mut status = with(CheckResult::Passing);
    status.lead = Some(Stamped { user: "lena".into(), time: stored_time(at(0)) });
    step(&incident(json!({})), &mut status, 0);
    assert_eq!(step(&incident(json!({})), &mut status, 60), IncidentState::Restored);
    let said = incident(json!({"resolution": {"outcome": "Restored"}}));
    assert_eq!(step(&said, &mut status, 70), IncidentState::Resolved);
    assert_eq!(status.resolved.unwrap().user, "lena");
}

#[test]
fn a_relapse_reopens_the_incident_and_voids_the_old_resolution() {
    let said = incident(json!({"resolution": {"outcome": "Unproved", "reason": "no probe"}}));
    let mut status = with(CheckResult::Failing);
    status.acknowledgement = Some(Stamped { user: "emil".into(), time: stored_time(at(5)) });
    status.escalation = Some(Default::default());
    assert_eq!(step(&said, &mut status, 10), IncidentState::Resolved);
    status.signals = vec![
        serde_json::from_value(
            json!({"sourceRef": {"name": "s"}, "id": "a", "name": "Down", "severity": "SEV2",
        "startTime": at(20).to_string(), "lastSeenTime": at(20).to_string()}),
        )
        .unwrap(),
    ];
    assert_eq!(step(&said, &mut status, 20), IncidentState::Open);
    assert_eq!(status.relapses, 1);
    let past = status.past_outages[0].clone();
    assert_eq!((past.end_time.0, status.out_since().unwrap().0), (at(10), at(20)));
    assert_eq!((&status.acknowledgement, &status.escalation), (&None, &None), "people are paged anew");
    assert_eq!(step(&said, &mut status, 30), IncidentState::Open);
    let again = incident(json!({"resolution": {"outcome": "Unproved", "reason": "still no probe"}}));
    assert_eq!(step(&again, &mut status, 40), IncidentState::Resolved, "said again, after the relapse");
    status.resolved = None;
    let in_the_same_words = incident(json!({"resolution":
        {"outcome": "Unproved", "reason": "no probe", "time": at(50).to_string()}}));
    assert_eq!(step(&in_the_same_words, &mut status, 60), IncidentState::Resolved);
}

#[test]
fn a_minor_incident_needs_no_review_and_a_false_alarm_is_a_state() {
    let small = incident(json!({"severity": "SEV3", "detection": {"method": "Alert"}}));
    let mut status = with(CheckResult::Passing);
    step(&small, &mut status, 0);
    assert_eq!(step(&small, &mut status, 60), IncidentState::Closed);
    let mut status = with(CheckResult::Failing);
    let alarm = incident(json!({"resolution": {"outcome": "FalseAlarm", "reason": "a test"}}));
    assert_eq!(step(&alarm, &mut status, 0), IncidentState::FalseAlarm);
}

#[test]
fn the_most_advanced_state_wins() {
    let plain = incident(json!({}));
    let mut status = IncidentStatus::default();
    assert_eq!(state(&plain, &status, true), IncidentState::Remediating);
    status.acknowledgement = Some(Stamped { user: "emil".into(), time: stored_time(at(0)) });
    assert_eq!(state(&plain, &status, false), IncidentState::Acknowledged);
    assert_eq!(state(&plain, &status, true), IncidentState::Remediating);
    status.lead = Some(Stamped { user: "lena".into(), time: stored_time(at(0)) });
    assert_eq!(state(&plain, &status, true), IncidentState::Crisis);
    status.healthy_since_time = Some(stored_time(at(0)));
    assert_eq!(state(&plain, &status, true), IncidentState::Monitoring);
}
