//! Checks that must pass before a service counts as healthy or a step as done.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, ObjectRef};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// The return to service: every check passes, and goes on passing for a while.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.checks) || self.checks.all(c, self.checks.exists_one(other, other.name == c.name))",
    "checks: each has a name of its own"
))]
pub struct ReturnToService {
    /// All of them must pass. Missing data is not health.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub checks: Vec<NamedCheck>,
    /// How long all checks must pass without a break. Default 5m.
    pub stable_for: Option<Duration>,
}

/// YAML names of the members that select what is checked.
pub const CHECK_MEMBERS: &[&str] =
    &["alertsCleared", "rollout", "condition", "query", "http", "confirmation"];

/// One check with its name: exactly one of the members says what is looked at.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, CHECK_MEMBERS))]
pub struct NamedCheck {
    /// Name of the check, unique in the list.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Passes when every signal of the incident has cleared and none was lost.
    pub alerts_cleared: Option<Empty>,
    /// Passes when a workload runs its newest template on all its replicas.
    pub rollout: Option<RolloutCheck>,
    /// Passes when an object has a condition with that status.
    pub condition: Option<ConditionCheck>,
    /// Passes when a Prometheus query is within its limit.
    pub query: Option<QueryCheck>,
    /// Passes when a URL answers as expected.
    pub http: Option<HttpCheck>,
    /// Passes when a person on duty, or the lead, confirms it.
    pub confirmation: Option<ConfirmationCheck>,
}

/// A workload runs its newest template on all its replicas, and all are available.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RolloutCheck {
    /// The workload: a Deployment, StatefulSet or DaemonSet.
    pub target: ObjectRef,
}

/// An object has a condition with a status.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConditionCheck {
    /// The object.
    pub target: ObjectRef,
    /// Type of the condition, such as `Available`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status it must have: "True", "False" or "Unknown". Default "True".
    #[serde(default = "yes")]
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 8))]
    pub status: String,
}

fn yes() -> String {
    "True".to_owned()
}

/// A Prometheus query with a limit. An empty, partial or invalid answer does not pass.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.above) != has(self.below)", "set exactly one of above, below"))]
pub struct QueryCheck {
    /// Base URL of Prometheus.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The query; it must give one value.
    #[serde(rename = "promQL")]
    #[schemars(length(min = 1, max = 4096))]
    pub prom_ql: String,
    /// Passes while the value is above this decimal number.
    #[schemars(length(min = 1, max = 32))]
    pub above: Option<String>,
    /// Passes while the value is below this decimal number.
    #[schemars(length(min = 1, max = 32))]
    pub below: Option<String>,
}

/// A URL that must answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct HttpCheck {
    /// The URL to GET; redirects are not followed.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// HTTP status that counts as healthy. Default 200.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    pub status: i32,
}

fn ok() -> i32 {
    200
}

/// A question to a person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConfirmationCheck {
    /// The question; answered by an Approval with decision Confirm or Deny.
    #[schemars(length(min = 1, max = 500))]
    pub question: String,
}
