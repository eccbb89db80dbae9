//! Freeze: stops changes, automation or both in the scope of a policy until a time
//! (docs/rules.md#write-freeze).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::NameRef;
use super::oncall_rotation::Weekday;

/// Stops changes, automation or both in the scope of a policy until a time. People write it, or Git for
/// planned freezes.
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
    printcolumn(name = "Stops", type_ = "string", json_path = ".status.stops"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextStartTime"),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.untilTime"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = 1)
)]
#[x_kube(validation = (
    "has(self.schedule) ? (!has(self.startTime) && !has(self.endTime)) : has(self.endTime)",
    "set endTime (and startTime, if it does not begin at once), or schedule"
))]
#[x_kube(validation = (
    "!has(self.endTime) || timestamp(self.endTime) > (has(self.startTime) ? timestamp(self.startTime) : timestamp('1970-01-01T00:00:00Z'))",
    "endTime must be after startTime"
))]
#[x_kube(validation = ("self.stops.size() < 2 || self.stops[0] != self.stops[1]", "stops must name each half once"))]
pub struct FreezeSpec {
    /// The ChangePolicy whose scope is frozen.
    pub policy_ref: NameRef,
    /// What the freeze stops.
    #[schemars(length(min = 1, max = 2))]
    pub stops: Vec<Stops>,
    /// Reason for the freeze.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
    /// When the freeze begins. Default: at once.
    pub start_time: Option<Time>,
    /// When the freeze ends.
    pub end_time: Option<Time>,
    /// A freeze that repeats every week. It replaces `startTime` and `endTime`.
    pub schedule: Option<FreezeSchedule>,
}

/// What a freeze stops.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Stops {
    /// A change needs a lead and a peer.
    Changes,
    /// No run starts by itself, and one that did acts no further.
    Automation,
}

/// A freeze that repeats every week.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.from.day != self.until.day || self.from.time != self.until.time",
    "from and until must differ: a freeze without an end is not a weekly one"
))]
#[x_kube(validation = (
    "self.timeZone != 'Local' && timestamp('2026-01-01T00:00:00Z').getFullYear(self.timeZone) > 0",
    "timeZone must be an IANA time zone, such as Europe/Berlin"
))]
pub struct FreezeSchedule {
    /// IANA time zone of both times: `Europe/Berlin`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z]"))]
    pub time_zone: String,
    /// When the freeze begins.
    pub from: WeeklyTime,
    /// When the freeze ends.
    pub until: WeeklyTime,
}

/// A local time on a day of the week.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WeeklyTime {
    /// Day of the week.
    pub day: Weekday,
    /// Local time: `16:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub time: String,
}

/// Status of the freeze. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezeStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// What it stops, in words: `Changes, Automation`.
    #[schemars(length(max = 63))]
    pub stops: Option<String>,
    /// When the freeze begins next; absent if it never does again.
    pub next_start_time: Option<Time>,
    /// When the freeze ends; while it is not active, when the next one ends.
    pub until_time: Option<Time>,
    /// Start of the latest period that was announced ahead, by the Event FreezeAnnounced.
    pub announced_time: Option<Time>,
}

crate::conditioned!(FreezeStatus);
