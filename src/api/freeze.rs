//! Freeze: stops changes, automation or both in the scope of a policy until a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::NameRef;
use super::oncall_rotation::Weekday;

/// Stop the line: no changes, or nothing by itself, until a time. Written by people, or by Git for planned freezes.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "Freeze",
    plural = "freezes",
    shortname = "frz",
    category = "mayday",
    status = "FreezeStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(name = "Stops", type_ = "string", json_path = ".spec.stops"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status"
    ),
    printcolumn(name = "Until", type_ = "string", json_path = ".spec.endTime")
)]
#[x_kube(validation = (
    "has(self.schedule) ? (!has(self.startTime) && !has(self.endTime)) : has(self.endTime)",
    "set endTime (and startTime, if it does not begin at once), or schedule"
))]
#[x_kube(validation = (
    "!has(self.startTime) || !has(self.endTime) || timestamp(self.startTime) < timestamp(self.endTime)",
    "endTime must be after startTime"
))]
pub struct FreezeSpec {
    /// The ChangePolicy whose scope is frozen.
    pub policy_ref: NameRef,
    /// What is stopped.
    #[schemars(length(min = 1, max = 2))]
    pub stops: Vec<Stops>,
    /// Why.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    /// From then on; default: at once.
    pub start_time: Option<Time>,
    /// Until then.
    pub end_time: Option<Time>,
    /// Every week.
    pub schedule: Option<FreezeSchedule>,
}

/// What a freeze stops.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Stops {
    /// Changes need a lead and a peer.
    Changes,
    /// Nothing starts by itself.
    Automation,
}

/// A freeze of every week.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezeSchedule {
    /// IANA time zone.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// From then on.
    pub from: WeeklyTime,
    /// Until then.
    pub until: WeeklyTime,
}

/// A time of the week.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WeeklyTime {
    /// The day.
    pub day: Weekday,
    /// The local time: `16:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub time: String,
}

/// What the operator knows of a freeze.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezeStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Until when it is active, or the end of the next time.
    pub until_time: Option<Time>,
}

crate::conditioned!(FreezeStatus);
