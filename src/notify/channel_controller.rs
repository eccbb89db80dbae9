//! Keeps the status of NotificationChannels.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::NotificationChannel;
use crate::api::notification_channel::NotificationChannelSpec;
use crate::cluster::caches::{Change, Kind, get, in_namespace};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::recently::Recently;
use crate::cluster::{Context, Error, SharedContext, status};

use super::channels::Member;
use super::credential::{CredentialError, is_passing};
use super::{channel_status, channels, delivery};

/// When a Secret that was unusable, or was not read again, is looked at; Secrets are not watched.
const SECRET_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// How long a usable Secret is not read again: each message leads here.
const SECRET_LASTS: Duration = Duration::from_secs(15);

/// Reconciles NotificationChannels.
pub struct NotificationChannelReconciler {
    /// The channels, by UID and generation, whose Secret was usable a while ago.
    usable: Recently<(Option<String>, Option<i64>)>,
}

impl Default for NotificationChannelReconciler {
    fn default() -> NotificationChannelReconciler {
        NotificationChannelReconciler { usable: Recently::new(SECRET_LASTS) }
    }
}

impl Reconciler for NotificationChannelReconciler {
    const NAME: &'static str = "notificationchannel";
    type Kind = NotificationChannel;

    fn cache(context: &Context) -> &Store<NotificationChannel> {
        &context.caches.channels
    }

    /// The channel that a Notification names.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<NotificationChannel>> {
        let namespace = change.namespace.as_deref().unwrap_or_default();
        let notification = match change.kind {
            Kind::Notification => get(&context.caches.notifications, namespace, &change.name),
            _ => None,
        };
        let named = notification.map(|found| ObjectRef::new(&found.spec.channel_ref.name).within(namespace));
        named.into_iter().collect()
    }

    /// What became of messages is counted once for several of them.
    fn patience(kind: Kind) -> Duration {
        if kind == Kind::Notification { Duration::from_secs(1) } else { Duration::ZERO }
    }

    async fn reconcile(
        &self,
        channel: Arc<NotificationChannel>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = channel.namespace().unwrap_or_default();
        let key = (channel.uid(), channel.metadata.generation);
        let is_known = self.usable.contains(&key);
        let checked = match is_known {
            true => Ok(()),
            false => check(context, &namespace, &channel.spec).await,
        };
        let secret = match checked {
            // While the Secret cannot be read, the last status of the channel stands: pages must not be led
            // past it.
            Err(CredentialError::Unreadable(_, source)) if is_passing(&source) => {
                return Err((*source).into());
            }
            known => known.map_err(|error| error.to_string()),
        };
        let retry = secret.is_err();
        if !retry && !is_known {
            self.usable.note(key);
        }
        let now = Timestamp::now();
        let name = channel.name_any();
        let mut messages = in_namespace(&context.caches.notifications, &namespace);
        messages.retain(|message| message.spec.channel_ref.name == name);
        let next = channel_status::decide(&channel, secret, messages.iter().map(|message| &**message), now);
        status::write(context, &*channel, next).await?;
        // What is only remembered is read when it is no longer.
        Ok(if retry || is_known { now.checked_add(SECRET_AGAIN).ok().into() } else { Requeue::Never })
    }
}

/// Whether the Secret of a channel can be used.
async fn check(
    context: &Context,
    namespace: &str,
    spec: &NotificationChannelSpec,
) -> Result<(), CredentialError> {
    match channels::of(spec) {
        Some((_, Member::Built(channel))) => {
            delivery::credential(context, namespace, channel).await.map(|_| ())
        }
        Some((_, Member::NotBuilt)) | None => Ok(()),
    }
}
