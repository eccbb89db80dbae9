//! The people on duty at an instant, and what puts each of them there. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// People on duty by their index in `spec.people` of the rotation, each with the sources that put them there.
pub type OnDutySet = BTreeMap<usize, BTreeSet<Source>>;

/// What puts a person on duty.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// The index of a layer, and the number of its turn.
    Turn(usize, i64),
    /// The index of an override.
    Override(usize),
}
