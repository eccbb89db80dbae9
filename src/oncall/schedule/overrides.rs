//! Overrides: temporary changes to who is on duty. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::OnCallOverride;
use crate::api::oncall_override::{Answer, OnCallOverrideSpec};

use crate::oncall::schedule::on_duty_set::{OnDutySet, Source};

/// An override, with people as indexes into `spec.people` of its rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// Name of the override.
    pub name: String,
    /// Start, inclusive.
    pub start: Timestamp,
    /// End, exclusive.
    pub end: Timestamp,
    /// Its effect.
    pub act: Act,
}

/// The effect of an override.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// The first is replaced by the second.
    Replace(usize, usize),
    /// Everyone on duty is replaced by these; an empty set clears the duty.
    ReplaceAll(BTreeSet<usize>),
    /// The person is on duty in addition.
    Add(usize),
    /// The person is off duty.
    Remove(usize),
}

impl Override {
    /// Compiles an override for a rotation with these people.
    ///
    /// # Errors
    /// The name of a person unknown to the rotation; empty if the override sets no member.
    pub fn new(name: &str, spec: &OnCallOverrideSpec, people: &[String]) -> Result<Override, String> {
        let place =
            |person: &String| people.iter().position(|name| name == person).ok_or_else(|| person.clone());
        let act = if let Some(replace) = &spec.replace {
            Act::Replace(place(&replace.person)?, place(&replace.by)?)
        } else if let Some(all) = &spec.replace_all {
            Act::ReplaceAll(all.by.iter().map(place).collect::<Result<_, _>>()?)
        } else if let Some(add) = &spec.add {
            Act::Add(place(&add.person)?)
        } else if let Some(remove) = &spec.remove {
            Act::Remove(place(&remove.person)?)
        } else if let Some(swap) = &spec.swap {
            Act::Replace(place(&swap.person)?, place(&swap.by)?)
        } else if spec.clear.is_some() {
            Act::ReplaceAll(BTreeSet::new())
        } else {
            return Err(String::new());
        };
        Ok(Override { name: name.to_owned(), start: spec.start_time.0, end: spec.end_time.0, act })
    }

    /// Whether both say who is on duty instead of the same people at the same time, so that only one can count.
    pub fn competes(&self, other: &Override) -> bool {
        let together = self.start < other.end && other.start < self.end;
        together
            && match (&self.act, &other.act) {
                (Act::Replace(one, _) | Act::Remove(one), Act::Replace(two, _) | Act::Remove(two)) => {
                    one == two
                }
                (Act::ReplaceAll(_), Act::ReplaceAll(_)) => true,
                _ => false,
            }
    }

    /// Whether the override is in force at an instant.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// Whether the override counts. A swap does once it is taken.
pub fn counts(spec: &OnCallOverrideSpec) -> bool {
    spec.swap.as_ref().is_none_or(|swap| swap.answer == Some(Answer::Taken))
}

/// The overrides of a rotation in ascending precedence: those of higher priority later, then younger ones, at the same age
/// by name. Overrides that are being deleted or name an unknown person, and swaps that are not taken, are left out.
pub fn of_rotation(overrides: &[Arc<OnCallOverride>], rotation: &str, people: &[String]) -> Vec<Override> {
    let mut own: Vec<_> = overrides
        .iter()
        .filter(|o| o.spec.rotation_ref.name == rotation && o.metadata.deletion_timestamp.is_none())
        .filter(|o| counts(&o.spec))
        .collect();
    own.sort_by_key(|o| {
        (o.spec.priority, o.metadata.creation_timestamp.as_ref().map(|time| time.0), o.name_any())
    });
    own.iter().filter_map(|o| Override::new(&o.name_any(), &o.spec, people).ok()).collect()
}

/// Applies the overrides that are in force. Replace and remove act on the people of the layers, so they never chain; then
/// comes the `replaceAll` of the highest precedence, then additions.
pub fn apply(overrides: &[Override], at: Timestamp, people: &mut OnDutySet) {
    let holding = || overrides.iter().enumerate().filter(|(_, entry)| entry.holds(at));
    let by_override = |index| BTreeSet::from([Source::Override(index)]);

    // For each person of the layers the override of the highest precedence counts.
    let mut substitutes = Vec::new();
    let base: Vec<usize> = people.keys().copied().collect();
    for person in base {
        if let Some((index, entry)) = holding().rfind(|(_, s)| s.act.concerns(person)) {
            people.remove(&person);
            if let Act::Replace(_, by) = entry.act {
                substitutes.push((by, index));
            }
        }
    }
    for (person, index) in substitutes {
        people.entry(person).or_default().insert(Source::Override(index));
    }

    let all = |(index, entry): (usize, &Override)| match &entry.act {
        Act::ReplaceAll(all) => Some(all.iter().map(|person| (*person, by_override(index))).collect()),
        _ => None,
    };
    if let Some(all) = holding().rev().find_map(all) {
        *people = all;
    }

    for (index, entry) in holding() {
        if let Act::Add(person) = entry.act {
            people.entry(person).or_insert_with(|| by_override(index));
        }
    }
}

impl Act {
    /// Whether it names this person to take them off duty.
    fn concerns(&self, person: usize) -> bool {
        matches!(self, Act::Replace(who, _) | Act::Remove(who) if *who == person)
    }
}
