//! RunbookRun: one run of a Runbook, with a journal that survives any crash (docs/rules.md#steps-of-a-run).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approval::CountedDecision;
use super::common::{NameRef, ObjectRef, ParameterValue, UidRef, UserRef};
use super::drill::DrillStatus;
use super::incident_status::{Next, Stamped};
use super::runbook::HealthyTemplate;

/// Finalizer that a run has from its first intent until it is settled.
pub const RUN_FINALIZER: &str = "mayday.dev/settle";

/// Label of what a run has created, with the UID of the run.
pub const RUN_LABEL: &str = "mayday.dev/run";

/// One run of a Runbook. Its status is a journal that survives any crash.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "RunbookRun",
    plural = "runbookruns",
    shortname = "run",
    category = "mayday",
    namespaced,
    status = "RunbookRunStatus",
    derive = "Default",
    derive = "PartialEq",
    selectable = ".status.state",
    printcolumn(name = "Runbook", type_ = "string", json_path = ".spec.runbookRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".spec.incidentRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
)]
#[x_kube(validation = (
    "self.runbookRef == oldSelf.runbookRef && has(self.incidentRef) == has(oldSelf.incidentRef) && (!has(self.incidentRef) || self.incidentRef == oldSelf.incidentRef) && has(self.parameters) == has(oldSelf.parameters) && (!has(self.parameters) || self.parameters == oldSelf.parameters) && self.dryRun == oldSelf.dryRun && self.drill == oldSelf.drill && has(self.startedBy) == has(oldSelf.startedBy) && (!has(self.startedBy) || self.startedBy == oldSelf.startedBy)",
    "a run is fixed when it is created: cancel it (spec.cancel: true) and start another"
))]
#[x_kube(validation = ("!oldSelf.cancel || self.cancel", "a cancelled run stays cancelled: start another"))]
pub struct RunbookRunSpec {
    /// Runbook to run.
    pub runbook_ref: NameRef,
    /// Incident that the run is for.
    pub incident_ref: Option<NameRef>,
    /// Values for the Runbook's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters: Vec<ParameterValue>,
    /// Whether the run only says what would happen. The Runbook must be approved all the same, because the
    /// run reads as its ServiceAccount.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether the run is a drill of the Runbook, as its `spec.drill` says. It changes nothing that people use, and
    /// counts for no limit and no incident.
    #[serde(default)]
    pub drill: bool,
    /// Cancels the run before its next act. A cancelled run stays cancelled.
    #[serde(default)]
    pub cancel: bool,
    /// Who started the run. Mayday stamps the authenticated user.
    pub started_by: Option<UserRef>,
}

impl RunbookRun {
    /// State of the run; Pending while nothing is stored.
    pub fn state(&self) -> RunState {
        self.status.as_ref().and_then(|status| status.state).unwrap_or_default()
    }

    /// Whether the run has ended for good.
    pub fn is_settled(&self) -> bool {
        self.state().is_settled()
    }

    /// Whether the run repairs something: it is neither a dry run nor a drill.
    pub fn is_repair(&self) -> bool {
        !self.spec.dry_run && !self.spec.drill
    }

    /// Whether the run was started for the incident with this name.
    pub fn is_for(&self, incident: &str) -> bool {
        self.spec.incident_ref.as_ref().is_some_and(|named| named.name == incident)
    }
}

/// Status of the run: what has been done so far. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRunStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Succeeded, Blocked, Cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// State of the run, for people and the column.
    pub state: Option<RunState>,
    /// Name of the current step, for the column.
    #[schemars(length(max = 63))]
    pub step: Option<String>,
    /// Who must do what next, while the run waits.
    pub next: Option<Next>,
    /// The Runbook as it was when the run began. Later edits of the Runbook do not change the run.
    pub snapshot: Option<Snapshot>,
    /// The exact incident, by name and UID.
    pub incident_ref: Option<UidRef>,
    /// Objects that the incident is about, resolved when the run was prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub subjects: Vec<ObjectRef>,
    /// Templates that the Runbook knew as healthy when the run was prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub healthy_templates: Vec<HealthyTemplate>,
    /// The copies on which a drill acts in a namespace of its own.
    pub drill: Option<DrillStatus>,
    /// Values of the parameters, from the run, the incident and the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub values: Vec<ParameterValue>,
    /// Digest that an approval of the run must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// Decisions that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// Objects that the run holds from its start until it is settled: what its steps change, and the workloads that this
    /// disturbs. No other run changes them meanwhile (docs/rules.md#run-locks).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub holds: Vec<ObjectRef>,
    /// Steps in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub steps: Vec<StepStatus>,
    /// When the run began.
    pub start_time: Option<Time>,
    /// When the run ended for good.
    pub end_time: Option<Time>,
    /// When a person was paged because the run ended. Only for a run without an incident.
    pub paged_time: Option<Time>,
}

crate::conditioned!(RunbookRunStatus);

/// The Runbook as it was when a run began.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Snapshot {
    /// UID of the Runbook.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Digest of the Runbook.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Spec of the Runbook.
    #[schemars(schema_with = "super::common::free_object")]
    pub spec: Value,
    /// Approvals of the Runbook that the run relies on. If one no longer counts, the run stops before its
    /// next act.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub approvals: Vec<CountedDecision>,
}

/// State of a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RunState {
    /// Mayday has not looked at the run yet.
    #[default]
    Pending,
    /// An obstacle stops the run from beginning; it goes on once the obstacle is gone.
    Blocked,
    /// The run waits for an approval of its own.
    WaitingForApproval,
    /// A step is in progress.
    Running,
    /// The run waits for a person's answer.
    WaitingForPerson,
    /// Every step succeeded.
    Succeeded,
    /// A step failed, or the run was stopped before its next act.
    Failed,
    /// It cannot be proved whether an act had its effect. A person must look.
    Unknown,
    /// The run was cancelled; the condition Cancelled says why.
    Cancelled,
    /// A step failed, and the steps that were done are being rolled back.
    RollingBack,
    /// Every step has ended, at least one failed, and its `onFailure` is Continue.
    Degraded,
    /// The steps say what would happen. Nothing was done.
    DryRunComplete,
}

impl RunState {
    /// The states of a run that has ended for good.
    pub const SETTLED: &[RunState] = &[
        RunState::Succeeded,
        RunState::Failed,
        RunState::Unknown,
        RunState::Cancelled,
        RunState::Degraded,
        RunState::DryRunComplete,
    ];

    /// Whether the run has ended for good.
    pub fn is_settled(self) -> bool {
        RunState::SETTLED.contains(&self)
    }
}

impl RunbookRunStatus {
    /// Whether the run has ended for good.
    pub fn is_settled(&self) -> bool {
        self.state.is_some_and(RunState::is_settled)
    }

    /// Every act of the run: those of each step, then those of its compensation.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.steps.iter().flat_map(StepStatus::acts_and_back)
    }
}

impl StepStatus {
    /// The acts of the step, then those of its compensation.
    pub fn acts_and_back(&self) -> impl Iterator<Item = &Act> {
        self.acts.iter().chain(self.compensation.iter().flat_map(|back| &back.acts))
    }
}

/// State of one step.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name of the step.
    #[schemars(length(max = 63))]
    pub name: String,
    /// State of the step.
    pub state: StepState,
    /// What happened, or what the step waits for.
    #[schemars(length(max = 1000))]
    pub message: Option<String>,
    /// Whether the step changes something. Only for a dry run.
    pub effect: Option<Effect>,
    /// Rights that the ServiceAccount lacks for the step: `patch deployments.apps checkout`. Only for a dry run; a real run
    /// does not begin without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub lacks: Vec<String>,
    /// Objects that the step is about, resolved when the run was prepared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub targets: Vec<Resolved>,
    /// When the step began.
    pub start_time: Option<Time>,
    /// The step fails if it has not ended by this time.
    pub deadline: Option<Time>,
    /// When the step ended.
    pub end_time: Option<Time>,
    /// Acts of the step in their order. Each is stored before it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub acts: Vec<Act>,
    /// Number of further attempts after a failure.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i32,
    /// When the next attempt begins.
    pub retry_time: Option<Time>,
    /// Results of the step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub outputs: Vec<Output>,
    /// For a question: digest that an answer must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// For a question: who answered, and when.
    pub answered: Option<Stamped>,
    /// How the step is rolled back. Absent until the run rolls back.
    pub compensation: Option<CompensationStatus>,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Whether a step changes something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Effect {
    /// The step changes its targets.
    Mutating,
    /// The step changes nothing.
    ReadOnly,
    /// What the step changes cannot be told: a Job or an HTTP request does what its receiver does.
    Undetermined,
}

/// Exactly one object that a step is about.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Resolved {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// UID of the object. A later object of the same name does not match. Absent if there was none.
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
}

/// A result of a step.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Output {
    /// Name of the result.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The result, cut after 4 KiB.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// How a step is rolled back.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompensationStatus {
    /// State of the compensation.
    pub state: StepState,
    /// What happened. If the compensation failed: what is left.
    #[schemars(length(max = 1000))]
    pub message: Option<String>,
    /// When the compensation began.
    pub start_time: Option<Time>,
    /// The compensation fails if it has not ended by this time.
    pub deadline: Option<Time>,
    /// When the compensation ended.
    pub end_time: Option<Time>,
    /// Acts of the compensation in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub acts: Vec<Act>,
}

/// State of a step. Terminal states never change.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StepState {
    /// The step has not begun.
    #[default]
    Pending,
    /// The last act is stored; it may or may not have happened.
    IntentRecorded,
    /// The step waits until what it checks is so, or until what it did has taken effect.
    Settling,
    /// The step waits for a person.
    WaitingForPerson,
    /// The step is done.
    Succeeded,
    /// The step was not done, or it did not lead to what it should.
    Failed,
    /// It cannot be proved whether the step was done.
    Unknown,
    /// The step was not done and never will be.
    Skipped,
}

/// An act, stored before it is done, with the facts that later prove whether it was done
/// (docs/rules.md#at-most-once).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Act {
    /// Identity of the act: run UID, step and number. The act writes it into the target, so that Mayday can find it
    /// again.
    #[schemars(length(max = 160))]
    pub operation_id: String,
    /// What the act does to its target.
    #[serde(default)]
    pub verb: ActVerb,
    /// Object that the act changes.
    pub target: ObjectRef,
    /// UID of the object; empty if the act creates it. A later object of the same name does not match.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// resourceVersion that Mayday read. The act fails if the object was changed since.
    #[schemars(length(max = 64))]
    pub resource_version: String,
    /// `metadata.generation` that Mayday read. While the object has it, the act has not happened.
    pub generation: Option<i64>,
    /// User that acts.
    #[schemars(length(max = 253))]
    pub actor: String,
    /// Delta of the act: paths with the values before and after.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub delta: Vec<super::change_request::Delta>,
    /// Content of the request where the delta does not say it all. It is removed when the act is settled.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_value")]
    pub body: Option<Value>,
    /// Pods that the act removes, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub pods: Vec<PodToRemove>,
    /// Number of earlier announcements of the act over this same version. A process that finds an announced
    /// act announces it again before sending it, so that only the last announcer can send it.
    #[serde(default)]
    pub attempt: i32,
    /// When the act was stored.
    pub time: Option<Time>,
    /// The act is not sent after this time.
    pub act_before: Option<Time>,
    /// What became of the act. Absent while that is open.
    pub outcome: Option<Outcome>,
}

/// What an act does to its target.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ActVerb {
    /// It changes values.
    #[default]
    Update,
    /// It creates the object.
    Create,
    /// It evicts pods.
    Evict,
    /// It deletes pods.
    Delete,
    /// It sends an HTTP request.
    Send,
}

/// Exactly one pod.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PodToRemove {
    /// Namespace of the pod.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the pod.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// What became of an act.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Outcome {
    /// It happened, and has not taken effect yet.
    Done,
    /// It happened and has taken effect.
    Settled,
    /// It was not needed: the object was as it should be.
    Unneeded,
    /// It did not happen, or led to a failure.
    Failed,
    /// It cannot be proved whether it happened.
    Unknown,
}

impl Outcome {
    /// Whether the act had an effect, so that it can be rolled back.
    pub fn had_effect(self) -> bool {
        matches!(self, Outcome::Done | Outcome::Settled)
    }
}
