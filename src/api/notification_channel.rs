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

/// One way to reach people. Exactly one member that selects the kind of channel is set.
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
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
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
    /// A POST to a URL, signed as Standard Webhooks defines it.
    pub webhook: Option<Webhook>,
    /// An e-mail.
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
    /// An SMS or a phone call by Twilio.
    pub twilio: Option<Empty>,
    /// An alert in Alertmanager.
    pub alertmanager: Option<Empty>,
    /// Maximum time for one attempt, from 1s to 1m. Default 10s.
    pub timeout: Option<Duration>,
}

/// A POST to a URL.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Secret of type `mayday.dev/credential` with the keys `url` and `signingKey` (`whsec_…`).
    pub secret_ref: NameRef,
}

/// An e-mail.
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
    /// Address of the sender.
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
    /// Mail is sent only over an encrypted connection.
    #[default]
    Required,
    /// Mail is sent unencrypted, for a server on the same machine.
    Never,
}

/// Status of the channel. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationChannelStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Delivering.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Name of the member that is set, for the column.
    #[serde(rename = "type")]
    #[schemars(length(max = 32))]
    pub type_: Option<String>,
    /// When the channel last took a message, to the minute.
    pub last_sent_time: Option<Time>,
}

crate::conditioned!(NotificationChannelStatus);
