use serde_json::{Value, json};

use super::*;

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, content: Value) -> K {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": "u"}});
    json_patch::merge(&mut whole, &content);
    serde_json::from_value(whole).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rotation(name: &str, person: &str) -> Arc<OnCallRotation> {
    Arc::new(object(
        "OnCallRotation",
        name,
        json!({"spec": {"timeZone": "UTC",
        "people": [{"name": person, "user": person, "contacts": [{"channelRef": {"name": "hook"}}]}],
        "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
            "turns": [{"people": [person]}]}]}}),
    ))
}

fn service(name: &str, deployment: &str, rotations: Value) -> Arc<BusinessService> {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment});
    let spec = json!({"title": name, "objects": [target], "rotations": rotations});
    Arc::new(object("BusinessService", name, json!({"spec": spec})))
}

fn paged(state: &str, incident: Value, target: &str) -> Vec<(Option<String>, String)> {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": target});
    let spec = json!({"summary": "s", "serviceAccountName": "sa", "onFailure": "Escalate",
        "steps": [{"name": "one", "restart": {"target": target}}]});
    let run: RunbookRun = object(
        "RunbookRun",
        "r",
        json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": incident},
        "status": {"state": state,
            "snapshot": {"uid": "u", "digest": "d", "spec": spec, "approvals": []}}}),
    );
    let services = [
        service("checkout", "checkout", json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}})),
        service("till", "till", json!({"onCall": {"name": "payments"}})),
    ];
    let rotations = [rotation("payments", "emil"), rotation("leads", "lena")];
    let facts =
        Facts { run: &run, services: &services, rotations: &rotations, overrides: &[], channels: &[] };
    let pages = failed(&facts, at("2026-11-22T02:04:30Z"));
    pages.into_iter().map(|page| (page.person, page.text)).collect()
}

fn people(state: &str, incident: Value, target: &str) -> Vec<String> {
    paged(state, incident, target).into_iter().filter_map(|(person, _)| person).collect()
}

#[test]
fn a_run_that_failed_and_belongs_to_no_incident_pages_for_the_service_it_is_about() {
    let text = "Runbook restart failed (run/r). It belongs to no incident: kubectl mayday show -n shop run/r";
    assert_eq!(paged("Failed", json!(null), "checkout"), [(Some("lena".to_owned()), text.to_owned())]);
    assert_eq!(people("Unknown", json!(null), "till"), ["emil"], "no rotation for leads");
    assert_eq!(people("Failed", json!(null), "other"), ["lena", "emil"], "nobody knows whose it is");
}

#[test]
fn with_an_incident_or_a_good_end_it_pages_nobody() {
    assert!(people("Failed", json!({"name": "i"}), "checkout").is_empty());
    assert!(people("Succeeded", json!(null), "checkout").is_empty());
    assert!(people("Running", json!(null), "checkout").is_empty());
}

/// A run in that state, and what it waits for.
fn waiting_run(state: &str, who: &str, step: &str) -> RunbookRun {
    object(
        "RunbookRun",
        "r",
        json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}},
            "status": {"state": state, "steps": [{"name": "look", "state": step}, {"name": "restart", "state": "Pending"}],
                "next": {"who": who, "what": "Is the database back?", "command": "kubectl mayday do run/r"}}}),
    )
}

fn told(run: &mut RunbookRun) -> Vec<(String, String, MessageState)> {
    let rotations = [rotation("payments", "emil"), rotation("leads", "lena"), rotation("approvers", "amir")];
    let services =
        [service("checkout", "checkout", json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}}))];
    let mut status = run.status.clone().unwrap();
    let facts = Facts { run, services: &services, rotations: &rotations, overrides: &[], channels: &[] };
    update(&facts, &mut status, at("2026-11-22T02:04:30Z"));
    let messages = status.messages.iter();
    let told = messages.map(|known| (known.user.clone().unwrap(), known.text.clone(), known.state)).collect();
    run.status = Some(status);
    told
}

#[test]
fn whom_a_run_waits_for_is_told_once_and_no_more_when_it_goes_on() {
    let mut run = waiting_run("WaitingForApproval", "one of amir, bea", "Pending");
    let text = "Runbook restart waits for an approval (run/r): Is the database back?. Look and decide: kubectl mayday do run/r";
    let amir = |state| ("amir".to_owned(), text.to_owned(), state);
    for _ in 0..2 {
        assert_eq!(told(&mut run), [amir(MessageState::Queued)]);
    }
    let messages = run.status.unwrap().messages;
    let mut run = waiting_run("Running", "nobody", "Pending");
    run.status.as_mut().unwrap().messages = messages;
    assert_eq!(told(&mut run), [amir(MessageState::Superseded)]);
}

#[test]
fn each_question_is_asked_of_those_it_is_for_and_a_missing_lead_of_who_would_lead() {
    let mut run = waiting_run("WaitingForPerson", "emil (on duty) or lena (lead)", "WaitingForPerson");
    let users =
        |run: &mut RunbookRun| -> Vec<String> { told(run).into_iter().map(|(user, ..)| user).collect() };
    assert_eq!(users(&mut run), ["emil", "lena"]);
    assert!(run.status.as_ref().unwrap().messages.iter().all(|message| message.purpose == Purpose::Page));
    run.status.as_mut().unwrap().steps[0].state = crate::api::runbook_run::StepState::Succeeded;
    run.status.as_mut().unwrap().steps[1].state = crate::api::runbook_run::StepState::WaitingForPerson;
    let states: Vec<MessageState> = told(&mut run).into_iter().map(|(.., state)| state).collect();
    assert_eq!(states.iter().filter(|state| **state == MessageState::Queued).count(), 2, "{states:?}");
    assert_eq!(states.len(), 4);
    let mut run =
        waiting_run("WaitingForApproval", "a lead, who must claim it first: kubectl mayday lead", "Pending");
    assert_eq!(users(&mut run), ["lena"]);
    assert!(users(&mut waiting_run("Blocked", "emil", "Pending")).is_empty());
}

#[test]
fn an_end_that_nobody_could_be_paged_for_is_looked_at_again_for_a_day_and_one_that_waits_until_it_is_sent() {
    let run = |messages: Value| -> RunbookRun {
        object(
            "RunbookRun",
            "r",
            json!({"spec": {"runbookRef": {"name": "restart"}},
            "status": {"state": "Unknown", "endTime": "2026-11-22T02:00:00Z", "messages": messages}}),
        )
    };
    let page = |state: &str| {
        json!([{"id": "u/failed/emil/hook", "purpose": "Page", "channelRef": {"name": "hook"},
        "text": "t", "createdTime": "2026-11-22T02:00:00Z", "state": state, "attempts": 0}])
    };
    let (soon, late) = (at("2026-11-23T01:59:59Z"), at("2026-11-23T02:00:00Z"));
    let due = |messages: Value| [soon, late].map(|now| is_due(&run(messages.clone()), now));
    assert_eq!(due(json!([])), [true, false]);
    assert_eq!(due(page("Queued")), [true, true]);
    assert_eq!(due(page("Sent")), [false, false]);
    let mut of_incident = run(json!([]));
    of_incident.spec.incident_ref = Some(crate::api::common::NameRef { name: "i".to_owned() });
    assert!(!is_due(&of_incident, soon), "the incident pages");
}
