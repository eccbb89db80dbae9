//! The schedule of a rotation: its layers compiled once, asked for any instant. Pure.

pub mod duty;
pub mod local_time;
pub mod overrides;
pub mod restriction;
pub mod turn;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::api::oncall_rotation::{Advance, Layer, OnCallRotationSpec, ShiftUnit};

use crate::oncall::schedule::local_time::{Existence, LocalClock, Reading};
use crate::oncall::schedule::overrides::StandIn;
use crate::oncall::schedule::restriction::{ActiveDays, Window, Windows};
use crate::oncall::schedule::turn::Turns;
use crate::oncall::schedule::validate::Problem;

/// A rotation, ready to be asked.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The rotation's time zone.
    pub clock: LocalClock,
    /// Names of the people, in the rotation's order; everything else speaks of them by their place.
    pub people: Vec<String>,
    layers: Vec<CompiledLayer>,
    stand_ins: Vec<StandIn>,
}

#[derive(Clone, Debug)]
struct CompiledLayer {
    priority: i32,
    start: Timestamp,
    turns: Turns,
    windows: Windows,
    people: Vec<BTreeSet<usize>>,
    /// A layer none of whose windows ever opens.
    never: bool,
}

/// Who is on duty at an instant, by their place in the rotation's people, and what put them there.
pub type Cell = BTreeMap<usize, BTreeSet<Source>>;

/// What puts people on duty.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// That turn of that layer.
    Turn(usize, i64),
    /// That override.
    StandIn(usize),
}

impl Schedule {
    /// Compiles a rotation. `stand_ins` are its overrides, the weightier later.
    ///
    /// # Errors
    /// What is wrong with the rotation; the same list as [`validate::problems`].
    pub fn new(spec: &OnCallRotationSpec, stand_ins: Vec<StandIn>) -> Result<Schedule, Vec<Problem>> {
        let problems = validate::problems(spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        let schedule = Schedule::of_known(spec, stand_ins)?;
        if schedule.layers.len() < spec.layers.len() {
            return Err(not_understood("spec.layers"));
        }
        Ok(schedule)
    }

    /// As much of a rotation as can be understood: without the people in turns whom it does not know, and without layers
    /// whose times say nothing. A slip of the pen leaves the other turns and layers on duty. Of two people of one name
    /// the first counts; two layers of one name are both on duty.
    ///
    /// # Errors
    /// That the time zone is unknown: without one nothing can be said.
    pub fn of_known(spec: &OnCallRotationSpec, stand_ins: Vec<StandIn>) -> Result<Schedule, Vec<Problem>> {
        let clock = LocalClock::named(&spec.time_zone).ok_or_else(|| not_understood("spec.timeZone"))?;
        let people: Vec<String> = spec.people.iter().map(|person| person.name.clone()).collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, name) in people.iter().enumerate() {
            places.entry(name.as_str()).or_insert(place);
        }
        let layers =
            spec.layers.iter().filter_map(|layer| CompiledLayer::new(layer, &clock, &places)).collect();
        Ok(Schedule { clock, people, layers, stand_ins })
    }

    /// The same rotation with other overrides.
    pub fn with(&self, stand_ins: Vec<StandIn>) -> Schedule {
        Schedule { stand_ins, ..self.clone() }
    }

    /// Who is on duty at an instant.
    pub fn at(&self, at: Timestamp) -> Cell {
        let mut people = self.layers_at(at);
        overrides::apply(&self.stand_ins, at, &mut people);
        people
    }

    /// The next instant at which anything may change.
    pub fn next_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.next(&self.clock, at));
        let stand_ins = self.stand_ins.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge > at);
        layers.chain(stand_ins).min()
    }

    /// The last instant up to this one at which anything may have changed.
    pub fn previous_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.previous(&self.clock, at));
        let stand_ins = self.stand_ins.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge <= at);
        layers.chain(stand_ins).max()
    }

    /// The layers alone: of those with somebody on duty, the ones of the highest priority.
    fn layers_at(&self, at: Timestamp) -> Cell {
        let mut cell = Cell::default();
        let mut highest = i32::MIN;
        for (index, layer) in self.layers.iter().enumerate() {
            let Some((turn, people)) = layer.at(&self.clock, at) else { continue };
            if layer.priority > highest {
                highest = layer.priority;
                cell.clear();
            }
            if layer.priority == highest {
                for person in people {
                    cell.entry(*person).or_default().insert(Source::Turn(index, turn));
                }
            }
        }
        cell
    }
}

fn not_understood(path: &str) -> Vec<Problem> {
    vec![Problem { path: path.to_owned(), message: "cannot be understood".to_owned() }]
}

impl CompiledLayer {
    /// `None` if its times say nothing.
    fn new(layer: &Layer, clock: &LocalClock, places: &BTreeMap<&str, usize>) -> Option<CompiledLayer> {
        let (local, start) = start(layer, clock)?;
        let reading = Reading::of(local).ok()?;
        let windows = Windows(layer.restrictions.iter().map(Window::new).collect::<Option<_>>()?);
        let active = (layer.advance == Advance::Active).then(|| ActiveDays::new(reading, &windows));
        let never = active == Some(None);
        let turns = match active.flatten() {
            Some(days) if layer.shift.unit == ShiftUnit::Days => {
                Turns::Active { start: reading, length: i64::from(layer.shift.length.max(1)), days }
            }
            _ => Turns::new(&layer.shift, local, reading, start),
        };
        let people = layer
            .turns
            .iter()
            .map(|turn| turn.people.iter().filter_map(|name| places.get(name.as_str()).copied()).collect())
            .collect();
        Some(CompiledLayer { priority: layer.priority, start, turns, windows, people, never })
    }

    /// The turn and its people, if there are any.
    fn at(&self, clock: &LocalClock, at: Timestamp) -> Option<(i64, &BTreeSet<usize>)> {
        if at < self.start || self.never || !self.windows.open(clock.reading(at)) {
            return None;
        }
        let number = self.turns.number(clock, at);
        let place = number.checked_rem_euclid(i64::try_from(self.people.len()).ok()?)?;
        let people = self.people.get(usize::try_from(place).ok()?)?;
        (!people.is_empty()).then_some((number, people))
    }

    fn next(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        if at < self.start {
            return Some(self.start);
        }
        let window = self.windows.next(clock.reading(at)).and_then(|edge| clock.first(edge));
        self.turns.next(clock, at).into_iter().chain(window).filter(|edge| *edge > at).min()
    }

    fn previous(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        if at < self.start {
            return None;
        }
        let window = self.windows.previous(clock.reading(at)).and_then(|edge| clock.first(edge));
        let edge = self.turns.previous(clock, at).into_iter().chain(window).filter(|edge| *edge <= at).max();
        Some(edge.map_or(self.start, |edge| edge.max(self.start)))
    }
}

/// Where a layer begins, on the wall and in fact; `None` if that local time does not exist exactly once and no
/// offset says which is meant.
pub fn start(layer: &Layer, clock: &LocalClock) -> Option<(DateTime, Timestamp)> {
    if let Ok(instant) = offset_start(&layer.start) {
        return Some((instant.to_zoned(clock.zone().clone()).datetime(), instant));
    }
    let local: DateTime = layer.start.parse().ok()?;
    match clock.existence(local) {
        Existence::Once(instant) => Some((local, instant)),
        Existence::Never | Existence::Twice => None,
    }
}

fn offset_start(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse()
}
