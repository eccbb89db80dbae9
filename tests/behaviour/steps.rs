//! The steps of a Runbook at work: what they change, what is taken back, and whom they ask.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::shop::{Shop, run_named_in};
use crate::support::{Cluster, Person, condition, eventually};

/// What the Runbooks of this story act on, made before the shop is protected.
const BEFORE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: till-runbooks, namespace: shop, labels: {mayday.dev/runbook-identity: "true"}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: till-runbooks, namespace: shop}
rules:
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, patch]}
- {apiGroups: [apps], resources: [replicasets], verbs: [list]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: till-runbooks, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: till-runbooks}
subjects: [{kind: ServiceAccount, name: till-runbooks, namespace: shop}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits, namespace: shop}
data: {rate: "10"}
"#;

fn deployment(name: &str, image: &str) -> String {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop", "labels": {"tier": "front"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image}]}}}})
    .to_string()
}

fn runbook(name: &str, steps: Value, change: &Value) -> String {
    let mut runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": "Repair the till", "start": "Manual", "approval": "Standing",
            "serviceAccountName": "till-runbooks", "steps": steps}});
    json_patch::merge(&mut runbook, change);
    runbook.to_string()
}

fn till() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"})
}

/// emil starts it. Returns the name of the run.
#[track_caller]
fn starts(shop: &Shop<'_>, words: &str) -> String {
    let told = shop.emil.types(&format!("kubectl mayday run -n shop {words} --yes")).passes();
    run_named_in(&told)
}

fn rolls_out(admin: &Person, name: &str) {
    admin.types(&format!("kubectl rollout status -n shop deploy/{name} --timeout=60s")).passes();
}

#[test]
fn steps_change_what_was_approved_and_take_it_back_when_one_fails() {
    let cluster = Cluster::start("steps");
    let admin = cluster.admin();
    admin.applies(BEFORE).passes();
    for (name, image) in [("till", "till:v1"), ("kiosk", "kiosk:v1")] {
        admin.applies(&deployment(name, image)).passes();
        rolls_out(&admin, name);
    }
    admin.types("kubectl set image -n shop deploy/till app=till:v2").passes();
    rolls_out(&admin, "till");
    let shop = Shop::open(&cluster, &[]);
    let limits = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"});
    let restore = json!({"restorePrevious": {}});
    let never = json!({"condition": {"target": till(), "type": "Never"}});
    let repair = json!([
        {"name": "more", "scale": {"target": till(), "delta": 1}, "compensation": restore},
        {"name": "faster", "patch": {"target": limits, "merge": {"data": {"rate": "20"}}, "allowPaths": ["/data/rate"]}, "compensation": restore},
        {"name": "is-well", "check": never, "timeout": "2s"}]);
    let back = json!([
        {"name": "back", "rollback": {"target": till(), "to": "Previous"}},
        {"name": "rolled-out", "check": {"rollout": {"target": till()}}, "timeout": "1m"}]);
    let front = json!({"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"tier": "front"}}});
    let asks = json!([{"name": "sure", "approval": {"question": "Is the vendor told?"}, "timeout": "2m"}]);
    let none = json!({});
    let books = [
        runbook("repair", repair, &none),
        runbook("back", back, &none),
        runbook("front", json!([{"name": "all", "restart": {"target": front}, "timeout": "2m"}]), &none),
        runbook("asks", asks, &none),
    ];
    for book in &books {
        shop.admin.applies(book).passes();
    }
    for book in ["repair", "back", "front", "asks", "scale-checkout"] {
        shop.is_approved(book);
    }
    let replicas = || shop.admin.reads("deploy/till -n shop")["spec"]["replicas"].clone();
    let changes = |after: usize| -> Vec<String> { shop.changes().split_off(after) };

    // A dry run tells each step and changes nothing.
    let dry = shop.run_comes_to(&starts(&shop, "repair --dry-run"), "DryRunComplete");
    let steps = dry["status"]["steps"].as_array().unwrap();
    let effects: Vec<&str> = steps.iter().map(|step| step["effect"].as_str().unwrap()).collect();
    assert_eq!(effects, ["Mutating", "Mutating", "ReadOnly"]);
    assert!(
        steps[0]["message"].as_str().unwrap().starts_with("would scale deployment/till by +1"),
        "{steps:#?}"
    );
    assert!(steps[2]["message"].as_str().unwrap().ends_with("is not known"), "{steps:#?}");
    assert_eq!(changes(0), Vec::<String>::new());

    // A later step fails, and what the earlier ones did is taken back, the last one first.
    let failed = shop.run_comes_to(&starts(&shop, "repair"), "Failed");
    let message = condition(&failed, "Succeeded").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("is-well: not in time: "), "{message}");
    assert!(message.ends_with("; rolled back: more, faster"), "{message}");
    assert_eq!(replicas(), 2);
    assert_eq!(shop.admin.reads("cm/limits -n shop")["data"]["rate"], "10");
    let by_run = |what: &str| format!("system:serviceaccount:shop:till-runbooks: patch {what}");
    assert_eq!(
        changes(0),
        ["deployments/till", "configmaps/limits", "configmaps/limits", "deployments/till"].map(by_run)
    );

    // A rollback returns to the template before, once.
    let before = shop.changes().len();
    shop.run_comes_to(&starts(&shop, "back"), "Succeeded");
    let image =
        &shop.admin.reads("deploy/till -n shop")["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "till:v1");
    assert_eq!(changes(before), [by_run("deployments/till")]);

    // What a selector stands for is known before the run begins, and each object is changed once.
    let before = shop.changes().len();
    let all = shop.run_comes_to(&starts(&shop, "front"), "Succeeded");
    let targets = all["status"]["steps"][0]["targets"].as_array().unwrap();
    let names: Vec<&str> = targets.iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kiosk", "till"]);
    assert!(targets.iter().all(|target| target["uid"].is_string()));
    assert_eq!(changes(before), ["deployments/kiosk", "deployments/till"].map(by_run));

    // A parameter sets the number; the person who is asked denies, and the capacity is taken back.
    let run = starts(&shop, "scale-checkout --param replicas=5");
    shop.run_comes_to(&run, "WaitingForApproval");
    shop.amir.types(&format!("kubectl mayday approve -n shop run/{run} --yes")).passes();
    shop.run_comes_to(&run, "WaitingForPerson");
    assert_eq!(shop.admin.reads("deploy/checkout -n shop")["spec"]["replicas"], 5);
    shop.emil.types(&format!("kubectl mayday answer -n shop run/{run} look deny --yes")).passes();
    shop.run_comes_to(&run, "Failed");
    assert_eq!(shop.admin.reads("deploy/checkout -n shop")["spec"]["replicas"], 3);

    // An approval step is answered by an approver who did not start the run.
    let run = starts(&shop, "asks");
    shop.run_comes_to(&run, "WaitingForPerson");
    let answer = format!("kubectl mayday answer -n shop run/{run} sure confirm --yes");
    shop.emil.types(&answer).is_refused();
    shop.amir.types(&answer).passes();
    shop.run_comes_to(&run, "Succeeded");

    // Mayday remembers which template of checkout was healthy, for `to: LastHealthy`.
    let known = eventually("the healthy template of checkout is known", || {
        let found = shop.admin.reads("rb/rollback-checkout -n shop");
        found["status"]["healthyTemplates"].as_array()?.first().cloned()
    });
    assert_eq!(known["object"]["name"], "checkout");
}
