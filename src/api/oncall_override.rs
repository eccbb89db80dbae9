//! OnCallOverride: changes for a while who is on duty, such as one person standing in for another.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef};
use super::one_of::{SET_ONE, exactly_one};

/// YAML names of the members that select what the override does.
pub const OVERRIDE_MEMBERS: &[&str] = &["replace", "replaceAll", "add", "remove", "clear"];

/// Somebody stands in for somebody, written by people while the rotation lives in Git.
/// Exactly one of its members says how.
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
    printcolumn(name = "Start", type_ = "string", json_path = ".spec.startTime"),
    printcolumn(name = "End", type_ = "string", json_path = ".spec.endTime"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state")
)]
#[x_kube(validation = exactly_one(SET_ONE, OVERRIDE_MEMBERS))]
#[x_kube(validation = ("timestamp(self.startTime) < timestamp(self.endTime)", "endTime must be after startTime"))]
pub struct OnCallOverrideSpec {
    /// The rotation.
    pub rotation_ref: NameRef,
    /// From then on.
    pub start_time: Time,
    /// Until then; that instant is no longer covered.
    pub end_time: Time,
    /// One person of the rotation is replaced by another.
    pub replace: Option<Replace>,
    /// Whoever is on duty is replaced.
    pub replace_all: Option<ReplaceAll>,
    /// One more person is on duty.
    pub add: Option<OnePerson>,
    /// One person is off duty.
    pub remove: Option<OnePerson>,
    /// Nobody is on duty.
    pub clear: Option<Empty>,
    /// Why.
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
}

/// One person is replaced by another.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Replace {
    /// Who is replaced: a name in the rotation's people.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
    /// Who stands in: a name in the rotation's people.
    #[schemars(length(min = 1, max = 63))]
    pub by: String,
}

/// Whoever is on duty is replaced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ReplaceAll {
    /// Who stands in: names in the rotation's people.
    #[schemars(length(min = 1, max = 16))]
    pub by: Vec<String>,
}

/// One person of the rotation.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct OnePerson {
    /// A name in the rotation's people.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
}

/// What the operator knows of an override.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCallOverrideStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Who does what, for the column: `bea for emil`.
    #[schemars(length(max = 253))]
    pub who: Option<String>,
    /// Scheduled, Active or Over, for the column.
    #[schemars(length(max = 32))]
    pub state: Option<String>,
}

crate::conditioned!(OnCallOverrideStatus);
