//! Drills: rehearsals of a Runbook, so that it is known to work before it is needed (docs/rules.md#drills).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{ObjectRef, ParameterValue};
use super::duration::Duration;
use kube::KubeSchema;

/// How a Runbook is rehearsed. A drill begins by itself; a person starts one with `kubectl mayday run NAME --drill`.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = (
    "(self.mode == 'Namespace') == has(self.namespace)",
    "mode Namespace needs a namespace, and mode DryRun takes none"
))]
pub struct Drill {
    /// Time from one drill to the next, at least a minute; a month is `720h`. A failed drill is tried again after an
    /// hour.
    pub every: Duration,
    /// What a drill does. Default DryRun.
    #[serde(default)]
    pub mode: DrillMode,
    /// For mode Namespace: the namespace of the copies. The ServiceAccount with the Runbook's name for it must be there, with the label
    /// `mayday.dev/drills-of: NAMESPACE-OF-THE-RUNBOOK`. No policy may protect the namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// For mode Namespace: maximum number of replicas of a copy. Default 2.
    #[schemars(range(min = 1, max = 10))]
    pub replicas: Option<i32>,
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

/// What a drill does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DrillMode {
    /// The steps say what they would do, and the API server tries it without doing it.
    #[default]
    DryRun,
    /// The steps act on copies of the workloads in a namespace for drills.
    Namespace,
}

/// The copies of a drill in a namespace of its own.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillStatus {
    /// Namespace of the copies.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// What is copied. Stored before the first copy is made.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub copies: Vec<ObjectRef>,
    /// When Mayday began to make the copies.
    pub start_time: Option<Time>,
    /// When all copies were up.
    pub ready_time: Option<Time>,
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
