//! The HTTPS server that the API server calls. It answers every review it can read, in time, and allows
//! nothing by accident: it refuses a review that it cannot read, that takes too long or that fails, with a
//! sentence.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use futures::FutureExt;
use futures::future::BoxFuture;
use json_patch::Patch;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span, field::Empty, info_span};

use super::review::{self, Request};
use super::verdict::Verdict;
use crate::command::{Command, Flag, TEXT, Verb};

/// Largest review: an old and a new object of the largest size that is stored, and room to spare.
const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// Maximum number of reviews decided at once; a further one is refused at once instead of waiting until it times out.
const MAX_CONCURRENT: usize = 256;
/// How long a decision may take: the API server stops listening half a second later.
const TIMEOUT: Duration = Duration::from_millis(2500);

/// Decides reviews: one method for each path.
pub trait ReviewHandler: Send + Sync + 'static {
    /// `/guard/mutate`: what is stamped on an object of `mayday.dev`.
    ///
    /// # Errors
    /// The refusal.
    fn stamp<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Patch, Verdict>>;
    /// `/guard/validate`: whether an object of `mayday.dev` may be written so.
    fn guard<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict>;
    /// `/gate`: whether a protected object may be changed so.
    fn gate<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict>;
    /// `/break-glass`: records who broke the glass. The API server would ignore its refusal.
    fn break_glass<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict>;
    /// Whether the request is the probe of Mayday itself, whose refusal is expected.
    fn is_probe(&self, request: &Request) -> bool;

    /// Counts an answer of a webhook.
    fn count(&self, webhook: &'static str, verdict: &Verdict);
}

struct Shared<H> {
    handler: H,
    permits: Semaphore,
    timeout: Duration,
}

/// The paths, without TLS.
pub fn router<H: ReviewHandler>(handler: H) -> Router {
    router_with(handler, MAX_CONCURRENT, TIMEOUT)
}

fn router_with<H: ReviewHandler>(handler: H, max_concurrent: usize, timeout: Duration) -> Router {
    let shared = Arc::new(Shared { handler, permits: Semaphore::new(max_concurrent), timeout });
    Router::new()
        .route("/guard/mutate", post(mutate::<H>))
        .route("/guard/validate", post(|state, body| validate::<H, _>(state, body, "guard", H::guard)))
        .route("/gate", post(|state, body| validate::<H, _>(state, body, "gate", H::gate)))
        .route(
            "/break-glass",
            post(|state, body| validate::<H, _>(state, body, "break-glass", H::break_glass)),
        )
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(shared)
}

async fn mutate<H: ReviewHandler>(State(shared): State<Arc<Shared<H>>>, body: Bytes) -> Response {
    let request = match review::read(&body) {
        Ok(request) => request,
        Err(error) => return unreadable(&error),
    };
    let webhook = "guard-stamp";
    let span = span(webhook, &request);
    let decision =
        decide(&shared, &request, shared.handler.stamp(&request)).instrument(span.clone()).await.flatten();
    let verdict = decision.as_ref().err().cloned().unwrap_or_else(Verdict::allow);
    record(&span, &verdict, false);
    shared.handler.count(webhook, &verdict);
    Json(match decision {
        Ok(patch) => review::stamped(&request, patch),
        Err(verdict) => review::answer(&request, &verdict),
    })
    .into_response()
}

async fn validate<H: ReviewHandler, F>(
    State(shared): State<Arc<Shared<H>>>,
    body: Bytes,
    webhook: &'static str,
    by: F,
) -> Response
where
    F: for<'a> Fn(&'a H, &'a Request) -> BoxFuture<'a, Verdict>,
{
    let request = match review::read(&body) {
        Ok(request) => request,
        Err(error) => return unreadable(&error),
    };
    let span = span(webhook, &request);
    let decision = decide(&shared, &request, by(&shared.handler, &request)).instrument(span.clone()).await;
    let verdict = decision.unwrap_or_else(|refusal| refusal);
    let is_probe = shared.handler.is_probe(&request);
    record(&span, &verdict, is_probe);
    // A refused probe is expected; counting it would hide the refusals of people.
    if !is_probe {
        shared.handler.count(webhook, &verdict);
    }
    Json(review::answer(&request, &verdict)).into_response()
}

/// The decision, or the refusal if there is none in time.
async fn decide<H, T>(
    shared: &Shared<H>,
    request: &Request,
    deciding: impl Future<Output = T>,
) -> Result<T, Verdict> {
    let Ok(_permit) = shared.permits.try_acquire() else {
        return Err(Verdict::Refuse {
            code: 429,
            message: "Refused: Mayday has too many reviews at once; do the same again in a moment".to_owned(),
        });
    };
    match tokio::time::timeout(shared.timeout, AssertUnwindSafe(deciding).catch_unwind()).await {
        Ok(Ok(decision)) => Ok(decision),
        Ok(Err(_)) => {
            tracing::error!("a decision panicked: a defect of Mayday");
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let glass =
                Command::new(Verb::BreakGlass).namespace(namespace).flag(Flag::Why, TEXT).then_command();
            Err(Verdict::unavailable(format!(
                "Refused: Mayday failed to judge this, which is a defect of it; its log says where. If it cannot \
                 wait: {glass}"
            )))
        }
        Err(_) => Err(Verdict::unavailable(
            "Refused: this was not judged in time; do the same again. If it happens again: kubectl get --raw /readyz, and the log of Mayday",
        )),
    }
}

fn unreadable(error: &review::Unreadable) -> Response {
    tracing::warn!(%error, "a review cannot be read");
    Json(review::unreadable(error)).into_response()
}

/// One line a review in the log, as in an audit log.
fn span(webhook: &'static str, request: &Request) -> Span {
    info_span!(
        "review",
        webhook,
        uid = %request.uid,
        operation = ?request.operation,
        group = %request.resource.group,
        resource = %request.resource.resource,
        subresource = request.sub_resource.as_deref().unwrap_or_default(),
        namespace = request.namespace.as_deref().unwrap_or_default(),
        name = %request.name,
        user = request.user_info.username.as_deref().unwrap_or_default(),
        dry_run = request.dry_run,
        allowed = Empty,
        code = Empty,
    )
}

/// `expected`: the refusal shows that all is well, so it is no news.
fn record(span: &Span, verdict: &Verdict, expected: bool) {
    span.record("allowed", verdict.is_allowed());
    match verdict {
        Verdict::Allow { .. } => span.in_scope(|| tracing::debug!("allowed")),
        Verdict::Refuse { code, message } => {
            span.record("code", code);
            span.in_scope(|| match expected {
                true => tracing::debug!(message, "refused"),
                false => tracing::info!(message, "refused"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    /// Decides by the name of the user.
    struct ByName;

    impl ReviewHandler for ByName {
        fn stamp<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Patch, Verdict>> {
            async { Ok(Patch(Vec::new())) }.boxed()
        }
        fn guard<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Verdict> {
            async { Verdict::allow() }.boxed()
        }
        fn gate<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Verdict> {
            let user = request.user_info.username.clone().unwrap_or_default();
            async move {
                match user.as_str() {
                    "broken" => panic!("a defect"),
                    "slow" => futures::future::pending().await,
                    _ => Verdict::refuse("Refused: not approved"),
                }
            }
            .boxed()
        }
        fn break_glass<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Verdict> {
            async { Verdict::allow() }.boxed()
        }
        fn is_probe(&self, _: &Request) -> bool {
            false
        }
        fn count(&self, _: &'static str, _: &Verdict) {}
    }

    async fn post(router: Router, path: &str, body: String) -> (u16, Value) {
        let request = axum::http::Request::post(path).body(Body::from(body)).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn body(user: &str) -> String {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": "DELETE", "name": "checkout", "namespace": "shop",
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
                "userInfo": {"username": user}
            }
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_verdict_goes_out_with_the_uid_it_belongs_to() {
        let (code, review) = post(router(ByName), "/gate", body("emil")).await;
        assert_eq!(code, 200);
        assert_eq!(review["response"]["uid"], "u-1");
        assert_eq!(review["response"]["allowed"], false);
        assert_eq!(review["response"]["status"]["message"], "Refused: not approved");
        let (_, review) = post(router(ByName), "/guard/validate", body("emil")).await;
        assert_eq!(review["response"]["allowed"], true);
    }

    #[tokio::test]
    async fn an_unreadable_review_is_refused_on_every_path() {
        for path in ["/guard/mutate", "/guard/validate", "/gate", "/break-glass"] {
            let (code, review) = post(router(ByName), path, "{".into()).await;
            assert_eq!((code, &review["response"]["allowed"]), (200, &json!(false)), "{path}");
        }
    }

    #[tokio::test]
    async fn a_decision_that_panics_is_a_refusal() {
        let (_, review) = post(router(ByName), "/gate", body("broken")).await;
        assert_eq!(review["response"]["allowed"], false);
        assert_eq!(review["response"]["status"]["code"], 503);
    }

    #[tokio::test]
    async fn a_decision_that_takes_too_long_is_a_refusal() {
        let (_, review) = post(router_with(ByName, 1, Duration::from_millis(1)), "/gate", body("slow")).await;
        assert_eq!(review["response"]["allowed"], false);
        assert!(review["response"]["status"]["message"].as_str().unwrap().contains("not judged in time"));
    }

    #[tokio::test]
    async fn too_many_at_once_are_told_to_come_again() {
        let (_, review) = post(router_with(ByName, 0, TIMEOUT), "/gate", body("emil")).await;
        assert_eq!(review["response"]["status"]["code"], 429);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_not_read() {
        let (code, _) = post(router(ByName), "/gate", "x".repeat(BODY_LIMIT + 1)).await;
        assert_eq!(code, 413);
    }
}
