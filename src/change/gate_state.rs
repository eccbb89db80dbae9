//! Whether the change gate works, as the lease holder sees it: the last results of the probe, and whether the gate is open
//! because somebody changed its configuration.
//!
//! `admission` writes it. The controller of policies reads it for the condition `Enforced`, and drift detection reports what
//! was changed meanwhile.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// Last result of the probe in the scope of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProbeResult {
    /// When the probe was sent.
    pub time: Timestamp,
    /// Whether the change gate refused the probe; otherwise what happened instead.
    pub result: Result<(), String>,
}

/// A time in which changes could pass without being asked about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// From when on, at the latest.
    pub since: Timestamp,
    /// When the gate was closed again; none while it is open.
    pub closed: Option<Timestamp>,
    /// What is wrong, and the next command.
    pub what: String,
}

/// The state, in this process.
#[derive(Debug, Default)]
pub struct GateState {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    by_policy: BTreeMap<String, ProbeResult>,
    opening: Option<Opening>,
}

impl GateState {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the result of the probe in the scope of a policy.
    pub fn record(&self, policy: &str, result: ProbeResult) {
        self.inner().by_policy.insert(policy.to_owned(), result);
    }

    /// The last result of the probe in the scope of a policy.
    pub fn probe(&self, policy: &str) -> Option<ProbeResult> {
        self.inner().by_policy.get(policy).cloned()
    }

    /// The gate is open since then. An opening that lasts, or whose changes were not looked for yet, goes on.
    pub fn open(&self, since: Timestamp, what: &str) {
        {
            let mut inner = self.inner();
            let since = inner.opening.as_ref().map_or(since, |opening| opening.since.min(since));
            inner.opening = Some(Opening { since, closed: None, what: what.to_owned() });
        }
        self.changed.send_replace(());
    }

    /// The gate is as it should be.
    pub fn close(&self, now: Timestamp) {
        if let Some(opening) = self.inner().opening.as_mut() {
            opening.closed.get_or_insert(now);
        }
        self.changed.send_replace(());
    }

    /// The time in which the gate is or was open, until its changes were looked for.
    pub fn opening(&self) -> Option<Opening> {
        self.inner().opening.clone()
    }

    /// The changes of this opening were looked for after it was closed.
    pub fn settle(&self, settled: &Opening) {
        let mut inner = self.inner();
        if inner.opening.as_ref() == Some(settled) {
            inner.opening = None;
        }
    }

    /// Tells of every opening and closing from now on.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_opening_lasts_until_its_changes_were_looked_for() {
        let state = GateState::default();
        state.close(at(1));
        assert_eq!(state.opening(), None, "it was never open");
        state.open(at(5), "a");
        state.close(at(7));
        state.close(at(9));
        let closed = state.opening().unwrap();
        assert_eq!((closed.since, closed.closed), (at(5), Some(at(7))));
        state.open(at(8), "b");
        state.settle(&closed);
        let open = state.opening().unwrap();
        assert_eq!((open.since, open.closed, open.what.as_str()), (at(5), None, "b"), "opened once more");
        state.settle(&open);
        assert_eq!(state.opening(), None);
    }
}
