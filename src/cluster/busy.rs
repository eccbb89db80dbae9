//! An API server that has too much to do says so with 429 or 503 and `Retry-After`. The client gives an error only the body
//! of an answer, so the header is put there.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kube::client::ClientBuilder;
use kube::{Client, Config, Error};
use serde_json::json;
use tower::util::MapResponseLayer;

/// A client whose errors say how long the API server asks to be left alone.
///
/// # Errors
/// When the configuration cannot be used for TLS.
pub fn client(config: Config) -> Result<Client, Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(told)).build())
}

/// How long the API server asks to be left alone, if it does.
pub fn retry_after(error: &Error) -> Option<Duration> {
    let Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// An answer whose body holds what its header says. A body that is JSON already is the API server's own.
fn told<B>(answer: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let (mut parts, body) = answer.into_parts();
    let is_busy = matches!(parts.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let Some(seconds) = seconds(&parts.headers).filter(|_| is_busy && !is_json(&parts.headers)) else {
        return Response::from_parts(parts, Body::new(body));
    };
    let code = parts.status.as_u16();
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": "TooManyRequests", "message": format!("the API server is busy ({code})"),
        "details": {"retryAfterSeconds": seconds}});
    let body = status.to_string();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(parts, Body::from(body))
}

fn seconds(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;

    async fn error_of(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Error {
        let headers = headers.to_vec();
        let server = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let mut answer = Response::builder().status(status);
            for (name, value) in &headers {
                answer = answer.header(*name, *value);
            }
            let answer = answer.body(Body::from(body)).map_err(axum::BoxError::from);
            async move { answer }
        });
        let client = ClientBuilder::new(server, "shop").with_layer(&MapResponseLayer::new(told)).build();
        Api::<ConfigMap>::default_namespaced(client).get("x").await.unwrap_err()
    }

    /// Failure list 54: the API server is overloaded, and says in a header when it wants to be asked again.
    #[tokio::test]
    async fn a_busy_api_server_says_when_it_wants_to_be_asked_again() {
        let plain = ("content-type", "text/plain");
        let busy = error_of(429, &[plain, ("retry-after", "7")], "Too many requests").await;
        assert_eq!(retry_after(&busy), Some(Duration::from_secs(7)));
        let down = error_of(503, &[plain, ("retry-after", "2")], "shutting down").await;
        assert_eq!(retry_after(&down), Some(Duration::from_secs(2)));
        for (status, headers) in [
            (429, vec![plain]),
            (429, vec![plain, ("retry-after", "soon")]),
            (500, vec![plain, ("retry-after", "7")]),
        ] {
            assert_eq!(retry_after(&error_of(status, &headers, "no").await), None, "{status} {headers:?}");
        }
        let own = r#"{"kind":"Status","code":429,"status":"Failure","details":{"retryAfterSeconds":10}}"#;
        let budget = error_of(429, &[("content-type", "application/json"), ("retry-after", "10")], own).await;
        assert_eq!(retry_after(&budget), Some(Duration::from_secs(10)), "as the API server says it itself");
    }
}
