use serde_json::{Value, json};

use super::*;
use crate::api::notification::NotificationState;
use crate::notify::message::Subject;
use crate::notify::schedule;

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

fn paged(state: &str, incident: Value, target: &str) -> Vec<(String, String)> {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": target});
    let spec = json!({"summary": "s", "serviceAccountName": "sa", "onFailure": "Escalate",
        "steps": [{"name": "one", "restart": {"target": target}}]});
    let run: RunbookRun = object(
        "RunbookRun",
        "r",
        json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": incident},
        "status": {"state": state, "steps": [{"name": "one", "state": "Failed", "targets": [target]}],
            "snapshot": {"uid": "u", "digest": "d", "spec": spec, "approvals": []}}}),
    );
    let services = [
        service("checkout", "checkout", json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}})),
        service("till", "till", json!({"onCall": {"name": "payments"}})),
    ];
    let rotations = [rotation("payments", "emil"), rotation("leads", "lena")];
    let facts = Facts {
        run: &run,
        services: &services,
        rotations: &rotations,
        overrides: &[],
        channels: &[],
        notifications: &[],
    };
    let pages = failed(&facts, at("2026-11-22T02:04:30Z"));
    pages.into_iter().map(|page| (page.recipient.name, page.text)).collect()
}

fn people(state: &str, incident: Value, target: &str) -> Vec<String> {
    paged(state, incident, target).into_iter().map(|(person, _)| person).collect()
}

#[test]
fn a_failed_run_without_an_incident_pages_for_the_service_it_is_about() {
    let text = "Runbook restart failed (run/r). It belongs to no incident: kubectl mayday show -n shop run/r";
    assert_eq!(paged("Failed", json!(null), "checkout"), [("lena".to_owned(), text.to_owned())]);
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

/// The Notifications about a run after a look at it: to whom, with what text, and how far.
fn told(
    run: &mut RunbookRun,
    known: &mut Vec<Arc<Notification>>,
) -> Vec<(String, String, NotificationState)> {
    let rotations = [rotation("payments", "emil"), rotation("leads", "lena"), rotation("approvers", "amir")];
    let services =
        [service("checkout", "checkout", json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}}))];
    let mut status = run.status.clone().unwrap();
    let facts = Facts {
        run,
        services: &services,
        rotations: &rotations,
        overrides: &[],
        channels: &[],
        notifications: known,
    };
    let told = decide(&facts, &mut status, at("2026-11-22T02:04:30Z"));
    for message in told.messages {
        let is_new = known.iter().all(|known| known.name_any() != message.name());
        known.extend(is_new.then(|| Arc::new(message.about(&Subject::from(&*run)))));
    }
    for (name, settlement) in told.settle {
        let ended = known.iter_mut().find(|known| known.name_any() == name).unwrap();
        schedule::settle(Arc::make_mut(ended), &settlement, at("2026-11-22T02:04:30Z"));
    }
    run.status = Some(status);
    let told = known.iter();
    told.map(|known| (known.spec.recipient.user.clone().unwrap(), known.spec.text.clone(), known.state()))
        .collect()
}

#[test]
fn a_person_whom_a_run_waits_for_is_told_once_and_no_more_when_it_goes_on() {
    let mut known = Vec::new();
    let mut run = waiting_run("WaitingForApproval", "one of amir, bea", "Pending");
    let text = "Runbook restart waits for an approval (run/r): Is the database back?. Look and decide: kubectl mayday do run/r";
    let amir = |state| ("amir".to_owned(), text.to_owned(), state);
    for _ in 0..2 {
        assert_eq!(told(&mut run, &mut known), [amir(NotificationState::Queued)]);
    }
    let mut run = waiting_run("Running", "nobody", "Pending");
    assert_eq!(told(&mut run, &mut known), [amir(NotificationState::Superseded)]);
}

#[test]
fn a_question_goes_to_those_it_is_for_or_to_the_rotation_of_the_leads() {
    let users = |run: &mut RunbookRun, known: &mut Vec<Arc<Notification>>| -> Vec<String> {
        told(run, known).into_iter().map(|(user, ..)| user).collect()
    };
    let mut known = Vec::new();
    let mut run = waiting_run("WaitingForPerson", "emil (on duty) or lena (lead)", "WaitingForPerson");
    assert_eq!(users(&mut run, &mut known), ["emil", "lena"]);
    assert!(known.iter().all(|known| known.spec.purpose == Purpose::Page));
    run.status.as_mut().unwrap().steps[0].state = crate::api::runbook_run::StepState::Succeeded;
    run.status.as_mut().unwrap().steps[1].state = crate::api::runbook_run::StepState::WaitingForPerson;
    let states: Vec<_> = told(&mut run, &mut known).into_iter().map(|(.., state)| state).collect();
    let queued = states.iter().filter(|state| **state == NotificationState::Queued).count();
    assert_eq!((queued, states.len()), (2, 4), "{states:?}");
    let mut run =
        waiting_run("WaitingForApproval", "a lead, who must claim it first: kubectl mayday lead", "Pending");
    assert_eq!(users(&mut run, &mut Vec::new()), ["lena"]);
    assert!(users(&mut waiting_run("Blocked", "emil", "Pending"), &mut Vec::new()).is_empty());
}

#[test]
fn a_failed_run_stays_up_to_a_day_for_a_page_and_until_it_is_sent() {
    let run = |paged: Value| -> RunbookRun {
        object(
            "RunbookRun",
            "r",
            json!({"spec": {"runbookRef": {"name": "restart"}},
            "status": {"state": "Unknown", "endTime": "2026-11-22T02:00:00Z", "pagedTime": paged}}),
        )
    };
    let page = |state: &str| -> Vec<Arc<Notification>> {
        let spec = json!({"about": "run/r", "subjectRef": {"kind": "RunbookRun", "name": "r", "uid": "u"},
            "purpose": "Page", "recipient": {"name": "emil", "user": "emil"}, "channelRef": {"name": "hook"},
            "text": "t", "key": "u/failed/emil/hook", "createdTime": "2026-11-22T02:00:00Z"});
        vec![Arc::new(object("Notification", "page", json!({"spec": spec, "status": {"state": state}})))]
    };
    let (soon, late) = (at("2026-11-23T01:59:59Z"), at("2026-11-23T02:00:00Z"));
    let due = |paged: Value, known: &[Arc<Notification>]| {
        [soon, late].map(|now| is_due(&run(paged.clone()), known, now))
    };
    let began = json!("2026-11-22T02:00:00Z");
    assert_eq!(due(json!(null), &[]), [true, false]);
    assert_eq!(due(began.clone(), &page("Queued")), [true, true]);
    assert_eq!(due(began, &page("Sent")), [false, false]);
    assert!(is_due(&run(json!("2026-11-23T01:59:30Z")), &[], late), "the cache may not hold the page yet");
    let mut of_incident = run(json!(null));
    of_incident.spec.incident_ref = Some(crate::api::common::NameRef { name: "i".to_owned() });
    assert!(!is_due(&of_incident, &[], soon), "the incident pages");
}
