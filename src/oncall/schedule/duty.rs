//! Who is on duty, since when, until when, who is next, and when nobody is. Pure.

use jiff::Timestamp;

use crate::oncall::schedule::{Cell, Schedule};

/// How many edges are looked at in either direction before an answer counts as out of sight. Hourly turns of
/// one and the same person are followed for almost three months.
const SIGHT: usize = 2_000;

/// Who is on duty at an instant, and as long as nothing changes. Half open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnDuty {
    /// Names, in the rotation's order; nobody in a gap.
    pub people: Vec<String>,
    /// Since when; `None` if nobody was ever on duty before, or it is out of sight.
    pub since: Option<Timestamp>,
    /// Until when; `None` if no change is in sight.
    pub until: Option<Timestamp>,
    /// Who comes then; empty for nobody, or if no change is in sight.
    pub next: Vec<String>,
}

/// Who is on duty. Neighbouring turns of the same people are one.
pub fn on_duty(schedule: &Schedule, at: Timestamp) -> OnDuty {
    let now = schedule.at(at);
    let (since, until) = extent(schedule, at, |cell| cell.keys().eq(now.keys()));
    let next = until.map(|until| names(schedule, &schedule.at(until))).unwrap_or_default();
    OnDuty { people: names(schedule, &now), since, until, next }
}

/// The bounds of the turn or override that puts people on duty at an instant, or of the gap.
pub fn shift(schedule: &Schedule, at: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let now = schedule.at(at);
    extent(schedule, at, |cell| *cell == now)
}

/// When nobody is on duty between two instants, cut to them.
pub fn gaps(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut gaps: Vec<(Timestamp, Timestamp)> = Vec::new();
    let mut at = from;
    while at < to {
        let end = schedule.next_edge(at).unwrap_or(to).min(to);
        if schedule.at(at).is_empty() {
            match gaps.last_mut() {
                Some((_, last)) if *last == at => *last = end,
                _ => gaps.push((at, end)),
            }
        }
        at = end;
    }
    gaps
}

/// The longest interval around an instant on which `same` holds.
fn extent(
    schedule: &Schedule,
    at: Timestamp,
    same: impl Fn(&Cell) -> bool,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let until = std::iter::successors(schedule.next_edge(at), |edge| schedule.next_edge(*edge))
        .take(SIGHT)
        .find(|edge| !same(&schedule.at(*edge)));
    // Edges lie on whole seconds: a second earlier is the neighbour before.
    let before = |edge: Timestamp| Timestamp::from_second(edge.as_second().saturating_sub(1)).ok();
    let since = std::iter::successors(schedule.previous_edge(at), |edge| {
        before(*edge).and_then(|before| schedule.previous_edge(before))
    })
    .take(SIGHT)
    .find(|edge| before(*edge).is_none_or(|before| !same(&schedule.at(before))));
    (since, until)
}

fn names(schedule: &Schedule, cell: &Cell) -> Vec<String> {
    cell.keys().filter_map(|place| schedule.people.get(*place).cloned()).collect()
}
