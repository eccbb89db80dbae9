//! The recipients of a message, and the messages themselves. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::api::business_service::ServiceRotations;
use crate::api::common::{NameRef, stored_time};
use crate::api::conditions::{ConditionType, find};
use crate::api::notification::{Purpose, Reader};
use crate::api::oncall_rotation::{Contact, Person};
use crate::api::{NotificationChannel, OnCallOverride, OnCallRotation};
use crate::notify::message::{self, LIFETIME, Message};
use crate::text::cut;

use crate::oncall::schedule::Schedule;
use crate::oncall::schedule::overrides;

/// Longest text that the API takes, in bytes.
const MAX_TEXT: usize = 4000;

/// A person, or a room, that can be told something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Name in the rotation; absent for a room.
    pub person: Option<String>,
    /// Kubernetes user; absent for a room.
    pub user: Option<String>,
    /// The ways to reach them, each after its delay. An empty list reaches no one.
    pub contacts: Vec<(SignedDuration, NameRef, Option<String>)>,
}

impl Recipient {
    /// A person of a rotation; `None` if it has no such person.
    pub fn person(rotation: &OnCallRotation, name: &str) -> Option<Recipient> {
        rotation.spec.people.iter().find(|person| person.name == name).map(Recipient::from)
    }

    /// A channel, such as a room.
    pub fn channel(channel: &NameRef) -> Recipient {
        Recipient { person: None, user: None, contacts: vec![(SignedDuration::ZERO, channel.clone(), None)] }
    }

    /// Whether any of the ways works now.
    pub fn can_be_reached(&self, channels: &[Arc<NotificationChannel>]) -> bool {
        self.contacts.iter().any(|(_, channel, _)| trouble(channel, channels).is_none())
    }

    /// The person, or the room.
    pub fn name(&self) -> &str {
        let channel = || self.contacts.first().map_or("", |(_, channel, _)| &channel.name);
        self.person.as_deref().unwrap_or_else(channel)
    }
}

impl From<&Person> for Recipient {
    fn from(person: &Person) -> Recipient {
        let contact = |contact: &Contact| {
            let delay = contact.delay.as_ref().map_or(SignedDuration::ZERO, |delay| delay.get());
            (delay, contact.channel_ref.clone(), contact.address.clone())
        };
        Recipient {
            person: Some(person.name.clone()),
            user: Some(person.user.clone()),
            contacts: person.contacts.iter().map(contact).collect(),
        }
    }
}

/// Why nothing can be sent by a channel now. One that nothing is known of yet is given a chance.
pub fn trouble(channel: &NameRef, channels: &[Arc<NotificationChannel>]) -> Option<String> {
    let name = &channel.name;
    let Some(known) = channels.iter().find(|known| known.name_any() == *name) else {
        return Some(format!("NotificationChannel {name} does not exist"));
    };
    let ready = known.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Ready))?;
    (ready.status == "False").then(|| format!("NotificationChannel {name} is not Ready"))
}

/// The people on duty in a rotation. Empty if the rotation cannot be used; its `Ready` condition says why.
pub fn on_duty(
    rotation: &OnCallRotation,
    overrides: &[Arc<OnCallOverride>],
    at: Timestamp,
) -> Vec<Recipient> {
    let Some(schedule) = schedule(rotation, overrides, at) else { return Vec::new() };
    let names = schedule.at(at).into_keys().filter_map(|place| schedule.people.get(place).cloned());
    names.filter_map(|name| Recipient::person(rotation, &name)).collect()
}

/// The people called when a lead is needed: those on duty in the lead rotation of a service or, if none of
/// them can be reached, in its on-call rotation. If no channel works, the message waits for one of the first.
pub fn for_a_lead(
    named: &ServiceRotations,
    rotations: &[Arc<OnCallRotation>],
    overrides: &[Arc<OnCallOverride>],
    channels: &[Arc<NotificationChannel>],
    at: Timestamp,
) -> Vec<Recipient> {
    let callable = |named: &NameRef| {
        let rotation = rotations.iter().find(|rotation| rotation.name_any() == named.name)?;
        let mut found = on_duty(rotation, overrides, at);
        found.retain(|recipient| !recipient.contacts.is_empty());
        (!found.is_empty()).then_some(found)
    };
    let mut found: Vec<Vec<Recipient>> =
        [&named.lead, &named.on_call].into_iter().flatten().filter_map(callable).collect();
    let reached = found.iter().position(|people| people.iter().any(|one| one.can_be_reached(channels)));
    if found.is_empty() { Vec::new() } else { found.swap_remove(reached.unwrap_or_default()) }
}

/// The schedule of a rotation with its overrides; `None` if it cannot be used.
pub fn schedule(
    rotation: &OnCallRotation,
    overrides: &[Arc<OnCallOverride>],
    at: Timestamp,
) -> Option<Schedule> {
    let people: Vec<String> = rotation.spec.people.iter().map(|person| person.name.clone()).collect();
    let stand_ins = overrides::of_rotation(overrides, &rotation.name_any(), &people);
    Schedule::of_rotation(rotation, stand_ins, at).ok()
}

/// One message for each way to reach each of them. `about` is the first part of the keys, such as `<uid>/0.0/1`: with
/// the same one the same person gets the same keys, so that deciding twice stores nothing twice.
pub fn messages(
    recipients: &[Recipient],
    about: &str,
    purpose: Purpose,
    text: &str,
    now: Timestamp,
) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for recipient in recipients {
        for (delay, channel, address) in &recipient.contacts {
            let address_part = address.as_deref().unwrap_or_default();
            let person = recipient.person.as_deref().unwrap_or("-");
            let key = message::key(&[about, person, &channel.name, address_part]);
            if messages.iter().any(|message| message.key == key) {
                continue;
            }
            let send = now.checked_add(*delay).unwrap_or(now);
            messages.push(Message {
                key,
                purpose,
                recipient: Reader { name: recipient.name().to_owned(), user: recipient.user.clone() },
                channel: channel.clone(),
                address: address.clone(),
                text: cut(text, MAX_TEXT),
                created: now,
                send: (!delay.is_zero()).then_some(send),
                deadline: send.checked_add(LIFETIME).ok(),
            });
        }
    }
    messages
}

/// The instant as the API stores it.
pub(super) fn stored(at: Timestamp) -> Time {
    stored_time(at)
}

#[cfg(test)]
#[path = "recipients_tests.rs"]
mod tests;
