//! Stores observations: one outage of a service is one Incident, however many sources, senders and replicas report it.
//! What comes together is stored together (docs/decisions/0050-alerts-that-come-together.md).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;

use super::batches::{Batches, Outage};
use super::correlate::covering;
use super::live::Live;
use super::observation::Observation;
use super::outage::Stored;
use crate::api::AlertSource;
use crate::cluster::caches::in_namespace;
use crate::cluster::{Error, SharedContext};
use crate::service::matching;

/// Stores observations; one for the process, so that everything that comes together meets here.
#[derive(Default)]
pub struct Recorder {
    batches: Arc<Batches>,
    live: Arc<Live>,
}

impl Recorder {
    /// Stores observations of one source. When it returns, everything worth keeping is stored. True if something was
    /// written, false if everything was known.
    ///
    /// # Errors
    /// When the API server does not store them; the sender must not get an acknowledgement then.
    pub async fn record(
        &self,
        context: &SharedContext,
        source: &Arc<AlertSource>,
        observations: Vec<Observation>,
    ) -> Result<bool, Arc<Error>> {
        let namespace = source.namespace().unwrap_or_default();
        let services = in_namespace(&context.caches.services, &namespace);
        let mut of_service: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
        let mut unclaimed = Vec::new();
        for observation in observations {
            let rule = source.spec.service.as_ref();
            match matching::service(rule, &observation.labels, observation.object.as_ref(), &services) {
                Some(service) => of_service.entry(service.name_any()).or_default().push(observation),
                None => unclaimed.push(observation),
            }
        }
        let mut is_written = false;
        let stored = of_service.into_iter().map(|(name, seen)| async move {
            let seen = Arc::new(seen);
            (self.store(context, source, Outage::Service(name), &seen).await, seen)
        });
        for (stored, seen) in join_all(stored).await {
            match stored? {
                // The service was deleted, and the cache still has it.
                Stored::WithoutService => unclaimed.extend(seen.iter().cloned()),
                stored => is_written |= stored == Stored::Written,
            }
        }
        if unclaimed.is_empty() {
            return Ok(is_written);
        }
        let incidents = in_namespace(&context.caches.incidents, &namespace);
        let mut of_group: BTreeMap<(String, Option<String>), Vec<Observation>> = BTreeMap::new();
        for observation in unclaimed {
            let key = (observation.group.clone(), covering(&incidents, &observation));
            of_group.entry(key).or_default().push(observation);
        }
        let stored = of_group.into_iter().map(|((group, covering), seen)| async move {
            self.store(context, source, Outage::Group { group, covering }, &Arc::new(seen)).await
        });
        for stored in join_all(stored).await {
            is_written |= stored? == Stored::Written;
        }
        Ok(is_written)
    }

    async fn store(
        &self,
        context: &SharedContext,
        source: &Arc<AlertSource>,
        outage: Outage,
        seen: &Arc<Vec<Observation>>,
    ) -> Result<Stored, Arc<Error>> {
        self.batches.store(context, &self.live, source, outage, Arc::clone(seen)).await
    }
}
