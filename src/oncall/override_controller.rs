//! Reconciles OnCallOverrides: gathers the facts, decides, and writes the status.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::OnCallOverride;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::override_status::{OverrideFacts, decide};

/// Reconciles OnCallOverrides.
pub struct OnCallOverrideReconciler;

impl Reconciler for OnCallOverrideReconciler {
    const NAME: &'static str = "oncalloverride";
    type Kind = OnCallOverride;

    fn cache(context: &Context) -> &Store<OnCallOverride> {
        &context.caches.overrides
    }

    /// An override may hide another one, so a change of one affects the others of the namespace.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<OnCallOverride>> {
        match change.kind {
            Kind::OnCallRotation | Kind::OnCallOverride => {
                controller::same_namespace(&context.caches.overrides, change)
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        subject: Arc<OnCallOverride>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let facts = gather(&subject, context);
        let (next, wake) = decide(&subject, &facts, Timestamp::now());
        status::write(context, &*subject, next).await?;
        Ok(wake.into())
    }
}

fn gather(subject: &OnCallOverride, context: &Context) -> OverrideFacts {
    let namespace = subject.namespace().unwrap_or_default();
    OverrideFacts {
        rotation: get(&context.caches.rotations, &namespace, &subject.spec.rotation_ref.name),
        overrides: in_namespace(&context.caches.overrides, &namespace),
    }
}
