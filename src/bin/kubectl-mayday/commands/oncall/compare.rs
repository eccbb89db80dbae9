//! What an edit or an override changes in who is on duty. Pure.

use jiff::Timestamp;
use mayday::oncall::schedule::Schedule;

use super::calendar::{local, names};
use crate::text::table;

/// Maximum number of lines that are shown.
const MOST: usize = 30;

/// A time in which other people are on duty than before.
#[derive(Debug, Eq, PartialEq)]
pub struct Difference {
    pub start: Timestamp,
    pub end: Timestamp,
    pub before: Vec<String>,
    pub after: Vec<String>,
}

/// The times between two instants in which the two schedules differ.
pub fn differences(before: &Schedule, after: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let mut start = from;
    while start < to {
        let edges = [before.next_edge(start), after.next_edge(start)].into_iter().flatten();
        let end = edges.min().unwrap_or(to).min(to);
        let (was, will) = (on_duty(before, start), on_duty(after, start));
        match found.last_mut() {
            _ if was == will => {}
            Some(last) if last.end == start && last.before == was && last.after == will => last.end = end,
            _ => found.push(Difference { start, end, before: was, after: will }),
        }
        start = end;
    }
    found
}

/// The differences as lines, in the time zone of the rotation.
pub fn lines(schedule: &Schedule, differences: &[Difference]) -> String {
    let rows = differences.iter().take(MOST).map(|one| {
        vec![local(schedule, one.start), local(schedule, one.end), names(&one.before), names(&one.after)]
    });
    let shown = table(&["FROM", "UNTIL", "BEFORE", "AFTER"], &rows.collect::<Vec<_>>());
    match differences.len().checked_sub(MOST).filter(|more| *more > 0) {
        Some(more) => format!("{shown}\nand {more} more"),
        None => shown,
    }
}

fn on_duty(schedule: &Schedule, at: Timestamp) -> Vec<String> {
    let mut names: Vec<String> =
        schedule.at(at).keys().filter_map(|place| schedule.people.get(*place).cloned()).collect();
    names.sort();
    names
}
