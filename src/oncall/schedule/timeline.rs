//! The resolved list of who is on duty from when to when. The status, the plugin, the calendar file and the metrics read it,
//! so all of them say the same. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Schedule;
use super::on_duty_set::OnDutySet;

/// Maximum number of edges to look at: two years of hourly turns.
const MAX_EDGES: usize = 20_000;

/// A half-open time in which the same people are on duty from the same turns and overrides; without people it is a gap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shift {
    /// Start, inclusive.
    pub start: Timestamp,
    /// End, exclusive.
    pub end: Timestamp,
    /// The people, and what puts them on duty.
    pub on_duty: OnDutySet,
}

impl Shift {
    /// Indexes of the people.
    pub fn people(&self) -> BTreeSet<usize> {
        self.on_duty.keys().copied().collect()
    }
}

/// The shifts and gaps between two instants, without seams: each begins where the one before ends. The first and the last
/// are cut to the two instants.
pub fn shifts(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Shift> {
    let mut shifts: Vec<Shift> = Vec::new();
    let mut start = from;
    for _ in 0..MAX_EDGES {
        if start >= to {
            break;
        }
        let end = schedule.next_edge(start).unwrap_or(to).min(to);
        let on_duty = schedule.at(start);
        match shifts.last_mut() {
            Some(last) if last.on_duty == on_duty => last.end = end,
            _ => shifts.push(Shift { start, end, on_duty }),
        }
        start = end;
    }
    shifts
}

/// The shifts with neighbours of the same people as one, whatever puts them on duty.
pub fn by_people(shifts: &[Shift]) -> Vec<Shift> {
    let mut merged: Vec<Shift> = Vec::new();
    for shift in shifts {
        match merged.last_mut() {
            Some(last) if last.on_duty.keys().eq(shift.on_duty.keys()) => last.end = shift.end,
            _ => merged.push(shift.clone()),
        }
    }
    merged
}

/// The gaps: start and end of each time with nobody on duty.
pub fn gaps(shifts: &[Shift]) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
    shifts.iter().filter(|shift| shift.on_duty.is_empty()).map(|shift| (shift.start, shift.end))
}

/// Seconds in which nobody is on duty.
pub fn uncovered_seconds(shifts: &[Shift]) -> i64 {
    gaps(shifts).map(|(start, end)| end.as_second() - start.as_second()).sum()
}
