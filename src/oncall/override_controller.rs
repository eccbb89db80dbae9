//! Keeps the status of OnCallOverrides.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use crate::api::OnCallOverride;
use crate::cluster::caches::{Change, get, in_namespace};
use crate::cluster::controller::{self, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::override_status;

/// Runs until `cancel`; for the holder of the lease.
pub async fn run(context: SharedContext, cancel: CancellationToken) {
    let store = context.stores.overrides.clone();
    controller::run("overrides", context, store, map, |o, c| Box::pin(reconcile(o, c)), cancel).await;
}

/// An override may hide another one, so that a change of one concerns its neighbours.
fn map(change: &Change, context: &Context) -> Vec<ObjectRef<OnCallOverride>> {
    match change.kind {
        "OnCallRotation" | "OnCallOverride" => controller::same_namespace(&context.stores.overrides, change),
        _ => Vec::new(),
    }
}

async fn reconcile(subject: Arc<OnCallOverride>, context: SharedContext) -> Result<Requeue, Error> {
    let namespace = subject.namespace().unwrap_or_default();
    let rotation = get(&context.stores.rotations, &namespace, &subject.spec.rotation_ref.name);
    let overrides = in_namespace(&context.stores.overrides, &namespace);
    let (next, wake) = override_status::decide(&subject, rotation.as_deref(), &overrides, Timestamp::now());
    status::write(&context.client, &*subject, next).await?;
    Ok(wake.into())
}
