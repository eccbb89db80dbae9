//! Who is on duty, found by walking: a second implementation that shares no code with the product. It knows nothing of
//! turn numbers or of closed forms: it takes one step of a quarter of an hour after the other and does what happens then.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Time, Weekday as Day};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use mayday::api::oncall_override::{Answer, OnCallOverrideSpec};
use mayday::api::oncall_rotation::{
    Advance, Layer, OnCallRotationSpec, Person, Restriction, ShiftUnit, Turn, Weekday,
};

/// One step.
pub const STEP: SignedDuration = SignedDuration::from_mins(15);

/// Names on duty.
pub type Names = BTreeSet<String>;

/// Who is on duty at every step from one instant to another. `overrides` are in ascending precedence. Every layer begins
/// on a whole step.
pub fn walk(
    spec: &OnCallRotationSpec,
    zone: &TimeZone,
    overrides: &[OnCallOverrideSpec],
    from: Timestamp,
    to: Timestamp,
) -> Vec<(Timestamp, Names)> {
    let mut layers: Vec<Walker<'_>> = spec.layers.iter().map(|layer| Walker::new(layer, zone)).collect();
    let begin = layers.iter().map(|layer| layer.start).chain([from]).min().unwrap();
    let mut found = Vec::new();
    let mut at = begin;
    while at < to {
        for layer in &mut layers {
            layer.step(at);
        }
        if at >= from {
            found.push((at, on_duty(spec, zone, &layers, overrides, at)));
        }
        at += STEP;
    }
    found
}

fn on_duty(
    spec: &OnCallRotationSpec,
    zone: &TimeZone,
    layers: &[Walker<'_>],
    overrides: &[OnCallOverrideSpec],
    at: Timestamp,
) -> Names {
    let mut names = Names::new();
    let mut priority = None;
    for layer in layers {
        let people = layer.people(&spec.people, zone, at);
        if people.is_empty() || priority.is_some_and(|highest| layer.layer.priority < highest) {
            continue;
        }
        if priority.is_none_or(|highest| layer.layer.priority > highest) {
            names.clear();
        }
        priority = Some(layer.layer.priority);
        names.extend(people);
    }
    let holding: Vec<&OnCallOverrideSpec> =
        overrides.iter().filter(|o| o.start_time.0 <= at && at < o.end_time.0).collect();
    let mut result = Names::new();
    for name in &names {
        let mut stays = name.clone();
        let mut gone = false;
        for entry in &holding {
            if let Some(replace) = entry.replace.as_ref().filter(|replace| replace.person == *name) {
                (stays, gone) = (replace.by.clone(), false);
            }
            let taken = entry.swap.as_ref().filter(|swap| swap.answer == Some(Answer::Taken));
            if let Some(swap) = taken.filter(|swap| swap.person == *name) {
                (stays, gone) = (swap.by.clone(), false);
            }
            if entry.remove.as_ref().is_some_and(|remove| remove.person == *name) {
                gone = true;
            }
        }
        if !gone {
            result.insert(stays);
        }
    }
    for entry in &holding {
        if let Some(all) = &entry.replace_all {
            result = all.by.iter().cloned().collect();
        }
        if entry.clear.is_some() {
            result.clear();
        }
    }
    for add in holding.iter().filter_map(|entry| entry.add.as_ref()) {
        result.insert(add.person.clone());
    }
    result
}

/// A layer on its way through time.
struct Walker<'a> {
    layer: &'a Layer,
    zone: TimeZone,
    start: Timestamp,
    first: DateTime,
    /// The latest local time reached.
    reached: DateTime,
    /// How many handoffs were passed.
    handoffs: i64,
    /// Only with active days: the day since the start, and how many active ones began.
    day: i64,
    active: i64,
    /// Indexes of the turns in the list, and the one that runs.
    list: Vec<usize>,
    running: Option<usize>,
    begun: bool,
}

impl<'a> Walker<'a> {
    fn new(layer: &'a Layer, zone: &TimeZone) -> Walker<'a> {
        let first: DateTime = layer.start.parse().unwrap();
        let start = instant(&layer.start, zone);
        Walker {
            layer,
            zone: zone.clone(),
            start,
            first,
            reached: first,
            handoffs: 0,
            day: 0,
            active: 0,
            list: Vec::new(),
            running: None,
            begun: false,
        }
    }

    fn step(&mut self, at: Timestamp) {
        if at < self.start {
            return;
        }
        self.reached = self.reached.max(self.zone.to_datetime(at));
        let mut passed = 0;
        if self.by_active_days() {
            if !self.begun {
                self.active = i64::from(self.is_active(0));
            }
            while self.reached >= self.first + (self.day + 1).days() {
                self.day += 1;
                if self.is_active(self.day) {
                    self.active += 1;
                    if self.active > 1 && (self.active - 1) % self.days() == 0 {
                        passed += 1;
                    }
                }
            }
        } else {
            while self.has_begun(self.handoffs + passed + 1, at) {
                passed += 1;
            }
        }
        self.handoffs += passed;
        self.hand_over(at, passed);
        self.begun = true;
    }

    /// Passes the duty on, after the list has changed if it does now.
    fn hand_over(&mut self, at: Timestamp, handoffs: i64) {
        let turns = self.layer.turns.iter().enumerate();
        let list: Vec<usize> =
            turns.filter(|(_, turn)| self.is_listed(turn, at)).map(|(index, _)| index).collect();
        let old = std::mem::replace(&mut self.list, list);
        let Some(running) = self.running.filter(|_| self.begun) else {
            self.running = self.list.first().copied();
            return;
        };
        if self.list.contains(&running) {
            for _ in 0..handoffs {
                let place = self.list.iter().position(|turn| *turn == self.running.unwrap()).unwrap();
                self.running = Some(self.list[(place + 1) % self.list.len()]);
            }
            return;
        }
        // The running turn has left: the next one in the old order.
        let place = old.iter().position(|turn| *turn == running).unwrap();
        let mut next = (1..=old.len()).map(|step| old[(place + step) % old.len()]);
        self.running = next.find(|turn| self.list.contains(turn)).or(self.list.first().copied());
    }

    fn is_listed(&self, turn: &Turn, at: Timestamp) -> bool {
        turn.from.as_ref().is_none_or(|from| instant(from, &self.zone) <= at)
            && turn.until.as_ref().is_none_or(|until| at < instant(until, &self.zone))
    }

    /// Whether hours are counted as they pass, and not on the clock.
    fn by_elapsed_hours(&self) -> bool {
        let length = self.layer.shift.length;
        self.layer.shift.unit == ShiftUnit::Hours && 24 % length != 0 && length % 24 != 0
    }

    fn by_active_days(&self) -> bool {
        self.layer.advance == Advance::Active
            && matches!(self.layer.shift.unit, ShiftUnit::Days | ShiftUnit::Hours)
    }

    fn days(&self) -> i64 {
        let length = i64::from(self.layer.shift.length);
        if self.layer.shift.unit == ShiftUnit::Hours { length / 24 } else { length }
    }

    /// The local time at which a turn begins.
    fn begin(&self, number: i64) -> DateTime {
        let count = number * i64::from(self.layer.shift.length);
        match self.layer.shift.unit {
            _ if self.by_active_days() => {
                let mut days = (0..).filter(|day| self.is_active(*day));
                self.first + days.nth((number * self.days()) as usize).unwrap().days()
            }
            ShiftUnit::Hours => self.first + count.hours(),
            ShiftUnit::Days => self.first + count.days(),
            ShiftUnit::Weeks => self.first + count.weeks(),
            ShiftUnit::Months => self.first + count.months(),
        }
    }

    fn has_begun(&self, number: i64, at: Timestamp) -> bool {
        if self.by_elapsed_hours() {
            let hours = number * i64::from(self.layer.shift.length);
            return at >= self.start + SignedDuration::from_hours(hours);
        }
        self.reached >= self.begin(number)
    }

    /// Whether a window opens within a day that begins at the time of the start.
    fn is_active(&self, day: i64) -> bool {
        let (begin, end) = (self.first + day.days(), self.first + (day + 1).days());
        let dates = [begin.date(), end.date()];
        self.layer.restrictions.is_empty()
            || self.layer.restrictions.iter().any(|window| {
                dates.iter().filter(|date| opens_on(window, date.weekday())).any(|date| {
                    let opens = date.to_datetime(time(&window.from));
                    begin <= opens && opens < end
                })
            })
    }

    fn people(&self, people: &[Person], zone: &TimeZone, at: Timestamp) -> Names {
        let text = |text: &Option<String>| text.as_ref().map(|text| instant(text, zone));
        let silent = text(&self.layer.effective_from).is_some_and(|from| at < from)
            || text(&self.layer.until).is_some_and(|until| until <= at);
        let Some(running) =
            self.running.filter(|_| self.begun && !silent && self.is_open() && self.in_duty(at))
        else {
            return Names::new();
        };
        if self.layer.turns[running].people.is_empty() {
            return Names::new();
        }
        let place = self.list.iter().position(|turn| *turn == running).unwrap();
        for step in 0..self.list.len() {
            let turn = &self.layer.turns[self.list[(place + step) % self.list.len()]];
            let there: Names = turn
                .people
                .iter()
                .filter(|name| {
                    let person = people.iter().find(|person| person.name == **name).unwrap();
                    !person
                        .away
                        .iter()
                        .any(|away| instant(&away.from, zone) <= at && at < instant(&away.until, zone))
                })
                .cloned()
                .collect();
            if !there.is_empty() {
                return there;
            }
        }
        Names::new()
    }

    fn in_duty(&self, at: Timestamp) -> bool {
        let Some(duty) = &self.layer.shift.duty else { return true };
        if self.by_elapsed_hours() {
            let hours = self.handoffs * i64::from(self.layer.shift.length);
            return at < self.start + SignedDuration::from_hours(hours) + duty.get();
        }
        if self.by_active_days() && !(0..8).any(|day| self.is_active(day)) {
            return true;
        }
        self.reached < self.begin(self.handoffs) + duty.get()
    }

    fn is_open(&self) -> bool {
        let windows = &self.layer.restrictions;
        if windows.is_empty() {
            return true;
        }
        windows.iter().any(|window| {
            (0..9).map(|back| self.reached.date() - back.days()).any(|date| {
                if !opens_on(window, date.weekday()) {
                    return false;
                }
                let opens = date.to_datetime(time(&window.from));
                let mut closes = date.to_datetime(time(&window.to));
                while closes <= opens || window.to_day.is_some_and(|close| day(close) != closes.weekday()) {
                    closes += 1.day();
                }
                opens <= self.reached && self.reached < closes
            })
        })
    }
}

fn opens_on(window: &Restriction, weekday: Day) -> bool {
    window.days.is_empty() || window.days.iter().any(|open| day(*open) == weekday)
}

fn day(weekday: Weekday) -> Day {
    match weekday {
        Weekday::Mon => Day::Monday,
        Weekday::Tue => Day::Tuesday,
        Weekday::Wed => Day::Wednesday,
        Weekday::Thu => Day::Thursday,
        Weekday::Fri => Day::Friday,
        Weekday::Sat => Day::Saturday,
        Weekday::Sun => Day::Sunday,
    }
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// The instant of a local time that exists once.
fn instant(text: &str, zone: &TimeZone) -> Timestamp {
    zone.to_timestamp(text.parse().unwrap()).unwrap()
}
