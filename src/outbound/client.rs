//! The one client. It resolves the host once, judges every address, and dials those it has judged, so that a name cannot
//! point elsewhere in between; `Host` and the name in the certificate stay the name. It follows no redirect, uses no
//! proxy, sends nothing that it was not told to send, and tries once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::{Certificate, redirect, retry};
use tokio::time::{Instant, timeout, timeout_at};

use super::HttpUrl;
use super::address::{Rules, refusal};

/// Maximum number of bytes of an answer's body.
pub const MAX_BODY: usize = 64 * 1024;
/// How long the host's name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may pause. The whole call has its own end.
const PAUSE: Duration = Duration::from_secs(5);

/// Calls addresses that users write into objects.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    allow_loopback: bool,
    /// Host and port of the API server.
    api_server: Option<(String, u16)>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: &'a HttpUrl,
    /// The headers. Nothing else is sent but `Host`, `User-Agent`, `Accept` and the length.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Certificates in PEM of the authorities that may vouch for it; `None` for the public ones.
    pub authorities: Option<&'a str>,
    /// How long it may take in all, from the connection to the last byte of the answer.
    pub timeout: Duration,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body, if it was small, whole and not compressed.
    pub body: Result<Vec<u8>, BodyError>,
}

/// Why there is no answer, in words that follow the name of what was called. No error holds the URL or an address.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It must not be called. Nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// It could not be reached. Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Something was sent, and whether it had an effect is not known.
    #[error("{0}")]
    NoAnswer(String),
}

/// Why the body of an answer is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than [`MAX_BODY`].
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
    /// It is compressed, which was not asked for.
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    /// It did not end in time, or broke off.
    #[error("the answer broke off")]
    Broken,
}

impl Outbound {
    /// A client that never calls the API server, given by its URL.
    pub fn new(allow_loopback: bool, api_server: &http::Uri) -> Outbound {
        let usual = if api_server.scheme_str() == Some("http") { 80 } else { 443 };
        let host = api_server.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let api_server = host.map(|host| (host, api_server.port_u16().unwrap_or(usual)));
        Outbound { allow_loopback, api_server }
    }

    /// Sends a call once.
    ///
    /// # Errors
    /// When it must not be sent, could not be sent, or was not answered in time.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let addresses = self.vetted(call.url).await?;
        let until = Instant::now() + call.timeout;
        let unusable =
            |error: reqwest::Error| CallError::NotSent(format!("cannot be called: {}", error.without_url()));
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT.min(call.timeout))
            .read_timeout(PAUSE.min(call.timeout))
            .resolve_to_addrs(call.url.host(), &addresses)
            .user_agent("mayday");
        if let Some(authorities) = call.authorities {
            let known = Certificate::from_pem_bundle(authorities.as_bytes()).map_err(unusable)?;
            builder = builder.tls_certs_only(known);
        }
        let client = builder.build().map_err(unusable)?;
        let mut request = client
            .request(call.method, call.url.inner().clone())
            .headers(call.headers)
            .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let late = || CallError::NoAnswer(format!("did not answer within {} s", call.timeout.as_secs_f32()));
        let response = match timeout_at(until, request.send()).await {
            Ok(response) => response.map_err(|error| network(&error))?,
            Err(_) => return Err(late()),
        };
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = timeout_at(until, body(response)).await.unwrap_or(Err(BodyError::Broken));
        Ok(Answer { status, retry_after, body })
    }

    /// The addresses of the host, if each of them may be dialled.
    async fn vetted(&self, url: &HttpUrl) -> Result<Vec<SocketAddr>, CallError> {
        let unknown = || CallError::NotSent("has a host name that cannot be resolved".to_owned());
        let addresses =
            resolve(url.host(), url.port()).await.filter(|found| !found.is_empty()).ok_or_else(unknown)?;
        let api_server = match &self.api_server {
            // An API server that cannot be told apart is not called by chance.
            Some((host, port)) => resolve(host, *port).await.ok_or_else(unknown)?,
            None => Vec::new(),
        };
        let rules = Rules { allow_loopback: self.allow_loopback, api_server: &api_server };
        match addresses.iter().find_map(|address| refusal(*address, &rules)) {
            Some(why) => Err(CallError::Refused(format!("is not called: its address is {why}"))),
            None => Ok(addresses),
        }
    }
}

/// The addresses of a host.
async fn resolve(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    let found = timeout(RESOLVE, tokio::net::lookup_host((host, port))).await.ok()?.ok()?;
    Some(found.collect())
}

/// Reads a body up to its limit. Its declared length is not believed.
async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, BodyError> {
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(BodyError::Compressed);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::Broken)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A network error in words that hold neither URL nor address.
fn network(error: &reqwest::Error) -> CallError {
    if error.is_connect() {
        CallError::NotSent("cannot be reached".to_owned())
    } else if error.is_timeout() {
        CallError::NoAnswer("did not answer in time".to_owned())
    } else {
        CallError::NoAnswer("broke the connection off".to_owned())
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
