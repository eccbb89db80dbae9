//! Checks that look outside of the cluster's API, and the endpoints that a policy lists for them.

use serde_json::{Value, json};

use crate::far_side::{FarSide, value};
use crate::support::{Cluster, Person, condition, eventually, fresh};

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
