//! The ways in which a message leaves, one file each.
//!
//! A new channel is a struct in `src/api/notification_channel.rs`, a file here that implements [`Channel`] for it, and
//! its line in `MEMBERS`.

pub mod signature;
pub mod webhook;

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::credential::{Credential, CredentialError};
use super::schedule::Outcome;
use crate::api::common::NameRef;
use crate::api::notification_channel::NotificationChannelSpec;
use crate::outbound::Outbound;

/// One way to send messages.
pub trait Channel: Sync {
    /// The Secret that it needs; of type `mayday.dev/credential`, in the namespace of the channel.
    fn secret(&self) -> Option<&NameRef>;

    /// Whether the Secret holds what the channel needs.
    ///
    /// # Errors
    /// What is wrong with it, in words without its content.
    fn check(&self, credential: &Credential) -> Result<(), CredentialError>;

    /// Tries once to send a message. `credential` is empty if the channel names no Secret. What people can mend is
    /// answered with [`Outcome::Retry`]: a page is not lost by a slip of the pen.
    fn send<'a>(
        &'a self,
        credential: &'a Credential,
        envelope: &'a Envelope<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome>;
}

/// A message as a channel sees it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// Identity of the message, `msg_` and 32 hexadecimal digits; the same each time that it is tried.
    pub id: &'a str,
    /// What it is for: `page`, `approval-needed`, `decision`, `stakeholders`, `alarm`.
    pub purpose: &'static str,
    /// When it was decided.
    pub time: Timestamp,
    /// What it is about: `inc/checkout-x7k2p`, `chg/back-to-v1`, `cpol/production`.
    pub subject: &'a str,
    /// Namespace of the subject; absent if it has none.
    pub namespace: Option<&'a str>,
    /// Severity of the incident; absent if it is about none.
    pub severity: Option<&'a str>,
    /// Name of the person in the rotation; absent for a room.
    pub person: Option<&'a str>,
    /// What the channel's contact says: a number, a member.
    pub address: Option<&'a str>,
    /// What people read; it ends with the command to type.
    pub text: &'a str,
    /// How long the attempt may take in all.
    pub timeout: Duration,
    /// What sends it, for a channel that calls a URL.
    pub client: &'a Outbound,
}

/// Whether this version of Mayday can send through a member of a channel's spec.
#[derive(Clone, Copy)]
pub enum Member<'a> {
    /// It sends messages.
    Built(&'a dyn Channel),
    /// It is in the API and not built yet.
    NotBuilt,
}

/// Finds a member in a spec.
type Find = for<'a> fn(&'a NotificationChannelSpec) -> Option<Member<'a>>;

/// The members, as they are written in a manifest.
const MEMBERS: &[(&str, Find)] = &[
    ("webhook", |spec| built(spec.webhook.as_ref())),
    ("email", |spec| not_built(spec.email.as_ref())),
    ("slack", |spec| not_built(spec.slack.as_ref())),
    ("pagerDuty", |spec| not_built(spec.pager_duty.as_ref())),
    ("teams", |spec| not_built(spec.teams.as_ref())),
    ("ntfy", |spec| not_built(spec.ntfy.as_ref())),
    ("matrix", |spec| not_built(spec.matrix.as_ref())),
    ("twilio", |spec| not_built(spec.twilio.as_ref())),
    ("alertmanager", |spec| not_built(spec.alertmanager.as_ref())),
];

fn built<C: Channel>(member: Option<&C>) -> Option<Member<'_>> {
    member.map(|channel| Member::Built(channel))
}

fn not_built<M>(member: Option<&M>) -> Option<Member<'_>> {
    member.map(|_| Member::NotBuilt)
}

/// The member that a spec sets, with its name; `None` if it sets none.
pub fn of(spec: &NotificationChannelSpec) -> Option<(&'static str, Member<'_>)> {
    MEMBERS.iter().find_map(|(name, find)| Some((*name, find(spec)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::notification_channel::CHANNEL_MEMBERS;

    #[test]
    fn the_table_has_every_member_of_the_schema_rule_in_its_order() {
        let names: Vec<&str> = MEMBERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(CHANNEL_MEMBERS, names);
    }
}
