//! Messages to stakeholders (docs/rules.md#stakeholders-internal, #stakeholders-external). Mayday sends the
//! internal ones by itself, the external ones only when a person says so. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::incident::{Audience, Outcome, Update};
use crate::api::incident_status::IncidentStatus;
use crate::api::notification::{Purpose, Reader};
use crate::api::{Incident, OnCallRotation};
use crate::notify::message::{self, Message};
use crate::oncall::escalation::page_text::{Stakeholders, clock};
use crate::report::span;
use crate::text::cut;

/// Time until stakeholders hear next, if an update does not say another time.
const NEXT: SignedDuration = SignedDuration::from_mins(30);
/// How long a message to stakeholders is useful.
const OF_USE: SignedDuration = SignedDuration::from_hours(4);
/// Longest draft in bytes, as the schema allows.
const MAX_DRAFT: usize = 2000;

/// A message to stakeholders, with the name that keeps it from being sent twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// Its name: `0/open`, `update/3`.
    pub what: String,
    /// Who hears it.
    pub audience: Audience,
    /// What they read.
    pub text: String,
    /// When they hear next; absent if nothing is promised.
    pub next: Option<Timestamp>,
    /// One message for each channel of theirs.
    pub messages: Vec<Message>,
}

/// The words in which an outage is described to stakeholders.
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
                Some(self.message(&self.impact, next).update(sentence))
            }
            (None, Audience::External) => self.outside(next),
            (None, Audience::Internal) => Some(self.inside(next)),
        }
    }
}

/// The announcements that are due now.
pub fn decide(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    now: Timestamp,
) -> Vec<Announcement> {
    let Some(service) = &status.service else { return Vec::new() };
    // They hear of an outage once, from the incident that is not the duplicate.
    if status.duplicate_of.is_some() {
        return Vec::new();
    }
    let zone = zone(facts.rotations.iter().map(|rotation| &**rotation), status);
    let words = Words::of(incident, status, &zone, now);
    let mut said: Vec<(String, Audience, String, Option<Timestamp>)> = Vec::new();
    let relapse = status.relapses;
    let next = now.saturating_add(NEXT).ok();
    if status.resolved.is_none() {
        said.push((format!("{relapse}/open"), Audience::Internal, words.inside(next), next));
        if let Some(lead) = words.lead {
            said.push((format!("{relapse}/lead/{lead}"), Audience::Internal, words.inside(next), next));
        }
    } else {
        let text = over(incident, status, &zone, now);
        said.push((format!("{relapse}/over"), Audience::Internal, text, next));
    }
    for (index, update) in incident.spec.updates.iter().enumerate() {
        if let Some(text) = words.update(update).filter(|text| !text.is_empty()) {
            let next = update.next_update_time.as_ref().map(|time| time.0);
            said.push((format!("update/{index}"), update.audience, text, next));
        }
    }
    let uid = incident.uid().unwrap_or_default();
    let announcement = |(what, audience, text, next): (String, Audience, String, Option<Timestamp>)| {
        let stakeholders = service.stakeholders.iter().enumerate().filter(|(_, s)| s.audience == audience);
        let messages = stakeholders.map(|(index, stakeholder)| Message {
            key: message::key(&[&uid, "stakeholders", &index.to_string(), &what]),
            purpose: Purpose::Stakeholders,
            recipient: Reader { name: stakeholder.channel_ref.name.clone(), user: None },
            channel: stakeholder.channel_ref.clone(),
            address: None,
            text: text.clone(),
            created: now,
            send: None,
            deadline: now.saturating_add(OF_USE).ok(),
        });
        let messages = messages.collect();
        Announcement { what, audience, text, next, messages }
    };
    said.into_iter().map(announcement).collect()
}

/// A draft of the message to the public, until a person has written to them or the outage is over. Absent if
/// no external stakeholders are to be told, or no words for them are known.
pub fn draft(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &IncidentStatus,
    now: Timestamp,
) -> Option<String> {
    let is_outside = |audience: Audience| audience == Audience::External;
    let stakeholders = &status.service.as_ref()?.stakeholders;
    let is_wanted = stakeholders.iter().any(|stakeholder| is_outside(stakeholder.audience));
    let is_written = incident.spec.updates.iter().any(|update| is_outside(update.audience));
    if !is_wanted || is_written || status.resolved.is_some() || status.duplicate_of.is_some() {
        return None;
    }
    let zone = zone(facts.rotations.iter().map(|rotation| &**rotation), status);
    let text = Words::of(incident, status, &zone, now).outside(None)?;
    Some(cut(&text, MAX_DRAFT))
}

/// The message at the end: since when, or that it was no outage of its own.
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
        said.into_iter().flat_map(|said| said.messages).map(|message| message.text).collect()
    }

    #[test]
    fn an_update_says_when_people_hear_next() {
        let update = |text: Value| json!({"updates": [{"audience": "Internal", "text": text, "nextUpdateTime": "2026-11-22T02:40:00Z"}]});
        let last = |spec: Value| said(spec, json!({})).pop();
        let lena = "lena leads the repair. Next update by 02:40 UTC.";
        assert_eq!(last(update(json!("lena leads the repair."))).as_deref(), Some(lena));
        assert_eq!(last(update(json!("lena leads the repair"))).as_deref(), Some(lena));
        assert!(last(update(json!(null))).unwrap().ends_with("unable to pay. Next update by 02:40."));
        let without = json!({"updates": [{"audience": "Internal", "text": "as written"}]});
        assert_eq!(last(without).as_deref(), Some("as written"));
    }

    #[test]
    fn an_announcement_says_when_people_hear_next() {
        let next = |spec: Value| {
            let said = decide(&incident(spec), &IncidentFacts::default(), &status(json!({})), now());
            said.last().unwrap().next.map(|time| time.to_string())
        };
        assert_eq!(next(json!({})).as_deref(), Some("2026-11-22T03:00:00Z"));
        let written = json!({"audience": "Internal", "nextUpdateTime": "2026-11-22T02:45:00Z"});
        assert_eq!(next(json!({"updates": [written]})).as_deref(), Some("2026-11-22T02:45:00Z"));
        let without = json!({"updates": [written, {"audience": "Internal", "text": "t"}]});
        assert_eq!(next(without), None, "nothing is promised any more");
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
    fn a_draft_lasts_until_a_person_writes_or_it_is_over() {
        let draft = |spec: Value, more: Value| {
            draft(&incident(spec), &IncidentFacts::default(), &status(more), now())
        };
        let open = draft(json!({}), json!({})).unwrap();
        assert!(open.contains("Payments may fail.") && !open.contains("Next update"), "{open}");
        assert_eq!(said(json!({}), json!({})).len(), 1, "the public hears nothing by itself");
        assert!(draft(json!({"updates": [{"audience": "Internal"}]}), json!({})).is_some());
        assert_eq!(draft(json!({"updates": [{"audience": "External"}]}), json!({})), None);
        let resolved = json!({"resolved": {"user": "mayday", "time": OPEN}});
        assert_eq!(draft(json!({}), resolved), None);
        let inside = json!([{"audience": "Internal", "channelRef": {"name": "room"}}]);
        assert_eq!(draft(json!({}), json!({"service": {"stakeholders": inside}})), None);
    }
}
