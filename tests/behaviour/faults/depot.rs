//! A protected namespace with something for every kind of step to act on, and approved Runbooks that act on it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::judge::{self, Effects};
use crate::audit;
use crate::far_side::FarSide;
use crate::shop::Shop;
use crate::support::{Cluster, Person, condition, eventually, watches};

const IMAGE: &str = "shop/flush@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A kind of Flux, of which only the names matter.
const KUSTOMIZATION: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, \
    metadata: {name: kustomizations.kustomize.toolkit.fluxcd.io}, spec: {group: kustomize.toolkit.fluxcd.io, \
    scope: Namespaced, names: {kind: Kustomization, plural: kustomizations}, versions: [{name: v1, served: true, \
    storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}";

/// What the account of the Runbooks may do besides, as a platform engineer grants it.
fn rights() -> Vec<Value> {
    let rule = |groups: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": verbs});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "depot"},
        "rules": [
            rule("", &["nodes"], &["get", "patch"]),
            rule("", &["pods"], &["get", "list", "delete"]),
            rule("", &["pods/eviction"], &["create"]),
            rule("", &["pods/log"], &["get"]),
            rule("", &["configmaps"], &["get", "patch"]),
            rule("apps", &["deployments"], &["get", "list", "patch"]),
            rule("apps", &["replicasets"], &["list"]),
            rule("autoscaling", &["horizontalpodautoscalers"], &["list"]),
            rule("kustomize.toolkit.fluxcd.io", &["kustomizations"], &["get", "patch"]),
            rule("batch", &["jobs"], &["get", "create"])]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "depot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "depot"},
        "subjects": [{"kind": "ServiceAccount", "name": "checkout-runbooks", "namespace": "shop"}]});
    vec![role, binding]
}

fn deployment(name: &str, version: u8, pod: &Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": format!("shop/app:v{version}")}]}}}});
    json_patch::merge(&mut object["spec"]["template"]["spec"], pod);
    object
}

/// What the steps of one name act on: a Deployment, a ConfigMap, a node with a pod, a Kustomization.
fn targets(name: &str, version: u8) -> Vec<Value> {
    // Only kwok-0 has a kubelet that ends pods in time: on other nodes they must end at once.
    let apart = json!({"terminationGracePeriodSeconds": 0, "nodeSelector": {"kubernetes.io/hostname": name},
        "tolerations": [{"key": "apart", "operator": "Exists"}]});
    vec![
        deployment(name, version, &json!({})),
        deployment(&format!("{name}-d"), 1, &apart),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"rate": "10"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"taints": [{"key": "apart", "effect": "NoSchedule"}]}}),
        json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"suspend": false}}),
    ]
}

/// The steps that act on what has this name, by the name of the step.
pub fn step(name: &str, kind: &str, url: &str) -> Value {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let node = json!({"target": {"name": name}});
    let flux = json!({"target": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": name}});
    let (member, does) = match kind {
        "restart" => ("restart", json!({"target": deployment})),
        "scale" => ("scale", json!({"target": deployment, "delta": 1})),
        "back" => ("rollback", json!({"target": deployment, "to": "Previous"})),
        "rolled-out" | "rolled-back" => ("check", json!({"rollout": {"target": deployment}})),
        "never" => ("check", json!({"condition": {"target": deployment, "type": "Never"}})),
        "patch" => (
            "patch",
            json!({"target": {"apiVersion": "v1", "kind": "ConfigMap", "name": name}, "merge": {"data": {"rate": "20"}},
                "allowPaths": ["/data/rate"]}),
        ),
        "suspend" => ("suspendGitOps", flux),
        "resume" => ("resumeGitOps", flux),
        "cordon" | "drain" | "uncordon" => (kind, node),
        "evict" => {
            ("deletePod", json!({"by": "Eviction", "target": {"selector": {"matchLabels": {"app": name}}}}))
        }
        "delete" => {
            ("deletePod", json!({"by": "Deletion", "target": {"selector": {"matchLabels": {"app": name}}}}))
        }
        "call" => (
            "http",
            json!({"url": url, "path": format!("/{name}"), "method": "POST", "idempotency": "Key", "attemptTimeout": "2s"}),
        ),
        "job" => (
            "job",
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "flush", "image": IMAGE, "env": [{"name": "FOR", "value": name}]}]}}}}),
        ),
        "wait" => ("wait", json!({"duration": "1s"})),
        _ => panic!("no step is called {kind}"),
    };
    json!({"name": kind, member: does, "timeout": "2m"})
}

/// A Runbook that people start.
pub fn runbook(name: &str, steps: &[Value], change: &Value) -> Value {
    let mut runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": name, "start": "Manual", "approval": "Standing",
            "serviceAccountName": "checkout-runbooks", "steps": steps}});
    json_patch::merge(&mut runbook, change);
    runbook
}

/// Creates many objects with one command.
#[track_caller]
pub fn creates(person: &Person, command: &str, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    person.pipes(&list.to_string(), command).passes();
}

/// The namespace, opened.
pub struct Depot<'a> {
    pub shop: Shop<'a>,
    pub far_side: FarSide,
}

impl<'a> Depot<'a> {
    /// Makes the targets of these names, protects the namespace, and starts the operator.
    pub fn open(cluster: &'a Cluster, names: &[&str]) -> Depot<'a> {
        let admin = cluster.admin();
        admin.types("kubectl create namespace shop").passes();
        admin.applies(KUSTOMIZATION).passes();
        creates(&admin, "kubectl create -f -", &rights());
        eventually("the kind of Flux is served", || {
            let seen = admin.types("kubectl get kustomizations.kustomize.toolkit.fluxcd.io -n shop");
            seen.succeeded().then_some(())
        });
        for version in [1, 2] {
            let all: Vec<Value> = names.iter().flat_map(|name| targets(name, version)).collect();
            creates(&admin, "kubectl apply -f -", &all);
            eventually("every Deployment has this revision", || {
                let found = admin.reads("deployments -n shop");
                let revision = |name: &str| {
                    let found =
                        found["items"].as_array()?.iter().find(|one| one["metadata"]["name"] == name)?;
                    Some(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone())
                };
                names.iter().all(|name| revision(name) == Some(version.to_string().into())).then_some(())
            });
        }
        cluster.operator(0).start();
        let far_side = FarSide::start();
        for name in names {
            far_side.answers(&format!("/{name}"), 204, "");
        }
        let listed = "    afterLeadClaimed: PerRun\n    clusterIdentities: [{namespace: shop, name: checkout-runbooks}]\n";
        let edits =
            [("    afterLeadClaimed: PerRun\n", listed), ("http://127.0.0.1:9090", &far_side.url(""))];
        let shop = Shop::open(cluster, &edits);
        eventually("every pod of the depot is available", || {
            let found = admin.reads("deployments -n shop");
            let is_there = |one: &Value| one["status"]["availableReplicas"] == one["spec"]["replicas"];
            found["items"].as_array()?.iter().all(is_there).then_some(())
        });
        Depot { shop, far_side }
    }

    /// Applies Runbooks, which both approvers approve.
    pub fn approves(&self, runbooks: &[Value]) {
        creates(&self.shop.admin, "kubectl create -f -", runbooks);
        let names: Vec<&str> = runbooks.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
        let all = |holds: &dyn Fn(&Value) -> bool| {
            let found = self.shop.admin.reads("runbooks -n shop");
            let mut found = found["items"].as_array()?.clone();
            found.retain(|one| names.contains(&one["metadata"]["name"].as_str().unwrap()));
            found.iter().all(holds).then_some(found)
        };
        let found =
            eventually("every Runbook has a digest", || all(&|one| one["status"]["digest"].is_string()));
        for (name, approver) in [("amir", &self.shop.amir), ("bea", &self.shop.bea)] {
            let approval = |runbook: &Value| {
                let subject = &runbook["metadata"];
                json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
                    "metadata": {"name": format!("{}-{name}", subject["name"].as_str().unwrap()), "namespace": "shop"},
                    "spec": {"subjectRef": {"kind": "Runbook", "name": subject["name"], "uid": subject["uid"]},
                        "digest": runbook["status"]["digest"], "decision": "Approve"}})
            };
            let approvals: Vec<Value> = found.iter().map(approval).collect();
            creates(approver, "kubectl create -f -", &approvals);
        }
        eventually("every Runbook is approved and ready", || {
            all(&|one| {
                ["Ready", "Approved"]
                    .iter()
                    .all(|kind| condition(one, kind).is_some_and(|seen| seen["status"] == "True"))
            })
        });
    }

    /// emil starts a run of each Runbook: name of the run, and of the Runbook.
    pub fn starts(&self, runs: &[(&str, &str)]) {
        let run = |(name, runbook): &(&str, &str)| {
            json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                "metadata": {"name": name, "namespace": "shop"}, "spec": {"runbookRef": {"name": runbook}}})
        };
        let runs: Vec<Value> = runs.iter().map(run).collect();
        creates(&self.shop.emil, "kubectl create -f -", &runs);
    }

    /// emil starts the runs; what was refused while no operator answered, he starts again.
    pub fn creates_runs(&self, batch: &[(String, Value)]) {
        let mut missing: Vec<&(String, Value)> = batch.iter().collect();
        let end = Instant::now() + Duration::from_secs(120);
        while !missing.is_empty() {
            assert!(Instant::now() < end, "the runs could not be started");
            let objects: Vec<&Value> = missing.iter().map(|(_, run)| run).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            drop(self.shop.emil.pipes(&list.to_string(), "kubectl create -f -"));
            let found = self.shop.admin.reads("runbookruns -n shop");
            let found = found["items"].as_array().unwrap();
            missing.retain(|(name, _)| !found.iter().any(|run| run["metadata"]["name"] == name.as_str()));
        }
    }

    /// The runs, once all of them have ended.
    #[track_caller]
    pub fn ended(&self, seconds: u64) -> Vec<Value> {
        let mut open = Vec::new();
        let all = watches(Duration::from_secs(seconds), || {
            let found = self.shop.admin.reads("runbookruns -n shop")["items"].as_array()?.clone();
            open = found.iter().filter(|run| !run["status"]["endTime"].is_string()).cloned().collect();
            open.is_empty().then_some(found)
        });
        all.unwrap_or_else(|| {
            let open: Vec<String> =
                open.iter().map(|run| format!("{}: {:#}", run["metadata"]["name"], run["status"])).collect();
            panic!("{} runs have not ended in {seconds} s:\n{}", open.len(), open.join("\n"))
        })
    }

    /// What the audit log says that the runs did.
    pub fn effects(&self) -> std::collections::BTreeMap<String, Effects> {
        judge::effects(&audit::read(&self.shop.cluster.file(""), 0).unwrap())
    }
}
