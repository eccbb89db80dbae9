//! Approval: one person's immutable decision on the exact content of one subject (docs/rules.md#approvals).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::UidRef;

/// One person's immutable decision on the exact content of one subject: a change, a Runbook, a run or a
/// question. It is created and never edited.
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
    selectable = ".spec.subjectRef.uid",
    printcolumn(name = "Subject", type_ = "string", json_path = ".status.subject"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by.user"),
    printcolumn(
        name = "Counted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Counted\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = 1
    )
)]
#[x_kube(validation = ("self == oldSelf", "a decision is never edited: delete your own Approve, or create another"))]
pub struct ApprovalSpec {
    /// Object that is decided on.
    pub subject_ref: SubjectRef,
    /// Digest of the subject, as the subject's status shows it.
    #[schemars(length(min = 1, max = 80), regex(pattern = "^v1:sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Every incident that binds the change, as `status.incidents` of the request lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub incident_refs: Vec<UidRef>,
    /// Approve or Reject; for a question Confirm or Deny.
    pub decision: Decision,
    /// Reason for the decision, for later readers.
    #[schemars(length(max = 1000))]
    pub comment: Option<String>,
    /// The decision counts until this time. Default for a Runbook: 180 days after the Approval was created.
    pub not_after: Option<Time>,
    /// Who decides. Mayday stamps the authenticated user.
    pub by: Option<By>,
}

/// The exact object that is decided on.
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
    /// Step of a run that asks a question. Absent: the decision is about the run as a whole.
    #[schemars(length(min = 1, max = 63))]
    pub step: Option<String>,
    /// Check of an incident that asks a question.
    #[schemars(length(min = 1, max = 63))]
    pub check: Option<String>,
}

/// Kinds of subjects.
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
    /// Short name of the kind, as people type it: `chg`.
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

/// A decision on a subject (docs/rules.md#reject-is-final, #questions).
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No. This is final.
    Reject,
    /// The answer to the question is yes.
    Confirm,
    /// The answer to the question is no.
    Deny,
}

/// Who decided, as the API server authenticated them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct By {
    /// User name.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// Groups of the user. They determine what the user may decide.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub groups: Vec<String>,
}

/// Status of the Approval. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// The subject, for the column: `chg/checkout-v2`.
    #[schemars(length(max = 300))]
    pub subject: Option<String>,
}

crate::conditioned!(ApprovalStatus);

/// A decision that counts, copied into the status of its subject.
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
    /// Role in which the decision counts: `lead`, or the name of the required entry.
    #[schemars(length(max = 253))]
    pub role: String,
    /// When the decision was made.
    pub time: Time,
}
