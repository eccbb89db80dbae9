//! Windows of the day: when a layer has anybody at all. Pure.

use crate::api::oncall_rotation::{Restriction, Weekday};

use super::local_time::{DAY, Reading};

/// 1970-01-01 was a Thursday; days are counted from Monday.
const EPOCH_WEEKDAY: i64 = 3;

/// One window: half open, named by the day on which it opens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// On which days it opens, Monday first.
    days: [bool; 7],
    /// Seconds after midnight at which it opens.
    from: i64,
    /// Seconds after the midnight of the opening day at which it closes; over a day if it ends on the next.
    to: i64,
}

impl Window {
    /// The window that a restriction describes; `None` if its times are not `HH:MM`.
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

    /// The opening and closing readings of those windows that open on one of the days.
    fn pieces(&self, days: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = (Reading, Reading)> + '_ {
        days.filter(|day| self.days[weekday(*day)])
            .map(|day| (Reading(day * DAY + self.from), Reading(day * DAY + self.to)))
    }
}

/// Several windows; none means always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Windows(pub Vec<Window>);

impl Windows {
    /// Whether one is open.
    pub fn open(&self, at: Reading) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|window| {
                window.pieces(at.day() - 1..=at.day()).any(|(open, close)| open <= at && at < close)
            })
    }

    /// The next reading at which one opens or closes.
    pub fn next(&self, at: Reading) -> Option<Reading> {
        self.edges(at.day() - 1..=at.day() + 8).filter(|edge| *edge > at).min()
    }

    /// The last reading up to this one at which one opened or closed.
    pub fn previous(&self, at: Reading) -> Option<Reading> {
        self.edges(at.day() - 8..=at.day()).filter(|edge| *edge <= at).max()
    }

    fn edges(&self, days: std::ops::RangeInclusive<i64>) -> impl Iterator<Item = Reading> + '_ {
        self.0
            .iter()
            .flat_map(move |window| window.pieces(days.clone()))
            .flat_map(|(open, close)| [open, close])
    }
}

/// On which days of a layer a window opens: days are counted from the layer's start and begin at its time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActiveDays {
    /// The pattern of a week from the start on; it repeats.
    week: [bool; 7],
}

impl ActiveDays {
    /// The active days of a layer; `None` if no window ever opens. Without windows every day is active.
    pub fn new(start: Reading, windows: &Windows) -> Option<ActiveDays> {
        let mut week = [windows.0.is_empty(); 7];
        for (offset, active) in (0_i64..).zip(week.iter_mut()) {
            let begin = start.0 + offset * DAY;
            let days = Reading(begin).day()..=Reading(begin).day() + 1;
            *active = *active
                || windows.0.iter().any(|window| {
                    window.pieces(days.clone()).any(|(open, _)| begin <= open.0 && open.0 < begin + DAY)
                });
        }
        week.contains(&true).then_some(ActiveDays { week })
    }

    /// How many active days there are from day 0 up to a day, that day included.
    pub fn up_to(&self, day: i64) -> i64 {
        let (weeks, rest) = ((day + 1).div_euclid(7), (day + 1).rem_euclid(7));
        weeks * self.per_week() + self.week.iter().zip(0..rest).filter(|(active, _)| **active).count() as i64
    }

    /// The day on which the active day of that number is, from 0.
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
    // Always 0 to 6.
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

    fn reading(text: &str) -> Reading {
        Reading::of(text.parse().unwrap()).unwrap()
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
    fn equal_times_are_a_whole_day() {
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
