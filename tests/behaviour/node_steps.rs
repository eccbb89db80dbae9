//! Steps about pods, nodes and Jobs, on the real API server, scheduler and controllers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::audit;
use crate::shop::{RUNBOOKS, Shop};
use crate::support::{Cluster, condition, eventually};

const IMAGE: &str = "shop/flush@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What the account of the runbooks may do besides, as a platform engineer grants it.
fn rights() -> String {
    let rule = |groups: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": verbs});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "node-steps"},
        "rules": [
            rule("", &["nodes"], &["get", "patch"]),
            rule("", &["pods"], &["get", "list", "delete"]),
            rule("", &["pods/eviction"], &["create"]),
            rule("", &["pods/log"], &["get"]),
            rule("batch", &["jobs"], &["get", "create"])]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "node-steps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "node-steps"},
        "subjects": [{"kind": "ServiceAccount", "name": "checkout-runbooks", "namespace": "shop"}]});
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "checkout"}}}});
    [role, binding, budget].map(|object| object.to_string()).join("\n---\n")
}

/// A Runbook of those steps, which people start.
fn runbook(name: &str, steps: &Value) -> String {
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": name, "start": "Manual", "approval": "Standing", "onFailure": "Rollback",
            "serviceAccountName": "checkout-runbooks", "steps": steps}})
    .to_string()
}

/// emil starts a Runbook. Returns the name of the run.
fn starts(shop: &Shop<'_>, runbook: &str) -> String {
    starts_as(shop, runbook, false)
}

fn starts_as(shop: &Shop<'_>, runbook: &str, dry_run: bool) -> String {
    let run = format!("{runbook}-{}", crate::support::fresh("r"));
    let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": run, "namespace": "shop"},
        "spec": {"runbookRef": {"name": runbook}, "dryRun": dry_run}});
    shop.emil.pipes(&object.to_string(), "kubectl create -f -").passes();
    run
}

fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    run["status"]["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()
}

/// The pods of checkout by UID, each with the name of its node.
fn pods(shop: &Shop<'_>) -> Vec<(String, String)> {
    let found = shop.admin.reads("pods -n shop -l app=checkout");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = found["items"].as_array().unwrap().iter();
    pods.map(|pod| (text(&pod["metadata"]["uid"]), text(&pod["spec"]["nodeName"]))).collect()
}

fn is_cordoned(shop: &Shop<'_>) -> bool {
    shop.admin.reads("node/kwok-0")["spec"]["unschedulable"] == true
}

#[track_caller]
fn is_served_by(shop: &Shop<'_>, count: usize) {
    eventually(&format!("{count} pods are available"), || {
        let deployment = shop.admin.reads("deploy/checkout -n shop");
        (deployment["status"]["availableReplicas"] == count && pods(shop).len() == count).then_some(())
    });
}

#[test]
fn pods_nodes_and_jobs_are_acted_on_once_and_taken_back() {
    let cluster = Cluster::without_operator("node-steps", &["--set", "config.testing.crashAt={after-act}"]);
    let admin = cluster.admin();
    admin.types("kubectl create namespace shop").passes();
    admin.applies(&rights()).passes();
    cluster.operator(0).start();
    let listed =
        "    afterLeadClaimed: PerRun\n    clusterIdentities: [{namespace: shop, name: checkout-runbooks}]\n";
    let shop = Shop::open(&cluster, &[("    afterLeadClaimed: PerRun\n", listed)]);

    let node = json!({"target": {"name": "kwok-0"}});
    let drain = json!([{"name": "cordon", "cordon": node, "compensation": {"uncordon": node}},
        {"name": "drain", "drain": node, "timeout": "8s"}]);
    let flush = json!([{"name": "flush", "timeout": "1m", "job": {"spec": {"template": {"spec": {
        "containers": [{"name": "flush", "image": IMAGE}, {"name": "aside", "image": IMAGE,
            "resources": {"limits": {"cpu": "1000m"}}}]}}}}}]);
    let evict = json!([{"name": "evict", "deletePod": {"by": "Deletion",
        "target": {"selector": {"matchLabels": {"app": "checkout"}}}}}]);
    let uncordon = json!([{"name": "uncordon", "uncordon": node}]);
    let leaving = json!({"target": {"name": "leaving"}});
    let leave =
        json!([{"name": "cordon", "cordon": leaving}, {"name": "drain", "drain": leaving, "timeout": "5m"}]);
    let back = json!([{"name": "cordon", "cordon": leaving}]);
    let runbooks = [
        ("flush", flush),
        ("drain", drain),
        ("evict", evict),
        ("uncordon", uncordon),
        ("leave", leave),
        ("back", back),
    ];
    for (name, steps) in &runbooks {
        shop.admin.applies(&runbook(name, steps)).passes();
    }
    for (name, _) in &runbooks {
        shop.is_approved(name);
    }

    a_job_that_is_removed_while_mayday_is_down_stays_away(&shop);
    a_job_is_created_once_though_its_operator_dies(&shop);
    pods_are_removed_once_each_in_batches(&shop);
    a_drain_that_a_budget_holds_up_is_taken_back(&shop);
    a_cordon_by_somebody_else_stays(&shop);
    a_node_is_drained_when_there_is_room(&shop);
    a_pod_with_two_budgets_is_named(&shop);
    a_node_that_is_deleted_during_its_drain_is_let_go(&shop);
    old_runs_go_with_their_jobs_and_what_is_needed_stays(&shop);
    cluster.stop();
}

/// Failure list 17: the Job may have run, so it is not created again, and a person decides.
fn a_job_that_is_removed_while_mayday_is_down_stays_away(shop: &Shop<'_>) {
    let operator = shop.cluster.operator(0);
    let process = operator.pid();
    let run = starts(shop, "flush");
    operator.has_died_at_its_point(process);
    let jobs = || shop.admin.reads("jobs -n shop")["items"].as_array().unwrap().len();
    assert_eq!(jobs(), 1);
    let glass = crate::change::shop::GLASS;
    shop.admin.types(&format!("kubectl delete jobs -n shop --all --timeout=60s {glass}")).passes();
    operator.start();
    let ended = shop.run_comes_to(&run, "Unknown");
    let said = step(&ended, "flush")["message"].as_str().unwrap();
    assert!(said.contains("may have run"), "{said}");
    assert_eq!(jobs(), 0);
}

fn a_job_is_created_once_though_its_operator_dies(shop: &Shop<'_>) {
    let operator = shop.cluster.operator(0);
    let from = audit::end(&shop.cluster.file("")).unwrap();
    let process = operator.pid();
    let run = starts(shop, "flush");
    operator.has_died_at_its_point(process);
    shop.cluster.mends("after-act");
    operator.start();
    let ended = shop.run_comes_to(&run, "Succeeded");
    let uid = ended["metadata"]["uid"].as_str().unwrap();
    let jobs = shop.admin.reads(&format!("jobs -n shop -l mayday.dev/run={uid}"));
    let [job] = jobs["items"].as_array().unwrap().as_slice() else { panic!("{jobs:#}") };
    let act = &step(&ended, "flush")["acts"][0];
    assert_eq!(job["metadata"]["annotations"]["mayday.dev/operation"], act["operationId"]);
    assert_eq!(job["spec"]["template"]["spec"]["serviceAccountName"], "checkout-runbooks");
    let entries = audit::read(&shop.cluster.file(""), from).unwrap();
    let created = audit::changes(&entries, "shop");
    let created =
        created.iter().filter(|change| change.user == RUNBOOKS && change.act.starts_with("create jobs"));
    assert_eq!(created.count(), 1, "one request created it");
    let outputs = step(&ended, "flush")["outputs"].as_array().unwrap();
    assert_eq!(outputs[0], json!({"name": "exitCode", "value": "0"}));
    // The nodes of the local cluster keep no logs: that is said, and is no failure.
    assert!(outputs[1]["value"].as_str().unwrap().starts_with("there is no log"), "{outputs:?}");
}

fn pods_are_removed_once_each_in_batches(shop: &Shop<'_>) {
    is_served_by(shop, 3);
    let before = pods(shop);
    let ended = shop.run_comes_to(&starts(shop, "evict"), "Succeeded");
    let acts = step(&ended, "evict")["acts"].as_array().unwrap().clone();
    let mut removed: Vec<&str> = acts.iter().map(|act| act["pods"][0]["uid"].as_str().unwrap()).collect();
    removed.sort_unstable();
    let mut known: Vec<&str> = before.iter().map(|(uid, _)| uid.as_str()).collect();
    known.sort_unstable();
    assert_eq!(removed, known, "exactly the pods that were there, each once");
    assert!(acts.iter().all(|act| act["outcome"] == "Settled"), "{acts:#?}");
    is_served_by(shop, 3);
    assert!(pods(shop).iter().all(|(uid, _)| !known.contains(&uid.as_str())));
}

fn a_drain_that_a_budget_holds_up_is_taken_back(shop: &Shop<'_>) {
    let ended = shop.run_comes_to(&starts(shop, "drain"), "Failed");
    let said = step(&ended, "drain")["message"].as_str().unwrap();
    assert!(said.starts_with("not in time: pod/checkout-") && said.contains("budget checkout"), "{said}");
    assert_eq!(step(&ended, "cordon")["compensation"]["state"], "Succeeded", "{ended:#}");
    assert!(!is_cordoned(shop), "no cordon is left behind");
    is_served_by(shop, 3);
}

fn a_cordon_by_somebody_else_stays(shop: &Shop<'_>) {
    shop.admin.types("kubectl cordon kwok-0").passes();
    a_dry_run_asks_the_api_server_and_changes_nothing(shop);
    let ended = shop.run_comes_to(&starts(shop, "drain"), "Failed");
    assert_eq!(step(&ended, "cordon")["acts"][0]["outcome"], "Unneeded");
    assert!(is_cordoned(shop), "the run did not cordon it");
    let ended = shop.run_comes_to(&starts(shop, "uncordon"), "Failed");
    let said = step(&ended, "uncordon")["message"].as_str().unwrap();
    assert!(said.ends_with("kubectl uncordon kwok-0"), "{said}");
    assert!(is_cordoned(shop));
    shop.admin.types("kubectl uncordon kwok-0").passes();
    is_served_by(shop, 3);
}

fn a_node_is_drained_when_there_is_room(shop: &Shop<'_>) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kwok-1",
        "labels": {"kubernetes.io/hostname": "kwok-1", "kubernetes.io/os": "linux"}}});
    shop.admin.applies(&node.to_string()).passes();
    eventually("kwok-1 is ready", || {
        let node = shop.admin.reads("node/kwok-1");
        (condition(&node, "Ready")?["status"] == "True").then_some(())
    });
    let ended = shop.run_comes_to(&starts(shop, "drain"), "Succeeded");
    assert_eq!(step(&ended, "drain")["acts"][0]["outcome"], "Settled", "{ended:#}");
    is_served_by(shop, 3);
    assert!(pods(shop).iter().all(|(_, node)| node == "kwok-1"), "{:?}", pods(shop));
    assert!(is_cordoned(shop));
    shop.run_comes_to(&starts(shop, "uncordon"), "Succeeded");
    assert!(!is_cordoned(shop), "a run has cordoned it, so a run uncordons it");
}

fn a_dry_run_asks_the_api_server_and_changes_nothing(shop: &Shop<'_>) {
    eventually("the budget allows an eviction", || {
        let budget = shop.admin.reads("pdb/checkout -n shop");
        (budget["status"]["disruptionsAllowed"] == 1).then_some(())
    });
    let (pods_before, jobs) =
        (pods(shop), || shop.admin.reads("jobs -n shop")["items"].as_array().unwrap().len());
    let jobs_before = jobs();
    for (name, effect) in [("drain", "Mutating"), ("flush", "Undetermined"), ("evict", "Mutating")] {
        let ended = shop.run_comes_to(&starts_as(shop, name, true), "DryRunComplete");
        let step = step(&ended, name);
        let said = step["message"].as_str().unwrap();
        assert!(said.starts_with("would ") && said.contains("the API server accepts it"), "{name}: {said}");
        assert_eq!(step["effect"], effect, "{name}");
    }
    assert_eq!((pods(shop), jobs()), (pods_before, jobs_before));
}

/// Kubernetes evicts no pod that two budgets cover: the drain ends at once, says so, and the node is let go.
fn a_pod_with_two_budgets_is_named(shop: &Shop<'_>) {
    shop.admin.types("kubectl cordon kwok-1").passes();
    shop.admin.types("kubectl create namespace depot").passes();
    let budget = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "depot"},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "till"}}}})
        .to_string()
    };
    shop.admin.applies(&[budget("one"), budget("other")].join("\n---\n")).passes();
    shop.admin.types("kubectl create deployment till -n depot --image=shop/till:v1").passes();
    eventually("till is available", || {
        (shop.admin.reads("deploy/till -n depot")["status"]["availableReplicas"] == 1).then_some(())
    });
    shop.admin.types("kubectl uncordon kwok-1").passes();
    let ended = shop.run_comes_to(&starts(shop, "drain"), "Failed");
    let said = step(&ended, "drain")["message"].as_str().unwrap();
    assert!(said.contains("pod/till-") && said.contains("more than one PodDisruptionBudget"), "{said}");
    assert!(!is_cordoned(shop), "the cordon is taken back");
}

/// Failure list 16: a node goes while its pods end. Its drain has succeeded, and a node of that name is free for other runs.
fn a_node_that_is_deleted_during_its_drain_is_let_go(shop: &Shop<'_>) {
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "leaving", "labels": {"kubernetes.io/hostname": "leaving"}},
        "spec": {"taints": [{"key": "apart", "effect": "NoSchedule"}]}});
    // The finalizer keeps its pod terminating.
    let apart = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "apart", "namespace": "depot"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "apart"}},
            "template": {"metadata": {"labels": {"app": "apart"}, "finalizers": ["dev.example/held"]},
                "spec": {"nodeSelector": {"kubernetes.io/hostname": "leaving"},
                    "tolerations": [{"key": "apart", "operator": "Exists"}],
                    "containers": [{"name": "app", "image": "shop/apart:v1"}]}}}});
    for object in [&node, &apart] {
        shop.admin.applies(&object.to_string()).passes();
    }
    eventually("its pod is available", || {
        (shop.admin.reads("deploy/apart -n depot")["status"]["availableReplicas"] == 1).then_some(())
    });
    let run = starts(shop, "leave");
    eventually("its pod is terminating", || {
        let found = shop.admin.reads("pods -n depot -l app=apart");
        found["items"]
            .as_array()?
            .iter()
            .any(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
            .then_some(())
    });
    let at_work = shop.admin.reads(&format!("run/{run} -n shop"));
    assert!(at_work["status"]["endTime"].is_null(), "it waits for the pod: {at_work:#}");
    shop.admin.types("kubectl delete node leaving").passes();
    let ended = shop.run_comes_to(&run, "Succeeded");
    assert_eq!(step(&ended, "drain")["message"], "node/leaving is gone");
    shop.admin.applies(&node.to_string()).passes();
    shop.run_comes_to(&starts(shop, "back"), "Succeeded");
}

/// The only run of a Runbook in that state so far.
fn run_of(shop: &Shop<'_>, runbook: &str, state: &str) -> Value {
    let mut found = shop.admin.reads("run -n shop")["items"].as_array().unwrap().clone();
    found.retain(|run| run["spec"]["runbookRef"]["name"] == runbook && run["status"]["state"] == state);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// Lets a run have ended so many hours ago: only Mayday writes that, so it is written with its token.
fn ended(shop: &Shop<'_>, run: &Value, hours: i64) {
    let end = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(hours)).unwrap();
    let mut old = shop.admin.reads(&format!("run/{} -n shop", run["metadata"]["name"].as_str().unwrap()));
    old["status"]["endTime"] = format!("{end:.0}").into();
    shop.cluster.mayday().pipes(&old.to_string(), "kubectl replace --subresource=status -f -").passes();
}

#[track_caller]
fn is_deleted(shop: &Shop<'_>, run: &Value) {
    eventually(&format!("run/{} is deleted", run["metadata"]["name"]), || {
        let runs = shop.admin.reads("run -n shop");
        let is_it = |known: &Value| known["metadata"]["uid"] == run["metadata"]["uid"];
        (!runs["items"].as_array()?.iter().any(is_it)).then_some(())
    });
}

fn stays(shop: &Shop<'_>, run: &Value) {
    let found = shop.admin.reads(&format!("run/{} -n shop", run["metadata"]["name"].as_str().unwrap()));
    assert_eq!(found["metadata"]["uid"], run["metadata"]["uid"]);
    assert!(found["metadata"]["deletionTimestamp"].is_null(), "{found:#}");
}

/// Failure list 58: runs go by age and by number, each with its Job. The last one of a Runbook, from which limits are
/// computed, and one of an open incident stay, however old they are. Changes of runs are seen in their order, so what stays
/// was looked at before what goes.
fn old_runs_go_with_their_jobs_and_what_is_needed_stays(shop: &Shop<'_>) {
    let (month, hours) = (24 * 40, 2);
    let old = run_of(shop, "uncordon", "Failed");
    ended(shop, &old, month);
    is_deleted(shop, &old);
    let (last, rehearsed) = (run_of(shop, "evict", "Succeeded"), run_of(shop, "evict", "DryRunComplete"));
    ended(shop, &last, month);
    ended(shop, &rehearsed, month);
    is_deleted(shop, &rehearsed);
    stays(shop, &last);

    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n shop --service checkout --severity SEV2 --yes";
    shop.emil.types(declare).passes();
    let incident = shop.incident("it is declared", |_| true)["metadata"]["name"].clone();
    let first = run_of(shop, "flush", "Succeeded");
    let named = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "during", "namespace": "shop"},
        "spec": {"runbookRef": {"name": "flush"}, "incidentRef": {"name": incident}}});
    shop.emil.pipes(&named.to_string(), "kubectl create -f -").passes();
    let during = shop.run_comes_to("during", "Succeeded");
    let newest = shop.run_comes_to(&starts(shop, "flush"), "Succeeded");
    let jobs = |run: &Value| {
        let uid = run["metadata"]["uid"].as_str().unwrap();
        shop.admin.reads(&format!("jobs -n shop -l mayday.dev/run={uid}"))["items"].as_array().unwrap().len()
    };
    ended(shop, &during, hours);
    ended(shop, &first, hours);
    assert_eq!([&first, &during, &newest].map(jobs), [1, 1, 1]);
    stays(shop, &first);
    let limit = r#"kubectl patch rb flush -n shop --type merge -p '{"spec":{"historyLimit":1}}'"#;
    shop.admin.types(limit).passes();
    is_deleted(shop, &first);
    eventually("its Job is gone too", || (jobs(&first) == 0).then_some(()));
    stays(shop, &during);
    stays(shop, &newest);
    assert_eq!([&during, &newest].map(jobs), [1, 1]);
}
