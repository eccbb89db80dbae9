//! Approval: one person's immutable decision on one subject's exact content.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::UidRef;

/// One person's immutable decision on one subject's exact content: a change, a Runbook, a run, a question.
/// Created, never edited.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "Approval",
    plural = "approvals",
    shortname = "appr",
    category = "mayday",
    namespaced,
    status = "ApprovalStatus",
    derive = "PartialEq",
    printcolumn(name = "Subject", type_ = "string", json_path = ".status.subject"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by.user"),
    printcolumn(
        name = "Counted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Counted\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = ("self == oldSelf", "a decision is never edited: delete your own Approve, or create another"))]
pub struct ApprovalSpec {
    /// What is decided on.
    pub subject_ref: SubjectRef,
    /// The subject's digest, as its status shows it.
    #[schemars(length(min = 1, max = 80), regex(pattern = "^v1:sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Every incident that binds, as the request's `status.incidents` lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub incident_refs: Vec<UidRef>,
    /// The decision: Approve or Reject; for questions Confirm or Deny.
    pub decision: Decision,
    /// Why, for whoever reads it later.
    #[schemars(length(max = 1000))]
    pub comment: Option<String>,
    /// Until when it counts, for a Runbook. Default 180 days.
    pub not_after: Option<Time>,
    /// Who decides; stamped from the authenticated user.
    pub by: Option<By>,
}

/// What is decided on, exactly.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("!has(self.step) || self.kind == 'RunbookRun'", "step belongs to a RunbookRun"))]
#[x_kube(validation = ("has(self.check) == (self.kind == 'Incident')", "check names the question of an Incident, and is needed there"))]
pub struct SubjectRef {
    /// Kind of the subject.
    pub kind: SubjectKind,
    /// Name of the subject, in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the subject.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// The step of a run that asks; absent: the run as a whole.
    #[schemars(length(min = 1, max = 63))]
    pub step: Option<String>,
    /// The check of an incident that asks.
    #[schemars(length(min = 1, max = 63))]
    pub check: Option<String>,
}

/// Kinds that are decided on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SubjectKind {
    /// A change.
    ChangeRequest,
    /// A Runbook's content.
    Runbook,
    /// A run, or a question of one of its steps.
    RunbookRun,
    /// A question of an incident's checks.
    Incident,
}

impl SubjectKind {
    /// Short name of the kind that people type: `chg`.
    pub fn short(self) -> &'static str {
        match self {
            SubjectKind::ChangeRequest => "chg",
            SubjectKind::Runbook => "rb",
            SubjectKind::RunbookRun => "run",
            SubjectKind::Incident => "inc",
        }
    }
}

impl std::fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The decision.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No, for good.
    Reject,
    /// The question is answered with yes.
    Confirm,
    /// The question is answered with no.
    Deny,
}

/// Who decided, as the API server authenticated them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct By {
    /// User name.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// Groups, which say what the person may decide.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub groups: Vec<String>,
}

/// What the operator knows of an approval.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The subject, for the column: `chg/checkout-v2`.
    #[schemars(length(max = 300))]
    pub subject: Option<String>,
}

crate::conditioned!(ApprovalStatus);

/// A decision that counts, copied into its subject's status.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CountedDecision {
    /// Name of the Approval.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the Approval.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Who decided.
    #[schemars(length(max = 253))]
    pub by: String,
    /// The decision.
    pub decision: Decision,
    /// As what it counts: `lead`, or the name of the required entry.
    #[schemars(length(max = 253))]
    pub role: String,
    /// When it was made.
    pub time: Time,
}
