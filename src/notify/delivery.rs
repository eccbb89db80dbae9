//! One attempt to deliver one message, by the channel it names.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::api::message::{Message, Purpose};
use crate::api::notification_channel::{NotificationChannelSpec, Webhook};
use crate::cluster::{Context, caches};

use super::credential::{Credential, CredentialError};
use super::schedule::Outcome;
use super::signature::SigningKey;
use super::webhook::{self, Body, Target};

/// How long an attempt may take if the channel does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a message is about, for its receiver.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `inc/checkout-x7k2p`.
    pub subject: String,
    /// Namespace of the subject; absent if it has none.
    pub namespace: Option<String>,
    /// Severity of the incident.
    pub severity: Option<&'static str>,
}

/// Tries once to deliver a message.
pub async fn deliver(context: &Context, about: &About, message: &Message, now: Timestamp) -> Outcome {
    let name = &message.channel_ref.name;
    let Some(namespace) = message.namespace.as_deref().or(about.namespace.as_deref()) else {
        return Outcome::Failed {
            error: format!("the namespace of NotificationChannel {name} is not known"),
        };
    };
    // What people can mend is tried again until the deadline: a page is not lost by a slip of the pen.
    let Some(channel) = caches::get(&context.caches.channels, namespace, name) else {
        return later(format!("NotificationChannel {name} does not exist in {namespace}"));
    };
    let Some(webhook) = &channel.spec.webhook else {
        let kind = member(&channel.spec).unwrap_or("no member");
        return Outcome::Failed {
            error: format!("NotificationChannel {name}: {kind} is not implemented yet"),
        };
    };
    let (url, key) = match webhook_secret(context, namespace, webhook).await {
        Ok(secret) => secret,
        Err(error) => return later(error.to_string()),
    };
    let timeout = channel.spec.timeout.as_ref().and_then(|timeout| Duration::try_from(timeout.get()).ok());
    let target = Target {
        url: &url,
        key: &key,
        timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT),
        allow_loopback: context.config.allow_loopback,
    };
    let body = Body {
        id: &webhook_id(&message.id),
        type_: purpose(message.purpose),
        time: message.created_time.0,
        subject: &about.subject,
        namespace: about.namespace.as_deref(),
        severity: about.severity,
        person: message.person.as_deref(),
        address: message.address.as_deref(),
        text: &message.text,
    };
    webhook::post(&target, &body, now).await
}

/// URL and key of a webhook channel.
///
/// # Errors
/// What is wrong with its Secret, in words without its content.
pub async fn webhook_secret(
    context: &Context,
    namespace: &str,
    channel: &Webhook,
) -> Result<(String, SigningKey), CredentialError> {
    let secret = &channel.secret_ref.name;
    let unusable = |key, why: String| CredentialError::Value(secret.clone(), key, why);
    let credential = Credential::read(&context.client, namespace, secret).await?;
    let url = credential.text("url")?;
    webhook::parse(url).map_err(|why| unusable("url", why))?;
    let key = credential.text("signingKey")?;
    let key = SigningKey::parse(key).map_err(|why| unusable("signingKey", why.to_string()))?;
    Ok((url.to_owned(), key))
}

/// Identity of a message for its receiver: that of the stored one as a hash, since that holds names and addresses as
/// people wrote them, and a header and a signature take no such text.
fn webhook_id(id: &str) -> String {
    let hash = Sha256::digest(id.as_bytes());
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

/// The member that is set, as it is written in a manifest.
pub fn member(spec: &NotificationChannelSpec) -> Option<&'static str> {
    [
        (spec.webhook.is_some(), "webhook"),
        (spec.email.is_some(), "email"),
        (spec.slack.is_some(), "slack"),
        (spec.pager_duty.is_some(), "pagerDuty"),
        (spec.teams.is_some(), "teams"),
        (spec.ntfy.is_some(), "ntfy"),
        (spec.matrix.is_some(), "matrix"),
        (spec.twilio.is_some(), "twilio"),
        (spec.alertmanager.is_some(), "alertmanager"),
    ]
    .into_iter()
    .find_map(|(set, name)| set.then_some(name))
}

/// What a message is for, as receivers and metrics see it.
pub fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Page => "page",
        Purpose::ApprovalNeeded => "approval-needed",
        Purpose::Decision => "decision",
        Purpose::Stakeholders => "stakeholders",
        Purpose::Alarm => "alarm",
    }
}

fn later(error: String) -> Outcome {
    Outcome::Retry { error, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_message_can_stand_in_any_header() {
        let plain = webhook_id("u-1/0.0/0/emil/hook");
        assert_eq!(plain, webhook_id("u-1/0.0/0/emil/hook"), "the same for a repeat");
        for hostile in ["u-1/0.0/0/emil/hook/a\nb", "u-1/0.0/0/emil/hook/+49 1 ", "u-1/0.0/0/emil/hook/ü"] {
            let id = webhook_id(hostile);
            assert_ne!(id, plain);
            let (prefix, hex) = id.split_once('_').unwrap();
            assert!(
                prefix == "msg" && hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
    }
}
