//! One layer of a rotation, compiled: whose turn runs at an instant, and when that may change. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::oncall_rotation::{Advance, Layer, ShiftUnit};

use super::absences::Absences;
use super::local_time::{LocalClock, WallClock};
use super::order::{Listed, Order};
use super::restriction::{ActiveDays, Window, Windows};
use super::turn::Turns;

/// A compiled layer.
#[derive(Clone, Debug)]
pub struct CompiledLayer {
    /// Name of the layer.
    pub name: String,
    /// Of the layers with a person on duty, those of the highest priority count.
    pub priority: i32,
    /// Start of turn 0.
    start: Timestamp,
    /// From when on it has people on duty.
    from: Timestamp,
    /// Until when it has people on duty.
    until: Option<Timestamp>,
    turns: Turns,
    /// Seconds after each handoff with people on duty; `None`: the whole turn.
    duty: Option<i64>,
    windows: Windows,
    /// The people of each turn, by index in `spec.people`.
    people: Vec<BTreeSet<usize>>,
    order: Order,
    /// Whether none of its windows ever opens.
    never: bool,
}

/// How far edits have moved the turns of a layer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offset {
    /// Turn number k is the one at place k + offset of the list.
    pub places: i64,
    /// When that was so; `None`: at the start of the layer.
    pub time: Option<Timestamp>,
}

/// Seconds of a week.
const WEEK: i64 = 7 * 86_400;

fn gcd(one: i64, other: i64) -> i64 {
    if other == 0 { one.max(1) } else { gcd(other, one % other) }
}

impl CompiledLayer {
    /// Compiles a layer; `places` has the index of each known person. `None` if its start or a window is invalid; other
    /// invalid times count as absent.
    pub fn new(
        layer: &Layer,
        clock: &LocalClock,
        places: &BTreeMap<&str, usize>,
        offset: Offset,
    ) -> Option<CompiledLayer> {
        let (local, start) = clock.read(&layer.start)?;
        let reading = WallClock::of(local).ok()?;
        let windows = Windows(layer.restrictions.iter().map(Window::new).collect::<Option<_>>()?);
        let days = match (layer.advance, layer.shift.unit) {
            (Advance::Active, ShiftUnit::Days) => Some(i64::from(layer.shift.length)),
            (Advance::Active, ShiftUnit::Hours) if layer.shift.length % 24 == 0 => {
                Some(i64::from(layer.shift.length / 24))
            }
            // Every week and every month has a day on which a window opens.
            _ => None,
        };
        let active = days.map(|days| (days.max(1), ActiveDays::new(reading, &windows)));
        let never = matches!(active, Some((_, None)));
        let turns = match active {
            Some((length, Some(days))) => Turns::Active { start: reading, length, days },
            _ => Turns::new(&layer.shift, local, reading, start),
        };
        let moment = |text: &Option<String>| text.as_ref().and_then(|text| clock.moment(text));
        let listed =
            layer.turns.iter().map(|turn| Listed { from: moment(&turn.from), until: moment(&turn.until) });
        let counted = offset.time.unwrap_or(start);
        let order =
            Order::new(&listed.collect::<Vec<_>>(), counted, offset.places, |at| turns.number(clock, at));
        let known = |name: &String| places.get(name.as_str()).copied();
        let people = layer.turns.iter().map(|turn| turn.people.iter().filter_map(known).collect());
        let duty = layer.shift.duty.as_ref().map(|duty| duty.get().as_secs()).filter(|seconds| *seconds > 0);
        Some(CompiledLayer {
            name: layer.name.clone(),
            priority: layer.priority,
            start,
            from: moment(&layer.effective_from).map_or(start, |from| from.max(start)),
            until: moment(&layer.until),
            duty,
            windows,
            people: people.collect(),
            order,
            never,
            turns,
        })
    }

    /// The number of the turn and its people; `None` while the layer has no person on duty. While everybody of the turn is
    /// away, the next turn with somebody stands in.
    pub fn at(&self, clock: &LocalClock, absences: &Absences, at: Timestamp) -> Option<(i64, Vec<usize>)> {
        if at < self.from || self.until.is_some_and(|until| until <= at) || self.never {
            return None;
        }
        if !self.windows.open(clock.reading(at)) {
            return None;
        }
        let number = self.turns.number(clock, at);
        if self.duty_end(clock, number).is_some_and(|end| end <= at) {
            return None;
        }
        let mut turns = self.order.following(at, number).filter_map(|turn| self.people.get(turn));
        let running = turns.next().filter(|people| !people.is_empty())?;
        let there = |people: &BTreeSet<usize>| -> Vec<usize> {
            people.iter().copied().filter(|person| !absences.away(*person, at)).collect()
        };
        let mut present = std::iter::once(running).chain(turns).map(there);
        Some((number, present.find(|people| !people.is_empty())?))
    }

    /// The number of the turn, whether a window is open or not; `None` before the first turn.
    pub fn number(&self, clock: &LocalClock, at: Timestamp) -> Option<i64> {
        (at >= self.start && !self.never).then(|| self.turns.number(clock, at))
    }

    /// The list of turns at an instant, and the place in it of the turn that runs.
    pub fn place(&self, clock: &LocalClock, at: Timestamp) -> Option<(&[usize], usize)> {
        self.order.place(at, self.number(clock, at)?)
    }

    /// The next handoff, whether a window is open or not.
    pub fn next_handoff(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        if at < self.start { Some(self.start) } else { self.turns.next(clock, at) }
    }

    /// The next instant at which its people may change.
    pub fn next(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        if at < self.from {
            return Some(self.from);
        }
        if self.until.is_some_and(|until| until <= at) {
            return None;
        }
        let window = self.windows.next(clock.reading(at)).and_then(|edge| clock.first(edge));
        let duty = self.duty_end(clock, self.turns.number(clock, at));
        let edges = [self.turns.next(clock, at), window, duty, self.until].into_iter().flatten();
        edges.chain(self.order.changes()).filter(|edge| *edge > at).min()
    }

    /// The last instant, `at` included, at which its people may have changed.
    pub fn previous(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        if at < self.from {
            return None;
        }
        if let Some(until) = self.until.filter(|until| *until <= at) {
            return Some(until);
        }
        let window = self.windows.previous(clock.reading(at)).and_then(|edge| clock.first(edge));
        let duty = self.duty_end(clock, self.turns.number(clock, at));
        let edges = [self.turns.previous(clock, at), window, duty].into_iter().flatten();
        let edge = edges.chain(self.order.changes()).filter(|edge| *edge <= at).max();
        Some(edge.map_or(self.from, |edge| edge.max(self.from)))
    }

    /// The turns, by index, in which no window ever opens. Which days a turn covers repeats after some weeks.
    pub fn idle(&self, clock: &LocalClock, at: Timestamp) -> Vec<usize> {
        let (start, length, slack) = match &self.turns {
            Turns::Wall { start, length } => (*start, *length, 0),
            // These move by an hour when the clocks change.
            Turns::Elapsed { start, length } => (clock.reading(*start), *length, 3600),
            Turns::Months { .. } | Turns::Active { .. } => return Vec::new(),
        };
        let Some((listed, running)) = self.place(clock, at) else { return Vec::new() };
        let number = self.turns.number(clock, at);
        let count = listed.len() as i64;
        let on_duty = self.duty.unwrap_or(length).min(length);
        let round = count * length;
        let rounds = WEEK / gcd(round, WEEK);
        let opens = |place: usize| {
            let first = number + place as i64 - running as i64;
            (0..rounds).any(|round| {
                let begin = start.0 + (first + round * count) * length;
                self.windows.open_within(WallClock(begin - slack), WallClock(begin + on_duty + slack))
            })
        };
        (0..listed.len())
            .filter(|place| !opens(*place))
            .filter_map(|place| listed.get(place).copied())
            .collect()
    }

    /// The people of all turns.
    pub fn everybody(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.people
            .iter()
            .enumerate()
            .flat_map(|(turn, people)| people.iter().map(move |person| (turn, *person)))
    }

    /// When the people of a turn go off duty before its end.
    fn duty_end(&self, clock: &LocalClock, number: i64) -> Option<Timestamp> {
        self.turns.after_begin(clock, number, self.duty?)
    }
}
