//! Which turn it is: the number of a turn in closed form, and where it begins and ends. Pure.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};

use crate::api::oncall_rotation::{Shift, ShiftUnit};

use super::local_time::{DAY, LocalClock, Reading};
use super::restriction::ActiveDays;

/// How turns lie on the clock. Nothing here steps from the start: an old rotation costs as much as a new one.
#[derive(Clone, Debug)]
pub enum Turns {
    /// Of so many wall-clock seconds, from that reading.
    Wall {
        /// Where turn 0 begins.
        start: Reading,
        /// Seconds on the wall.
        length: i64,
    },
    /// Of so many calendar months, always counted from the start and clamped to the last day.
    Months {
        /// Where turn 0 begins.
        start: DateTime,
        /// Months.
        length: i64,
    },
    /// Of so many elapsed seconds, for hours that do not fit into a day.
    Elapsed {
        /// Where turn 0 begins.
        start: Timestamp,
        /// Seconds that pass.
        length: i64,
    },
    /// Of so many days on which a window opens.
    Active {
        /// Where turn 0 may begin; days begin at this time of the day.
        start: Reading,
        /// Days.
        length: i64,
        /// On which days one opens.
        days: ActiveDays,
    },
}

impl Turns {
    /// The turns of a shift that begins at `start`, which the clock shows at `instant`.
    pub fn new(shift: &Shift, start: DateTime, reading: Reading, instant: Timestamp) -> Turns {
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

    /// The number of the turn at an instant; 0 is the first. Turns of no length count.
    pub fn number(&self, clock: &LocalClock, at: Timestamp) -> i64 {
        let number = match self {
            Turns::Wall { start, length } => (clock.reading(at).0 - start.0).div_euclid(*length),
            Turns::Elapsed { start, length } => (at.as_second() - start.as_second()).div_euclid(*length),
            Turns::Months { start, length } => months(*start, *length, clock.reading(at)),
            Turns::Active { start, length, days } => {
                let day = (clock.reading(at).0 - start.0).div_euclid(DAY);
                // Between two active days the turn of the earlier one goes on.
                (days.up_to(day) - 1).max(0).div_euclid(*length)
            }
        };
        // An offset in `start` may choose the second of two equal readings.
        number.max(0)
    }

    /// The instant at which a turn begins; `None` outside the years that jiff knows.
    pub fn begin(&self, clock: &LocalClock, number: i64) -> Option<Timestamp> {
        match self {
            Turns::Wall { start, length } => {
                clock.first(Reading(start.0.checked_add(number.checked_mul(*length)?)?))
            }
            Turns::Elapsed { start, length } => {
                Timestamp::from_second(start.as_second().checked_add(number.checked_mul(*length)?)?).ok()
            }
            Turns::Months { start, length } => clock.first(month_turn(*start, *length, number)?),
            Turns::Active { start, length, days } => {
                let day = days.nth(number.checked_mul(*length)?)?;
                clock.first(Reading(start.0.checked_add(day.checked_mul(DAY)?)?))
            }
        }
    }

    /// The next beginning of a turn after an instant.
    pub fn next(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        let number = self.number(clock, at);
        // Turns of no length begin where their successor does; one of the next few lies ahead.
        (1..=MAX_EMPTY).find_map(|step| self.begin(clock, number + step).filter(|begin| *begin > at))
    }

    /// The last beginning of a turn up to an instant.
    pub fn previous(&self, clock: &LocalClock, at: Timestamp) -> Option<Timestamp> {
        let number = self.number(clock, at);
        self.begin(clock, number).filter(|begin| *begin <= at)
    }
}

/// A gap takes away at most a day and a turn lasts at least an hour on the wall.
const MAX_EMPTY: i64 = 26;

fn months(start: DateTime, length: i64, reading: Reading) -> i64 {
    let Some(now) = reading.civil() else { return 0 };
    let apart = (i64::from(now.year()) - i64::from(start.year())) * 12 + i64::from(now.month())
        - i64::from(start.month());
    let number = apart.div_euclid(length);
    match month_turn(start, length, number) {
        Some(begin) if begin > reading => number - 1,
        _ => number,
    }
}

/// Where a turn of months begins: jiff clamps to the last day of the month, from the start.
fn month_turn(start: DateTime, length: i64, number: i64) -> Option<Reading> {
    let months = number.checked_mul(length)?;
    let span = 0.months().try_months(months).ok()?;
    Reading::of(start.checked_add(span).ok()?).ok()
}
