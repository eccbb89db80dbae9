//! Runbooks that are kept fresh by drills.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::audit;
use crate::shop::Shop;
use crate::support::{Cluster, condition, eventually};

/// A Runbook of the shop with these changes.
fn runbook(name: &str, change: &Value) -> String {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let mut runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": "Restart checkout", "approval": "Standing", "serviceAccountName": "checkout-runbooks",
            "steps": [{"name": "restart", "restart": {"target": target}},
                {"name": "rolled-out", "check": {"rollout": {"target": target}}}]}});
    json_patch::merge(&mut runbook, change);
    runbook.to_string()
}

/// The Runbook, once the condition has this reason.
#[track_caller]
fn becomes(shop: &Shop<'_>, runbook: &str, kind: &str, reason: &str) -> Value {
    eventually(&format!("rb/{runbook} is {kind} for {reason}"), || {
        let found = shop.admin.reads(&format!("rb/{runbook} -n shop"));
        condition(&found, kind).is_some_and(|found| found["reason"] == reason).then_some(found)
    })
}

#[test]
fn a_drill_shows_whether_a_runbook_would_work_and_changes_nothing() {
    let cluster = Cluster::start("drills");
    let shop = Shop::open(&cluster, &[]);
    let refused = |change: Value, path: &str| {
        let said = shop.admin.applies(&runbook("bad", &json!({"spec": {"drill": change}}))).is_refused();
        assert!(said.contains(path), "{path}: {said}");
    };
    refused(json!({"every": "30d"}), "spec.drill.every");
    refused(json!({"every": "59s"}), "spec.drill.every: 59s is shorter than a minute");
    refused(
        json!({"every": "24h", "parameters": [{"name": "zone", "string": "a"}]}),
        "spec.drill.parameters[0].name",
    );

    let marks = |verbs: &[&str]| {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "marks"}, "rules": rules});
        shop.admin.applies(&role.to_string()).passes();
    };
    marks(&["get"]);
    let account = "--clusterrole marks --serviceaccount shop:checkout-runbooks";
    shop.admin.types(&format!("kubectl create clusterrolebinding marks {account}")).passes();

    // Approved content is rehearsed at once, and counts as approved only after that.
    let daily = json!({"every": "24h", "required": true});
    shop.admin.applies(&runbook("daily", &json!({"spec": {"drill": daily}}))).passes();
    let labels = json!({"kind": "ConfigMap", "apiVersion": "v1", "name": "kube-root-ca.crt"});
    let patch = json!([{"name": "mark", "patch": {"target": labels, "merge": {"metadata": {"labels": {"drilled": "yes"}}},
        "allowPaths": ["/metadata/labels"]}}]);
    let lacking = json!({"spec": {"drill": daily, "steps": patch}});
    shop.admin.applies(&runbook("lacking", &lacking)).passes();
    becomes(&shop, "daily", "Drilled", "DrillDue");
    shop.both_approve("shop", "daily");
    shop.both_approve("shop", "lacking");
    let daily = becomes(&shop, "daily", "Drilled", "DrillSucceeded");
    let last = &daily["status"]["lastDrill"];
    let drill = shop.run_comes_to(last["run"].as_str().unwrap(), "DryRunComplete");
    assert_eq!((&drill["spec"]["drill"], &drill["spec"]["dryRun"]), (&json!(true), &json!(true)));
    assert_eq!(daily["status"]["lastGoodRunTime"], last["time"]);
    assert!(daily["status"]["recentRuns"].is_null(), "it counts for no limit: {daily:#}");
    becomes(&shop, "daily", "Approved", "Approved");
    assert!(shop.changes().is_empty(), "{:?}", shop.changes());

    // What would not work is found on a quiet day, and nothing runs until it does.
    let lacks = becomes(&shop, "lacking", "Drilled", "DrillFailed");
    let why = lacks["status"]["lastDrill"]["message"].as_str().unwrap();
    assert!(why.contains("serviceaccount/checkout-runbooks may not"), "{why}");
    becomes(&shop, "lacking", "Approved", "DrillFailed");
    let said = shop.emil.types("kubectl get rb lacking -n shop -o wide").passes();
    assert!(said.contains("LAST-GOOD"), "{said}");
    let held = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "held", "namespace": "shop"}, "spec": {"runbookRef": {"name": "lacking"}}});
    shop.emil.pipes(&held.to_string(), "kubectl create -f -").passes();
    let held = shop.run_comes_to("held", "Blocked");
    let blocked = condition(&held, "Blocked").unwrap();
    assert_eq!(blocked["reason"], "DrillFailed");
    let next = blocked["message"].as_str().unwrap();
    assert!(next.ends_with("kubectl mayday run -n shop lacking --drill"), "{next}");

    // A drill is what its Runbook says.
    let other = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "other", "namespace": "shop"},
        "spec": {"runbookRef": {"name": "restart-checkout"}, "drill": true, "dryRun": true}});
    let said = shop.emil.pipes(&other.to_string(), "kubectl create -f -").is_refused();
    assert!(said.contains("rb/restart-checkout has no spec.drill"), "{said}");

    // Somebody gives the right and rehearses it by hand; then the run that waited goes on.
    marks(&["get", "patch"]);
    let said = shop.emil.types("kubectl mayday run -n shop lacking --drill --yes").passes();
    assert!(said.contains("a drill"), "{said}");
    becomes(&shop, "lacking", "Drilled", "DrillSucceeded");
    becomes(&shop, "lacking", "Approved", "Approved");
    shop.run_comes_to("held", "Succeeded");
    assert!(shop.pages().is_empty(), "a drill pages nobody: {:?}", shop.pages());

    // A drill may also act on copies, in a namespace that says that it is for this.
    let copied = |namespace: &str| {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        let scaled =
            json!({"target": target, "expression": "object.spec.replicas > 5", "message": "fewer than six"});
        json!({"spec": {"preconditions": [scaled],
            "drill": {"every": "24h", "mode": "Namespace", "namespace": namespace},
            "steps": [{"name": "restart", "restart": {"target": target}},
                {"name": "rolled-out", "check": {"rollout": {"target": target}}},
                {"name": "look", "manual": {"instructions": "Is the queue empty?"}}]}})
    };
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-drill"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "checkout-runbooks",
            "namespace": "shop-drill", "labels": {"mayday.dev/runbook-identity": "true"}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "drills", "namespace": "shop-drill"},
            "rules": [{"apiGroups": ["apps"], "resources": ["deployments"],
                "verbs": ["get", "create", "patch", "delete"]}]}),
    ] {
        shop.admin.applies(&object.to_string()).passes();
    }
    let account = "--role drills --serviceaccount shop-drill:checkout-runbooks";
    shop.admin.types(&format!("kubectl create rolebinding -n shop-drill drills {account}")).passes();
    for (name, namespace) in [("copied", "shop-drill"), ("nowhere", "not-there")] {
        shop.admin.applies(&runbook(name, &copied(namespace))).passes();
        shop.both_approve("shop", name);
        becomes(&shop, name, "Drilled", "DrillFailed");
    }
    let why = |name: &str| {
        let found = shop.admin.reads(&format!("rb/{name} -n shop"));
        found["status"]["lastDrill"]["message"].as_str().unwrap().to_owned()
    };
    assert!(why("nowhere").contains("namespace not-there does not exist"), "{}", why("nowhere"));
    let label = "kubectl label serviceaccount -n shop-drill checkout-runbooks mayday.dev/drills-of=shop";
    assert!(why("copied").ends_with(label), "{}", why("copied"));
    let from = audit::end(&cluster.file("")).unwrap();
    shop.admin.types(label).passes();
    let drill = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "drill", "namespace": "shop"},
        "spec": {"runbookRef": {"name": "copied"}, "drill": true}});
    shop.emil.pipes(&drill.to_string(), "kubectl create -f -").passes();
    // Mayday dies as soon as there is a copy: the next process goes on with it, and leaves none behind.
    eventually("there is a copy", || {
        (shop.admin.reads("deploy -n shop-drill")["items"].as_array()?.len() == 1).then_some(())
    });
    cluster.operator(0).kill();
    let left = shop.admin.reads("run/drill -n shop");
    assert!(left["status"]["endTime"].is_null(), "it died in the middle: {left:#}");
    cluster.operator(0).start();
    let drill = shop.run_comes_to("drill", "Succeeded");
    let good = becomes(&shop, "copied", "Drilled", "DrillSucceeded");
    assert_eq!(good["status"]["lastDrill"]["run"], "drill");
    let look = drill["status"]["steps"][2]["message"].as_str().unwrap();
    assert!(look.ends_with("a drill on copies leaves it out"), "{look}");
    eventually("the copies are gone", || {
        let left = shop.admin.reads("deploy -n shop-drill");
        left["items"].as_array()?.is_empty().then_some(())
    });
    let account = "system:serviceaccount:shop-drill:checkout-runbooks";
    let done: Vec<String> = audit::changes(&audit::read(&cluster.file(""), from).unwrap(), "shop-drill")
        .iter()
        .filter(|change| change.user == account)
        .map(|change| change.act.clone())
        .collect();
    assert_eq!(
        done,
        ["create deployments/checkout", "patch deployments/checkout", "delete deployments/checkout"]
    );
    let copies =
        shop.changes().into_iter().filter(|change| change.contains("deployments")).collect::<Vec<_>>();
    assert!(copies.is_empty(), "{copies:?}");

    // A policy may ask for drills of every Runbook; and where nothing may start, a drill becomes overdue.
    shop.admin.applies(&runbook("hurried", &json!({"spec": {"drill": {"every": "1m"}}}))).passes();
    let strict = json!({"spec": {"automation": {"requireDrill": true, "start": "Disabled"}}});
    shop.admin.types(&format!("kubectl patch cpol production --type merge -p '{strict}'")).passes();
    shop.both_approve("shop", "hurried");
    shop.both_approve("shop", "restart-checkout");
    becomes(&shop, "restart-checkout", "Approved", "DrillMissing");
    becomes(&shop, "hurried", "Drilled", "DrillOverdue");
    becomes(&shop, "hurried", "Approved", "DrillOverdue");
    cluster.stop();
}
