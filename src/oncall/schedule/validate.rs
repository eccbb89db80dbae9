//! Validation of a rotation: every problem with its path and the fix. Pure; the guard and the controller use it.

use std::collections::BTreeSet;

use crate::api::oncall_rotation::{Layer, Notify, OnCallRotationSpec, Person};

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
        if let Some(clock) = &clock {
            absences(person, &format!("spec.people[{index}]"), clock, &mut add);
        }
    }
    let mut layers = BTreeSet::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let path = format!("spec.layers[{index}]");
        if !layers.insert(layer.name.as_str()) {
            add(format!("{path}.name"), format!("{:?} is the name of an earlier layer", layer.name));
        }
        if let Some(clock) = &clock {
            layer_times(layer, &path, clock, &mut add);
        }
        if let Some(duty) = &layer.shift.duty
            && (duty.get().is_zero() || duty.get().as_millis() % 60_000 != 0)
        {
            add(
                format!("{path}.shift.duty"),
                format!("{duty} is not a number of whole minutes: write 30m or 12h"),
            );
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

/// The times of a layer: its start and end, when its turns join and leave, and its anchor.
fn layer_times(layer: &Layer, path: &str, clock: &LocalClock, add: &mut impl FnMut(String, String)) {
    let mut read = |path: String, text: &String| match time_problem(text, clock) {
        Some(message) => {
            add(path, message);
            None
        }
        None => clock.moment(text),
    };
    let start = read(format!("{path}.start"), &layer.start);
    let from = layer.effective_from.as_ref().and_then(|text| read(format!("{path}.effectiveFrom"), text));
    let until = layer.until.as_ref().and_then(|text| read(format!("{path}.until"), text));
    let anchor = layer.anchor.as_ref().and_then(|anchor| read(format!("{path}.anchor.at"), &anchor.at));
    let mut reversed = Vec::new();
    for (index, turn) in layer.turns.iter().enumerate() {
        let from = turn.from.as_ref().and_then(|text| read(format!("{path}.turns[{index}].from"), text));
        let until = turn.until.as_ref().and_then(|text| read(format!("{path}.turns[{index}].until"), text));
        if from.zip(until).is_some_and(|(from, until)| until <= from) {
            reversed.push((format!("{path}.turns[{index}].until"), "is not after from".to_owned()));
        }
    }
    let begins = start.max(from);
    if begins.zip(until).is_some_and(|(begins, until)| until <= begins) {
        reversed.push((
            format!("{path}.until"),
            "is not after the layer begins: nobody is ever on duty".to_owned(),
        ));
    }
    if start.zip(anchor).is_some_and(|(start, anchor)| anchor < start) {
        reversed.push((
            format!("{path}.anchor.at"),
            format!("is before the first turn, which begins at {}", layer.start),
        ));
    }
    if let Some(anchor) = &layer.anchor
        && !layer.turns.iter().any(|turn| turn.people.contains(&anchor.person))
    {
        reversed.push((
            format!("{path}.anchor.person"),
            format!("{:?} is in no turn of the layer", anchor.person),
        ));
    }
    reversed.into_iter().for_each(|(path, message)| add(path, message));
}

/// The times in which a person is away.
fn absences(person: &Person, path: &str, clock: &LocalClock, add: &mut impl FnMut(String, String)) {
    for (index, away) in person.away.iter().enumerate() {
        let path = format!("{path}.away[{index}]");
        let mut read = |field: &str, text: &String| match time_problem(text, clock) {
            Some(message) => {
                add(format!("{path}.{field}"), message);
                None
            }
            None => clock.moment(text),
        };
        let (from, until) = (read("from", &away.from), read("until", &away.until));
        if from.zip(until).is_some_and(|(from, until)| until <= from) {
            add(format!("{path}.until"), "is not after from".to_owned());
        }
    }
}

/// Why a local time is not one instant.
fn time_problem(text: &str, clock: &LocalClock) -> Option<String> {
    if text.parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    let Ok(local) = text.parse::<jiff::civil::DateTime>() else {
        return Some(format!("{text:?} is not a local time: write 2026-01-05T09:00"));
    };
    match clock.existence(local) {
        Existence::Once(_) => None,
        Existence::Never => Some(format!(
            "{text} does not exist there: the clocks are set forward over it; write the hour after, or an offset"
        )),
        Existence::Twice => Some(format!(
            "{text} exists twice there: the clocks are set back; say which with an offset, such as {text}+02:00"
        )),
    }
}
