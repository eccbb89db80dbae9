//! One attempt to send one message, by the channel it names.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::channels::{self, Channel, Envelope, Member};
use super::credential::{Credential, CredentialError};
use super::message::webhook_id;
use super::schedule::Outcome;
use crate::api::Notification;
use crate::api::notification::SubjectKind;
use crate::cluster::{Context, caches};

/// How long an attempt may take if the channel does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tries once to send a message.
pub async fn deliver(context: &Context, notification: &Notification, now: Timestamp) -> Outcome {
    let spec = &notification.spec;
    let (namespace, name) = (notification.namespace().unwrap_or_default(), &spec.channel_ref.name);
    // Mayday retries until the deadline where people can fix the cause, so that a typing error loses no page.
    let Some(channel) = caches::get(&context.caches.channels, &namespace, name) else {
        return later(format!("NotificationChannel {name} does not exist in {namespace}"));
    };
    let way = match channels::of(&channel.spec) {
        Some((_, Member::Built(way))) => way,
        Some((member, Member::NotBuilt)) => return not_built(name, member),
        None => return not_built(name, "no member"),
    };
    let credential = match credential(context, &namespace, way).await {
        Ok(credential) => credential,
        Err(error) => return later(error.to_string()),
    };
    let timeout = channel.spec.timeout.as_ref().and_then(|timeout| Duration::try_from(timeout.get()).ok());
    let is_namespaced = spec.subject_ref.kind != SubjectKind::ChangePolicy;
    let envelope = Envelope {
        id: &webhook_id(&spec.key),
        purpose: spec.purpose.as_str(),
        time: spec.created_time.0,
        subject: &spec.about,
        namespace: is_namespaced.then_some(&namespace),
        severity: spec.severity.map(|severity| severity.as_str()),
        person: spec.recipient.user.as_ref().map(|_| spec.recipient.name.as_str()),
        address: spec.address.as_deref(),
        text: &spec.text,
        timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
        client: &context.outbound,
    };
    way.send(&credential, &envelope, now).await
}

/// Reads the Secret of a channel, which is never cached, and checks it.
///
/// # Errors
/// What is wrong with the Secret, in words without its content.
pub async fn credential(
    context: &Context,
    namespace: &str,
    channel: &dyn Channel,
) -> Result<Credential, CredentialError> {
    let credential = match channel.secret() {
        Some(secret) => Credential::read(&context.client, namespace, &secret.name).await?,
        None => Credential::default(),
    };
    channel.check(&credential)?;
    Ok(credential)
}

fn not_built(name: &str, member: &str) -> Outcome {
    Outcome::Failed { error: format!("NotificationChannel {name}: {member} is not implemented yet") }
}

fn later(error: String) -> Outcome {
    Outcome::Retry { error, after: None }
}
