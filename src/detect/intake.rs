//! Where monitoring posts: `POST /v1/alerts/{namespace}/{source}` with the source's token as bearer.
//!
//! 2xx only after everything is stored. Trouble of ours is 503, which Alertmanager tries again; 429 it would
//! not. What the sender did wrong is 4xx with a sentence.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use subtle::ConstantTimeEq;

use super::body::{Incoming, LIMIT, Untaken};
use super::{alertmanager, record};
use crate::api::AlertSource;
use crate::cluster::caches::get;
use crate::cluster::error::chain;
use crate::cluster::{Context, SharedContext};
use crate::detect::concurrency::Places;
use crate::notify::credential::{Credential, CredentialError};
use crate::text::flat;

/// The path alerts are posted to; senders put the public URL before it.
pub fn path(namespace: &str, source: &str) -> String {
    format!("/v1/alerts/{namespace}/{source}")
}

#[derive(Clone)]
struct Intake {
    context: SharedContext,
    places: Arc<Places>,
}

/// The routes.
pub fn router(context: SharedContext) -> Router {
    let intake = Intake { context, places: Arc::default() };
    Router::new().route("/v1/alerts/{namespace}/{source}", post(receive)).with_state(intake)
}

async fn receive(
    State(intake): State<Intake>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut body = Incoming::new(&headers, body);
    let (status, text) = match intake.places.take(format!("{namespace}/{name}")) {
        Some(_place) => match accept(&intake.context, &namespace, &name, &headers, &mut body).await {
            Ok(()) => (StatusCode::OK, "stored".to_owned()),
            Err(refusal) => refusal,
        },
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many posts at once; send it again in a moment".to_owned())
        }
    };
    intake.context.metrics.received(status.as_u16());
    if !status.is_success() {
        tracing::info!(%namespace, source = %name, status = status.as_u16(), "a post was not accepted: {text}");
        body.let_go().await;
    }
    (status, format!("{text}\n")).into_response()
}

/// Who posts is known before anything of the body is read, and what cannot be meant before anything is stored.
async fn accept(
    context: &Context,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<(), (StatusCode, String)> {
    let unavailable = |sentence: &str| Err((StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned()));
    if !context.stores.missing().is_empty() {
        return unavailable("starting; send it again in a moment");
    }
    // Whether a source exists is nobody's business who has no token for it.
    let unauthorised = || {
        let sentence = format!(
            "no AlertSource {namespace}/{name} takes this token; send the key token of its Secret as: Authorization: Bearer …"
        );
        Err((StatusCode::UNAUTHORIZED, sentence))
    };
    let Some(source) = get(&context.stores.sources, namespace, name) else { return unauthorised() };
    match is_authenticated(context, namespace, &source, headers).await {
        Ok(true) => {}
        Ok(false) => return unauthorised(),
        Err(sentence) => return unavailable(&sentence),
    }
    if source.spec.alertmanager.is_none() {
        let sentence = format!(
            "AlertSource {namespace}/{name} is not of a type that this version of Mayday takes posts for"
        );
        return Err((StatusCode::NOT_FOUND, sentence));
    }
    let whole = body.read().await.map_err(untaken)?;
    let observations =
        alertmanager::read(&whole, &source.spec).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    match record::record(context, &source, observations).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let said = chain(&error);
            tracing::error!(%namespace, source = %name, error = %said, "alerts were not stored");
            if !error.is_about_the_content() {
                return unavailable("the API server did not take it; send it again");
            }
            let sentence = format!(
                "the API server refuses what AlertSource {namespace}/{name} makes of it: {}",
                flat(&said, 200)
            );
            Err((StatusCode::UNPROCESSABLE_ENTITY, sentence))
        }
    }
}

fn untaken(why: Untaken) -> (StatusCode, String) {
    match why {
        Untaken::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {LIMIT} bytes; send fewer alerts at once"),
        ),
        // What is to be sent again is answered by 503: Alertmanager tries no 4xx a second time.
        Untaken::TooSlow => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body did not arrive in time; send it again".to_owned())
        }
        Untaken::Broken => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body ended before its end; send it again".to_owned())
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
