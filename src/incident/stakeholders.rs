//! Messages to stakeholders (rules §10): inside by itself, outside only when a person says so. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::common::stored_time;
use crate::api::incident::{Audience, Outcome, Update};
use crate::api::incident_status::IncidentStatus;
use crate::api::message::{Message, MessageState, Purpose};
use crate::api::{Incident, OnCallRotation};
use crate::oncall::escalation::page_text::{Stakeholders, clock};
use crate::oncall::escalation::recipients;
use crate::report::span;

/// When people hear next, if nobody says another time.
const NEXT: SignedDuration = SignedDuration::from_mins(30);
/// A message to stakeholders is of use for so long.
const OF_USE: SignedDuration = SignedDuration::from_hours(4);

/// What stakeholders are told an outage in.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    start: Timestamp,
    impact: String,
    public: Option<String>,
    lead: Option<&'a str>,
    zone: &'a TimeZone,
}

impl<'a> Words<'a> {
    /// The words of an incident; `zone` is the one that people of the service read times in.
    pub fn of(
        incident: &Incident,
        status: &'a IncidentStatus,
        zone: &'a TimeZone,
        now: Timestamp,
    ) -> Words<'a> {
        let service = status.service.as_ref();
        let impact = incident.spec.impact.clone().or_else(|| service?.impact.clone());
        let title = service.map_or(&incident.spec.title, |service| &service.title);
        Words {
            start: status.out_since().map_or(now, |time| time.0.min(now)),
            impact: impact.unwrap_or_else(|| format!("{title} is out")),
            public: incident.spec.public_summary.clone().or_else(|| service?.public_summary.clone()),
            lead: status.lead.as_ref().map(|lead| lead.user.as_str()),
            zone,
        }
    }

    fn message<'b>(&'b self, impact: &'b str, next_update: Option<Timestamp>) -> Stakeholders<'b> {
        Stakeholders { start: self.start, impact, lead: self.lead, next_update, zone: self.zone }
    }

    fn inside(&self, next: Option<Timestamp>) -> String {
        self.message(&self.impact, next).internal()
    }

    fn outside(&self, next: Option<Timestamp>) -> Option<String> {
        Some(self.message(self.public.as_deref()?, next).external())
    }

    /// An update that a person writes, as it is sent; none if nothing is said in it.
    pub fn update(&self, update: &Update) -> Option<String> {
        let next = update.next_update_time.as_ref().map(|time| time.0);
        match (&update.text, update.audience) {
            (Some(text), _) => {
                let text = text.trim_end();
                let is_open = next.is_some() && !text.ends_with(['.', '!', '?', ':']);
                let sentence = format!("{text}{}", if is_open { "." } else { "" });
                Some(self.message(&self.impact, next).with_next_update(sentence))
            }
            (None, Audience::External) => self.outside(next),
            (None, Audience::Internal) => Some(self.inside(next)),
        }
    }
}

/// What is to be said now, each under the name by which it is said once.
pub fn decide(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    now: Timestamp,
) -> Vec<(String, Vec<Message>)> {
    let Some(service) = &status.service else { return Vec::new() };
    // They hear of an outage once, from the incident that is not the duplicate.
    if status.duplicate_of.is_some() {
        return Vec::new();
    }
    let zone = zone(facts.rotations.iter().map(|rotation| &**rotation), status);
    let words = Words::of(incident, status, &zone, now);
    // What is said, to whom, under which name; the name makes it said once.
    let mut said: Vec<(Audience, String, String, MessageState)> = Vec::new();
    let relapse = status.relapses;
    if status.resolved.is_none() {
        let next = now.saturating_add(NEXT).ok();
        let mut inside = |what: String| {
            said.push((Audience::Internal, what, words.inside(next), MessageState::Queued));
        };
        inside(format!("{relapse}/open"));
        if let Some(lead) = words.lead {
            inside(format!("{relapse}/lead/{lead}"));
        }
        // A draft, until a person has written to the public.
        let is_written = incident.spec.updates.iter().any(|update| update.audience == Audience::External);
        if let Some(text) = words.outside(next).filter(|_| !is_written) {
            said.push((Audience::External, format!("{relapse}/public"), text, MessageState::Held));
        }
    } else {
        let text = over(incident, status, &zone, now);
        said.push((Audience::Internal, format!("{relapse}/over"), text, MessageState::Queued));
    }
    for (index, update) in incident.spec.updates.iter().enumerate() {
        if let Some(text) = words.update(update).filter(|text| !text.is_empty()) {
            said.push((update.audience, format!("update/{index}"), text, MessageState::Queued));
        }
    }
    let uid = incident.uid().unwrap_or_default();
    let messages = said.into_iter().map(|(audience, what, text, state)| {
        let mut messages = Vec::new();
        for (index, stakeholder) in
            service.stakeholders.iter().enumerate().filter(|(_, s)| s.audience == audience)
        {
            messages.push(Message {
                id: recipients::id(&[&uid, "stakeholders", &index.to_string(), &what]),
                purpose: Purpose::Stakeholders,
                person: None,
                user: None,
                channel_ref: stakeholder.channel_ref.clone(),
                namespace: None,
                address: None,
                text: text.clone(),
                created_time: stored_time(now),
                send_time: None,
                deadline: now.saturating_add(OF_USE).ok().map(stored_time),
                state,
                attempts: 0,
                next_attempt_time: None,
                sent_time: None,
                error: None,
            });
        }
        (what, messages)
    });
    messages.collect()
}

/// Until when stakeholders were promised to hear again, by what they heard last; none if nothing was promised.
pub fn promised(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let said = decide(incident, facts, status, now);
    let told = |messages: &[Message]| {
        let known =
            status.messages.iter().filter(|known| messages.iter().any(|message| message.id == known.id));
        known.filter(|known| known.state != MessageState::Held).map(|known| known.created_time.0).max()
    };
    let times = said.iter().filter_map(|(what, messages)| Some((told(messages)?, what)));
    let (heard, what) = times.max_by_key(|(heard, _)| *heard)?;
    match what.strip_prefix("update/") {
        Some(index) => {
            let update = incident.spec.updates.get(index.parse::<usize>().ok()?)?;
            update.next_update_time.as_ref().map(|time| time.0)
        }
        None => heard.checked_add(NEXT).ok(),
    }
}

/// Ends the drafts that nobody will send any more: those of before a relapse, of what is over, or of what a person has
/// written meanwhile. `said` is what is to be said now. Drafts that stay would fill the outbox until no page fits.
pub fn end_drafts(status: &mut IncidentStatus, said: &[(String, Vec<Message>)]) {
    let is_said = |id: &str| said.iter().flat_map(|(_, messages)| messages).any(|message| message.id == id);
    for message in &mut status.messages {
        if message.state == MessageState::Held && !is_said(&message.id) {
            message.state = MessageState::Superseded;
        }
    }
}

/// What they hear at the end: since when, or that it was no outage of its own.
fn over(incident: &Incident, status: &IncidentStatus, zone: &TimeZone, now: Timestamp) -> String {
    let title = incident.spec.title.trim_end_matches('.');
    let resolution = incident.resolution(status);
    match resolution.map(|resolution| (resolution.outcome, &resolution.duplicate_of)) {
        Some((Outcome::FalseAlarm, _)) => format!("There was no outage: {title} was a false alarm."),
        Some((Outcome::Duplicate, Some(other))) => {
            format!("{title} is the same outage as inc/{}; what becomes of it is told there.", other.name)
        }
        Some((Outcome::Duplicate, None)) => format!("{title} is the same outage as another one."),
        Some((Outcome::Restored | Outcome::Unproved, _)) | None => {
            let ended = Incident { status: Some(status.clone()), ..incident.clone() };
            let clock = clock(span::of(&ended).end().unwrap_or(now), zone);
            let how = match status.restored_time {
                Some(_) => "Proved healthy",
                None => "People say so; the checks could not prove it",
            };
            format!("Over since {clock}: {title}. {how}.")
        }
    }
}

/// The time zone people of the service read times in.
pub fn zone<'a>(
    rotations: impl IntoIterator<Item = &'a OnCallRotation>,
    status: &IncidentStatus,
) -> TimeZone {
    let named = status.service.as_ref().and_then(|service| service.rotations.as_ref());
    let reference = named.and_then(|named| named.on_call.as_ref().or(named.lead.as_ref()));
    let rotation = reference
        .and_then(|wanted| rotations.into_iter().find(|rotation| rotation.name_any() == wanted.name));
    rotation.and_then(|rotation| TimeZone::get(&rotation.spec.time_zone).ok()).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::incident::announcements;

    const OPEN: &str = "2026-11-22T02:04:10Z";

    fn incident(spec: Value) -> Incident {
        let mut whole = json!({"title": "checkout is down", "severity": "SEV2"});
        json_patch::merge(&mut whole, &spec);
        let mut incident = Incident::new("i", serde_json::from_value(whole).unwrap());
        incident.metadata.uid = Some("u".into());
        incident
    }

    fn status(more: Value) -> IncidentStatus {
        let rooms = json!([{"audience": "Internal", "channelRef": {"name": "room"}},
            {"audience": "External", "channelRef": {"name": "public"}}]);
        let mut whole = json!({"startTime": OPEN, "service": {"ref": {"name": "checkout", "uid": "s"}, "title": "Checkout",
            "impact": "Customers may be unable to pay", "publicSummary": "Payments may fail.", "stakeholders": rooms}});
        json_patch::merge(&mut whole, &more);
        serde_json::from_value(whole).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T02:30:00Z".parse().unwrap()
    }

    fn said(spec: Value, more: Value) -> Vec<String> {
        let said = decide(&incident(spec), &IncidentFacts::default(), &status(more), now());
        said.into_iter().flat_map(|(_, messages)| messages).map(|message| message.text).collect()
    }

    #[test]
    fn whatever_a_person_writes_says_when_people_hear_next() {
        let update = |text: Value| json!({"updates": [{"audience": "Internal", "text": text, "nextUpdateTime": "2026-11-22T02:40:00Z"}]});
        let last = |spec: Value| said(spec, json!({})).pop();
        let lena = "lena leads the repair. Next update by 02:40.";
        assert_eq!(last(update(json!("lena leads the repair."))).as_deref(), Some(lena));
        assert_eq!(last(update(json!("lena leads the repair"))).as_deref(), Some(lena));
        assert!(last(update(json!(null))).unwrap().ends_with("unable to pay. Next update by 02:40."));
        let without = json!({"updates": [{"audience": "Internal", "text": "as written"}]});
        assert_eq!(last(without).as_deref(), Some("as written"));
    }

    #[test]
    fn what_was_heard_last_says_when_they_hear_next() {
        let mut status = status(json!({}));
        let mut look = |spec: Value, now: &str| {
            let (incident, now) = (incident(spec), now.parse().unwrap());
            for (what, messages) in decide(&incident, &IncidentFacts::default(), &status, now) {
                announcements::once(&mut status, &what, messages);
            }
            promised(&incident, &IncidentFacts::default(), &status, now).map(|time| time.to_string())
        };
        assert_eq!(look(json!({}), "2026-11-22T02:30:00Z").as_deref(), Some("2026-11-22T03:00:00Z"));
        let next = json!({"audience": "Internal", "nextUpdateTime": "2026-11-22T02:45:00Z"});
        let written = json!({"updates": [next]});
        assert_eq!(look(written, "2026-11-22T02:40:00Z").as_deref(), Some("2026-11-22T02:45:00Z"));
        let without = json!({"updates": [next, {"audience": "Internal", "text": "t"}]});
        assert_eq!(look(without, "2026-11-22T02:44:00Z"), None, "nothing is promised any more");
    }

    #[test]
    fn the_end_is_told_as_what_it_was() {
        let resolved = json!({"resolved": {"user": "lena", "time": "2026-11-22T02:29:00Z"}});
        let proved = json!({"resolved": {"user": "lena", "time": "2026-11-22T02:29:00Z"},
            "noticedTime": "2026-11-22T02:05:00Z", "healthySinceTime": "2026-11-22T02:20:00Z",
            "restoredTime": "2026-11-22T02:25:00Z"});
        let end = |outcome: &str, status: &Value| {
            let resolution =
                json!({"outcome": outcome, "reason": "r", "duplicateOf": {"name": "other"}, "time": OPEN});
            said(json!({"resolution": resolution}), status.clone()).pop().unwrap()
        };
        assert_eq!(end("Restored", &proved), "Over since 02:20:00 UTC: checkout is down. Proved healthy.");
        let unproved =
            "Over since 02:29:00 UTC: checkout is down. People say so; the checks could not prove it.";
        assert_eq!(end("Unproved", &resolved), unproved);
        assert_eq!(end("FalseAlarm", &resolved), "There was no outage: checkout is down was a false alarm.");
        assert!(end("Duplicate", &resolved).starts_with("checkout is down is the same outage as inc/other"));
    }

    #[test]
    fn drafts_that_nobody_sends_any_more_make_room() {
        let states = |status: &IncidentStatus| -> Vec<MessageState> {
            let drafts = status.messages.iter().filter(|message| message.channel_ref.name == "public");
            drafts.map(|message| message.state).collect()
        };
        let look = |spec: Value, status: &mut IncidentStatus| {
            let said = decide(&incident(spec), &IncidentFacts::default(), status, now());
            end_drafts(status, &said);
            for (what, messages) in said {
                announcements::once(status, &what, messages);
            }
        };
        let mut status = status(json!({}));
        look(json!({}), &mut status);
        look(json!({}), &mut status);
        assert_eq!(states(&status), [MessageState::Held], "it stays while it may be sent");
        status.relapses = 1;
        look(json!({}), &mut status);
        assert_eq!(states(&status), [MessageState::Superseded, MessageState::Held]);
        look(json!({"updates": [{"audience": "External"}]}), &mut status);
        let sent = [MessageState::Superseded, MessageState::Superseded, MessageState::Queued];
        assert_eq!(states(&status), sent, "what a person wrote takes its place");

        let mut over = self::status(json!({}));
        look(json!({}), &mut over);
        over.resolved = serde_json::from_value(json!({"user": "mayday", "time": OPEN})).unwrap();
        look(json!({}), &mut over);
        assert_eq!(states(&over), [MessageState::Superseded]);
    }
}
