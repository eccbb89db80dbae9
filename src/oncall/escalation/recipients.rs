//! Whom a message reaches, and the messages themselves. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use crate::api::business_service::ServiceRotations;
use crate::api::common::{NameRef, stored_time};
use crate::api::conditions::{ConditionType, find};
use crate::api::message::{Message, MessageState, Purpose};
use crate::api::oncall_rotation::{Contact, Person};
use crate::api::{NotificationChannel, OnCallOverride, OnCallRotation};

use crate::oncall::schedule::Schedule;
use crate::oncall::schedule::overrides;

/// A page of yesterday wakes nobody.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// Longest id that the API takes.
const MAX_ID: usize = 128;

/// A person, or a room, that can be told something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Name in the rotation; absent for a room.
    pub person: Option<String>,
    /// Kubernetes user; absent for a room.
    pub user: Option<String>,
    /// The ways to reach them, each after its delay. Nobody is reached by an empty list.
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

/// Everybody on duty in a rotation. Nobody if it cannot be used; its `Ready` condition says why.
pub fn on_duty(
    rotation: &OnCallRotation,
    overrides: &[Arc<OnCallOverride>],
    at: Timestamp,
) -> Vec<Recipient> {
    let Some(schedule) = schedule(rotation, overrides) else { return Vec::new() };
    let names = schedule.at(at).into_keys().filter_map(|place| schedule.people.get(place).cloned());
    names.filter_map(|name| Recipient::person(rotation, &name)).collect()
}

/// Who is called where a lead is needed: whoever is on duty in the lead's rotation of a service, or where nobody can be
/// reached there, in its own. Where no channel works, it waits for one of the first.
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
pub fn schedule(rotation: &OnCallRotation, overrides: &[Arc<OnCallOverride>]) -> Option<Schedule> {
    let people: Vec<String> = rotation.spec.people.iter().map(|person| person.name.clone()).collect();
    let stand_ins = overrides::of_rotation(overrides, &rotation.name_any(), &people);
    Schedule::of_known(&rotation.spec, stand_ins).ok()
}

/// One message for each way to reach each of them. `key` says what about, such as `<uid>/0.0/1`: with the same
/// key the same person gets the same ids, so that deciding twice stores nothing twice.
pub fn messages(
    recipients: &[Recipient],
    key: &str,
    purpose: Purpose,
    text: &str,
    now: Timestamp,
) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for recipient in recipients {
        for (delay, channel, address) in &recipient.contacts {
            let address_part = address.as_deref().unwrap_or_default();
            let id = id(&[key, recipient.person.as_deref().unwrap_or("-"), &channel.name, address_part]);
            if messages.iter().any(|message| message.id == id) {
                continue;
            }
            let send = now.checked_add(*delay).unwrap_or(now);
            messages.push(Message {
                id,
                purpose,
                person: recipient.person.clone(),
                user: recipient.user.clone(),
                channel_ref: channel.clone(),
                namespace: None,
                address: address.clone(),
                text: text.to_owned(),
                created_time: stored_time(now),
                send_time: (!delay.is_zero()).then(|| stored_time(send)),
                deadline: send.checked_add(LIFETIME).ok().map(stored_time),
                state: MessageState::Queued,
                attempts: 0,
                next_attempt_time: None,
                sent_time: None,
                error: None,
            });
        }
    }
    messages
}

/// The id of a message: its parts joined; where that would be too long, the key and a hash of the whole, so that
/// it is still seen what it is about.
pub fn id(parts: &[&str]) -> String {
    let joined = parts.join("/");
    if joined.len() <= MAX_ID && joined.is_ascii() {
        return joined;
    }
    let hash: String =
        Sha256::digest(joined.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{hash}", parts.first().copied().unwrap_or_default())
}

/// Appends the messages whose ids are not there yet. If there are more than `max`, the oldest that are settled go first,
/// then no more are taken: what waits to be sent is not lost. Only a page makes more room: for it goes first an older one
/// that waits for the same person by the same channel, and then what waits for stakeholders. Returns how many were left
/// out.
pub fn append(messages: &mut Vec<Message>, new: Vec<Message>, max: usize) -> usize {
    let mut fresh: Vec<Message> =
        new.into_iter().filter(|message| messages.iter().all(|m| m.id != message.id)).collect();
    let is_page = |message: &Message| message.purpose == Purpose::Page;
    fresh.sort_by_key(|message| !is_page(message));
    let pages: Vec<&Message> = fresh.iter().filter(|message| is_page(message)).collect();
    let lacks = |messages: &Vec<Message>, wanted: usize| (messages.len() + wanted).saturating_sub(max);

    let waits = |message: &Message| matches!(message.state, MessageState::Queued | MessageState::Held);
    drop_oldest(messages, lacks(messages, fresh.len()), |message| !waits(message));
    let replaced = |old: &Message| {
        let to_the_same = |new: &&Message| {
            (&new.user, &new.channel_ref, &new.address) == (&old.user, &old.channel_ref, &old.address)
        };
        is_page(old) && pages.iter().any(to_the_same)
    };
    drop_oldest(messages, lacks(messages, pages.len()), replaced);
    let can_wait = |message: &Message| message.purpose == Purpose::Stakeholders;
    drop_oldest(messages, lacks(messages, pages.len()), can_wait);

    let room = max.saturating_sub(messages.len());
    let left_out = fresh.len().saturating_sub(room);
    messages.extend(fresh.into_iter().take(room));
    left_out
}

/// Drops as many, the oldest first, of those that may go.
fn drop_oldest(messages: &mut Vec<Message>, mut count: usize, may_go: impl Fn(&Message) -> bool) {
    messages.retain(|message| {
        let goes = count > 0 && may_go(message);
        count -= usize::from(goes);
        !goes
    });
}

/// The instant as the API stores it.
pub(super) fn stored(at: Timestamp) -> Time {
    stored_time(at)
}

#[cfg(test)]
#[path = "recipients_tests.rs"]
mod tests;
