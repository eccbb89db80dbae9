//! Paging: who is called now, who is called next, and when it stops. Pure.
//!
//! Each level is paged once a round. A level whose people cannot be reached now is skipped at once and
//! recorded; their messages are sent once their channels work. If a whole pass reaches no one, or every round
//! is over, the fallback is told. As long as no level has reached anyone, paging starts again from the first
//! level. People are resolved at the moment a level is paged, so a change of shift moves later levels only.
//! The acknowledgement stops everything.

pub mod levels;
pub mod page_text;
pub mod recipients;
pub mod responders;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::incident_status::{Escalation, IncidentState, IncidentStatus, Stamped};
use crate::api::notification::{NotificationState, Purpose};
use crate::api::{Incident, Notification, NotificationChannel, OnCallOverride, OnCallRotation};
use crate::notify::message::{self, Message};
use crate::notify::schedule::{self, Settlement};

use crate::oncall::escalation::levels::Levels;
use crate::oncall::schedule::local_time::LocalClock;

/// The level of an escalation that has not begun, because its rotation is missing or none of its people could
/// be reached.
pub(super) const NOT_BEGUN: i32 = -1;

/// What paging is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident with the status that is about to be written: service copy, acknowledgement, lead, state,
    /// escalationRestarts, escalation.
    pub incident: &'a Incident,
    /// The Notifications about it.
    pub notifications: &'a [Arc<Notification>],
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

/// The result of the decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paging {
    /// Messages to store before the status is written.
    pub messages: Vec<Message>,
    /// Notifications that are no longer needed, and those through which a person has answered, by name.
    pub settle: Vec<(String, Settlement)>,
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

    /// Puts the messages and notes of skipped levels before those of the next result.
    pub(super) fn then(mut self, next: Paging) -> Paging {
        self.messages.extend(next.messages);
        self.notes.extend(next.notes);
        Paging { messages: self.messages, notes: self.notes, ..next }
    }
}

/// Decides who is paged.
pub fn decide(facts: &Facts, now: Timestamp) -> Paging {
    let Some(status) = &facts.incident.status else { return Paging::default() };
    let mut settle = no_longer_needed(status, facts.notifications);
    settle.extend(answered_through(status, facts.notifications));
    let current = status.escalation.clone();
    let answered = status.acknowledgement.is_some() || status.lead.is_some();
    if answered || !is_open(status) {
        let escalation = current.map(|current| Escalation { next_time: None, ..current });
        return Paging { settle, escalation, ..Paging::default() };
    }

    let rotation_ref = status.service.as_ref().and_then(|s| s.rotations.as_ref()?.on_call.clone());
    let Some(rotation_ref) = rotation_ref else {
        return cannot_page(current, settle, "its service names no on-call rotation", now);
    };
    let Some(rotation) = find(facts.rotations, &rotation_ref.name) else {
        let reason = format!("rotation {} is missing", rotation_ref.name);
        return cannot_page(current, settle, &reason, now);
    };
    // Without a time zone no person is on duty. People named by the levels, and the fallback, are called all
    // the same.
    let clock = LocalClock::named(&rotation.spec.time_zone).unwrap_or_else(LocalClock::utc);
    let levels = Levels::new(facts, status, rotation, &clock, now);
    let mut paging = match current {
        None => levels.escalate(0, 0),
        Some(current) if current.level == NOT_BEGUN => levels.restart(current),
        Some(current) => match &current.next_time {
            Some(next) if next.0 <= now => levels.escalate(current.level.saturating_add(1), current.round),
            _ => Paging {
                wake: current.next_time.as_ref().map(|next| next.0),
                escalation: Some(current),
                ..Paging::default()
            },
        },
    };
    let (messages, replaced) = unsaid(paging.messages, facts.notifications, now);
    settle.extend(replaced);
    paging.messages = messages;
    Paging { settle, ..paging }
}

/// The messages that are not stored yet. One that says something else than a stored one takes its place, if that one
/// still waits for its time or for its channel; one that is about to be sent stays.
fn unsaid(
    messages: Vec<Message>,
    notifications: &[Arc<Notification>],
    now: Timestamp,
) -> (Vec<Message>, Vec<(String, Settlement)>) {
    let (mut unsaid, mut replaced) = (Vec::new(), Vec::new());
    for mut new in messages {
        let known: Vec<&Arc<Notification>> =
            notifications.iter().filter(|known| message::is_same(&known.spec.key, &new.key)).collect();
        let waits = |known: &Notification| {
            let is_tried = known.status.as_ref().is_some_and(|status| status.attempts > 0);
            schedule::due(known).is_some_and(|due| is_tried || due > now)
        };
        let waiting: Vec<_> = known.iter().filter(|known| waits(known)).collect();
        let is_said = known.iter().any(|known| known.is_queued() && known.spec.text == new.text);
        if !waiting.is_empty() && !is_said {
            replaced.extend(waiting.iter().map(|known| (known.name_any(), Settlement::Superseded)));
            new.key = message::reworded(&new.key, &new.text);
            unsaid.push(new);
        } else if known.is_empty() {
            unsaid.push(new);
        }
    }
    (unsaid, replaced)
}

fn is_open(status: &IncidentStatus) -> bool {
    status.resolved.is_none() && status.state.is_none_or(IncidentState::is_open)
}

/// Records that paging is impossible: once, when the next call is due. Mayday tries again on every change.
/// The time of the next call is kept, so that paging goes on from there.
fn cannot_page(
    current: Option<Escalation>,
    settle: Vec<(String, Settlement)>,
    reason: &str,
    now: Timestamp,
) -> Paging {
    if let Some(current) = current {
        let next = current.next_time.as_ref().map(|next| next.0);
        let is_due = next.is_some_and(|next| next <= now);
        let notes = (is_due && !current.exhausted).then(|| format!("nobody further can be paged: {reason}"));
        return Paging {
            settle,
            wake: next.filter(|_| !is_due),
            notes: notes.into_iter().collect(),
            escalation: Some(Escalation { exhausted: current.exhausted || is_due, ..current }),
            ..Paging::default()
        };
    }
    // The rotation is missing. Once it is there, whether its people can be reached is decided separately.
    let escalation = Escalation { level: NOT_BEGUN, exhausted: true, ..Escalation::default() };
    let notes = vec![format!("nobody can be paged: {reason}")];
    Paging { settle, escalation: Some(escalation), notes, ..Paging::default() }
}

/// Pages that are no longer needed: those of all levels once a person has answered, every page for a person
/// who answered after it was written, and every page once the outage is over.
fn no_longer_needed(
    status: &IncidentStatus,
    notifications: &[Arc<Notification>],
) -> Vec<(String, Settlement)> {
    let open = is_open(status);
    let answers = answers(status);
    notifications
        .iter()
        .filter(|page| page.spec.purpose == Purpose::Page && page.is_queued())
        .filter(|page| {
            let theirs = answers.iter().any(|answer| {
                page.spec.recipient.user.as_ref() == Some(&answer.user)
                    && page.spec.created_time.0 < answer.time.0
            });
            let of_levels = !answers.is_empty() && is_of_a_level(&page.spec.key);
            !open || theirs || of_levels
        })
        .map(|page| (page.name_any(), Settlement::Superseded))
        .collect()
}

/// The pages that were sent to a person who has answered since.
fn answered_through(
    status: &IncidentStatus,
    notifications: &[Arc<Notification>],
) -> Vec<(String, Settlement)> {
    let answers = answers(status);
    let answered = |page: &Arc<Notification>| {
        let stored = page.status.as_ref()?;
        let is_sent = page.spec.purpose == Purpose::Page && stored.state == NotificationState::Sent;
        let by = answers.iter().find(|answer| {
            page.spec.recipient.user.as_ref() == Some(&answer.user)
                && page.spec.created_time.0 <= answer.time.0
        })?;
        let is_new = is_sent && stored.acknowledgement.is_none();
        is_new.then(|| (page.name_any(), Settlement::Acknowledged((*by).clone())))
    };
    notifications.iter().filter_map(answered).collect()
}

/// Who has answered: the person on it, and the lead.
fn answers(status: &IncidentStatus) -> Vec<&Stamped> {
    [&status.acknowledgement, &status.lead].into_iter().flatten().collect()
}

/// Prefix of the keys of the levels' pages; it differs each time that paging begins again at the first level.
pub(super) fn key(incident: &Incident, status: &IncidentStatus) -> String {
    let uid = incident.metadata.uid.as_deref().unwrap_or_default();
    format!("{uid}/{}.", status.escalation_restarts)
}

/// Whether the key is that of a page of a level, of this time or one before.
fn is_of_a_level(key: &str) -> bool {
    let key = key.split('/').nth(1).and_then(|key| key.split_once('.'));
    key.is_some_and(|(number, _)| number.parse::<i32>().is_ok())
}

pub(super) fn find<'a>(rotations: &'a [Arc<OnCallRotation>], name: &str) -> Option<&'a OnCallRotation> {
    rotations.iter().find(|rotation| rotation.name_any() == name).map(|rotation| &**rotation)
}

#[cfg(test)]
#[path = "escalation_tests.rs"]
mod tests;
