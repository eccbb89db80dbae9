//! AlertSource: one thing that may report.

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

/// One thing that may report: alerts, a heartbeat, a condition of Kubernetes objects, a query.
/// Exactly one of its members says which.
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
    printcolumn(name = "Open", type_ = "integer", json_path = ".status.open"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = exactly_one(SET_ONE, SOURCE_MEMBERS))]
#[x_kube(validation = (
    "has(self.condition) || has(self.query) || has(self.secretRef)",
    "secretRef is needed: what comes in from outside carries a token, from a Secret of type mayday.dev/credential"
))]
pub struct AlertSourceSpec {
    /// Prometheus Alertmanager posts here (webhook version 4).
    pub alertmanager: Option<Empty>,
    /// Grafana posts here.
    pub grafana: Option<Empty>,
    /// Senders of the PagerDuty Events v2 format post here.
    pub pager_duty: Option<Empty>,
    /// Senders of CloudEvents post here.
    pub cloud_events: Option<Empty>,
    /// Senders of any JSON post here.
    pub generic: Option<Empty>,
    /// Something posts here at intervals; silence is the signal.
    pub heartbeat: Option<Heartbeat>,
    /// Mayday watches a condition of Kubernetes objects in this namespace.
    pub condition: Option<ObjectCondition>,
    /// Mayday asks Prometheus at intervals.
    pub query: Option<Query>,
    /// Secret of type `mayday.dev/credential` whose key `token` senders carry as bearer.
    pub secret_ref: Option<NameRef>,
    /// Which severity a signal has.
    pub severity: SeverityRule,
    /// Title of the incident; default: made of the signal.
    #[schemars(length(max = 200), regex(pattern = r"\S"))]
    pub title: Option<String>,
    /// Which service a signal is about; none found: the source's own group of alerts.
    pub service: Option<ServiceRule>,
    /// How long after a resolution the same outage is the same incident. Default 10m.
    pub reopen_within: Option<Duration>,
    /// How long a signal must be clear before it counts as cleared. Default 0s.
    pub resolve_after: Option<Duration>,
}

/// Something that must report at intervals.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Heartbeat {
    /// The interval.
    pub every: Duration,
    /// How late it may be. Default 0s.
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
    /// Labels the objects have; `{}` selects all of them.
    #[serde(default)]
    pub selector: Selector,
    /// Type of the condition: `Available`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status that means trouble: "True", "False" or "Unknown".
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 8))]
    pub status: String,
    /// How long it must be so. Default 0s.
    pub hold_for: Option<Duration>,
}

/// Labels that objects have, all of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Every label with its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// A Prometheus query with a limit.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.above) != has(self.below)", "set exactly one of above, below"))]
pub struct Query {
    /// Base URL of Prometheus.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The query.
    #[serde(rename = "promQL")]
    #[schemars(length(min = 1, max = 4096))]
    pub prom_ql: String,
    /// A value above this decimal number is a signal.
    #[schemars(length(min = 1, max = 32))]
    pub above: Option<String>,
    /// A value below this decimal number is a signal.
    #[schemars(length(min = 1, max = 32))]
    pub below: Option<String>,
    /// How long it must be so. Default 0s.
    pub hold_for: Option<Duration>,
    /// How often to ask. Default 30s.
    pub every: Option<Duration>,
}

/// Which severity a signal has: fixed, or from a label.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.fixed) != has(self.fromLabel)", "set exactly one of fixed, fromLabel"))]
pub struct SeverityRule {
    /// Always this one.
    pub fixed: Option<Severity>,
    /// The label that says it.
    #[schemars(length(min = 1, max = 200))]
    pub from_label: Option<String>,
    /// What each value of the label means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, MappedSeverity>,
    /// For a value that the map lacks, and for a signal without the label. Default SEV2: unknown goes up, not down.
    pub default: Option<Severity>,
}

/// A severity, or not worth an incident.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum MappedSeverity {
    /// People cannot do what the service is for, or data is at risk.
    #[serde(rename = "SEV1")]
    Sev1,
    /// Some cannot, or it is badly slow.
    #[serde(rename = "SEV2")]
    Sev2,
    /// A nuisance with a way round.
    #[serde(rename = "SEV3")]
    Sev3,
    /// Small.
    #[serde(rename = "SEV4")]
    Sev4,
    /// Worth knowing.
    #[serde(rename = "SEV5")]
    Sev5,
    /// Not an incident.
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

/// Which service a signal is about: exactly one of the members.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, SERVICE_RULE_MEMBERS))]
pub struct ServiceRule {
    /// The service that consists of the object the signal is about.
    pub by_object: Option<ByObject>,
    /// Always this service.
    pub r#ref: Option<NameRef>,
    /// The label that names the service.
    #[schemars(length(min = 1, max = 200))]
    pub from_label: Option<String>,
}

/// How a signal names an object. For a condition it is the object itself: `{}`.
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
    /// The label that holds its name.
    #[schemars(length(min = 1, max = 200))]
    pub name_from_label: Option<String>,
}

/// What the operator knows of a source.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertSourceStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Receiving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Which member is set, for the column.
    #[serde(rename = "type")]
    #[schemars(length(max = 32))]
    pub type_: Option<String>,
    /// Where senders post, for sources that are posted to.
    #[schemars(length(max = 2048))]
    pub address: Option<String>,
    /// When it last reported, to the minute.
    pub last_received_time: Option<Time>,
    /// How many of its signals fire in open incidents.
    #[serde(default)]
    pub open: i32,
}

crate::conditioned!(AlertSourceStatus);
