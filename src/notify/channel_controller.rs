//! Keeps the status of NotificationChannels.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::message::Message;
use crate::api::{ChangePolicy, NotificationChannel};
use crate::cluster::caches::{Change, Kind, in_namespace};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

use super::channel_status;
use super::credential::{CredentialError, is_passing};
use super::delivery::webhook_secret;

/// Secrets are not watched: an unusable one is looked at again so often.
const SECRET_RETRY: SignedDuration = SignedDuration::from_secs(15);

/// Reconciles NotificationChannels.
pub struct NotificationChannelReconciler;

impl Reconciler for NotificationChannelReconciler {
    const NAME: &'static str = "notificationchannel";
    type Kind = NotificationChannel;

    fn cache(context: &Context) -> &Store<NotificationChannel> {
        &context.caches.channels
    }

    /// Objects with messages concern the channels that the messages name.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<NotificationChannel>> {
        match change.kind {
            Kind::Incident | Kind::ChangeRequest | Kind::RunbookRun => {
                controller::same_namespace(&context.caches.channels, change)
            }
            Kind::ChangePolicy => controller::all(&context.caches.channels),
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        channel: Arc<NotificationChannel>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = channel.namespace().unwrap_or_default();
        let secret = match &channel.spec.webhook {
            Some(webhook) => webhook_secret(context, &namespace, webhook).await.map(|_| ()),
            None => Ok(()),
        };
        let secret = match secret {
            // As long as nothing is known, what was said of the channel stands: pages must not be led past it.
            Err(CredentialError::Unreadable(_, source)) if is_passing(&source) => {
                return Err((*source).into());
            }
            known => known.map_err(|error| error.to_string()),
        };
        let retry = secret.is_err();
        let now = Timestamp::now();

        let incidents = in_namespace(&context.caches.incidents, &namespace);
        let requests = in_namespace(&context.caches.requests, &namespace);
        let runs = in_namespace(&context.caches.runs, &namespace);
        let policies = context.caches.policies.state();
        let of_incidents = incidents.iter().flat_map(|i| i.status.iter().flat_map(|status| &status.messages));
        let of_requests = requests.iter().flat_map(|r| r.status.iter().flat_map(|status| &status.messages));
        let of_runs = runs.iter().flat_map(|r| r.status.iter().flat_map(|status| &status.messages));
        let of_policies = policies.iter().flat_map(|policy| foreign(policy, &namespace));
        let name = channel.name_any();
        let own = |message: &&Message| message.channel_ref.name == name;
        let local = |message: &&Message| message.namespace.as_deref().is_none_or(|other| other == namespace);
        let messages =
            of_incidents.chain(of_requests).chain(of_runs).filter(local).chain(of_policies).filter(own);

        let next = channel_status::decide(&channel, secret, messages, now);
        status::write(&context.client, &*channel, next).await?;
        Ok(if retry { now.checked_add(SECRET_RETRY).ok().into() } else { Requeue::Never })
    }
}

/// The messages of a policy, which has no namespace, for channels of this one.
fn foreign<'a>(policy: &'a ChangePolicy, namespace: &'a str) -> impl Iterator<Item = &'a Message> {
    let messages = policy.status.iter().flat_map(|status| &status.messages);
    messages.filter(move |message| message.namespace.as_deref() == Some(namespace))
}
