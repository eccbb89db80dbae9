//! The review that people write after an outage, before its incident is closed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{NameRef, UserRef};

/// What was learnt.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Who sees to it that the review is written.
    pub owner: Option<UserRef>,
    /// What happened, in a few sentences.
    #[schemars(length(max = 4000))]
    pub summary: Option<String>,
    /// What contributed; seldom one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub contributing_causes: Vec<String>,
    /// Why monitoring did not find it; needed if a person reported it.
    #[schemars(length(max = 2000))]
    pub why_not_detected_by_itself: Option<String>,
    /// Corrective actions on the systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub technical: Vec<CorrectiveAction>,
    /// How the organisation did.
    pub organisation: Option<OrganisationReview>,
    /// The instruction for next time.
    pub runbook: Option<RunbookDraft>,
}

/// One thing to be done so that it does not happen again.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CorrectiveAction {
    /// What is to be done.
    #[schemars(length(min = 1, max = 200))]
    pub title: String,
    /// What it is good for; absent for actions of the organisation.
    #[serde(rename = "type")]
    pub type_: Option<ActionType>,
    /// Who does it.
    pub owner: Option<UserRef>,
    /// By when.
    pub due_time: Option<Time>,
    /// Whether it is done.
    #[serde(default)]
    pub done: bool,
}

/// What a corrective action is good for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ActionType {
    /// It will not happen again.
    Prevent,
    /// It is found sooner.
    Detect,
    /// It does less harm, or is repaired sooner.
    Mitigate,
    /// People work together better.
    Process,
}

/// How the organisation did.
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
    /// What is done about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub actions: Vec<CorrectiveAction>,
}

/// The Runbook that came out of the outage.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookDraft {
    /// The draft, written by Mayday from what was done; reviewed and approved like any other.
    pub draft_ref: Option<NameRef>,
}
