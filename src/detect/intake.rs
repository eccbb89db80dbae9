//! The HTTP endpoint for monitoring: `POST /v1/alerts/{namespace}/{source}` with the source's token as bearer.
//!
//! The answer is 2xx only after everything is stored. A failure on this side is 503, which Alertmanager sends again
//! (it does not after 429). A mistake of the sender is 4xx with a sentence.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use kube::ResourceExt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

use super::body::{Incoming, MAX_BODY, Untaken};
use super::concurrency::Concurrency;
use super::record;
use super::sources::{self, Source};
use crate::api::AlertSource;
use crate::cluster::caches::get;
use crate::cluster::error::chain;
use crate::cluster::{Context, SharedContext};
use crate::notify::credential::{Credential, CredentialError};
use crate::text::flat;

/// The path alerts are posted to; senders put the public URL before it.
pub fn path(namespace: &str, source: &str) -> String {
    format!("/v1/alerts/{namespace}/{source}")
}

#[derive(Clone)]
struct Intake {
    context: SharedContext,
    posts: Arc<Concurrency>,
}

/// The routes.
pub fn router(context: SharedContext) -> Router {
    let intake = Intake { context, posts: Arc::default() };
    Router::new().route("/v1/alerts/{namespace}/{source}", post(receive)).with_state(intake)
}

async fn receive(
    State(intake): State<Intake>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut body = Incoming::new(&headers, body);
    let (status, text) = match intake.posts.admit(format!("{namespace}/{name}")) {
        Some(_slot) => match accept(&intake.context, &namespace, &name, &headers, &mut body).await {
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
        body.discard().await;
    }
    (status, format!("{text}\n")).into_response()
}

/// Stores a post. The sender is authenticated before the body is read, and the whole body is checked before anything is
/// stored.
async fn accept(
    context: &Context,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<(), (StatusCode, String)> {
    let unavailable = |sentence: &str| Err((StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned()));
    if !context.caches.unsynced().is_empty() {
        return unavailable("starting; send it again in a moment");
    }
    // A sender without the token does not learn whether the source exists.
    let unauthorised = || {
        let sentence = format!(
            "no AlertSource {namespace}/{name} takes this token; send the key token of its Secret as: Authorization: Bearer …"
        );
        Err((StatusCode::UNAUTHORIZED, sentence))
    };
    let Some(source) = get(&context.caches.sources, namespace, name) else { return unauthorised() };
    let (_, kind) = sources::of(&source.spec);
    match is_authentic(context, &source, kind, headers).await {
        Ok(true) => {}
        Ok(false) => return unauthorised(),
        Err(sentence) => return unavailable(&sentence),
    }
    let Some(intake) = kind.intake() else {
        let sentence = format!(
            "AlertSource {namespace}/{name} is not of a type that this version of Mayday takes posts for"
        );
        return Err((StatusCode::NOT_FOUND, sentence));
    };
    let whole = body.read().await.map_err(untaken)?;
    let observations =
        intake.read(&whole, &source.spec).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
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
            format!("the body is larger than {MAX_BODY} bytes; send fewer alerts at once"),
        ),
        // 503, since Alertmanager does not repeat a post after 4xx.
        Untaken::TooSlow => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body did not arrive in time; send it again".to_owned())
        }
        Untaken::Broken => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body ended before its end; send it again".to_owned())
        }
    }
}

/// Whether the sender of a post knows the token in the source's Secret; compared in constant time.
///
/// # Errors
/// A sentence, when the Secret cannot be read.
async fn is_authentic(
    context: &Context,
    source: &AlertSource,
    kind: &dyn Source,
    headers: &HeaderMap,
) -> Result<bool, String> {
    // A post without a token is refused without reading the Secret.
    let (Some(sent), Some(secret)) = (kind.sent_token(headers), &source.spec.secret_ref) else {
        return Ok(false);
    };
    let namespace = source.namespace().unwrap_or_default();
    match Credential::read(&context.client, &namespace, &secret.name).await {
        Ok(credential) => {
            Ok(credential.text("token").is_ok_and(|token| bool::from(token.as_bytes().ct_eq(sent))))
        }
        Err(CredentialError::Unreadable(..)) => {
            Err("the source's Secret cannot be read now; send it again".to_owned())
        }
        Err(_) => Ok(false),
    }
}
