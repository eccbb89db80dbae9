//! The HTTP endpoint for monitoring: `POST /v1/alerts/{namespace}/{source}` with the source's token as bearer.
//!
//! The answer is 2xx only after everything is stored. A failure on this side is 503, which Alertmanager sends again
//! (it does not after 429). A mistake of the sender is 4xx with a sentence, and is noted on the source. What is known
//! already is answered from memory (docs/decisions/0050-alerts-that-come-together.md).

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use kube::ResourceExt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use super::answered::{self, Answered, Post};
use super::body::{Incoming, MAX_BODY, Room, Untaken};
use super::concurrency::Concurrency;
use super::namespaces;
use super::record::Recorder;
use super::refusals::Refusals;
use super::sources::{self, Posted, Source};
use crate::api::AlertSource;
use crate::cluster::caches::get;
use crate::cluster::error::chain;
use crate::cluster::{Context, SharedContext};
use crate::notify::tokens::Tokens;
use crate::text::flat;

/// The path alerts are posted to; senders put the public URL before it.
pub fn path(namespace: &str, source: &str) -> String {
    format!("/v1/alerts/{namespace}/{source}")
}

/// The endpoint: what it remembers, and what it is working on.
#[derive(Clone)]
pub struct Intake {
    context: SharedContext,
    posts: Arc<Concurrency>,
    room: Arc<Room>,
    tokens: Arc<Tokens>,
    answered: Arc<Answered>,
    recorder: Arc<Recorder>,
    refusals: Arc<Refusals>,
}

impl Intake {
    /// An endpoint that has received nothing yet.
    pub fn new(context: SharedContext) -> Intake {
        Intake {
            context,
            posts: Arc::default(),
            room: Arc::default(),
            tokens: Arc::default(),
            answered: Arc::default(),
            recorder: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new().route("/v1/alerts/{namespace}/{source}", post(receive)).with_state(self.clone())
    }

    /// Follows what changes, until `stop`, so that nothing is answered from memory that is not so any more.
    pub async fn follow(self, stop: CancellationToken) -> &'static str {
        answered::run(self.answered, self.context, stop).await
    }
}

/// An answer other than 200: its status and its sentence.
type Refusal = (StatusCode, String);

async fn receive(
    State(intake): State<Intake>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut body = Incoming::new(&headers, body);
    let (status, text) = match accept(&intake, &namespace, &name, &headers, &mut body).await {
        Ok(text) => (StatusCode::OK, text),
        Err(refusal) => refusal,
    };
    intake.context.metrics.received(status.as_u16());
    if !status.is_success() {
        tracing::info!(%namespace, source = %name, status = status.as_u16(), "a post was not accepted: {text}");
        body.discard().await;
    }
    (status, format!("{text}\n")).into_response()
}

/// Stores a post, or says why not. A refusal for good is noted on the source.
async fn accept(
    intake: &Intake,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<String, Refusal> {
    let context = &intake.context;
    if !context.caches.is_synced() {
        return unavailable("starting; send it again in a moment");
    }
    let Some(source) = get(&context.caches.sources, namespace, name) else {
        return unauthorised(namespace, name);
    };
    let taken = take(intake, &source, headers, body).await;
    match &taken {
        Ok(_) => intake.refusals.taken(context, &source),
        Err((code, text)) if code.is_client_error() => intake.refusals.refused(context, &source, *code, text),
        Err(_) => {}
    }
    taken
}

/// Takes a post for a source. The sender is authenticated before the body is read, and the whole body is checked before
/// anything is stored.
async fn take(
    intake: &Intake,
    source: &Arc<AlertSource>,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<String, Refusal> {
    let context = &intake.context;
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    let (_, kind) = sources::of(&source.spec);
    if !is_authentic(context, &intake.tokens, source, kind, headers).await? {
        return unauthorised(&namespace, &name);
    }
    let Some(reader) = kind.intake() else {
        let sentence = format!(
            "AlertSource {namespace}/{name} is not of a type that this version of Mayday takes posts for"
        );
        return Err((StatusCode::NOT_FOUND, sentence));
    };
    is_plain(headers)?;
    let _room = intake.room.reserve(body.size()).await.map_err(untaken)?;
    let Some(slot) = intake.posts.admit(&format!("{namespace}/{name}")).await else {
        return unavailable("too many posts at once; send it again in a moment");
    };
    let whole = body.read().await.map_err(untaken)?;
    drop(slot);
    let post = Post::new(&namespace, &name, &whole);
    if intake.answered.knows(post) {
        return Ok(STORED.to_owned());
    }
    let epoch = intake.answered.epoch();
    let read = reader.read(&whole, source, Timestamp::now());
    let Posted { observations, elsewhere } = read.map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    drop(whole);
    match intake.recorder.record(context, source, observations).await {
        Ok(is_written) => {
            if !elsewhere.is_empty() {
                return Ok(left_out(intake, source, &elsewhere));
            }
            if !is_written {
                intake.answered.remember(post, epoch);
            }
            Ok(STORED.to_owned())
        }
        Err(error) => {
            let said = chain(&*error);
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

/// The answer to a post that is stored.
const STORED: &str = "stored";

/// The answer to a post with alerts that name another namespace; the source is told of them, too.
fn left_out(
    intake: &Intake,
    source: &Arc<AlertSource>,
    elsewhere: &std::collections::BTreeMap<String, usize>,
) -> String {
    let count: usize = elsewhere.values().sum();
    let names: Vec<&str> = elsewhere.keys().map(String::as_str).take(5).collect();
    let names = names.join(", ");
    let sentence = format!(
        "{count} alerts are left out: their label {} names {names}; to let them count here, add it to spec.namespaces of \
         asrc/{}",
        namespaces::label(source),
        source.name_any()
    );
    intake.refusals.elsewhere(&intake.context, source, &names, sentence.clone());
    format!("{STORED}; {sentence}")
}

fn unavailable<T>(sentence: &str) -> Result<T, Refusal> {
    Err((StatusCode::SERVICE_UNAVAILABLE, sentence.to_owned()))
}

/// A sender without the token does not learn whether the source exists.
fn unauthorised<T>(namespace: &str, name: &str) -> Result<T, Refusal> {
    let sentence = format!(
        "no AlertSource {namespace}/{name} takes this token; send the key token of its Secret as: Authorization: Bearer …"
    );
    Err((StatusCode::UNAUTHORIZED, sentence))
}

/// Refuses a body that is compressed.
fn is_plain(headers: &HeaderMap) -> Result<(), Refusal> {
    let coded = headers
        .get(header::CONTENT_ENCODING)
        .map(|coding| String::from_utf8_lossy(coding.as_bytes()).into_owned());
    match coded.filter(|coding| !coding.trim().is_empty() && !coding.trim().eq_ignore_ascii_case("identity"))
    {
        None => Ok(()),
        Some(coding) => {
            let sentence = format!("the body is compressed ({}); send it as plain JSON", flat(&coding, 40));
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence))
        }
    }
}

fn untaken(why: Untaken) -> (StatusCode, String) {
    match why {
        Untaken::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {MAX_BODY} bytes; send fewer alerts at once: set max_alerts of Alertmanager's \
                 webhook_config, or group_by more labels"
            ),
        ),
        // 503, since Alertmanager does not repeat a post after 4xx.
        Untaken::TooSlow => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body did not arrive in time; send it again".to_owned())
        }
        Untaken::TooMany => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many large posts at once; send it again".to_owned())
        }
        Untaken::Broken => {
            (StatusCode::SERVICE_UNAVAILABLE, "the body ended before its end; send it again".to_owned())
        }
    }
}

/// Whether the sender of a post knows the token in the source's Secret.
///
/// # Errors
/// When the Secret cannot be read.
async fn is_authentic(
    context: &Context,
    tokens: &Tokens,
    source: &AlertSource,
    kind: &dyn Source,
    headers: &HeaderMap,
) -> Result<bool, Refusal> {
    // A post without a token is refused without reading the Secret.
    let (Some(sent), Some(secret)) = (kind.sent_token(headers), &source.spec.secret_ref) else {
        return Ok(false);
    };
    let namespace = source.namespace().unwrap_or_default();
    match tokens.is_token(&context.client, &namespace, &secret.name, sent).await {
        Ok(holds) => Ok(holds),
        Err(_) => unavailable("the source's Secret cannot be read now; send it again"),
    }
}
