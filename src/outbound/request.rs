//! The request of a step `http`: built once from the step and the values of its parameters, stored, and sent as it is
//! stored. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{HttpUrl, encode};
use crate::api::common::ParameterValue;
use crate::api::duration::Duration;
use crate::api::http_step::{AnswerPart, Header, HttpMethod, HttpStep};

/// Maximum length of a body in bytes.
const MAX_BODY: usize = 16 * 1024;

/// A request as it is stored in the journal of a run. It holds no secret, only where each is.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The method.
    pub method: HttpMethod,
    /// The URL with its query, as it is sent.
    pub url: String,
    /// The headers that the step names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// The JSON body.
    pub body: Option<Value>,
    /// Value of the header `Idempotency-Key`.
    pub key: Option<String>,
    /// How long it may take.
    pub attempt_timeout: Option<Duration>,
    /// Statuses that mean success; empty: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<i32>,
    /// Parts of the answer that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<AnswerPart>,
}

/// The request of a step. `operation_id` becomes its key if the receiver knows keys.
///
/// # Errors
/// What cannot be sent, in words that follow the name of the step's field.
pub fn build(
    step: &HttpStep,
    values: &[ParameterValue],
    operation_id: Option<&str>,
) -> Result<Request, String> {
    let url = url(step, values)?;
    let mut body = step.body.clone();
    for place in &step.values {
        let value = json(values, &place.parameter).ok_or_else(|| no_value(&place.parameter))?;
        put(body.as_mut(), &place.path, value).map_err(|why| format!("values: {}: {why}", place.path))?;
    }
    if body.as_ref().is_some_and(|body| body.to_string().len() > MAX_BODY) {
        return Err(format!("body: it is larger than {MAX_BODY} bytes"));
    }
    Ok(Request {
        method: step.method,
        url: url.as_str().to_owned(),
        headers: step.headers.clone(),
        body,
        key: operation_id.map(str::to_owned),
        attempt_timeout: step.attempt_timeout.clone(),
        statuses: step.statuses.clone(),
        outputs: step.outputs.clone(),
    })
}

/// What is wrong with a step for any values of its parameters.
///
/// # Errors
/// The field, and why.
pub fn check(step: &HttpStep) -> Result<(), String> {
    let value = |name: &str| ParameterValue { name: name.to_owned(), integer: Some(1), string: None };
    let values: Vec<ParameterValue> = parameters(step).into_iter().map(value).collect();
    build(step, &values, None).map(drop)
}

/// The names of the parameters that a step uses.
pub fn parameters(step: &HttpStep) -> Vec<&str> {
    let in_path = segments(step).filter_map(named);
    let in_query = step.query.iter().filter_map(|value| value.parameter.as_deref());
    in_path.chain(in_query).chain(step.values.iter().map(|place| place.parameter.as_str())).collect()
}

fn url(step: &HttpStep, values: &[ParameterValue]) -> Result<HttpUrl, String> {
    let base = HttpUrl::parse(&step.url).map_err(|why| format!("url: {why}"))?;
    let mut path = String::new();
    for segment in segments(step) {
        path.push('/');
        match named(segment) {
            None => path.push_str(segment),
            Some(name) => {
                let value = text(values, name).ok_or_else(|| no_value(name))?;
                path.push_str(&encode::segment(&value).map_err(|why| format!("parameter {name}: {why}"))?);
            }
        }
    }
    let text = match path.as_str() {
        "" => base.as_str().to_owned(),
        path => format!("{}{path}", base.as_str().trim_end_matches('/')),
    };
    let url = HttpUrl::parse(&text).map_err(|why| format!("path: {why}"))?;
    let mut pairs = Vec::new();
    for given in &step.query {
        let value = match (&given.value, &given.parameter) {
            (Some(value), None) => value.clone(),
            (None, Some(name)) => self::text(values, name).ok_or_else(|| no_value(name))?,
            _ => return Err(format!("query: {}: set exactly one of value, parameter", given.name)),
        };
        pairs.push((given.name.as_str(), value));
    }
    if pairs.is_empty() {
        return Ok(url);
    }
    let query = encode::query(pairs.iter().map(|(name, value)| (*name, value.as_str())))
        .map_err(|why| format!("query: {why}"))?;
    url.with_query(&query).map_err(|why| format!("query: {why}"))
}

fn segments(step: &HttpStep) -> impl Iterator<Item = &str> {
    step.path.as_deref().unwrap_or_default().split('/').skip(1)
}

/// The parameter that a segment of a path stands for.
fn named(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn no_value(name: &str) -> String {
    format!("parameter {name}: it has no value")
}

fn text(values: &[ParameterValue], name: &str) -> Option<String> {
    let value = values.iter().find(|value| value.name == name)?;
    value.integer.map(|integer| integer.to_string()).or_else(|| value.string.clone())
}

fn json(values: &[ParameterValue], name: &str) -> Option<Value> {
    let value = values.iter().find(|value| value.name == name)?;
    value.integer.map(Value::from).or_else(|| value.string.clone().map(Value::from))
}

/// Puts a value into the body. The place may be new, what is above it may not.
fn put(body: Option<&mut Value>, pointer: &str, value: Value) -> Result<(), String> {
    let body = body.ok_or("there is no body")?;
    if let Some(place) = body.pointer_mut(pointer) {
        *place = value;
        return Ok(());
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    match body.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            object.insert(name.replace("~1", "/").replace("~0", "~"), value);
            Ok(())
        }
        _ => Err("the body has no object there".to_owned()),
    }
}

/// Whether a status means success.
pub fn succeeds(request: &Request, status: u16) -> bool {
    match request.statuses.as_slice() {
        [] => (200..300).contains(&status),
        statuses => statuses.contains(&i32::from(status)),
    }
}

/// The parts of an answer that are kept, by name, without what may not be shown.
pub fn kept(request: &Request, body: &[u8], secrets: &[String]) -> Vec<(String, String)> {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let part = |part: &AnswerPart| {
        let text = match answer.pointer(&part.path)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let shown = secrets.iter().filter(|secret| !secret.is_empty());
        Some((part.name.clone(), shown.fold(text, |text, secret| text.replace(secret.as_str(), "***"))))
    };
    request.outputs.iter().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(edit: Value) -> HttpStep {
        let mut whole = json!({"url": "https://cache.example/v1", "method": "POST", "idempotency": "Key"});
        json_patch::merge(&mut whole, &edit);
        serde_json::from_value(whole).unwrap()
    }

    fn values() -> Vec<ParameterValue> {
        serde_json::from_value(json!([{"name": "queue", "string": "checkout v2"}, {"name": "count", "integer": 7},
            {"name": "hostile", "string": "../../admin"}, {"name": "quote", "string": "\"}, \"a\": {\"b\": \""}]))
        .unwrap()
    }

    #[test]
    fn a_request_has_each_value_in_its_place_and_no_other() {
        let step = step(json!({"path": "/queues/{queue}/first/{count}", "statuses": [202],
            "query": [{"name": "by", "value": "a&b"}, {"name": "n", "parameter": "count"}, {"name": "q", "parameter": "hostile"}],
            "headers": [{"name": "X-Team", "value": "shop"}],
            "body": {"queue": null, "limit": {}, "fixed": true},
            "values": [{"path": "/queue", "parameter": "quote"}, {"path": "/limit/count", "parameter": "count"}]}));
        let request = build(&step, &values(), Some("run/flush/0")).unwrap();
        assert_eq!(
            request.url,
            "https://cache.example/v1/queues/checkout%20v2/first/7?by=a%26b&n=7&q=..%2F..%2Fadmin"
        );
        assert_eq!(
            request.body.unwrap(),
            json!({"queue": "\"}, \"a\": {\"b\": \"", "limit": {"count": 7}, "fixed": true})
        );
        assert_eq!(request.key.as_deref(), Some("run/flush/0"));
        assert_eq!(parameters(&step), ["queue", "count", "count", "hostile", "quote", "count"]);
    }

    #[test]
    fn a_stored_request_is_sent_as_it_was_built() {
        let step = step(json!({"query": [{"name": "q", "value": "%2e%2e/"}]}));
        let request = build(&step, &[], None).unwrap();
        let stored: Request = serde_json::from_value(serde_json::to_value(&request).unwrap()).unwrap();
        assert_eq!(stored, request);
        assert_eq!(HttpUrl::built(&stored.url).unwrap().as_str(), "https://cache.example/v1?q=%252e%252e%2F");
    }

    #[test]
    fn a_request_without_path_and_query_is_the_url() {
        assert_eq!(build(&step(json!({})), &[], None).unwrap().url, "https://cache.example/v1");
        let root = step(json!({"url": "http://cache:8080", "path": "/flush"}));
        assert_eq!(build(&root, &[], None).unwrap().url, "http://cache:8080/flush");
    }

    #[test]
    fn a_value_that_fits_no_place_is_refused_with_its_name() {
        for (edit, why) in [
            (json!({"path": "/queues/{hostile}"}), "parameter hostile: a path segment cannot hold '/'"),
            (json!({"path": "/queues/{none}"}), "parameter none: it has no value"),
            (json!({"path": "/a/../b"}), "path: it is not in its normal form"),
            (json!({"path": "/a%2fb"}), "path: it encodes"),
            (json!({"path": "/{queue}x"}), "path: it holds a space, a control character or another one"),
            (json!({"url": "http://127.1"}), "url: it is not in its normal form"),
            (json!({"query": [{"name": "a"}]}), "query: a: set exactly one"),
            (
                json!({"query": [{"name": "a", "value": "x\ny"}]}),
                "query: a: the value holds the control character",
            ),
            (
                json!({"body": {}, "values": [{"path": "/a/b", "parameter": "count"}]}),
                "values: /a/b: the body has no object",
            ),
            (json!({"body": {"a": "x".repeat(20_000)}}), "body: it is larger"),
        ] {
            let said = build(&step(edit.clone()), &values(), None).expect_err(&edit.to_string());
            assert!(said.starts_with(why), "{edit}: {said}");
        }
    }

    #[test]
    fn only_declared_parts_of_an_answer_are_kept_and_no_secret() {
        let step =
            step(json!({"outputs": [{"name": "id", "path": "/job/id"}, {"name": "said", "path": "/said"},
            {"name": "none", "path": "/none"}]}));
        let request = build(&step, &[], None).unwrap();
        let body = json!({"job": {"id": 7}, "said": "Bearer sesame", "other": "x"}).to_string();
        let kept = |body: &str| kept(&request, body.as_bytes(), &["sesame".to_owned(), String::new()]);
        assert_eq!(kept(&body), [("id".into(), "7".into()), ("said".into(), "Bearer ***".into())]);
        assert_eq!(kept("<html>"), []);
        assert!(succeeds(&request, 204) && !succeeds(&request, 302) && !succeeds(&request, 500));
    }
}
