//! Checks that must pass before a service counts as healthy, or a step as done.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef, ObjectRef};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// Return to service: every check passes, and keeps passing for a while (docs/rules.md#outcome-restored).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.checks) || self.checks.all(c, self.checks.exists_one(other, other.name == c.name))",
    "checks: each has a name of its own"
))]
pub struct ReturnToService {
    /// Checks that must all pass. Missing data does not count as health.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub checks: Vec<NamedCheck>,
    /// How long all checks must pass without a break. Default 5m.
    pub stable_for: Option<Duration>,
}

/// YAML names of the members that select what is checked.
pub const CHECK_MEMBERS: &[&str] =
    &["alertsCleared", "rollout", "condition", "query", "http", "confirmation"];

/// One named check. Exactly one member is set besides `name`.
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
    /// Passes when a workload runs its newest template on all its replicas and all are available.
    pub rollout: Option<RolloutCheck>,
    /// Passes when a condition of an object has the given status.
    pub condition: Option<ConditionCheck>,
    /// Passes when a Prometheus query is within its limit.
    pub query: Option<QueryCheck>,
    /// Passes when a URL answers with the expected status.
    pub http: Option<HttpCheck>,
    /// Passes when a person on duty or the lead confirms it.
    pub confirmation: Option<ConfirmationCheck>,
}

/// A workload runs its newest template on all its replicas, and all are available.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RolloutCheck {
    /// The workload: a Deployment, StatefulSet or DaemonSet.
    pub target: ObjectRef,
}

/// A condition of an object, with the status that it must have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConditionCheck {
    /// The object.
    pub target: ObjectRef,
    /// Type of the condition, such as `Available`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status that the condition must have: "True", "False" or "Unknown". Default "True".
    #[serde(default = "yes")]
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 8))]
    pub status: String,
}

pub(super) fn yes() -> String {
    "True".to_owned()
}

/// A Prometheus query with a limit. Exactly one of `above` and `below` is set. Only one fresh, finite value passes: an
/// empty, partial, stale or invalid answer does not (docs/rules.md#query).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.above) != has(self.below)", "set exactly one of above, below"))]
pub struct QueryCheck {
    /// Base URL of Prometheus. Every policy over the namespace lists it as an endpoint.
    #[schemars(schema_with = "super::http_url::called")]
    pub url: String,
    /// Query in PromQL. It must return one value.
    #[serde(rename = "promQL")]
    #[schemars(length(min = 1, max = 4096))]
    pub prom_ql: String,
    /// Passes while the value is above this decimal number. They are compared exactly.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub above: Option<String>,
    /// Passes while the value is below this decimal number. They are compared exactly.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub below: Option<String>,
    /// Secret of type `mayday.dev/credential` with the key `token`, which is sent as a bearer token.
    pub secret_ref: Option<NameRef>,
}

/// A URL that must answer with a status.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// URL for a GET request. Every policy over the namespace lists it as an endpoint. Redirects are not followed.
    #[schemars(schema_with = "super::http_url::called")]
    pub url: String,
    /// HTTP status that counts as healthy. Default 200.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    pub status: i32,
    /// Secret of type `mayday.dev/credential` with the key `token`, which is sent as a bearer token.
    pub secret_ref: Option<NameRef>,
}

fn ok() -> i32 {
    200
}

/// A question to a person (docs/rules.md#questions).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConfirmationCheck {
    /// The question. A person answers it with an Approval whose decision is Confirm or Deny.
    #[schemars(length(min = 1, max = 500))]
    pub question: String,
}
