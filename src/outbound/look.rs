//! What a check of the world outside sees: a query to Prometheus, or a URL that answers.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;

use super::client::{BodyError, Call, CallError, Outbound};
use super::{HttpUrl, encode, prometheus};
use crate::api::check::{HttpCheck, QueryCheck};
use crate::api::common::NameRef;

/// How long a look may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A check that looks outside of the cluster's API.
#[derive(Clone, Copy, Debug)]
pub enum Look<'a> {
    /// A query to Prometheus.
    Query(&'a QueryCheck),
    /// A URL that must answer.
    Http(&'a HttpCheck),
}

/// What a look needs to be let in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// A bearer token. Nothing that is seen repeats it.
    pub token: Option<&'a str>,
    /// Certificates in PEM of the authorities that may vouch for the endpoint; `None` for the public ones.
    pub authorities: Option<&'a str>,
}

/// What a look has seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, in words.
    pub message: String,
}

/// The verdict of a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is as it should be.
    Passes,
    /// It is not as it should be.
    Fails,
    /// It is not known; this never passes.
    Inconclusive,
}

impl Seen {
    /// Nothing that counts was seen.
    pub fn inconclusive(why: String) -> Seen {
        Seen { verdict: Verdict::Inconclusive, message: why }
    }
}

impl<'a> Look<'a> {
    /// The URL that is called, as it is written.
    pub fn url(self) -> &'a str {
        match self {
            Look::Query(check) => &check.url,
            Look::Http(check) => &check.url,
        }
    }

    /// The Secret with its token, if it needs one.
    pub fn secret(self) -> Option<&'a NameRef> {
        match self {
            Look::Query(check) => check.secret_ref.as_ref(),
            Look::Http(check) => check.secret_ref.as_ref(),
        }
    }

    /// Looks once, over the one client.
    pub async fn look(self, client: &Outbound, access: Access<'_>) -> Seen {
        let mut seen = self.send(client, access).await;
        if let Some(token) = access.token {
            seen.message = seen.message.replace(token, "***");
        }
        seen
    }

    async fn send(self, client: &Outbound, access: Access<'_>) -> Seen {
        let url = match HttpUrl::parse(self.url()) {
            Ok(url) => url,
            Err(why) => return Seen::inconclusive(format!("the url: {why}")),
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = access.token {
            let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
                return Seen::inconclusive("the token in the Secret cannot stand in a header".to_owned());
            };
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        match self {
            Look::Query(check) => query(client, &url, check, headers, access).await,
            Look::Http(check) => get(client, url, check, headers, access).await,
        }
    }
}

async fn query(
    client: &Outbound,
    url: &HttpUrl,
    check: &QueryCheck,
    mut headers: HeaderMap,
    access: Access<'_>,
) -> Seen {
    let body = match encode::bind(&check.prom_ql, |_| None) {
        Ok(query) => format!("query={}", encode::percent(&query)),
        Err(why) => return Seen::inconclusive(format!("the query: {why}")),
    };
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let url = url.at(prometheus::PATH);
    let call = Call {
        method: Method::POST,
        url: &url,
        headers,
        body: Some(body.into()),
        authorities: access.authorities,
        timeout: TIMEOUT,
    };
    match client.call(call).await {
        Ok(answer) => match answer.body {
            Ok(body) => prometheus::judge(check, answer.status, &body, Timestamp::now()),
            Err(BodyError::TooLarge) => {
                Seen::inconclusive("the answer is too large: let the query return one value".to_owned())
            }
            Err(error) => Seen::inconclusive(error.to_string()),
        },
        Err(error) => Seen::inconclusive(format!("Prometheus {error}")),
    }
}

async fn get(
    client: &Outbound,
    url: HttpUrl,
    check: &HttpCheck,
    headers: HeaderMap,
    access: Access<'_>,
) -> Seen {
    let authorities = access.authorities;
    let call = Call { method: Method::GET, url: &url, headers, body: None, authorities, timeout: TIMEOUT };
    match client.call(call).await {
        Ok(answer) => status(check, answer.status),
        Err(CallError::Refused(why)) => Seen::inconclusive(format!("it {why}")),
        Err(error) => Seen { verdict: Verdict::Fails, message: format!("it {error}") },
    }
}

/// Whether a status is the expected one. A redirect is an answer like any other.
fn status(check: &HttpCheck, status: u16) -> Seen {
    if i32::from(status) == check.status {
        return Seen { verdict: Verdict::Passes, message: format!("it answers {status}") };
    }
    let hint =
        if (300..400).contains(&status) { "; redirects are not followed: write the final URL" } else { "" };
    let message = format!("it answers {status}, not {}{hint}", check.status);
    Seen { verdict: Verdict::Fails, message }
}
