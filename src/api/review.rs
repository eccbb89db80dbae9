//! The review that people write after an outage, before its incident is closed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{NameRef, UserRef};

/// Lessons from an outage.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Who is responsible for the review.
    pub owner: Option<UserRef>,
    /// What happened, in a few sentences.
    #[schemars(length(max = 4000))]
    pub summary: Option<String>,
    /// Causes that contributed; there is seldom only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub contributing_causes: Vec<String>,
    /// Why monitoring did not find the outage. Needed if a person reported it.
    #[schemars(length(max = 2000))]
    pub why_not_detected_by_itself: Option<String>,
    /// Corrective actions on the systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub technical: Vec<CorrectiveAction>,
    /// How the organisation handled the outage.
    pub organisation: Option<OrganisationReview>,
    /// The Runbook for next time.
    pub runbook: Option<RunbookDraft>,
}

/// One corrective action.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CorrectiveAction {
    /// What is to be done.
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// Purpose of the action. Absent for actions of the organisation.
    #[serde(rename = "type")]
    pub type_: Option<ActionType>,
    /// Who does the action.
    pub owner: Option<UserRef>,
    /// When the action is due.
    pub due_time: Option<Time>,
    /// Whether the action is done.
    #[serde(default)]
    pub done: bool,
}

/// Purpose of a corrective action.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ActionType {
    /// The outage does not happen again.
    Prevent,
    /// The outage is found sooner.
    Detect,
    /// The outage does less harm, or ends sooner.
    Mitigate,
    /// People work together better.
    Process,
}

/// How the organisation handled the outage.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganisationReview {
    /// What went well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub went_well: Vec<String>,
    /// What should go better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub improve: Vec<String>,
    /// Corrective actions in the organisation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub actions: Vec<CorrectiveAction>,
}

/// The Runbook that came out of an outage.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookDraft {
    /// Draft that Mayday writes from the acts of this outage. It is reviewed and approved like any other
    /// Runbook.
    pub draft_ref: Option<NameRef>,
}
