//! Posts of monitoring: bad ones are refused with one sentence, good ones are kept, even with hostile content.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::shop::{TOKEN, checkout_down, message, post, post_at_once};
use crate::support::{Cluster, condition, eventually, fresh, sample};

const LIMIT: usize = 4 * 1024 * 1024;

/// The sources of the sample in their own namespace.
struct Source {
    namespace: String,
}

impl Source {
    fn open() -> Source {
        let namespace = fresh("intake");
        let admin = Cluster::shared().admin();
        admin.types(&format!("kubectl create namespace {namespace}")).passes();
        let own = sample("30-detect.yaml").replace("namespace: shop", &format!("namespace: {namespace}"));
        admin.applies(&own).passes();
        eventually("the source has an address", || {
            let source = admin.reads(&format!("asrc/alertmanager -n {namespace}"));
            source["status"]["address"].as_str().map(drop)
        });
        Source { namespace }
    }

    fn posts_to(&self, name: &str, token: &str, body: &[u8]) -> (u16, String) {
        let path = format!("/v1/alerts/{}/{name}", self.namespace);
        post(Cluster::shared().port("intake-0"), &path, token, body)
    }

    fn posts(&self, body: &[u8]) -> (u16, String) {
        self.posts_to("alertmanager", TOKEN, body)
    }

    /// Posts with additional headers, and reads the answer only after the whole body is sent.
    fn sends(&self, headers: &str, body: &[u8]) -> (u16, String) {
        let path = format!("/v1/alerts/{}/alertmanager", self.namespace);
        post_at_once(Cluster::shared().port("intake-0"), &path, headers, body)
    }

    /// Expects a refusal with this status and one sentence that contains `words`.
    #[track_caller]
    fn is_refused(&self, body: &[u8], status: u16, words: &str) {
        is_one_sentence(self.posts(body), status, words);
        assert_eq!(self.incidents(), Vec::<Value>::new(), "nothing is half done");
    }

    /// Waits until the condition `Receiving` has this status and reason, and a message with `words`.
    #[track_caller]
    fn is_receiving(&self, status: &str, reason: &str, words: &str) {
        eventually(&format!("Receiving is {status}, {reason}, {words:?}"), || {
            let found = Cluster::shared().admin().reads(&format!("asrc/alertmanager -n {}", self.namespace));
            let receiving = condition(&found, "Receiving")?;
            let is_so = receiving["status"] == status && receiving["reason"] == reason;
            (is_so && receiving["message"].as_str()?.contains(words)).then_some(())
        });
    }

    fn incidents(&self) -> Vec<Value> {
        let all = Cluster::shared().admin().reads(&format!("inc -n {}", self.namespace));
        all["items"].as_array().unwrap().clone()
    }
}

#[track_caller]
fn is_one_sentence((status, said): (u16, String), expected: u16, words: &str) {
    assert_eq!(status, expected, "{said}");
    assert!(said.contains(words), "{words:?} is not in {said:?}");
    assert_eq!(said.lines().count(), 1, "{said:?}");
    assert!(said.ends_with('\n') && said.len() < 300, "{said:?}");
}

#[test]
fn a_malformed_post_is_refused_in_a_sentence_and_leaves_nothing() {
    let source = Source::open();
    let alert = |change: Value| message(&checkout_down(&change)).to_string();
    let not_a_message = "this is not a message of Alertmanager's webhook";
    source.is_refused(b"", 400, not_a_message);
    source.is_refused(b"{", 400, not_a_message);
    source.is_refused(b"[1, 2]", 400, not_a_message);
    source.is_refused(b"\xff\xfe\x00", 400, not_a_message);
    source.is_refused("[".repeat(100_000).as_bytes(), 400, not_a_message);
    source.is_refused(alert(json!({"labels": {"alertname": 7}})).as_bytes(), 400, not_a_message);
    for version in ["3", "<b>\n5"] {
        let mut other = message(&checkout_down(&json!({})));
        other["version"] = json!(version);
        source.is_refused(other.to_string().as_bytes(), 400, "version 4 is");
    }
    source.is_refused(
        alert(json!({"startsAt": "yesterday"})).as_bytes(),
        400,
        "alerts[0].startsAt: \"yesterday\"",
    );
    source.is_refused(
        alert(json!({"startsAt": "2026-13-45T99:00:00Z"})).as_bytes(),
        400,
        "alerts[0].startsAt",
    );
    source.is_refused(alert(json!({"startsAt": "0001-01-01T00:00:00Z"})).as_bytes(), 400, "must have begun");
    source.is_refused(alert(json!({"endsAt": "soon"})).as_bytes(), 400, "alerts[0].endsAt: \"soon\"");
    source.is_refused(alert(json!({"status": "maybe"})).as_bytes(), 400, "neither firing nor resolved");

    // One bad alert refuses the whole message, so that the sender notices and no part is applied.
    let mut both = message(&checkout_down(&json!({})));
    both["alerts"] = json!([checkout_down(&json!({})), checkout_down(&json!({"startsAt": "x"}))]);
    source.is_refused(both.to_string().as_bytes(), 400, "alerts[1].startsAt");

    let mut later = message(&checkout_down(&json!({"ofALaterVersion": {"a": [1]}})));
    later["alsoNew"] = json!([null]);
    assert_eq!(source.posts(later.to_string().as_bytes()), (200, "stored\n".to_owned()));
    assert_eq!(source.incidents().len(), 1, "stored when it was answered");
}

#[test]
fn a_sender_without_token_learns_nothing_and_large_posts_are_not_read() {
    let source = Source::open();
    let body = message(&checkout_down(&json!({}))).to_string();
    let sentence = |name: &str| format!("no AlertSource {}/{name} takes this token", source.namespace);
    for token in ["", "wrong", &TOKEN[1..], "another-long-random-token"] {
        let answer = source.posts_to("alertmanager", token, body.as_bytes());
        is_one_sentence(answer, 401, &sentence("alertmanager"));
    }
    for name in ["nobody", "workloads"] {
        is_one_sentence(source.posts_to(name, TOKEN, body.as_bytes()), 401, &sentence(name));
    }
    let other = source.posts_to("nightly-export", "another-long-random-token", body.as_bytes());
    is_one_sentence(other, 404, "is not of a type that this version of Mayday takes posts for");

    let padded = |size: usize| format!("{body}{}", " ".repeat(size - body.len()));
    source.is_refused(
        padded(LIMIT + 1).as_bytes(),
        413,
        "the body is larger than 4194304 bytes; send fewer alerts",
    );
    // The kind: a post that was refused for good is known to its sender only, which does not send it again.
    source.is_receiving("False", "PostRefused", "was refused with 413: the body is larger");
    let events = Cluster::shared().admin().reads(&format!("events -n {}", source.namespace));
    let events = events["items"].as_array().unwrap();
    let about = |event: &&Value| event["reason"] == "PostRefused" && event["type"] == "Warning";
    let notes: Vec<&str> =
        events.iter().filter(about).filter_map(|event| event["message"].as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("send the key token of its Secret")), "{notes:?}");
    assert_eq!(source.posts(padded(LIMIT).as_bytes()).0, 200, "just within the limit");
    assert_eq!(source.incidents().len(), 1);
    source.is_receiving("True", "Received", "was refused with 413: the body is larger");
}

#[test]
fn a_sender_that_reads_only_after_sending_gets_the_answer_too() {
    let source = Source::open();
    let body = message(&checkout_down(&json!({}))).to_string();
    let padded = |size: usize| format!("{body}{}", " ".repeat(size - body.len()));
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let chunked = |body: &str| {
        let chunks: String = body
            .as_bytes()
            .chunks(64 * 1024)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        format!("{chunks}0\r\n\r\n")
    };
    // More than the buffers in between hold, so that an early close of the connection shows.
    let large = 8 * LIMIT;
    let lengthy = format!("{token}content-length: {large}\r\n");
    let in_chunks = format!("{token}transfer-encoding: chunked\r\n");
    let too_large = "the body is larger than 4194304 bytes; send fewer alerts at once";
    is_one_sentence(source.sends(&lengthy, padded(large).as_bytes()), 413, too_large);
    is_one_sentence(source.sends(&in_chunks, chunked(&padded(2 * LIMIT)).as_bytes()), 413, too_large);
    let nobody = format!("content-length: {large}\r\n");
    is_one_sentence(source.sends(&nobody, padded(large).as_bytes()), 401, "takes this token");
    let basic = format!("authorization: Basic {TOKEN}\r\ntransfer-encoding: chunked\r\n");
    is_one_sentence(source.sends(&basic, chunked(&body).as_bytes()), 401, "Authorization: Bearer");
    is_one_sentence(source.sends(&in_chunks, b"zz\r\nno chunk"), 503, "the body ended before its end");
    let compressed = format!("{token}content-encoding: gzip\r\ncontent-length: 3\r\n");
    is_one_sentence(
        source.sends(&compressed, b"\x1f\x8b\x08"),
        415,
        "compressed (gzip); send it as plain JSON",
    );
    source.is_receiving("False", "PostRefused", "was refused with 415");
    assert_eq!(source.incidents(), Vec::<Value>::new(), "nothing is half done");

    let in_chunks = in_chunks.replace("Bearer", "bearer ");
    assert_eq!(source.sends(&in_chunks, chunked(&padded(LIMIT)).as_bytes()).0, 200, "just within the limit");
    assert_eq!(source.incidents().len(), 1);
}

/// The kind: an alert about another namespace counts as an outage of this one.
#[test]
fn an_alert_about_another_namespace_is_left_out_and_said() {
    let source = Source::open();
    let about = |namespace: &str| {
        let alert = message(&checkout_down(&json!({"labels": {"namespace": namespace}})));
        source.posts(alert.to_string().as_bytes())
    };
    is_one_sentence(about("staging"), 200, "1 alerts are left out: their label namespace names staging");
    assert_eq!(source.incidents(), Vec::<Value>::new());
    eventually("an Event says so", || {
        let events = Cluster::shared().admin().reads(&format!("events -n {}", source.namespace));
        let events = events["items"].as_array()?.clone();
        events.into_iter().find(|event| event["reason"] == "OtherNamespace")
    });
    assert_eq!(about(&source.namespace), (200, "stored\n".to_owned()));
    assert_eq!(source.incidents().len(), 1);
}

/// The kind: a bound of what is stored decides for ever what is known; and every post is a write of its own.
#[test]
fn a_storm_of_one_service_is_one_incident_and_ends_by_itself() {
    let source = Source::open();
    let (admin, namespace) = (Cluster::shared().admin(), &source.namespace);
    let checks = json!({"checks": [{"name": "alerts", "alertsCleared": {}}], "stableFor": "1s"});
    let service = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "BusinessService",
        "metadata": {"name": "checkout", "namespace": namespace}, "spec": {"title": "Checkout",
            "objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}], "returnToService": checks}});
    admin.applies(&service.to_string()).passes();
    eventually("Mayday knows the service", || {
        let service = admin.reads(&format!("bsvc/checkout -n {namespace}"));
        service["status"]["observedGeneration"].as_i64()
    });
    // Clocks ahead and behind, forty labels, names in UTF-8.
    let alert = |n: usize, state: Value| {
        let begun =
            jiff::Timestamp::from_second(1_790_000_000 + i64::try_from(n % 3).unwrap() * 10_000_000).unwrap();
        let mut labels = json!({"alertname": format!("Kasse läuft nicht {}", n % 7), "pod": format!("p{n}")});
        for index in 0..40 {
            labels[format!("a{index:02}")] = json!("ü".repeat(20));
        }
        let mut alert = checkout_down(
            &json!({"labels": labels, "fingerprint": format!("{n:016x}"), "startsAt": begun.to_string()}),
        );
        json_patch::merge(&mut alert, &state);
        alert
    };
    let posts = |from: usize, to: usize, state: &Value| {
        let mut whole = message(&Value::Null);
        whole["alerts"] = (from..to).map(|n| alert(n, state.clone())).collect();
        assert_eq!(source.posts(whole.to_string().as_bytes()), (200, "stored\n".to_owned()));
    };
    posts(0, 700, &json!({}));
    // New ones, one a post, that come together.
    std::thread::scope(|scope| {
        for sender in 0..10 {
            scope.spawn(move || {
                (0..10).for_each(|n| posts(700 + sender * 10 + n, 701 + sender * 10 + n, &json!({})))
            });
        }
    });
    let only = || {
        let incidents = source.incidents();
        assert_eq!(incidents.len(), 1, "one outage, one incident");
        incidents[0]["status"].clone()
    };
    let firing = |status: &Value| {
        let listed = status["signals"].as_array().unwrap();
        let listed = listed.iter().filter(|signal| signal["endTime"].is_null()).count();
        listed + status["leftOutSignals"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(firing(&only()), 800, "each is stored when it is answered");

    let over = json!({"status": "resolved", "endsAt": jiff::Timestamp::now().to_string()});
    posts(0, 799, &over);
    assert_eq!(firing(&only()), 1);
    posts(700, 800, &over);
    // A redundant sender repeats itself.
    posts(0, 40, &json!({}));
    let ended = eventually("it is over", || Some(only()).filter(|status| status["resolved"].is_object()));
    assert_eq!((ended["resolved"]["user"].as_str(), ended["relapses"].as_i64()), (Some("mayday"), Some(0)));
}

#[test]
fn hostile_labels_are_kept_short_and_harmless() {
    let source = Source::open();
    let mut labels = json!({"alertname": "Check\"out{{ .Values }}\n${HOME}`id`", "severity": "error"});
    for index in 0..200 {
        let value = format!("'\"{{{{ template \"x\" . }}}}\r\n\u{202e}<script>{}", "x".repeat(12_000));
        labels[format!("label-{index:03}")] = json!(value);
    }
    labels["a-huge-one"] = json!("€".repeat(350_000));
    let huge = checkout_down(&json!({"annotations": {"summary": "y\n".repeat(100_000)}}));
    let mut alert = huge.clone();
    alert["labels"] = labels;
    let body = message(&alert).to_string();
    assert!(body.len() > LIMIT / 2 && body.len() < LIMIT, "{}", body.len());
    assert_eq!(source.posts(body.as_bytes()), (200, "stored\n".to_owned()));

    let incidents = source.incidents();
    assert_eq!(incidents.len(), 1);
    let signal = &incidents[0]["status"]["signals"][0];
    let kept = signal["labels"].as_object().unwrap();
    assert!(kept.contains_key("a-huge-one") && (7..=32).contains(&kept.len()), "{}", kept.len());
    for text in kept.values().chain([&signal["name"], &incidents[0]["spec"]["title"]]) {
        let text = text.as_str().unwrap();
        assert!(text.len() <= 256 && !text.contains(char::is_control), "{text:?}");
    }
    assert!(signal["summary"].as_str().unwrap().len() <= 500);
    // The same alert again is the same signal, and its end clears it.
    json_patch::merge(
        &mut alert,
        &json!({"status": "resolved", "endsAt": jiff::Timestamp::now().to_string()}),
    );
    assert_eq!(source.posts(message(&alert).to_string().as_bytes()).0, 200);
    let after = source.incidents();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["status"]["signals"].as_array().unwrap().len(), 1);
    assert!(after[0]["status"]["signals"][0]["endTime"].is_string(), "{:#}", after[0]["status"]["signals"]);
}

#[test]
fn unclaimed_alerts_are_one_outage_a_group() {
    let source = Source::open();
    let posts = |group: &str, alert: &Value| {
        let mut whole = message(alert);
        whole["groupLabels"] = json!({"alertname": group});
        assert_eq!(source.posts(whole.to_string().as_bytes()), (200, "stored\n".to_owned()));
    };
    let about = |name: &str| checkout_down(&json!({"fingerprint": name, "labels": {"deployment": name}}));
    // One after the other, as Alertmanager posts a growing group.
    for name in ["checkout", "till", "basket"] {
        posts("ShopDown", &about(name));
    }
    let incidents = source.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(incidents[0]["status"]["signals"].as_array().unwrap().len(), 3);
    posts("BankDown", &about("bank"));
    assert_eq!(source.incidents().len(), 2, "another group is another outage");
}

#[test]
fn an_outage_that_a_person_named_goes_on_under_that_name() {
    let source = Source::open();
    let (admin, namespace) = (Cluster::shared().admin(), &source.namespace);
    let object = |kind: &str, name: &str, spec: Value| {
        let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": spec});
        admin.applies(&object.to_string()).passes();
    };
    let checks = json!({"checks": [{"name": "alerts", "alertsCleared": {}}], "stableFor": "1s"});
    let checkout = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    object(
        "BusinessService",
        "checkout",
        json!({"title": "Checkout", "objects": [checkout], "returnToService": checks}),
    );
    eventually("Mayday knows the service", || {
        let service = admin.reads(&format!("bsvc/checkout -n {namespace}"));
        service["status"]["observedGeneration"].as_i64()
    });
    object(
        "Incident",
        "cannot-pay",
        json!({"title": "cannot pay", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}]}),
    );
    let only = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        eventually(what, || {
            let incidents = source.incidents();
            assert_eq!(incidents.len(), 1, "one outage, one incident: {incidents:#?}");
            incidents.into_iter().next().filter(|incident| holds(&incident["status"]))
        })
    };
    only("it is about checkout", &|status| status["service"]["ref"]["name"] == "checkout");

    let alert = checkout_down(&json!({}));
    let posts = |alert: &Value| assert_eq!(source.posts(message(alert).to_string().as_bytes()).0, 200);
    let over = |alert: &Value| {
        let now = jiff::Timestamp::now().to_string();
        let mut cleared = alert.clone();
        json_patch::merge(&mut cleared, &json!({"status": "resolved", "endsAt": now}));
        posts(&cleared);
    };
    posts(&alert);
    over(&alert);
    only("it is over", &|status| status["resolved"]["user"] == "mayday");
    posts(&alert);
    only("a late repeat is no outage", &|status| status["resolved"]["user"] == "mayday");

    let again = checkout_down(&json!({}));
    posts(&again);
    let open = only("it has come back", &|status| status["relapses"] == 1);
    assert_eq!(open["metadata"]["name"], "cannot-pay");
    // The late end of the first episode clears nothing.
    let mut late = alert.clone();
    json_patch::merge(&mut late, &json!({"status": "resolved", "endsAt": alert["startsAt"]}));
    posts(&late);
    only("it fires on", &|status| status["signals"][0]["endTime"].is_null());
    over(&again);
    let ended = only("it is over again", &|status| status["resolved"]["user"] == "mayday");
    assert_eq!(ended["status"]["pastOutages"].as_array().unwrap().len(), 1);
    let report = ended["status"]["reports"]["external"].as_str().unwrap();
    assert!(report.contains(" in all, from ") && report.contains(", with a relapse from "), "{report}");
}

#[test]
fn a_source_that_can_take_no_post_says_so() {
    let source = Source::open();
    let (admin, namespace) = (Cluster::shared().admin(), &source.namespace);
    let sources = sample("30-detect.yaml").replace("namespace: shop", &format!("namespace: {namespace}"));
    for (good, bad) in [
        ("kind: Deployment, nameFromLabel", "kind: deployment, nameFromLabel"),
        ("apiVersion: apps/v1, kind: Deployment, sel", "apiVersion: apps v1, kind: Deployment, sel"),
        ("title: The checkout queue is backing up", "title: ' '"),
    ] {
        assert!(sources.contains(good));
        let refused = admin.applies(&sources.replace(good, bad)).is_refused();
        assert!(refused.contains("should match"), "{refused}");
    }
    admin.types(&format!("kubectl delete secret alertmanager -n {namespace}")).passes();
    // Any write triggers another reconcile.
    let title = r#"--type merge -p '{"spec":{"title":"something is down"}}'"#;
    admin.types(&format!("kubectl patch asrc/alertmanager -n {namespace} {title}")).passes();
    let ready = |status: &str| {
        eventually(&format!("Ready is {status}"), || {
            let found = admin.reads(&format!("asrc/alertmanager -n {namespace}"));
            let ready = condition(&found, "Ready")?.clone();
            (ready["status"] == status).then_some(ready)
        })
    };
    let said = ready("False");
    let next =
        format!("kubectl create secret generic alertmanager -n {namespace} --type mayday.dev/credential");
    assert!(said["message"].as_str().unwrap().contains(&next), "{said:#}");
    admin.types(&format!("{next} --from-literal token={TOKEN}")).passes();
    ready("True");
}

#[test]
fn a_post_that_the_api_server_refuses_is_to_be_sent_again() {
    let source = Source::open();
    let (admin, name) = (Cluster::shared().admin(), &source.namespace);
    let full = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name}, "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                    "resourceRules": [{"apiGroups": ["mayday.dev"], "apiVersions": ["*"],
                        "operations": ["CREATE"], "resources": ["incidents"]}]},
                "validations": [{"expression": "false", "message": "no room for another one"}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}},
    ]});
    admin.applies(&full.to_string()).passes();
    let trial = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "trial", "namespace": name}, "spec": {"title": "x", "severity": "SEV3"}});
    let is_taken = || admin.pipes(&trial.to_string(), "kubectl create --dry-run=server -f -").succeeded();
    eventually("no incident is taken", || (!is_taken()).then_some(()));
    let body = message(&checkout_down(&json!({}))).to_string();
    source.is_refused(body.as_bytes(), 503, "the API server did not take it; send it again");

    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        admin.types(&format!("kubectl delete {kind} {name}")).passes();
    }
    eventually("incidents are taken again", || is_taken().then_some(()));
    assert_eq!(source.posts(body.as_bytes()), (200, "stored\n".to_owned()));
    assert_eq!(source.incidents().len(), 1);
}

#[test]
fn a_truncated_message_clears_only_the_alerts_that_it_lists() {
    let source = Source::open();
    let second = json!({"labels": {"instance": "b"}, "fingerprint": "beef"});
    let both = |change: Value| {
        let mut whole = message(&checkout_down(&change));
        let mut other = checkout_down(&second);
        json_patch::merge(&mut other, &change);
        whole["alerts"] = json!([checkout_down(&change), other]);
        whole
    };
    assert_eq!(source.posts(both(json!({})).to_string().as_bytes()).0, 200);
    let ends = |incident: &Value| {
        let signals = incident["status"]["signals"].as_array().unwrap().iter();
        signals.filter(|signal| signal["endTime"].is_string()).count()
    };
    let open = source.incidents();
    assert_eq!((open.len(), ends(&open[0])), (1, 0));

    let resolved = || json!({"status": "resolved", "endsAt": jiff::Timestamp::now().to_string()});
    let mut cut = message(&checkout_down(&resolved()));
    cut["status"] = json!("resolved");
    cut["truncatedAlerts"] = json!(1);
    assert_eq!(source.posts(cut.to_string().as_bytes()).0, 200);
    let open = source.incidents();
    assert_eq!((open.len(), ends(&open[0])), (1, 1), "{:#}", open[0]["status"]["signals"]);

    assert_eq!(source.posts(both(resolved()).to_string().as_bytes()).0, 200);
    assert_eq!(ends(&source.incidents()[0]), 2);
}
