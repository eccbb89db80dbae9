//! Reconciles OnCallRotations: gathers the facts, decides, and writes the status.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::OnCallRotation;
use crate::cluster::caches::{Change, Kind, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::notify::credential::Credential;
use crate::notify::message::Subject;
use crate::notify::store;

use super::feed_endpoint::SHORTEST_TOKEN;
use super::reminders;
use super::rotation_status::{RotationFacts, decide, moved};

/// What is said of the next 30 days changes as time passes, so it is looked at again at least so often.
const RESYNC: SignedDuration = SignedDuration::from_hours(24);

/// When a Secret that is of no use is looked at again.
const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(30);

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
        let facts = gather(&rotation, context).await;
        let now = Timestamp::now();
        let (next, wake) = decide(&rotation, &facts, now);
        let (reminders, remind) = reminders::decide(&rotation, &facts, now);
        store::create(context, &Subject::from(&*rotation), &reminders).await?;
        // Secrets are not watched.
        let again = if facts.calendar_trouble.is_some() { SECRET_AGAIN } else { RESYNC };
        let wake = [wake, remind, now.checked_add(again).ok()].into_iter().flatten().min();
        let moved = moved(&rotation, &next, now);
        status::write(context, &*rotation, next).await?;
        if let Some(moved) = moved {
            context.events.normal(&*rotation, "ShiftsMoved", &moved).await;
        }
        Ok(wake.into())
    }
}

async fn gather(rotation: &OnCallRotation, context: &Context) -> RotationFacts {
    let namespace = rotation.namespace().unwrap_or_default();
    RotationFacts {
        calendar_trouble: calendar_trouble(rotation, context, &namespace).await,
        overrides: in_namespace(&context.caches.overrides, &namespace),
        channels: in_namespace(&context.caches.channels, &namespace),
        rotations: in_namespace(&context.caches.rotations, &namespace),
    }
}

/// What is wrong with the token of the calendar file, if it has one.
async fn calendar_trouble(rotation: &OnCallRotation, context: &Context, namespace: &str) -> Option<String> {
    let secret = &rotation.spec.calendar_feed.as_ref()?.secret_ref.name;
    let credential = match Credential::read(&context.client, namespace, secret).await {
        Ok(credential) => credential,
        Err(error) => return Some(error.to_string()),
    };
    let token = match credential.text("token") {
        Ok(token) => token,
        Err(error) => return Some(error.to_string()),
    };
    let is_short = token.len() < SHORTEST_TOKEN;
    is_short.then(|| {
        let why = format!(
            "has fewer than {SHORTEST_TOKEN} characters, so that it could be guessed: openssl rand -hex 32"
        );
        credential.unusable("token", why).to_string()
    })
}
