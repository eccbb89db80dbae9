//! The step `http` of a Runbook: one request to a listed endpoint.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::Duration;

/// Calls an endpoint. What is sent is decided once, stored, and sent as it is stored.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(self.method in ['GET', 'HEAD']) || (!has(self.body) && !has(self.values))",
    "body: GET and HEAD have none; pass it in query"
))]
#[x_kube(validation = (
    "self.idempotency != 'SafeMethod' || self.method in ['GET', 'HEAD', 'PUT', 'DELETE']",
    "idempotency: SafeMethod is for GET, HEAD, PUT and DELETE; use Key if the receiver knows Idempotency-Key, else None"
))]
#[x_kube(validation = ("!has(self.values) || has(self.body)", "values: there is no body to put them into"))]
#[x_kube(validation = (
    "!has(self.attemptTimeout) || (duration(self.attemptTimeout) >= duration('1s') && duration(self.attemptTimeout) <= duration('1m'))",
    "attemptTimeout: from 1s to 1m"
))]
pub struct HttpStep {
    /// URL that is called, without a query. Every policy over the namespace lists it as an endpoint.
    #[schemars(schema_with = "super::http_url::of_endpoint")]
    pub url: String,
    /// Path below the URL. A segment in braces is the value of a parameter: `/queues/{queue}/messages`.
    #[schemars(
        length(min = 2, max = 512),
        regex(pattern = r"^(/([A-Za-z0-9._~!$&'()*+,;=:@%-]+|\{[a-z][A-Za-z0-9]*\}))+/?$")
    )]
    pub path: Option<String>,
    /// Method of the request.
    pub method: HttpMethod,
    /// Query of the request, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub query: Vec<QueryValue>,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// Body of the request, sent as JSON.
    #[serde(default)]
    #[schemars(schema_with = "super::common::free_object")]
    pub body: Option<Value>,
    /// Values of parameters that are put into the body as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub values: Vec<BodyValue>,
    /// What is done if no answer comes, so that the effect of the request is unknown.
    pub idempotency: Idempotency,
    /// Maximum time for one request, from 1s to 1m. Default 10s.
    pub attempt_timeout: Option<Duration>,
    /// Statuses that mean success. Default: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(range(min = 200, max = 599)))]
    pub statuses: Vec<i32>,
    /// Parts of a JSON answer that the run keeps. Nothing else of an answer is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub outputs: Vec<AnswerPart>,
}

/// Method of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names say it")]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl HttpMethod {
    /// The name as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
        }
    }
}

/// What is done if no answer comes, so that the effect of the request is unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Idempotency {
    /// The same request is sent again. The receiver knows the header `Idempotency-Key`, which stays the same.
    Key,
    /// The same request is sent again: its method may be repeated.
    SafeMethod,
    /// Nothing is sent again. The outcome is unknown and goes to a person.
    #[default]
    None,
}

/// A value in a query. Exactly one of `value` and `parameter` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.value) != has(self.parameter)", "set exactly one of value, parameter"))]
pub struct QueryValue {
    /// Name of the value.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The value.
    #[schemars(length(max = 253))]
    pub value: Option<String>,
    /// Parameter that holds the value.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: Option<String>,
}

/// A header. Exactly one of `value` and `secretRef` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.value) != has(self.secretRef)", "set exactly one of value, secretRef"))]
#[x_kube(validation = (
    "!(self.name.lowerAscii() in ['host', 'content-length', 'content-type', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer', 'expect', 'accept-encoding', 'idempotency-key', 'user-agent', 'keep-alive'])",
    "Mayday sets this header itself"
))]
#[x_kube(validation = (
    "!has(self.value) || !(self.name.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'x-auth-token'])",
    "a credential is in a Secret: use secretRef"
))]
pub struct Header {
    /// Name of the header.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$"))]
    pub name: String,
    /// The value.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[!-~]([ -~]*[!-~])?$"))]
    pub value: Option<String>,
    /// Secret that holds the value. It is read as the Runbook's ServiceAccount and never stored.
    pub secret_ref: Option<SecretKey>,
}

/// A key of a Secret in the same namespace.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._A-Za-z0-9]+$"))]
    pub key: String,
    /// Text before the value, such as `Bearer`; a space is put between.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub prefix: Option<String>,
}

/// A place in the body that takes the value of a parameter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct BodyValue {
    /// JSON pointer of the place. What is above it is in the body.
    #[schemars(length(min = 2, max = 253), regex(pattern = "^/"))]
    pub path: String,
    /// Name of the parameter.
    #[schemars(length(min = 1, max = 63))]
    pub parameter: String,
}

/// A part of a JSON answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct AnswerPart {
    /// Name of the result.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// JSON pointer of the part.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^/"))]
    pub path: String,
}
