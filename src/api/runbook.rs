//! Runbook: typed steps against a symptom (docs/rules.md#write-runbook). Once approved, it may run without a
//! further approval.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::approval::CountedDecision;
use super::check::{HttpCheck, QueryCheck};
use super::common::{Empty, NameRef, ObjectRef, Severity};
use super::duration::Duration;
use super::http_step::HttpStep;
use super::one_of::{SET_ONE, exactly_one};

/// Annotation with the JSON list of users who changed content under the digest since the last approved
/// digest. The guard webhook stamps it and replaces any value that a client writes.
pub const AUTHORS_ANNOTATION: &str = "mayday.dev/authors";

/// Typed steps against a symptom. Once approved, the Runbook may run without a further approval. An edit of
/// anything but the summary voids the approval.
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
    /// What happens when a step fails, or a person denies. Default Rollback if a step has a compensation, else Stop.
    pub on_failure: Option<OnFailure>,
    /// Whether the Runbook is suspended. Then no run starts, and runs that have begun go on.
    #[serde(default)]
    pub suspend: bool,
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

/// YAML names of the members that say which objects a target stands for.
pub const TARGET_MEMBERS: &[&str] = &["name", "selector", "fromIncident"];

/// The objects that a step reads or changes: one by its name, several by their labels, or what the incident is
/// about. They are resolved to names and UIDs when a run is prepared, and an approval of the run binds them
/// (docs/rules.md#run-targets).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one("a target stands for objects in one way: set one of", TARGET_MEMBERS))]
pub struct Target {
    /// API version of the objects, such as `apps/v1`. Only the group is compared, never the version. Absent for a
    /// step that is about one kind, such as `cordon`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-z0-9.-]+/)?v[a-z0-9]+$"))]
    pub api_version: Option<String>,
    /// Kind of the objects, such as `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: Option<String>,
    /// Name of the object. No wildcards.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.:]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// The objects with these labels.
    pub selector: Option<LabelsSelector>,
    /// The objects of this kind that the incident is about: its affected objects and those that its firing signals
    /// name. Without a kind, the workloads among them.
    pub from_incident: Option<Empty>,
    /// Maximum number of objects. A run that finds more does not begin. Default 10.
    #[schemars(range(min = 1, max = 16))]
    pub maximum: Option<i32>,
}

/// Objects with all of these labels.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelsSelector {
    /// Labels that an object must have. At least one.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 8,
        "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 63})
    ))]
    pub match_labels: BTreeMap<String, String>,
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
    "wait",
    "check",
    "manual",
    "approval",
    "suspendGitOps",
    "resumeGitOps",
];

/// One step. Exactly one member says what it does.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one("a step does exactly one thing: set one of", STEP_MEMBERS))]
pub struct Step {
    /// Name of the step, unique in the Runbook.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Restarts workloads, as `kubectl rollout restart` does.
    pub restart: Option<RestartStep>,
    /// Returns a workload to an earlier pod template.
    pub rollback: Option<RollbackStep>,
    /// Sets the number of replicas.
    pub scale: Option<ScaleStep>,
    /// Patches an object.
    pub patch: Option<PatchStep>,
    /// Removes pods, which their controllers replace.
    pub delete_pod: Option<DeletePodStep>,
    /// Keeps new pods off a node.
    pub cordon: Option<CordonStep>,
    /// Lets new pods on a node again that a run has cordoned. A cordon by somebody else stays.
    pub uncordon: Option<UncordonStep>,
    /// Evicts the pods of a cordoned node.
    pub drain: Option<DrainStep>,
    /// Runs a Job and waits for its end.
    pub job: Option<JobStep>,
    /// Calls an endpoint.
    pub http: Option<HttpStep>,
    /// Waits for a fixed time.
    pub wait: Option<WaitStep>,
    /// Waits until something is so.
    pub check: Option<CheckStep>,
    /// Asks a person to do something and to confirm it.
    pub manual: Option<ManualStep>,
    /// Waits for the approval of a person who may approve the run.
    pub approval: Option<ApprovalStep>,
    /// Suspends the GitOps object that would undo the repair.
    pub suspend_git_ops: Option<GitOpsStep>,
    /// Resumes a GitOps object.
    pub resume_git_ops: Option<ResumeGitOpsStep>,
    /// Condition of the step. If it is false, the step is skipped and the run goes on.
    pub when: Option<When>,
    /// Preconditions of the step. All must be true right before it acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub preconditions: Vec<Precondition>,
    /// Maximum time for the step, including its questions and retries. Default 10m; for `wait`, its duration plus
    /// 10m.
    pub timeout: Option<Duration>,
    /// How often the step is tried again after a failure. Default: not at all.
    pub retry: Option<Retry>,
    /// What happens if the step fails. Default: what the Runbook says.
    pub on_failure: Option<OnFailure>,
    /// How the step is rolled back.
    pub compensation: Option<Compensation>,
}

/// A CEL expression over a live object that decides whether a step is done.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct When {
    /// Object to read, as the Runbook's ServiceAccount. It cannot be a Secret.
    pub target: Target,
    /// CEL expression with the variable `object`.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
}

/// How often a step is tried again. Only a failure that changed nothing, or whose effect is proved to be over, is tried
/// again.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Retry {
    /// Maximum number of further attempts.
    #[schemars(range(min = 1, max = 10))]
    pub maximum: i32,
    /// Wait before the first further attempt; it doubles each time, up to 5m. Default 5s.
    pub wait: Option<Duration>,
}

/// Restarts workloads, as `kubectl rollout restart` does. Of several, each batch must be rolled out before the next
/// begins: one, then two, then four.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RestartStep {
    /// The workloads.
    pub target: Target,
}

/// Removes pods, which their controllers replace. Only pods with a controller are removed.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct DeletePodStep {
    /// The pods. Their kind may be left out.
    pub target: Target,
    /// How the pods are removed. Default Eviction.
    #[serde(default)]
    pub by: RemoveBy,
}

/// How a pod is removed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RemoveBy {
    /// By eviction, which PodDisruptionBudgets may hold up.
    #[default]
    Eviction,
    /// By deletion, which no PodDisruptionBudget holds up.
    Deletion,
}

/// Keeps new pods off a node. A node that is cordoned already stays as it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CordonStep {
    /// The node. Its kind may be left out.
    pub target: Target,
}

/// Lets new pods on a node again that a run has cordoned. A cordon by somebody else stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct UncordonStep {
    /// The node. Its kind may be left out.
    pub target: Target,
}

/// Evicts the pods of a cordoned node. Pods of DaemonSets and mirror pods stay. A pod without a controller, or with local
/// data in an `emptyDir`, stops the step unless it is allowed.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainStep {
    /// The node. Its kind may be left out.
    pub target: Target,
    /// Whether pods with an `emptyDir` are evicted; their local data is lost. Default false.
    #[serde(default)]
    pub delete_empty_dir_data: bool,
}

/// Returns a workload to an earlier pod template. Exactly one of `to` and `revision` is set. The template is chosen once,
/// when the act is announced, and never again.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.to) != has(self.revision)", "set exactly one of to, revision"))]
pub struct RollbackStep {
    /// The workload.
    pub target: Target,
    /// Template to return to.
    pub to: Option<RollbackTo>,
    /// Number of the revision to return to, as `kubectl rollout history` shows it.
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
}

/// Template to return to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RollbackTo {
    /// The last template that was healthy: the newest one before the current whose pods were all available.
    LastHealthy,
    /// The template before the current one.
    Previous,
}

/// YAML names of the members that say how many replicas there shall be.
pub const SCALE_MEMBERS: &[&str] = &["replicas", "replicasFrom", "delta"];

/// Sets the number of replicas, once: `delta` is added to the number that is found before the act is announced.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, SCALE_MEMBERS))]
pub struct ScaleStep {
    /// The workload: a Deployment, StatefulSet or ReplicaSet. If a HorizontalPodAutoscaler scales it, the step raises
    /// or lowers `minReplicas` of the autoscaler instead.
    pub target: Target,
    /// Number of replicas.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: Option<i32>,
    /// Parameter that holds the number of replicas.
    pub replicas_from: Option<FromParameter>,
    /// Number of replicas to add; negative to take away.
    #[schemars(range(min = -1000, max = 1000))]
    pub delta: Option<i32>,
    /// Smallest number of replicas that `delta` may lead to. Default 1.
    #[schemars(range(min = 0, max = 100_000))]
    pub minimum: Option<i32>,
    /// Largest number of replicas that `delta` may lead to.
    #[schemars(range(min = 0, max = 100_000))]
    pub maximum: Option<i32>,
}

/// The value of a parameter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FromParameter {
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
}

/// Patches an object. The result may differ from the object only at `allowPaths` and below.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.merge) != has(self.json)", "set exactly one of merge, json"))]
pub struct PatchStep {
    /// The object.
    pub target: Target,
    /// Merge patch of absolute values, without nulls.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_object")]
    pub merge: Option<Value>,
    /// JSON Patch: operations `test`, `add`, `replace` and `remove`, as in RFC 6902. `add` to the end of a list (`-`)
    /// is refused, since a repeat would add twice.
    #[schemars(length(min = 1, max = 32))]
    pub json: Option<Vec<JsonOperation>>,
    /// Values of parameters that are put into the patched object as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub values: Vec<PatchValue>,
    /// JSON pointers. The patch may change nothing else.
    #[schemars(length(min = 1, max = 16), inner(length(min = 2, max = 253), regex(pattern = "^/")))]
    pub allow_paths: Vec<String>,
}

/// An operation of a JSON Patch.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct JsonOperation {
    /// What is done.
    pub op: JsonOp,
    /// JSON pointer of the value.
    #[schemars(length(min = 2, max = 253), regex(pattern = "^/"))]
    pub path: String,
    /// The value. Absent for `remove`.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub value: Option<Value>,
}

/// What an operation of a JSON Patch does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonOp {
    /// Stops the step unless the value is the given one.
    #[default]
    Test,
    /// Adds a value.
    Add,
    /// Replaces a value that is there.
    Replace,
    /// Removes a value that is there.
    Remove,
}

/// A place in the patched object that takes the value of a parameter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PatchValue {
    /// JSON pointer of the place. It must be under `allowPaths`.
    #[schemars(length(min = 2, max = 253), regex(pattern = "^/"))]
    pub path: String,
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
}

/// Runs a Job and waits for its end. Exactly one of `spec` and `cronJob` is set. The Job runs at most one pod, which is
/// never restarted, as the Runbook's ServiceAccount. Each image must name a digest.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.spec) != has(self.cronJob)", "set exactly one of spec, cronJob"))]
pub struct JobStep {
    /// Spec of the Job.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_object")]
    pub spec: Option<Value>,
    /// CronJob of the namespace whose template the Job is made of.
    pub cron_job: Option<CronJobTemplate>,
    /// Environment variables that hold the values of parameters, in every container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env: Vec<EnvParameter>,
}

/// The template of a CronJob.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CronJobTemplate {
    /// Name of the CronJob.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Digest of its `spec.jobTemplate.spec`: the approval of the Runbook covers what the Job does. A wrong digest is
    /// refused with the right one.
    #[schemars(length(min = 1, max = 80))]
    pub digest: String,
}

/// An environment variable that holds the value of a parameter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct EnvParameter {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
}

/// Waits for a fixed time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct WaitStep {
    /// How long the step waits.
    pub duration: Duration,
}

/// YAML names of the members of a check of a Runbook.
pub const STEP_CHECK_MEMBERS: &[&str] = &["rollout", "condition", "expression", "query", "http"];

/// Waits until something is so. Exactly one member is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = exactly_one(SET_ONE, STEP_CHECK_MEMBERS))]
pub struct CheckStep {
    /// Waits until workloads run their newest template on all their replicas and all are available.
    pub rollout: Option<RolloutStep>,
    /// Waits until a condition of objects has the given status.
    pub condition: Option<ConditionStep>,
    /// Waits until a CEL expression over objects is true.
    pub expression: Option<ExpressionStep>,
    /// Waits until a Prometheus query is within its limit. A label's value may be a parameter: `queue="$queue"`.
    pub query: Option<QueryCheck>,
    /// Waits until a URL answers with the expected status.
    pub http: Option<HttpCheck>,
}

/// Workloads whose rollout must be complete.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RolloutStep {
    /// The workloads.
    pub target: Target,
}

/// A condition of objects, with the status that it must have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ConditionStep {
    /// The objects.
    pub target: Target,
    /// Type of the condition, such as `Available`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Status that the condition must have: "True", "False" or "Unknown". Default "True".
    #[serde(default = "super::check::yes")]
    #[schemars(regex(pattern = "^(True|False|Unknown)$"), length(max = 8))]
    pub status: String,
}

/// A CEL expression that must become true.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExpressionStep {
    /// The objects. A Secret is not looked at.
    pub target: Target,
    /// CEL expression with the variable `object`.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
}

/// Asks a person to do something and to confirm it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ManualStep {
    /// Instructions for the person, who answers with an Approval whose decision is Confirm or Deny.
    #[schemars(length(min = 1, max = 4000))]
    pub instructions: String,
}

/// Waits for the approval of a person who may approve the run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ApprovalStep {
    /// What is approved, for the person who decides.
    #[schemars(length(min = 1, max = 500))]
    pub question: String,
}

/// A GitOps object that is suspended: a Kustomization or HelmRelease of Flux, or an Application of Argo CD.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct GitOpsStep {
    /// The object, in the namespace of the run.
    pub target: Target,
}

/// A GitOps object that is resumed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ResumeGitOpsStep {
    /// The object, in the namespace of the run.
    pub target: Target,
}

/// Writes back what was there before the step, where it is still as the step left it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RestorePrevious {}

/// YAML names of the members that say how a step is rolled back.
pub const COMPENSATION_MEMBERS: &[&str] =
    &["restorePrevious", "uncordon", "resumeGitOps", "restart", "scale", "patch"];

/// How a step is rolled back, if it has had an effect. Exactly one member is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, COMPENSATION_MEMBERS))]
pub struct Compensation {
    /// Writes back what was there before the step, where it is still as the step left it.
    pub restore_previous: Option<RestorePrevious>,
    /// Lets new pods on the node again, if a run has cordoned it.
    pub uncordon: Option<UncordonStep>,
    /// Resumes the GitOps object.
    pub resume_git_ops: Option<ResumeGitOpsStep>,
    /// Restarts workloads.
    pub restart: Option<RestartStep>,
    /// Sets the number of replicas.
    pub scale: Option<ScaleStep>,
    /// Patches an object.
    pub patch: Option<PatchStep>,
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
    /// Conditions: Ready, Approved, Suspended.
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
    /// Last runs that began, newest last, as many as `limits.runs.max`. The limits are computed from this
    /// list, so deleting a RunbookRun resets nothing.
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
