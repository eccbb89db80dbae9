//! An edit of a rotation never moves the running turn: its people stay until the handoff, and then the next in the new
//! list follows (docs/rules.md#running-turn). Pure.
//!
//! The status keeps the schedule as it was seen last. Wherever a rotation is looked at, it is compared with its spec, so
//! every process gives the same answer, also before the controller has stored the edit.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Schedule;
use super::layer::{CompiledLayer, Offset};
use super::local_time::LocalClock;
use crate::api::common::stored_time;
use crate::api::oncall_rotation::{
    Anchor, Layer, ObservedLayer, ObservedSchedule, ObservedTurn, OnCallRotationSpec, Person, Turn,
};

/// Maximum number of edges to search for the next shift of each person.
const MAX_EDGES: usize = 400;

/// The schedule of a spec at an instant, with the offsets that keep each running turn. `known` is what was seen before;
/// without it the turns are counted from the start.
pub fn observe(
    spec: &OnCallRotationSpec,
    known: Option<&ObservedSchedule>,
    now: Timestamp,
) -> ObservedSchedule {
    let mut observed = ObservedSchedule { time_zone: spec.time_zone.clone(), ..ObservedSchedule::default() };
    let before = known.map(as_spec).unwrap_or_default();
    for layer in &spec.layers {
        let place = before.layers.iter().position(|known| known.name == layer.name);
        let known = place.and_then(|place| {
            let offset = Offset::from(known?.layers.get(place)?);
            Some(Seen { time_zone: &before.time_zone, layer: before.layers.get(place)?, offset })
        });
        let seen = Seen { time_zone: &spec.time_zone, layer, offset: Offset::default() };
        let offset = match &layer.anchor {
            Some(anchor) => anchored(&seen, anchor).unwrap_or_default(),
            None => known.and_then(|known| kept(&seen, &known, now)).unwrap_or_default(),
        };
        observed.add(layer, offset);
    }
    observed
}

/// Whose next shift begins at another time than before: `bea: 2026-12-14 09:00 CET instead of 2026-12-07 09:00 CET`.
pub fn moved(before: &ObservedSchedule, after: &ObservedSchedule, now: Timestamp) -> Vec<String> {
    let compiled = |observed: &ObservedSchedule| Schedule::of_known(&as_spec(observed), observed, Vec::new());
    let (Ok(before), Ok(after)) = (compiled(before), compiled(after)) else { return Vec::new() };
    let (was, will) = (next_shifts(&before, now), next_shifts(&after, now));
    let local = |schedule: &Schedule, at: &Timestamp| {
        at.to_zoned(schedule.clock.zone().clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    };
    let names: BTreeSet<&String> = was.keys().chain(will.keys()).collect();
    let sentence = |name: &&String| match (was.get(*name), will.get(*name)) {
        (Some(was), Some(will)) if was == will => None,
        (Some(was), Some(will)) => {
            Some(format!("{name}: {} instead of {}", local(&after, will), local(&before, was)))
        }
        (None, Some(will)) => Some(format!("{name}: {}, new", local(&after, will))),
        (Some(was), None) => Some(format!("{name}: none instead of {}", local(&before, was))),
        (None, None) => None,
    };
    names.iter().filter_map(sentence).collect()
}

/// A layer in its time zone, and how far edits have moved its turns.
struct Seen<'a> {
    time_zone: &'a str,
    layer: &'a Layer,
    offset: Offset,
}

impl Seen<'_> {
    /// The layer without its people; `None` if it cannot be understood.
    fn compiled(&self) -> Option<(LocalClock, CompiledLayer)> {
        let clock = LocalClock::named(self.time_zone)?;
        let layer = CompiledLayer::new(self.layer, &clock, &BTreeMap::new(), self.offset)?;
        Some((clock, layer))
    }

    /// Whether the turns are numbered and filled alike.
    fn counts_like(&self, other: &Seen<'_>) -> bool {
        let pattern = |seen: &Seen<'_>| Layer { priority: 0, ..seen.layer.clone() };
        self.time_zone == other.time_zone && pattern(self) == pattern(other)
    }

    /// The turns with these indexes.
    fn turns(&self, indexes: &[usize]) -> Vec<&Turn> {
        indexes.iter().filter_map(|index| self.layer.turns.get(*index)).collect()
    }

    /// The offset by which the turn at `place` of the list of an instant has the number.
    fn offset(&self, place: usize, count: usize, number: i64, at: Timestamp) -> Option<Offset> {
        let places = length(place)?.saturating_sub(number).checked_rem_euclid(length(count)?)?;
        // The list is the same at any time unless turns join or leave.
        let dated = self.layer.turns.iter().any(|turn| turn.from.is_some() || turn.until.is_some());
        Some(Offset { places, time: dated.then(|| stored_time(at).0) })
    }
}

/// The offset that keeps the people of the running turn; `None` before the first turn.
fn kept(layer: &Seen<'_>, known: &Seen<'_>, now: Timestamp) -> Option<Offset> {
    if layer.counts_like(known) {
        return Some(known.offset);
    }
    let (clock, before) = known.compiled()?;
    let (listed, running) = before.place(&clock, now)?;
    let (clock, after) = layer.compiled()?;
    let number = after.number(&clock, now)?;
    let Some((new, _)) = after.place(&clock, now) else {
        // Nobody is listed now: whoever joins first begins.
        return layer.offset(0, 1, number, now);
    };
    // The running turn; if it is gone, the next in the old order that is still listed takes over now.
    let (old, new) = (known.turns(listed), layer.turns(new));
    let order = (running..old.len()).chain(0..running);
    let place = order
        .filter_map(|place| old.get(place).map(|turn| (place, turn)))
        .find_map(|(place, turn)| find(turn, place, &new));
    layer.offset(place.unwrap_or_default(), new.len(), number, now).filter(|_| place.is_some())
}

/// The offset by which the turn of a person runs at an instant, whatever was seen before.
fn anchored(layer: &Seen<'_>, anchor: &Anchor) -> Option<Offset> {
    let (clock, compiled) = layer.compiled()?;
    let at = clock.moment(&anchor.at)?;
    let number = compiled.number(&clock, at)?;
    let (listed, _) = compiled.place(&clock, at)?;
    let turns = layer.turns(listed);
    let place = turns.iter().position(|turn| turn.people.contains(&anchor.person))?;
    layer.offset(place, turns.len(), number, at)
}

/// The place of a turn in a list: that of the same people, else one that shares a person; of several the nearest.
fn find(turn: &Turn, place: usize, turns: &[&Turn]) -> Option<usize> {
    let people = |turn: &Turn| turn.people.iter().cloned().collect::<BTreeSet<String>>();
    let wanted = people(turn);
    let nearest = |holds: &dyn Fn(&BTreeSet<String>) -> bool| {
        let fitting = turns.iter().enumerate().filter(|(_, turn)| holds(&people(turn)));
        fitting.map(|(index, _)| index).min_by_key(|index| index.abs_diff(place))
    };
    nearest(&|found| *found == wanted).or_else(|| nearest(&|found| !found.is_disjoint(&wanted)))
}

fn length(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

impl From<&ObservedLayer> for Offset {
    fn from(layer: &ObservedLayer) -> Offset {
        Offset { places: i64::from(layer.offset), time: layer.offset_time.as_ref().map(|time| time.0) }
    }
}

impl ObservedSchedule {
    fn add(&mut self, layer: &Layer, offset: Offset) {
        let turns = layer.turns.iter().map(|turn| ObservedTurn {
            people: turn.people.iter().filter_map(|name| self.place(name)).collect(),
            from: turn.from.clone(),
            until: turn.until.clone(),
        });
        let turns: Vec<ObservedTurn> = turns.collect();
        self.layers.push(ObservedLayer {
            name: layer.name.clone(),
            priority: layer.priority,
            start: layer.start.clone(),
            effective_from: layer.effective_from.clone(),
            until: layer.until.clone(),
            shift: layer.shift.clone(),
            turns,
            restrictions: layer.restrictions.clone(),
            advance: layer.advance,
            anchor: layer.anchor.clone(),
            offset: i32::try_from(offset.places).unwrap_or_default(),
            offset_time: offset.time.map(stored_time),
        });
    }

    /// The place of a name in `people`, where it is added if it is new.
    fn place(&mut self, name: &str) -> Option<i32> {
        let known = self.people.iter().position(|known| known == name);
        let place = known.unwrap_or_else(|| {
            self.people.push(name.to_owned());
            self.people.len() - 1
        });
        i32::try_from(place).ok()
    }
}

/// An observed schedule as the spec that it was.
fn as_spec(observed: &ObservedSchedule) -> OnCallRotationSpec {
    let name = |place: &i32| observed.people.get(usize::try_from(*place).ok()?).cloned();
    let layers = observed.layers.iter().map(|layer| Layer {
        name: layer.name.clone(),
        priority: layer.priority,
        start: layer.start.clone(),
        effective_from: layer.effective_from.clone(),
        until: layer.until.clone(),
        shift: layer.shift.clone(),
        turns: layer
            .turns
            .iter()
            .map(|turn| Turn {
                people: turn.people.iter().filter_map(name).collect(),
                from: turn.from.clone(),
                until: turn.until.clone(),
            })
            .collect(),
        restrictions: layer.restrictions.clone(),
        advance: layer.advance,
        anchor: layer.anchor.clone(),
    });
    let people = observed.people.iter().map(|name| Person { name: name.clone(), ..Person::default() });
    OnCallRotationSpec {
        time_zone: observed.time_zone.clone(),
        people: people.collect(),
        layers: layers.collect(),
        ..OnCallRotationSpec::default()
    }
}

/// When each person's next shift begins; a shift that runs already does not count.
fn next_shifts(schedule: &Schedule, now: Timestamp) -> BTreeMap<String, Timestamp> {
    let mut found = BTreeMap::new();
    let mut on_duty: BTreeSet<usize> = schedule.at(now).keys().copied().collect();
    let edges = std::iter::successors(schedule.next_edge(now), |edge| schedule.next_edge(*edge));
    for edge in edges.take(MAX_EDGES) {
        let then: BTreeSet<usize> = schedule.at(edge).keys().copied().collect();
        for person in then.difference(&on_duty).filter_map(|place| schedule.people.get(*place)) {
            found.entry(person.clone()).or_insert(edge);
        }
        if found.len() == schedule.people.len() {
            break;
        }
        on_duty = then;
    }
    found
}

#[cfg(test)]
#[path = "running_turn_tests.rs"]
mod tests;
