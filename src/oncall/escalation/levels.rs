//! The levels of a rotation, climbed from one to the next. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::recipients::{self, Recipient, stored};
use crate::api::common::NameRef;
use crate::api::incident_status::{Escalation, IncidentStatus};
use crate::api::notification::Purpose;
use crate::api::oncall_rotation::{Level, Notify};
use crate::api::{Duration, OnCallRotation};
use crate::notify::message::Message;
use crate::oncall::escalation::page_text::{Page, Then};
use crate::oncall::escalation::{Facts, NOT_BEGUN, Paging, find, key};
use crate::oncall::schedule::local_time::LocalClock;

/// Maximum number of names, as the schema allows.
const MAX_PEOPLE: usize = 32;

/// The levels of a rotation, at one instant.
pub(super) struct Levels<'a> {
    facts: &'a Facts<'a>,
    status: &'a IncidentStatus,
    rotation: &'a OnCallRotation,
    clock: &'a LocalClock,
    levels: Vec<Level>,
    rounds: i32,
    fallback: &'a [Notify],
    now: Timestamp,
}

impl<'a> Levels<'a> {
    pub(super) fn new(
        facts: &'a Facts<'a>,
        status: &'a IncidentStatus,
        rotation: &'a OnCallRotation,
        clock: &'a LocalClock,
        now: Timestamp,
    ) -> Levels<'a> {
        let (levels, rounds, fallback) = match &rotation.spec.escalation {
            Some(escalation) => {
                (escalation.levels.clone(), escalation.rounds.unwrap_or(1), &escalation.fallback[..])
            }
            None => {
                let on_duty = Notify { on_duty: Some(Default::default()), ..Notify::default() };
                (vec![Level { notify: vec![on_duty], wait: Duration::from_secs(300) }], 2, &[][..])
            }
        };
        Levels { facts, status, rotation, clock, levels, rounds, fallback, now }
    }

    /// Tries the levels again if none of their people has been called so far. Reports the result only if it
    /// differs from the last one.
    pub(super) fn restart(&self, before: Escalation) -> Paging {
        let paging = self.escalate(0, 0);
        if paging.escalation.as_ref() != Some(&before) {
            return paging;
        }
        Paging { escalation: Some(before), wake: paging.wake, ..Paging::default() }
    }

    /// The next instant at which the people on duty may change.
    fn next_edge(&self) -> Option<Timestamp> {
        let notified = self.levels.iter().flat_map(|level| &level.notify).chain(self.fallback);
        let named = notified.filter_map(|target| target.rotation.as_ref());
        let others = named.filter_map(|named| find(self.facts.rotations, &named.name));
        std::iter::once(self.rotation)
            .chain(others)
            .filter_map(|rotation| {
                recipients::schedule(rotation, self.facts.overrides, self.now)?.next_edge(self.now)
            })
            .min()
    }

    /// Pages the first level, from this one on, with a person or room that can be reached; else the fallback.
    pub(super) fn escalate(&self, level: i32, round: i32) -> Paging {
        let mut skipped = Paging::default();
        let mut place = self.place(level, round);
        // If one whole pass reaches no one, another one reaches no one either.
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
            notes: vec![format!(
                "level {} is called: {}{lost}",
                level + 1,
                crate::oncall::escalation::page_text::together(&people)
            )],
            escalation: Some(Escalation {
                rotation_ref: Some(NameRef { name: self.name() }),
                level,
                round,
                people,
                next_time: Some(stored(until)),
                exhausted: false,
            }),
            wake: Some(stored(until).0),
            settle: Vec::new(),
        }
    }

    fn fall_back(&self, level: i32, round: i32) -> Paging {
        let recipients = self.recipients(self.fallback);
        let people = self.reached(&recipients);
        let lost = self.lost(&recipients).map(|lost| format!("; {lost}")).unwrap_or_default();
        // Paging starts at the first level, so a fallback from there means that no level reached a person.
        let begun = (level, round) != (0, 0);
        let name = self.name();
        let told = crate::oncall::escalation::page_text::together(&people);
        let note = match (begun, people.is_empty()) {
            (true, true) => format!("nobody answered, and {name} has nobody else to call{lost}"),
            (true, false) => format!("nobody answered; {told} is called, nobody else is left{lost}"),
            (false, true) => format!("nobody of {name} can be called{lost}"),
            (false, false) => format!("nobody of {name} can be called; {told} is called instead{lost}"),
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
        Some(format!(
            "{} cannot be reached: {channel}",
            crate::oncall::escalation::page_text::together(&names)
        ))
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

    /// The people and rooms that a list of targets names now, each once.
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

    /// The people called after a level, as far as is known now: those of the next level with a person or room
    /// that can be reached.
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
