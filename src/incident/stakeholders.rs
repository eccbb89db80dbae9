//! Messages to stakeholders (rules §10): inside by itself, outside only when a person says so. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::Facts;
use super::recovery;
use crate::api::Incident;
use crate::api::incident::Audience;
use crate::api::incident_status::IncidentStatus;
use crate::api::message::{Message, MessageState, Purpose};
use crate::cluster::conditions::seconds;
use crate::oncall::recipients;
use crate::oncall::text::Stakeholders;

/// When people hear next, if nobody says another time.
const NEXT: SignedDuration = SignedDuration::from_mins(30);
/// A message to stakeholders is of use for so long.
const OF_USE: SignedDuration = SignedDuration::from_hours(4);

/// What is to be said now, each under the name by which it is said once.
pub fn decide(
    incident: &Incident,
    facts: &Facts,
    status: &IncidentStatus,
    now: Timestamp,
) -> Vec<(String, Vec<Message>)> {
    let Some(service) = &status.service else { return Vec::new() };
    // They hear of an outage once, from the incident that is not the duplicate.
    if status.duplicate_of.is_some() {
        return Vec::new();
    }
    let zone = zone(facts, status);
    let impact = incident.spec.impact.clone().or_else(|| service.impact.clone());
    let impact = impact.unwrap_or_else(|| format!("{} is out", service.title));
    let public = incident.spec.public_summary.clone().or_else(|| service.public_summary.clone());
    let start = status.out_since().map_or(now, |time| time.0.min(now));
    let lead = status.lead.as_ref().map(|lead| lead.user.as_str());
    let say = |impact: &str, next: Option<Timestamp>| {
        let message = Stakeholders { start, impact, lead, next_update: next, zone: &zone };
        (message.internal(), message.external())
    };
    // What is said, to whom, under which name; the name makes it said once.
    let mut said: Vec<(Audience, String, String, MessageState)> = Vec::new();
    let relapse = status.relapses;
    if status.resolved.is_none() {
        let next = now.saturating_add(NEXT).ok();
        said.push((
            Audience::Internal,
            format!("{relapse}/open"),
            say(&impact, next).0,
            MessageState::Queued,
        ));
        if let Some(lead) = lead {
            said.push((
                Audience::Internal,
                format!("{relapse}/lead/{lead}"),
                say(&impact, next).0,
                MessageState::Queued,
            ));
        }
        if let Some(public) = &public {
            said.push((
                Audience::External,
                format!("{relapse}/public"),
                say(public, next).1,
                MessageState::Held,
            ));
        }
    } else {
        let end = status.resolved.as_ref().map_or(now, |resolved| resolved.time.0);
        let clock = crate::oncall::text::clock(end, &zone);
        let text = format!("Over since {clock}: {}. {}.", incident.spec.title, how(incident, status));
        said.push((Audience::Internal, format!("{relapse}/over"), text, MessageState::Queued));
    }
    for (index, update) in incident.spec.updates.iter().enumerate() {
        let next = update.next_update_time.as_ref().map(|time| time.0);
        let text = match (&update.text, update.audience) {
            (Some(text), _) => text.clone(),
            (None, Audience::External) => {
                public.as_ref().map(|public| say(public, next).1).unwrap_or_default()
            }
            (None, Audience::Internal) => say(&impact, next).0,
        };
        if !text.is_empty() {
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
                created_time: seconds(now),
                send_time: None,
                deadline: now.saturating_add(OF_USE).ok().map(seconds),
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

fn how(incident: &Incident, status: &IncidentStatus) -> &'static str {
    if recovery::resolution(incident, status).is_some() { "Resolved by people" } else { "Proved healthy" }
}

/// The time zone people of the service read times in.
pub fn zone(facts: &Facts, status: &IncidentStatus) -> TimeZone {
    let rotations = status.service.as_ref().and_then(|service| service.rotations.as_ref());
    let reference = rotations.and_then(|rotations| rotations.on_call.as_ref().or(rotations.lead.as_ref()));
    let rotation = reference
        .and_then(|wanted| facts.rotations.iter().find(|rotation| rotation.name_any() == wanted.name));
    rotation.and_then(|rotation| TimeZone::get(&rotation.spec.time_zone).ok()).unwrap_or(TimeZone::UTC)
}
