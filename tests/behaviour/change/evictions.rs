//! An eviction passes where a budget covers the pod and Kubernetes itself allows it, and only there.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams, PostParams};
use mayday::change::gate::disruption_budget::Budget;
use serde_json::{Value, json};

use super::client::client;
use super::shop::{GLASS, Shop};
use crate::support::{Cluster, Random, cases, eventually, fresh};

/// Number of pods of one round of cases.
const PODS: usize = 6;

fn labels(random: &mut Random) -> Value {
    json!({"app": random.choose(&["a", "b"]), "tier": random.choose(&["x", "y"])})
}

fn selector(random: &mut Random) -> Value {
    let app = random.choose(&["a", "b"]);
    random.choose(&[
        json!({}),
        json!({"matchLabels": {"app": app}}),
        json!({"matchLabels": {"app": app, "tier": "x"}}),
        json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["y", "z"]}]}),
        json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [app]}]}),
        json!({"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}),
    ])
}

fn budget(random: &mut Random, name: &str) -> PodDisruptionBudget {
    let mut spec = json!({"selector": selector(random)});
    match random.below(4) {
        0 => spec["minAvailable"] = json!(random.below(4)),
        1 => spec["minAvailable"] = json!(random.choose(&["0%", "50%", "100%"])),
        2 => spec["maxUnavailable"] = json!(random.below(3)),
        _ => spec["maxUnavailable"] = json!(random.choose(&["0%", "34%", "100%"])),
    }
    if random.one_in(2) {
        spec["unhealthyPodEvictionPolicy"] = json!(random.choose(&["AlwaysAllow", "IfHealthyBudget"]));
    }
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// A status as a controller might leave it, also one that lags behind or is full.
fn status_of_budget(random: &mut Random, generation: i64) -> Value {
    let disrupted = random.choose(&[json!({}), json!({"gone": "2026-11-22T12:00:00Z"})]);
    json!({"status": {"observedGeneration": generation - i64::from(random.one_in(4)),
        "disruptionsAllowed": random.below(3), "currentHealthy": random.below(4), "desiredHealthy": random.below(4),
        "expectedPods": 4, "disruptedPods": disrupted}})
}

/// What Kubernetes says to an eviction that is only tried.
async fn kubernetes_evicts(pods: &Api<Pod>, name: &str) -> bool {
    let options = EvictParams {
        post_options: PostParams { dry_run: true, ..PostParams::default() },
        ..EvictParams::default()
    };
    match pods.evict(name, &options).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if [429, 500].contains(&status.code) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Makes random pods and budgets, and compares both answers about each pod. The number of comparisons.
async fn round(client: &kube::Client, namespace: &str, random: &mut Random, number: usize) -> usize {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
    let create = PostParams::default();
    for index in 0..PODS {
        let name = format!("pod-{number}-{index}");
        let ends = random.one_in(5);
        let finalizers: Vec<&str> = if ends { vec!["example.com/stays"] } else { Vec::new() };
        let pod = serde_json::from_value(
            json!({"metadata": {"name": name, "labels": labels(random), "finalizers": finalizers},
            "spec": {"schedulerName": "nobody", "terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "app:v1"}]}}),
        );
        pods.create(&create, &pod.unwrap()).await.unwrap();
        let phase = random.choose(&["Running", "Running", "Running", "Pending", "Succeeded", "Failed"]);
        let ready = random.choose(&["True", "False", "Unknown"]);
        let status = json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        if ends {
            pods.delete(&name, &Default::default()).await.unwrap();
        }
    }
    for index in 0..random.below(4) {
        budgets.create(&create, &budget(random, &format!("budget-{number}-{index}"))).await.unwrap();
    }
    let mut compared = 0;
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        for budget in budgets.list(&ListParams::default()).await.unwrap() {
            let status = status_of_budget(random, budget.metadata.generation.unwrap());
            let patch = Patch::Merge(status);
            budgets.patch_status(&budget.name_any(), &PatchParams::default(), &patch).await.unwrap();
        }
        let read = || async {
            let all = budgets.list(&ListParams::default()).await.unwrap();
            (pods.get(&pod.name_any()).await.unwrap(), all.items)
        };
        let (seen, before) = read().await;
        let evicts = kubernetes_evicts(&pods, &pod.name_any()).await;
        let (now, after) = read().await;
        // The controller of the budgets may have written meanwhile: then the answers are about different states.
        if now.resource_version() != seen.resource_version() || before != after {
            continue;
        }
        let said = Budget::of(&seen, &before);
        let context = || serde_json::to_string_pretty(&json!({"pod": seen, "budgets": before})).unwrap();
        match &said {
            Budget::Absent => assert!(evicts, "no budget covers it: {}", context()),
            other => assert_eq!(*other == Budget::Allows, evicts, "{other:?}: {}", context()),
        }
        compared += usize::from(said != Budget::Absent);
    }
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        pods.patch(&pod.name_any(), &PatchParams::default(), &free).await.unwrap();
    }
    pods.delete_collection(&Default::default(), &ListParams::default()).await.unwrap();
    budgets.delete_collection(&Default::default(), &ListParams::default()).await.unwrap();
    compared
}

#[test]
fn the_answer_of_the_budgets_is_that_of_kubernetes() {
    let cluster = Cluster::shared();
    let namespace = fresh("budgets");
    cluster.admin().types(&format!("kubectl create namespace {namespace}")).passes();
    cluster
        .admin()
        .types(&format!("kubectl wait -n {namespace} --for=create serviceaccount/default --timeout=60s"))
        .passes();
    let (runtime, client) = client(cluster);
    let count = cases(24);
    let mut random = Random::seeded();
    let (mut compared, mut rounds) = (0, 0);
    while compared < count {
        compared += runtime.block_on(round(&client, &namespace, &mut random, rounds));
        rounds += 1;
        assert!(rounds < 20 + count, "{compared} comparisons in {rounds} rounds");
    }
    println!("{compared} comparisons in {rounds} rounds");
    cluster.admin().types(&format!("kubectl delete namespace {namespace} --wait=false")).passes();
}

#[test]
fn a_pod_that_is_not_ready_is_evicted_as_its_budget_says() {
    let shop = Shop::open();
    let admin = shop.admin();
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: broken, namespace: NS, labels: {part: broken}}, spec: \
               {schedulerName: nobody, terminationGracePeriodSeconds: 0, containers: [{name: app, image: 'shop/broken:v1'}]}}";
    let budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: broken, namespace: NS}, spec: \
                  {minAvailable: 1, selector: {matchLabels: {part: broken}}}}";
    for manifest in [pod, budget] {
        let manifest = manifest.replace("NS", &shop.namespace);
        admin.pipes(&manifest, &format!("kubectl create {GLASS} -f -")).passes();
    }
    let running = r#"kubectl patch -n NS pod/broken --subresource status --type merge -p '{"status":{"phase":"Running"}}'"#;
    shop.types(&admin, running).passes();
    let evict = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "broken", "namespace": shop.namespace}})
    .to_string();
    let path = format!("/api/v1/namespaces/{}/pods/broken/eviction", shop.namespace);
    let evicts = || admin.pipes(&evict, &format!("kubectl create --raw {path} -f -"));
    eventually("the budget is counted", || {
        let budget = admin.reads(&format!("pdb/broken -n {}", shop.namespace));
        (budget["status"]["observedGeneration"] == budget["metadata"]["generation"]).then_some(())
    });
    let said = evicts().is_refused();
    assert!(said.contains("PodDisruptionBudget broken allows no disruption now."), "{said}");
    let always = r#"kubectl patch -n NS pdb/broken --type merge -p '{"spec":{"unhealthyPodEvictionPolicy":"AlwaysAllow"}}'"#;
    shop.types(&admin, &format!("{always} {GLASS}")).passes();
    evicts().passes();
}
