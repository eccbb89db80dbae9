//! Status of an Incident, written by the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::business_service::{Bridge, ServiceRotations, Stakeholder};
use super::check::ReturnToService;
use super::common::{NameRef, ObjectRef, Severity, UidRef};
use super::incident::{Commitment, Resolution};

/// What the operator knows of an incident. Conditions are the facts, `state` is derived from them.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Acknowledged, Mitigated, Restored, Resolved, Reviewed, Flapping, SignalStale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Where the incident stands, for people and columns; derived from the conditions.
    pub state: Option<IncidentState>,
    /// Who must do what next, with the command.
    pub next: Option<Next>,
    /// `next` in a few words, for the column.
    #[schemars(length(max = 253))]
    pub waiting_on: Option<String>,
    /// When it began, as far as is known.
    pub start_time: Option<Time>,
    /// When Mayday knew.
    pub detected_time: Option<Time>,
    /// Who answered first, and when.
    pub acknowledgement: Option<Stamped>,
    /// Who leads now, and since when.
    pub lead: Option<Stamped>,
    /// Everybody who led before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub former_leads: Vec<Stamped>,
    /// Since when the incident binds changes; absent while it does not.
    pub binds_since_time: Option<Time>,
    /// What was taken from the service when the incident opened.
    pub service: Option<ServiceCopy>,
    /// What monitoring says, newest states of at most 50 signals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub signals: Vec<Signal>,
    /// How many signals that fire did not fit into the list; more than 500 stay so, as nobody knows which have cleared.
    #[serde(default)]
    pub signals_left_out: i32,
    /// Short hashes of those, by which it is known when they clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 16)))]
    pub left_out_signals: Vec<String>,
    /// How each check stands: of 16 at most that somebody wrote, or one for each workload that is out and one for alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 65))]
    pub checks: Vec<CheckStatus>,
    /// When a check was first seen not to pass. Until then the checks have not noticed the outage, and do not prove
    /// its end by themselves.
    pub noticed_time: Option<Time>,
    /// Since when every check passes without a break.
    pub healthy_since_time: Option<Time>,
    /// When the checks began or ceased to pass, the newest last: whoever comes and goes is not well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub check_transition_times: Vec<Time>,
    /// When the return to service was proved.
    pub restored_time: Option<Time>,
    /// When the incident was resolved, and by whom (`mayday` by itself).
    pub resolved: Option<Stamped>,
    /// The older open incident about the same outage, if there is one: this one is a duplicate.
    pub duplicate_of: Option<NameRef>,
    /// Younger incidents about the same outage that this one has taken over, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub duplicates: Vec<UidRef>,
    /// A resolution in the spec that no longer counts, since the outage came back after it.
    pub lapsed_resolution: Option<Resolution>,
    /// The acknowledgement that stood in the spec when the outage came back after it was resolved. It does not count
    /// for the new outage, so people are paged; absent once somebody says so anew.
    pub lapsed_acknowledgement: Option<Commitment>,
    /// The lead that stood in the spec when the outage came back, likewise. Changes stay bound to that lead's approval
    /// until somebody claims the lead anew, which the same person may, and whoever else is entitled.
    pub lapsed_lead: Option<Commitment>,
    /// How often it came back after it was resolved.
    #[serde(default)]
    pub relapses: i32,
    /// From when to when service was out before it came back, oldest first; of many the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub past_outages: Vec<PastOutage>,
    /// When it came back last.
    pub returned_time: Option<Time>,
    /// How bad it was when people were last paged from the first level, or answered. A signal that is worse pages them
    /// anew.
    pub paged_severity: Option<Severity>,
    /// How often paging began again at its first level: after a relapse, or because a signal was worse.
    #[serde(default)]
    pub escalation_restarts: i32,
    /// The incident that came before, if this is a relapse of it after its time.
    pub relapse_of: Option<NameRef>,
    /// The paging of people: which level, until when.
    pub escalation: Option<Escalation>,
    /// Everybody for whom a message about this incident was, by name in the rotation, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub paged: Vec<String>,
    /// When stakeholders were promised to hear next; absent if nothing is promised.
    pub next_update_time: Option<Time>,
    /// What the public could be told, until a person writes to them: `kubectl mayday update --external`.
    #[schemars(length(max = 2000))]
    pub public_draft: Option<String>,
    /// Announcements that were made, by name, such as `0/open` or `update/3`. They outlive their Notifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 128)))]
    pub announced: Vec<String>,
    /// Runs for this incident, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub runs: Vec<NameRef>,
    /// Runbooks that match, and why one does not start by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub runbooks: Vec<MatchingRunbook>,
    /// The last changes to what is affected, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub changes: Vec<KnownChange>,
    /// Who did what, when; the oldest and the newest are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub timeline: Vec<TimelineEntry>,
    /// How many entries were left out of the middle of the timeline.
    #[serde(default)]
    pub timeline_left_out: i32,
    /// The severity that the timeline has told of.
    pub announced_severity: Option<Severity>,
    /// How many of the notes stand in the timeline.
    #[serde(default)]
    pub notes_announced: i32,
    /// The outage reports, in Markdown.
    pub reports: Option<Reports>,
}

crate::conditioned!(IncidentStatus);

/// Where an incident stands. Of the rows that hold, the lowest wins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum IncidentState {
    /// Nobody has answered.
    Open,
    /// A person is on it, no lead.
    Acknowledged,
    /// A run is acting.
    Remediating,
    /// A lead has claimed.
    Crisis,
    /// All checks pass, the time of proof is running.
    Monitoring,
    /// Proved healthy.
    Restored,
    /// Over; people told.
    Resolved,
    /// Review complete, or not needed at this severity.
    Closed,
    /// There was no outage.
    FalseAlarm,
    /// Another incident is about the same outage.
    Duplicate,
}

/// Actor of a timeline entry: Mayday itself.
pub const MAYDAY: &str = "mayday";
/// Actor of a timeline entry: several people who agreed, or people in an incident without a lead.
pub const PEOPLE: &str = "people";

impl IncidentStatus {
    /// When the current outage began: at the last relapse, or else at the start of the incident.
    pub fn out_since(&self) -> Option<&Time> {
        self.returned_time.as_ref().or(self.start_time.as_ref())
    }
}

impl IncidentState {
    /// Whether the incident is open: the state comes before `Resolved`.
    pub fn is_open(self) -> bool {
        self < IncidentState::Resolved
    }
}

impl std::fmt::Display for IncidentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// From when to when service was out before it came back.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastOutage {
    /// When it began, as far as is known.
    pub start_time: Option<Time>,
    /// When it ended.
    pub end_time: Time,
}

/// Who must do what next.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Next {
    /// Who: names, or a group in words; `nobody` while only time must pass.
    #[schemars(length(max = 253))]
    pub who: String,
    /// What.
    #[schemars(length(max = 500))]
    pub what: String,
    /// The command that does it.
    #[schemars(length(max = 500))]
    pub command: Option<String>,
}

/// A person and an instant.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Stamped {
    /// User name as the API server authenticated it.
    #[schemars(length(max = 253))]
    pub user: String,
    /// When.
    pub time: Time,
}

/// What an incident takes from its service when it opens. Later edits of the service do not reach it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCopy {
    /// The service.
    pub r#ref: UidRef,
    /// Its title.
    #[schemars(length(max = 200))]
    pub title: String,
    /// Its objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub objects: Vec<ObjectRef>,
    /// Whom it hurts.
    #[schemars(length(max = 1000))]
    pub impact: Option<String>,
    /// What the public may read.
    #[schemars(length(max = 1000))]
    pub public_summary: Option<String>,
    /// Who answers.
    pub rotations: Option<ServiceRotations>,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stakeholders: Vec<Stakeholder>,
    /// Where people meet.
    pub bridge: Option<Bridge>,
    /// What proves the return to service.
    pub return_to_service: Option<ReturnToService>,
}

/// What one source says of one thing.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// The AlertSource.
    pub source_ref: NameRef,
    /// The source's identity of the signal: a fingerprint, or an object.
    #[schemars(length(max = 128))]
    pub id: String,
    /// The alert's name, or the condition.
    #[schemars(length(max = 200))]
    pub name: String,
    /// What the source says happened, in a few words.
    #[schemars(length(max = 500))]
    pub summary: Option<String>,
    /// Its severity after the source's map.
    pub severity: Severity,
    /// When it began, by the source.
    pub start_time: Time,
    /// When it cleared; absent while it fires.
    pub end_time: Option<Time>,
    /// When the source last spoke of it.
    pub last_seen_time: Time,
    /// The source's group that it belongs to. What is in one group and about no service is one outage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub group: String,
    /// Labels that runbooks match; at most 32, each cut to 253 characters, and about 6000 in all.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 32,
        "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 253})
    ))]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The object it is about, if the source says so.
    pub object: Option<ObjectRef>,
}

/// How a check stands.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What was seen.
    pub result: CheckResult,
    /// What was seen, in words.
    #[schemars(length(max = 500))]
    pub message: String,
    /// Since when the result is so.
    pub since_time: Time,
    /// For a question: what an answer must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// For a question: who answered, when.
    pub answered: Option<Stamped>,
}

/// What a check has seen. Missing data is not health.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CheckResult {
    /// As it should be.
    Passing,
    /// Not as it should be.
    Failing,
    /// Not known; does not count as health.
    Unknown,
}

/// How far the paging is.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// The rotation whose levels are used; absent where there is none.
    pub rotation_ref: Option<NameRef>,
    /// The level that was paged last, from 0; -1 as long as nobody of any could be.
    pub level: i32,
    /// The round, from 0.
    pub round: i32,
    /// Who was paged at this level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 253)))]
    pub people: Vec<String>,
    /// When the next level is paged if nobody answers; absent once there is none.
    pub next_time: Option<Time>,
    /// Whether every level and the fallback were tried.
    #[serde(default)]
    pub exhausted: bool,
}

/// A Runbook that matches.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchingRunbook {
    /// Name of the Runbook.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What it does.
    #[schemars(length(max = 253))]
    pub summary: String,
    /// Whether it starts by itself.
    pub automatic: bool,
    /// Why it does not start, or did not; absent while nothing stands in its way.
    #[schemars(length(max = 500))]
    pub blocked: Option<String>,
}

/// A change to what is affected, that Mayday knows of.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownChange {
    /// The ChangeRequest or run it belongs to; absent for break-glass and unknown changes.
    #[schemars(length(max = 253))]
    pub subject: Option<String>,
    /// What was changed, in words: `image of deployment/checkout: shop/checkout:v1 → shop/checkout:v2`.
    #[schemars(length(max = 500))]
    pub what: String,
    /// Who applied it.
    #[schemars(length(max = 253))]
    pub by: String,
    /// When.
    pub time: Time,
}

/// Who did what, when.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// When.
    pub time: Time,
    /// The person, the source, or `mayday`.
    #[schemars(length(max = 253))]
    pub who: String,
    /// What happened.
    #[schemars(length(max = 500))]
    pub what: String,
}

/// The outage reports, in Markdown.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Reports {
    /// For the organisation.
    #[schemars(length(max = 32768))]
    pub internal: Option<String>,
    /// For the public: no person, object, image or digest.
    #[schemars(length(max = 8192))]
    pub external: Option<String>,
}
