//! How evenly the duty is spread: hours, nights and weekends of each person. Pure.

use jiff::Timestamp;

use super::Schedule;
use super::local_time::{DAY, WallClock};
use super::timeline::Shift;

/// A night is from 22:00 to 06:00, in seconds after midnight.
const NIGHT: (i64, i64) = (22 * 3600, 30 * 3600);
/// 1970-01-01 was a Thursday; days are counted from Monday.
const EPOCH_WEEKDAY: i64 = 3;
/// From this score on the duty counts as balanced, in percent.
pub const BALANCED: i64 = 95;

/// The duty of one person, in seconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// In all.
    pub total: i64,
    /// At night, from 22:00 to 06:00 local time.
    pub nights: i64,
    /// On Saturdays and Sundays, local time.
    pub weekends: i64,
}

/// The duty of each person, by index in `spec.people`.
pub fn loads(schedule: &Schedule, shifts: &[Shift]) -> Vec<Load> {
    let mut loads = vec![Load::default(); schedule.people.len()];
    for shift in shifts.iter().filter(|shift| !shift.on_duty.is_empty()) {
        let whole = Load {
            total: shift.end.as_second() - shift.start.as_second(),
            nights: nights(schedule, shift),
            weekends: weekends(schedule, shift),
        };
        for place in shift.on_duty.keys() {
            if let Some(load) = loads.get_mut(*place) {
                load.total += whole.total;
                load.nights += whole.nights;
                load.weekends += whole.weekends;
            }
        }
    }
    loads
}

/// How even the totals are, in percent: the mean over all pairs of the shorter by the longer total. 100 with fewer than two
/// people.
pub fn score(totals: &[i64]) -> i64 {
    let mut pairs = 0;
    let mut sum = 0;
    for (index, one) in totals.iter().enumerate() {
        for other in totals.iter().skip(index + 1) {
            let (short, long) = (*one.min(other), *one.max(other));
            pairs += 1;
            sum += if long == 0 { 100_000 } else { short * 100_000 / long };
        }
    }
    if pairs == 0 { 100 } else { (sum / pairs + 500) / 1000 }
}

fn nights(schedule: &Schedule, shift: &Shift) -> i64 {
    days(schedule, shift).map(|day| within(schedule, shift, day * DAY + NIGHT.0, day * DAY + NIGHT.1)).sum()
}

fn weekends(schedule: &Schedule, shift: &Shift) -> i64 {
    let is_weekend = |day: &i64| (day + EPOCH_WEEKDAY).rem_euclid(7) >= 5;
    let days = days(schedule, shift).filter(is_weekend);
    days.map(|day| within(schedule, shift, day * DAY, (day + 1) * DAY)).sum()
}

/// The local days of a shift, and the day before, whose night may reach into it.
fn days(schedule: &Schedule, shift: &Shift) -> std::ops::RangeInclusive<i64> {
    let day = |at: Timestamp| schedule.clock.reading(at).day();
    day(shift.start) - 1..=day(shift.end)
}

/// Seconds of a shift between two local times.
fn within(schedule: &Schedule, shift: &Shift, from: i64, to: i64) -> i64 {
    let at = |local: i64| schedule.clock.first(WallClock(local));
    let Some((from, to)) = at(from).zip(at(to)) else { return 0 };
    (to.min(shift.end).as_second() - from.max(shift.start).as_second()).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oncall_rotation::OnCallRotationSpec;
    use crate::oncall::schedule::timeline;

    fn schedule() -> Schedule {
        let spec: OnCallRotationSpec = serde_json::from_value(serde_json::json!({
            "timeZone": "Europe/Berlin",
            "people": [{"name": "emil", "user": "emil"}, {"name": "bea", "user": "bea"}],
            "layers": [{"name": "weekly", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": ["emil"]}, {"people": ["bea"]}]}]
        }))
        .unwrap();
        Schedule::new(&spec, Vec::new()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_nights_and_weekends_are_counted_on_the_local_clock() {
        let schedule = schedule();
        // The clocks are set forward on Sunday the 29th: the week of emil has 167 hours, and its last night 7.
        let shifts = timeline::shifts(&schedule, at("2026-03-30T07:00:00Z"), at("2026-04-06T07:00:00Z"));
        let hours = |load: Load| [load.total, load.nights, load.weekends].map(|seconds| seconds / 3600);
        assert_eq!(
            loads(&schedule, &shifts).into_iter().map(hours).collect::<Vec<_>>(),
            [[168, 56, 48], [0, 0, 0]]
        );
        let short = timeline::shifts(&schedule, at("2026-03-23T08:00:00Z"), at("2026-03-30T07:00:00Z"));
        assert_eq!(hours(loads(&schedule, &short)[1]), [167, 55, 47]);
    }

    #[test]
    fn the_score_is_the_mean_of_all_pairs() {
        assert_eq!(score(&[100, 100, 100]), 100);
        assert_eq!(score(&[100, 50]), 50);
        assert_eq!(score(&[0, 0]), 100);
        assert_eq!(score(&[0, 10]), 0);
        assert_eq!(score(&[7]), 100);
        assert_eq!(score(&[100, 50, 50]), 67);
    }

    #[test]
    fn shifts_follow_each_other_without_seams_and_gaps_are_among_them() {
        let schedule = schedule();
        let shifts = timeline::shifts(&schedule, at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        assert!(shifts.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(
            (shifts[0].start, shifts[shifts.len() - 1].end),
            (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"))
        );
        assert_eq!(shifts.len(), 5, "nobody before the start, then four weeks");
        assert_eq!(timeline::uncovered_seconds(&shifts), 4 * 86_400 + 8 * 3600);
    }
}
