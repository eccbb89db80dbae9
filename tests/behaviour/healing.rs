//! Pods start and make room for others while no Mayday answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::json;

use crate::change::shop::GLASS;
use crate::support::{Cluster, eventually, sample};
use crate::without_mayday::shut_gate;

/// More than half of the node's CPU.
const MOST: &str = "900";

/// A Deployment of one pod that leaves no room for a second one of its size.
fn greedy() -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "greedy", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "greedy"}}, "template": {
            "metadata": {"labels": {"app": "greedy"}},
            "spec": {"containers": [{"name": "app", "image": "shop/greedy:v1", "resources": {"requests": {"cpu": MOST}}}]},
        }},
    })
    .to_string()
}

const SCRATCH: &str = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: scratch, namespace: shop}, spec: \
    {serviceName: scratch, selector: {matchLabels: {app: scratch}}, template: {metadata: {labels: {app: scratch}}, spec: \
    {containers: [{name: app, image: 'shop/scratch:v1'}], volumes: [{name: tmp, ephemeral: {volumeClaimTemplate: {spec: \
    {storageClassName: late, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}}}}";

#[test]
fn a_pod_gets_its_claims_and_gives_way_to_one_that_matters_more() {
    let cluster = Cluster::without_operator("volumes", &[]);
    let admin = cluster.admin();
    admin.applies(&sample("00-shop.yaml")).passes();
    admin.applies(&sample("05-access.yaml")).passes();
    admin.types("kubectl rollout status -n shop deploy/checkout --timeout=60s").passes();
    let class = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: late}, provisioner: example.com/none, \
                 volumeBindingMode: WaitForFirstConsumer}";
    admin.applies(class).passes();
    shut_gate(&cluster);

    let glass = format!("kubectl create {GLASS} --as-group=system:masters -f -");
    admin.pipes(SCRATCH, &glass).passes();
    let claim = eventually("the claim that the pod brings with it is wanted on the node", || {
        let claims = admin.reads("pvc -n shop");
        let claim = claims["items"].as_array()?.first()?.clone();
        let node = &claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"];
        (node == "kwok-0").then_some(claim)
    });
    assert_eq!(claim["metadata"]["ownerReferences"][0]["kind"], "Pod");
    let name = claim["metadata"]["name"].as_str().unwrap();
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "hostPath": {"path": "/disk"}, "claimRef": {"namespace": "shop", "name": name, "uid": claim["metadata"]["uid"]}},
    });
    admin.applies(&volume.to_string()).passes();
    eventually("the claim is bound", || {
        (admin.reads(&format!("pvc/{name} -n shop"))["status"]["phase"] == "Bound").then_some(())
    });
    admin.types("kubectl rollout status -n shop sts/scratch --timeout=60s").passes();

    admin.pipes(&greedy(), &glass).passes();
    admin.types("kubectl rollout status -n shop deploy/greedy --timeout=60s").passes();
    admin.types("kubectl create priorityclass rescue --value 1000000").passes();
    let rescue = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rescue", "namespace": "default"},
        "spec": {"priorityClassName": "rescue", "containers": [{"name": "app", "image": "rescue:v1",
            "resources": {"requests": {"cpu": MOST}}}]}});
    admin.applies(&rescue.to_string()).passes();
    admin.types("kubectl wait -n default pod/rescue --for=condition=Ready --timeout=60s").passes();
    eventually("the pod that gave way was replaced, and waits for room", || {
        let pods = admin.reads("pods -n shop -l app=greedy");
        let pods = pods["items"].as_array()?;
        pods.iter()
            .any(|pod| pod["status"]["phase"] == "Pending" && pod["spec"]["nodeName"].is_null())
            .then_some(())
    });
    cluster.stop();
}
