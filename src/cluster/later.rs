//! Reconciles that may wait a moment, so that several changes of other objects lead to one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The objects whose reconcile may wait, each with the time until which it may.
pub struct Later<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Later<K> {
    fn default() -> Later<K> {
        Later(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash> Later<K> {
    /// Another object has changed. One that waits already waits no longer for it, so that a busy time does not put it off
    /// again and again.
    pub fn wait(&self, key: &K, patience: Duration) {
        if patience.is_zero() {
            return self.now(key);
        }
        let until = Instant::now() + patience;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key.clone()).and_modify(|known| *known = until.min(*known)).or_insert(until);
    }

    /// The object is to be reconciled at once.
    pub fn now(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// How long the reconcile that is asked for still waits; `None` if it is due, and then it waits for nothing more.
    pub fn left(&self, key: &K) -> Option<Duration> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = waiting.get(key)?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        if left.is_none() {
            waiting.remove(key);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_change_waits_and_a_later_one_puts_it_off_no_further() {
        let later = Later::default();
        assert_eq!(later.left(&1), None, "nothing is said about it");
        later.wait(&1, LONG);
        later.wait(&1, LONG * 2);
        assert!(later.left(&1).is_some_and(|left| left <= LONG));
        later.wait(&1, Duration::ZERO);
        assert_eq!(later.left(&1), None, "a change that is urgent");
    }

    #[test]
    fn a_change_of_the_object_itself_ends_the_waiting() {
        let later = Later::default();
        later.wait(&1, LONG);
        later.now(&1);
        assert_eq!(later.left(&1), None);
        later.wait(&1, LONG);
        assert!(later.left(&1).is_some(), "the next one may wait again");
    }
}
