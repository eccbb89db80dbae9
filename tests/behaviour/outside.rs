//! Checks that look outside of the cluster's API, and the endpoints that a policy lists for them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::change::shop::Shop;
use crate::far_side::{FarSide, value};
use crate::support::{Cluster, Person, condition, eventually, fresh, sample};

/// A namespace, and a policy over it that lists these endpoints.
fn opened(admin: &Person, endpoints: &Value) -> String {
    let name = fresh("outside");
    admin.types(&format!("kubectl create namespace {name}")).passes();
    let policy = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": name},
        "spec": {"scope": {"namespaces": {"names": [name]}}, "approval": {}, "automation": {"endpoints": endpoints}}});
    admin.pipes(&policy.to_string(), "kubectl create -f -").passes();
    name
}

fn creates(admin: &Person, namespace: &str, kind: &str, name: &str, spec: &Value) -> crate::support::Output {
    let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    admin.pipes(&object.to_string(), "kubectl create -f -")
}

/// `Ready` of an object, once it has this status.
#[track_caller]
fn ready(admin: &Person, what: &str, status: &str) -> Value {
    eventually(&format!("{what} is Ready={status}"), || {
        condition(&admin.reads(what), "Ready").filter(|ready| ready["status"] == status).cloned()
    })
}

/// The checks of an incident by name: result and message.
fn checks(admin: &Person, namespace: &str) -> Value {
    let incident = admin.reads(&format!("inc/out -n {namespace}"));
    let checks = incident["status"]["checks"].as_array().cloned().unwrap_or_default();
    checks
        .iter()
        .map(|check| (check["name"].as_str().unwrap().to_owned(), json!([check["result"], check["message"]])))
        .collect()
}

#[test]
fn a_check_looks_outside_only_where_every_policy_lists_it() {
    let admin = Cluster::shared().admin();
    let far_side = FarSide::start();
    let prometheus = far_side.url("/prom");
    let namespace = opened(&admin, &json!([{"name": "prometheus", "url": prometheus}]));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "mayday.dev/credential",
        "metadata": {"name": "prometheus", "namespace": namespace}, "stringData": {"token": "sesame"}});
    admin.pipes(&secret.to_string(), "kubectl create -f -").passes();
    far_side.answers("/prom/api/v1/query", 200, &value("5"));
    far_side.answers("/shop", 503, "");

    let checks_of = json!([
        {"name": "errors", "query": {"url": prometheus, "promQL": "max(errors{namespace=\"shop\"})", "below": "0.5",
            "secretRef": {"name": "prometheus"}}},
        {"name": "site", "http": {"url": far_side.url("/shop")}}]);
    let spec = json!({"title": "Checkout", "returnToService": {"checks": checks_of, "stableFor": "1s"}});
    creates(&admin, &namespace, "BusinessService", "checkout", &spec).passes();
    let service = format!("bsvc/checkout -n {namespace}");
    let said = ready(&admin, &service, "False");
    let origin = far_side.url("");
    assert_eq!(
        (said["reason"].as_str(), said["message"].as_str()),
        (
            Some("EndpointNotListed"),
            Some(
                format!(
                    "spec.returnToService.checks[site].http.url: cpol/{namespace} does not list the endpoint {origin}: \
                     add {{name: ..., url: {origin}}} to spec.automation.endpoints, kubectl edit cpol {namespace}"
                )
                .as_str()
            )
        )
    );
    let spec = json!({"title": "out", "severity": "SEV3", "serviceRefs": [{"name": "checkout"}],
        "detection": {"method": "Alert"}});
    creates(&admin, &namespace, "Incident", "out", &spec).passes();
    eventually("the listed one is looked at, the other is not", || {
        let seen = checks(&admin, &namespace);
        (seen["errors"] == json!(["Failing", "the value is 5, not below 0.5"])
            && seen["site"][0] == "Unknown"
            && seen["site"][1].as_str()?.starts_with(&format!("cpol/{namespace} does not list the endpoint")))
        .then_some(())
    });
    let sent = far_side.received("/prom/api/v1/query");
    assert_eq!(sent[0].line, "POST /prom/api/v1/query HTTP/1.1");
    assert_eq!(sent[0].body, "query=max%28errors%7Bnamespace%3D%22shop%22%7D%29");
    assert_eq!(sent[0].headers["authorization"], "Bearer sesame");
    assert!(far_side.received("/shop").is_empty());

    let endpoints =
        json!([{"name": "prometheus", "url": prometheus}, {"name": "shop", "url": far_side.url("")}]);
    let patch = json!({"spec": {"automation": {"endpoints": endpoints}}});
    admin.types(&format!("kubectl patch cpol/{namespace} --type merge -p '{patch}'")).passes();
    ready(&admin, &service, "True");
    ready(&admin, &format!("inc/out -n {namespace}"), "True");
    eventually("the other is looked at", || {
        (checks(&admin, &namespace)["site"] == json!(["Failing", "it answers 503, not 200"])).then_some(())
    });
    let sent = far_side.received("/shop").remove(0);
    assert_eq!((sent.line.as_str(), sent.headers.get("authorization")), ("GET /shop HTTP/1.1", None));

    // What is no number is not known, and never health.
    far_side.answers("/prom/api/v1/query", 200, &value("NaN"));
    far_side.answers("/shop", 200, "fine");
    eventually("the new answers are seen", || {
        let seen = checks(&admin, &namespace);
        (seen["errors"] == json!(["Unknown", "the value is NaN, which is no number"])
            && seen["site"] == json!(["Passing", "it answers 200"]))
        .then_some(())
    });
    far_side.answers("/prom/api/v1/query", 200, &value("0.49999999999999999999"));
    eventually("it is over", || {
        let incident = admin.reads(&format!("inc/out -n {namespace}"));
        (incident["status"]["state"] == "Closed").then_some(())
    });
}

#[test]
fn a_url_or_a_limit_that_cannot_be_used_is_refused_at_apply() {
    let admin = Cluster::shared().admin();
    let namespace = opened(&admin, &json!([]));
    let check = |check: Value| {
        let spec = json!({"title": "t", "severity": "SEV3", "returnToService": {"checks": [check]}});
        creates(&admin, &namespace, "Incident", "bad", &spec).is_refused()
    };
    let http = "spec.returnToService.checks[0].http";
    for (url, why) in [
        ("ftp://a.example/", "begin with http:// or https://"),
        ("http://user:pass@a.example/", "leave out user and password"),
        ("http://a.example/#x", "leave out the fragment"),
        ("http://a.example/%2e%2e/admin", "encode nothing twice"),
        ("http://a.example/%252e", "encode nothing twice"),
        ("http://a.example/%zz", "two hexadecimal digits"),
        ("http://a.example/a b", "printable ASCII"),
        ("http://a.example/../b", "leave out . and .."),
        ("http://2130706433/", "name a host in small letters"),
        ("http://0x7f.1/", "name a host in small letters"),
        ("http://[::ffff:127.0.0.1]/", "name a host in small letters"),
        ("https://a.example:443/", "leave out the port"),
    ] {
        let said = check(json!({"name": "a", "http": {"url": url}}));
        assert!(said.contains(&format!("{http}.url")) && said.contains(why), "{url}: {said}");
    }
    let said = check(json!({"name": "a", "http": {"url": "http://a.example", "status": 99}}));
    assert!(said.contains(&format!("{http}.status")), "{said}");
    let query = |edit: Value| {
        let mut query = json!({"url": "http://p:9090", "promQL": "up"});
        json_patch::merge(&mut query, &edit);
        check(json!({"name": "a", "query": query}))
    };
    let path = "spec.returnToService.checks[0].query";
    for (edit, field) in [
        (json!({}), "set exactly one of above, below"),
        (json!({"above": "1", "below": "2"}), "set exactly one of above, below"),
        (json!({"above": "much"}), "query.above"),
        (json!({"below": "NaN"}), "query.below"),
        (json!({"below": "1e3"}), "query.below"),
        (json!({"below": "1", "url": "p:9090"}), "query.url"),
        (json!({"below": "1", "promQL": ""}), "query.promQL"),
        (json!({"below": "1", "secretRef": {"name": ""}}), "query.secretRef.name"),
    ] {
        let said = query(edit.clone());
        assert!(said.contains(path) && said.contains(field), "{edit}: {said}");
    }
    let step = |edit: Value| {
        let mut http = json!({"url": "http://cache:8080", "method": "POST", "idempotency": "None"});
        json_patch::merge(&mut http, &edit);
        let spec = json!({"summary": "s", "serviceAccountName": "a", "steps": [{"name": "s", "http": http}]});
        creates(&admin, &namespace, "Runbook", "bad", &spec).is_refused()
    };
    let secret = json!({"name": "s", "key": "k"});
    for (edit, why) in [
        (json!({"method": null}), "http: missing field `method`"),
        (json!({"method": "CONNECT"}), "http.method: unknown variant `CONNECT`"),
        (json!({"idempotency": null}), "http: missing field `idempotency`"),
        (json!({"idempotency": "SafeMethod"}), "SafeMethod is for GET, HEAD, PUT and DELETE"),
        (json!({"method": "GET", "body": {}}), "GET and HEAD have none"),
        (json!({"url": "http://cache:8080/?x=1"}), "leave out the query"),
        (json!({"path": "flush"}), "http.path"),
        (json!({"path": "/a b"}), "http.path"),
        (json!({"path": "/{none}"}), "no parameter is named \"none\""),
        (json!({"path": "/%2e%2e"}), "http.path: it encodes"),
        (json!({"query": [{"name": "a"}]}), "set exactly one of value, parameter"),
        (json!({"headers": [{"name": "Host", "value": "x"}]}), "Mayday sets this header itself"),
        (json!({"headers": [{"name": "Authorization", "value": "Bearer x"}]}), "a credential is in a Secret"),
        (json!({"headers": [{"name": "X Y", "value": "x"}]}), "http.headers[0].name"),
        (json!({"headers": [{"name": "X", "value": "a\nb"}]}), "http.headers[0].value"),
        (
            json!({"headers": [{"name": "X", "value": "a", "secretRef": secret}]}),
            "set exactly one of value, secretRef",
        ),
        (json!({"values": [{"path": "/a", "parameter": "b"}]}), "there is no body to put them into"),
        (json!({"attemptTimeout": "0s"}), "attemptTimeout: from 1s to 1m"),
        (json!({"statuses": [99]}), "http.statuses[0]"),
        (json!({"outputs": [{"name": "a", "path": "b"}]}), "http.outputs[0].path"),
    ] {
        let said = step(edit.clone());
        assert!(said.contains("spec.steps[0]") && said.contains(why), "{edit}: {said}");
    }
    let endpoint = |endpoints: Value| {
        let patch = json!({"spec": {"automation": {"endpoints": endpoints}}});
        admin.types(&format!("kubectl patch cpol/{namespace} --type merge -p '{patch}'")).is_refused()
    };
    let path = "spec.automation.endpoints";
    for (endpoints, why) in [
        (json!([{"name": "a", "url": "http://a/?x=1"}]), "leave out the query"),
        (json!([{"name": "a", "url": "http://*.example"}]), "name a host"),
        (json!([{"name": "a", "url": "a.example"}]), "begin with http:// or https://"),
        (json!([{"name": "A", "url": "http://a"}]), "endpoints[0].name"),
        (json!([{"name": "a"}]), "endpoints[0].url: Required value"),
        (
            json!([{"name": "a", "url": "http://a"}, {"name": "a", "url": "http://b"}]),
            "each has a name of its own",
        ),
    ] {
        let said = endpoint(endpoints.clone());
        assert!(
            said.contains(path.trim_end_matches(".endpoints")) && said.contains(why),
            "{endpoints}: {said}"
        );
    }
}

/// A shop whose policy lists the far side, and whose Runbooks' account may read the Secret `cache`.
fn shop_with(far_side: &FarSide) -> Shop {
    let shop = Shop::unprotected();
    let admin = shop.admin();
    for command in [
        "kubectl create secret generic cache -n NS --from-literal=token=sesame",
        "kubectl create role cache -n NS --verb=get --resource=secrets --resource-name=cache",
        "kubectl create rolebinding cache -n NS --role=cache --serviceaccount=NS:checkout-runbooks",
    ] {
        shop.types(&admin, command).passes();
    }
    let (policy, _) =
        sample("10-policy.yaml").split_once("\n---").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let policy = policy
        .replace("name: production", &format!("name: {}", shop.policy))
        .replace("names: [shop]", &format!("names: [{}]", shop.namespace))
        .replace("http://127.0.0.1:9090", &far_side.url(""));
    admin.applies(&policy).passes();
    shop
}

/// A Runbook that both approvers have approved.
fn approved(shop: &Shop, name: &str, steps: &Value) {
    let spec = json!({"summary": name, "serviceAccountName": "checkout-runbooks", "start": "Manual", "approval": "Standing",
        "parameters": [{"name": "queue", "string": {"default": "checkout v2"}}], "steps": steps});
    creates(&shop.admin(), &shop.namespace, "Runbook", name, &spec).passes();
    ready(&shop.admin(), &format!("rb/{name} -n {}", shop.namespace), "True");
    for approver in [shop.amir(), shop.bea()] {
        shop.types(&approver, &format!("kubectl mayday approve -n NS rb/{name} --yes")).passes();
    }
    eventually("it is approved", || {
        let runbook = shop.admin().reads(&format!("rb/{name} -n {}", shop.namespace));
        (condition(&runbook, "Approved")?["status"] == "True").then_some(())
    });
}

/// emil starts it; the run once it has come to a state.
#[track_caller]
fn run(shop: &Shop, runbook: &str, flags: &str, state: &str, meanwhile: impl Fn()) -> Value {
    let name = format!("{runbook}-{}", fresh("run"));
    let spec = json!({"runbookRef": {"name": runbook}, "dryRun": flags == "--dry-run"});
    creates(&shop.emil(), &shop.namespace, "RunbookRun", &name, &spec).passes();
    eventually(&format!("run/{name} is {state}"), || {
        meanwhile();
        let run = shop.admin().reads(&format!("run/{name} -n {}", shop.namespace));
        (run["status"]["state"] == state).then_some(run)
    })
}

#[test]
fn a_run_calls_an_endpoint_as_often_as_its_step_allows() {
    let far_side = FarSide::start();
    let shop = shop_with(&far_side);
    let url = far_side.url("");
    far_side.answers("/api/v1/query", 200, &value("3"));
    let flush = "/queues/checkout%20v2/flush";
    far_side.answers(flush, 0, "");
    far_side.answers("/charge", 0, "");
    approved(
        &shop,
        "flush",
        &json!([
            {"name": "short", "check": {"query": {"url": url, "promQL": "max(length{queue=\"$queue\"})", "below": "10"}}},
            {"name": "flush", "http": {"url": url, "path": "/queues/{queue}/flush", "method": "PUT", "idempotency": "Key",
                "attemptTimeout": "1s", "body": {"all": true}, "outputs": [{"name": "id", "path": "/id"}, {"name": "said", "path": "/said"}],
                "headers": [{"name": "Authorization", "secretRef": {"name": "cache", "key": "token", "prefix": "Bearer"}}]}}]),
    );
    approved(
        &shop,
        "charge",
        &json!([{"name": "charge", "http": {"url": url, "path": "/charge", "method": "POST", "idempotency": "None",
            "attemptTimeout": "1s", "body": {"cents": 100}}}]),
    );

    let dry = run(&shop, "flush", "--dry-run", "DryRunComplete", || {});
    let message = dry["status"]["steps"][1]["message"].as_str().unwrap();
    assert_eq!(message, format!("would send PUT {url}/queues/{{queue}}/flush; a dry run sends nothing"));
    assert!(far_side.received(flush).is_empty());

    // The first request is never answered; the same one again is.
    let done = run(&shop, "flush", "", "Succeeded", || {
        if !far_side.received(flush).is_empty() {
            far_side.answers(flush, 200, r#"{"id": 7, "said": "Bearer sesame", "other": "x"}"#);
        }
    });
    let query = far_side.received("/api/v1/query").remove(0);
    assert_eq!(query.body, "query=max%28length%7Bqueue%3D%22checkout%20v2%22%7D%29");
    let steps = &done["status"]["steps"];
    assert_eq!(steps[0]["message"], "the value is 3, below 10 (max(length{queue=\"checkout v2\"}))");
    let sent = far_side.received(flush);
    assert!(sent.len() >= 2, "{sent:?}");
    let key = format!("{}/flush/0", done["metadata"]["uid"].as_str().unwrap());
    for request in &sent {
        assert_eq!(request.line, format!("PUT {flush} HTTP/1.1"));
        assert_eq!(
            (request.headers["idempotency-key"].as_str(), request.body.as_str()),
            (key.as_str(), r#"{"all":true}"#)
        );
        assert_eq!(request.headers["authorization"], "Bearer sesame");
    }
    let outputs = json!([{"name": "status", "value": "200"}, {"name": "id", "value": "7"}, {"name": "said", "value": "Bearer ***"}]);
    assert_eq!(steps[1]["outputs"], outputs, "{steps:#}");
    assert!(!done.to_string().contains("sesame"), "{done:#}");

    // What may not be repeated is sent once, and goes to a person.
    let lost = run(&shop, "charge", "", "Unknown", || {});
    assert_eq!(far_side.received("/charge").len(), 1);
    let message = lost["status"]["steps"][0]["message"].as_str().unwrap();
    assert!(message.contains("nobody knows whether the request had an effect"), "{message}");

    a_receiver_that_is_busy_gets_the_time_that_it_asks_for(&shop, &far_side);

    let elsewhere = json!([{"name": "a", "http": {"url": "http://169.254.169.254", "method": "GET", "idempotency": "SafeMethod"}}]);
    let spec = json!({"summary": "s", "serviceAccountName": "checkout-runbooks", "steps": elsewhere});
    creates(&shop.admin(), &shop.namespace, "Runbook", "elsewhere", &spec).passes();
    let said = ready(&shop.admin(), &format!("rb/elsewhere -n {}", shop.namespace), "False");
    assert_eq!(said["reason"], "EndpointNotListed");
    assert!(said["message"].as_str().unwrap().starts_with("spec.steps[0].http.url: cpol/"), "{said}");
}

/// Each receiver asks for time once: 429 for a request that may not be repeated, 503 for one with a key. Neither is sent
/// earlier, although somebody touches the run meanwhile, and neither is carried out twice.
fn a_receiver_that_is_busy_gets_the_time_that_it_asks_for(shop: &Shop, far_side: &FarSide) {
    const ASKED: u32 = 5;
    let call = |name: &str, idempotency: &str| {
        json!({"name": name, "http": {"url": far_side.url(""), "path": format!("/{name}"), "method": "POST",
            "idempotency": idempotency}})
    };
    for (name, status) in [("limited", 429), ("down", 503)] {
        far_side.asks_for_time(&format!("/{name}"), status, ASKED);
        far_side.answers(&format!("/{name}"), 204, "");
    }
    approved(shop, "busy", &json!([call("limited", "None"), call("down", "Key")]));
    let touched = RefCell::new(BTreeSet::new());
    let done = run(shop, "busy", "", "Succeeded", || {
        for name in ["limited", "down"] {
            let was_sent = far_side.received(&format!("/{name}")).len() == 1;
            if was_sent && touched.borrow_mut().insert(name) {
                shop.types(&shop.admin(), &format!("kubectl label run -n NS --all {name}=yes")).passes();
            }
        }
    });
    assert_eq!(touched.borrow().len(), 2, "each has waited");
    for (index, name) in ["limited", "down"].into_iter().enumerate() {
        let sent = far_side.received(&format!("/{name}"));
        let [first, second] = sent.as_slice() else { panic!("{name}: {sent:#?}") };
        let waited = second.time.duration_since(first.time);
        assert!(waited >= Duration::from_secs(ASKED.into()), "{name} has waited {waited:?}");
        assert_eq!(first.headers.get("idempotency-key"), second.headers.get("idempotency-key"));
        let step = &done["status"]["steps"][index];
        let acts = step["acts"].as_array().unwrap();
        assert_eq!((acts.len(), &acts[0]["outcome"]), (1, &json!("Done")), "{step:#}");
        assert_eq!(step["retries"].as_i64().unwrap_or_default(), 0, "no retry is used up");
    }
}

#[test]
fn after_a_death_only_what_its_step_allows_is_sent_again() {
    let cluster = Cluster::without_operator("sent", &["--set", "config.testing.crashAt={after-act}"]);
    let operator = cluster.operator(0);
    operator.start();
    let far_side = FarSide::start();
    let url = far_side.url("");
    let shop = crate::shop::Shop::open(&cluster, &[("http://127.0.0.1:9090", &url)]);
    for (name, idempotency) in [("charge", "None"), ("flush", "Key")] {
        far_side.answers(&format!("/{name}"), 204, "");
        let steps = json!([{"name": "call", "http": {"url": url, "path": format!("/{name}"), "method": "POST",
            "idempotency": idempotency}}]);
        let spec = json!({"summary": name, "serviceAccountName": "checkout-runbooks", "start": "Manual",
            "approval": "Standing", "steps": steps});
        creates(&shop.admin, "shop", "Runbook", name, &spec).passes();
        ready(&shop.admin, &format!("rb/{name} -n shop"), "True");
        shop.is_approved(name);
        // The request was answered, and Mayday dies before it can store that.
        let pid = operator.pid();
        creates(&shop.emil, "shop", "RunbookRun", name, &json!({"runbookRef": {"name": name}})).passes();
        operator.has_died_at_its_point(pid);
        assert_eq!(far_side.received(&format!("/{name}")).len(), 1);
        if name == "flush" {
            cluster.mends("after-act");
        }
        operator.start();
        let state = if name == "flush" { "Succeeded" } else { "Unknown" };
        eventually(&format!("run/{name} is {state}"), || {
            let run = shop.admin.reads(&format!("run/{name} -n shop"));
            (run["status"]["state"] == state).then_some(())
        });
    }
    assert_eq!(far_side.received("/charge").len(), 1, "a charge is not repeated");
    let flushes = far_side.received("/flush");
    assert_eq!(flushes.len(), 2);
    assert_eq!(flushes[0].headers["idempotency-key"], flushes[1].headers["idempotency-key"]);
    cluster.stop();
}
