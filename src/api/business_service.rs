//! BusinessService: describes something that can break, whom that hurts, who answers, and when it counts as
//! healthy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::ReturnToService;
use super::common::{NameRef, ObjectRef};
use super::incident::Audience;

/// What can break, said once: what it consists of, whom it hurts, who answers, when it counts as healthy.
/// At most one incident is open for a service at a time.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "BusinessService",
    plural = "businessservices",
    shortname = "bsvc",
    category = "mayday",
    namespaced,
    status = "BusinessServiceStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Healthy",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Healthy\")].status"
    ),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.incidentRef.name"),
    printcolumn(name = "On-Duty", type_ = "string", json_path = ".status.onDuty"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BusinessServiceSpec {
    /// The service's name for people.
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// The objects it consists of, in this namespace. An alert about one of them is about the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub objects: Vec<ObjectRef>,
    /// Whom an outage hurts, and how: `Customers may be unable to pay`.
    #[schemars(length(max = 1000))]
    pub impact: Option<String>,
    /// What the public may read during an outage.
    #[schemars(length(max = 1000))]
    pub public_summary: Option<String>,
    /// Who answers.
    pub rotations: Option<ServiceRotations>,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stakeholders: Vec<Stakeholder>,
    /// Where people meet during a crisis.
    pub bridge: Option<Bridge>,
    /// When the service counts as healthy again.
    pub return_to_service: Option<ReturnToService>,
}

/// The rotations that answer for a service.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRotations {
    /// Who is paged first.
    pub on_call: Option<NameRef>,
    /// Whom to page for a lead; who may claim it is the policy's.
    pub lead: Option<NameRef>,
    /// Whom to reach when a request waits for approval.
    pub approval: Option<NameRef>,
}

/// Somebody who is told.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stakeholder {
    /// Inside or outside. What goes outside waits for the communications lead.
    pub audience: Audience,
    /// The channel that reaches them.
    pub channel_ref: NameRef,
}

/// Where people meet during a crisis.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Bridge {
    /// The call.
    #[serde(rename = "callURL")]
    #[schemars(length(max = 2048))]
    pub call_url: Option<String>,
    /// The chat.
    #[serde(rename = "chatURL")]
    #[schemars(length(max = 2048))]
    pub chat_url: Option<String>,
    /// The shared screen.
    #[serde(rename = "screenURL")]
    #[schemars(length(max = 2048))]
    pub screen_url: Option<String>,
}

/// What the operator knows of a service.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BusinessServiceStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Counts the outages that are incidents of their own; part of the name of the next one.
    #[serde(default)]
    pub episode: i64,
    /// The open incident.
    pub incident_ref: Option<NameRef>,
    /// Who is on duty now, for the column.
    #[schemars(length(max = 253))]
    pub on_duty: Option<String>,
}

crate::conditioned!(BusinessServiceStatus);
