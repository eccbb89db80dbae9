//! Drills: rehearsals of a Runbook, so that it is known to work before it is needed (docs/rules.md#drills).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ObjectRef, ParameterValue};
use super::duration::Duration;

/// How a Runbook is rehearsed. A drill begins by itself; a person starts one with `kubectl mayday run NAME --drill`.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Drill {
    /// Time from one drill to the next, at least a minute; a month is `720h`. A failed drill is tried again after an
    /// hour.
    pub every: Duration,
    /// Whether the approval of the Runbook lapses while its last drill failed or is overdue. Then no run begins.
    #[serde(default)]
    pub required: bool,
    /// Values for the Runbook's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters: Vec<ParameterValue>,
    /// Objects that `fromIncident` stands for, since a drill has no incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub affected: Vec<ObjectRef>,
}

/// The last drill that has ended. A drill that was cancelled does not count.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct LastDrill {
    /// Name of its run.
    #[schemars(length(max = 253))]
    pub run: String,
    /// When it ended.
    pub time: Time,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// What it found.
    #[schemars(length(max = 1000))]
    pub message: String,
    /// Digest of the content that was rehearsed.
    #[schemars(length(max = 80))]
    pub digest: String,
}
