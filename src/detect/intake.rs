//! Where monitoring posts: `POST /v1/alerts/{namespace}/{source}` with the source's token as bearer.
//!
//! 2xx only after everything is stored. Trouble of ours is 503, which Alertmanager tries again; 429 it would
//! not. What the sender did wrong is 4xx with a sentence.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::{alertmanager, record};
use crate::api::AlertSource;
use crate::cluster::error::chain;
use crate::cluster::stores::get;
use crate::cluster::{Context, SharedContext};
use crate::notify::credential::{Credential, CredentialError};

/// Largest body; a message of Alertmanager is far smaller.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Posts that are worked on at once; one more is told to come again.
const AT_ONCE: usize = 64;

/// The path alerts are posted to; senders put the public URL before it.
pub fn path(namespace: &str, source: &str) -> String {
    format!("/v1/alerts/{namespace}/{source}")
}

#[derive(Clone)]
struct Intake {
    context: SharedContext,
    places: Arc<Semaphore>,
}

/// The routes.
pub fn router(context: SharedContext) -> Router {
    let intake = Intake { context, places: Arc::new(Semaphore::new(AT_ONCE)) };
    Router::new()
        .route("/v1/alerts/{namespace}/{source}", post(receive))
        // One byte more, so that a body of just over the limit is answered with our sentence.
        .layer(DefaultBodyLimit::max(BODY_LIMIT + 1))
        .with_state(intake)
}

async fn receive(
    State(intake): State<Intake>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let (status, text) = match intake.places.try_acquire() {
        Ok(_place) => accept(&intake.context, &namespace, &name, &headers, body).await,
        Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many posts at once; send it again in a moment".to_owned())
        }
    };
    intake.context.metrics.received(status.as_u16());
    if !status.is_success() {
        tracing::info!(%namespace, source = %name, status = status.as_u16(), "a post was not accepted: {text}");
    }
    (status, format!("{text}\n")).into_response()
}

async fn accept(
    context: &Context,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> (StatusCode, String) {
    if !context.stores.missing().is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting; send it again in a moment".to_owned());
    }
    // Whether a source exists is nobody's business who has no token for it.
    let unauthorised = || {
        let sentence = format!(
            "no AlertSource {namespace}/{name} takes this token; send the key token of its Secret as: Authorization: Bearer …"
        );
        (StatusCode::UNAUTHORIZED, sentence)
    };
    let Some(source) = get(&context.stores.sources, namespace, name) else { return unauthorised() };
    match is_authenticated(context, namespace, &source, headers).await {
        Ok(true) => {}
        Ok(false) => return unauthorised(),
        Err(sentence) => return (StatusCode::SERVICE_UNAVAILABLE, sentence),
    }
    let body = match body {
        Ok(body) if body.len() <= BODY_LIMIT => body,
        _ => {
            return (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {BODY_LIMIT} bytes; send fewer alerts at once"),
            );
        }
    };
    if source.spec.alertmanager.is_none() {
        return (
            StatusCode::NOT_FOUND,
            format!(
                "AlertSource {namespace}/{name} is not of a type that this version of Mayday takes posts for"
            ),
        );
    }
    let observations = match alertmanager::read(&body, &source.spec) {
        Ok(observations) => observations,
        Err(sentence) => return (StatusCode::BAD_REQUEST, sentence),
    };
    match record::record(context, &source, observations).await {
        Ok(()) => (StatusCode::OK, "stored".to_owned()),
        Err(error) => {
            tracing::error!(%namespace, source = %name, error = %chain(&error), "alerts were not stored");
            (StatusCode::SERVICE_UNAVAILABLE, "the API server did not take it; send it again".to_owned())
        }
    }
}

/// Whether the bearer token is the source's, compared in constant time.
///
/// # Errors
/// A sentence, when the Secret cannot be read.
async fn is_authenticated(
    context: &Context,
    namespace: &str,
    source: &AlertSource,
    headers: &HeaderMap,
) -> Result<bool, String> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let (Some(sent), Some(secret)) = (sent, &source.spec.secret_ref) else { return Ok(false) };
    match Credential::read(&context.client, namespace, &secret.name).await {
        Ok(credential) => {
            Ok(credential.text("token").is_ok_and(|token| bool::from(token.as_bytes().ct_eq(sent))))
        }
        Err(CredentialError::Unreadable(..)) => {
            Err("the source's Secret cannot be read now; send it again".to_owned())
        }
        Err(_) => Ok(false),
    }
}
