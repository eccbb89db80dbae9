//! The outbox: a message is stored in the status of its subject before it is sent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::NameRef;

/// One message to one address. Its id is deterministic, so that deciding twice stores it once.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Deterministic identity; receivers see a hash of it as `webhook-id` and may drop repeats by that.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// What the message is for.
    pub purpose: Purpose,
    /// The person it is for, by rotation name; absent for a room or an audience.
    #[schemars(length(max = 253))]
    pub person: Option<String>,
    /// The Kubernetes user of that person, whose acknowledgement stops further pages.
    #[schemars(length(max = 253))]
    pub user: Option<String>,
    /// The NotificationChannel that delivers it, in the namespace of the subject, or in `namespace`.
    pub channel_ref: NameRef,
    /// Namespace of the channel; absent: the subject's.
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// What the channel needs: a number, a mailbox, a member; absent: the channel's own.
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// What people read.
    #[schemars(length(max = 4000))]
    pub text: String,
    /// When it was decided.
    pub created_time: Time,
    /// Not before then.
    pub send_time: Option<Time>,
    /// Not after then: a page of yesterday wakes nobody for good.
    pub deadline: Option<Time>,
    /// How far it is.
    pub state: MessageState,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: i32,
    /// When it is tried next.
    pub next_attempt_time: Option<Time>,
    /// When the channel took it.
    pub sent_time: Option<Time>,
    /// Why the last attempt failed; never holds an address or a secret.
    #[schemars(length(max = 500))]
    pub error: Option<String>,
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

/// How far a message is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum MessageState {
    /// A draft: what goes out is what a person writes as an update.
    Held,
    /// Is to be sent.
    Queued,
    /// The channel took it.
    Sent,
    /// The channel refused it for good, or its time is over.
    Failed,
    /// No longer needed: somebody answered, or something else took its place.
    Superseded,
}
