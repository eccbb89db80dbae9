//! Paging: who is called now, who is called next, and when it stops. Pure.
//!
//! Each level is paged once a round. A level with nobody who can be reached now is skipped at once and recorded; what
//! is for its people is sent once their channels work. If a whole pass finds nobody, or every round is over, the
//! fallback is told, and as long as nobody at all was called it begins anew. People are resolved at the moment a level is paged, so a change of shift moves later levels only.
//! The acknowledgement stops everything.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::common::NameRef;
use crate::api::incident_status::{Escalation, IncidentState, IncidentStatus, Stamped};
use crate::api::message::{Message, MessageState, Purpose};
use crate::api::oncall_rotation::{Level, Notify};
use crate::api::{Duration, Incident, NotificationChannel, OnCallOverride, OnCallRotation};

use super::local_time::LocalClock;
use super::recipients::{self, Recipient, stored};
use super::text::{Page, Then};

/// As many as the API takes in an incident.
const MAX_MESSAGES: usize = 100;
/// As many names as the API takes.
const MAX_PEOPLE: usize = 32;
/// The level of an escalation that has not begun, because its rotation is missing, or nobody of it could be reached.
const NOT_BEGUN: i32 = -1;

/// What paging is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident with the status that is about to be written: service copy, acknowledgement, lead, state,
    /// pagedAnew, messages, escalation.
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
    fn reaches_somebody(&self) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| !escalation.people.is_empty())
    }

    /// What was skipped, and then this.
    fn then(mut self, next: Paging) -> Paging {
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
fn key(incident: &Incident, status: &IncidentStatus) -> String {
    let uid = incident.metadata.uid.as_deref().unwrap_or_default();
    format!("{uid}/{}.", status.paged_anew)
}

/// Whether a message is a page of a level, of this time or one before.
fn is_of_a_level(message: &Message) -> bool {
    let key = message.id.split('/').nth(1).and_then(|key| key.split_once('.'));
    key.is_some_and(|(number, _)| number.parse::<i32>().is_ok())
}

fn find<'a>(rotations: &'a [Arc<OnCallRotation>], name: &str) -> Option<&'a OnCallRotation> {
    rotations.iter().find(|rotation| rotation.name_any() == name).map(|rotation| &**rotation)
}

/// The levels of a rotation, at one instant.
struct Ladder<'a> {
    facts: &'a Facts<'a>,
    status: &'a IncidentStatus,
    rotation: &'a OnCallRotation,
    clock: &'a LocalClock,
    levels: Vec<Level>,
    rounds: i32,
    fallback: &'a [Notify],
    now: Timestamp,
}

impl<'a> Ladder<'a> {
    fn new(
        facts: &'a Facts<'a>,
        status: &'a IncidentStatus,
        rotation: &'a OnCallRotation,
        clock: &'a LocalClock,
        now: Timestamp,
    ) -> Ladder<'a> {
        let (levels, rounds, fallback) = match &rotation.spec.escalation {
            Some(escalation) => {
                (escalation.levels.clone(), escalation.rounds.unwrap_or(1), &escalation.fallback[..])
            }
            None => {
                let on_duty = Notify { on_duty: Some(Default::default()), ..Notify::default() };
                (vec![Level { notify: vec![on_duty], wait: Duration::from_secs(300) }], 2, &[][..])
            }
        };
        Ladder { facts, status, rotation, clock, levels, rounds, fallback, now }
    }

    /// Tries once more where nobody of the levels has been called so far. What comes of it is said if it is something
    /// else than before.
    fn begin_anew(&self, before: Escalation) -> Paging {
        let paging = self.climb(0, 0);
        if paging.escalation.as_ref() != Some(&before) {
            return paging;
        }
        Paging { escalation: Some(before), wake: paging.wake, ..Paging::default() }
    }

    /// The next instant at which somebody else may be on duty.
    fn next_edge(&self) -> Option<Timestamp> {
        let notified = self.levels.iter().flat_map(|level| &level.notify).chain(self.fallback);
        let named = notified.filter_map(|target| target.rotation.as_ref());
        let others = named.filter_map(|named| find(self.facts.rotations, &named.name));
        std::iter::once(self.rotation)
            .chain(others)
            .filter_map(|rotation| recipients::schedule(rotation, self.facts.overrides)?.next_edge(self.now))
            .min()
    }

    /// Pages the first level with somebody who can be reached, from this one on, or the fallback.
    fn climb(&self, level: i32, round: i32) -> Paging {
        let mut skipped = Paging::default();
        let mut place = self.place(level, round);
        // After one whole pass without anybody another one finds nobody either.
        for _ in 0..self.levels.len() {
            let Some((index, round)) = place else { break };
            let Some(level) = self.level(index) else { break };
            let recipients = self.recipients(&level.notify);
            let paging = self.page(index, round, &level.wait, &recipients);
            if paging.reaches_somebody() {
                return skipped.then(paging);
            }
            let lost = self.lost(&recipients).unwrap_or_else(|| "nobody can be reached".to_owned());
            skipped.messages.extend(paging.messages);
            skipped.notes.push(format!("level {} of {}: {lost}, skipped", index + 1, self.name()));
            place = self.place(index + 1, round);
        }
        skipped.then(self.fall_back(level, round))
    }

    fn page(&self, level: i32, round: i32, wait: &Duration, recipients: &[Recipient]) -> Paging {
        let until = self.now.checked_add(wait.get()).unwrap_or(Timestamp::MAX);
        let next = self.after(level, round);
        let then = Then::Called(until, &next);
        let key = format!("{}{round}/{level}", key(self.facts.incident, self.status));
        let people = self.reached(recipients);
        let lost = self.lost(recipients).map(|lost| format!("; {lost}")).unwrap_or_default();
        Paging {
            messages: self.messages(recipients, &key, then),
            notes: vec![format!("paged {}, level {}{lost}", super::text::together(&people), level + 1)],
            escalation: Some(Escalation {
                rotation_ref: Some(NameRef { name: self.name() }),
                level,
                round,
                people,
                next_time: Some(stored(until)),
                exhausted: false,
            }),
            wake: Some(stored(until).0),
            supersede: Vec::new(),
        }
    }

    fn fall_back(&self, level: i32, round: i32) -> Paging {
        let recipients = self.recipients(self.fallback);
        let people = self.reached(&recipients);
        let lost = self.lost(&recipients).map(|lost| format!("; {lost}")).unwrap_or_default();
        // The first level is tried first, so whoever comes here from there has found nobody.
        let begun = (level, round) != (0, 0);
        let name = self.name();
        let told = super::text::together(&people);
        let note = match (begun, people.is_empty()) {
            (true, true) => format!("nobody answered, and {name} has nobody else to call{lost}"),
            (true, false) => format!("nobody answered; told {told}, nobody else is left to call{lost}"),
            (false, true) => format!("nobody of {name} can be called{lost}"),
            (false, false) => format!("nobody of {name} can be called; told {told}{lost}"),
        };
        let key = format!("{}fallback", key(self.facts.incident, self.status));
        let last = i32::try_from(self.levels.len()).unwrap_or(i32::MAX).saturating_sub(1);
        Paging {
            messages: self.messages(&recipients, &key, Then::NobodyElse),
            escalation: Some(Escalation {
                rotation_ref: Some(NameRef { name: self.name() }),
                level: if begun { level.clamp(0, last.max(0)) } else { NOT_BEGUN },
                round,
                people,
                next_time: None,
                exhausted: true,
            }),
            notes: vec![note],
            wake: if begun { None } else { self.next_edge() },
            ..Paging::default()
        }
    }

    /// Who of them can be reached now.
    fn reached(&self, recipients: &[Recipient]) -> Vec<String> {
        let reached = recipients.iter().filter(|recipient| self.can_reach(recipient));
        reached.take(MAX_PEOPLE).map(|recipient| recipient.name().to_owned()).collect()
    }

    /// Who of them cannot, in words: `emil cannot be reached: NotificationChannel hook is not Ready`.
    fn lost(&self, recipients: &[Recipient]) -> Option<String> {
        let lost: Vec<&Recipient> =
            recipients.iter().filter(|recipient| !self.can_reach(recipient)).take(MAX_PEOPLE).collect();
        let (_, channel, _) = lost.first()?.contacts.first()?;
        let channel = recipients::trouble(channel, self.facts.channels)?;
        let names: Vec<String> = lost.iter().map(|recipient| recipient.name().to_owned()).collect();
        Some(format!("{} cannot be reached: {channel}", super::text::together(&names)))
    }

    fn can_reach(&self, recipient: &Recipient) -> bool {
        recipient.can_be_reached(self.facts.channels)
    }

    fn messages(&self, recipients: &[Recipient], key: &str, then: Then) -> Vec<Message> {
        let spec = &self.facts.incident.spec;
        let service = self.status.service.as_ref();
        let impact = spec.impact.as_deref().or_else(|| service.and_then(|s| s.impact.as_deref()));
        let start = self.status.out_since().map_or(self.now, |start| start.0.min(self.now));
        let namespace = self.facts.incident.namespace().unwrap_or_default();
        let name = self.facts.incident.name_any();
        let page = Page {
            severity: spec.severity,
            title: &spec.title,
            start,
            finding: self.facts.finding,
            impact,
            done: self.facts.done,
            person: None,
            now: self.now,
            then,
            namespace: &namespace,
            name: &name,
            zone: self.clock.zone(),
        };
        recipients
            .iter()
            .flat_map(|recipient| {
                let text = Page { person: recipient.person.as_deref(), ..page.clone() }.text();
                recipients::messages(std::slice::from_ref(recipient), key, Purpose::Page, &text, self.now)
            })
            .collect()
    }

    /// Whom a list of targets reaches now, each person and room once.
    fn recipients(&self, targets: &[Notify]) -> Vec<Recipient> {
        let overrides = self.facts.overrides;
        let mut found: Vec<Recipient> = Vec::new();
        for target in targets {
            let reached = if target.on_duty.is_some() {
                recipients::on_duty(self.rotation, overrides, self.now)
            } else if let Some(person) = &target.person {
                Recipient::person(self.rotation, &person.name).into_iter().collect()
            } else if let Some(other) = &target.rotation {
                let other = find(self.facts.rotations, &other.name);
                other.map(|o| recipients::on_duty(o, overrides, self.now)).unwrap_or_default()
            } else {
                target.channel.iter().map(Recipient::channel).collect()
            };
            for recipient in reached.into_iter().filter(|recipient| !recipient.contacts.is_empty()) {
                let same = |other: &Recipient| match (&other.user, &recipient.user) {
                    (Some(one), Some(two)) => one == two,
                    (None, None) => other.contacts == recipient.contacts,
                    _ => false,
                };
                if !found.iter().any(same) {
                    found.push(recipient);
                }
            }
        }
        found
    }

    /// Who is called after a level, as far as can be said now: those of the next one with somebody who can be reached.
    fn after(&self, level: i32, round: i32) -> Vec<String> {
        let mut place = self.place(level + 1, round);
        for _ in 0..self.levels.len() {
            let Some((index, round)) = place else { break };
            let people = self.level(index).map(|level| self.reached(&self.recipients(&level.notify)));
            if let Some(people) = people.filter(|people| !people.is_empty()) {
                return people;
            }
            place = self.place(index + 1, round);
        }
        self.reached(&self.recipients(self.fallback))
    }

    /// The level and round, carried over into the next round; `None` after the last.
    fn place(&self, level: i32, round: i32) -> Option<(i32, i32)> {
        let (level, round) = if self.level(level).is_some() { (level, round) } else { (0, round + 1) };
        (round < self.rounds).then_some((level, round))
    }

    fn level(&self, index: i32) -> Option<&Level> {
        self.levels.get(usize::try_from(index).ok()?)
    }

    fn name(&self) -> String {
        self.rotation.name_any()
    }
}

#[cfg(test)]
#[path = "escalation_tests.rs"]
mod tests;
