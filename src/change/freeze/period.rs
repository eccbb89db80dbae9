//! When a freeze is in force: once, or every week in a time zone. Pure.
//!
//! In doubt a freeze stops more: where the clocks are set back over its end, it ends at the second of both instants.
//! A time that does not exist, because the clocks are set forward over it, is the instant at which they are.

use jiff::Timestamp;

use crate::api::freeze::{FreezeSchedule, FreezeSpec, WeeklyTime};
use crate::api::oncall_rotation::Weekday;
use crate::oncall::schedule::local_time::{DAY, LocalClock, WallClock};

/// Seconds of a week in local time.
const WEEK: i64 = 7 * DAY;
/// Day 0, 1970-01-01, was a Thursday: the fourth day of a week that begins on Monday.
const FIRST_DAY: i64 = 3;
/// How many weeks before and after the present one are looked at: a period lasts less than a week, and touching
/// periods are one.
const WEEKS: std::ops::RangeInclusive<i64> = -3..=3;

/// One time in which a freeze is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    /// When it begins; `None`: with the creation of the freeze.
    pub start: Option<Timestamp>,
    /// When it ends, exclusive.
    pub end: Timestamp,
}

/// The times of a freeze, as seen from an instant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Times {
    /// The period that the instant is in.
    pub current: Option<Period>,
    /// The first period that begins later.
    pub next: Option<Period>,
}

/// The times of a freeze, as seen from `now`.
///
/// # Errors
/// Why they cannot be told, with the field. The API server refuses such a freeze; a stored one is in force until it is
/// corrected, because unknown means no.
pub fn times(spec: &FreezeSpec, now: Timestamp) -> Result<Times, String> {
    match (&spec.schedule, &spec.end_time) {
        (Some(schedule), _) => Ok(Weekly::new(schedule)?.times(now)),
        (None, Some(end)) => Ok(once(spec.start_time.as_ref().map(|start| start.0), end.0, now)),
        (None, None) => Err("spec: neither endTime nor schedule can be read".to_owned()),
    }
}

fn once(start: Option<Timestamp>, end: Timestamp, now: Timestamp) -> Times {
    let period = Some(Period { start, end });
    match () {
        () if end <= now => Times::default(),
        () if start.is_some_and(|start| now < start) => Times { current: None, next: period },
        () => Times { current: period, next: None },
    }
}

/// A freeze that repeats every week, with its times as seconds since Monday 00:00 local time.
#[derive(Clone, Debug)]
pub struct Weekly {
    clock: LocalClock,
    from: i64,
    /// Length on the clock; more than nothing and less than a week.
    length: i64,
}

impl Weekly {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Which field cannot be understood, and why.
    pub fn new(schedule: &FreezeSchedule) -> Result<Weekly, String> {
        let clock = LocalClock::named(&schedule.time_zone).ok_or_else(|| {
            format!(
                "spec.schedule.timeZone: {:?} is no IANA time zone; write one such as Europe/Berlin",
                schedule.time_zone
            )
        })?;
        let second = |field: &str, time: &WeeklyTime| {
            second(time).ok_or_else(|| {
                format!(
                    "spec.schedule.{field}.time: {:?} is no time of day; write one such as 16:00",
                    time.time
                )
            })
        };
        let from = second("from", &schedule.from)?;
        let length = (second("until", &schedule.until)? - from).rem_euclid(WEEK);
        if length == 0 {
            return Err("spec.schedule.until: it is the same time as from".to_owned());
        }
        Ok(Weekly { clock, from, length })
    }

    /// Whether this one is in force on the clock whenever `other` is. The time zones are not compared.
    pub fn holds(&self, other: &Weekly) -> bool {
        (other.from - self.from).rem_euclid(WEEK) + other.length <= self.length
    }

    fn times(&self, now: Timestamp) -> Times {
        let today = self.clock.reading(now).day();
        let monday = today - (today + FIRST_DAY).rem_euclid(7);
        let mut times = Times::default();
        for period in joined(WEEKS.filter_map(|week| self.period(monday + week * 7))) {
            let (start, end) = period;
            let period = Period { start: Some(start), end };
            if start <= now && now < end {
                times.current = Some(period);
            } else if now < start && times.next.is_none() {
                times.next = Some(period);
            }
        }
        times
    }

    /// Its period in the week of a Monday, by the number of that day; `None` if the clocks skip all of it.
    fn period(&self, monday: i64) -> Option<(Timestamp, Timestamp)> {
        let from = monday * DAY + self.from;
        let start = self.clock.first(WallClock(from))?;
        let end = self.clock.last(WallClock(from + self.length))?;
        (start < end).then_some((start, end))
    }
}

/// Periods in order, those that touch as one.
fn joined(periods: impl Iterator<Item = (Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (start, end) in periods {
        match joined.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// Seconds since Monday 00:00.
fn second(time: &WeeklyTime) -> Option<i64> {
    let day = match time.day {
        Weekday::Mon => 0,
        Weekday::Tue => 1,
        Weekday::Wed => 2,
        Weekday::Thu => 3,
        Weekday::Fri => 4,
        Weekday::Sat => 5,
        Weekday::Sun => 6,
    };
    let (hours, minutes) = time.time.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes))
        .then_some(day * DAY + hours * 3600 + minutes * 60)
}

#[cfg(test)]
#[path = "period_tests.rs"]
mod tests;
