//! The last results of the probe that shows whether the gate refuses an unapproved change.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Last result of the probe in the scope of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProbeResult {
    /// When the probe was sent.
    pub time: Timestamp,
    /// Whether the change gate refused the probe; otherwise what happened instead.
    pub result: Result<(), String>,
}

/// The last result for each policy, in this process. The probe writes it, the controller of policies reads it.
#[derive(Debug, Default)]
pub struct ProbeResults {
    by_policy: Mutex<HashMap<String, ProbeResult>>,
}

impl ProbeResults {
    /// Records the result of the probe in the scope of a policy.
    pub fn record(&self, policy: &str, result: ProbeResult) {
        self.by_policy.lock().unwrap_or_else(PoisonError::into_inner).insert(policy.to_owned(), result);
    }

    /// The last result of the probe in the scope of a policy.
    pub fn of(&self, policy: &str) -> Option<ProbeResult> {
        self.by_policy.lock().unwrap_or_else(PoisonError::into_inner).get(policy).cloned()
    }
}
