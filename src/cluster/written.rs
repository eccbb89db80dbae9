//! What this process has stored a moment ago. Its own caches follow a moment later, and a decision from them would be
//! refused, or made twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::caches::version;
use crate::api::RunbookRun;

/// How long a reconcile waits for the cache. After that it goes on with what there is.
const CACHE_FOLLOWS: Duration = Duration::from_secs(1);
/// How long a version is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Number of versions from which on the old ones are forgotten.
const MANY: usize = 1024;

/// The versions of objects that this process has stored, and the runs that have announced an act.
#[derive(Default)]
pub struct Written {
    versions: Mutex<HashMap<String, (u64, Instant)>>,
    announced: Mutex<HashMap<String, Arc<RunbookRun>>>,
}

impl Written {
    /// Notes that this process has stored an object.
    pub fn note<K: ResourceExt>(&self, stored: &K) {
        let (Some(uid), Some(version)) = (stored.uid(), version(stored)) else { return };
        let mut versions = held(&self.versions);
        if versions.len() >= MANY {
            versions.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        }
        versions.insert(uid, (version, Instant::now()));
    }

    /// Whether this process has stored a newer version of an object than this.
    pub fn is_newer<K: ResourceExt>(&self, cached: &K) -> bool {
        self.last(cached).is_some_and(|(last, _)| version(cached) < Some(last))
    }

    /// Whether this process has stored exactly this version a moment ago.
    pub fn is_this<K: ResourceExt>(&self, cached: &K) -> bool {
        self.last(cached).is_some_and(|(last, _)| version(cached) == Some(last))
    }

    /// Until when the cache may still follow by itself, if this process has just stored a newer version than this.
    pub fn awaits<K: ResourceExt>(&self, cached: &K) -> Option<Timestamp> {
        let (last, since) = self.last(cached)?;
        let left = CACHE_FOLLOWS.checked_sub(since.elapsed()).filter(|_| version(cached) < Some(last))?;
        Timestamp::now().checked_add(SignedDuration::try_from(left).ok()?).ok()
    }

    fn last<K: ResourceExt>(&self, cached: &K) -> Option<(u64, Instant)> {
        let known = held(&self.versions).get(&cached.uid()?).copied();
        known.filter(|(_, since)| since.elapsed() < REMEMBERED)
    }

    /// Remembers a run that has announced an act, until it is forgotten.
    pub fn announce(&self, run: &RunbookRun) {
        held(&self.announced).extend(run.uid().map(|uid| (uid, Arc::new(run.clone()))));
    }

    /// Forgets the run: it has announced nothing any more.
    pub fn forget(&self, run: &RunbookRun) {
        held(&self.announced).remove(&run.uid().unwrap_or_default());
    }

    /// The run with this UID as this process has stored it with an announced act, unless the cache holds a newer one.
    pub fn announced(&self, uid: &str, cached: Option<&RunbookRun>) -> Option<Arc<RunbookRun>> {
        let run = held(&self.announced).get(uid).cloned()?;
        (cached.and_then(version) <= version(&*run)).then_some(run)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(version: &str) -> RunbookRun {
        let mut run: RunbookRun = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1",
            "kind": "RunbookRun", "metadata": {"name": "r", "uid": "u"}, "spec": {"runbookRef": {"name": "rb"}}}))
        .unwrap();
        run.metadata.resource_version = Some(version.to_owned());
        run
    }

    #[test]
    fn a_reconcile_waits_for_what_its_process_has_stored() {
        let written = Written::default();
        assert!(!written.is_newer(&run("7")) && !written.is_this(&run("7")));
        written.note(&run("9"));
        assert!(written.is_newer(&run("8")) && written.awaits(&run("8")).is_some());
        for current in ["9", "10"] {
            assert!(!written.is_newer(&run(current)) && written.awaits(&run(current)).is_none());
        }
        assert!(written.is_this(&run("9")) && !written.is_this(&run("10")));
    }

    #[test]
    fn an_announced_run_is_known_before_the_cache_has_it() {
        let written = Written::default();
        written.announce(&run("9"));
        for (cached, is_known) in [(None, true), (Some("8"), true), (Some("9"), true), (Some("10"), false)] {
            assert_eq!(written.announced("u", cached.map(run).as_ref()).is_some(), is_known, "{cached:?}");
        }
        written.forget(&run("9"));
        assert_eq!(written.announced("u", None), None);
    }
}
