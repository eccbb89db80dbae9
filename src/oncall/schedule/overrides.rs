//! Overrides: who stands in for whom for a while. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::OnCallOverride;
use crate::api::oncall_override::OnCallOverrideSpec;

use crate::oncall::schedule::Source;

/// An override over the people of one rotation, by their place in its list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StandIn {
    /// Name of the override.
    pub name: String,
    /// From then on.
    pub start: Timestamp,
    /// Until then, exclusive.
    pub end: Timestamp,
    /// What it does.
    pub act: Act,
}

/// What an override does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// The first is replaced by the second.
    Replace(usize, usize),
    /// Whoever is on duty is replaced by these; by nobody to clear.
    ReplaceAll(BTreeSet<usize>),
    /// One more is on duty.
    Add(usize),
    /// One is off duty.
    Remove(usize),
}

impl StandIn {
    /// What an override means for a rotation with these people.
    ///
    /// # Errors
    /// The name of a person whom the rotation does not have, or an empty text if no member is set.
    pub fn new(name: &str, spec: &OnCallOverrideSpec, people: &[String]) -> Result<StandIn, String> {
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
        } else if spec.clear.is_some() {
            Act::ReplaceAll(BTreeSet::new())
        } else {
            return Err(String::new());
        };
        Ok(StandIn { name: name.to_owned(), start: spec.start_time.0, end: spec.end_time.0, act })
    }

    /// Whether it holds at an instant.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// The overrides of a rotation, the weightier later: the younger one, then the one whose name sorts later.
/// Those that are being deleted, or name somebody unknown, do not count.
pub fn of_rotation(overrides: &[Arc<OnCallOverride>], rotation: &str, people: &[String]) -> Vec<StandIn> {
    let mut own: Vec<_> = overrides
        .iter()
        .filter(|o| o.spec.rotation_ref.name == rotation && o.metadata.deletion_timestamp.is_none())
        .collect();
    own.sort_by_key(|o| (o.metadata.creation_timestamp.as_ref().map(|time| time.0), o.name_any()));
    own.iter().filter_map(|o| StandIn::new(&o.name_any(), &o.spec, people).ok()).collect()
}

/// Applies the overrides that hold: replacing one and removing look at the people the layers give, so that they
/// never chain; then the weightiest replacement of all; then additions.
pub fn apply(stand_ins: &[StandIn], at: Timestamp, people: &mut BTreeMap<usize, BTreeSet<Source>>) {
    let holding = || stand_ins.iter().enumerate().filter(|(_, stand_in)| stand_in.holds(at));
    let by_override = |index| BTreeSet::from([Source::StandIn(index)]);

    // The weightiest word about each person of the layers counts.
    let mut come = Vec::new();
    let base: Vec<usize> = people.keys().copied().collect();
    for person in base {
        if let Some((index, stand_in)) = holding().rfind(|(_, s)| s.act.concerns(person)) {
            people.remove(&person);
            if let Act::Replace(_, by) = stand_in.act {
                come.push((by, index));
            }
        }
    }
    for (person, index) in come {
        people.entry(person).or_default().insert(Source::StandIn(index));
    }

    let all = |(index, stand_in): (usize, &StandIn)| match &stand_in.act {
        Act::ReplaceAll(all) => Some(all.iter().map(|person| (*person, by_override(index))).collect()),
        _ => None,
    };
    if let Some(all) = holding().rev().find_map(all) {
        *people = all;
    }

    for (index, stand_in) in holding() {
        if let Act::Add(person) = stand_in.act {
            people.entry(person).or_insert_with(|| by_override(index));
        }
    }
}

impl Act {
    /// Whether it takes this person off duty by name.
    fn concerns(&self, person: usize) -> bool {
        matches!(self, Act::Replace(who, _) | Act::Remove(who) if *who == person)
    }
}
