//! BusinessService: something that can break, whom an outage hurts, who is on call, and when it counts as
//! healthy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::ReturnToService;
use super::common::{NameRef, ObjectRef};
use super::incident::Audience;

/// Something that can break: the objects it consists of, whom an outage hurts, who is on call, and when it
/// counts as healthy. At most one incident is open for a service at a time.
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
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.incidentRef.name"),
    printcolumn(name = "On-Duty", type_ = "string", json_path = ".status.onDuty"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BusinessServiceSpec {
    /// Name of the service for people.
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// Objects that the service consists of, in this namespace. An alert about one of them is about the
    /// service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub objects: Vec<ObjectRef>,
    /// Whom an outage hurts, and how: `Customers may be unable to pay`.
    #[schemars(length(max = 1000))]
    pub impact: Option<String>,
    /// Text that the public may read during an outage.
    #[schemars(length(max = 1000))]
    pub public_summary: Option<String>,
    /// Rotations of the people to page or to ask.
    pub rotations: Option<ServiceRotations>,
    /// Who is kept informed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stakeholders: Vec<Stakeholder>,
    /// Where people meet during a crisis.
    pub bridge: Option<Bridge>,
    /// When the service counts as healthy again.
    pub return_to_service: Option<ReturnToService>,
}

/// Rotations of the people to page or to ask about a service.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRotations {
    /// Rotation that is paged first.
    pub on_call: Option<NameRef>,
    /// Rotation that is paged when a lead is needed. The policy decides who may claim the lead.
    pub lead: Option<NameRef>,
    /// Rotation that is asked when a request waits for approval.
    pub approval: Option<NameRef>,
}

/// One audience that is kept informed, and its channel.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stakeholder {
    /// Internal or External. A message to External waits until the lead or the communications lead sends it.
    pub audience: Audience,
    /// Channel that reaches the audience.
    pub channel_ref: NameRef,
}

/// Where people meet during a crisis.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Bridge {
    /// URL of the call.
    #[serde(rename = "callURL")]
    #[schemars(length(max = 2048))]
    pub call_url: Option<String>,
    /// URL of the chat.
    #[serde(rename = "chatURL")]
    #[schemars(length(max = 2048))]
    pub chat_url: Option<String>,
    /// URL of the shared screen.
    #[serde(rename = "screenURL")]
    #[schemars(length(max = 2048))]
    pub screen_url: Option<String>,
}

/// Status of the service. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BusinessServiceStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Counter from which the name of the next incident is made. It rises when a later relapse becomes a new
    /// incident.
    #[serde(default)]
    pub episode: i64,
    /// The open incident.
    pub incident_ref: Option<NameRef>,
    /// Who is on duty now, for the column.
    #[schemars(length(max = 253))]
    pub on_duty: Option<String>,
}

crate::conditioned!(BusinessServiceStatus);
