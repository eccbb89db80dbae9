//! One request of several entries, each of a kind that is hard to match: values that the API server draws, a Secret
//! of which nothing is read, a delete-collection, and orphans.

use serde_json::{Value, json};

use super::shop::{GLASS, Shop};
use crate::support::eventually;

/// What exists before it is asked for, made by breaking the glass.
fn furnished() -> Shop {
    let shop = Shop::open();
    for command in [
        "kubectl create configmap -n NS old-a --from-literal=a=b",
        "kubectl create configmap -n NS old-b --from-literal=a=b",
        "kubectl label configmap -n NS old-a old-b age=old",
        "kubectl create secret generic -n NS key --from-literal=word=hidden-word",
    ] {
        shop.types(&shop.admin(), &format!("{command} {GLASS}")).passes();
    }
    shop
}

fn asks(shop: &Shop, name: &str, changes: Value) {
    let request = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
        "metadata": {"name": name, "namespace": shop.namespace}, "spec": {"reason": "tidy up", "changes": changes},
    });
    shop.creates(&shop.emil(), &request.to_string()).passes();
    eventually("the request is planned", || {
        let request = shop.request(name);
        assert_ne!(request["status"]["state"], "Invalid", "{request}");
        request["status"]["digest"].as_str().map(str::to_owned)
    });
}

fn gone(kind: &str, name: &str) -> Value {
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    json!({"target": {"apiVersion": api_version, "kind": kind, "name": name}, "delete": {}})
}

/// A Service of which the API server draws address and port of the node.
fn service(spec: Value) -> Value {
    let mut spec_of = json!({"type": "NodePort", "selector": {"app": "checkout"}, "ports": [{"port": 80}]});
    json_patch::merge(&mut spec_of, &spec);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec_of})
}

fn creates(shop: &Shop, object: &Value) -> crate::support::Output {
    shop.emil().pipes(&object.to_string(), &format!("kubectl create -n {} -f -", shop.namespace))
}

#[test]
fn each_entry_is_used_on_its_own_and_nothing_more_than_it() {
    let shop = furnished();
    let emil = shop.emil();
    let changes = json!([
        {"create": {"manifest": service(json!({}))}},
        gone("Secret", "key"),
        gone("ConfigMap", "old-a"),
        gone("Deployment", "checkout"),
    ]);
    asks(&shop, "tidy", changes);
    assert!(!shop.request("tidy").to_string().contains("hidden-word"));
    shop.is_approved("tidy");

    // What the API server draws may be anything; what a person states is what was approved, or nothing.
    let headless = creates(&shop, &service(json!({"type": "ClusterIP", "clusterIP": "None"}))).is_refused();
    assert!(headless.contains("Refused: creation of service/web"), "{headless}");
    let stated = json!({"ports": [{"port": 80, "nodePort": 30123}]});
    let stated = creates(&shop, &service(stated)).is_refused();
    assert!(stated.contains("it does not hold this value of /spec/ports"), "{stated}");
    creates(&shop, &service(json!({}))).passes();

    shop.types(&emil, "kubectl delete secret -n NS key").passes();
    // A collection is as good as each of its objects: the one that nobody approved stays.
    let old = format!("/api/v1/namespaces/{}/configmaps?labelSelector=age%3Dold", shop.namespace);
    let said = emil.types(&format!("kubectl delete --raw {old}")).is_refused();
    assert!(said.contains("Refused: deletion of configmap/old-b"), "{said}");
    let left = shop.types(&emil, "kubectl get configmap -n NS -l age=old -o name").passes();
    assert!(left.contains("configmap/old-b"), "{left}");
    asks(&shop, "tidy-more", json!([gone("ConfigMap", "old-b")]));
    shop.is_approved("tidy-more");
    emil.types(&format!("kubectl delete --raw {old}")).passes();
    assert_eq!(shop.types(&emil, "kubectl get configmap -n NS -l age=old -o name").passes(), "");

    // The last entry; its ReplicaSet outlives it, and the garbage collector lets go of it.
    let before = shop.columns("tidy").join(" ");
    assert!(before.contains("Approved") && before.contains("3/4"), "{before}");
    shop.types(&emil, "kubectl delete -n NS deploy/checkout --cascade=orphan --timeout=60s").passes();
    eventually("the ReplicaSet has no owner", || {
        let sets = shop.admin().reads(&format!("replicasets -n {}", shop.namespace));
        sets["items"][0]["metadata"]["ownerReferences"].is_null().then_some(())
    });
    shop.reaches("tidy", "Spent");
    assert_eq!(shop.ready_pods().len(), 3, "the pods stay");
}

#[test]
fn maydays_own_credentials_are_nobody_elses_affair() {
    let shop = Shop::open();
    let (ours, theirs) = ("--type=mayday.dev/credential", "--type=Opaque");
    let create = "kubectl create secret generic -n NS hook --from-literal=token=x";
    let said = shop.types(&shop.emil(), &format!("{create} {theirs}")).is_refused();
    assert!(said.contains("Refused: creation of secret/hook"), "{said}");
    shop.types(&shop.emil(), &format!("{create} {ours}")).passes();
    shop.types(&shop.emil(), "kubectl delete secret -n NS hook").passes();
}
