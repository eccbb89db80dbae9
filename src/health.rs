//! `/metrics`, `/livez` and `/readyz`.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::OnCallRotation;
use crate::cluster::SharedContext;

/// The routes. `/livez` succeeds while the process answers. `/readyz` succeeds while the process serves:
/// every cache is synced and the webhooks listen. Readiness does not require the lease, because a standby
/// must serve webhooks too.
pub fn router(context: SharedContext) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(context)
}

async fn ready(State(context): State<SharedContext>) -> Response {
    let unsynced = context.caches.unsynced();
    if !unsynced.is_empty() {
        let names: Vec<&str> = unsynced.iter().map(|kind| kind.as_str()).collect();
        (StatusCode::SERVICE_UNAVAILABLE, format!("still reading: {}\n", names.join(", "))).into_response()
    } else if !context.is_admitting.load(Ordering::Relaxed) {
        let told = "the webhooks do not listen yet; the log says what keeps them from a certificate\n";
        (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
    } else {
        (StatusCode::OK, "ok\n").into_response()
    }
}

async fn metrics(State(context): State<SharedContext>) -> Response {
    let uncovered =
        |rotation: &OnCallRotation| rotation.status.as_ref().map_or(0, |status| status.uncovered_seconds);
    let rotations = context.caches.rotations.state();
    context.metrics.uncovered(rotations.iter().map(|rotation| uncovered(rotation)).sum());
    match context.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
