//! Writes the status of every Freeze, exactly when it begins and ends, and announces both.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::Freeze;
use crate::change::freeze::decide::decide;
use crate::cluster::caches::{Change, Kind, get_cluster};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

/// Reconciles Freezes.
pub struct FreezeReconciler;

impl Reconciler for FreezeReconciler {
    const NAME: &'static str = "freeze";
    type Kind = Freeze;

    fn cache(context: &Context) -> &Store<Freeze> {
        &context.caches.freezes
    }

    /// The freezes of a policy that changed.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<Freeze>> {
        if change.kind != Kind::ChangePolicy {
            return Vec::new();
        }
        let found = context.caches.freezes.state_filter(|freeze| freeze.spec.policy_ref.name == change.name);
        found.iter().map(|freeze| ObjectRef::from_obj(&**freeze)).collect()
    }

    async fn reconcile(&self, freeze: Arc<Freeze>, context: &SharedContext) -> Result<Requeue, Error> {
        if freeze.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::Never);
        }
        let policy = get_cluster(&context.caches.policies, &freeze.spec.policy_ref.name);
        let decided = decide(&freeze, policy.as_deref(), Timestamp::now());
        let api: Api<Freeze> = Api::all(context.client.clone());
        status::replace(context, &api, &*freeze, decided.status).await?;
        // The status remembers what was announced, so each Event is written once.
        for (reason, note) in decided.events {
            context.events.normal(&*freeze, reason, &note).await;
        }
        Ok(decided.wake.into())
    }
}
