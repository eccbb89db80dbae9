//! The calls that a run made, made once more by a plain client: what the API server alone needs for them.

use http::Request;
use kube::Client;
use serde_json::{Value, json};

/// One call, with what it wrote put into a ConfigMap, so that nothing follows from it.
#[derive(Clone, Debug)]
pub struct Call {
    method: &'static str,
    uri: String,
    body: Option<Value>,
}

/// The calls among these entries of the audit log that Mayday made for a run, or as the account of a run.
pub fn calls(entries: &[Value]) -> Vec<Call> {
    let is_mayday =
        |entry: &&Value| entry["user"]["username"] == "system:serviceaccount:mayday-system:mayday";
    entries.iter().filter(is_mayday).filter_map(call).collect()
}

fn call(entry: &Value) -> Option<Call> {
    let uri = entry["requestURI"].as_str()?.to_owned();
    let resource = entry["objectRef"]["resource"].as_str()?;
    // These belong to the pages, and to the operator itself.
    if ["notifications", "secrets"].contains(&resource) {
        return None;
    }
    let text = || entry["requestObject"].to_string();
    let writes = |method| Call {
        method,
        uri: "/api/v1/namespaces/bare/configmaps/{map}".to_owned(),
        body: Some(json!({"metadata": {"name": "{map}", "namespace": "bare"}, "data": {"written": text()}})),
    };
    match entry["verb"].as_str()? {
        "get" | "list" => Some(Call { method: "GET", uri, body: None }),
        "update" => Some(writes("PUT")),
        "patch" => Some(writes("PATCH")),
        // Its body is not in the log.
        "create" if resource.ends_with("reviews") => Some(Call {
            method: "POST",
            uri,
            body: Some(match resource {
                "selfsubjectrulesreviews" => json!({"apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectRulesReview", "spec": {"namespace": "shop"}}),
                _ => json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
                    "user": "bea", "groups": ["shop-approvers"], "resourceAttributes": {"verb": "impersonate",
                        "resource": "serviceaccounts", "name": "checkout-runbooks", "namespace": "shop"}}}),
            }),
        }),
        _ => None,
    }
}

impl Call {
    pub fn is_write(&self) -> bool {
        matches!(self.method, "PUT" | "PATCH")
    }

    /// Makes the call; what it writes goes into this ConfigMap. The round makes what is written differ.
    pub async fn make(&self, client: &Client, map: &str, round: usize) {
        let body = self.body.as_ref().map(|body| {
            let mut body: Value = serde_json::from_str(&body.to_string().replace("{map}", map)).unwrap();
            if self.is_write() {
                body["data"]["round"] = round.to_string().into();
            }
            serde_json::to_vec(&body).unwrap()
        });
        let kind = if self.method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder()
            .method(self.method)
            .uri(self.uri.replace("{map}", map))
            .header("content-type", kind)
            .body(body.unwrap_or_default())
            .unwrap();
        client.request_text(request).await.unwrap();
    }
}
