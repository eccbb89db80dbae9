//! Keeps the status of OnCallOverrides.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::OnCallOverride;
use crate::cluster::caches::{Change, get, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::override_status;

/// Reconciles OnCallOverrides.
pub struct OnCallOverrideReconciler;

impl Reconciler for OnCallOverrideReconciler {
    const NAME: &'static str = "oncalloverride";
    type Kind = OnCallOverride;

    fn cache(context: &Context) -> &Store<OnCallOverride> {
        &context.stores.overrides
    }

    /// An override may hide another one, so that a change of one concerns its neighbours.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<OnCallOverride>> {
        match change.kind {
            "OnCallRotation" | "OnCallOverride" => {
                controller::same_namespace(&context.stores.overrides, change)
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        subject: Arc<OnCallOverride>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = subject.namespace().unwrap_or_default();
        let rotation = get(&context.stores.rotations, &namespace, &subject.spec.rotation_ref.name);
        let overrides = in_namespace(&context.stores.overrides, &namespace);
        let (next, wake) =
            override_status::decide(&subject, rotation.as_deref(), &overrides, Timestamp::now());
        status::write(&context.client, &*subject, next).await?;
        Ok(wake.into())
    }
}
