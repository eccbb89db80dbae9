//! Gathers the facts from which the approvals of requests are evaluated: cached for a status, live for a decision that
//! lets a change pass.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::api::Api;

use crate::api::{Approval, BusinessService, ChangePolicy, ChangeRequest, Freeze, Incident, OnCallRotation};
use crate::change::freeze::live;
use crate::change::policy;
use crate::change::stamps;
use crate::cluster::caches::{in_namespace, list_live};
use crate::cluster::{Context, Error};

/// Facts about the requests of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Every policy.
    pub policies: Vec<Arc<ChangePolicy>>,
    /// Every freeze.
    pub freezes: Vec<Arc<Freeze>>,
    /// Every incident.
    pub incidents: Vec<Arc<Incident>>,
    /// The services in the namespace of the request.
    pub services: Vec<Arc<BusinessService>>,
    /// The rotations in the namespace of the request.
    pub rotations: Vec<Arc<OnCallRotation>>,
    /// The approvals in the namespace of the request.
    pub approvals: Vec<Arc<Approval>>,
    /// The operator's own namespace.
    pub operator_namespace: String,
}

impl Facts {
    /// The facts as cached. They never let a change pass: the gate reads [`LiveFacts`].
    pub fn cached(context: &Context, namespace: &str) -> Facts {
        let incidents = context.caches.incidents.state();
        let approvals = stamps::counting(&context.stamps, in_namespace(&context.caches.approvals, namespace));
        Facts::with(context, namespace, incidents, approvals, context.caches.freezes.state())
    }

    fn with(
        context: &Context,
        namespace: &str,
        incidents: Vec<Arc<Incident>>,
        approvals: Vec<Arc<Approval>>,
        freezes: Vec<Arc<Freeze>>,
    ) -> Facts {
        Facts {
            policies: context.caches.policies.state(),
            freezes,
            incidents,
            services: in_namespace(&context.caches.services, namespace),
            rotations: in_namespace(&context.caches.rotations, namespace),
            approvals,
            operator_namespace: context.config.namespace.clone(),
        }
    }
}

/// [`Facts`] in which everything that can revoke an approval, approvals, incidents and freezes, was read from the API
/// server.
#[derive(Clone, Debug)]
pub struct LiveFacts(Facts);

impl LiveFacts {
    /// Reads the facts for requests that are all in `namespace`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read<'a>(
        context: &Context,
        namespace: &str,
        requests: impl Iterator<Item = &'a ChangeRequest>,
    ) -> Result<LiveFacts, Error> {
        let approvals = Api::namespaced(context.client.clone(), namespace);
        let approvals = list_live::<Approval>(approvals, &context.caches.approvals).await?;
        let approvals = stamps::counting(&context.stamps, approvals);
        let plans = requests.filter_map(|request| request.status.as_ref()).flat_map(|status| &status.plan);
        let namespaces: BTreeSet<&str> = plans.map(policy::namespace_of).collect();
        let mut incidents = Vec::new();
        for namespace in namespaces {
            let api = match namespace {
                "" => Api::all(context.client.clone()),
                namespace => Api::namespaced(context.client.clone(), namespace),
            };
            incidents.extend(list_live::<Incident>(api, &context.caches.incidents).await?);
        }
        let freezes = live::list(&context.client).await?;
        Ok(LiveFacts(Facts::with(context, namespace, incidents, approvals, freezes)))
    }

    /// The facts.
    pub fn get(&self) -> &Facts {
        &self.0
    }

    /// Takes facts for live ones.
    #[cfg(test)]
    pub fn of(facts: Facts) -> LiveFacts {
        LiveFacts(facts)
    }
}
