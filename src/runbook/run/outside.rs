//! What a run does outside of the API server: it sends the requests of steps `http`, and looks for checks `query` and
//! `http`. Only to endpoints that every policy over the namespace lists now; Secrets are read as the Runbook's account.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::{SignedDuration, Timestamp};
use kube::Api;

use super::client::RunClient;
use super::state_machine::Sent;
use crate::api::check::QueryCheck;
use crate::api::common::ParameterValue;
use crate::api::http_step::Header;
use crate::api::runbook_run::{Act, Output};
use crate::api::runbook_step::Step;
use crate::change::policy;
use crate::cluster::caches::list_live;
use crate::cluster::{Context, Error};
use crate::outbound::client::{Call, CallError};
use crate::outbound::look::{Access, Look, Seen};
use crate::outbound::request::{self, Request};
use crate::outbound::{HttpUrl, encode, endpoints, retry_after};
use crate::runbook::steps::{self, kind::Work};
use crate::text::cut;

/// How long one request may take if the step does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of a result, as in the schema.
const MAX_OUTPUT: usize = 4096;
/// Maximum length of a query in a message.
const MAX_QUERY: usize = 300;

/// The authorities that may vouch for a URL, if every policy over the namespace lists it now; or why it is not called.
async fn listed(
    context: &Context,
    namespace: &str,
    url: &HttpUrl,
) -> Result<Result<Option<String>, String>, Error> {
    let policies = list_live(Api::all(context.client.clone()), &context.caches.policies).await?;
    let covering = policy::covering(&policies, namespace, &context.config.namespace);
    Ok(endpoints::listed(&covering, namespace, url).map(|authorities| authorities.map(str::to_owned)))
}

/// Looks for the check of a step.
///
/// # Errors
/// When the API server does not answer.
pub async fn look(
    context: &Context,
    client: &RunClient,
    step: Option<&Step>,
    values: &[ParameterValue],
) -> Result<Seen, Error> {
    let Some(Work::Poll(poll)) = step.and_then(steps::of).map(|kind| kind.work()) else {
        return Ok(Seen::inconclusive("the step looks at nothing".to_owned()));
    };
    let Some(look) = poll.outside() else {
        return Ok(Seen::inconclusive("the step looks at nothing".to_owned()));
    };
    let bound = match look {
        Look::Query(check) => {
            let text = |name: &str| values.iter().find(|value| value.name == name)?.string.as_deref();
            match encode::bind(&check.prom_ql, text) {
                Ok(prom_ql) => Some(QueryCheck { prom_ql, ..check.clone() }),
                Err(why) => return Ok(Seen::inconclusive(format!("the query: {why}"))),
            }
        }
        Look::Http(_) => None,
    };
    let look = bound.as_ref().map_or(look, Look::Query);
    let url = match HttpUrl::parse(look.url()) {
        Ok(url) => url,
        Err(why) => return Ok(Seen::inconclusive(format!("the url: {why}"))),
    };
    let authorities = match listed(context, client.namespace(), &url).await? {
        Ok(authorities) => authorities,
        Err(why) => return Ok(Seen::inconclusive(why)),
    };
    let token = match look.secret() {
        Some(secret) => match client.secret(&secret.name, "token").await? {
            Ok(token) => Some(token),
            Err(why) => return Ok(Seen::inconclusive(why)),
        },
        None => None,
    };
    let access = Access { token: token.as_deref(), authorities: authorities.as_deref() };
    let mut seen = look.look(&context.outbound, access).await;
    if let Some(bound) = &bound {
        seen.message = format!("{} ({})", seen.message, cut(&bound.prom_ql, MAX_QUERY));
    }
    Ok(seen)
}

/// Sends the announced request of an act, as it is stored.
///
/// # Errors
/// When the API server does not answer; nothing was sent then.
pub async fn send(context: &Context, client: &RunClient, act: &Act) -> Result<Sent, Error> {
    let refused = |why: String| Ok(Sent::Refused(format!("{} is not called: {why}", act.target.name)));
    let request: Request = match serde_json::from_value(act.body.clone().unwrap_or_default()) {
        Ok(request) => request,
        Err(error) => return refused(format!("the stored request cannot be read: {error}")),
    };
    let url = match HttpUrl::built(&request.url) {
        Ok(url) => url,
        Err(why) => return refused(why),
    };
    let authorities = match listed(context, client.namespace(), &url).await? {
        Ok(authorities) => authorities,
        Err(why) => return refused(why),
    };
    let mut secrets = Vec::new();
    let headers = match headers(client, &request, &mut secrets).await? {
        Ok(headers) => headers,
        Err(why) => return refused(why),
    };
    let Ok(method) = Method::from_bytes(request.method.as_str().as_bytes()) else {
        return refused("its method is none of HTTP".to_owned());
    };
    let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
    let timeout = request.attempt_timeout.as_ref();
    let timeout = timeout.and_then(|timeout| Duration::try_from(timeout.get()).ok()).unwrap_or(TIMEOUT);
    let call = Call { method, url: &url, headers, body, authorities: authorities.as_deref(), timeout };
    let name = &act.target.name;
    Ok(match context.outbound.call(call).await {
        Ok(answer) if request::succeeds(&request, answer.status) => {
            let kept = request::kept(&request, answer.body.as_deref().unwrap_or_default(), &secrets);
            let status = ("status".to_owned(), answer.status.to_string());
            let output = |(name, value): (String, String)| Output { name, value: cut(&value, MAX_OUTPUT) };
            Sent::Applied([vec![status], kept].concat().into_iter().map(output).collect())
        }
        Ok(answer) => {
            let asked = answer.retry_after.as_deref();
            let asked = asked.and_then(|asked| retry_after::wait(asked, Timestamp::now()));
            unhappy(name, answer.status, asked)
        }
        Err(CallError::Refused(why)) => Sent::Refused(format!("{name} {why}")),
        Err(CallError::NotSent(why)) => Sent::Failed(format!("{name} {why}: nothing was sent")),
        Err(CallError::NoAnswer(why)) => Sent::Unanswered(format!("{name} {why}")),
    })
}

/// What an answer means that is no success.
fn unhappy(name: &str, status: u16, asked: Option<SignedDuration>) -> Sent {
    let said = format!("{name} answered {status}");
    match (status, asked) {
        // A limit of requests is checked before a request is worked on.
        (429, Some(asked)) => Sent::TurnedAway(said, Some(asked)),
        // What an overloaded server or a proxy answers says nothing about the effect.
        (500.., Some(asked)) => Sent::Busy(said, asked),
        (500.., None) => Sent::Unanswered(said),
        // What could be another answer later is tried again if the step says so.
        (408 | 409 | 423 | 425 | 429, _) => Sent::Failed(said),
        (400..=499, _) => Sent::Refused(said),
        _ => Sent::Failed(said),
    }
}

/// The headers of a request; what is secret in them is added to `secrets`.
async fn headers(
    client: &RunClient,
    request: &Request,
    secrets: &mut Vec<String>,
) -> Result<Result<HeaderMap, String>, Error> {
    let mut headers = HeaderMap::new();
    if request.body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let key = request.key.iter().map(|key| (HeaderName::from_static("idempotency-key"), key.clone()));
    let mut named: Vec<(HeaderName, String)> = key.collect();
    for Header { name, value, secret_ref } in &request.headers {
        let value = match (value, secret_ref) {
            (_, Some(secret)) => match client.secret(&secret.name, &secret.key).await? {
                Ok(value) => {
                    secrets.push(value.clone());
                    secret.prefix.as_ref().map_or(value.clone(), |prefix| format!("{prefix} {value}"))
                }
                Err(why) => return Ok(Err(why)),
            },
            (Some(value), None) => value.clone(),
            (None, None) => return Ok(Err(format!("header {name} has no value"))),
        };
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => named.push((name, value)),
            Err(_) => return Ok(Err(format!("{name} is no name of a header"))),
        }
    }
    for (name, value) in named {
        let Ok(mut value) = HeaderValue::from_str(&value) else {
            return Ok(Err(format!("the value of the header {name} cannot stand in a header")));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Ok(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failure list 54: a server that asks for time is no failure, and one that has decided is not asked again.
    #[test]
    fn an_answer_is_one_of_those_that_pass_and_those_that_stay() {
        let asked = Some(SignedDuration::from_secs(7));
        let said = |status: u16| format!("cache answered {status}");
        assert_eq!(unhappy("cache", 429, asked), Sent::TurnedAway(said(429), asked));
        assert_eq!(unhappy("cache", 503, asked), Sent::Busy(said(503), SignedDuration::from_secs(7)));
        assert_eq!(unhappy("cache", 503, None), Sent::Unanswered(said(503)));
        for passing in [302, 408, 409, 425, 429] {
            assert_eq!(unhappy("cache", passing, None), Sent::Failed(said(passing)));
        }
        for lasting in [400, 401, 403, 404, 422] {
            assert_eq!(unhappy("cache", lasting, asked), Sent::Refused(said(lasting)));
        }
    }
}
