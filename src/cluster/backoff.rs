//! Backoff after errors. The pause doubles with each failure of an object and starts again from the first
//! after a success.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Counts the consecutive failures of each object.
#[derive(Debug)]
pub struct Backoff<K> {
    first: Duration,
    longest: Duration,
    failures: Mutex<HashMap<K, u32>>,
}

/// Backoff for failures. The pauses grow from one second to five minutes.
impl<K: Eq + Hash> Default for Backoff<K> {
    fn default() -> Backoff<K> {
        Backoff::between(FIRST, LONGEST)
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// A backoff whose pauses grow from `first` to `longest`.
    pub fn between(first: Duration, longest: Duration) -> Backoff<K> {
        Backoff { first, longest, failures: Mutex::new(HashMap::new()) }
    }

    /// Counts a failure and returns how long to wait before the next attempt.
    pub fn failed(&self, key: K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key).or_insert(0);
        let wait = self.first.saturating_mul(2_u32.saturating_pow(*count)).min(self.longest);
        *count = count.saturating_add(1);
        wait
    }

    /// Resets the failure count of the object.
    pub fn succeeded(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// How long to wait exactly: a random part of a pause, so that those who failed together do not come back together. If the
/// receiver has asked for a time, it is waited for, and up to as long again.
pub fn pause(wait: Duration, asked: Option<Duration>) -> Duration {
    // The keys of a hasher are random.
    spread(RandomState::new().build_hasher().finish(), wait, asked).min(LONGEST)
}

fn spread(random: u64, wait: Duration, asked: Option<Duration>) -> Duration {
    let part = |whole: Duration| {
        let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % millis.saturating_add(1))
    };
    asked.map_or_else(|| part(wait), |asked| asked + part(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_random_part_and_at_least_what_was_asked_for() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        for random in [0, 500, 1000, 1001, u64::MAX] {
            assert!(spread(random, second, None) <= second, "{random}");
            let asked = spread(random, Duration::ZERO, Some(second));
            assert!(asked >= second && asked <= 2 * second, "{random}");
        }
        assert_ne!(spread(1, minute, None), spread(2, minute, None));
        assert_eq!(pause(second, Some(10 * minute)), LONGEST, "nobody is obeyed for ever");
    }

    #[test]
    fn waits_longer_each_time_for_one_object_alone() {
        let backoff = Backoff::default();
        let seconds: Vec<_> = (0..10).map(|_| backoff.failed("a").as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff.failed("b").as_secs(), 1);
        backoff.succeeded(&"a");
        assert_eq!(backoff.failed("a").as_secs(), 1);
    }
}
