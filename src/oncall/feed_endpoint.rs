//! `/v1/oncall/NAMESPACE/ROTATION.ics?token=…`: the calendar file of a rotation, for programs with the token of its Secret.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use kube::ResourceExt;

use super::escalation::recipients;
use super::feed::Feed;
use crate::cluster::SharedContext;
use crate::cluster::caches::{self, in_namespace};
use crate::notify::tokens::Tokens;

/// Fewest characters of a token: fewer could be guessed.
pub const SHORTEST_TOKEN: usize = 16;

#[derive(Clone)]
struct Feeds {
    context: SharedContext,
    tokens: Arc<Tokens>,
}

/// What a calendar program asks for.
#[derive(Debug, Default)]
struct Asked {
    token: String,
    person: Option<String>,
}

impl Asked {
    fn read(query: &str) -> Asked {
        let mut asked = Asked::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "token" => asked.token = value.into_owned(),
                "person" => asked.person = Some(value.into_owned()),
                _ => {}
            }
        }
        asked
    }
}

/// The route.
pub fn router(context: SharedContext) -> Router {
    let feeds = Feeds { context, tokens: Arc::default() };
    Router::new().route("/v1/oncall/{namespace}/{file}", get(answer)).with_state(feeds)
}

async fn answer(
    State(feeds): State<Feeds>,
    Path((namespace, file)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = Asked::read(query.as_deref().unwrap_or_default());
    // Who has no token learns nothing, not even which rotations there are.
    let unknown =
        (StatusCode::NOT_FOUND, "there is no such calendar, or the token is wrong\n").into_response();
    let context = &feeds.context;
    if !context.caches.is_synced() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting; ask again in a moment\n").into_response();
    }
    let name = file.strip_suffix(".ics").unwrap_or_default();
    let Some(rotation) = caches::get(&context.caches.rotations, &namespace, name) else { return unknown };
    let Some(calendar) = rotation.spec.calendar_feed.as_ref() else { return unknown };
    if asked.token.len() < SHORTEST_TOKEN {
        return unknown;
    }
    let secret = &calendar.secret_ref.name;
    match feeds.tokens.is_token(&context.client, &namespace, secret, asked.token.as_bytes()).await {
        Ok(true) => {}
        Ok(false) => return unknown,
        Err(error) => {
            tracing::warn!(%namespace, rotation = name, "the token of a calendar cannot be read: {error}");
            return (StatusCode::SERVICE_UNAVAILABLE, "ask again in a moment\n").into_response();
        }
    }
    let now = Timestamp::now();
    let overrides = in_namespace(&context.caches.overrides, &namespace);
    let Some(schedule) = recipients::schedule(&rotation, &overrides, now) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the rotation is not Ready\n").into_response();
    };
    let person = asked.person.as_deref();
    if let Some(person) = person.filter(|person| !schedule.people.iter().any(|known| known == person)) {
        return (StatusCode::NOT_FOUND, format!("{person:?} is not in this rotation\n")).into_response();
    }
    let uid = rotation.uid().unwrap_or_default();
    let name = format!("{namespace}/{name}");
    let text = Feed { name: &name, uid: &uid, schedule: &schedule, person, now }.text();
    let headers = [
        (header::CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (header::CACHE_CONTROL, "private, max-age=300"),
    ];
    (headers, text).into_response()
}
