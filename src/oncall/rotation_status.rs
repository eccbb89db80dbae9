//! The status of a rotation. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason, is_true};
use crate::api::oncall_rotation::{OnCallRotationSpec, OnCallRotationStatus, OnDuty};
use crate::api::{NotificationChannel, OnCallOverride, OnCallRotation};
use crate::cluster::conditions::{self, NotReady, State};
use crate::text::cut;

use super::schedule::Schedule;
use crate::oncall::schedule::{duty, local_time, overrides, running_turn, validate};

/// How far ahead to look for gaps.
const AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Maximum length of joined names in bytes, as the schema allows.
const MAX_NAMES: usize = 253;

/// The objects of the rotation's namespace that its status depends on.
#[derive(Clone, Debug, Default)]
pub struct RotationFacts {
    /// The overrides.
    pub overrides: Vec<Arc<OnCallOverride>>,
    /// The channels.
    pub channels: Vec<Arc<NotificationChannel>>,
    /// The rotations, this one included.
    pub rotations: Vec<Arc<OnCallRotation>>,
}

/// The status of a rotation, and when it changes by itself.
pub fn decide(
    rotation: &OnCallRotation,
    facts: &RotationFacts,
    now: Timestamp,
) -> (OnCallRotationStatus, Option<Timestamp>) {
    let mut status = rotation.status.clone().unwrap_or_default();
    let observed = running_turn::observe(&rotation.spec, status.schedule.as_ref(), now);
    let generation = rotation.metadata.generation.unwrap_or_default();
    let spec = &rotation.spec;
    let people: Vec<String> = spec.people.iter().map(|person| person.name.clone()).collect();
    let own = overrides::of_rotation(&facts.overrides, &rotation.name_any(), &people);

    let problems: Vec<String> = validate::problems(spec).iter().map(ToString::to_string).collect();
    let invalid = NotReady::Stalled(Reason::Invalid, problems.join("; "));
    let mut set = |kind: ConditionType, state: State, reason: Reason, message: String| {
        conditions::set(&mut status.conditions, kind, state, reason, message, generation, now);
    };
    let (reachable, reason, message) = match dangling(spec, facts).as_slice() {
        [] => reachable(spec, &facts.channels, &rotation.namespace().unwrap_or_default()),
        names => {
            let message =
                format!("spec.escalation names what does not exist: {}; mend the name", names.join(", "));
            (false, Reason::UnknownTarget, message)
        }
    };
    set(ConditionType::Reachable, reachable.into(), reason, message);
    let Ok(schedule) = Schedule::of_known(spec, &observed, own) else {
        let message =
            "who is on duty cannot be told; only levels that name people, and the fallback, are called";
        set(ConditionType::Covered, State::Unknown, Reason::Invalid, message.to_owned());
        status.on_duty = Vec::new();
        status.on_duty_names = Some("nobody".to_owned());
        (status.since_time, status.until_time, status.next_names) = (None, None, None);
        conditions::ready(&mut status, generation, now, Err(invalid));
        return (status, None);
    };
    status.schedule = Some(observed);
    let (covered, reason, message) = covered(&schedule, now);
    set(ConditionType::Covered, covered.into(), reason, message);

    let duty = duty::on_duty(&schedule, now);
    let person = |name: &String| spec.people.iter().find(|person| person.name == *name);
    status.on_duty = duty
        .people
        .iter()
        .filter_map(person)
        .map(|person| OnDuty { name: person.name.clone(), user: person.user.clone() })
        .collect();
    status.on_duty_names = Some(joined(&duty.people));
    status.since_time = duty.since.map(stored_time);
    status.until_time = duty.until.map(stored_time);
    status.next_names = duty.until.map(|_| joined(&duty.next));

    status.time_zone_data = Some(local_time::data_version().to_owned());
    let ready =
        if problems.is_empty() { Ok(format!("{} on duty", joined(&duty.people))) } else { Err(invalid) };
    conditions::ready(&mut status, generation, now, ready);
    (status, duty.until)
}

/// What an edit has moved, for people: the running turn stays, and these shifts begin at another time. `None` if the
/// status describes the same schedule as before.
pub fn moved(before: &OnCallRotation, after: &OnCallRotationStatus, now: Timestamp) -> Option<String> {
    let known = before.status.as_ref()?.schedule.as_ref()?;
    let moved = running_turn::moved(known, after.schedule.as_ref()?, now);
    let on_duty = after.on_duty_names.as_deref().unwrap_or("nobody");
    (!moved.is_empty()).then(|| format!("{on_duty} on duty; next shifts that moved: {}", moved.join("; ")))
}

fn joined(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { cut(&names.join(", "), MAX_NAMES) }
}

/// The targets of the escalation that do not exist, so that they would page no one.
fn dangling(spec: &OnCallRotationSpec, facts: &RotationFacts) -> Vec<String> {
    let RotationFacts { channels, rotations, .. } = facts;
    let Some(escalation) = &spec.escalation else { return Vec::new() };
    let targets = escalation.levels.iter().flat_map(|level| &level.notify).chain(&escalation.fallback);
    let mut missing = Vec::new();
    for target in targets {
        let rotation = target.rotation.as_ref().map(|named| &named.name);
        if let Some(name) = rotation.filter(|name| rotations.iter().all(|known| known.name_any() != **name)) {
            missing.push(format!("oncall/{name}"));
        }
        let channel = target.channel.as_ref().map(|named| &named.name);
        if let Some(name) = channel.filter(|name| channels.iter().all(|known| known.name_any() != **name)) {
            missing.push(format!("chan/{name}"));
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

/// Whether every person has a contact whose channel is Ready.
fn reachable(
    spec: &OnCallRotationSpec,
    channels: &[Arc<NotificationChannel>],
    namespace: &str,
) -> (bool, Reason, String) {
    let usable = |name: &str| {
        channels.iter().any(|channel| {
            channel.name_any() == name
                && channel
                    .status
                    .as_ref()
                    .is_some_and(|status| is_true(&status.conditions, ConditionType::Ready))
        })
    };
    let unreachable: Vec<&str> = spec
        .people
        .iter()
        .filter(|person| !person.contacts.iter().any(|contact| usable(&contact.channel_ref.name)))
        .map(|person| person.name.as_str())
        .collect();
    if unreachable.is_empty() {
        return (true, Reason::Reachable, "everybody has a channel that is Ready".to_owned());
    }
    let names = unreachable.join(", ");
    let message = format!(
        "no contact with a NotificationChannel that is Ready: {names}; see kubectl get chan -n {namespace}"
    );
    (false, Reason::NoChannel, message)
}

/// Whether a person is on duty at every instant of the next [`AHEAD`].
fn covered(schedule: &Schedule, now: Timestamp) -> (bool, Reason, String) {
    let until = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let gaps = duty::gaps(schedule, now, until);
    let Some((start, end)) = gaps.first() else {
        return (
            true,
            Reason::Covered,
            "somebody is on duty at every instant of the next 30 days".to_owned(),
        );
    };
    let local =
        |at: &Timestamp| at.to_zoned(schedule.clock.zone().clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    let more = match gaps.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more times within 30 days"),
    };
    let end = if *end >= until { "for the next 30 days".to_owned() } else { format!("until {}", local(end)) };
    if *start <= now {
        (
            false,
            Reason::UncoveredNow,
            format!("nobody is on duty now, {end}{more}; add somebody with an OnCallOverride"),
        )
    } else {
        let from = local(start);
        (
            false,
            Reason::UncoveredLater,
            format!("nobody is on duty from {from} {end}{more}; add a turn or an OnCallOverride"),
        )
    }
}

#[cfg(test)]
#[path = "rotation_status_tests.rs"]
mod tests;
