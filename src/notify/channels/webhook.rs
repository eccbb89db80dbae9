//! Webhooks: a signed POST to an address that was looked at first.
//!
//! It is sent by the one client for such addresses, see [`crate::outbound`]. No error holds the URL.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use serde::Serialize;

use super::signature::SigningKey;
use super::{Channel, Envelope};
use crate::api::common::NameRef;
use crate::api::notification_channel::Webhook;
use crate::notify::credential::{Credential, CredentialError};
use crate::notify::schedule::Outcome;
use crate::outbound::client::Call;
use crate::outbound::{HttpUrl, Outbound, retry_after};

/// The keys of the Secret.
const URL: &str = "url";
const SIGNING_KEY: &str = "signingKey";

impl Channel for Webhook {
    fn secret(&self) -> Option<&NameRef> {
        Some(&self.secret_ref)
    }

    fn check(&self, credential: &Credential) -> Result<(), CredentialError> {
        secrets(credential).map(|_| ())
    }

    fn send<'a>(
        &'a self,
        credential: &'a Credential,
        envelope: &'a Envelope<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome> {
        async move {
            let (url, key) = match secrets(credential) {
                Ok(secrets) => secrets,
                Err(error) => return retry(error.to_string()),
            };
            let target = Target { url: &url, key: &key, timeout: envelope.timeout, client: envelope.client };
            post(&target, &Body::from(envelope), now).await
        }
        .boxed()
    }
}

/// URL and signing key.
fn secrets(credential: &Credential) -> Result<(HttpUrl, SigningKey), CredentialError> {
    let url = HttpUrl::parse(credential.text(URL)?).map_err(|why| credential.unusable(URL, why))?;
    let key = credential.text(SIGNING_KEY)?;
    let key = SigningKey::parse(key).map_err(|why| credential.unusable(SIGNING_KEY, why.to_string()))?;
    Ok((url, key))
}

/// The body of a POST. `id` repeats `webhook-id`: a receiver that has seen the id may drop the message.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body<'a> {
    /// Identity of the message.
    pub id: &'a str,
    /// What it is for: `page`, `approval-needed`, `decision`, `stakeholders`, `alarm`.
    #[serde(rename = "type")]
    pub type_: &'a str,
    /// When it was decided, RFC 3339.
    pub time: Timestamp,
    /// What it is about: `inc/checkout-x7k2p`, `chg/back-to-v1`, `cpol/production`.
    pub subject: &'a str,
    /// Namespace of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// Severity of the incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'a str>,
    /// Name of the person in the rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<&'a str>,
    /// What the channel's contact says: a number, a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'a str>,
    /// What people read; it ends with the command to type.
    pub text: &'a str,
}

impl<'a> From<&Envelope<'a>> for Body<'a> {
    fn from(envelope: &Envelope<'a>) -> Body<'a> {
        Body {
            id: envelope.id,
            type_: envelope.purpose,
            time: envelope.time,
            subject: envelope.subject,
            namespace: envelope.namespace,
            severity: envelope.severity,
            person: envelope.person,
            address: envelope.address,
            text: envelope.text,
        }
    }
}

/// Where a webhook goes and how it is signed.
pub struct Target<'a> {
    /// The URL, a secret.
    pub url: &'a HttpUrl,
    /// The signing key.
    pub key: &'a SigningKey,
    /// How long the attempt may take in all.
    pub timeout: Duration,
    /// What sends it.
    pub client: &'a Outbound,
}

/// Posts one message.
pub async fn post(target: &Target<'_>, body: &Body<'_>, now: Timestamp) -> Outcome {
    let Ok(payload) = serde_json::to_vec(body) else {
        return failed("the message cannot be written as JSON".to_owned());
    };
    let timestamp = now.as_second();
    let signature = match target.key.sign(body.id, timestamp, &payload) {
        Ok(signature) => signature,
        Err(error) => return failed(error.to_string()),
    };
    let (Ok(id), Ok(signature)) = (HeaderValue::from_str(body.id), HeaderValue::from_str(&signature)) else {
        return failed("the signature cannot stand in a header".to_owned());
    };
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("webhook-id"), id),
        (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp)),
        (HeaderName::from_static("webhook-signature"), signature),
    ]);
    let (method, timeout) = (Method::POST, target.timeout);
    let call = Call { method, url: target.url, headers, body: Some(payload), authorities: None, timeout };
    match target.client.call(call).await {
        Ok(answer) => judge(answer.status, answer.retry_after.as_deref(), now),
        Err(error) => retry(format!("the receiver {error}")),
    }
}

/// The meaning of an answer.
pub fn judge(status: u16, asked: Option<&str>, now: Timestamp) -> Outcome {
    let error = format!("the receiver answered {status}");
    match status {
        200..=299 => Outcome::Sent,
        410 => failed(format!("{error}: it is gone; mend the channel")),
        300..=399 => retry(format!("{error}: redirects are not followed; write the final URL")),
        // A proxy that is being set up, a token that is being replaced: who mends that mends the page.
        _ => Outcome::Retry { error, after: asked.and_then(|text| retry_after::wait(text, now)) },
    }
}

fn retry(error: String) -> Outcome {
    Outcome::Retry { error, after: None }
}

fn failed(error: String) -> Outcome {
    Outcome::Failed { error }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
