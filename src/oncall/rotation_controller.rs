//! Keeps the status of OnCallRotations.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use crate::api::OnCallRotation;
use crate::cluster::caches::{Change, in_namespace};
use crate::cluster::controller::{self, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::rotation_status;

/// Runs until `cancel`; for the holder of the lease.
pub async fn run(context: SharedContext, cancel: CancellationToken) {
    let store = context.stores.rotations.clone();
    controller::run("rotations", context, store, map, |o, c| Box::pin(reconcile(o, c)), cancel).await;
}

fn map(change: &Change, context: &Context) -> Vec<ObjectRef<OnCallRotation>> {
    match change.kind {
        "OnCallOverride" | "NotificationChannel" | "OnCallRotation" => {
            controller::same_namespace(&context.stores.rotations, change)
        }
        _ => Vec::new(),
    }
}

async fn reconcile(rotation: Arc<OnCallRotation>, context: SharedContext) -> Result<Requeue, Error> {
    let namespace = rotation.namespace().unwrap_or_default();
    let overrides = in_namespace(&context.stores.overrides, &namespace);
    let channels = in_namespace(&context.stores.channels, &namespace);
    let rotations = in_namespace(&context.stores.rotations, &namespace);
    let (next, wake) =
        rotation_status::decide(&rotation, &overrides, &channels, &rotations, Timestamp::now());
    status::write(&context.client, &*rotation, next).await?;
    Ok(wake.into())
}
