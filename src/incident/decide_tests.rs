use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const MINUTE: i64 = 60;

/// The time `seconds` before or after the decision.
fn at(seconds: i64) -> String {
    (now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

fn now() -> Timestamp {
    "2026-11-22T02:30:00Z".parse().unwrap()
}

fn objects<T: DeserializeOwned>(kind: &str, objects: Value) -> Vec<Arc<T>> {
    let with_kind = |mut object: Value| {
        json_patch::merge(&mut object, &json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind}));
        json_patch::merge(&mut object, &json!({"metadata": {"namespace": "shop"}}));
        Arc::new(serde_json::from_value(object).unwrap())
    };
    objects.as_array().unwrap().iter().cloned().map(with_kind).collect()
}

fn signal(start: i64, seen: i64, end: Option<i64>) -> Value {
    json!({"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown", "severity": "SEV2", "startTime": at(start),
        "lastSeenTime": at(seen), "endTime": end.map(at), "labels": {}})
}

/// An incident about checkout that was created 20 minutes ago, after a merge patch.
fn incident(patch: &Value) -> Value {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "i", "namespace": "shop", "uid": "i", "generation": 2,
            "creationTimestamp": at(-20 * MINUTE)},
        "spec": {"title": "checkout is down", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}],
            "detection": {"method": "Alert", "reporter": "am"}}});
    json_patch::merge(&mut whole, patch);
    whole
}

fn person(name: &str) -> Value {
    json!({"name": name, "user": name, "contacts": [{"channelRef": {"name": "hook"}, "address": name}]})
}

fn rotation(name: &str, people: [&str; 2]) -> Value {
    json!({"metadata": {"name": name, "uid": name}, "spec": {"timeZone": "UTC",
        "people": people.map(person),
        "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
            "turns": [{"people": [people[0]]}]}],
        "escalation": {"levels": [{"notify": [{"onDuty": {}}], "wait": "5m"}]}}})
}

/// The facts of a namespace with these incidents and runs.
fn facts(incidents: Value, runs: Value, healthy: bool) -> IncidentFacts {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": at(-60 * MINUTE)});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let available = if healthy { 2 } else { 0 };
    let workload = json!({"metadata": {"name": "checkout", "generation": 1}, "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available}});
    let request = json!({"metadata": {"name": "c"}, "spec": {"reason": "r", "changes": []},
        "status": {"plan": [{"target": target, "namespace": "shop", "operation": "UPDATE", "summary": "two replicas"}],
            "used": [{"change": 0, "by": "bea", "time": at(-25 * MINUTE), "uid": "u", "digest": "d"}]}});
    IncidentFacts {
        observed_since: Timestamp::UNIX_EPOCH,
        policies: objects(
            "ChangePolicy",
            json!([{"metadata": {"name": "p"}, "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                "automation": {"start": "Automatic", "approval": "Standing"}}}]),
        ),
        services: objects(
            "BusinessService",
            json!([{"metadata": {"name": "checkout", "uid": "checkout"}, "spec": {"title": "Checkout",
                "objects": [target], "publicSummary": "Checkout may fail",
                "rotations": {"onCall": {"name": "payments"}, "lead": {"name": "leads"}},
                "stakeholders": [{"audience": "Internal", "channelRef": {"name": "hook"}}]}}]),
        ),
        sources: objects(
            "AlertSource",
            json!([{"metadata": {"name": "am"}, "spec": {"alertmanager": {}, "severity": {"fixed": "SEV2"},
                "service": {"byObject": {}}}}]),
        ),
        incidents: objects("Incident", incidents),
        rotations: objects(
            "OnCallRotation",
            json!([rotation("payments", ["emil", "bea"]), rotation("leads", ["lena", "max"])]),
        ),
        channels: objects("NotificationChannel", json!([{"metadata": {"name": "hook"}, "spec": {}}])),
        runbooks: objects(
            "Runbook",
            json!([{"metadata": {"name": "restart", "uid": "restart", "generation": 1},
                "spec": {"summary": "s", "serviceAccountName": "sa", "start": "Automatic", "approval": "Standing",
                    "match": [{"alertName": "CheckoutDown"}], "steps": [{"name": "r", "restart": {"target": target}}]},
                "status": {"observedGeneration": 1, "digest": "d", "approvedDigest": "d",
                    "conditions": [condition("Ready"), condition("Approved")]}}]),
        ),
        runs: objects("RunbookRun", runs),
        requests: objects("ChangeRequest", json!([request])),
        workloads: [("apps/Deployment/checkout".to_owned(), workload)].into(),
        ..IncidentFacts::default()
    }
}

/// Incidents of which each brings some of the phases to work.
fn scenarios() -> Vec<(Incident, IncidentFacts)> {
    let lead = json!({"user": "lena", "time": at(-10 * MINUTE)});
    let firing = signal(-21 * MINUTE, 0, None);
    let cleared = signal(-21 * MINUTE, -9 * MINUTE, Some(-9 * MINUTE));
    let checked = json!([{"name": "alerts", "result": "Passing", "message": "", "sinceTime": at(-9 * MINUTE)},
        {"name": "rollout-0", "result": "Passing", "message": "", "sinceTime": at(-9 * MINUTE)}]);
    let healthy = json!({"state": "Monitoring", "healthySinceTime": at(-9 * MINUTE), "noticedTime": at(-20 * MINUTE),
        "checks": checked, "signals": [cleared], "announcedSeverity": "SEV3"});
    let younger =
        incident(&json!({"metadata": {"name": "j", "uid": "j", "creationTimestamp": at(-10 * MINUTE)},
        "spec": {"severity": "SEV1", "startTime": at(-30 * MINUTE)}, "status": {"signals": [firing]}}));
    let mut taken_over = younger.clone();
    json_patch::merge(&mut taken_over, &json!({"spec": {"severity": "SEV2", "startTime": at(-15 * MINUTE)}}));
    let holder =
        incident(&json!({"metadata": {"name": "h", "uid": "h", "creationTimestamp": at(-30 * MINUTE)},
        "status": {"duplicates": [{"name": "i", "uid": "i"}]}}));
    let earlier = incident(
        &json!({"metadata": {"name": "e", "uid": "e", "creationTimestamp": at(-300 * MINUTE)},
        "status": {"state": "Closed", "resolved": {"user": "mayday", "time": at(-200 * MINUTE)}, "signals": [firing]}}),
    );
    let alarm =
        incident(&json!({"metadata": {"name": "a", "uid": "a", "creationTimestamp": at(-300 * MINUTE)},
        "status": {"state": "FalseAlarm", "signals": [firing],
            "service": {"ref": {"name": "checkout", "uid": "checkout"}, "title": "Checkout"}}}));
    let failed = json!({"metadata": {"name": "r", "uid": "r"}, "spec": {"runbookRef": {"name": "other"},
        "incidentRef": {"name": "i"}}, "status": {"state": "Unknown"}});
    let working = json!({"metadata": {"name": "w", "uid": "w"}, "spec": {"runbookRef": {"name": "other"},
        "incidentRef": {"name": "i"}}, "status": {"state": "Running", "startTime": at(-MINUTE)}});
    let resolved = json!({"state": "Resolved", "resolved": {"user": "mayday", "time": at(-5 * MINUTE)},
        "restoredTime": at(-5 * MINUTE), "healthySinceTime": at(-9 * MINUTE), "checks": checked,
        "startTime": at(-21 * MINUTE), "detectedTime": at(-20 * MINUTE), "lead": lead});
    let mut returned = resolved.clone();
    returned["signals"] = json!([firing]);

    let mut scenarios = Vec::new();
    let mut add = |patch: Value, others: &[&Value], runs: &[&Value], healthy: bool| {
        let whole = incident(&patch);
        let mut incidents: Vec<&Value> = vec![&whole];
        incidents.extend(others);
        let facts = facts(json!(incidents), json!(runs), healthy);
        scenarios.push((serde_json::from_value(whole).unwrap(), facts));
    };
    // New, with a signal, and with what people have written meanwhile.
    add(json!({"status": {"signals": [firing]}}), &[], &[], false);
    add(json!({"spec": {"roles": {"lead": lead}}, "status": {"signals": [firing]}}), &[&earlier], &[], false);
    // Declared while a signal fires on since a false alarm.
    add(json!({}), &[&alarm], &[], true);
    // Led, handed over, with runs that fail or work; the severity was lowered.
    add(
        json!({"spec": {"roles": {"lead": lead, "nominatedLead": {"user": "emil"}}},
            "status": {"state": "Acknowledged", "signals": [firing], "announcedSeverity": "SEV1"}}),
        &[],
        &[&failed],
        false,
    );
    add(json!({"status": {"state": "Open", "signals": [firing]}}), &[], &[&working], false);
    add(json!({"status": {"state": "Open", "signals": [firing]}}), &[], &[&failed], false);
    // The checks have passed for long enough: without a lead it resolves, with one it waits.
    add(json!({"status": healthy}), &[], &[], true);
    add(json!({"status": healthy}), &[], &[&failed], true);
    add(json!({"spec": {"roles": {"lead": lead}}, "status": healthy}), &[], &[&failed], true);
    // A check fails again.
    add(json!({"status": healthy}), &[], &[], false);
    // Over, and back again.
    add(json!({"status": resolved}), &[], &[&failed], false);
    add(json!({"spec": {"roles": {"lead": lead}}, "status": returned}), &[&earlier], &[], false);
    // The older of two, before and after its spec has taken over what the younger says; and the younger.
    add(json!({}), &[&younger], &[], false);
    add(json!({}), &[&taken_over], &[], false);
    add(json!({"spec": {"startTime": at(-30 * MINUTE)}, "status": resolved}), &[&taken_over], &[], false);
    add(
        json!({"spec": {"severity": "SEV1", "startTime": at(-30 * MINUTE), "acknowledgement": {"user": "emil"}},
            "status": {"pagedSeverity": "SEV2"}}),
        &[&younger],
        &[],
        false,
    );
    add(json!({"status": {"signals": [firing]}}), &[&holder], &[], false);
    scenarios
}

/// The plan by these phases; entries of the timeline that are written at once have no order of their own.
fn planned(phases: &[&Phase], incident: &Incident, facts: &IncidentFacts) -> String {
    let is_original = duplicates::original(incident, facts).is_none();
    let scope = Scope { incident, facts, now: now(), is_original };
    let mut plan = Plan { status: incident.status.clone().unwrap_or_default(), ..Plan::default() };
    for phase in phases {
        (phase.run)(&scope, &mut plan);
    }
    plan.status.timeline.sort_by_key(|entry| (entry.time.0, entry.what.clone()));
    format!("{plan:?}")
}

/// Whether the phases plan the same in this order as in their own, in every scenario.
fn plans_the_same(order: &[&Phase]) -> bool {
    static EXPECTED: LazyLock<Vec<(Incident, IncidentFacts, String)>> = LazyLock::new(|| {
        let order: Vec<&Phase> = PHASES.iter().collect();
        let with_plan = |(incident, facts)| {
            let plan = planned(&order, &incident, &facts);
            (incident, facts, plan)
        };
        scenarios().into_iter().map(with_plan).collect()
    });
    EXPECTED.iter().all(|(incident, facts, plan)| planned(order, incident, facts) == *plan)
}

#[test]
fn every_named_dependency_of_a_phase_is_real() {
    let order: Vec<&Phase> = PHASES.iter().collect();
    let mut idle = Vec::new();
    for (index, phase) in order.iter().enumerate() {
        for name in phase.after {
            let mut early = order.clone();
            let moved = early.remove(index);
            early.insert(order.iter().position(|earlier| earlier.name == *name).unwrap(), moved);
            if plans_the_same(&early) {
                idle.push(format!("{} after {name}", phase.name));
            }
        }
    }
    assert_eq!(idle, Vec::<String>::new());
}

#[test]
fn neighbouring_phases_commute_unless_one_names_the_other() {
    let order: Vec<&Phase> = PHASES.iter().collect();
    let mut tied = Vec::new();
    for index in 1..order.len() {
        let mut swapped = order.clone();
        swapped.swap(index - 1, index);
        let is_named = order[index].after.contains(&order[index - 1].name);
        if !is_named && !plans_the_same(&swapped) {
            tied.push(format!("{} after {}", order[index].name, order[index - 1].name));
        }
    }
    assert_eq!(tied, Vec::<String>::new());
}

#[test]
fn decisions_settle_once_their_plan_is_carried_out() {
    for (mut incident, mut facts) in scenarios() {
        let mut before = None;
        for _ in 0..4 {
            let plan = decide(&incident, &facts, now());
            let status = format!("{:?}", plan.status);
            if before.replace(status.clone()) == Some(status) {
                before = None;
                break;
            }
            let mut written = serde_json::to_value(plan.applied_to(&incident)).unwrap();
            json_patch::merge(&mut written, &plan.takeover.unwrap_or_else(|| json!({})));
            incident = serde_json::from_value(written).unwrap();
            facts.runs.extend(plan.start.into_iter().map(Arc::new));
            facts.incidents.retain(|known| known.uid() != incident.uid());
            facts.incidents.push(Arc::new(incident.clone()));
        }
        assert_eq!(before, None, "{} goes on", incident.spec.title);
    }
}

#[test]
fn a_report_that_no_check_sees_waits_for_the_answer_of_a_person() {
    let detection = json!({"method": "Customer", "reporter": "support ticket 4711"});
    let mut incident: Incident = serde_json::from_value(incident(
        &json!({"spec": {"detection": detection, "acknowledgement": {"user": "emil"},
            "returnToService": {"stableFor": "30s"}}}),
    ))
    .unwrap();
    let mut facts = facts(json!([incident]), json!([]), true);
    let step = |incident: &mut Incident, facts: &IncidentFacts, seconds: i64| {
        let plan = decide(incident, facts, now() + jiff::SignedDuration::from_secs(seconds));
        incident.status = Some(plan.status.clone());
        plan.status
    };
    for seconds in [0, 9999] {
        let status = step(&mut incident, &facts, seconds);
        assert_eq!(status.state.map(|state| state.to_string()).as_deref(), Some("Acknowledged"));
        assert_eq!((&status.noticed_time, &status.restored_time), (&None, &None));
    }
    let next = incident.status.as_ref().unwrap().next.clone().unwrap();
    assert_eq!(next.command.as_deref(), Some("kubectl mayday answer -n shop inc/i reported confirm"));
    assert!(next.who == "emil" && next.what.starts_with("answer: Is the outage over"), "{next:?}");

    let digest = incident.status.as_ref().unwrap().checks.last().unwrap().digest.clone();
    facts.approvals = objects(
        "Approval",
        json!([{"metadata": {"name": "a", "creationTimestamp": at(10_000)}, "spec": {"digest": digest, "decision": "Confirm",
            "by": {"user": "emil"}, "subjectRef": {"kind": "Incident", "name": "i", "uid": "i", "check": "reported"}}}]),
    );
    assert_eq!(
        step(&mut incident, &facts, 10_001).state.map(|s| s.to_string()).as_deref(),
        Some("Monitoring")
    );
    let ended = step(&mut incident, &facts, 10_032);
    assert_eq!(ended.resolved.map(|by| by.user).as_deref(), Some("mayday"), "the person has said so");
}
