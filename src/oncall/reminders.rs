//! Reminders: each person is told before a shift of theirs begins (docs/rules.md#reminders). Pure.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::escalation::recipients::{self, Recipient};
use super::rotation_status::RotationFacts;
use super::schedule::{Schedule, timeline};
use crate::api::OnCallRotation;
use crate::api::notification::Purpose;
use crate::command::{Command, Verb};
use crate::notify::message::Message;

/// A shift that is over so soon after it began is a moment of an edit, and no shift.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
/// How much further than the reminder to look for the next shift.
const FURTHER: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The reminders that are due, and when the next one is. A shift that begins has one key however often it is looked at, so
/// that each person is told once.
pub fn decide(
    rotation: &OnCallRotation,
    facts: &RotationFacts,
    now: Timestamp,
) -> (Vec<Message>, Option<Timestamp>) {
    let Some(lead) = rotation.spec.remind.as_ref().map(|remind| remind.get()) else {
        return (Vec::new(), None);
    };
    let Some(schedule) = recipients::schedule(rotation, &facts.overrides, now) else {
        return (Vec::new(), None);
    };
    let horizon = now.checked_add(lead).unwrap_or(Timestamp::MAX);
    let mut messages = Vec::new();
    let mut next = None;
    for (person, start, end) in
        beginnings(&schedule, now, horizon.checked_add(FURTHER).unwrap_or(Timestamp::MAX))
    {
        if start > horizon {
            next = start.checked_sub(lead).ok().into_iter().chain(next).min();
            continue;
        }
        let Some(recipient) = Recipient::person(rotation, &person) else { continue };
        messages.extend(reminder(rotation, facts, &schedule, recipient, (start, end), now));
    }
    (messages, next)
}

/// Who comes on duty between two instants, and from when to when.
fn beginnings(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<(String, Timestamp, Timestamp)> {
    let shifts = timeline::by_people(&timeline::shifts(schedule, from, to));
    let mut found = Vec::new();
    for (place, name) in schedule.people.iter().enumerate() {
        let mut begun: Option<(Timestamp, Timestamp)> = None;
        for shift in shifts.iter().filter(|shift| shift.on_duty.contains_key(&place)) {
            begun = match begun {
                Some((start, end)) if end == shift.start => Some((start, shift.end)),
                before => {
                    found.extend(before.map(|(start, end)| (name.clone(), start, end)));
                    Some((shift.start, shift.end))
                }
            };
        }
        found.extend(begun.map(|(start, end)| (name.clone(), start, end)));
    }
    found.retain(|(_, start, end)| *start > from && end.duration_since(*start) > SHORTEST);
    found.sort_by_key(|(_, start, _)| *start);
    found
}

/// One reminder: by the first contact that works, else by the first.
fn reminder(
    rotation: &OnCallRotation,
    facts: &RotationFacts,
    schedule: &Schedule,
    mut recipient: Recipient,
    (start, end): (Timestamp, Timestamp),
    now: Timestamp,
) -> Vec<Message> {
    let works = |channel| recipients::trouble(channel, &facts.channels).is_none();
    let best = recipient.contacts.iter().position(|(_, channel, _)| works(channel)).unwrap_or_default();
    let Some((_, channel, address)) = recipient.contacts.get(best).cloned() else { return Vec::new() };
    recipient.contacts = vec![(SignedDuration::ZERO, channel, address)];
    let name = rotation.name_any();
    let namespace = rotation.namespace().unwrap_or_default();
    let local = |at: Timestamp| {
        at.to_zoned(schedule.clock.zone().clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    };
    let calendar = Command::new(Verb::Oncall).namespace(&namespace).word(&name);
    let text = format!(
        "{}, you are on duty in {name} from {} until {}. The calendar: {calendar}",
        recipient.name(),
        local(start),
        local(end)
    );
    let about = format!("{}/shift/{}", rotation.uid().unwrap_or_default(), start.as_second());
    let mut messages = recipients::messages(&[recipient], &about, Purpose::Reminder, &text, now);
    messages.iter_mut().for_each(|message| message.deadline = Some(start));
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rotation(remind: Option<&str>) -> OnCallRotation {
        let contacts = json!([{"channelRef": {"name": "hook"}, "address": "a", "delay": "2m"}]);
        let mut spec = json!({"timeZone": "Europe/Berlin",
            "people": [{"name": "emil", "user": "emil", "contacts": contacts}, {"name": "bea", "user": "bea", "contacts": contacts}],
            "layers": [{"name": "weekly", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": ["emil"]}, {"people": ["bea"]}]}]});
        remind.inspect(|remind| spec["remind"] = (*remind).into());
        let mut rotation = OnCallRotation::new("payments", serde_json::from_value(spec).unwrap());
        rotation.metadata.uid = Some("u1".into());
        rotation
    }

    fn decided(remind: Option<&str>, now: &str) -> (Vec<Message>, Option<Timestamp>) {
        decide(&rotation(remind), &RotationFacts::default(), now.parse().unwrap())
    }

    #[test]
    fn each_person_is_told_once_before_a_shift_of_theirs_begins() {
        let (none, next) = decided(Some("24h"), "2026-01-11T07:59:59Z");
        assert_eq!((none.len(), next), (0, "2026-01-11T08:00:00Z".parse().ok()));
        let (due, next) = decided(Some("24h"), "2026-01-11T08:00:00Z");
        assert_eq!(next, "2026-01-18T08:00:00Z".parse().ok());
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].recipient.name, "bea");
        assert_eq!(due[0].send, None, "a reminder waits for no acknowledgement");
        assert_eq!(due[0].deadline, "2026-01-12T08:00:00Z".parse().ok());
        assert!(due[0].text.starts_with(
            "bea, you are on duty in payments from Mon 2026-01-12 09:00 CET until Mon 2026-01-19 09:00 CET. "
        ));
        let (later, _) = decided(Some("24h"), "2026-01-12T07:00:00Z");
        assert_eq!(later[0].key, due[0].key, "the same reminder");
        assert_eq!(decided(Some("24h"), "2026-01-12T08:00:00Z").0.len(), 0, "it has begun");
        assert_eq!(decided(None, "2026-01-12T07:00:00Z"), (Vec::new(), None));
    }
}
