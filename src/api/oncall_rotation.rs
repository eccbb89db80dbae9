//! OnCallRotation: defines who is on duty when, and who is called next if no one answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// Who is on duty when, and who is next if nobody answers.
#[serde_with::skip_serializing_none]
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "mayday.dev",
    version = "v1alpha1",
    kind = "OnCallRotation",
    plural = "oncallrotations",
    shortname = "oncall",
    category = "mayday",
    namespaced,
    status = "OnCallRotationStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "On-Duty", type_ = "string", json_path = ".status.onDutyNames"),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.untilTime"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextNames"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct OnCallRotationSpec {
    /// IANA time zone of every local time in here: `Europe/Berlin`.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The people, each once.
    #[schemars(length(min = 1, max = 64))]
    pub people: Vec<Person>,
    /// The layers; the one of the highest priority with somebody on duty wins, equal ones are all on duty.
    #[schemars(length(min = 1, max = 16))]
    pub layers: Vec<Layer>,
    /// Who is paged next if nobody answers. Default: whoever is on duty, five minutes, twice.
    pub escalation: Option<Escalation>,
}

/// One person and how to reach them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Person {
    /// Name in this rotation.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Kubernetes user; proves who acknowledges.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// How to reach them, all of them, each after its delay.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub contacts: Vec<Contact>,
}

/// One way to reach one person.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// The channel.
    pub channel_ref: NameRef,
    /// What the channel needs: a number, a mailbox, a Slack member.
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Only if not acknowledged by then. Default 0s.
    pub delay: Option<Duration>,
}

/// One layer: turns that follow each other.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the layer.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Higher hides lower. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
    /// Local wall time at which turn 0 begins: `2026-01-05T09:00`. Nobody is on duty before.
    #[schemars(
        length(min = 16, max = 25),
        regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}([+-]\d{2}:\d{2}|Z)?$")
    )]
    pub start: String,
    /// How long a turn is.
    pub shift: Shift,
    /// The turns in their order, then from the beginning.
    #[schemars(length(min = 1, max = 64))]
    pub turns: Vec<Turn>,
    /// Only in these windows; default: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub restrictions: Vec<Restriction>,
    /// What moves the turn on. Default Calendar.
    #[serde(default)]
    pub advance: Advance,
}

/// How long a turn is, in wall-clock units.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Shift {
    /// The unit.
    pub unit: ShiftUnit,
    /// How many of them.
    #[schemars(range(min = 1, max = 1000))]
    pub length: i32,
}

impl Default for Shift {
    fn default() -> Shift {
        Shift { unit: ShiftUnit::Weeks, length: 1 }
    }
}

/// Unit of a turn.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ShiftUnit {
    /// Wall-clock hours if the length divides 24 or is a multiple of it, else elapsed hours.
    Hours,
    /// Calendar days.
    Days,
    /// Seven calendar days.
    Weeks,
    /// Calendar months from the start, clamped to the last day.
    Months,
}

/// Who has one turn; nobody is allowed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Turn {
    /// Names in the rotation's people.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub people: Vec<String>,
}

/// A local window of the day. If `to` is not after `from`, it ends on the next day.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Restriction {
    /// Days on which the window opens; default: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Weekday>,
    /// Local time at which it opens: `09:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub from: String,
    /// Local time at which it closes: `17:00`; that instant is no longer covered.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub to: String,
}

/// Day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What moves a layer on to its next turn.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Advance {
    /// Every calendar turn.
    #[default]
    Calendar,
    /// Only days on which a window opens.
    Active,
}

/// Who is paged, for how long, and then whom.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Escalation {
    /// The levels in their order.
    #[schemars(length(min = 1, max = 10))]
    pub levels: Vec<Level>,
    /// How often all levels are tried. Default 1.
    #[schemars(range(min = 1, max = 6))]
    pub rounds: Option<i32>,
    /// Who is told when nobody answered, or nobody could be paged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub fallback: Vec<Notify>,
}

/// One level.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Level {
    /// Who is paged, all at once.
    #[schemars(length(min = 1, max = 8))]
    pub notify: Vec<Notify>,
    /// How long they have to answer.
    pub wait: Duration,
}

/// YAML names of the members that select whom a level calls.
pub const NOTIFY_MEMBERS: &[&str] = &["onDuty", "person", "rotation", "channel"];

/// Somebody to be paged: exactly one of the members.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, NOTIFY_MEMBERS))]
pub struct Notify {
    /// Whoever is on duty in this rotation when the page is sent.
    pub on_duty: Option<Empty>,
    /// One person of this rotation.
    pub person: Option<NameRef>,
    /// Whoever is on duty in another rotation.
    pub rotation: Option<NameRef>,
    /// A channel, such as a room.
    pub channel: Option<NameRef>,
}

/// What the operator knows of a rotation.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCallRotationStatus {
    /// The `metadata.generation` that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is true: Ready, Covered, Reachable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Who is on duty now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub on_duty: Vec<OnDuty>,
    /// Their names, for the column; `nobody` in a gap.
    #[schemars(length(max = 253))]
    pub on_duty_names: Option<String>,
    /// Since when.
    pub since_time: Option<Time>,
    /// Until when; absent if no change is in sight.
    pub until_time: Option<Time>,
    /// Who is next, for the column.
    #[schemars(length(max = 253))]
    pub next_names: Option<String>,
}

crate::conditioned!(OnCallRotationStatus);

/// Somebody on duty.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct OnDuty {
    /// Name in the rotation.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Kubernetes user.
    #[schemars(length(max = 253))]
    pub user: String,
}
