//! RunbookRun: one execution of a Runbook, a journal that survives any crash.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approval::CountedDecision;
use super::common::{NameRef, ObjectRef, ParameterValue, UidRef, UserRef};
use super::incident_status::{Next, Stamped};

/// Finalizer that a run has from its first intent until it is settled.
pub const RUN_FINALIZER: &str = "mayday.dev/settle";

/// One execution of a Runbook: a journal that survives any crash.
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
    printcolumn(name = "Runbook", type_ = "string", json_path = ".spec.runbookRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".spec.incidentRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = (
    "self.runbookRef == oldSelf.runbookRef && has(self.incidentRef) == has(oldSelf.incidentRef) && (!has(self.incidentRef) || self.incidentRef == oldSelf.incidentRef) && has(self.parameters) == has(oldSelf.parameters) && (!has(self.parameters) || self.parameters == oldSelf.parameters) && self.dryRun == oldSelf.dryRun && has(self.startedBy) == has(oldSelf.startedBy) && (!has(self.startedBy) || self.startedBy == oldSelf.startedBy)",
    "a run is fixed when it is created: cancel it (spec.cancel: true) and start another"
))]
#[x_kube(validation = ("!oldSelf.cancel || self.cancel", "a cancelled run stays cancelled: start another"))]
pub struct RunbookRunSpec {
    /// The Runbook.
    pub runbook_ref: NameRef,
    /// The incident it is for.
    pub incident_ref: Option<NameRef>,
    /// Values for the Runbook's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters: Vec<ParameterValue>,
    /// Only says what would happen. The Runbook must be approved all the same: it reads as its account.
    #[serde(default)]
    pub dry_run: bool,
    /// Stops before the next act; one way.
    #[serde(default)]
    pub cancel: bool,
    /// Who started it; stamped from the authenticated user.
    pub started_by: Option<UserRef>,
}

impl RunbookRun {
    /// Whether the run was started for the incident with this name.
    pub fn is_for(&self, incident: &str) -> bool {
        self.spec.incident_ref.as_ref().is_some_and(|named| named.name == incident)
    }
}

/// What has been done so far.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookRunStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Succeeded, Blocked, Cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Where the run stands, for people and columns.
    pub state: Option<RunState>,
    /// Name of the step that is being worked on, for the column.
    #[schemars(length(max = 63))]
    pub step: Option<String>,
    /// Who must do what next, while the run waits for somebody.
    pub next: Option<Next>,
    /// The Runbook as it was when the run began: uid, digest and spec. An edit of the Runbook changes nothing here.
    pub snapshot: Option<Snapshot>,
    /// The incident, exactly.
    pub incident_ref: Option<UidRef>,
    /// What an approval of the run must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// The decisions that count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub decisions: Vec<CountedDecision>,
    /// The steps in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub steps: Vec<StepStatus>,
    /// When the run began.
    pub start_time: Option<Time>,
    /// When it was settled.
    pub end_time: Option<Time>,
    /// When somebody was paged for its end; only for a run that belongs to no incident.
    pub paged_time: Option<Time>,
}

crate::conditioned!(RunbookRunStatus);

/// The Runbook as it was when the run began.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Snapshot {
    /// UID of the Runbook.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its digest.
    #[schemars(length(max = 80))]
    pub digest: String,
    /// Its spec.
    #[schemars(schema_with = "super::common::free_object")]
    pub spec: Value,
    /// The Approvals of the Runbook that the run rests on; it stops before its next act if one goes.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub approvals: Vec<CountedDecision>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RunState {
    /// Not looked at yet.
    #[default]
    Pending,
    /// Something stands in its way; it goes on when that is gone.
    Blocked,
    /// Waits for an approval of the run.
    WaitingForApproval,
    /// A step is being worked on.
    Running,
    /// Waits for a person's answer.
    WaitingForPerson,
    /// Every step succeeded.
    Succeeded,
    /// A step failed.
    Failed,
    /// Whether an act had its effect cannot be proved; a person must look.
    Unknown,
    /// Stopped by a person.
    Cancelled,
    /// What would happen is in the steps; nothing was done.
    DryRunComplete,
}

impl RunState {
    /// Whether the run has ended for good.
    pub fn is_settled(self) -> bool {
        matches!(
            self,
            RunState::Succeeded
                | RunState::Failed
                | RunState::Unknown
                | RunState::Cancelled
                | RunState::DryRunComplete
        )
    }
}

/// How far a step is.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name of the step.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// What happened, or what is waited for.
    #[schemars(length(max = 1000))]
    pub message: Option<String>,
    /// When it was begun.
    pub start_time: Option<Time>,
    /// It fails after that.
    pub deadline: Option<Time>,
    /// When it ended.
    pub end_time: Option<Time>,
    /// What is about to be done, stored before it is done.
    pub intent: Option<Intent>,
    /// For a question: what an answer must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// For a question: who answered.
    pub answered: Option<Stamped>,
}

/// How far a step is. Terminal states never change.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StepState {
    /// Not begun.
    #[default]
    Pending,
    /// The intent is stored; the act may or may not have happened.
    IntentRecorded,
    /// What was asked for is being waited for.
    Settling,
    /// Waits for a person.
    WaitingForPerson,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Whether it was done cannot be proved.
    Unknown,
    /// Not begun, and never will be.
    Skipped,
}

/// What is about to be done, stored before it is done, with what proves afterwards whether it was.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Identity of the act: run UID, step and iteration. Written where it can be found again.
    #[schemars(length(max = 160))]
    pub operation_id: String,
    /// The object.
    pub target: ObjectRef,
    /// UID of the object: not a later one of the same name.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The version that was looked at; the act fails if somebody was faster.
    #[schemars(length(max = 64))]
    pub resource_version: String,
    /// `metadata.generation` that was looked at: while it stays, the act has not happened.
    pub generation: Option<i64>,
    /// Who acts.
    #[schemars(length(max = 253))]
    pub actor: String,
    /// The delta: JSON pointers with the values before and after.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub delta: Vec<super::change_request::Delta>,
    /// How often it was announced before over this same version. Whoever finds an announced act announces it
    /// anew before sending it, so that only the last announcer can go on.
    #[serde(default)]
    pub attempt: i32,
    /// When it was stored.
    pub time: Option<Time>,
    /// Not sent after then.
    pub act_before: Option<Time>,
}
