//! OnCallOverride: changes who is on duty for some time, such as one person instead of another.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef};
use super::one_of::{SET_ONE, exactly_one};

/// YAML names of the members that select what the override does.
pub const OVERRIDE_MEMBERS: &[&str] = &["replace", "replaceAll", "add", "remove", "clear", "swap"];

/// Changes who is on duty for some time. People write it, while the rotation itself stays in Git. Exactly one
/// of `replace`, `replaceAll`, `add`, `remove`, `clear` and `swap` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "OnCallOverride",
    plural = "oncalloverrides",
    shortname = "override",
    category = "mayday",
    namespaced,
    status = "OnCallOverrideStatus",
    derive = "PartialEq",
    printcolumn(name = "Rotation", type_ = "string", json_path = ".spec.rotationRef.name"),
    printcolumn(name = "Who", type_ = "string", json_path = ".status.who"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Start", type_ = "string", json_path = ".spec.startTime"),
    printcolumn(name = "End", type_ = "string", json_path = ".spec.endTime"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state")
)]
#[x_kube(validation = exactly_one(SET_ONE, OVERRIDE_MEMBERS))]
#[x_kube(validation = ("timestamp(self.startTime) < timestamp(self.endTime)", "endTime must be after startTime"))]
#[x_kube(validation = (
    "!has(oldSelf.swap) || !has(oldSelf.swap.answer) || (has(self.swap) && self.swap.person == oldSelf.swap.person \
     && self.swap.by == oldSelf.swap.by && self.rotationRef == oldSelf.rotationRef \
     && self.startTime == oldSelf.startTime && self.endTime == oldSelf.endTime)",
    "a swap that was answered stays as it was agreed: write another one"
))]
pub struct OnCallOverrideSpec {
    /// Rotation that the override changes.
    pub rotation_ref: NameRef,
    /// When the override begins.
    pub start_time: Time,
    /// When the override ends, exclusive.
    pub end_time: Time,
    /// Replaces one person by another.
    pub replace: Option<Replace>,
    /// Replaces everyone on duty.
    pub replace_all: Option<ReplaceAll>,
    /// Puts one more person on duty.
    pub add: Option<OnePerson>,
    /// Takes one person off duty.
    pub remove: Option<OnePerson>,
    /// Takes everyone off duty.
    pub clear: Option<Empty>,
    /// Asks one person to take the shift of another. It counts once that person has taken it.
    pub swap: Option<Swap>,
    /// Of several overrides of one person, or of several that replace everyone, the one of the highest priority
    /// counts; of equal ones the youngest. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
    /// Reason for the override.
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
}

impl OnCallOverrideSpec {
    /// One of a rotation from `start` until `end`, exclusive. Its member is still to be set.
    pub fn between(rotation: &str, start: Timestamp, end: Timestamp) -> OnCallOverrideSpec {
        OnCallOverrideSpec {
            rotation_ref: NameRef { name: rotation.to_owned() },
            start_time: Time(start),
            end_time: Time(end),
            replace: None,
            replace_all: None,
            add: None,
            remove: None,
            clear: None,
            swap: None,
            priority: 0,
            reason: None,
        }
    }
}

/// Replaces one person by another.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Replace {
    /// Person who is replaced, by name in the rotation.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
    /// Person who is on duty instead, by name in the rotation.
    #[schemars(length(min = 1, max = 63))]
    pub by: String,
}

/// Replaces everyone on duty.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ReplaceAll {
    /// People who are on duty instead, by name in the rotation.
    #[schemars(length(min = 1, max = 16))]
    pub by: Vec<String>,
}

/// Asks one person to take the shift of another.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Swap {
    /// Person whose shift it is, by name in the rotation.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
    /// Person who is asked to take it, by name in the rotation.
    #[schemars(length(min = 1, max = 63))]
    pub by: String,
    /// Answer of the person who is asked. Only this person may write `Taken`; both may take it back. A swap
    /// without an answer lapses when its time begins.
    pub answer: Option<Answer>,
}

/// Answer to a swap.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Answer {
    /// The person takes the shift.
    Taken,
    /// The person does not.
    Declined,
}

/// One person of the rotation.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct OnePerson {
    /// The person, by name in the rotation.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
}

/// Status of the override. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCallOverrideStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The change in words, for the column: `bea for emil`.
    #[schemars(length(max = 253))]
    pub who: Option<String>,
    /// State of the override, for the column: Scheduled, Active or Over; of a swap also Asked, Declined or Lapsed.
    #[schemars(length(max = 32))]
    pub state: Option<String>,
}

crate::conditioned!(OnCallOverrideStatus);
