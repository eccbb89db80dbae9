//! What the next weeks of a rotation look like: gaps, people who cannot be reached, and how the duty is spread. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::schedule::timeline::{self, Shift};
use super::schedule::{Schedule, fairness};
use crate::api::NotificationChannel;
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason, is_true};
use crate::api::oncall_rotation::{OnCallRotationSpec, UpcomingShift};
use crate::command::{Command, Flag, Verb};
use crate::text::cut;

/// How far ahead to look for gaps, and for people who cannot be reached.
pub const AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far ahead to look at how the duty is spread.
const SPREAD: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Maximum number of upcoming shifts in the status.
const MAX_UPCOMING: usize = 8;
/// Maximum length of joined names in bytes, as the schema allows.
const MAX_NAMES: usize = 253;

/// A verdict on one condition.
pub type Look = (bool, Reason, String);

/// The shifts of the next [`AHEAD`], from the last whole hour on. So what is said of them stays the same for an hour, and the
/// status is not written again each time that it is looked at.
pub fn ahead(schedule: &Schedule, now: Timestamp) -> Vec<Shift> {
    within(schedule, now, 3600, AHEAD)
}

/// The shifts of some time from a whole number of seconds on.
fn within(schedule: &Schedule, now: Timestamp, whole: i64, length: SignedDuration) -> Vec<Shift> {
    let from = Timestamp::from_second(now.as_second().div_euclid(whole) * whole).unwrap_or(now);
    timeline::shifts(schedule, from, from.checked_add(length).unwrap_or(Timestamp::MAX))
}

/// The names of these people, or `nobody`.
pub fn joined(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { cut(&names.join(", "), MAX_NAMES) }
}

/// The next shifts, the running one first, which began at `since`; neighbours of the same people are one.
pub fn upcoming(
    schedule: &Schedule,
    shifts: &[Shift],
    since: Option<Timestamp>,
    now: Timestamp,
) -> Vec<UpcomingShift> {
    let horizon = shifts.last().map(|last| last.end);
    let shown = |shift: &Shift| UpcomingShift {
        start_time: if shift.start <= now { since } else { Some(shift.start) }.map(stored_time),
        end_time: Some(shift.end).filter(|end| Some(*end) != horizon).map(stored_time),
        names: joined(&schedule.names(&shift.on_duty)),
    };
    let merged = timeline::by_people(shifts);
    merged.iter().filter(|shift| shift.end > now).take(MAX_UPCOMING).map(shown).collect()
}

/// Whether a person is on duty at every instant of the next [`AHEAD`]. `rotation` is the namespace and the name, for the
/// next command.
pub fn covered(
    schedule: &Schedule,
    shifts: &[Shift],
    rotation: (&str, &str),
    allow_gaps: bool,
    now: Timestamp,
) -> Look {
    let gaps: Vec<(Timestamp, Timestamp)> = timeline::gaps(shifts).filter(|(_, end)| *end > now).collect();
    let Some((start, end)) = gaps.first() else {
        let message = "somebody is on duty at every instant of the next 30 days";
        return (true, Reason::Covered, message.to_owned());
    };
    if allow_gaps {
        let hours = timeline::uncovered_seconds(shifts) / 3600;
        let message =
            format!("nobody is on duty for {hours} hours of the next 30 days, which spec.allowGaps allows");
        return (true, Reason::GapsAllowed, message);
    }
    let local =
        |at: &Timestamp| at.to_zoned(schedule.clock.zone().clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    let more = match gaps.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more times within 30 days"),
    };
    let next = shifts.iter().find(|shift| shift.start >= *end).map(|shift| schedule.names(&shift.on_duty));
    let until = match next {
        Some(next) => format!("until {}, then {} is", local(end), joined(&next)),
        None => "for the next 30 days".to_owned(),
    };
    let (namespace, name) = rotation;
    let add =
        Command::new(Verb::Oncall).namespace(namespace).word("override").word(name).flag(Flag::Add, "PERSON");
    if *start <= now {
        let add = add.flag(Flag::For, "8h");
        (false, Reason::UncoveredNow, format!("nobody is on duty now, {until}{more}; add somebody: {add}"))
    } else {
        let add = add.flag(Flag::From, start.to_string()).flag(Flag::Until, end.to_string());
        let from = local(start);
        (
            false,
            Reason::UncoveredLater,
            format!("nobody is on duty from {from} {until}{more}; add a turn, or for once: {add}"),
        )
    }
}

/// Whether everybody who is on duty within [`AHEAD`], or named by a level, has a contact whose channel is Ready.
pub fn reachable(
    spec: &OnCallRotationSpec,
    schedule: &Schedule,
    shifts: &[Shift],
    channels: &[Arc<NotificationChannel>],
    namespace: &str,
) -> Look {
    let usable = |name: &str| {
        let is_ready = |channel: &Arc<NotificationChannel>| {
            channel.status.as_ref().is_some_and(|status| is_true(&status.conditions, ConditionType::Ready))
        };
        channels.iter().any(|channel| channel.name_any() == name && is_ready(channel))
    };
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for place in shifts.iter().flat_map(|shift| shift.on_duty.keys()) {
        needed.extend(schedule.people.get(*place).map(String::as_str));
    }
    let escalation = spec.escalation.iter();
    let named =
        escalation.flat_map(|all| all.levels.iter().flat_map(|level| &level.notify).chain(&all.fallback));
    needed.extend(named.filter_map(|target| target.person.as_ref()).map(|person| person.name.as_str()));
    let unreachable: Vec<&str> = spec
        .people
        .iter()
        .filter(|person| needed.contains(person.name.as_str()))
        .filter(|person| !person.contacts.iter().any(|contact| usable(&contact.channel_ref.name)))
        .map(|person| person.name.as_str())
        .collect();
    if unreachable.is_empty() {
        let message =
            "everybody who is on duty within 30 days, or named by a level, has a channel that is Ready";
        return (true, Reason::Reachable, message.to_owned());
    }
    let names = unreachable.join(", ");
    let message = format!(
        "no contact with a NotificationChannel that is Ready: {names}; see kubectl get chan -n {namespace}"
    );
    (false, Reason::NoChannel, message)
}

/// How evenly the duty of the next 90 days is spread among the people in turns.
pub fn fair(spec: &OnCallRotationSpec, schedule: &Schedule, now: Timestamp) -> Look {
    let never = schedule.never_on_duty(now);
    if !never.is_empty() {
        let names: Vec<&str> =
            never.iter().filter_map(|place| schedule.people.get(*place)).map(String::as_str).collect();
        let message = format!(
            "never on duty: {}; no window ever opens in their turns: write advance: Active, or another length of the shift",
            names.join(", ")
        );
        return (false, Reason::NeverOnDuty, message);
    }
    let in_turns: BTreeSet<&String> =
        spec.layers.iter().flat_map(|layer| layer.turns.iter().flat_map(|turn| &turn.people)).collect();
    let shifts = within(schedule, now, 86_400, SPREAD);
    let loads = fairness::loads(schedule, &shifts);
    let loads: Vec<_> =
        schedule.people.iter().zip(loads).filter(|(name, _)| in_turns.contains(name)).collect();
    let score = fairness::score(&loads.iter().map(|(_, load)| load.total).collect::<Vec<_>>());
    let hours = |seconds: i64| seconds / 3600;
    let each = loads.iter().map(|(name, load)| {
        let (total, nights, weekends) = (hours(load.total), hours(load.nights), hours(load.weekends));
        format!("{name} {total} h ({nights} h at night, {weekends} h on weekends)")
    });
    let each: Vec<String> = each.collect();
    let message = format!("the next 90 days are {score} % even: {}", each.join(", "));
    let is_balanced = score >= fairness::BALANCED;
    (is_balanced, if is_balanced { Reason::Balanced } else { Reason::Unbalanced }, message)
}
