//! A message as a decision makes it, and the Notification that it becomes. Pure.
//!
//! Decisions list messages; the controller of the subject stores them with [`super::store`], which [`super::outbox`]
//! then sends. `docs/rules.md#notification-spec`.

use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use crate::api::common::{NameRef, Severity, stored_time};
use crate::api::notification::{NotificationSpec, Purpose, Reader, SubjectKind, SubjectRef};
use crate::api::{ChangePolicy, ChangeRequest, Incident, Notification, OnCallRotation, Runbook, RunbookRun};

/// How long a message is useful unless its purpose sets another time, so that a page from yesterday wakes no
/// one. Events older than this cause no message, so that a deleted Notification is never sent a second time.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// Longest key that [`key`] makes, in bytes.
const MAX_KEY: usize = 128;

/// One message to one recipient by one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Identity: two messages with the same key are one.
    pub key: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Who reads it.
    pub recipient: Reader,
    /// The channel, in the namespace in which the message is stored.
    pub channel: NameRef,
    /// What the channel needs; absent: the channel's own.
    pub address: Option<String>,
    /// What people read, at most 4000 characters.
    pub text: String,
    /// When it was decided on.
    pub created: Timestamp,
    /// Not sent before; absent: at once.
    pub send: Option<Timestamp>,
    /// Not sent after.
    pub deadline: Option<Timestamp>,
}

/// What messages are about, and the namespace in which they are stored.
#[derive(Clone, Debug)]
pub struct Subject {
    reference: SubjectRef,
    namespace: String,
    severity: Option<Severity>,
}

impl Subject {
    fn of<K: Resource<DynamicType = ()>>(kind: SubjectKind, object: &K, namespace: String) -> Subject {
        let reference = SubjectRef { kind, name: object.name_any(), uid: object.uid().unwrap_or_default() };
        Subject { reference, namespace, severity: None }
    }

    /// A policy. It has no namespace, so its messages are stored in the protected namespace, where the channels are.
    pub fn policy(policy: &ChangePolicy, namespace: &str) -> Subject {
        Subject::of(SubjectKind::ChangePolicy, policy, namespace.to_owned())
    }

    /// Its kind.
    pub fn kind(&self) -> SubjectKind {
        self.reference.kind
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        &self.reference.uid
    }

    /// The namespace in which the messages are stored.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl From<&Incident> for Subject {
    fn from(incident: &Incident) -> Subject {
        let namespace = incident.namespace().unwrap_or_default();
        Subject {
            severity: Some(incident.spec.severity),
            ..Subject::of(SubjectKind::Incident, incident, namespace)
        }
    }
}

impl From<&ChangeRequest> for Subject {
    fn from(request: &ChangeRequest) -> Subject {
        Subject::of(SubjectKind::ChangeRequest, request, request.namespace().unwrap_or_default())
    }
}

impl From<&Runbook> for Subject {
    fn from(runbook: &Runbook) -> Subject {
        Subject::of(SubjectKind::Runbook, runbook, runbook.namespace().unwrap_or_default())
    }
}

impl From<&RunbookRun> for Subject {
    fn from(run: &RunbookRun) -> Subject {
        Subject::of(SubjectKind::RunbookRun, run, run.namespace().unwrap_or_default())
    }
}

impl From<&OnCallRotation> for Subject {
    fn from(rotation: &OnCallRotation) -> Subject {
        Subject::of(SubjectKind::OnCallRotation, rotation, rotation.namespace().unwrap_or_default())
    }
}

impl Message {
    /// The Notification to be stored.
    pub fn about(&self, subject: &Subject) -> Notification {
        let stored = |time: Option<Timestamp>| time.map(stored_time);
        let spec = NotificationSpec {
            about: format!("{}/{}", subject.reference.kind.short(), subject.reference.name),
            subject_ref: subject.reference.clone(),
            severity: subject.severity,
            purpose: self.purpose,
            recipient: self.recipient.clone(),
            channel_ref: self.channel.clone(),
            address: self.address.clone(),
            text: self.text.clone(),
            key: self.key.clone(),
            created_time: stored_time(self.created),
            send_time: stored(self.send),
            deadline: stored(self.deadline),
        };
        let mut notification = Notification::new(&self.name(), spec);
        notification.metadata.namespace = Some(subject.namespace.clone());
        notification
    }

    /// The name of its Notification, which follows from the key: storing it twice stores it once.
    pub fn name(&self) -> String {
        format!("{}-{}", self.purpose.as_str(), &hash(&self.key)[..16])
    }
}

/// Identity of a message for its receiver. A hash of the key, since keys hold names and addresses as people wrote them,
/// and a header takes no such text. The same after a crash.
pub fn webhook_id(key: &str) -> String {
    format!("msg_{}", hash(key))
}

/// 32 hexadecimal digits.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The key of a message: its parts joined. Where that would be too long, the first part and a hash of the whole, so
/// that it is still seen what the message is about.
pub fn key(parts: &[&str]) -> String {
    let joined = parts.join("/");
    if joined.len() <= MAX_KEY && joined.is_ascii() {
        return joined;
    }
    format!("{}/{}", parts.first().copied().unwrap_or_default(), hash(&joined))
}

/// The key of a message that says the same as the one with that key in other words, for the case that the first one has
/// not been sent.
pub fn reworded(key: &str, text: &str) -> String {
    format!("{key}#{}", &hash(text)[..8])
}

/// Whether a key is that one, or that of the same message in other words.
pub fn is_same(key: &str, original: &str) -> bool {
    key.strip_prefix(original).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str) -> Message {
        Message {
            key: key.to_owned(),
            purpose: Purpose::Page,
            recipient: Reader { name: "emil".to_owned(), user: Some("emil".to_owned()) },
            channel: NameRef { name: "hook".to_owned() },
            address: None,
            text: "t".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            send: None,
            deadline: None,
        }
    }

    #[test]
    fn the_identity_of_a_message_can_stand_in_any_header_and_name() {
        let plain = webhook_id("u-1/0.0/0/emil/hook");
        assert_eq!(plain, webhook_id("u-1/0.0/0/emil/hook"), "the same for a repeat");
        for hostile in ["u-1/0.0/0/emil/hook/a\nb", "u-1/0.0/0/emil/hook/+49 1 ", "u-1/0.0/0/emil/hook/ü"] {
            let id = webhook_id(hostile);
            assert_ne!(id, plain);
            let (prefix, hex) = id.split_once('_').unwrap();
            let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(prefix == "msg" && hex.len() == 32 && is_hex(hex), "{id}");
            let name = message(hostile).name();
            assert!(name.strip_prefix("page-").is_some_and(|hex| hex.len() == 16 && is_hex(hex)), "{name}");
        }
    }

    #[test]
    fn the_notification_of_a_message_names_its_subject() {
        let mut incident = Incident::new("checkout-x7k2p", Default::default());
        incident.metadata.namespace = Some("shop".to_owned());
        incident.metadata.uid = Some("u".to_owned());
        let stored = message("u/0.0/0/emil/hook").about(&Subject::from(&incident));
        assert_eq!(stored.spec.about, "inc/checkout-x7k2p");
        assert_eq!(stored.metadata.namespace.as_deref(), Some("shop"));
        assert!(stored.is_about(SubjectKind::Incident, "u") && stored.is_queued());
    }

    #[test]
    fn a_long_key_is_cut_to_a_hash_and_rewording_keeps_the_original() {
        assert_eq!(key(&["u/0.0/0", "emil", "hook", ""]), "u/0.0/0/emil/hook/");
        let long = key(&["u/0.0/0", &"x".repeat(200)]);
        assert!(long.starts_with("u/0.0/0/") && long.len() == 40, "{long}");
        let again = reworded("k", "text");
        assert!(is_same(&again, "k") && is_same("k", "k") && !is_same("kk", "k"), "{again}");
    }
}
