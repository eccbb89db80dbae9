//! The status of a rotation. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::oncall_rotation::{OnCallRotationSpec, OnCallRotationStatus, OnDuty};
use crate::api::{NotificationChannel, OnCallOverride, OnCallRotation};
use crate::cluster::conditions::{self, NotReady, State};

use super::schedule::Schedule;
use crate::oncall::looks;
use crate::oncall::schedule::{duty, local_time, overrides, running_turn, timeline, validate};

/// The objects of the rotation's namespace that its status depends on.
#[derive(Clone, Debug, Default)]
pub struct RotationFacts {
    /// The overrides.
    pub overrides: Vec<Arc<OnCallOverride>>,
    /// The channels.
    pub channels: Vec<Arc<NotificationChannel>>,
    /// The rotations, this one included.
    pub rotations: Vec<Arc<OnCallRotation>>,
    /// What is wrong with the token of its calendar file.
    pub calendar_trouble: Option<String>,
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
    let dangling = dangling(spec, facts);
    let unknown_target =
        || format!("spec.escalation names what does not exist: {}; mend the name", dangling.join(", "));
    let Ok(schedule) = Schedule::of_known(spec, &observed, own) else {
        let message =
            "who is on duty cannot be told; only levels that name people, and the fallback, are called";
        let reachable = if dangling.is_empty() { message.to_owned() } else { unknown_target() };
        set(ConditionType::Reachable, State::Unknown, Reason::Invalid, reachable);
        set(ConditionType::Covered, State::Unknown, Reason::Invalid, message.to_owned());
        set(ConditionType::Fair, State::Unknown, Reason::Invalid, message.to_owned());
        status.on_duty = Vec::new();
        status.on_duty_names = Some("nobody".to_owned());
        (status.since_time, status.until_time, status.next_names) = (None, None, None);
        (status.next_turn_time, status.upcoming, status.uncovered_seconds) = (None, Vec::new(), 0);
        conditions::ready(&mut status, generation, now, Err(invalid));
        return (status, None);
    };
    status.schedule = Some(observed);
    let shifts = looks::ahead(&schedule, now);
    let (namespace, name) = (rotation.namespace().unwrap_or_default(), rotation.name_any());
    let (reachable, reason, message) = if dangling.is_empty() {
        looks::reachable(spec, &schedule, &shifts, &facts.channels, &namespace)
    } else {
        (false, Reason::UnknownTarget, unknown_target())
    };
    set(ConditionType::Reachable, reachable.into(), reason, message);
    let (covered, reason, message) =
        looks::covered(&schedule, &shifts, (&namespace, &name), spec.allow_gaps, now);
    set(ConditionType::Covered, covered.into(), reason, message);
    let (fair, reason, message) = looks::fair(spec, &schedule, now);
    set(ConditionType::Fair, fair.into(), reason, message);
    status.next_turn_time = schedule.next_handoff(now).map(stored_time);
    status.uncovered_seconds = if spec.allow_gaps { 0 } else { timeline::uncovered_seconds(&shifts) };

    let duty = duty::on_duty(&schedule, now);
    let person = |name: &String| spec.people.iter().find(|person| person.name == *name);
    status.on_duty = duty
        .people
        .iter()
        .filter_map(person)
        .map(|person| OnDuty { name: person.name.clone(), user: person.user.clone() })
        .collect();
    status.on_duty_names = Some(looks::joined(&duty.people));
    status.since_time = duty.since.map(stored_time);
    status.until_time = duty.until.map(stored_time);
    status.upcoming = looks::upcoming(&schedule, &shifts, duty.since, now);
    status.next_names = duty.until.map(|_| looks::joined(&duty.next));

    status.time_zone_data = Some(local_time::data_version().to_owned());
    let ready = match &facts.calendar_trouble {
        _ if !problems.is_empty() => Err(invalid),
        Some(trouble) => {
            let message = format!("spec.calendarFeed: {trouble}; {} on duty", looks::joined(&duty.people));
            Err(NotReady::Waiting(Reason::CredentialUnusable, message))
        }
        None => Ok(format!("{} on duty", looks::joined(&duty.people))),
    };
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

#[cfg(test)]
#[path = "rotation_status_tests.rs"]
mod tests;
