//! The steps of a Runbook, as people write them: what each does, and to which objects
//! (docs/rules.md#write-runbook).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::check::{HttpCheck, QueryCheck};
use super::common::Empty;
use super::duration::Duration;
use super::http_step::HttpStep;
use super::one_of::{SET_ONE, exactly_one};
use super::runbook::{OnFailure, Precondition};

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
    /// Whether the step acts while its workload is being rolled out by somebody else. Without it a `restart`, `scale` or
    /// `patch` waits for the end of the rollout, or until it is stuck (docs/rules.md#run-guards).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_during_rollout: bool,
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
