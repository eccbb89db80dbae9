//! Admission reviews: read without losing who asked, answered in the shape the API server expects.

use json_patch::Patch;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use kube::core::{DynamicObject, Status};
use serde::Deserialize;
use serde_json::Value;

use super::verdict::Verdict;

/// One request to be decided.
pub type Request = AdmissionRequest<DynamicObject>;

/// A body that is no admission review. It is refused, never allowed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "Refused: Mayday cannot read this admission review ({message}), and what it cannot read it does not allow"
)]
pub struct Unreadable {
    /// The review's uid, if that much could be read; the answer must carry it.
    pub uid: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// How deeply an object may be nested, the limit of the JSON reader.
const DEPTH: usize = 128;

/// The part of a review that its answer needs. Everything else is skipped, however deep it is.
#[derive(Deserialize)]
struct Envelope {
    request: Identity,
}

#[derive(Deserialize)]
struct Identity {
    uid: String,
}

/// Reads a review.
///
/// # Errors
/// When the body is not JSON, is no review of version v1, or lacks its request.
pub fn read(body: &[u8]) -> Result<Request, Unreadable> {
    let unreadable = |uid: Option<String>, message: String| Unreadable { uid, message };
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // Without its uid the answer would look like an outage of Mayday.
        let uid = serde_json::from_slice::<Envelope>(body).ok().map(|envelope| envelope.request.uid);
        let what = match &uid {
            // The reader of `Value` has a limit of depth that skipping has not.
            Some(_) => format!("nested too deeply, more than {DEPTH} levels: {error}"),
            None => format!("not JSON: {error}"),
        };
        unreadable(uid, what)
    })?;
    let uid = value.pointer("/request/uid").and_then(Value::as_str).map(str::to_owned);
    let version = value.get("apiVersion").and_then(Value::as_str);
    if version != Some("admission.k8s.io/v1") {
        return Err(unreadable(uid, format!("its version is {version:?} instead of admission.k8s.io/v1")));
    }
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_value(value).map_err(|error| unreadable(uid.clone(), error.to_string()))?;
    let request: Request =
        review.try_into().map_err(|_| unreadable(uid.clone(), "it holds no request".to_owned()))?;
    if request.uid.is_empty() {
        return Err(unreadable(None, "its uid is empty".to_owned()));
    }
    Ok(request)
}

/// The answer to a request.
pub fn answer(request: &Request, verdict: &Verdict) -> AdmissionReview<DynamicObject> {
    let mut response = AdmissionResponse::from(request);
    match verdict {
        Verdict::Allow { warnings, audit } => {
            response.warnings = (!warnings.is_empty()).then(|| warnings.clone());
            response.audit_annotations =
                audit.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        }
        Verdict::Refuse { code, message } => refuse(&mut response, *code, message),
    }
    response.into_review()
}

/// The answer to a request that passes with these changes; an empty patch changes nothing.
pub fn stamped(request: &Request, patch: Patch) -> AdmissionReview<DynamicObject> {
    let response = AdmissionResponse::from(request);
    if patch.0.is_empty() {
        return response.into_review();
    }
    match response.clone().with_patch(patch) {
        Ok(response) => response.into_review(),
        Err(error) => answer(request, &Verdict::unavailable(format!("Refused: {error}"))),
    }
}

/// The answer to a body that cannot be read.
pub fn unreadable(error: &Unreadable) -> AdmissionReview<DynamicObject> {
    let mut response = AdmissionResponse::invalid(error);
    response.uid = error.uid.clone().unwrap_or_default();
    refuse(&mut response, 400, &error.to_string());
    response.into_review()
}

fn refuse(response: &mut AdmissionResponse, code: u16, message: &str) {
    response.allowed = false;
    response.result = Status::failure(message, reason(code)).with_code(code);
}

/// The reason that clients know for a code.
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        409 => "Conflict",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "Forbidden",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "kind": {"group": "", "version": "v1", "kind": "PodExecOptions"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "subResource": "exec", "name": "checkout-1", "namespace": "shop", "operation": "CONNECT",
                "userInfo": {"username": "emil", "groups": ["shop-engineers"]},
                "object": {"apiVersion": "v1", "kind": "PodExecOptions", "command": ["sh"]},
                "oldObject": null, "dryRun": false, "options": null
            }
        })
    }

    #[test]
    fn a_connect_without_metadata_is_read() {
        let request = read(body().to_string().as_bytes()).unwrap();
        assert_eq!(request.sub_resource.as_deref(), Some("exec"));
        assert_eq!(request.object.unwrap().data["command"], json!(["sh"]));
    }

    #[test]
    fn an_unreadable_review_is_refused_with_its_uid() {
        let mut broken = body();
        broken["request"]["operation"] = json!("EXPLODE");
        let error = read(broken.to_string().as_bytes()).unwrap_err();
        let review = serde_json::to_value(unreadable(&error)).unwrap();
        assert_eq!(review["response"]["uid"], "u-1");
        assert_eq!(review["response"]["allowed"], false);
        assert!(review["response"]["status"]["message"].as_str().unwrap().contains("EXPLODE"));
        for text in ["", "[]", "{}", "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}"]
        {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// The kind: a body that only some readers can read. The refusal names what is wrong, and is no outage.
    #[test]
    fn a_body_that_is_nested_too_deeply_is_refused_with_its_uid() {
        let deep = format!("{}1{}", "{\"a\":".repeat(3000), "}".repeat(3000));
        let text = body().to_string().replace("\"dryRun\"", &format!("\"more\":{deep},\"dryRun\""));
        let error = read(text.as_bytes()).unwrap_err();
        assert_eq!(error.uid.as_deref(), Some("u-1"));
        assert!(error.to_string().contains("nested too deeply"), "{error}");
        let review = serde_json::to_value(unreadable(&error)).unwrap();
        assert_eq!(review["response"]["uid"], "u-1");
        let cut = &text[..text.len() - 9];
        assert_eq!(read(cut.as_bytes()).unwrap_err().uid, None, "half a body");
    }

    #[test]
    fn a_refusal_carries_code_and_sentence() {
        let request = read(body().to_string().as_bytes()).unwrap();
        let review = answer(&request, &Verdict::Refuse { code: 429, message: "later".into() });
        let review = serde_json::to_value(review).unwrap();
        assert_eq!(review["response"]["status"]["code"], 429);
        assert_eq!(review["response"]["status"]["reason"], "TooManyRequests");
        assert_eq!(review["response"]["status"]["message"], "later");
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    }
}
