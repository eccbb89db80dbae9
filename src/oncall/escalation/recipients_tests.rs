use super::*;
use serde_json::{Value, json};

fn message(id: &str, change: Value) -> Message {
    let mut whole = json!({"id": id, "purpose": "Page", "user": "emil", "channelRef": {"name": "hook"}, "text": "t",
        "createdTime": "2026-11-22T02:04:00Z", "state": "Queued", "attempts": 0});
    json_patch::merge(&mut whole, &change);
    serde_json::from_value(whole).unwrap()
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

#[test]
fn what_is_settled_makes_room_and_what_waits_does_not() {
    let other = || json!({"purpose": "Decision", "user": "bea"});
    let mut sent = other();
    sent["state"] = "Sent".into();
    let mut messages = vec![message("waits", other()), message("sent", sent)];
    assert_eq!(append(&mut messages, vec![message("a", other()), message("b", other())], 2), 1);
    assert_eq!(ids(&messages), ["waits", "a"]);
}

#[test]
fn a_page_takes_the_place_of_an_older_one_and_of_what_can_wait() {
    let held = json!({"purpose": "Stakeholders", "user": null, "state": "Held"});
    let mut messages = vec![
        message("held", held),
        message("bea-1", json!({"user": "bea"})),
        message("emil-1", json!({})),
        message("emil-2", json!({})),
    ];
    let asked = message("asked", json!({"purpose": "ApprovalNeeded"}));
    assert_eq!(append(&mut messages, vec![asked, message("emil-3", json!({}))], 4), 1, "only the page");
    assert_eq!(ids(&messages), ["held", "bea-1", "emil-2", "emil-3"]);
    let by_mail = json!({"channelRef": {"name": "mail"}});
    assert_eq!(append(&mut messages, vec![message("emil-mail", by_mail.clone())], 4), 0);
    assert_eq!(ids(&messages), ["bea-1", "emil-2", "emil-3", "emil-mail"]);
    assert_eq!(append(&mut messages, vec![message("lena-1", json!({"user": "lena"}))], 4), 1);
}

#[test]
fn for_a_lead_whoever_can_be_reached_is_called() {
    let rotation = |name: &str, person: &str, channel: &str| -> Arc<OnCallRotation> {
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": name},
            "spec": {"timeZone": "UTC",
                "people": [{"name": person, "user": person, "contacts": [{"channelRef": {"name": channel}}]}],
                "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                    "turns": [{"people": [person]}]}]}});
        Arc::new(serde_json::from_value(whole).unwrap())
    };
    let rotations = [rotation("leads", "lena", "broken"), rotation("payments", "emil", "hook")];
    let named: ServiceRotations =
        serde_json::from_value(json!({"lead": {"name": "leads"}, "onCall": {"name": "payments"}})).unwrap();
    let called = |channels: &[&str]| {
        let channels: Vec<_> = channels
            .iter()
            .map(|name| Arc::new(NotificationChannel::new(name, Default::default())))
            .collect();
        let at = "2026-11-22T02:04:00Z".parse().unwrap();
        let found = for_a_lead(&named, &rotations, &[], &channels, at);
        found.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(called(&["broken", "hook"]), ["lena"]);
    assert_eq!(called(&["hook"]), ["emil"]);
    assert_eq!(called(&[]), ["lena"], "the page waits for a channel");
}
