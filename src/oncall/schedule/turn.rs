//! Turns: the number of the turn at an instant in closed form, and its start and end. Pure.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};

use crate::api::oncall_rotation::{Shift, ShiftUnit};

use super::local_time::{DAY, LocalClock, WallClock};
use super::restriction::ActiveDays;

/// The pattern of turns. Numbers are computed directly, so an old rotation costs as much as a new one.
#[derive(Clone, Debug)]
pub enum Turns {
    /// Turns of a fixed length in local time.
    Wall {
        /// Start of turn 0.
        start: WallClock,
        /// Seconds of local time.
        length: i64,
    },
    /// Turns of calendar months, counted from the start and clamped to the last day of a month.
    Months {
        /// Start of turn 0.
        start: DateTime,
        /// Number of months.
        length: i64,
    },
    /// Turns of a fixed length in elapsed time, for hours that do not divide a day.
    Elapsed {
        /// Start of turn 0.
        start: Timestamp,
        /// Elapsed seconds.
        length: i64,
    },
    /// Turns of a number of active days, on which a window opens.
    Active {
        /// Earliest start of turn 0; days begin at its time of day.
        start: WallClock,
        /// Number of active days.
        length: i64,
        /// The active days.
        days: ActiveDays,
    },
}

impl Turns {
    /// The turns of a shift that starts at `instant`, which is `start` and `reading` in local time.
    pub fn new(shift: &Shift, start: DateTime, reading: WallClock, instant: Timestamp) -> Turns {
        let length = i64::from(shift.length.max(1));
        match shift.unit {
            ShiftUnit::Hours if 24 % length == 0 || length % 24 == 0 => {
                Turns::Wall { start: reading, length: length * 3600 }
            }
            ShiftUnit::Hours => Turns::Elapsed { start: instant, length: length * 3600 },
            ShiftUnit::Days => Turns::Wall { start: reading, length: length * DAY },
            ShiftUnit::Weeks => Turns::Wall { start: reading, length: length * 7 * DAY },
            ShiftUnit::Months => Turns::Months { start, length },
        }
    }

    /// The number of the turn at an instant, from 0. Turns that a gap shortens to nothing count.
    pub fn number(&self, clock: &LocalClock, at: Timestamp) -> i64 {
        let number = match self {
            Turns::Wall { start, length } => (clock.reading(at).0 - start.0).div_euclid(*length),
            Turns::Elapsed { start, length } => (at.as_second() - start.as_second()).div_euclid(*length),
            Turns::Months { start, length } => months(*start, *length, clock.reading(at)),
            Turns::Active { start, length, days } => {
                let day = (clock.reading(at).0 - start.0).div_euclid(DAY);
                // Between two active days the turn of the earlier day continues.
                (days.up_to(day) - 1).max(0).div_euclid(*length)
            }
        };
        // An offset in `start` may select the second of two equal local times.
        number.max(0)
    }

    /// The start of a turn; `None` outside the years of jiff.
    pub fn begin(&self, clock: &LocalClock, number: i64) -> Option<Timestamp> {
        self.after_begin(clock, number, 0)
    }

    /// Some seconds after the start of a turn, in the time by which its turns are counted.
    pub fn after_begin(&self, clock: &LocalClock, number: i64, seconds: i64) -> Option<Timestamp> {
        let local = match self {
            Turns::Elapsed { start, length } => {
                let elapsed = number.checked_mul(*length)?.checked_add(seconds)?;
                return Timestamp::from_second(start.as_second().checked_add(elapsed)?).ok();
            }
            Turns::Wall { start, length } => start.0.checked_add(number.checked_mul(*length)?)?,
            Turns::Months { start, length } => month_turn(*start, *length, number)?.0,
            Turns::Active { start, length, days } => {
                let day = days.nth(number.checked_mul(*length)?)?;
                start.0.checked_add(day.checked_mul(DAY)?)?
            }
        };
        clock.first(WallClock(local.checked_add(seconds)?))
    }

    /// The first start of a turn after an instant.
    pub fn next(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        let number = self.number(clock, at);
        // An empty turn starts together with its successor; one of the next few starts later.
        (1..=MAX_EMPTY).find_map(|step| self.begin(clock, number + step).filter(|begin| *begin > at))
    }

    /// The last start of a turn up to an instant.
    pub fn previous(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        let number = self.number(clock, at);
        self.begin(clock, number).filter(|begin| *begin <= at)
    }
}

/// Maximum number of consecutive empty turns, plus one: a gap skips at most a day, and a turn lasts at least an hour.
const MAX_EMPTY: i64 = 26;

fn months(start: DateTime, length: i64, reading: WallClock) -> i64 {
    let Some(now) = reading.civil() else { return 0 };
    let apart = (i64::from(now.year()) - i64::from(start.year())) * 12 + i64::from(now.month())
        - i64::from(start.month());
    let number = apart.div_euclid(length);
    match month_turn(start, length, number) {
        Some(begin) if begin > reading => number - 1,
        _ => number,
    }
}

/// Start of a turn of months, counted from the first start; jiff clamps to the last day of the month.
fn month_turn(start: DateTime, length: i64, number: i64) -> Option<WallClock> {
    let months = number.checked_mul(length)?;
    let span = 0.months().try_months(months).ok()?;
    WallClock::of(start.checked_add(span).ok()?).ok()
}
