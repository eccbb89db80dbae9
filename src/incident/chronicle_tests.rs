use serde_json::{Value, json};

use super::*;

fn at(minute: u32) -> String {
    format!("2026-11-22T02:{minute:02}:00Z")
}

fn now() -> Timestamp {
    at(50).parse().unwrap()
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, patch: Value) -> Arc<K> {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": name, "namespace": "shop", "creationTimestamp": at(10)}});
    json_patch::merge(&mut whole, &patch);
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn target() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"})
}

fn incident(patch: Value) -> Incident {
    let mut whole = json!({"spec": {"title": "t", "severity": "SEV2", "affected": [target()]},
        "status": {"startTime": at(0)}});
    json_patch::merge(&mut whole, &patch);
    (*object::<Incident>("Incident", "i", whole)).clone()
}

fn run(name: &str, patch: Value) -> Arc<RunbookRun> {
    let mut whole = json!({"spec": {"runbookRef": {"name": "restart"}, "startedBy": {"user": "emil"}, "incidentRef": {"name": "i"}}});
    json_patch::merge(&mut whole, &patch);
    object("RunbookRun", name, whole)
}

fn request(name: &str, patch: Value) -> Arc<ChangeRequest> {
    let change = json!({"target": target(), "scale": {"replicas": 3}});
    let mut whole = json!({"spec": {"reason": "more", "requester": {"user": "emil"}, "changes": [change]}});
    json_patch::merge(&mut whole, &patch);
    object("ChangeRequest", name, whole)
}

fn notification(name: &str, patch: Value) -> Arc<Notification> {
    let mut whole = json!({"spec": {"about": "inc/i", "subjectRef": {"kind": "Incident", "name": "i", "uid": "i"},
        "purpose": "Page", "recipient": {"name": "emil", "user": "emil"}, "channelRef": {"name": "hook"},
        "text": "Since 02:00", "key": "k", "createdTime": at(1)}});
    json_patch::merge(&mut whole, &patch);
    object("Notification", name, whole)
}

/// The timeline as `MINUTE who: what`, after it was written twice.
fn told(incident: &Incident, facts: &IncidentFacts) -> Vec<String> {
    let mut status = incident.status.clone().unwrap();
    add(incident, facts, &mut status, now());
    let once = status.clone();
    add(incident, facts, &mut status, now());
    assert_eq!(status, once, "each is told once");
    let line = |entry: &crate::api::incident_status::TimelineEntry| {
        format!("{} {}: {}", entry.time.0.strftime("%M"), entry.who, entry.what)
    };
    status.timeline.iter().map(line).collect()
}

#[test]
fn the_timeline_has_every_run_request_decision_change_and_update_once() {
    let decision = |uid: &str, by: &str, role: &str, minute| json!({"name": uid, "uid": uid, "by": by, "decision": "Approve", "role": role, "time": at(minute)});
    let plan = json!([{"operation": "Update", "resource": "deployments", "namespace": "shop", "summary": "replicas: 2 → 3",
        "target": target()}]);
    let facts = IncidentFacts {
        runs: vec![run(
            "restart-a",
            json!({"status": {"state": "Failed", "endTime": at(12), "decisions": [decision("a1", "bea", "peers", 11)],
                "conditions": [{"type": "Succeeded", "status": "False", "reason": "R", "message": "a precondition is false",
                    "lastTransitionTime": at(12)}],
                "steps": [{"name": "drain", "state": "Succeeded", "acts": [{"operationId": "o", "uid": "u",
                    "resourceVersion": "1", "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}, "outcome": "Settled",
                    "actor": "system:serviceaccount:shop:sa", "time": at(11)}]}]}}),
        )],
        requests: vec![request(
            "more",
            json!({"metadata": {"creationTimestamp": at(20)}, "status": {"state": "Spent", "plan": plan,
                "decisions": [decision("a2", "lena", "lead", 21), decision("a3", "amir", "peers", 22)],
                "used": [{"change": 0, "by": "emil", "time": at(23), "uid": "u", "digest": "d"}]}}),
        )],
        ..IncidentFacts::default()
    };
    let written = json!({"audience": "Internal", "text": "We are on it.", "by": {"user": "carl"}});
    let answered = json!([{"name": "payments", "result": "Passing", "message": "Do payments work? (emil confirms it)",
        "sinceTime": at(30), "answered": {"user": "emil", "time": at(31)}}]);
    let incident = incident(json!({"spec": {"updates": [written]}, "status": {"checks": answered}}));
    assert_eq!(
        told(&incident, &facts),
        [
            "10 emil: started runbook restart (run/restart-a)",
            "11 bea: approved run/restart-a",
            "11 system:serviceaccount:shop:sa: changed: drain of node/n by restart (run/restart-a)",
            "12 mayday: run/restart-a, acting as serviceaccount/sa, has failed: a precondition is false",
            "20 emil: asked for chg/more: more",
            "21 lena: approved chg/more as lead",
            "22 amir: approved chg/more",
            "23 emil: changed: replicas: 2 → 3 (chg/more)",
            "31 emil: answered payments: Do payments work? (emil confirms it)",
            "50 carl: wrote to stakeholders: We are on it.",
        ]
    );
}

#[test]
fn a_run_without_an_incident_belongs_to_the_open_one_about_its_object() {
    let snapshot = |name: &str| {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
        json!({"spec": {"incidentRef": null}, "status": {"snapshot": {"uid": "u", "digest": "d", "spec": {}},
            "steps": [{"name": "r", "state": "Pending", "targets": [target]}]}})
    };
    let early = json!({"metadata": {"creationTimestamp": "2026-11-22T01:59:00Z"}});
    let mut before = snapshot("checkout");
    json_patch::merge(&mut before, &early);
    let by_mayday = json!({"spec": {"startedBy": {"user": "system:serviceaccount:mayday-system:mayday"}}});
    let facts = IncidentFacts {
        runs: vec![
            run("checkout", snapshot("checkout")),
            run("basket", snapshot("basket")),
            run("before", before),
            run("other", json!({"spec": {"incidentRef": {"name": "other"}}})),
            run("auto", by_mayday),
        ],
        ..IncidentFacts::default()
    };
    let mut found = told(&incident(json!({})), &facts);
    found.sort();
    assert_eq!(
        found,
        ["10 emil: started runbook restart (run/checkout)", "10 mayday: started runbook restart (run/auto)"]
    );
    let listed = runbooks::runs(&incident(json!({})), &facts, &incident(json!({})).status.unwrap());
    let listed: Vec<String> = listed.into_iter().map(|run| run.name).collect();
    assert_eq!(listed, ["auto", "checkout"]);
}

#[test]
fn only_requests_about_the_outage_are_told() {
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "basket"});
    let about = |target: Value| json!({"spec": {"changes": [{"target": target, "scale": {"replicas": 3}}]}});
    let mut bound = about(other.clone());
    json_patch::merge(&mut bound, &json!({"status": {"incidents": [{"name": "i", "uid": "i"}]}}));
    let mut named = about(other.clone());
    json_patch::merge(&mut named, &json!({"spec": {"incidentRef": {"name": "i"}}}));
    let end = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "name": "i"});
    let facts = IncidentFacts {
        requests: vec![
            request("affected", json!({})),
            request("other", about(other)),
            request("earlier", json!({"metadata": {"creationTimestamp": "2026-11-22T01:00:00Z"}})),
            request("bound", bound),
            request("named", named),
            request("end", about(end)),
        ],
        ..IncidentFacts::default()
    };
    let mut found = told(&incident(json!({})), &facts);
    found.sort();
    let asked = |name: &str| format!("10 emil: asked for chg/{name}: more");
    assert_eq!(found, ["affected", "bound", "end", "named"].map(asked));
}

/// Said although it did not happen: a message that was never delivered.
#[test]
fn a_message_is_told_by_what_became_of_it() {
    let room = json!({"spec": {"purpose": "Stakeholders", "recipient": {"name": "room", "user": null}}});
    let with = |name: &str, base: &Value, status: Value| {
        let mut whole = base.clone();
        json_patch::merge(&mut whole, &json!({"status": status}));
        notification(name, whole)
    };
    let page = json!({});
    let facts = IncidentFacts {
        notifications: vec![
            with("queued", &page, json!({"state": "Queued"})),
            with("superseded", &page, json!({"state": "Superseded"})),
            with("sent", &page, json!({"state": "Sent", "sentTime": at(2)})),
            with("tried", &page, json!({"state": "Queued", "attempts": 1, "error": "answered 503"})),
            with("failed", &page, json!({"state": "Failed", "error": "answered 404"})),
            with("told", &room, json!({"state": "Sent", "sentTime": at(3)})),
            with("untold", &room, json!({"state": "Expired", "error": "answered 503"})),
        ],
        ..IncidentFacts::default()
    };
    let mut found = told(&incident(json!({})), &facts);
    found.sort();
    assert_eq!(
        found,
        [
            "02 mayday: paged emil by hook",
            "03 mayday: told hook: Since 02:00",
            "50 mayday: emil by hook could not be paged yet: answered 503; Mayday tries again",
            "50 mayday: emil by hook was not paged: answered 404",
            "50 mayday: hook was not told: answered 503",
        ]
    );
}

#[test]
fn what_was_told_is_remembered_within_bounds() {
    let mut status = IncidentStatus::default();
    for number in 0..MAX_TOLD + 9 {
        once(&mut status, &number.to_string(), now(), "emil", "e");
    }
    assert_eq!(status.told.len(), MAX_TOLD);
    let before = status.clone();
    once(&mut status, "3", now(), "emil", "e");
    assert_eq!(status, before, "a full timeline does not tell it again");
}
