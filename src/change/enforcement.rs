//! What the canary saw last: whether an unapproved change is really refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Last result of the canary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// When.
    pub time: Timestamp,
    /// Whether the canary was refused by the change gate; else what happened instead.
    pub result: Result<(), String>,
}

/// The last result for each policy, in this process.
#[derive(Debug, Default)]
pub struct Enforcement {
    sightings: Mutex<HashMap<String, Sighting>>,
}

impl Enforcement {
    /// Records what the canary saw in the scope of a policy.
    pub fn record(&self, policy: &str, sighting: Sighting) {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).insert(policy.to_owned(), sighting);
    }

    /// What the canary saw last in the scope of a policy.
    pub fn of(&self, policy: &str) -> Option<Sighting> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).get(policy).cloned()
    }
}
