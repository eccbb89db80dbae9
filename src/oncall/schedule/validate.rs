//! Validation of a rotation: every problem with its path and the fix. Pure; the guard and the controller use it.

use std::collections::BTreeSet;

use crate::api::oncall_rotation::{Advance, Layer, Notify, OnCallRotationSpec, ShiftUnit};

pub use crate::problem::Problem;

use super::local_time::{Existence, LocalClock};
use super::restriction::time_of_day;

/// All problems of a rotation; empty if it is valid.
pub fn problems(spec: &OnCallRotationSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: String, message: String| problems.push(Problem { path, message });

    let clock = LocalClock::named(&spec.time_zone);
    if clock.is_none() {
        add(
            "spec.timeZone".to_owned(),
            format!("{:?} is not a time zone: write an IANA name such as Europe/Berlin", spec.time_zone),
        );
    }
    let mut names = BTreeSet::new();
    for (index, person) in spec.people.iter().enumerate() {
        if !names.insert(person.name.as_str()) {
            add(format!("spec.people[{index}].name"), format!("{:?} is listed twice", person.name));
        }
    }
    let mut layers = BTreeSet::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let path = format!("spec.layers[{index}]");
        if !layers.insert(layer.name.as_str()) {
            add(format!("{path}.name"), format!("{:?} is the name of an earlier layer", layer.name));
        }
        if let Some(message) = clock.as_ref().and_then(|clock| start_problem(layer, clock)) {
            add(format!("{path}.start"), message);
        }
        for (turn, people) in layer.turns.iter().enumerate() {
            for person in people.people.iter().filter(|person| !names.contains(person.as_str())) {
                add(format!("{path}.turns[{turn}]"), unknown_person(person, &names));
            }
        }
        for (window, restriction) in layer.restrictions.iter().enumerate() {
            for (field, text) in [("from", &restriction.from), ("to", &restriction.to)] {
                if time_of_day(text).is_none() {
                    add(
                        format!("{path}.restrictions[{window}].{field}"),
                        format!("{text:?} is not a time of the day: write 09:00"),
                    );
                }
            }
        }
    }
    for (path, notify) in notified(spec) {
        if let Some(person) = &notify.person
            && !names.contains(person.name.as_str())
        {
            add(path, unknown_person(&person.name, &names));
        }
    }
    problems
}

/// Fields that this version accepts but does not act on.
pub fn not_implemented(spec: &OnCallRotationSpec) -> Vec<String> {
    spec.layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| layer.advance == Advance::Active && layer.shift.unit != ShiftUnit::Days)
        .map(|(index, layer)| format!("spec.layers[{index}].advance: Active for {:?}", layer.shift.unit))
        .collect()
}

/// Every target of the escalation with its path.
fn notified(spec: &OnCallRotationSpec) -> impl Iterator<Item = (String, &Notify)> {
    spec.escalation.iter().flat_map(|escalation| {
        let levels = escalation.levels.iter().enumerate().flat_map(|(level, l)| {
            l.notify
                .iter()
                .enumerate()
                .map(move |(index, n)| (format!("spec.escalation.levels[{level}].notify[{index}]"), n))
        });
        let fallback = escalation.fallback.iter().enumerate();
        levels.chain(fallback.map(|(index, n)| (format!("spec.escalation.fallback[{index}]"), n)))
    })
}

fn unknown_person(person: &str, names: &BTreeSet<&str>) -> String {
    let known: Vec<&str> = names.iter().copied().collect();
    format!("{person:?} is not in spec.people (known: {})", known.join(", "))
}

fn start_problem(layer: &Layer, clock: &LocalClock) -> Option<String> {
    let start = &layer.start;
    if start.parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    let Ok(local) = start.parse::<jiff::civil::DateTime>() else {
        return Some(format!("{start:?} is not a local time: write 2026-01-05T09:00"));
    };
    match clock.existence(local) {
        Existence::Once(_) => None,
        Existence::Never => Some(format!(
            "{start} does not exist there: the clocks are set forward over it; write the hour after, or an offset"
        )),
        Existence::Twice => Some(format!(
            "{start} exists twice there: the clocks are set back; say which with an offset, such as {start}+02:00"
        )),
    }
}
