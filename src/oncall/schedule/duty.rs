//! Who is on duty from when to when, who is next, and the gaps. Pure.

use jiff::Timestamp;

use crate::oncall::schedule::Schedule;
use crate::oncall::schedule::on_duty_set::OnDutySet;

/// Maximum number of edges to search in either direction: hourly turns of the same person for almost three months.
const MAX_EDGES: usize = 2_000;

/// The people on duty, and the half-open interval in which they stay so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnDuty {
    /// Names in the order of `spec.people`; empty in a gap.
    pub people: Vec<String>,
    /// Start of the interval; `None` if there is none within `MAX_EDGES` edges.
    pub since: Option<Timestamp>,
    /// End of the interval, exclusive; `None` if there is none within `MAX_EDGES` edges.
    pub until: Option<Timestamp>,
    /// Names of the people on duty from `until` on; empty if a gap follows, or without `until`.
    pub next: Vec<String>,
}

/// Who is on duty at an instant. Consecutive turns of the same people count as one interval.
pub fn on_duty(schedule: &Schedule, at: Timestamp) -> OnDuty {
    let now = schedule.at(at);
    let (since, until) = extent(schedule, at, |set| set.keys().eq(now.keys()));
    let next = until.map(|until| schedule.names(&schedule.at(until))).unwrap_or_default();
    OnDuty { people: schedule.names(&now), since, until, next }
}

/// Start and end of the turn, override or gap at an instant.
pub fn shift(schedule: &Schedule, at: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let now = schedule.at(at);
    extent(schedule, at, |set| *set == now)
}

/// The intervals between two instants in which no person is on duty.
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
    same: impl Fn(&OnDutySet) -> bool,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let until = std::iter::successors(schedule.next_edge(at), |edge| schedule.next_edge(*edge))
        .take(MAX_EDGES)
        .find(|edge| !same(&schedule.at(*edge)));
    // Edges are whole seconds: one second earlier belongs to the interval before.
    let before = |edge: Timestamp| Timestamp::from_second(edge.as_second().saturating_sub(1)).ok();
    let since = std::iter::successors(schedule.previous_edge(at), |edge| {
        before(*edge).and_then(|before| schedule.previous_edge(before))
    })
    .take(MAX_EDGES)
    .find(|edge| before(*edge).is_none_or(|before| !same(&schedule.at(before))));
    (since, until)
}
