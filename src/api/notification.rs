//! Notification: one message to one recipient by one channel (docs/rules.md#notifications).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{NameRef, Severity};
use super::incident_status::Stamped;

/// One message to one recipient by one channel. Mayday stores the message before sending it; people only read
/// it.
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
    printcolumn(name = "Purpose", type_ = "string", json_path = ".spec.purpose", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
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
    /// Purpose of the message. Page: a person must acknowledge. ApprovalNeeded: approvers must decide.
    /// Decision: the requester learns the decision. Stakeholders: news of an outage. Alarm: something
    /// unusual, such as break-glass.
    pub purpose: Purpose,
    /// Person or room that the message is for.
    pub recipient: Reader,
    /// The NotificationChannel that delivers it.
    pub channel_ref: NameRef,
    /// Address that the channel needs: a phone number, a mailbox or a member. Absent: the channel's own
    /// address.
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Text of the message.
    #[schemars(length(max = 4000))]
    pub text: String,
    /// Identity of the message. The name of this object is made from it. Receivers get a hash of it as
    /// `webhook-id`, so that they can drop repeats.
    #[schemars(length(min = 1, max = 160))]
    pub key: String,
    /// When Mayday decided to send the message.
    pub created_time: Time,
    /// The message is not sent before this time. Absent: it is sent at once.
    pub send_time: Option<Time>,
    /// The message is not sent after this time, so that an old page wakes nobody.
    pub deadline: Option<Time>,
}

/// The object that a message is about. It is in the namespace of the message; only a ChangePolicy has none.
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

/// Kinds of objects that messages are about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SubjectKind {
    /// An Incident.
    Incident,
    /// A ChangeRequest.
    ChangeRequest,
    /// A Runbook.
    Runbook,
    /// A RunbookRun.
    RunbookRun,
    /// A ChangePolicy.
    ChangePolicy,
    /// An OnCallRotation.
    OnCallRotation,
}

impl SubjectKind {
    /// Short name of the kind, as people type it: `inc`.
    pub fn short(self) -> &'static str {
        match self {
            SubjectKind::Incident => "inc",
            SubjectKind::ChangeRequest => "chg",
            SubjectKind::Runbook => "rb",
            SubjectKind::RunbookRun => "run",
            SubjectKind::ChangePolicy => "cpol",
            SubjectKind::OnCallRotation => "oncall",
        }
    }
}

/// The reader of a message: a person, or everyone in a room.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Reader {
    /// Name of the person in the rotation; for a room, the name of its channel.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Kubernetes user of the person. Their acknowledgement stops further pages. Absent for a room.
    #[schemars(length(min = 1, max = 253))]
    pub user: Option<String>,
}

/// Purpose of a message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Purpose {
    /// A person must acknowledge.
    Page,
    /// Approvers must decide.
    ApprovalNeeded,
    /// The requester learns the decision.
    Decision,
    /// Stakeholders are informed.
    Stakeholders,
    /// Everyone concerned learns of something unusual, such as break-glass.
    Alarm,
    /// A person learns of a shift before it begins.
    Reminder,
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
            Purpose::Reminder => "reminder",
        }
    }
}

/// Status of the message. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Delivered and, for a page, Acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// State of the message. Queued: it waits to be sent. Sent: the channel took it. Failed: the receiver
    /// refused it for good. Superseded: it was no longer needed. Expired: its deadline passed.
    #[serde(default)]
    pub state: NotificationState,
    /// Number of attempts to send the message.
    #[serde(default)]
    pub attempts: i32,
    /// When the next attempt follows, after one that failed.
    pub next_attempt_time: Option<Time>,
    /// When the channel took the message.
    pub sent_time: Option<Time>,
    /// Why the last attempt failed. It never holds an address or a secret.
    #[schemars(length(max = 500))]
    pub error: Option<String>,
    /// For a page: who acknowledged the incident after the page was sent, and when.
    pub acknowledgement: Option<Stamped>,
}

crate::conditioned!(NotificationStatus);

/// State of a message (docs/rules.md#notification-state).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum NotificationState {
    /// It waits to be sent.
    #[default]
    Queued,
    /// The channel took it.
    Sent,
    /// The receiver refused it for good.
    Failed,
    /// It was not sent, because it is no longer needed: a person acknowledged, or its subject is over.
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
