//! Leave and holidays: when each person takes no turn. Pure.

use jiff::Timestamp;

use crate::api::oncall_rotation::Person;

use super::local_time::LocalClock;

/// The absences of the people of a rotation.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    /// For each person, by index in `spec.people`, the half-open times.
    people: Vec<Vec<(Timestamp, Timestamp)>>,
    /// All beginnings and ends, ascending.
    edges: Vec<Timestamp>,
}

impl Absences {
    /// The absences in the spec. Those whose times cannot be understood are left out; `validate` reports them.
    pub fn new(people: &[Person], clock: &LocalClock) -> Absences {
        let of = |person: &Person| -> Vec<(Timestamp, Timestamp)> {
            let times = person.away.iter();
            times.filter_map(|away| Some((clock.moment(&away.from)?, clock.moment(&away.until)?))).collect()
        };
        let people: Vec<Vec<(Timestamp, Timestamp)>> = people.iter().map(of).collect();
        let mut edges: Vec<Timestamp> =
            people.iter().flatten().flat_map(|(from, until)| [*from, *until]).collect();
        edges.sort_unstable();
        edges.dedup();
        Absences { people, edges }
    }

    /// Whether a person takes no turn at an instant.
    pub fn away(&self, person: usize, at: Timestamp) -> bool {
        self.people
            .get(person)
            .is_some_and(|times| times.iter().any(|(from, until)| *from <= at && at < *until))
    }

    /// The next beginning or end.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        self.edges.get(self.edges.partition_point(|edge| *edge <= at)).copied()
    }

    /// The last beginning or end, `at` included.
    pub fn previous(&self, at: Timestamp) -> Option<Timestamp> {
        let after = self.edges.partition_point(|edge| *edge <= at);
        self.edges.get(after.checked_sub(1)?).copied()
    }
}
