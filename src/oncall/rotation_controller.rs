//! Reconciles OnCallRotations: gathers the facts, decides, and writes the status.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::OnCallRotation;
use crate::cluster::caches::{Change, Kind, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::notify::message::Subject;
use crate::notify::store;

use super::reminders;
use super::rotation_status::{RotationFacts, decide, moved};

/// What is said of the next 30 days changes as time passes, so it is looked at again at least so often.
const RESYNC: SignedDuration = SignedDuration::from_hours(24);

/// Reconciles OnCallRotations.
pub struct OnCallRotationReconciler;

impl Reconciler for OnCallRotationReconciler {
    const NAME: &'static str = "oncallrotation";
    type Kind = OnCallRotation;

    fn cache(context: &Context) -> &Store<OnCallRotation> {
        &context.caches.rotations
    }

    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<OnCallRotation>> {
        match change.kind {
            Kind::OnCallOverride | Kind::NotificationChannel | Kind::OnCallRotation => {
                controller::same_namespace(&context.caches.rotations, change)
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        rotation: Arc<OnCallRotation>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let facts = gather(&rotation, context);
        let now = Timestamp::now();
        let (next, wake) = decide(&rotation, &facts, now);
        let (reminders, remind) = reminders::decide(&rotation, &facts, now);
        store::create(context, &Subject::from(&*rotation), &reminders).await?;
        let wake = [wake, remind, now.checked_add(RESYNC).ok()].into_iter().flatten().min();
        let moved = moved(&rotation, &next, now);
        status::write(context, &*rotation, next).await?;
        if let Some(moved) = moved {
            context.events.normal(&*rotation, "ShiftsMoved", &moved).await;
        }
        Ok(wake.into())
    }
}

fn gather(rotation: &OnCallRotation, context: &Context) -> RotationFacts {
    let namespace = rotation.namespace().unwrap_or_default();
    RotationFacts {
        overrides: in_namespace(&context.caches.overrides, &namespace),
        channels: in_namespace(&context.caches.channels, &namespace),
        rotations: in_namespace(&context.caches.rotations, &namespace),
    }
}
