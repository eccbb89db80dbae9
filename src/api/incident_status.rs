//! Status of an Incident, written by the operator (docs/rules.md#states).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::business_service::{Bridge, ServiceRotations, Stakeholder};
use super::check::ReturnToService;
use super::common::{NameRef, ObjectRef, Severity, UidRef};
use super::incident::{Commitment, Resolution};

/// Status of the incident. Only the operator writes it. The conditions hold the facts, and `state` is derived
/// from them.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Acknowledged, Mitigated, Restored, Resolved, Reviewed, Flapping, SignalStale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// State of the incident, for people and the column. Derived from the conditions.
    pub state: Option<IncidentState>,
    /// Who must do what next, with the command.
    pub next: Option<Next>,
    /// `next` in a few words, for the column.
    #[schemars(length(max = 253))]
    pub waiting_on: Option<String>,
    /// When the outage began, as far as it is known.
    pub start_time: Option<Time>,
    /// When Mayday learned of the outage.
    pub detected_time: Option<Time>,
    /// Who acknowledged first, and when.
    pub acknowledgement: Option<Stamped>,
    /// Who leads now, and since when.
    pub lead: Option<Stamped>,
    /// Who led before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub former_leads: Vec<Stamped>,
    /// Since when the incident binds changes. Absent while it binds none.
    pub binds_since_time: Option<Time>,
    /// Copy of the service, made when the incident opened.
    pub service: Option<ServiceCopy>,
    /// Signals of the incident, each in its newest state. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub signals: Vec<Signal>,
    /// Number of firing signals that did not fit into `signals`. It is one more than `leftOutSignals` holds if
    /// some did not fit there either.
    #[serde(default)]
    pub signals_left_out: i32,
    /// Short hashes of the signals that did not fit, in order. Mayday recognises the signals by them when they
    /// clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000), inner(length(max = 16)))]
    pub left_out_signals: Vec<String>,
    /// When a source last reported one of those, to the minute.
    pub left_out_seen_time: Option<Time>,
    /// Signals outside the list that cleared a short time ago, in the order of their hashes. Mayday recognises
    /// late messages by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 900))]
    pub cleared_signals: Vec<ClearedSignal>,
    /// Result of each check: at most 16 checks that people wrote, or by default one for each affected
    /// workload and one for the alerts; and the question to a person about an outage that only people have reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 66))]
    pub checks: Vec<CheckStatus>,
    /// When a check first did not pass. Until then the checks have not noticed the outage, so they alone do
    /// not prove that it is over.
    pub noticed_time: Option<Time>,
    /// Since when every check passes without a break.
    pub healthy_since_time: Option<Time>,
    /// Times at which the checks turned from failing to passing or back, newest last. Six within 30 minutes
    /// set Flapping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub check_transition_times: Vec<Time>,
    /// When the return to service was proved.
    pub restored_time: Option<Time>,
    /// Who resolved the incident, and when. The user is `mayday` if it resolved by itself.
    pub resolved: Option<Stamped>,
    /// The older open incident about the same outage. If it is set, this incident is a duplicate.
    pub duplicate_of: Option<NameRef>,
    /// Younger incidents about the same outage that this incident has taken over, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub duplicates: Vec<UidRef>,
    /// Resolution in the spec that no longer counts, because the outage came back after it.
    pub lapsed_resolution: Option<Resolution>,
    /// Acknowledgement in the spec that no longer counts, because the outage came back or a worse signal
    /// arrived after it. People are paged again. Absent once a person acknowledges again.
    pub lapsed_acknowledgement: Option<Commitment>,
    /// Lead in the spec who no longer counts, for the same reason. Changes still need this lead's approval
    /// until a person claims the lead. The same person may claim it again, and so may everyone else who may
    /// lead.
    pub lapsed_lead: Option<Commitment>,
    /// The nomination that stood in the spec when the outage came back, or when another person claimed the lead. It does
    /// not count any more.
    pub lapsed_nomination: Option<Commitment>,
    /// Number of times that the outage came back after it was resolved.
    #[serde(default)]
    pub relapses: i32,
    /// Earlier outages of this incident, oldest first. Only the newest 50 are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub past_outages: Vec<PastOutage>,
    /// When the outage last came back.
    pub returned_time: Option<Time>,
    /// Severity when people were last paged from the first level, or when a person acknowledged. A signal
    /// that is worse pages people again.
    pub paged_severity: Option<Severity>,
    /// Number of times that paging restarted at its first level, after a relapse or a worse signal.
    #[serde(default)]
    pub escalation_restarts: i32,
    /// Earlier incident of the same outage, which came back too late to reopen it.
    pub relapse_of: Option<NameRef>,
    /// State of the paging: the level, and when the next one follows.
    pub escalation: Option<Escalation>,
    /// Whom the pages of the present escalation have reached; absent while there are none.
    pub page_delivery: Option<PageDelivery>,
    /// People to whom messages about this incident were addressed, by name in the rotation, earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub paged: Vec<String>,
    /// When the next message to stakeholders is promised. Absent if none is promised.
    pub next_update_time: Option<Time>,
    /// Draft of a message to the public, until a person writes one: `kubectl mayday update --external`.
    #[schemars(length(max = 2000))]
    pub public_draft: Option<String>,
    /// Names of the announcements that were made, such as `0/open` or `update/3`. They outlive their
    /// Notifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 128)))]
    pub announced: Vec<String>,
    /// Runs for this incident, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub runs: Vec<NameRef>,
    /// Runs after which the service was back and lost again within the window of their Runbook, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub regressions: Vec<Regression>,
    /// Runbooks that match, and why one does not start by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub runbooks: Vec<MatchingRunbook>,
    /// Last changes to the affected objects, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub changes: Vec<KnownChange>,
    /// Timeline: who did what, and when. A full timeline drops entries from its middle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub timeline: Vec<TimelineEntry>,
    /// Number of entries that were dropped from the middle of the timeline.
    #[serde(default)]
    pub timeline_left_out: i32,
    /// Short hashes of what the timeline tells of runs, requests, messages and roles, so that each is told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 16)))]
    pub told: Vec<String>,
    /// How many reports of the outage people have written: the declaration and each note with a reporter.
    #[serde(default)]
    pub report_count: i32,
    /// Severity that the timeline last recorded.
    pub announced_severity: Option<Severity>,
    /// Number of notes that the timeline holds already.
    #[serde(default)]
    pub notes_announced: i32,
    /// The outage reports, in Markdown.
    pub reports: Option<Reports>,
}

crate::conditioned!(IncidentStatus);

/// State of an incident (docs/rules.md#states). Of the states that apply, the last one in this list wins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum IncidentState {
    /// Nobody has acknowledged.
    Open,
    /// A person has acknowledged, and nobody leads.
    Acknowledged,
    /// A run is acting.
    Remediating,
    /// A person has claimed the lead.
    Crisis,
    /// Every check passes, and `stableFor` is running.
    Monitoring,
    /// The return to service is proved.
    Restored,
    /// The outage is over, and people have been informed.
    Resolved,
    /// The review is complete, or not needed at this severity.
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

/// A run that did not help for good.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Regression {
    /// Name of the run.
    #[schemars(length(max = 253))]
    pub run: String,
    /// When a check failed again.
    pub time: Time,
}

impl IncidentStatus {
    /// When the current outage began: at the last relapse, or else at the start of the incident.
    pub fn out_since(&self) -> Option<&Time> {
        self.returned_time.as_ref().or(self.start_time.as_ref())
    }
}

impl IncidentState {
    /// The states of an incident that is over.
    pub const OVER: &[IncidentState] = &[
        IncidentState::Resolved,
        IncidentState::Closed,
        IncidentState::FalseAlarm,
        IncidentState::Duplicate,
    ];

    /// Whether the incident is open.
    pub fn is_open(self) -> bool {
        !IncidentState::OVER.contains(&self)
    }
}

impl std::fmt::Display for IncidentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One earlier outage of an incident.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PastOutage {
    /// When the outage began, as far as it is known.
    pub start_time: Option<Time>,
    /// When the outage ended.
    pub end_time: Time,
}

/// Who must do what next.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Next {
    /// Names of people, or a group in words; `nobody` while only time must pass.
    #[schemars(length(max = 253))]
    pub who: String,
    /// What they must do.
    #[schemars(length(max = 500))]
    pub what: String,
    /// Command that does it.
    #[schemars(length(max = 500))]
    pub command: Option<String>,
}

/// A person and a time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Stamped {
    /// User name as the API server authenticated it.
    #[schemars(length(max = 253))]
    pub user: String,
    /// When the person did it.
    pub time: Time,
}

/// Copy of a service, made when an incident opens. Later edits of the service do not reach it
/// (docs/rules.md#service-copy).
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCopy {
    /// The service.
    pub r#ref: UidRef,
    /// Title of the service.
    #[schemars(length(max = 200))]
    pub title: String,
    /// Objects of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub objects: Vec<ObjectRef>,
    /// Whom an outage hurts, and how.
    #[schemars(length(max = 1000))]
    pub impact: Option<String>,
    /// Text that the public may read.
    #[schemars(length(max = 1000))]
    pub public_summary: Option<String>,
    /// Rotations of the people to page or to ask.
    pub rotations: Option<ServiceRotations>,
    /// Who is kept informed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stakeholders: Vec<Stakeholder>,
    /// Where people meet during a crisis.
    pub bridge: Option<Bridge>,
    /// Checks that prove the return to service.
    pub return_to_service: Option<ReturnToService>,
}

/// One signal, as its source reports it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// AlertSource that reports the signal.
    pub source_ref: NameRef,
    /// Identity of the signal at its source: a fingerprint, or an object.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Name of the alert, or the condition.
    #[schemars(length(max = 200))]
    pub name: String,
    /// What happened, in a few words of the source.
    #[schemars(length(max = 500))]
    pub summary: Option<String>,
    /// Severity of the signal, by the rule of the source.
    pub severity: Severity,
    /// When the signal began, as the source says.
    pub start_time: Time,
    /// When the signal cleared. Absent while it fires.
    pub end_time: Option<Time>,
    /// When the source last reported the signal: that it fires, to the minute, or that it has cleared.
    pub last_seen_time: Time,
    /// When the source reported the signal as firing a short time after it had cleared. This may be a late
    /// message of a redundant sender. Unless the source reports again that the signal has cleared, it counts as
    /// firing some minutes later.
    pub contradicted_time: Option<Time>,
    /// End of the signal's previous episode, by the source. Mayday recognises late messages by it.
    pub previous_end_time: Option<Time>,
    /// Group of the signal at its source. Signals of one group that are about no service are one outage.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub group: String,
    /// Labels that runbooks match. At most 32, each cut to 253 characters, and about 6000 bytes in all.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 32,
        "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 253})
    ))]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Object that the signal is about, if the source names one.
    pub object: Option<ObjectRef>,
}

impl Signal {
    /// Whether the signal fires.
    pub fn is_firing(&self) -> bool {
        self.end_time.is_none()
    }
}

/// A signal outside the list that has cleared.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClearedSignal {
    /// Short hash of the signal.
    #[schemars(length(max = 16))]
    pub key: String,
    /// When the signal began, by the source.
    pub start_time: Time,
    /// When the signal cleared, by the source.
    pub end_time: Time,
    /// When the source reported that.
    pub last_seen_time: Time,
}

/// Result of one check.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Result of the check.
    pub result: CheckResult,
    /// What the check saw, in words.
    #[schemars(length(max = 500))]
    pub message: String,
    /// Since when the check has this result.
    pub since_time: Time,
    /// For a question: digest that an answer must name.
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// For a question: who answered, and when.
    pub answered: Option<Stamped>,
}

/// Result of a check. Missing data is Unknown, never Passing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CheckResult {
    /// As it should be.
    Passing,
    /// Not as it should be.
    Failing,
    /// It is not known. This does not count as health.
    Unknown,
}

/// State of the paging.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// Rotation whose levels are used. Absent if there is none.
    pub rotation_ref: Option<NameRef>,
    /// Level that was called last, from 0; -1 while no level has reached anyone.
    pub level: i32,
    /// Round of the levels, from 0.
    pub round: i32,
    /// Who is called at this level; `pageDelivery` says whom it has reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 253)))]
    pub people: Vec<String>,
    /// When the next level is paged if nobody acknowledges. Absent if none follows.
    pub next_time: Option<Time>,
    /// Whether every level and the fallback were tried.
    #[serde(default)]
    pub exhausted: bool,
}

/// Whom the pages of an escalation have reached.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageDelivery {
    /// People and rooms whose channel took a page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 253)))]
    pub reached: Vec<String>,
    /// Why the newest page that failed was not delivered; absent if none failed.
    #[schemars(length(max = 500))]
    pub failure: Option<String>,
}

/// A Runbook that matches the incident.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchingRunbook {
    /// Name of the Runbook.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What the Runbook does, in one line.
    #[schemars(length(max = 253))]
    pub summary: String,
    /// Whether the Runbook starts by itself.
    pub automatic: bool,
    /// Why the Runbook does not start, or did not. Absent while nothing prevents it.
    #[schemars(length(max = 500))]
    pub blocked: Option<String>,
}

/// A known change to an affected object.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownChange {
    /// ChangeRequest or run that the change belongs to. Absent for break-glass and unexplained changes.
    #[schemars(length(max = 253))]
    pub subject: Option<String>,
    /// The change in words: `image of deployment/checkout: shop/checkout:v1 → shop/checkout:v2`.
    #[schemars(length(max = 500))]
    pub what: String,
    /// Who made the change.
    #[schemars(length(max = 253))]
    pub by: String,
    /// When the change was made.
    pub time: Time,
}

/// One entry of the timeline.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// When it happened.
    pub time: Time,
    /// Person or source that did it; `mayday` for Mayday itself, `people` for several people who agreed.
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
    /// For the public. It names no person, object, image or digest.
    #[schemars(length(max = 8192))]
    pub external: Option<String>,
}
