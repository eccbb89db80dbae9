//! A phase of the decision on an incident, and the check of the order of phases. Pure.

use jiff::Timestamp;

use super::facts::IncidentFacts;
use super::plan::Plan;
use crate::api::Incident;

/// The input that every phase reads and none changes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The incident as it is stored.
    pub incident: &'a Incident,
    /// The objects of its namespace.
    pub facts: &'a IncidentFacts,
    /// The time of the decision.
    pub now: Timestamp,
    /// Whether no older incident is about the same outage. Only such an incident is worked on.
    pub is_original: bool,
}

/// One phase of the decision.
#[derive(Debug)]
pub struct Phase {
    /// Its name; unique in the list.
    pub name: &'static str,
    /// Reads the scope and the plan so far, and continues the plan.
    pub run: fn(&Scope<'_>, &mut Plan),
    /// Names of the phases whose result it reads.
    pub after: &'static [&'static str],
}

/// A phase, as one line of the list.
pub const fn phase(
    name: &'static str,
    run: fn(&Scope<'_>, &mut Plan),
    after: &'static [&'static str],
) -> Phase {
    Phase { name, run, after }
}

/// Whether every phase comes after all phases whose result it reads.
pub const fn is_in_order(phases: &[Phase]) -> bool {
    let mut index = 0;
    while index < phases.len() {
        let (earlier, rest) = phases.split_at(index);
        let mut needed = rest[0].after;
        while let [name, others @ ..] = needed {
            if !contains(earlier, name) {
                return false;
            }
            needed = others;
        }
        index += 1;
    }
    true
}

const fn contains(mut phases: &[Phase], name: &str) -> bool {
    while let [phase, others @ ..] = phases {
        if is_same(phase.name.as_bytes(), name.as_bytes()) {
            return true;
        }
        phases = others;
    }
    false
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &Scope<'_>, _: &mut Plan) {}

    #[test]
    fn a_phase_must_come_after_those_it_reads_from() {
        let first = || phase("first", nothing, &[]);
        let second = || phase("second", nothing, &["first"]);
        assert!(is_in_order(&[first(), second()]));
        assert!(!is_in_order(&[second(), first()]));
        assert!(!is_in_order(&[phase("second", nothing, &["firs"]), second()]));
    }
}
