//! AlertSource: one source of signals (docs/rules.md#alerts).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::common::{Empty, NameRef, Severity};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// YAML names of the members that select the kind of source.
pub const SOURCE_MEMBERS: &[&str] =
    &["alertmanager", "grafana", "pagerDuty", "cloudEvents", "generic", "heartbeat", "condition", "query"];

/// One source of signals: alerts, a heartbeat, a condition of Kubernetes objects, or a query. Exactly one
/// member that selects the kind of source is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "AlertSource",
    plural = "alertsources",
    shortname = "asrc",
    category = "mayday",
    namespaced,
    status = "AlertSourceStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(
        name = "Receiving",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Receiving\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Open", type_ = "integer", json_path = ".status.open"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = exactly_one(SET_ONE, SOURCE_MEMBERS))]
#[x_kube(validation = (
    "has(self.condition) || has(self.query) || has(self.secretRef)",
    "secretRef is needed: what comes in from outside carries a token, from a Secret of type mayday.dev/credential"
))]
pub struct AlertSourceSpec {
    /// Alerts that Prometheus Alertmanager posts (webhook version 4).
    pub alertmanager: Option<Empty>,
    /// Alerts that Grafana posts.
    pub grafana: Option<Empty>,
    /// Alerts that are posted in the PagerDuty Events v2 format.
    pub pager_duty: Option<Empty>,
    /// Alerts that are posted as CloudEvents.
    pub cloud_events: Option<Empty>,
    /// Alerts that are posted as any JSON.
    pub generic: Option<Empty>,
    /// A heartbeat: a sender posts at intervals, and a missing post is the signal.
    pub heartbeat: Option<Heartbeat>,
    /// A condition of Kubernetes objects in this namespace, which Mayday watches.
    pub condition: Option<ObjectCondition>,
    /// A Prometheus query, which Mayday runs at intervals.
    pub query: Option<Query>,
    /// Secret of type `mayday.dev/credential`. Its key `token` holds the bearer token that senders must send.
    /// Needed unless `condition` or `query` is set.
    pub secret_ref: Option<NameRef>,
    /// Severity of a signal.
    pub severity: SeverityRule,
    /// Title of the incident. Default: made from the signal.
    #[schemars(length(max = 200), regex(pattern = r"\S"))]
    pub title: Option<String>,
    /// Service that a signal is about. Signals for which no service is found are grouped by the source's own
    /// group.
    pub service: Option<ServiceRule>,
    /// Label that names the namespace an alert is about. An alert about another namespace is no outage of this
    /// source: it is left out, and an Event names it. An alert without the label counts. Default: `namespace`.
    #[schemars(length(min = 1, max = 200))]
    pub namespace_label: Option<String>,
    /// Further namespaces whose alerts count here, such as the namespace of an exporter that observes this
    /// application. `*` stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$"))
    )]
    pub namespaces: Vec<String>,
    /// How long after the resolution an outage that comes back reopens the same incident; later it becomes a
    /// new one. Default 10m.
    pub reopen_within: Option<Duration>,
    /// How long a signal must stay clear before it counts as cleared. Default 0s.
    pub resolve_after: Option<Duration>,
}

/// A heartbeat that must arrive at intervals.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Heartbeat {
    /// Interval between two heartbeats.
    pub every: Duration,
    /// How late a heartbeat may be. Default 0s.
    pub grace: Option<Duration>,
}

/// A condition of Kubernetes objects that means trouble.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCondition {
    /// API version of the objects: `apps/v1`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-z0-9.-]+/)?v[a-z0-9]+$"))]
    pub api_version: String,
    /// Kind of the objects: `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Labels of the objects; `{}` selects all of them.
    #[serde(default)]
    pub selector: Selector,
    /// Type of the condition: `Available`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status that means trouble: "True", "False" or "Unknown".
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 8))]
    pub status: String,
    /// How long the condition must have this status before it is a signal. Default 0s.
    pub hold_for: Option<Duration>,
}

/// Labels of objects. An object is selected if it has all of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// A Prometheus query with a limit. Exactly one of `above` and `below` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.above) != has(self.below)", "set exactly one of above, below"))]
pub struct Query {
    /// Base URL of Prometheus.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Query in PromQL.
    #[serde(rename = "promQL")]
    #[schemars(length(min = 1, max = 4096))]
    pub prom_ql: String,
    /// A value above this decimal number is a signal.
    #[schemars(length(min = 1, max = 32))]
    pub above: Option<String>,
    /// A value below this decimal number is a signal.
    #[schemars(length(min = 1, max = 32))]
    pub below: Option<String>,
    /// How long the value must be beyond the limit before it is a signal. Default 0s.
    pub hold_for: Option<Duration>,
    /// Interval between two queries. Default 30s.
    pub every: Option<Duration>,
}

/// Severity of a signal: fixed, or read from a label. Exactly one of `fixed` and `fromLabel` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.fixed) != has(self.fromLabel)", "set exactly one of fixed, fromLabel"))]
pub struct SeverityRule {
    /// Severity of every signal.
    pub fixed: Option<Severity>,
    /// Label that holds the severity.
    #[schemars(length(min = 1, max = 200))]
    pub from_label: Option<String>,
    /// Severity for each value of the label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, MappedSeverity>,
    /// Severity of a signal that lacks the label or has a value that `map` lacks. Default SEV2: an unknown
    /// severity is rated too high rather than too low.
    pub default: Option<Severity>,
}

/// A severity, or `Ignore` for a signal that is no incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum MappedSeverity {
    /// People cannot do what the service is for, or data is at risk.
    #[serde(rename = "SEV1")]
    Sev1,
    /// Some people cannot, or it is badly slow.
    #[serde(rename = "SEV2")]
    Sev2,
    /// A nuisance with a workaround.
    #[serde(rename = "SEV3")]
    Sev3,
    /// Small.
    #[serde(rename = "SEV4")]
    Sev4,
    /// Worth knowing.
    #[serde(rename = "SEV5")]
    Sev5,
    /// The signal is no incident.
    Ignore,
}

impl MappedSeverity {
    /// The severity; `None` for `Ignore`.
    pub fn severity(self) -> Option<Severity> {
        match self {
            MappedSeverity::Sev1 => Some(Severity::Sev1),
            MappedSeverity::Sev2 => Some(Severity::Sev2),
            MappedSeverity::Sev3 => Some(Severity::Sev3),
            MappedSeverity::Sev4 => Some(Severity::Sev4),
            MappedSeverity::Sev5 => Some(Severity::Sev5),
            MappedSeverity::Ignore => None,
        }
    }
}

/// YAML names of the members that select how the service is found.
pub const SERVICE_RULE_MEMBERS: &[&str] = &["byObject", "ref", "fromLabel"];

/// Service that a signal is about. Exactly one member is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, SERVICE_RULE_MEMBERS))]
pub struct ServiceRule {
    /// The service whose objects include the object of the signal.
    pub by_object: Option<ByObject>,
    /// The service of every signal.
    pub r#ref: Option<NameRef>,
    /// Label that holds the name of the service.
    #[schemars(length(min = 1, max = 200))]
    pub from_label: Option<String>,
}

/// How a signal names an object. For a condition it is `{}`: the signal is about the object that has the
/// condition.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.apiVersion) == has(self.kind) && has(self.kind) == has(self.nameFromLabel)",
    "set all of apiVersion, kind, nameFromLabel, or none of them for a condition"
))]
pub struct ByObject {
    /// API version of the object: `apps/v1`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-z0-9.-]+/)?v[a-z0-9]+$"))]
    pub api_version: Option<String>,
    /// Kind of the object: `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: Option<String>,
    /// Label that holds the name of the object.
    #[schemars(length(min = 1, max = 200))]
    pub name_from_label: Option<String>,
}

/// Status of the source. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertSourceStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Receiving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Name of the member that is set, for the column.
    #[serde(rename = "type")]
    #[schemars(length(max = 32))]
    pub type_: Option<String>,
    /// URL to which senders post. Absent for a source that receives no posts.
    #[schemars(length(max = 2048))]
    pub address: Option<String>,
    /// When the source last reported, to the minute.
    pub last_received_time: Option<Time>,
    /// The last post that was refused for good. Its sender does not send it again, so Mayday does not know what
    /// it said.
    pub refused: Option<RefusedPost>,
    /// Number of signals of this source that fire in open incidents.
    #[serde(default)]
    pub open: i32,
}

/// A post that was refused for good.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPost {
    /// When.
    pub time: Time,
    /// The HTTP status of the answer.
    pub code: i32,
    /// The sentence of the answer.
    #[schemars(length(max = 500))]
    pub message: String,
    /// Whether a post was taken since.
    #[serde(default)]
    pub taken_since: bool,
}

crate::conditioned!(AlertSourceStatus);
