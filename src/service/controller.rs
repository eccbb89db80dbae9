//! Reconciles BusinessServices: writes their statuses.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::decide::{ServiceFacts, decide, missing};
use crate::api::BusinessService;
use crate::api::common::NameRef;
use crate::change::policy;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

/// Reconciles BusinessServices.
pub struct BusinessServiceReconciler;

impl Reconciler for BusinessServiceReconciler {
    const NAME: &'static str = "businessservice";
    type Kind = BusinessService;

    fn cache(context: &Context) -> &Store<BusinessService> {
        &context.caches.services
    }

    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<BusinessService>> {
        match change.kind {
            Kind::Incident | Kind::OnCallRotation | Kind::NotificationChannel => {
                controller::same_namespace(&context.caches.services, change)
            }
            Kind::ChangePolicy => controller::all(&context.caches.services),
            _ => Vec::new(),
        }
    }

    /// What it tells of incidents is for people.
    fn patience(kind: Kind) -> Duration {
        if kind == Kind::Incident { Duration::from_secs(1) } else { Duration::ZERO }
    }

    async fn reconcile(
        &self,
        service: Arc<BusinessService>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = service.namespace().unwrap_or_default();
        let caches = &context.caches;
        let rotation = |reference: Option<&NameRef>| {
            reference.and_then(|reference| get(&caches.rotations, &namespace, &reference.name))
        };
        let rotations = service.spec.rotations.as_ref();
        let on_call = rotation(rotations.and_then(|rotations| rotations.on_call.as_ref()));
        let policies = caches.policies.state();
        let facts = ServiceFacts {
            service: &service,
            incidents: &in_namespace(&caches.incidents, &namespace),
            on_call: on_call.as_deref(),
            missing: &missing(&service.spec, |kind, name| match kind {
                "OnCallRotation" => get(&caches.rotations, &namespace, name).is_some(),
                _ => get(&caches.channels, &namespace, name).is_some(),
            }),
            policies: &policy::covering(&policies, &namespace, &context.config.namespace),
        };
        status::write(context, &*service, decide(&facts, Timestamp::now())).await?;
        Ok(Requeue::Never)
    }
}
