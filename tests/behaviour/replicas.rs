//! Two operators judge as one: each asks the stored objects, neither the other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::shop::Shop;
use crate::support::{condition, eventually};

/// The ConfigMap that may be created.
fn settings() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"currency": "EUR"}})
}

/// emil asks to create it, and two approve.
fn is_approved(shop: &Shop<'_>, request: &str, uses: u8) {
    let ask = format!("kubectl mayday ask -n shop -f - --why sale --name {request} --uses {uses} --yes");
    shop.emil.pipes(&settings().to_string(), &ask).passes();
    for person in [&shop.amir, &shop.bea] {
        person.types(&format!("kubectl mayday approve -n shop chg/{request} --yes")).passes();
    }
    eventually("it is approved", || {
        let request = shop.admin.reads(&format!("chg/{request} -n shop"));
        (condition(&request, "Approved")?["status"] == "True").then_some(())
    });
}

/// What the API server would ask about its creation by emil.
fn review(shop: &Shop<'_>, is_trial: bool) -> Value {
    let dry = "kubectl create -f - --dry-run=server -o json";
    let object: Value =
        serde_json::from_str(&shop.emil.pipes(&settings().to_string(), dry).passes()).unwrap();
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "5f1c1a52-0000-4000-8000-000000000000", "operation": "CREATE", "dryRun": is_trial,
        "name": "settings", "namespace": "shop", "kind": kind, "requestKind": kind, "resource": resource,
        "requestResource": resource, "object": object, "oldObject": null,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        "userInfo": {"username": "emil", "groups": ["shop-engineers", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=00"]}}}})
}

/// Asks the operators in turn and all at once; whether each lets it pass.
fn judged(shop: &Shop<'_>, review: &Value, times: usize) -> Vec<bool> {
    let hooks = shop.admin.reads("validatingwebhookconfiguration/mayday-change-gate");
    let bundle = hooks["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
    let authority = reqwest::Certificate::from_pem(&STANDARD.decode(bundle).unwrap()).unwrap();
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let urls = [0, 1]
        .map(|index| format!("https://127.0.0.1:{}/gate", shop.cluster.port(&format!("admission-{index}"))));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let posts = (0..times).map(|copy| client.post(&urls[copy % 2]).json(review).send());
        let mut allowed = Vec::new();
        for answer in futures::future::join_all(posts).await {
            let answer: Value = answer.unwrap().json().await.unwrap();
            allowed.push(answer["response"]["allowed"].as_bool().unwrap());
        }
        allowed
    })
}

/// A use is one use, whichever operator is asked and however many ask at once; what is taken back holds at both.
pub fn spend_what_was_approved_once_between_them(shop: &Shop<'_>) {
    let leads = |index| {
        let metrics = shop.cluster.operator(index).get("/metrics").1;
        metrics.lines().find_map(|line| line.strip_prefix("mayday_leader ")).unwrap().to_owned()
    };
    let mut leading = [leads(0), leads(1)];
    leading.sort_unstable();
    assert_eq!(leading, ["0", "1"], "one of them leads");

    is_approved(shop, "once", 1);
    let asked = review(shop, false);
    let allowed = judged(shop, &asked, 20).into_iter().filter(|allowed| *allowed).count();
    assert_eq!(allowed, 1, "of twenty");
    let uses = shop.admin.reads("chg/once -n shop")["status"]["used"].clone();
    assert_eq!(uses.as_array().map(Vec::len), Some(1), "{uses:#}");

    is_approved(shop, "often", 5);
    let trial = review(shop, true);
    assert_eq!(judged(shop, &trial, 2), [true, true], "approved");
    let approvals = shop.admin.reads("approvals -n shop");
    let approvals = approvals["items"].as_array().unwrap();
    let of_bea = |approval: &&Value| {
        approval["spec"]["subjectRef"]["name"] == "often" && approval["spec"]["by"]["user"] == "bea"
    };
    let name = approvals.iter().find(of_bea).unwrap()["metadata"]["name"].as_str().unwrap();
    shop.bea.types(&format!("kubectl delete -n shop approval/{name}")).passes();
    assert_eq!(judged(shop, &trial, 2), [false, false], "an approval was taken back");
}
