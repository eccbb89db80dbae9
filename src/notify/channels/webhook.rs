//! Webhooks: a signed POST to an address that was looked at first.
//!
//! The host is resolved once, every answer is judged, and the vetted address is the one that is dialled, so that
//! a name cannot point elsewhere in between. Redirects are not followed. No error holds the URL.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use reqwest::{StatusCode, Url, header, redirect};
use serde::Serialize;

use super::signature::SigningKey;
use super::{Channel, Envelope};
use crate::api::common::NameRef;
use crate::api::notification_channel::Webhook;
use crate::notify::credential::{Credential, CredentialError};
use crate::notify::schedule::Outcome;

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
            let target =
                Target { url, key: &key, timeout: envelope.timeout, allow_loopback: envelope.allow_loopback };
            post(&target, &Body::from(envelope), now).await
        }
        .boxed()
    }
}

/// URL and signing key.
fn secrets(credential: &Credential) -> Result<(&str, SigningKey), CredentialError> {
    let url = credential.text(URL)?;
    parse(url).map_err(|why| credential.unusable(URL, why))?;
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
    pub url: &'a str,
    /// The signing key.
    pub key: &'a SigningKey,
    /// How long the attempt may take in all.
    pub timeout: Duration,
    /// Whether loopback addresses are allowed, for a cluster on one machine.
    pub allow_loopback: bool,
}

/// Posts one message.
pub async fn post(target: &Target<'_>, body: &Body<'_>, now: Timestamp) -> Outcome {
    match tokio::time::timeout(target.timeout, attempt(target, body, now)).await {
        Ok(Ok(outcome)) | Ok(Err(outcome)) => outcome,
        Err(_) => retry(format!("the receiver did not answer within {} s", target.timeout.as_secs_f32())),
    }
}

async fn attempt(target: &Target<'_>, body: &Body<'_>, now: Timestamp) -> Result<Outcome, Outcome> {
    let url = parse(target.url).map_err(|why| retry(format!("the url in the Secret: {why}")))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let address = vetted(&url, target.allow_loopback).await?;
    let payload =
        serde_json::to_vec(body).map_err(|_| failed("the message cannot be written as JSON".to_owned()))?;
    let timestamp = now.as_second();
    let signature =
        target.key.sign(body.id, timestamp, &payload).map_err(|error| failed(error.to_string()))?;
    let client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(target.timeout)
        .resolve(&host, address)
        .user_agent("mayday")
        .build()
        .map_err(|error| retry(format!("no HTTP client: {}", error.without_url())))?;
    let response = client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", body.id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(payload)
        .send()
        .await
        .map_err(|error| retry(network(&error)))?;
    let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    Ok(judge(response.status(), after, now))
}

/// The meaning of an answer.
pub fn judge(status: StatusCode, retry_after: Option<&str>, now: Timestamp) -> Outcome {
    let error = format!("the receiver answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Outcome::Sent,
        410 => failed(format!("{error}: it is gone; mend the channel")),
        300..=399 => retry(format!("{error}: redirects are not followed; write the final URL")),
        // A proxy that is being set up, a token that is being replaced: who mends that mends the page.
        _ => Outcome::Retry { error, after: retry_after.and_then(|text| wait(text, now)) },
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: Timestamp) -> Option<SignedDuration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(SignedDuration::from_secs(i64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(date.timestamp().duration_since(now).max(SignedDuration::ZERO))
}

/// The URL, if it is one that a message may be sent to.
///
/// # Errors
/// Why it is not, in words. The Secret can be mended, so that is no end.
pub fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it is no http or https URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or password, which is not supported".to_owned());
    }
    Ok(url)
}

/// Resolves the host and takes an address, if all of its addresses are allowed.
async fn vetted(url: &Url, allow_loopback: bool) -> Result<SocketAddr, Outcome> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let unknown = || retry("the receiver's host name cannot be resolved".to_owned());
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|_| unknown())?.collect();
    if addresses.iter().any(|address| !allowed(address.ip(), allow_loopback)) {
        return Err(retry(
            "the receiver's address is loopback, link-local or a metadata service, which is not allowed \
             (loopback only with allowLoopback in the configuration)"
                .to_owned(),
        ));
    }
    addresses.first().copied().ok_or_else(unknown)
}

/// Whether an address may be dialled. Private networks may, since receivers live in them; what only the machine
/// itself or the cloud answers may not.
pub fn allowed(ip: IpAddr, allow_loopback: bool) -> bool {
    match ip.to_canonical() {
        ip if ip.is_loopback() => allow_loopback,
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let metadata = [a, b, c, d] == [100, 100, 100, 200] || [a, b, c, d] == [192, 0, 0, 192];
            !(a == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || metadata)
        }
        IpAddr::V6(v6) => {
            let metadata = v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
            // Addresses that embed an IPv4 one are judged by it.
            let embedded = match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
                [0x2002, high, low, ..] => Some((high, low)),
                [0, 0, 0, 0, 0, 0, high, low] => Some((high, low)),
                _ => None,
            };
            let embedded_allowed = embedded.is_none_or(|(high, low)| {
                let v4 = std::net::Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
                allowed(IpAddr::V4(v4), false)
            });
            embedded_allowed
                && !(v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() || metadata)
        }
    }
}

/// A network error in words that hold neither URL nor address.
fn network(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "the receiver did not answer in time".to_owned()
    } else if error.is_connect() {
        "the receiver cannot be reached".to_owned()
    } else {
        "the connection to the receiver broke".to_owned()
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
