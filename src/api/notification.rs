//! Notification: one message to one recipient by one channel (`docs/rules.md#notifications`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{NameRef, Severity};
use super::incident_status::Stamped;

/// One message that Mayday sends to one recipient by one channel. Mayday writes it before it sends the message; people
/// only read it.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "Notification",
    plural = "notifications",
    shortname = "ntf",
    category = "mayday",
    namespaced,
    status = "NotificationStatus",
    derive = "PartialEq",
    printcolumn(name = "About", type_ = "string", json_path = ".spec.about"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.recipient.name"),
    printcolumn(name = "Channel", type_ = "string", json_path = ".spec.channelRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Purpose", type_ = "string", json_path = ".spec.purpose", priority = 1)
)]
#[x_kube(validation = ("self == oldSelf", "a message is never edited: what has to be said differently is another one"))]
pub struct NotificationSpec {
    /// What the message is about, as people type it: `inc/checkout-x7k2p`.
    #[schemars(length(min = 1, max = 260))]
    pub about: String,
    /// The object that the message is about.
    pub subject_ref: SubjectRef,
    /// Severity of the incident when the message was written; absent if it is about no incident.
    pub severity: Option<Severity>,
    /// What the message is for.
    pub purpose: Purpose,
    /// Who reads it.
    pub recipient: Reader,
    /// The NotificationChannel that delivers it.
    pub channel_ref: NameRef,
    /// What the channel needs: a number, a mailbox, a member; absent: the channel's own.
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// What people read.
    #[schemars(length(max = 4000))]
    pub text: String,
    /// Identity of the message. The name of the object is made from it, and receivers see a hash of it as `webhook-id`,
    /// by which they may drop repeats.
    #[schemars(length(min = 1, max = 160))]
    pub key: String,
    /// When the message was decided on.
    pub created_time: Time,
    /// The message is not sent before this time; absent: it is sent at once.
    pub send_time: Option<Time>,
    /// The message is not sent after this time: an old page wakes nobody.
    pub deadline: Option<Time>,
}

/// The object that a message is about. All but a ChangePolicy are in the namespace of the message.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SubjectRef {
    /// Kind of the object.
    pub kind: SubjectKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the object.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// The kinds that messages are about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SubjectKind {
    /// An Incident.
    Incident,
    /// A ChangeRequest.
    ChangeRequest,
    /// A RunbookRun.
    RunbookRun,
    /// A ChangePolicy.
    ChangePolicy,
}

impl SubjectKind {
    /// The short name that people type: `inc`.
    pub fn short(self) -> &'static str {
        match self {
            SubjectKind::Incident => "inc",
            SubjectKind::ChangeRequest => "chg",
            SubjectKind::RunbookRun => "run",
            SubjectKind::ChangePolicy => "cpol",
        }
    }
}

/// Who reads a message: a person, or everybody in a room.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Reader {
    /// The person, by name in the rotation; for a room the name of its channel.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Kubernetes user of the person, whose acknowledgement stops further pages; absent for a room.
    #[schemars(length(min = 1, max = 253))]
    pub user: Option<String>,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Purpose {
    /// Somebody must answer.
    Page,
    /// Approvers are asked.
    ApprovalNeeded,
    /// The requester hears the decision.
    Decision,
    /// Stakeholders are told.
    Stakeholders,
    /// Everybody concerned hears of something unusual, such as break-glass.
    Alarm,
}

impl Purpose {
    /// The form used by receivers, metrics and names of Notifications: `approval-needed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Page => "page",
            Purpose::ApprovalNeeded => "approval-needed",
            Purpose::Decision => "decision",
            Purpose::Stakeholders => "stakeholders",
            Purpose::Alarm => "alarm",
        }
    }
}

/// What became of a message.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Delivered, Acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Whether it waits, was sent, or will not be sent.
    #[serde(default)]
    pub state: NotificationState,
    /// Number of attempts to send it.
    #[serde(default)]
    pub attempts: i32,
    /// When it is tried next after an attempt that failed.
    pub next_attempt_time: Option<Time>,
    /// When the channel took it.
    pub sent_time: Option<Time>,
    /// Why the last attempt failed; never holds an address or a secret.
    #[schemars(length(max = 500))]
    pub error: Option<String>,
    /// Who acknowledged the incident after this page, and when.
    pub acknowledgement: Option<Stamped>,
}

crate::conditioned!(NotificationStatus);

/// How far a message is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum NotificationState {
    /// It waits to be sent.
    #[default]
    Queued,
    /// The channel took it.
    Sent,
    /// The receiver refused it for good.
    Failed,
    /// It was not sent, since nobody needs it any more: somebody answered, or its subject is over.
    Superseded,
    /// It was not sent before its deadline.
    Expired,
}

impl Notification {
    /// The stored state. A Notification without a status is queued.
    pub fn state(&self) -> NotificationState {
        self.status.as_ref().map(|status| status.state).unwrap_or_default()
    }

    /// Whether the Notification waits to be sent.
    pub fn is_queued(&self) -> bool {
        self.state() == NotificationState::Queued
    }

    /// Whether the Notification is about the object with this kind and UID.
    pub fn is_about(&self, kind: SubjectKind, uid: &str) -> bool {
        self.spec.subject_ref.kind == kind && self.spec.subject_ref.uid == uid
    }
}
