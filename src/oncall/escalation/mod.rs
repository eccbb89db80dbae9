//! Paging: who is called now, who is called next, and when it stops. Pure.
//!
//! Each level is paged once a round. A level with nobody who can be reached now is skipped at once and recorded; what
//! is for its people is sent once their channels work. If a whole pass finds nobody, or every round is over, the
//! fallback is told, and as long as nobody at all was called it begins anew. People are resolved at the moment a level
//! is paged, so a change of shift moves later levels only. The acknowledgement stops everything.

pub mod levels;
pub mod page_text;
pub mod recipients;
pub mod responders;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::incident_status::{Escalation, IncidentState, IncidentStatus, Stamped};
use crate::api::message::{Message, MessageState, Purpose};
use crate::api::{Incident, NotificationChannel, OnCallOverride, OnCallRotation};

use crate::oncall::escalation::levels::Ladder;
use crate::oncall::schedule::local_time::LocalClock;

/// As many as the API takes in an incident.
const MAX_MESSAGES: usize = 100;
/// The level of an escalation that has not begun, because its rotation is missing, or nobody of it could be reached.
pub(super) const NOT_BEGUN: i32 = -1;

/// What paging is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident with the status that is about to be written: service copy, acknowledgement, lead, state,
    /// escalationRestarts, messages, escalation.
    pub incident: &'a Incident,
    /// Every rotation of its namespace.
    pub rotations: &'a [Arc<OnCallRotation>],
    /// Every override of its namespace.
    pub overrides: &'a [Arc<OnCallOverride>],
    /// Every channel of its namespace.
    pub channels: &'a [Arc<NotificationChannel>],
    /// How Mayday knows, for the page: `not available for 20 s`.
    pub finding: Option<&'a str>,
    /// What Mayday has done, as a sentence for the page.
    pub done: &'a str,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paging {
    /// Messages to append; stored before they are sent.
    pub messages: Vec<Message>,
    /// Ids of messages that are no longer needed.
    pub supersede: Vec<String>,
    /// How far the paging is from now on; replaces what is stored.
    pub escalation: Option<Escalation>,
    /// What happened, for the timeline.
    pub notes: Vec<String>,
    /// When to decide again if nothing changes.
    pub wake: Option<Timestamp>,
}

impl Paging {
    pub(super) fn reaches_somebody(&self) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| !escalation.people.is_empty())
    }

    /// What was skipped, and then this.
    pub(super) fn then(mut self, next: Paging) -> Paging {
        self.messages.extend(next.messages);
        self.notes.extend(next.notes);
        Paging { messages: self.messages, notes: self.notes, ..next }
    }

    /// Carries the decision over into a status. Notes and wake are the caller's.
    pub fn apply(self, status: &mut IncidentStatus) {
        for message in &mut status.messages {
            if self.supersede.contains(&message.id) {
                message.state = MessageState::Superseded;
                message.next_attempt_time = None;
            }
            // What waited for a channel says what it would say now.
            let anew = self.messages.iter().find(|new| new.id == message.id);
            if let Some(anew) = anew.filter(|_| message.state == MessageState::Queued) {
                message.text.clone_from(&anew.text);
            }
        }
        recipients::append(&mut status.messages, self.messages, MAX_MESSAGES);
        status.escalation = self.escalation;
    }
}

/// Decides who is paged.
pub fn decide(facts: &Facts, now: Timestamp) -> Paging {
    let Some(status) = &facts.incident.status else { return Paging::default() };
    let supersede = no_longer_needed(status);
    let current = status.escalation.clone();
    let answered = status.acknowledgement.is_some() || status.lead.is_some();
    if answered || !is_open(status) {
        let escalation = current.map(|current| Escalation { next_time: None, ..current });
        return Paging { supersede, escalation, ..Paging::default() };
    }

    let rotation_ref = status.service.as_ref().and_then(|s| s.rotations.as_ref()?.on_call.clone());
    let Some(rotation_ref) = rotation_ref else {
        return cannot_page(current, supersede, "its service names no on-call rotation", now);
    };
    let Some(rotation) = find(facts.rotations, &rotation_ref.name) else {
        let reason = format!("rotation {} is missing", rotation_ref.name);
        return cannot_page(current, supersede, &reason, now);
    };
    // Without a zone nobody is on duty, but whom the levels name, and the fallback, are called all the same.
    let clock = LocalClock::named(&rotation.spec.time_zone).unwrap_or_else(LocalClock::utc);
    let ladder = Ladder::new(facts, status, rotation, &clock, now);
    let mut paging = match current {
        None => ladder.climb(0, 0),
        Some(current) if current.level == NOT_BEGUN => ladder.begin_anew(current),
        Some(current) => match &current.next_time {
            Some(next) if next.0 <= now => ladder.climb(current.level.saturating_add(1), current.round),
            _ => Paging {
                wake: current.next_time.as_ref().map(|next| next.0),
                escalation: Some(current),
                ..Paging::default()
            },
        },
    };
    paging.notes.extend(left_out(status, &paging.messages));
    Paging { supersede, ..paging }
}

/// That pages have no room beside those that wait, if it is so.
fn left_out(status: &IncidentStatus, pages: &[Message]) -> Option<String> {
    if pages.is_empty() {
        return None;
    }
    let mut messages = status.messages.clone();
    let count = recipients::append(&mut messages, pages.to_vec(), MAX_MESSAGES);
    (count > 0).then(|| format!("{count} of these pages are not sent: {MAX_MESSAGES} others still wait"))
}

fn is_open(status: &IncidentStatus) -> bool {
    status.resolved.is_none() && status.state.is_none_or(IncidentState::is_open)
}

/// Nobody can be paged; said once, when somebody is due, and tried again whenever something changes: the time at
/// which the next one is due stays, so it goes on from there.
fn cannot_page(current: Option<Escalation>, supersede: Vec<String>, reason: &str, now: Timestamp) -> Paging {
    if let Some(current) = current {
        let next = current.next_time.as_ref().map(|next| next.0);
        let is_due = next.is_some_and(|next| next <= now);
        let notes = (is_due && !current.exhausted).then(|| format!("nobody further can be paged: {reason}"));
        return Paging {
            supersede,
            wake: next.filter(|_| !is_due),
            notes: notes.into_iter().collect(),
            escalation: Some(Escalation { exhausted: current.exhausted || is_due, ..current }),
            ..Paging::default()
        };
    }
    // Without a rotation: once it is there, it is another matter whether anybody can be reached.
    let escalation = Escalation { level: NOT_BEGUN, exhausted: true, ..Escalation::default() };
    let notes = vec![format!("nobody can be paged: {reason}")];
    Paging { supersede, escalation: Some(escalation), notes, ..Paging::default() }
}

/// Pages that nobody needs any more: all levels' once somebody answered, every page for a person who answered after it
/// was written, and every page once the outage is over.
fn no_longer_needed(status: &IncidentStatus) -> Vec<String> {
    let open = is_open(status);
    let answers: Vec<&Stamped> = [&status.acknowledgement, &status.lead].into_iter().flatten().collect();
    status
        .messages
        .iter()
        .filter(|message| message.purpose == Purpose::Page)
        .filter(|message| matches!(message.state, MessageState::Queued | MessageState::Held))
        .filter(|message| {
            let theirs = answers.iter().any(|answer| {
                message.user.as_ref() == Some(&answer.user) && message.created_time.0 < answer.time.0
            });
            let of_levels = !answers.is_empty() && is_of_a_level(message);
            !open || theirs || of_levels
        })
        .map(|message| message.id.clone())
        .collect()
}

/// What the ids of the levels' pages begin with, which differs each time that people are paged anew.
pub(super) fn key(incident: &Incident, status: &IncidentStatus) -> String {
    let uid = incident.metadata.uid.as_deref().unwrap_or_default();
    format!("{uid}/{}.", status.escalation_restarts)
}

/// Whether a message is a page of a level, of this time or one before.
fn is_of_a_level(message: &Message) -> bool {
    let key = message.id.split('/').nth(1).and_then(|key| key.split_once('.'));
    key.is_some_and(|(number, _)| number.parse::<i32>().is_ok())
}

pub(super) fn find<'a>(rotations: &'a [Arc<OnCallRotation>], name: &str) -> Option<&'a OnCallRotation> {
    rotations.iter().find(|rotation| rotation.name_any() == name).map(|rotation| &**rotation)
}

#[cfg(test)]
#[path = "escalation_tests.rs"]
mod tests;
