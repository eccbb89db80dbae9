//! The schedule of a rotation: its layers are compiled once, and then answer for any instant. Pure.

pub mod duty;
pub mod local_time;
pub mod on_duty_set;
pub mod overrides;
pub mod restriction;
pub mod running_turn;
pub mod turn;
pub mod validate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::api::OnCallRotation;
use crate::api::oncall_rotation::{Advance, Layer, ObservedSchedule, OnCallRotationSpec, ShiftUnit};

use crate::oncall::schedule::local_time::{Existence, LocalClock, WallClock};
use crate::oncall::schedule::on_duty_set::{OnDutySet, Source};
use crate::oncall::schedule::overrides::Override;
use crate::oncall::schedule::restriction::{ActiveDays, Window, Windows};
use crate::oncall::schedule::turn::Turns;
use crate::oncall::schedule::validate::Problem;

/// A compiled rotation.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The rotation's time zone.
    pub clock: LocalClock,
    /// Names in the order of `spec.people`; everything else refers to a person by the index here.
    pub people: Vec<String>,
    layers: Vec<CompiledLayer>,
    overrides: Vec<Override>,
}

#[derive(Clone, Debug)]
struct CompiledLayer {
    priority: i32,
    start: Timestamp,
    turns: Turns,
    windows: Windows,
    people: Vec<BTreeSet<usize>>,
    /// Turn number k is the one at place k + offset.
    offset: i64,
    /// Whether none of its windows ever opens.
    never: bool,
}

impl Schedule {
    /// Compiles a rotation with its overrides, in ascending precedence.
    ///
    /// # Errors
    /// The problems of the rotation, as [`validate::problems`] lists them.
    pub fn new(spec: &OnCallRotationSpec, overrides: Vec<Override>) -> Result<Schedule, Vec<Problem>> {
        let problems = validate::problems(spec);
        if !problems.is_empty() {
            return Err(problems);
        }
        let schedule = Schedule::of_known(spec, &ObservedSchedule::default(), overrides)?;
        if schedule.layers.len() < spec.layers.len() {
            return Err(not_understood("spec.layers"));
        }
        Ok(schedule)
    }

    /// Compiles the valid part of a rotation, so that one mistake leaves the other turns and layers on duty. Unknown
    /// people in turns and layers with invalid times are skipped. Of two people of one name the first counts; two layers
    /// of one name are both on duty. `observed` says how far edits have moved the turns of each layer.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn of_known(
        spec: &OnCallRotationSpec,
        observed: &ObservedSchedule,
        overrides: Vec<Override>,
    ) -> Result<Schedule, Vec<Problem>> {
        let clock = LocalClock::named(&spec.time_zone).ok_or_else(|| not_understood("spec.timeZone"))?;
        let people: Vec<String> = spec.people.iter().map(|person| person.name.clone()).collect();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, name) in people.iter().enumerate() {
            places.entry(name.as_str()).or_insert(place);
        }
        let offset = |index: usize| observed.layers.get(index).map_or(0, |layer| i64::from(layer.offset));
        let layers = spec.layers.iter().enumerate();
        let layers = layers
            .filter_map(|(index, layer)| CompiledLayer::new(layer, &clock, &places, offset(index)))
            .collect();
        Ok(Schedule { clock, people, layers, overrides })
    }

    /// Compiles a rotation as it is at an instant: the turn that ran when it was edited stays until its end, whether the
    /// operator has seen the edit yet or not.
    ///
    /// # Errors
    /// An unknown time zone.
    pub fn of_rotation(
        rotation: &OnCallRotation,
        overrides: Vec<Override>,
        at: Timestamp,
    ) -> Result<Schedule, Vec<Problem>> {
        let known = rotation.status.as_ref().and_then(|status| status.schedule.as_ref());
        let observed = running_turn::observe(&rotation.spec, known, at);
        Schedule::of_known(&rotation.spec, &observed, overrides)
    }

    /// The same rotation with other overrides.
    pub fn with_overrides(&self, overrides: Vec<Override>) -> Schedule {
        Schedule { overrides, ..self.clone() }
    }

    /// Who is on duty at an instant.
    pub fn at(&self, at: Timestamp) -> OnDutySet {
        let mut people = self.layers_at(at);
        overrides::apply(&self.overrides, at, &mut people);
        people
    }

    /// The next instant at which anything may change.
    pub fn next_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.next(&self.clock, at));
        let overrides = self.overrides.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge > at);
        layers.chain(overrides).min()
    }

    /// The last instant, `at` included, at which anything may have changed.
    pub fn previous_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let layers = self.layers.iter().filter_map(|layer| layer.previous(&self.clock, at));
        let overrides = self.overrides.iter().flat_map(|s| [s.start, s.end]).filter(|edge| *edge <= at);
        layers.chain(overrides).max()
    }

    /// The people of the layers before overrides: of all layers with a person on duty, those of the highest priority.
    fn layers_at(&self, at: Timestamp) -> OnDutySet {
        let mut on_duty = OnDutySet::default();
        let mut highest = i32::MIN;
        for (index, layer) in self.layers.iter().enumerate() {
            let Some((turn, people)) = layer.at(&self.clock, at) else { continue };
            if layer.priority > highest {
                highest = layer.priority;
                on_duty.clear();
            }
            if layer.priority == highest {
                for person in people {
                    on_duty.entry(*person).or_default().insert(Source::Turn(index, turn));
                }
            }
        }
        on_duty
    }
}

fn not_understood(path: &str) -> Vec<Problem> {
    vec![Problem { path: path.to_owned(), message: "cannot be understood".to_owned() }]
}

impl CompiledLayer {
    /// `None` if its times are invalid.
    fn new(
        layer: &Layer,
        clock: &LocalClock,
        places: &BTreeMap<&str, usize>,
        offset: i64,
    ) -> Option<CompiledLayer> {
        let (local, start) = start(layer, clock)?;
        let reading = WallClock::of(local).ok()?;
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
        Some(CompiledLayer { priority: layer.priority, start, turns, windows, people, offset, never })
    }

    /// The number of the turn and its people; `None` while the layer has no person on duty.
    fn at(&self, clock: &LocalClock, at: Timestamp) -> Option<(i64, &BTreeSet<usize>)> {
        if at < self.start || self.never || !self.windows.open(clock.reading(at)) {
            return None;
        }
        let number = self.turns.number(clock, at);
        let place =
            number.checked_add(self.offset)?.checked_rem_euclid(i64::try_from(self.people.len()).ok()?)?;
        let people = self.people.get(usize::try_from(place).ok()?)?;
        (!people.is_empty()).then_some((number, people))
    }

    /// The number of the turn, whether a window is open or not; `None` before the first turn.
    fn number(&self, clock: &LocalClock, at: Timestamp) -> Option<i64> {
        (at >= self.start && !self.never).then(|| self.turns.number(clock, at))
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

/// Start of a layer as local time and as instant; `None` if the local time does not exist exactly once and carries no
/// offset.
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
