//! The looks of checks outside of the cluster's API. They run beside the reconciles, so that no page waits for a slow
//! receiver; each result lets the incident be decided again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::Semaphore;

use super::checks;
use super::facts::{IncidentFacts, Observed};
use crate::api::Incident;
use crate::api::check::NamedCheck;
use crate::change::policy;
use crate::cluster::SharedContext;
use crate::cluster::caches::{Change, Kind};
use crate::notify::credential::Credential;
use crate::outbound::look::{Access, Seen};
use crate::outbound::{HttpUrl, endpoints};

/// Maximum number of looks at the same time.
const CONCURRENCY: usize = 16;
/// How long a result is kept that is no longer asked for.
const KEEP: SignedDuration = SignedDuration::from_mins(10);

/// What was seen, and what is being looked at.
pub struct Looks {
    known: Arc<Mutex<BTreeMap<Key, Known>>>,
    slots: Arc<Semaphore>,
}

/// A look: the namespace, and what is looked at. Incidents with the same check share it.
type Key = (String, String);

#[derive(Clone)]
struct Known {
    /// When the last look began.
    began: Timestamp,
    is_underway: bool,
    observed: Option<Observed>,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { known: Arc::default(), slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }
}

impl Looks {
    /// Puts what is known into the facts of an incident, and starts the looks that are due.
    pub fn look(
        &self,
        incident: &Incident,
        facts: &mut IncidentFacts,
        context: &SharedContext,
        now: Timestamp,
    ) {
        let Some(status) = incident.status.as_ref().filter(|_| incident.is_open()) else { return };
        let namespace = incident.namespace().unwrap_or_default();
        let policies = policy::covering(&facts.policies, &namespace, &facts.operator_namespace);
        let given = checks::of(incident, status);
        for check in &given.checks {
            let url = checks::outside(check).and_then(|(_, look)| HttpUrl::parse(look.url()).ok());
            let Some(url) = url else { continue };
            let Ok(authorities) = endpoints::listed(&policies, &namespace, &url) else { continue };
            let Ok(what) = serde_json::to_string(&(&check.query, &check.http, authorities)) else { continue };
            let key = (namespace.clone(), what);
            let (observed, is_due) = self.begin(&key, now);
            // Until it has looked, this process proves nothing.
            let first = observed.as_ref().map(|observed| observed.first);
            let first =
                first.unwrap_or_else(|| now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now));
            facts.observed_since = facts.observed_since.max(first);
            facts.looks.extend(observed.map(|observed| (check.name.clone(), observed)));
            if is_due {
                self.start(key, (check.clone(), authorities.map(str::to_owned)), incident, context);
            }
        }
    }

    /// What is known, and whether to look now.
    fn begin(&self, key: &Key, now: Timestamp) -> (Option<Observed>, bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| now.duration_since(known.began) < KEEP || known.is_underway);
        let entry = known.entry(key.clone());
        let is_new = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
        let known = entry.or_insert(Known { began: now, is_underway: true, observed: None });
        let is_due = is_new || (!known.is_underway && now.duration_since(known.began) >= checks::EVERY);
        if is_due {
            (known.began, known.is_underway) = (now, true);
        }
        (known.observed.clone(), is_due)
    }

    fn start(
        &self,
        key: Key,
        (check, authorities): (NamedCheck, Option<String>),
        incident: &Incident,
        context: &SharedContext,
    ) {
        let (known, slots, context) = (Arc::clone(&self.known), Arc::clone(&self.slots), Arc::clone(context));
        let change =
            Change { kind: Kind::Incident, namespace: incident.namespace(), name: incident.name_any() };
        tokio::spawn(async move {
            let seen = match slots.acquire().await {
                Ok(_slot) => see(&key.0, &check, authorities.as_deref(), &context).await,
                Err(closed) => Seen::inconclusive(closed.to_string()),
            };
            let at = Timestamp::now();
            {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = known.get_mut(&key) {
                    let first = known.observed.as_ref().map_or(at, |observed| observed.first);
                    known.is_underway = false;
                    known.observed = Some(Observed { first, at, seen });
                }
            }
            context.caches.announce(change);
        });
    }
}

/// Looks once.
async fn see(
    namespace: &str,
    check: &NamedCheck,
    authorities: Option<&str>,
    context: &SharedContext,
) -> Seen {
    let Some((_, look)) = checks::outside(check) else {
        return Seen::inconclusive("it looks at nothing outside".to_owned());
    };
    let credential = match look.secret() {
        Some(secret) => match Credential::read(&context.client, namespace, &secret.name).await {
            Ok(credential) => Some(credential),
            Err(error) => return Seen::inconclusive(error.to_string()),
        },
        None => None,
    };
    match credential.as_ref().map(|credential| credential.text("token")).transpose() {
        Ok(token) => look.look(&context.outbound, Access { token, authorities }).await,
        Err(error) => Seen::inconclusive(error.to_string()),
    }
}
