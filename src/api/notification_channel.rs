//! NotificationChannel: one way to reach people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// YAML names of the members that select the kind of channel.
pub const CHANNEL_MEMBERS: &[&str] =
    &["webhook", "email", "slack", "pagerDuty", "teams", "ntfy", "matrix", "twilio", "alertmanager"];

/// One way to reach people. Exactly one of its members says which.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "NotificationChannel",
    plural = "notificationchannels",
    shortname = "chan",
    category = "mayday",
    namespaced,
    status = "NotificationChannelStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(
        name = "Delivering",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Delivering\")].status"
    ),
    printcolumn(name = "Last-Sent", type_ = "date", json_path = ".status.lastSentTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = exactly_one(SET_ONE, CHANNEL_MEMBERS))]
#[x_kube(validation = (
    "!has(self.timeout) || duration(self.timeout) <= duration('1m')",
    "timeout: a receiver is waited for 1m at most; what it needs longer for, it does after it has answered"
))]
#[x_kube(validation = (
    "!has(self.timeout) || duration(self.timeout) >= duration('1s')",
    "timeout: a receiver is given 1s at least, or no message would ever arrive"
))]
pub struct NotificationChannelSpec {
    /// A POST to a URL, signed by the Standard Webhooks scheme.
    pub webhook: Option<Webhook>,
    /// A mail.
    pub email: Option<Email>,
    /// A Slack message.
    pub slack: Option<Empty>,
    /// A PagerDuty event.
    pub pager_duty: Option<Empty>,
    /// A Microsoft Teams message.
    pub teams: Option<Empty>,
    /// An ntfy message.
    pub ntfy: Option<Empty>,
    /// A Matrix message.
    pub matrix: Option<Empty>,
    /// An SMS or a call by Twilio.
    pub twilio: Option<Empty>,
    /// An alert in Alertmanager.
    pub alertmanager: Option<Empty>,
    /// How long one attempt may take, at most 1m. Default 10s.
    pub timeout: Option<Duration>,
}

/// A POST to a URL.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Secret of type `mayday.dev/credential` with the keys `url` and `signingKey` (`whsec_…`).
    pub secret_ref: NameRef,
}

/// A mail.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// Host of the mail server.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port of the mail server.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Sender.
    #[schemars(length(min = 1, max = 320))]
    pub from: String,
    /// Whether the connection must be encrypted. Default Required.
    #[serde(rename = "startTLS", default)]
    pub start_tls: StartTls,
    /// Secret of type `mayday.dev/credential` with the keys `username` and `password`.
    pub secret_ref: Option<NameRef>,
}

/// Whether a mail connection must be encrypted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StartTls {
    /// No mail is sent over a plain connection.
    #[default]
    Required,
    /// Plain, for a server on the same machine.
    Never,
}

/// What the operator knows of a channel.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationChannelStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Delivering.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Which member is set, for the column.
    #[serde(rename = "type")]
    #[schemars(length(max = 32))]
    pub type_: Option<String>,
    /// When it last took a message, to the minute.
    pub last_sent_time: Option<Time>,
}

crate::conditioned!(NotificationChannelStatus);
