//! What keeps a run from acting: locks, limits, the breaker, and the preconditions that nobody has to write.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::shop::Shop;
use crate::support::{Cluster, Person, condition, eventually, fresh};

/// What the account of the Runbooks may do besides, and a second namespace under the same policy.
const BEFORE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: depot}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: depot-runbooks, namespace: depot, labels: {mayday.dev/runbook-identity: "true"}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: approve, namespace: depot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: mayday-approver}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: shop-approvers}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: respond, namespace: depot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: mayday-responder}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: shop-approvers}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: shop-engineers}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: guarded-steps}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [get, patch]}
- {apiGroups: [""], resources: [pods], verbs: [get, list, delete]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: guarded-steps}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: guarded-steps}
subjects:
- {kind: ServiceAccount, name: checkout-runbooks, namespace: shop}
- {kind: ServiceAccount, name: depot-runbooks, namespace: depot}
"#;

fn runbook(namespace: &str, name: &str, steps: Value, change: &Value) -> Value {
    let account = if namespace == "depot" { "depot-runbooks" } else { "checkout-runbooks" };
    let mut runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"summary": name, "start": "Manual", "approval": "Standing", "serviceAccountName": account,
            "steps": steps}});
    json_patch::merge(&mut runbook, change);
    runbook
}

/// Somebody starts a Runbook, with `kubectl create`. Returns the name of the run.
fn starts(person: &Person, namespace: &str, runbook: &str) -> String {
    let run = format!("{runbook}-{}", fresh("r"));
    let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": run, "namespace": namespace}, "spec": {"runbookRef": {"name": runbook}}});
    person.pipes(&object.to_string(), "kubectl create -f -").passes();
    run
}

#[track_caller]
fn is_approved(shop: &Shop<'_>, namespace: &str, name: &str) {
    for approver in [&shop.amir, &shop.bea] {
        approver.types(&format!("kubectl mayday approve -n {namespace} rb/{name} --yes")).passes();
    }
    eventually(&format!("rb/{name} is approved and ready"), || {
        let found = shop.admin.reads(&format!("rb/{name} -n {namespace}"));
        let holds = |kind: &str| condition(&found, kind).is_some_and(|found| found["status"] == "True");
        (holds("Approved") && holds("Ready")).then_some(())
    });
}

/// The run is in this state; its status.
#[track_caller]
fn comes_to(shop: &Shop<'_>, namespace: &str, run: &str, state: &str) -> Value {
    eventually(&format!("run/{run} of {namespace} is {state}"), || {
        let found = shop.admin.reads(&format!("run/{run} -n {namespace}"));
        let now = &found["status"]["state"];
        let has_ended = found["status"]["endTime"].is_string();
        assert!(!has_ended || now == state, "it is {now}: {:#}", found["status"]);
        (now == state).then_some(found)
    })
}

/// The run is blocked for this reason; the message.
#[track_caller]
fn is_blocked(shop: &Shop<'_>, namespace: &str, run: &str, reason: &str) -> String {
    eventually(&format!("run/{run} of {namespace} is blocked: {reason}"), || {
        let found = shop.admin.reads(&format!("run/{run} -n {namespace}"));
        assert!(!found["status"]["endTime"].is_string(), "{:#}", found["status"]);
        let blocked = condition(&found, "Blocked").filter(|blocked| blocked["reason"] == reason)?;
        blocked["message"].as_str().map(str::to_owned)
    })
}

fn cancels(shop: &Shop<'_>, namespace: &str, run: &str) {
    shop.emil.types(&format!("kubectl mayday cancel -n {namespace} run/{run} --yes")).passes();
    comes_to(shop, namespace, run, "Cancelled");
}

#[test]
fn a_run_acts_only_where_nothing_stands_in_its_way() {
    let cluster = Cluster::start("guards");
    cluster.admin().applies(BEFORE).passes();
    let identities = "    afterLeadClaimed: PerRun\n    clusterIdentities:\n    - {namespace: shop, name: checkout-runbooks}\n    - {namespace: depot, name: depot-runbooks}\n";
    let both = "namespaces: {names: [shop, depot]}";
    let shop = Shop::open(
        &cluster,
        &[("    afterLeadClaimed: PerRun\n", identities), ("namespaces: {names: [shop]}", both)],
    );
    let checkout = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let node = json!({"target": {"name": "kwok-0"}});
    let asks = json!({"name": "sure", "manual": {"instructions": "Is it safe?"}, "timeout": "5m"});
    let none = json!({});
    let pods = json!({"selector": {"matchLabels": {"app": "checkout"}}});
    let books = [
        runbook(
            "shop",
            "restart",
            json!([asks, {"name": "restart", "restart": {"target": checkout}}]),
            &none,
        ),
        runbook(
            "shop",
            "remove",
            json!([{"name": "remove", "deletePod": {"target": pods, "by": "Deletion"}}]),
            &none,
        ),
        runbook("shop", "cordon", json!([{"name": "cordon", "cordon": node}, asks]), &none),
        runbook("shop", "asks", json!([asks]), &none),
        runbook("depot", "cordon", json!([{"name": "cordon", "cordon": node}]), &none),
    ];
    for book in &books {
        shop.admin.applies(&book.to_string()).passes();
    }
    for book in &books {
        let text = |field: &str| book["metadata"][field].as_str().unwrap();
        is_approved(&shop, text("namespace"), text("name"));
    }
    two_runbooks_take_turns_on_one_deployment(&shop);
    two_namespaces_take_turns_on_one_node(&shop);
    runs_begin_one_after_the_other_the_oldest_first(&shop);
    cluster.stop();
}

/// Failure list 42: two Runbooks want one Deployment, one by its name and the other by its pods.
fn two_runbooks_take_turns_on_one_deployment(shop: &Shop<'_>) {
    let first = starts(&shop.emil, "shop", "restart");
    comes_to(shop, "shop", &first, "WaitingForPerson");
    let second = starts(&shop.emil, "shop", "remove");
    let why = is_blocked(shop, "shop", &second, "TargetBusy");
    assert_eq!(why, format!("run/{first} is working on deployment/checkout"));
    cancels(shop, "shop", &first);
    let ended = comes_to(shop, "shop", &second, "Succeeded");
    let held = ended["status"]["holds"].as_array().unwrap();
    assert!(held.iter().any(|held| held["kind"] == "Deployment" && held["name"] == "checkout"), "{held:#?}");
}

/// Failure list 42: a node is in no namespace, so runs of two namespaces take turns on it.
fn two_namespaces_take_turns_on_one_node(shop: &Shop<'_>) {
    let first = starts(&shop.emil, "shop", "cordon");
    comes_to(shop, "shop", &first, "WaitingForPerson");
    let second = starts(&shop.emil, "depot", "cordon");
    let why = is_blocked(shop, "depot", &second, "TargetBusy");
    assert_eq!(why, format!("run/{first} of namespace shop is working on node/kwok-0"));
    cancels(shop, "shop", &first);
    comes_to(shop, "depot", &second, "Succeeded");
    shop.admin.types("kubectl uncordon kwok-0").passes();
}

/// As many runs work at once as the policy lets; the oldest of those that wait begins next.
fn runs_begin_one_after_the_other_the_oldest_first(shop: &Shop<'_>) {
    let one = r#"--type merge -p '{"spec":{"automation":{"concurrency":1}}}'"#;
    shop.admin.types(&format!("kubectl patch cpol/production {one}")).passes();
    let first = starts(&shop.emil, "shop", "asks");
    comes_to(shop, "shop", &first, "WaitingForPerson");
    let second = starts(&shop.emil, "shop", "asks");
    let why = is_blocked(shop, "shop", &second, "ConcurrencyReached");
    let way_out = format!("kubectl mayday cancel -n shop run/{first}");
    assert!(
        why.starts_with("cpol/production lets runs of shop work 1 at once") && why.ends_with(&way_out),
        "{why}"
    );
    // Times of creation have no fractions.
    let created = shop.admin.reads(&format!("run/{second} -n shop"))["metadata"]["creationTimestamp"].clone();
    let created: jiff::Timestamp = created.as_str().unwrap().parse().unwrap();
    eventually("a second has passed", || {
        (jiff::Timestamp::now().as_second() > created.as_second()).then_some(())
    });
    let third = starts(&shop.emil, "shop", "asks");
    is_blocked(shop, "shop", &third, "ConcurrencyReached");
    shop.emil.types(&format!("{way_out} --yes")).passes();
    comes_to(shop, "shop", &second, "WaitingForPerson");
    let why = is_blocked(shop, "shop", &third, "ConcurrencyReached");
    assert!(why.contains(&second), "{why}");
    cancels(shop, "shop", &second);
    comes_to(shop, "shop", &third, "WaitingForPerson");
    cancels(shop, "shop", &third);
    let none = r#"--type merge -p '{"spec":{"automation":{"concurrency":null}}}'"#;
    shop.admin.types(&format!("kubectl patch cpol/production {none}")).is_refused();
    shop.admin
        .types(r#"kubectl patch cpol/production --type merge -p '{"spec":{"automation":{"concurrency":0}}}'"#)
        .is_refused();
}
