//! Incidents as this process has last read or written them, which is newer than the cache for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::api::Incident;
use crate::cluster::caches::version;

/// How long a state that was read or written live is good for a decision that writes nothing. A watch that hangs is
/// noticed after this time.
const FRESH: Duration = Duration::from_secs(10);

/// The last live states, by namespace and name, with the time they are of.
#[derive(Debug, Default)]
pub struct Live {
    seen: Mutex<HashMap<Name, (Arc<Incident>, Instant)>>,
}

/// Namespace and name of an incident.
type Name = (String, String);

impl Live {
    /// Remembers what was read or written now.
    pub fn put(&self, incident: &Arc<Incident>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (_, at)| at.elapsed() < FRESH);
        let key = (incident.namespace().unwrap_or_default(), incident.name_any());
        seen.insert(key, (Arc::clone(incident), Instant::now()));
    }

    /// Forgets an incident that another writer has changed, or that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// The incidents of a namespace that are fresh.
    pub fn fresh(&self, namespace: &str) -> Vec<Arc<Incident>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = seen.iter().filter(|((of, _), (_, at))| of == namespace && at.elapsed() < FRESH);
        fresh.map(|(_, (incident, _))| Arc::clone(incident)).collect()
    }
}

/// The newer of two states of an incident; the live one if that cannot be told.
pub fn newer(live: Arc<Incident>, cached: Option<&Arc<Incident>>) -> Arc<Incident> {
    match cached {
        Some(cached) if cached.uid() == live.uid() && version(&**cached) > version(&*live) => {
            Arc::clone(cached)
        }
        _ => live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(uid: &str, version: &str) -> Arc<Incident> {
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.namespace = Some("shop".to_owned());
        incident.metadata.uid = Some(uid.to_owned());
        incident.metadata.resource_version = Some(version.to_owned());
        Arc::new(incident)
    }

    #[test]
    fn the_newer_of_the_live_and_the_cached_state_is_taken() {
        let version = |live: &str, cached: &str| {
            newer(incident("a", live), Some(&incident("a", cached))).resource_version()
        };
        assert_eq!(version("10", "9").as_deref(), Some("10"));
        assert_eq!(version("9", "10").as_deref(), Some("10"));
        assert_eq!(newer(incident("b", "9"), Some(&incident("a", "10"))).uid().as_deref(), Some("b"));
        assert_eq!(newer(incident("b", "9"), None).uid().as_deref(), Some("b"));
    }

    #[test]
    fn a_forgotten_incident_is_not_fresh() {
        let live = Live::default();
        live.put(&incident("a", "1"));
        assert_eq!((live.fresh("shop").len(), live.fresh("till").len()), (1, 0));
        live.forget("shop", "i");
        assert_eq!(live.fresh("shop").len(), 0);
    }
}
