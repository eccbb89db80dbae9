//! Keeps the status of OnCallRotations.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::OnCallRotation;
use crate::cluster::caches::{Change, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::rotation_status;

/// Reconciles OnCallRotations.
pub struct OnCallRotationReconciler;

impl Reconciler for OnCallRotationReconciler {
    const NAME: &'static str = "oncallrotation";
    type Kind = OnCallRotation;

    fn cache(context: &Context) -> &Store<OnCallRotation> {
        &context.stores.rotations
    }

    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<OnCallRotation>> {
        match change.kind {
            "OnCallOverride" | "NotificationChannel" | "OnCallRotation" => {
                controller::same_namespace(&context.stores.rotations, change)
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        rotation: Arc<OnCallRotation>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = rotation.namespace().unwrap_or_default();
        let overrides = in_namespace(&context.stores.overrides, &namespace);
        let channels = in_namespace(&context.stores.channels, &namespace);
        let rotations = in_namespace(&context.stores.rotations, &namespace);
        let (next, wake) =
            rotation_status::decide(&rotation, &overrides, &channels, &rotations, Timestamp::now());
        status::write(&context.client, &*rotation, next).await?;
        Ok(wake.into())
    }
}
