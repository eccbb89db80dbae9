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
    /// For each opening day, Monday first: closing time in seconds after its midnight; more than a day if it closes on a
    /// later day.
    to: [i64; 7],
    /// The most days from the opening to the closing day.
    reach: i64,
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
        let (closing, period) = match restriction.to_day {
            None => ([to; 7], DAY),
            Some(close) => {
                let day = (0_i64..).zip(WEEK).find(|(_, day)| *day == close).map_or(0, |(index, _)| index);
                let apart = |open: usize| (day - open as i64).rem_euclid(7);
                (std::array::from_fn(|open| apart(open) * DAY + to), 7 * DAY)
            }
        };
        // It closes after it opens: on the next day, or in the next week.
        let to = closing.map(|close| if close <= from { close + period } else { close });
        Some(Window { days, from, to, reach: period / DAY })
    }

    /// Opening and closing times of the windows that open on one of these days.
    fn pieces(
        &self,
        days: std::ops::RangeInclusive<i64>,
    ) -> impl Iterator<Item = (WallClock, WallClock)> + '_ {
        days.filter(|day| self.days[weekday(*day)])
            .map(|day| (WallClock(day * DAY + self.from), WallClock(day * DAY + self.to[weekday(day)])))
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
                let days = at.day() - window.reach..=at.day();
                window.pieces(days).any(|(open, close)| open <= at && at < close)
            })
    }

    /// Whether a window is open at any time between two.
    pub fn open_within(&self, from: WallClock, to: WallClock) -> bool {
        self.open(from) || self.next(from).is_some_and(|edge| edge < to)
    }

    /// The next time at which a window opens or closes.
    pub fn next(&self, at: WallClock) -> Option<WallClock> {
        self.edges(at.day(), 0, 8).filter(|edge| *edge > at).min()
    }

    /// The last time, `at` included, at which a window opened or closed.
    pub fn previous(&self, at: WallClock) -> Option<WallClock> {
        self.edges(at.day(), 8, 0).filter(|edge| *edge <= at).max()
    }

    /// The edges of some days before and after a day, and of the windows that are open then.
    fn edges(&self, day: i64, before: i64, after: i64) -> impl Iterator<Item = WallClock> + '_ {
        self.0
            .iter()
            .flat_map(move |window| window.pieces(day - before - window.reach..=day + after))
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
        let restriction = Restriction { days: days.to_vec(), from: from.into(), to: to.into(), to_day: None };
        Window::new(&restriction).unwrap()
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
    fn a_window_over_several_days_closes_on_the_first_such_day_after_it_opened() {
        let over = |from: &str, to: &str, to_day: Weekday| {
            let days = vec![Weekday::Fri, Weekday::Mon];
            let window = Restriction { days, from: from.into(), to: to.into(), to_day: Some(to_day) };
            Windows(vec![Window::new(&window).unwrap()])
        };
        // Friday evening to Monday morning; what opens on Monday evening closes a week later.
        let weekend = over("20:00", "08:00", Weekday::Mon);
        assert_eq!(weekend.next(reading("2026-11-27T20:00")), Some(reading("2026-11-30T08:00")));
        assert!(weekend.open(reading("2026-12-03T12:00")), "opened on Monday");
        assert_eq!(weekend.previous(reading("2026-11-30T08:00")), Some(reading("2026-11-30T08:00")));
        let monday = over("09:00", "09:00", Weekday::Mon);
        assert!(monday.open(reading("2026-11-30T08:59")) && monday.open(reading("2026-12-01T00:00")));
        let mut short = over("09:00", "17:00", Weekday::Mon);
        assert!(short.open(reading("2026-11-28T03:00")), "from Friday on");
        assert!(!short.open(reading("2026-12-01T03:00")), "of Monday");
        short.0.clear();
        assert!(short.open(reading("2026-12-01T03:00")), "without windows it is always open");
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
