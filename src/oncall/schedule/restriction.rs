//! Restrictions: the windows of the day in which a layer has people on duty. Pure.

use crate::api::oncall_rotation::{Restriction, Weekday};

use super::local_time::{DAY, WallClock};

/// 1970-01-01 was a Thursday; days are counted from Monday.
const EPOCH_WEEKDAY: i64 = 3;

/// A half-open window; it belongs to the day on which it opens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// Days on which it opens, Monday first.
    days: [bool; 7],
    /// Opening time in seconds after midnight.
    from: i64,
    /// Closing time in seconds after the midnight of the opening day; more than a day if it closes on the next.
    to: i64,
}

impl Window {
    /// Compiles a restriction; `None` if its times are not `HH:MM`.
    pub fn new(restriction: &Restriction) -> Option<Window> {
        let from = time_of_day(&restriction.from)?;
        let to = time_of_day(&restriction.to)?;
        let days = if restriction.days.is_empty() {
            [true; 7]
        } else {
            WEEK.map(|day| restriction.days.contains(&day))
        };
        Some(Window { days, from, to: if to <= from { to + DAY } else { to } })
    }

    /// Opening and closing times of the windows that open on one of these days.
    fn pieces(
        &self,
        days: std::ops::RangeInclusive<i64>,
    ) -> impl Iterator<Item = (WallClock, WallClock)> + '_ {
        days.filter(|day| self.days[weekday(*day)])
            .map(|day| (WallClock(day * DAY + self.from), WallClock(day * DAY + self.to)))
    }
}

/// The windows of a layer; without any it is always open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Windows(pub Vec<Window>);

impl Windows {
    /// Whether a window is open.
    pub fn open(&self, at: WallClock) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|window| {
                window.pieces(at.day() - 1..=at.day()).any(|(open, close)| open <= at && at < close)
            })
    }

    /// The next time at which a window opens or closes.
    pub fn next(&self, at: WallClock) -> Option<WallClock> {
        self.edges(at.day() - 1..=at.day() + 8).filter(|edge| *edge > at).min()
    }

    /// The last time, `at` included, at which a window opened or closed.
    pub fn previous(&self, at: WallClock) -> Option<WallClock> {
        self.edges(at.day() - 8..=at.day()).filter(|edge| *edge <= at).max()
    }

    fn edges(&self, days: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = WallClock> + '_ {
        self.0
            .iter()
            .flat_map(move |window| window.pieces(days.clone()))
            .flat_map(|(open, close)| [open, close])
    }
}

/// Days on which a window of the layer opens. Days are counted from the layer's start and begin at its time of day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActiveDays {
    /// The first week from the start; it repeats.
    week: [bool; 7],
}

impl ActiveDays {
    /// The active days of a layer; `None` if there are none. Without windows every day is active.
    pub fn new(start: WallClock, windows: &Windows) -> Option<ActiveDays> {
        let mut week = [windows.0.is_empty(); 7];
        for (offset, active) in (0_i64..).zip(week.iter_mut()) {
            let begin = start.0 + offset * DAY;
            let days = WallClock(begin).day()..=WallClock(begin).day() + 1;
            *active = *active
                || windows.0.iter().any(|window| {
                    window.pieces(days.clone()).any(|(open, _)| begin <= open.0 && open.0 < begin + DAY)
                });
        }
        week.contains(&true).then_some(ActiveDays { week })
    }

    /// Number of active days from day 0 to `day`, inclusive.
    pub fn up_to(&self, day: i64) -> i64 {
        let (weeks, rest) = ((day + 1).div_euclid(7), (day + 1).rem_euclid(7));
        weeks * self.per_week() + self.week.iter().zip(0..rest).filter(|(active, _)| **active).count() as i64
    }

    /// The day of the active day with this number, from 0.
    pub fn nth(&self, number: i64) -> Option<i64> {
        let (weeks, rest) = (number.div_euclid(self.per_week()), number.rem_euclid(self.per_week()));
        let within =
            (0_i64..).zip(self.week).filter(|(_, active)| *active).nth(usize::try_from(rest).ok()?)?;
        weeks.checked_mul(7)?.checked_add(within.0)
    }

    fn per_week(&self) -> i64 {
        self.week.iter().filter(|active| **active).count() as i64
    }
}

const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

fn weekday(day: i64) -> usize {
    // `rem_euclid` gives 0 to 6.
    (day + EPOCH_WEEKDAY).rem_euclid(7) as usize
}

/// Seconds after midnight of `HH:MM`.
pub fn time_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> WallClock {
        WallClock::of(text.parse().unwrap()).unwrap()
    }

    fn window(days: &[Weekday], from: &str, to: &str) -> Window {
        Window::new(&Restriction { days: days.to_vec(), from: from.into(), to: to.into() }).unwrap()
    }

    #[test]
    fn a_night_ends_on_the_next_day_and_belongs_to_the_day_it_opens() {
        let nights = Windows(vec![window(&[Weekday::Fri], "22:00", "06:00")]);
        assert!(!nights.open(reading("2026-11-27T21:59")));
        assert!(nights.open(reading("2026-11-27T22:00")));
        assert!(nights.open(reading("2026-11-28T05:59")));
        assert!(!nights.open(reading("2026-11-28T06:00")));
        assert_eq!(nights.next(reading("2026-11-28T06:00")), Some(reading("2026-12-04T22:00")));
        assert_eq!(nights.previous(reading("2026-11-28T06:00")), Some(reading("2026-11-28T06:00")));
    }

    #[test]
    fn a_window_from_a_time_to_the_same_time_is_a_whole_day() {
        let day = Windows(vec![window(&[Weekday::Sun], "09:00", "09:00")]);
        assert!(day.open(reading("2026-11-23T08:59")));
        assert!(!day.open(reading("2026-11-23T09:00")));
    }

    #[test]
    fn active_days_are_counted_both_ways() {
        let weekdays = Windows(vec![window(&WEEK[..5], "09:00", "17:00")]);
        let days = ActiveDays::new(reading("2026-11-26T00:00"), &weekdays).unwrap();
        for number in 0..40 {
            let day = days.nth(number).unwrap();
            assert_eq!(days.up_to(day), number + 1);
            assert_eq!(days.up_to(day - 1), number);
        }
    }

    #[test]
    fn a_time_of_day_is_two_and_two_digits() {
        assert_eq!(time_of_day("09:30"), Some(34_200));
        for text in ["24:00", "9:30", "09:60", "+9:30", "0930", ""] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
    }
}
