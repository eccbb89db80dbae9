//! One request of several entries that are hard to match: values that the API server assigns, a Secret whose content is
//! never read, a delete-collection, and orphans.

use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{GLASS, Shop};
use crate::support::{eventually, within};

/// Objects that exist before the request, created by break-glass.
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

/// A Service to which the API server assigns address and node port.
fn service(spec: Value) -> Value {
    let mut spec_of = json!({"type": "NodePort", "selector": {"app": "checkout"}, "ports": [{"port": 80}]});
    json_patch::merge(&mut spec_of, &spec);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec_of})
}

fn creates(shop: &Shop, object: &Value) -> crate::support::Output {
    shop.emil().pipes(&object.to_string(), &format!("kubectl create -n {} -f -", shop.namespace))
}

#[test]
fn each_entry_of_a_request_is_used_on_its_own() {
    let shop = furnished();
    let emil = shop.emil();
    let mut orphans = gone("Deployment", "checkout");
    orphans["delete"] = json!({"propagationPolicy": "Orphan"});
    let changes = json!([
        {"create": {"manifest": service(json!({}))}},
        gone("Secret", "key"),
        gone("ConfigMap", "old-a"),
        orphans,
    ]);
    asks(&shop, "tidy", changes);
    assert!(!shop.request("tidy").to_string().contains("hidden-word"));
    shop.is_approved("tidy");

    // Assigned values may be anything; values that a person sets must be the approved ones.
    let headless = creates(&shop, &service(json!({"type": "ClusterIP", "clusterIP": "None"}))).is_refused();
    assert!(headless.contains("Refused: creation of service/web"), "{headless}");
    let stated = json!({"ports": [{"port": 80, "nodePort": 30123}]});
    let stated = creates(&shop, &service(stated)).is_refused();
    assert!(stated.contains("it does not hold this value of /spec/ports"), "{stated}");
    creates(&shop, &service(json!({}))).passes();

    shop.types(&emil, "kubectl delete secret -n NS key").passes();
    // Each object of a collection is decided on its own: the unapproved one stays.
    let old = format!("/api/v1/namespaces/{}/configmaps?labelSelector=age%3Dold", shop.namespace);
    let said = emil.types(&format!("kubectl delete --raw {old}")).is_refused();
    assert!(said.contains("Refused: deletion of configmap/old-b"), "{said}");
    let left = shop.types(&emil, "kubectl get configmap -n NS -l age=old -o name").passes();
    assert!(left.contains("configmap/old-b"), "{left}");
    asks(&shop, "tidy-more", json!([gone("ConfigMap", "old-b")]));
    shop.is_approved("tidy-more");
    emil.types(&format!("kubectl delete --raw {old}")).passes();
    assert_eq!(shop.types(&emil, "kubectl get configmap -n NS -l age=old -o name").passes(), "");

    // The last entry: its ReplicaSet stays, and the garbage collector removes the owner reference.
    let before = shop.columns("tidy").join(" ");
    assert!(before.contains("Approved") && before.contains("3/4"), "{before}");
    let delete = "kubectl delete -n NS deploy/checkout --timeout=60s";
    let said = shop.types(&emil, delete).is_refused();
    assert!(said.contains("without what belongs to it"), "what was approved leaves it: {said}");
    shop.types(&emil, &format!("{delete} --cascade=orphan")).passes();
    eventually("the ReplicaSet has no owner", || {
        let sets = shop.admin().reads(&format!("replicasets -n {}", shop.namespace));
        sets["items"][0]["metadata"]["ownerReferences"].is_null().then_some(())
    });
    shop.reaches("tidy", "Spent");
    assert_eq!(shop.ready_pods().len(), 3, "the pods stay");
}

#[test]
fn a_whole_application_is_asked_for_with_a_file_and_created_as_asked() {
    let shop = Shop::open();
    let pod = || json!({"containers": [{"name": "app", "image": "shop/load:v1"}]});
    let template = |name: &str| json!({"metadata": {"labels": {"app": name}}, "spec": pod()});
    let of = |name: &str| json!({"matchLabels": {"app": name}});
    let job = || json!({"template": {"spec": {"containers": pod()["containers"], "restartPolicy": "Never"}}});
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let backend = json!({"service": {"name": "plain", "port": {"number": 80}}});
    let parts = [
        ("v1", "ConfigMap", "limits", json!({"data": {"a": "b"}})),
        ("v1", "Service", "plain", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})),
        ("v1", "PersistentVolumeClaim", "disk", json!({"spec": claim})),
        ("v1", "Pod", "lone", json!({"spec": pod()})),
        (
            "apps/v1",
            "Deployment",
            "web",
            json!({"spec": {"selector": of("web"), "template": template("web")}}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            "store",
            json!({"spec": {"serviceName": "plain", "selector": of("store"), "template": template("store")}}),
        ),
        (
            "apps/v1",
            "DaemonSet",
            "each",
            json!({"spec": {"selector": of("each"), "template": template("each")}}),
        ),
        ("batch/v1", "Job", "unlabelled", json!({"spec": job()})),
        ("batch/v1", "Job", "labelled", json!({"metadata": {"labels": {"app": "load"}}, "spec": job()})),
        (
            "batch/v1",
            "CronJob",
            "nightly",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job()}}}),
        ),
        ("networking.k8s.io/v1", "Ingress", "door", json!({"spec": {"defaultBackend": backend}})),
        ("networking.k8s.io/v1", "NetworkPolicy", "closed", json!({"spec": {"podSelector": {}}})),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "web",
            json!({"spec": {"maxReplicas": 5, "scaleTargetRef": scaled}}),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "web",
            json!({"spec": {"minAvailable": 1, "selector": of("web")}}),
        ),
    ];
    let manifests = parts.map(|(api_version, kind, name, more)| {
        let mut manifest = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": shop.namespace}});
        json_patch::merge(&mut manifest, &more);
        manifest.to_string()
    });
    let file = manifests.join("\n---\n");
    let ask = format!("kubectl mayday ask -n {} -f - --why 'a new part' --name parts --yes", shop.namespace);
    shop.emil().pipes(&file, &ask).passes();
    shop.is_approved("parts");
    shop.creates(&shop.emil(), &file).passes();
    shop.reaches("parts", "Spent");

    // The gate lets the controllers create the dependents.
    let part = |what: &str| shop.admin().reads(&format!("{what} -n {}", shop.namespace))["status"].clone();
    for (what, count) in [
        ("deployment/web", "readyReplicas"),
        ("statefulset/store", "readyReplicas"),
        ("daemonset/each", "numberReady"),
        ("job/unlabelled", "succeeded"),
        ("job/labelled", "succeeded"),
    ] {
        eventually(&format!("{what} has its pod"), || (part(what)[count] == 1).then_some(()));
    }
    // The CronJob begins with the next minute.
    within(Duration::from_secs(120), "a job of the CronJob has succeeded", || {
        part("cronjob/nightly")["lastSuccessfulTime"].is_string().then_some(())
    });
}

#[test]
fn maydays_own_credentials_need_no_request() {
    let shop = Shop::open();
    let (ours, theirs) = ("--type=mayday.dev/credential", "--type=Opaque");
    let create = "kubectl create secret generic -n NS hook --from-literal=token=x";
    let said = shop.types(&shop.emil(), &format!("{create} {theirs}")).is_refused();
    assert!(said.contains("Refused: creation of secret/hook"), "{said}");
    shop.types(&shop.emil(), &format!("{create} {ours}")).passes();
    shop.types(&shop.emil(), "kubectl delete secret -n NS hook").passes();
}
