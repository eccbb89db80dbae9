use super::*;
use crate::api::incident_status::Stamped;
use crate::notify::message::Subject;
use crate::notify::schedule::Outcome;
use crate::oncall::escalation::recipients::Recipient;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::ops::{Deref, DerefMut};

const ROTATIONS: &str = r#"[
{"metadata": {"name": "crisis-leads"}, "spec": {"timeZone": "Europe/Berlin",
  "people": [{"name": "lena", "user": "lena", "contacts": [{"channelRef": {"name": "hook"}, "address": "lena"}]}],
  "layers": [{"name": "always", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
    "turns": [{"people": ["lena"]}]}]}},
{"metadata": {"name": "payments"}, "spec": {"timeZone": "Europe/Berlin",
  "people": [
    {"name": "emil", "user": "emil", "contacts": [{"channelRef": {"name": "hook"}, "address": "emil"},
      {"channelRef": {"name": "mail"}, "address": "emil@shop.example", "delay": "2m"}]},
    {"name": "bea", "user": "bea", "contacts": [{"channelRef": {"name": "hook"}, "address": "bea"}]},
    {"name": "amir", "user": "amir", "contacts": []}],
  "layers": [{"name": "weekdays", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
    "turns": [{"people": ["emil"]}]}],
  "escalation": {"levels": [
      {"notify": [{"onDuty": {}}], "wait": "5m"},
      {"notify": [{"person": {"name": "bea"}}, {"rotation": {"name": "crisis-leads"}}], "wait": "10m"}],
    "rounds": 2, "fallback": [{"channel": {"name": "crisis-room"}}]}}}]"#;

fn rotations() -> Vec<Arc<OnCallRotation>> {
    let mut value: serde_json::Value = serde_json::from_str(ROTATIONS).unwrap();
    for rotation in value.as_array_mut().unwrap() {
        rotation["apiVersion"] = "mayday.dev/v1alpha1".into();
        rotation["kind"] = "OnCallRotation".into();
    }
    let rotations: Vec<OnCallRotation> = serde_json::from_value(value).unwrap();
    rotations.into_iter().map(Arc::new).collect()
}

/// An incident, and the Notifications about it.
struct Outage {
    incident: Incident,
    notifications: Vec<Arc<Notification>>,
}

impl Deref for Outage {
    type Target = Incident;
    fn deref(&self) -> &Incident {
        &self.incident
    }
}

impl DerefMut for Outage {
    fn deref_mut(&mut self) -> &mut Incident {
        &mut self.incident
    }
}

impl Outage {
    fn stores(&mut self, messages: &[Message]) {
        let subject = Subject::from(&self.incident);
        self.notifications.extend(messages.iter().map(|message| Arc::new(message.about(&subject))));
    }

    fn settles(&mut self, settled: &[(String, Settlement)], minute: i64) {
        for (name, settlement) in settled {
            let known = self.notifications.iter_mut().find(|known| known.name_any() == *name).unwrap();
            assert!(schedule::settle(Arc::make_mut(known), settlement, at(minute)));
        }
    }

    /// The outbox tries what is due.
    fn tries(&mut self, outcome: &Outcome, minute: i64) {
        for known in &mut self.notifications {
            if schedule::due(known).is_some_and(|due| due <= at(minute)) {
                schedule::record(Arc::make_mut(known), outcome, at(minute));
            }
        }
    }

    fn states(&self) -> Vec<NotificationState> {
        self.notifications.iter().map(|known| known.state()).collect()
    }
}

fn incident() -> Outage {
    let incident = serde_json::from_value(serde_json::json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "checkout-x7k2p", "namespace": "shop", "uid": "u-1"},
        "spec": {"title": "checkout is down", "severity": "SEV2"},
        "status": {
            "startTime": "2026-11-22T02:04:10Z",
            "service": {"ref": {"name": "checkout", "uid": "s-1"}, "title": "Checkout",
                "impact": "Customers may be unable to pay", "rotations": {"onCall": {"name": "payments"}}}
        }
    }))
    .unwrap();
    Outage { incident, notifications: Vec::new() }
}

fn at(minute: i64) -> Timestamp {
    "2026-11-22T02:04:30Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute)
}

fn channels(names: &[&str]) -> Vec<Arc<NotificationChannel>> {
    names.iter().map(|name| Arc::new(NotificationChannel::new(name, Default::default()))).collect()
}

fn run(incident: &mut Outage, rotations: &[Arc<OnCallRotation>], minute: i64) -> Paging {
    run_with(incident, rotations, &channels(&["hook", "mail", "crisis-room"]), minute)
}

fn run_with(
    incident: &mut Outage,
    rotations: &[Arc<OnCallRotation>],
    channels: &[Arc<NotificationChannel>],
    minute: i64,
) -> Paging {
    let facts = Facts {
        incident: &incident.incident,
        notifications: &incident.notifications,
        rotations,
        overrides: &[],
        channels,
        finding: Some("not available for 20 s"),
        done: "Mayday has changed nothing: no approved runbook fits.",
    };
    let paging = decide(&facts, at(minute));
    incident.stores(&paging.messages);
    incident.status.as_mut().unwrap().escalation = paging.escalation.clone();
    incident.settles(&paging.settle, minute);
    paging
}

fn addresses(paging: &Paging) -> Vec<&str> {
    let name = |m: &'static str, message: &Message| message.address.is_none().then_some(m);
    paging.messages.iter().map(|m| m.address.as_deref().or(name("room", m)).unwrap_or_default()).collect()
}

#[test]
fn whoever_is_on_duty_is_paged_first_and_only_once() {
    let (mut incident, rotations) = (incident(), rotations());
    let paging = run(&mut incident, &rotations, 0);
    assert_eq!(addresses(&paging), ["emil", "emil@shop.example"]);
    assert_eq!(paging.messages[0].send, None);
    assert_eq!(paging.messages[1].send, Some(at(2)));
    assert!(paging.messages[0].text.contains("emil, answer by 03:09 or bea and lena are called"));
    assert_eq!(paging.wake, Some(at(5)));
    let again = run(&mut incident, &rotations, 1);
    assert!(again.messages.is_empty() && again.notes.is_empty());
    assert_eq!(again.wake, Some(at(5)));
}

#[test]
fn levels_then_rounds_then_the_fallback_and_then_nobody() {
    let (mut incident, rotations) = (incident(), rotations());
    let mut paged = Vec::new();
    for minute in [0, 5, 15, 20, 30] {
        let paging = run(&mut incident, &rotations, minute);
        paged.push(addresses(&paging).join(" "));
    }
    let emil = "emil emil@shop.example";
    assert_eq!(paged, [emil, "bea lena", emil, "bea lena", "room"]);
    let escalation = incident.status.as_ref().unwrap().escalation.clone().unwrap();
    assert!(escalation.exhausted && escalation.next_time.is_none());
    assert_eq!(run(&mut incident, &rotations, 600).messages, []);
    let mut ids: Vec<_> = incident.notifications.iter().map(|known| known.name_any()).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn after_a_long_sleep_no_level_is_left_out() {
    let (mut incident, rotations) = (incident(), rotations());
    run(&mut incident, &rotations, 0);
    let late = run(&mut incident, &rotations, 120);
    assert_eq!(addresses(&late), ["bea", "lena"]);
    assert_eq!(late.wake, Some(at(130)));
}

#[test]
fn the_acknowledgement_stops_every_queued_page() {
    let (mut incident, rotations) = (incident(), rotations());
    run(&mut incident, &rotations, 0);
    incident.tries(&Outcome::Sent, 0);
    let answer = Stamped { user: "emil".to_owned(), time: Time(at(1)) };
    incident.status.as_mut().unwrap().acknowledgement = Some(answer.clone());
    let paging = run(&mut incident, &rotations, 1);
    let settled: Vec<Settlement> = paging.settle.into_iter().map(|(_, settlement)| settlement).collect();
    assert_eq!(settled, [Settlement::Superseded, Settlement::Acknowledged(answer.clone())]);
    assert_eq!(paging.wake, None);
    assert_eq!(incident.states(), [NotificationState::Sent, NotificationState::Superseded]);
    let first = incident.notifications[0].status.as_ref().unwrap();
    assert_eq!(first.acknowledgement, Some(answer), "emil has answered through it");
    let later = run(&mut incident, &rotations, 60);
    assert!(later.messages.is_empty() && later.settle.is_empty(), "{later:?}");
}

#[test]
fn a_page_to_somebody_after_their_answer_is_sent() {
    let rotations = rotations();
    let emil = Recipient::person(&rotations[1], "emil").unwrap();
    let page = |minute| {
        recipients::messages(std::slice::from_ref(&emil), "u-1/run/r", Purpose::Page, "failed", at(minute))
    };
    let answered = Some(Stamped { user: "emil".to_owned(), time: Time(at(1)) });
    for (minute, superseded) in [(0, 2), (2, 0)] {
        let mut incident = incident();
        incident.stores(&page(minute));
        incident.status.as_mut().unwrap().acknowledgement = answered.clone();
        assert_eq!(run(&mut incident, &rotations, 3).settle.len(), superseded);
    }
}

#[test]
fn an_outage_that_is_over_pages_nobody() {
    let (mut incident, rotations) = (incident(), rotations());
    run(&mut incident, &rotations, 0);
    incident.status.as_mut().unwrap().state = Some(IncidentState::FalseAlarm);
    assert_eq!(run(&mut incident, &rotations, 5).settle.len(), 2);
    assert_eq!(run(&mut incident, &rotations, 10).messages, []);
}

#[test]
fn a_restart_pages_once_more_and_one_answer_ends_both() {
    let (mut incident, rotations) = (incident(), rotations());
    let first = run(&mut incident, &rotations, 0);
    let status = incident.status.as_mut().unwrap();
    status.escalation = None;
    status.escalation_restarts = 1;
    let second = run(&mut incident, &rotations, 60);
    assert_eq!(addresses(&second), addresses(&first));
    assert_ne!(second.messages[0].key, first.messages[0].key);
    let status = incident.status.as_mut().unwrap();
    status.acknowledgement = Some(Stamped { user: "bea".to_owned(), time: Time(at(60)) });
    assert_eq!(run(&mut incident, &rotations, 61).settle.len(), 4);
}

#[test]
fn a_level_with_nobody_is_skipped_at_once_and_recorded() {
    let (mut incident, mut rotations) = (incident(), rotations());
    // amir has no contact: he is on duty, but nothing reaches him.
    let mut payments = (*rotations[1]).clone();
    payments.spec.layers[0].turns[0].people = vec!["amir".to_owned()];
    rotations[1] = Arc::new(payments);
    let paging = run(&mut incident, &rotations, 0);
    assert_eq!(addresses(&paging), ["bea", "lena"]);
    assert!(paging.notes[0].contains("level 1 of payments: nobody can be reached"), "{:?}", paging.notes);
}

#[test]
fn with_an_unknown_time_zone_those_whom_the_levels_name_are_called() {
    let (mut incident, mut rotations) = (incident(), rotations());
    let mut payments = (*rotations[1]).clone();
    payments.spec.time_zone = "Mars/Base".to_owned();
    rotations[1] = Arc::new(payments);
    let paging = run(&mut incident, &rotations, 0);
    assert_eq!(addresses(&paging), ["bea", "lena"]);
    assert!(paging.messages[0].text.contains("UTC"), "{}", paging.messages[0].text);
}

#[test]
fn a_pass_without_anybody_goes_to_the_fallback_at_once() {
    let (mut incident, mut rotations) = (incident(), rotations());
    let mut payments = (*rotations[1]).clone();
    payments.spec.people.iter_mut().for_each(|person| person.contacts.clear());
    rotations = vec![Arc::new(payments)];
    let paging = run(&mut incident, &rotations, 0);
    assert_eq!(addresses(&paging), ["room"]);
    assert!(paging.escalation.unwrap().exhausted);
    assert_eq!(paging.notes.len(), 3);
}

#[test]
fn who_comes_on_duty_after_a_gap_is_paged_though_nobody_could_be_before() {
    let (mut incident, mut rotations) = (incident(), rotations());
    let mut payments = (*rotations[1]).clone();
    payments.spec.layers[0].restrictions =
        serde_json::from_value(serde_json::json!([{"from": "09:00", "to": "17:00"}])).unwrap();
    payments.spec.escalation = None;
    rotations[1] = Arc::new(payments);
    let gap = run(&mut incident, &rotations, 0);
    assert_eq!(gap.messages, []);
    assert_eq!(gap.notes.last().unwrap(), "nobody of payments can be called");
    let nine: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
    assert_eq!(gap.wake, Some(nine), "09:00 in Berlin");
    let silent = run(&mut incident, &rotations, 60);
    assert_eq!((silent.notes, silent.wake), (Vec::new(), Some(nine)), "said once");
    let minutes = nine.duration_since(at(0)).as_mins() + 1;
    let back = run(&mut incident, &rotations, minutes);
    assert_eq!(addresses(&back), ["emil", "emil@shop.example"]);
    assert_eq!(back.notes, ["level 1 is called: emil"]);
}

#[test]
fn a_page_that_waited_for_its_channel_is_sent_in_the_words_of_then() {
    let (mut incident, rotations) = (incident(), rotations());
    let none = run_with(&mut incident, &rotations, &[], 0);
    assert!(none.escalation.unwrap().people.is_empty());
    incident.tries(
        &Outcome::Retry { error: "NotificationChannel hook does not exist".to_owned(), after: None },
        3,
    );
    assert_eq!(run_with(&mut incident, &rotations, &[], 30).notes, Vec::<String>::new());
    let back = run(&mut incident, &rotations, 60);
    assert_eq!(back.escalation.unwrap().people, ["emil"]);
    assert_eq!(back.wake, Some(at(65)));
    let to_emil = incident.notifications.iter().filter(|known| known.spec.address.as_deref() == Some("emil"));
    let waiting: Vec<_> = to_emil.filter(|known| known.is_queued()).collect();
    assert_eq!(waiting.len(), 1, "the first one is superseded");
    let text = &waiting[0].spec.text;
    assert!(text.contains("emil, answer by 04:09 or bea and lena are called"), "{text}");
}

#[test]
fn a_page_that_is_about_to_be_sent_is_not_replaced() {
    let (mut incident, rotations) = (incident(), rotations());
    run(&mut incident, &rotations, 0);
    // As after a crash between storing the pages and the status.
    incident.status.as_mut().unwrap().escalation = None;
    let again = run(&mut incident, &rotations, 1);
    assert_eq!(addresses(&again), ["emil@shop.example"], "this one has time until it is sent");
    assert_eq!(again.settle.len(), 1);
    incident.tries(&Outcome::Sent, 1);
    incident.status.as_mut().unwrap().escalation = None;
    let to_emil = |paging: &Paging| addresses(paging).iter().filter(|address| **address == "emil").count();
    assert_eq!(to_emil(&run(&mut incident, &rotations, 2)), 0, "nobody is paged twice");
}

#[test]
fn a_lone_person_reads_that_they_are_called_again_then_that_no_one_is() {
    let (mut incident, mut rotations) = (incident(), rotations());
    let mut payments = (*rotations[1]).clone();
    payments.spec.escalation = None;
    rotations[1] = Arc::new(payments);
    let first = run(&mut incident, &rotations, 0);
    assert!(first.messages[0].text.contains("emil, answer by 03:09 or you are called again: "));
    let last = run(&mut incident, &rotations, 5);
    assert!(last.messages[0].text.contains("emil, nobody else is called after this, answer: "));
}

#[test]
fn paging_begins_when_a_missing_rotation_appears() {
    let (mut incident, rotations) = (incident(), rotations());
    let none = run(&mut incident, &[], 0);
    assert_eq!(none.notes, ["nobody can be paged: rotation payments is missing"]);
    assert!(run(&mut incident, &[], 1).notes.is_empty());
    assert_eq!(run(&mut incident, &rotations, 2).messages.len(), 2);
}

#[test]
fn paging_goes_on_where_it_stood_once_a_rotation_that_vanished_is_back() {
    let (mut incident, rotations) = (incident(), rotations());
    run(&mut incident, &rotations, 0);
    let early = run(&mut incident, &[], 1);
    assert_eq!((early.notes.len(), early.wake), (0, Some(at(5))), "nobody is due yet");
    let due = run(&mut incident, &[], 5);
    assert_eq!(due.notes, ["nobody further can be paged: rotation payments is missing"]);
    assert_eq!(due.wake, None, "a wake in the past would never let it rest");
    assert!(due.escalation.unwrap().exhausted);
    assert!(run(&mut incident, &[], 6).notes.is_empty(), "said once");
    let back = run(&mut incident, &rotations, 7);
    assert_eq!(back.escalation.map(|now| (now.level, now.exhausted)), Some((1, false)));
}

#[test]
fn a_level_without_working_channels_is_skipped_and_gets_its_pages_later() {
    let (mut incident, mut rotations) = (incident(), rotations());
    let mut payments = (*rotations[1]).clone();
    payments.spec.people[0].contacts.remove(0);
    rotations[1] = Arc::new(payments);
    let paging = run_with(&mut incident, &rotations, &channels(&["hook", "crisis-room"]), 0);
    assert_eq!(addresses(&paging), ["emil@shop.example", "bea", "lena"]);
    let level_1 =
        "level 1 of payments: emil cannot be reached: NotificationChannel mail does not exist, skipped";
    assert_eq!(paging.notes, [level_1, "level 2 is called: bea and lena"]);
    assert_eq!(paging.escalation.unwrap().people, ["bea", "lena"]);
    assert_eq!(paging.wake, Some(at(10)));
}

#[test]
fn a_person_who_cannot_be_reached_beside_one_who_can_is_not_called() {
    let (mut incident, rotations) = (incident(), rotations());
    let mut known = channels(&["hook", "mail"]);
    let broken = serde_json::json!({"conditions": [{"type": "Ready", "status": "False", "reason": "CredentialUnusable",
        "message": "m", "lastTransitionTime": "2026-11-22T02:00:00Z"}]});
    Arc::make_mut(&mut known[0]).status = serde_json::from_value(broken).unwrap();
    let mut payments = (*rotations[1]).clone();
    let with_room = vec![payments.spec.people[0].clone(), payments.spec.people[1].clone()];
    payments.spec.people = with_room;
    payments.spec.layers[0].turns[0].people = vec!["bea".to_owned(), "emil".to_owned()];
    let paging = run_with(&mut incident, &[Arc::new(payments)], &known, 0);
    let bea = "bea cannot be reached: NotificationChannel hook is not Ready";
    assert_eq!(paging.notes, [format!("level 1 is called: emil; {bea}")]);
    assert_eq!(paging.messages.len(), 3);
}

#[test]
fn where_no_channel_works_it_is_said_and_everything_waits_to_be_sent() {
    let (mut incident, rotations) = (incident(), rotations());
    let paging = run_with(&mut incident, &rotations, &[], 0);
    assert_eq!(addresses(&paging), ["emil", "emil@shop.example", "bea", "lena", "room"]);
    let escalation = paging.escalation.unwrap();
    assert!(escalation.exhausted && escalation.people.is_empty(), "{escalation:?}");
    let room = "crisis-room cannot be reached: NotificationChannel crisis-room does not exist";
    let last = format!("nobody of payments can be called; {room}");
    assert_eq!(paging.notes.last(), Some(&last));
}
