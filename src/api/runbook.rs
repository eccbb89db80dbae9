//! Runbook: typed steps that answer a symptom. Once approved, it may run without a further approval.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::approval::CountedDecision;
use super::check::{ConditionCheck, HttpCheck, QueryCheck, RolloutCheck};
use super::common::{Empty, NameRef, ObjectRef, Severity};
use super::duration::Duration;
use super::one_of::exactly_one;

/// Annotation with the JSON list of users who changed content under the digest since the last approved
/// digest. The guard webhook stamps it and replaces any value that a client writes.
pub const AUTHORS_ANNOTATION: &str = "mayday.dev/authors";

/// Typed steps that answer a symptom, usable without asking once approved. An edit of anything but the
/// summary voids the approval.
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
    printcolumn(name = "Last-Run", type_ = "date", json_path = ".status.lastRunTime"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".spec.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct RunbookSpec {
    /// What it does, in one line. Not covered by the digest.
    #[schemars(length(min = 1, max = 200))]
    pub summary: String,
    /// What a person reads and does by hand.
    #[schemars(length(max = 16384))]
    pub instructions: Option<String>,
    /// The symptoms it answers: any entry, and within an entry everything that is set.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matches: Vec<Symptom>,
    /// Whether it starts by itself. Default Manual.
    #[serde(default)]
    pub start: Start,
    /// Whether its own approval is enough. Default PerRun.
    #[serde(default)]
    pub approval: RunApproval,
    /// The ServiceAccount in this namespace that its steps act as. It carries the label
    /// `mayday.dev/runbook-identity: "true"`.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// Values that a run may be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters: Vec<Parameter>,
    /// What must hold before anything is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub preconditions: Vec<Precondition>,
    /// The steps, one after another.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<Step>,
    /// How often it may run.
    pub limits: Option<Limits>,
    /// What happens when a step fails. Default Stop.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Nothing starts while it is true; runs that act are not stopped by it.
    #[serde(default)]
    pub suspend: bool,
}

/// A symptom: everything that is set must hold of one signal of the incident.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.alertName) || has(self.labels) || has(self.severities) || has(self.sourceRef) || has(self.serviceRef)",
    "an entry needs at least one of alertName, labels, severities, sourceRef, serviceRef"
))]
pub struct Symptom {
    /// Name of the alert, byte for byte.
    #[schemars(length(min = 1, max = 200))]
    pub alert_name: Option<String>,
    /// Labels of the alert, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 253})
    ))]
    pub labels: BTreeMap<String, String>,
    /// Severity of the incident, one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub severities: Vec<Severity>,
    /// The source that speaks.
    pub source_ref: Option<NameRef>,
    /// The service that is out.
    pub service_ref: Option<NameRef>,
}

/// Whether a Runbook starts by itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Start {
    /// As soon as an incident matches.
    Automatic,
    /// When a person starts it.
    #[default]
    Manual,
}

/// Whether the Runbook's own approval is enough.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RunApproval {
    /// The Runbook's own approval is enough.
    Standing,
    /// Each run is prepared and waits for an approval of its own.
    #[default]
    PerRun,
}

/// A value that a run may be given: exactly one of the typed members.
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
}

/// A whole number in bounds.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct IntegerParameter {
    /// Taken when a run gives none; absent: a run must give one.
    pub default: Option<i64>,
    /// The least that is allowed.
    pub minimum: Option<i64>,
    /// The most that is allowed.
    pub maximum: Option<i64>,
}

/// A text of a known shape.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StringParameter {
    /// Taken when a run gives none; absent: a run must give one.
    #[schemars(length(max = 253))]
    pub default: Option<String>,
    /// The values that are allowed.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 253)))]
    pub allowed: Vec<String>,
}

/// A CEL expression over a live object; false, or an error, stops the run before anything is touched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Precondition {
    /// The object, read as the Runbook's ServiceAccount; no Secret.
    pub target: ObjectRef,
    /// CEL with the variable `object`. `all`, `exists`, `map` and `filter` go over parts of it.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
    /// Why, when it is false.
    #[schemars(length(min = 1, max = 253))]
    pub message: String,
}

/// YAML names of the members that select what a step does.
pub const STEP_MEMBERS: &[&str] = &[
    "restart",
    "rollback",
    "scale",
    "patch",
    "deletePod",
    "cordon",
    "uncordon",
    "drain",
    "job",
    "http",
    "prometheus",
    "wait",
    "check",
    "manual",
    "approval",
];

/// One step: exactly one of the members says what is done.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one("a step does exactly one thing: set one of", STEP_MEMBERS))]
pub struct Step {
    /// Name of the step, unique in the Runbook.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Restarts a workload, as `kubectl rollout restart` does.
    pub restart: Option<RestartStep>,
    /// Returns a workload to an earlier template.
    pub rollback: Option<RollbackStep>,
    /// Sets the number of replicas.
    pub scale: Option<ScaleStep>,
    /// Patches an object.
    pub patch: Option<PatchStep>,
    /// Deletes one pod.
    pub delete_pod: Option<DeletePodStep>,
    /// Keeps new pods off a node.
    pub cordon: Option<NameRef>,
    /// Lets new pods on a node again.
    pub uncordon: Option<NameRef>,
    /// Evicts the pods of a node.
    pub drain: Option<NameRef>,
    /// Runs a Job.
    pub job: Option<JobStep>,
    /// Calls a URL.
    pub http: Option<HttpCheck>,
    /// Waits until a Prometheus query is within its limit.
    pub prometheus: Option<QueryCheck>,
    /// Waits.
    pub wait: Option<WaitStep>,
    /// Waits until something is so.
    pub check: Option<CheckStep>,
    /// Asks a person to do something and to confirm it.
    pub manual: Option<ManualStep>,
    /// Waits for an approval.
    pub approval: Option<Empty>,
    /// How long the step may take, questions included. Default 10m.
    pub timeout: Option<Duration>,
    /// What takes the step back.
    pub compensation: Option<Compensation>,
}

/// Restarts a workload, as `kubectl rollout restart` does.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RestartStep {
    /// The workload.
    pub target: ObjectRef,
}

/// Deletes one pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct DeletePodStep {
    /// The pod.
    pub target: ObjectRef,
}

/// Returns a workload to an earlier template.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RollbackStep {
    /// The workload.
    pub target: ObjectRef,
    /// Which template.
    pub to: RollbackTo,
}

/// Which template to return to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RollbackTo {
    /// The last one that was healthy.
    LastHealthy,
    /// The one before the present one.
    Previous,
}

/// Sets the number of replicas: exactly one of the members.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.replicas) != has(self.replicasFrom)", "set exactly one of replicas, replicasFrom"))]
pub struct ScaleStep {
    /// The workload.
    pub target: ObjectRef,
    /// This many.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: Option<i32>,
    /// As many as a parameter says.
    pub replicas_from: Option<FromParameter>,
}

/// The value of a parameter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FromParameter {
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
}

/// Patches an object.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PatchStep {
    /// The object.
    pub target: ObjectRef,
    /// A merge patch without nulls.
    #[schemars(schema_with = "super::common::free_object")]
    pub patch: Value,
}

/// Runs a Job.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct JobStep {
    /// The Job's spec.
    #[schemars(schema_with = "super::common::free_object")]
    pub spec: Value,
}

/// Waits.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WaitStep {
    /// How long.
    pub duration: Duration,
}

/// Waits until something is so: exactly one of the members.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.rollout) != has(self.condition)", "set exactly one of rollout, condition"))]
pub struct CheckStep {
    /// A workload runs its newest template on all its replicas.
    pub rollout: Option<RolloutCheck>,
    /// An object has a condition with a status.
    pub condition: Option<ConditionCheck>,
}

/// Asks a person to do something and to confirm it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ManualStep {
    /// What the person reads; answered by an Approval with decision Confirm or Deny.
    #[schemars(length(min = 1, max = 4000))]
    pub instructions: String,
}

/// What takes a step back.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.restorePrevious)", "set restorePrevious, or leave compensation out"))]
pub struct Compensation {
    /// What was there before comes back.
    pub restore_previous: Option<Empty>,
}

/// How often a Runbook may run. Counted from stored runs, so a restart forgets nothing.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Limits {
    /// At most so many runs in a length of time.
    pub runs: Option<RunLimit>,
    /// At least this long between the end of one run and the start of the next.
    pub cooldown: Option<Duration>,
}

/// At most so many runs in a length of time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RunLimit {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub max: i32,
    /// In how long.
    pub per: Duration,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnFailure {
    /// The run fails; the paging goes on as before.
    #[default]
    Stop,
    /// What was done is taken back, the last first.
    Rollback,
    /// The run fails and the lead's rotation is paged at once.
    Escalate,
}

/// What the operator knows of a Runbook.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Approved, Suspended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Digest of everything but the summary; what an Approval must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// The last digest that reached its approvals.
    #[schemars(length(max = 80))]
    pub approved_digest: Option<String>,
    /// The decisions that count for the present digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// Contents that somebody entitled has rejected, newest last. A rejection is final for its digest, whatever becomes
    /// of who made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rejections: Vec<Rejection>,
    /// When the approval lapses.
    pub approved_until_time: Option<Time>,
    /// When it last ran.
    pub last_run_time: Option<Time>,
    /// The runs that began last, newest last, as many as `limits.runs.max`: by these the limits are kept, whatever
    /// becomes of the RunbookRuns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub recent_runs: Vec<RecentRun>,
}

crate::conditioned!(RunbookStatus);

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

/// A run that began.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentRun {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When it began.
    pub start_time: Time,
    /// When it ended, or was seen to be gone; absent while it is at work.
    pub end_time: Option<Time>,
}

/// A content that was rejected.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Its digest.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Who rejected it.
    #[schemars(length(max = 253))]
    pub by: String,
}
