use super::*;
use crate::notify::credential::TYPE;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Status};
use axum::routing::post as route;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use std::sync::{Arc, Mutex};

type Seen = Arc<Mutex<Vec<(HeaderMap, String)>>>;

async fn receiver(status: Status) -> (String, Seen) {
    let seen: Seen = Arc::default();
    let handler = move |State(seen): State<Seen>, headers: HeaderMap, body: String| async move {
        seen.lock().unwrap().push((headers, body));
        (status, [("location", "http://127.0.0.1:1/elsewhere"), ("retry-after", "7")])
    };
    let app = Router::new().route("/secret-path", route(handler)).with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, seen)
}

fn body() -> Body<'static> {
    Body {
        id: "msg_5c0e8f1d",
        type_: "page",
        time: Timestamp::UNIX_EPOCH,
        subject: "inc/checkout-x7k2p",
        namespace: Some("shop"),
        severity: Some("SEV2"),
        person: Some("emil"),
        address: Some("emil"),
        text: "SEV2 checkout is down",
    }
}

async fn send(url: &str, allow_loopback: bool) -> Outcome {
    // A process has one provider; a second test finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = SigningKey::parse("whsec_bWF5ZGF5LWRlbW8tc2lnbmluZy1rZXk=").unwrap();
    let client = Outbound::new(allow_loopback, &"https://10.96.0.1:443".parse().unwrap());
    let url = &HttpUrl::parse(url).unwrap();
    let target = Target { url, key: &key, timeout: Duration::from_secs(5), client: &client };
    post(&target, &body(), Timestamp::from_second(1_800_000_000).unwrap()).await
}

#[tokio::test]
async fn a_message_arrives_signed() {
    let (url, seen) = receiver(Status::OK).await;
    assert_eq!(send(&url, true).await, Outcome::Sent);
    let (headers, text) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(headers["webhook-id"], "msg_5c0e8f1d");
    assert_eq!(headers["webhook-timestamp"], "1800000000");
    let key = SigningKey::parse("whsec_bWF5ZGF5LWRlbW8tc2lnbmluZy1rZXk=").unwrap();
    let expected = key.sign("msg_5c0e8f1d", 1_800_000_000, text.as_bytes()).unwrap();
    assert_eq!(headers["webhook-signature"], expected);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["type"], "page");
    assert_eq!(json["text"], "SEV2 checkout is down");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (url, seen) = receiver(Status::TEMPORARY_REDIRECT).await;
    let Outcome::Retry { error, .. } = send(&url, true).await else { panic!("followed") };
    assert!(error.contains("307") && !error.contains("127.0.0.1"), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn loopback_is_refused_unless_it_is_allowed() {
    let (url, seen) = receiver(Status::OK).await;
    let Outcome::Retry { error, .. } = send(&url, false).await else { panic!("sent") };
    assert!(error.contains("allowLoopback") && !error.contains("secret-path"), "{error}");
    let by_name = url.replace("127.0.0.1", "localhost");
    assert!(matches!(send(&by_name, false).await, Outcome::Retry { .. }));
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_receiver_that_is_away_is_tried_again_and_not_named() {
    let Outcome::Retry { error, .. } = send("http://127.0.0.1:1/secret-path", true).await else {
        panic!("not retried")
    };
    assert!(!error.contains("secret-path") && !error.contains("127.0.0.1"), "{error}");
}

/// Who mends the Secret mends the page.
#[tokio::test]
async fn a_url_that_cannot_be_called_is_told_without_it_and_tried_again() {
    let webhook = Webhook::default();
    let client = Outbound::default();
    let envelope = Envelope {
        id: "msg_5c0e8f1d",
        purpose: "page",
        time: Timestamp::UNIX_EPOCH,
        subject: "inc/checkout-x7k2p",
        namespace: None,
        severity: None,
        person: None,
        address: None,
        text: "SEV2 checkout is down",
        timeout: Duration::from_secs(5),
        client: &client,
    };
    for url in ["ftp://x.example/", "no url", "https://user:pass@x.example/", "https://X.example/"] {
        let data = [("url", url), ("signingKey", "whsec_bWF5ZGF5LWRlbW8tc2lnbmluZy1rZXk=")];
        let secret = Secret {
            type_: Some(TYPE.to_owned()),
            data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.into()))).into()),
            ..Secret::default()
        };
        let credential = Credential::new("oncall", secret).ok().unwrap();
        let Outcome::Retry { error, .. } = webhook.send(&credential, &envelope, Timestamp::UNIX_EPOCH).await
        else {
            panic!("{url} is not tried again")
        };
        assert!(error.starts_with("Secret oncall: url: "), "{error}");
        assert!(!error.contains("pass@") && !error.contains("x.example"), "{error}");
    }
}

#[test]
fn answers_are_final_or_not() {
    let now = "2026-11-22T03:00:00Z".parse().unwrap();
    let judged = |code: u16, after| judge(code, after, now);
    assert_eq!(judged(204, None), Outcome::Sent);
    for code in [301, 400, 401, 404, 408, 425, 429, 500, 503, 599] {
        assert!(matches!(judged(code, None), Outcome::Retry { .. }), "{code}");
    }
    assert!(matches!(judged(410, None), Outcome::Failed { .. }));
    let after = |text| match judged(429, Some(text)) {
        Outcome::Retry { after, .. } => after,
        _ => None,
    };
    assert_eq!(after("7"), Some(SignedDuration::from_secs(7)));
    assert_eq!(after("Sun, 22 Nov 2026 03:01:00 GMT"), Some(SignedDuration::from_secs(60)));
    assert_eq!(after("soon"), None);
}
