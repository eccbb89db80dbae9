//! OnCallRotation: who is on duty when, and who is paged next if nobody acknowledges.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, NameRef};
use super::duration::Duration;
use super::one_of::{SET_ONE, exactly_one};

/// A local time to the minute, with an offset from UTC where it would exist twice.
const LOCAL_TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}([+-]\d{2}:\d{2}|Z)?$";

/// Who is on duty when, and who is paged next if nobody acknowledges.
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
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "On-Duty", type_ = "string", json_path = ".status.onDutyNames"),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.untilTime"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextNames"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct OnCallRotationSpec {
    /// IANA time zone of every local time in this object: `Europe/Berlin`.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// People of the rotation, each listed once.
    #[schemars(length(min = 1, max = 64))]
    pub people: Vec<Person>,
    /// Layers of the schedule. Of the layers with a person on duty, the one of the highest priority counts;
    /// layers of equal priority are on duty together.
    #[schemars(length(min = 1, max = 16))]
    pub layers: Vec<Layer>,
    /// Who is paged, and who is next if nobody acknowledges. Default: the people on duty, for five minutes,
    /// twice.
    pub escalation: Option<Escalation>,
    /// How long before each shift its people are told of it: `24h`. Default: they are not.
    pub remind: Option<Duration>,
    /// Whether gaps, in which no person is on duty, are intended. Then `Covered` does not warn of them. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_gaps: bool,
    /// Lets calendar programs read the shifts, at `/v1/oncall/NAMESPACE/ROTATION.ics?token=…`. Default: they may not.
    pub calendar_feed: Option<CalendarFeed>,
}

/// Who may read the shifts as a calendar file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CalendarFeed {
    /// Secret of type `mayday.dev/credential`. Its key `token` holds the token in the address, of 16 characters or
    /// more.
    pub secret_ref: NameRef,
}

impl OnCallRotationSpec {
    /// The person with this Kubernetes user, if the rotation says how to reach them.
    pub fn reachable(&self, user: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.user == user && !person.contacts.is_empty())
    }
}

/// One person and how to reach them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Person {
    /// Name in this rotation.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Kubernetes user of the person. It proves who acknowledges.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
    /// Ways to reach the person. All are used, each after its delay.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub contacts: Vec<Contact>,
    /// Leave and holidays of the person. Meanwhile the next turn of the layer that has somebody stands in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub away: Vec<Away>,
}

/// A time in which a person takes no turn.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Away {
    /// Local time at which it begins: `2026-12-24T00:00`.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub from: String,
    /// Local time at which it ends, exclusive: `2026-12-27T00:00`.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub until: String,
    /// Why, for readers of the rotation.
    #[schemars(length(max = 100))]
    pub reason: Option<String>,
}

/// One way to reach one person.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Channel that reaches the person.
    pub channel_ref: NameRef,
    /// Address that the channel needs: a phone number, a mailbox or a Slack member.
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Delay before this contact is used. An acknowledgement before then prevents it. Default 0s.
    pub delay: Option<Duration>,
}

/// One layer of the schedule: turns that follow each other.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.advance) || self.advance != 'Active' || self.shift.unit != 'Hours' || self.shift.length % 24 == 0",
    "advance: Active counts days: write a shift of Days, or advance: Calendar"
))]
pub struct Layer {
    /// Name of the layer.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A layer of higher priority hides those of lower priority. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub priority: i32,
    /// Local time at which the first turn begins: `2026-01-05T09:00`. Nobody is on duty before it.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub start: String,
    /// Local time from which on the layer has people on duty. Its turns are counted from `start` all the same.
    /// Default: `start`.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub effective_from: Option<String>,
    /// Local time until which the layer has people on duty, exclusive. Default: for good.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub until: Option<String>,
    /// Length of a turn.
    pub shift: Shift,
    /// Turns in their order. After the last one the first one follows.
    #[schemars(length(min = 1, max = 64))]
    pub turns: Vec<Turn>,
    /// Windows in which the layer is on duty. Default: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub restrictions: Vec<Restriction>,
    /// Days that count towards the length of a turn. Calendar: all days. Active: only days on which a window
    /// opens. Weeks and months always hold such a day, so there both mean the same. Default Calendar.
    #[serde(default)]
    pub advance: Advance,
    /// Whose turn runs at an instant. With it the turns depend on this object alone, and an edit may move the
    /// running turn. Default: the first turn begins at `start`, and edits never move the running turn.
    pub anchor: Option<Anchor>,
}

/// Says whose turn runs at an instant.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Anchor {
    /// A person of the turn, by name in the rotation. Of several turns the first counts.
    #[schemars(length(min = 1, max = 63))]
    pub person: String,
    /// Local time within the turn, not before the layer's `start`: `2026-03-02T09:00`.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub at: String,
}

/// Length of a turn, in wall-clock units.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Shift {
    /// Unit of the length.
    pub unit: ShiftUnit,
    /// Number of units.
    #[schemars(range(min = 1, max = 1000))]
    pub length: i32,
    /// How long after each handoff its people are on duty, in whole minutes: `12h`. Default: the whole turn.
    pub duty: Option<Duration>,
}

impl Default for Shift {
    fn default() -> Shift {
        Shift { unit: ShiftUnit::Weeks, length: 1, duty: None }
    }
}

/// Unit of the length of a turn.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ShiftUnit {
    /// Wall-clock hours if the length divides 24 or is a multiple of 24, else elapsed hours.
    Hours,
    /// Calendar days.
    Days,
    /// Seven calendar days.
    Weeks,
    /// Calendar months from the start. In a month that is too short, the last day counts.
    Months,
}

/// People of one turn. The list may be empty.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Turn {
    /// People of the turn, by name in the rotation.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub people: Vec<String>,
    /// Local time from which on the list has this turn: somebody joins. The running turn stays. Default: always.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub from: Option<String>,
    /// Local time until which the list has this turn, exclusive: somebody leaves, and the next one takes over.
    /// Default: for good.
    #[schemars(length(min = 16, max = 25), regex(pattern = LOCAL_TIME))]
    pub until: Option<String>,
}

/// A window in local time. If `to` is not after `from`, the window ends on the next day.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.toDay) || (has(self.days) && self.days.size() > 0)",
    "toDay needs days: the window opens on one of them and closes on toDay"
))]
pub struct Restriction {
    /// Days on which the window opens; default: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Weekday>,
    /// Local time at which the window opens: `09:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub from: String,
    /// Local time at which the window closes, exclusive: `17:00`.
    #[schemars(length(max = 5), regex(pattern = r"^([01]\d|2[0-3]):[0-5]\d$"))]
    pub to: String,
    /// Day on which a window over several days closes: the first such day at `to` after it opened. Default: the
    /// day on which it opens, or the next one.
    pub to_day: Option<Weekday>,
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

/// Days that count towards the length of a turn.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Advance {
    /// All calendar days.
    #[default]
    Calendar,
    /// Only days on which a window opens.
    Active,
}

/// Escalation levels: who is paged, how long they have to acknowledge, and who is next.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Escalation {
    /// The levels in their order.
    #[schemars(length(min = 1, max = 10))]
    pub levels: Vec<Level>,
    /// How many times all levels are tried. Default 1.
    #[schemars(range(min = 1, max = 6))]
    pub rounds: Option<i32>,
    /// Who is notified when nobody acknowledged, or nobody could be paged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub fallback: Vec<Notify>,
}

/// One escalation level.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Level {
    /// Who is paged at this level, all at once.
    #[schemars(length(min = 1, max = 8))]
    pub notify: Vec<Notify>,
    /// How long they have to acknowledge.
    pub wait: Duration,
}

/// YAML names of the members that select whom a level calls.
pub const NOTIFY_MEMBERS: &[&str] = &["onDuty", "person", "rotation", "channel"];

/// One recipient of a page. Exactly one member is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one(SET_ONE, NOTIFY_MEMBERS))]
pub struct Notify {
    /// The people on duty in this rotation when the page is sent.
    pub on_duty: Option<Empty>,
    /// One person of this rotation.
    pub person: Option<NameRef>,
    /// The people on duty in another rotation.
    pub rotation: Option<NameRef>,
    /// A channel, such as a room.
    pub channel: Option<NameRef>,
}

/// Status of the rotation. Only the operator writes it.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnCallRotationStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions: Ready, Covered, Reachable, Fair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::common::conditions")]
    pub conditions: Vec<Condition>,
    /// Who is on duty now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub on_duty: Vec<OnDuty>,
    /// Names of the people on duty, for the column; `nobody` in a gap.
    #[schemars(length(max = 253))]
    pub on_duty_names: Option<String>,
    /// Since when these people are on duty.
    pub since_time: Option<Time>,
    /// Until when these people are on duty. Absent if no change is in sight.
    pub until_time: Option<Time>,
    /// Names of the people who are next on duty, for the column.
    #[schemars(length(max = 253))]
    pub next_names: Option<String>,
    /// When the next turn of any layer begins, whether it changes who is on duty or not.
    pub next_turn_time: Option<Time>,
    /// The next shifts, the running one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub upcoming: Vec<UpcomingShift>,
    /// Seconds of the next 30 days in which nobody is on duty, unless gaps are allowed.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub uncovered_seconds: i64,
    /// Version of the time zone data that was used: `2026f`.
    #[schemars(length(max = 16))]
    pub time_zone_data: Option<String>,
    /// The schedule as the operator saw it last. An edit is compared with it, so that the running turn stays.
    pub schedule: Option<ObservedSchedule>,
}

crate::conditioned!(OnCallRotationStatus);

/// A time in which the same people are on duty.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpcomingShift {
    /// When it begins. Absent if it has no beginning in sight.
    pub start_time: Option<Time>,
    /// When it ends, exclusive. Absent if that is more than 30 days away.
    pub end_time: Option<Time>,
    /// Names of the people; `nobody` in a gap.
    #[schemars(length(max = 253))]
    pub names: String,
}

/// The schedule of a rotation as the operator saw it last.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedSchedule {
    /// IANA time zone.
    #[schemars(length(max = 64))]
    pub time_zone: String,
    /// Names of everybody who is in a turn.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub people: Vec<String>,
    /// The layers, in the order of the spec.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub layers: Vec<ObservedLayer>,
}

/// A layer as the operator saw it last.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedLayer {
    /// Name of the layer.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Priority of the layer.
    #[serde(default)]
    pub priority: i32,
    /// Local time at which the first turn began.
    #[schemars(length(max = 25))]
    pub start: String,
    /// Local time from which on it has people on duty.
    #[schemars(length(max = 25))]
    pub effective_from: Option<String>,
    /// Local time until which it has people on duty.
    #[schemars(length(max = 25))]
    pub until: Option<String>,
    /// Length of a turn.
    pub shift: Shift,
    /// Turns in their order.
    #[schemars(length(max = 64))]
    pub turns: Vec<ObservedTurn>,
    /// Windows in which the layer is on duty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub restrictions: Vec<Restriction>,
    /// Days that count towards the length of a turn.
    #[serde(default)]
    pub advance: Advance,
    /// Whose turn runs at an instant.
    pub anchor: Option<Anchor>,
    /// How many places of `turns` an edit has moved the turns. Turn number k since the start is the one at place
    /// k + offset, counted around.
    #[serde(default)]
    #[schemars(range(min = 0, max = 63))]
    pub offset: i32,
    /// When the offset was found. Of turns with `from` or `until` it counts those that the list had then.
    pub offset_time: Option<Time>,
}

/// A turn as the operator saw it last.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ObservedTurn {
    /// Places of its people in `people` of the schedule, from 0.
    #[serde(default)]
    #[schemars(length(max = 16), inner(range(min = 0, max = 255)))]
    pub people: Vec<i32>,
    /// Local time from which on the list has this turn.
    #[schemars(length(max = 25))]
    pub from: Option<String>,
    /// Local time until which the list has this turn.
    #[schemars(length(max = 25))]
    pub until: Option<String>,
}

/// A person on duty.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct OnDuty {
    /// Name in the rotation.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Kubernetes user.
    #[schemars(length(max = 253))]
    pub user: String,
}
