//! Remembers for a while that a check succeeded, so that a burst of changes does not read the same object each time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Checks that succeeded a short while ago, by key.
pub struct Recently<K> {
    lasts: Duration,
    since: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Recently<K> {
    /// Remembers each success for that long.
    pub fn new(lasts: Duration) -> Recently<K> {
        Recently { lasts, since: Mutex::default() }
    }

    /// Whether the check with this key succeeded recently.
    pub fn contains(&self, key: &K) -> bool {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get(key).is_some_and(|since| since.elapsed() < self.lasts)
    }

    /// Notes that the check with this key has succeeded now, and forgets what is too old.
    pub fn note(&self, key: K) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|_, since| since.elapsed() < self.lasts);
        since.insert(key, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_remembered_for_its_time() {
        let long = Recently::new(Duration::from_secs(3600));
        assert!(!long.contains(&1));
        long.note(1);
        assert!(long.contains(&1) && !long.contains(&2));
        let none = Recently::new(Duration::ZERO);
        none.note(1);
        assert!(!none.contains(&1));
    }
}
