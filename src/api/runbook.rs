//! Runbook: typed steps against a symptom (docs/rules.md#write-runbook). Once approved, it may run without a
//! further approval.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::approval::CountedDecision;
use super::breaker::{Breaker, BreakerStatus};
use super::common::{NameRef, ObjectRef, Severity, UidRef};
use super::drill::{Drill, LastDrill};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};
use super::runbook_run::RunState;
use super::runbook_step::{Step, Target};

/// Annotation with the JSON list of users who changed content under the digest since the last approved
/// digest. The guard webhook stamps it and replaces any value that a client writes.
pub const AUTHORS_ANNOTATION: &str = "mayday.dev/authors";

/// Label of the ServiceAccounts that Runbooks may act as; its value is `true`.
pub const IDENTITY_LABEL: &str = "mayday.dev/runbook-identity";

/// Typed steps against a symptom. Once approved, the Runbook may run without a further approval. An edit of
/// anything but the summary and `historyLimit` voids the approval.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "Runbook",
    plural = "runbooks",
    shortname = "rb",
    category = "mayday",
    namespaced,
    status = "RunbookStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Start", type_ = "string", json_path = ".spec.start"),
    printcolumn(
        name = "Approved",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Approved\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Last-Run", type_ = "date", json_path = ".status.lastRunTime"),
    printcolumn(name = "Last-Good", type_ = "date", json_path = ".status.lastGoodRunTime"),
    printcolumn(name = "Breaker", type_ = "string", json_path = ".status.breaker.state", priority = 1),
    printcolumn(name = "Summary", type_ = "string", json_path = ".spec.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct RunbookSpec {
    /// What the Runbook does, in one line. The digest does not cover it.
    #[schemars(length(min = 1, max = 200))]
    pub summary: String,
    /// Instructions for a person who acts by hand.
    #[schemars(length(max = 16384))]
    pub instructions: Option<String>,
    /// Symptoms that the Runbook is for. One entry must match, with everything that it sets.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matches: Vec<Symptom>,
    /// Whether the Runbook starts by itself. Default Manual.
    #[serde(default)]
    pub start: Start,
    /// Standing: the Runbook's own approval is enough. PerRun: each run needs an approval of its own. Default
    /// PerRun.
    #[serde(default)]
    pub approval: RunApproval,
    /// ServiceAccount in this namespace that the steps act as. It must carry the label
    /// `mayday.dev/runbook-identity: "true"`.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// Parameters that a run may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters: Vec<Parameter>,
    /// Preconditions. All must be true before a run touches anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub preconditions: Vec<Precondition>,
    /// Steps in their order.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<Step>,
    /// How often the Runbook may run.
    pub limits: Option<Limits>,
    /// Number of settled runs that are kept of each outcome: those that succeeded, those that did not, and dry runs. The
    /// digest does not cover it. Default: what the installation says, which is 50.
    #[schemars(range(min = 1, max = 1000))]
    pub history_limit: Option<i32>,
    /// What happens when a step fails, or a person denies. Default Rollback if a step has a compensation, else Stop.
    pub on_failure: Option<OnFailure>,
    /// Place of the Runbook in a ladder: of the Runbooks with an order that match an incident, the one with the lowest
    /// begins, and the next only if that did not bring the service back. Only with `start: Automatic`.
    #[schemars(range(min = 0, max = 1000))]
    pub order: Option<i32>,
    /// How a run for an incident is proved to have helped.
    pub verify: Option<Verify>,
    /// How the Runbook is rehearsed. Absent: not at all.
    pub drill: Option<Drill>,
    /// Whether the Runbook is suspended. Then no run starts, and runs that have begun go on.
    #[serde(default)]
    pub suspend: bool,
}

/// How a run for an incident is proved to have helped. The checks are those of the incident.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Verify {
    /// Time after the end of the run, from a second to a day. The checks must pass within it, and the service does not count
    /// as restored before its end. If a check fails again within it, the run has not helped for good. Without it 5 minutes,
    /// and the service may count as restored earlier.
    pub window: Duration,
}

/// A symptom. Everything that is set must match: `alertName`, `labels` and `sourceRef` one firing signal of
/// the incident, `severities` and `serviceRef` the incident itself.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.alertName) || has(self.labels) || has(self.severities) || has(self.sourceRef) || has(self.serviceRef)",
    "an entry needs at least one of alertName, labels, severities, sourceRef, serviceRef"
))]
pub struct Symptom {
    /// Name of the alert, compared byte for byte.
    #[schemars(length(min = 1, max = 200))]
    pub alert_name: Option<String>,
    /// Labels of the alert. All must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 253})
    ))]
    pub labels: BTreeMap<String, String>,
    /// Severities of the incident. One must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub severities: Vec<Severity>,
    /// AlertSource that reports the signal.
    pub source_ref: Option<NameRef>,
    /// Service that is out.
    pub service_ref: Option<NameRef>,
}

/// Whether a Runbook starts by itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Start {
    /// It starts as soon as an incident matches.
    Automatic,
    /// A person starts it.
    #[default]
    Manual,
}

/// Which approval a run needs (docs/rules.md#approval-of-a-run).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RunApproval {
    /// The Runbook's own approval is enough.
    Standing,
    /// Each run is prepared, and waits for an approval of its own.
    #[default]
    PerRun,
}

/// A parameter of a run. Exactly one of `integer` and `string` is set. The value comes from the run, else from the
/// incident (`from`), else from the default.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.integer) != has(self.string)", "set exactly one of integer, string"))]
pub struct Parameter {
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// A whole number.
    pub integer: Option<IntegerParameter>,
    /// A text.
    pub string: Option<StringParameter>,
    /// Where the value comes from if the run sets none.
    pub from: Option<ParameterSource>,
}

/// YAML names of the members that say where a parameter comes from.
pub const PARAMETER_SOURCE_MEMBERS: &[&str] = &["incident", "label"];

/// Where the value of a parameter comes from. Exactly one member is set. What an alert says is data of a stranger: the
/// value must fit the parameter, and it is only ever used as a whole value.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = exactly_one(SET_ONE, PARAMETER_SOURCE_MEMBERS))]
pub struct ParameterSource {
    /// A field of the incident.
    pub incident: Option<IncidentField>,
    /// A label of the signals. If firing signals disagree, the run does not begin.
    #[schemars(length(min = 1, max = 128))]
    pub label: Option<String>,
}

/// A field of an incident that a parameter may take.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum IncidentField {
    /// Name of the incident.
    Name,
    /// Name of its service.
    Service,
    /// Its severity: SEV1 to SEV5.
    Severity,
}

/// A whole number within limits.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct IntegerParameter {
    /// Value if a run sets none. Absent: a run must set one.
    pub default: Option<i64>,
    /// Smallest value that is allowed.
    pub minimum: Option<i64>,
    /// Largest value that is allowed.
    pub maximum: Option<i64>,
}

/// A text, which may be limited to fixed values.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StringParameter {
    /// Value if a run sets none. Absent: a run must set one.
    #[schemars(length(max = 253))]
    pub default: Option<String>,
    /// Values that are allowed. Empty: all that fit the pattern.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 253)))]
    pub allowed: Vec<String>,
}

/// A CEL expression over a live object. If it is false or fails, the run stops before it touches anything.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Precondition {
    /// Object to read, as the Runbook's ServiceAccount. It cannot be a Secret. If it stands for several objects, the
    /// expression must be true for each.
    pub target: Target,
    /// CEL expression with the variable `object`. `all`, `exists`, `map` and `filter` go over parts of it.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// Message if the expression is false.
    #[schemars(length(min = 1, max = 253))]
    pub message: String,
}

/// How often a Runbook may run. Runs are counted from stored objects, so a restart of Mayday resets nothing
/// (docs/rules.md#run-limits).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Limits {
    /// Maximum number of runs within a time.
    pub runs: Option<RunLimit>,
    /// Minimum time between the end of one run and the start of the next.
    pub cooldown: Option<Duration>,
    /// When the Runbook no longer starts by itself.
    pub breaker: Option<Breaker>,
}

/// Maximum number of runs within a time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RunLimit {
    /// Maximum number of runs.
    #[schemars(range(min = 1, max = 1000))]
    pub max: i32,
    /// Length of the time.
    pub per: Duration,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnFailure {
    /// The run fails, and paging goes on as before.
    Stop,
    /// The steps that were done are rolled back, the last one first.
    Rollback,
    /// The run fails, and the rotation of the lead is paged at once.
    Escalate,
    /// The run goes on. At its end it is Degraded, never Succeeded.
    Continue,
}

/// Status of the Runbook. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Approved, Suspended, Drilled, BreakerOpen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Digest of everything but the summary. An Approval must name it.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// Last digest that was approved.
    #[schemars(length(max = 80))]
    pub approved_digest: Option<String>,
    /// Decisions that count for the current digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// Contents that an approver has rejected, newest last. A rejection stays final for its digest, even if
    /// the approver is no longer eligible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rejections: Vec<Rejection>,
    /// Templates of the workloads that a `rollback` step names, as Mayday has seen them healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub healthy_templates: Vec<HealthyTemplate>,
    /// When the approval lapses.
    pub approved_until_time: Option<Time>,
    /// When the Runbook last ran.
    pub last_run_time: Option<Time>,
    /// When a run or a drill of the Runbook last succeeded.
    pub last_good_run_time: Option<Time>,
    /// The last drill that has ended.
    pub last_drill: Option<LastDrill>,
    /// What became of `limits.breaker`; absent without one.
    pub breaker: Option<BreakerStatus>,
    /// Last runs that began, newest last: as many as `limits.runs.max`, and all that the breaker may still need. The
    /// limits are computed from this list, so deleting a RunbookRun resets nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub recent_runs: Vec<RecentRun>,
}

crate::conditioned!(RunbookStatus);

impl RunbookSpec {
    /// What happens when this step fails.
    pub fn on_failure_of(&self, step: Option<&Step>) -> OnFailure {
        let has_way_back = self.steps.iter().any(|step| step.compensation.is_some());
        let default = if has_way_back { OnFailure::Rollback } else { OnFailure::Stop };
        step.and_then(|step| step.on_failure).or(self.on_failure).unwrap_or(default)
    }
}

impl Runbook {
    /// Users who changed content under the digest since the last approved digest, as stamped by the guard
    /// webhook. `None` if the annotation is missing or unreadable: the authors are then unknown, and no one
    /// may approve.
    pub fn authors(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.metadata.annotations.as_ref()?.get(AUTHORS_ANNOTATION)?).ok()
    }
}

impl RunbookStatus {
    /// The user who rejected the content with this digest, if any.
    pub fn rejected_by(&self, digest: &str) -> Option<&str> {
        let rejection = self.rejections.iter().find(|rejection| rejection.digest == digest);
        rejection.map(|rejection| rejection.by.as_str())
    }
}

/// A template of a workload that Mayday has seen rolled out with all pods available.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct HealthyTemplate {
    /// The workload.
    pub object: ObjectRef,
    /// UID of the workload.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Digest of its pod template.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// When Mayday saw it first.
    pub time: Time,
}

/// A run that began.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentRun {
    /// Name of the run.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the run.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When the run began.
    pub start_time: Time,
    /// When the run ended, or when Mayday saw that it was gone. Absent while it works.
    pub end_time: Option<Time>,
    /// State in which the run ended. Absent if it was gone before Mayday saw its end; it then counts as failed.
    pub outcome: Option<RunState>,
    /// Incident that the run was for.
    pub incident_ref: Option<UidRef>,
    /// When the service was lost again, if that was within the window of `spec.verify` or of `limits.breaker.within` after
    /// the run.
    pub regressed_time: Option<Time>,
}

/// A rejected content.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Digest of the content.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Who rejected the content.
    #[schemars(length(max = 253))]
    pub by: String,
}
