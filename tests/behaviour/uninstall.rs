//! The beginning and the end of an installation: the operator is not ready before it can read every kind, and
//! nothing is held once Mayday is gone.

use serde_json::{Value, json};

use crate::shop::Shop;
use crate::support::{Cluster, eventually, root};

#[test]
fn the_operator_waits_for_every_kind_and_a_living_system_is_uninstalled() {
    let cluster = Cluster::without_operator("uninstall", &["--set", "config.log.format=Json"]);
    becomes_ready_with_its_kinds(&cluster);
    let shop = Shop::open(&cluster, &[]);
    let run = waits_for_a_person(&shop);
    let image = "kubectl set image -n shop deploy/checkout app=shop/checkout:v9";
    assert!(shop.emil.types(image).is_refused().contains("is not approved"));

    // The operator lives on meanwhile, as its Deployment does while helm runs the hook.
    cluster.script("uninstall", &[cluster.path()]);
    let admin = &shop.admin;
    let gates = "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,clusterroles,clusterrolebindings";
    let left = admin.types(&format!("kubectl get {gates} -o name")).passes();
    // The bindings of the samples belong to the team.
    let ours = left.lines().filter(|name| name.contains("mayday")).collect::<Vec<_>>();
    assert_eq!(ours, Vec::<&str>::new());
    let run = admin.reads(&format!("run/{run} -n shop"));
    assert_eq!((&run["spec"]["cancel"], &run["metadata"]["finalizers"]), (&json!(true), &Value::Null));
    shop.emil.types(image).passes();
    admin.types("kubectl delete namespace shop --timeout=60s").passes();

    for line in cluster.operator(0).log().lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for field in ["timestamp", "level", "target"] {
            assert!(entry[field].is_string(), "no {field}: {line}");
        }
    }
    cluster.stop();
}

/// Starts the operator while one kind is missing.
fn becomes_ready_with_its_kinds(cluster: &Cluster) {
    let admin = cluster.admin();
    // The chart holds its kinds; without its binding the API server forgets that a moment later.
    admin.types("kubectl delete validatingadmissionpolicybinding mayday-definitions").passes();
    eventually("the kind is deleted", || {
        admin.types("kubectl delete crd freezes.mayday.dev --timeout=60s").succeeded().then_some(())
    });
    std::thread::scope(|scope| {
        let started = scope.spawn(|| cluster.operator(0).start());
        let said = eventually("it lives and is not ready", || {
            let alive = cluster.operator(0).answers("/livez")?.0 == 200;
            let (status, said) = cluster.operator(0).answers("/readyz")?;
            // At the start everything is still to be read.
            let freeze_alone = said.trim_end().ends_with(": Freeze");
            (alive && status == 503 && freeze_alone).then_some(said)
        });
        assert!(!started.is_finished(), "{said}");
        let file = root().join("crds/mayday.dev_freezes.yaml");
        admin.types(&format!("kubectl create -f {}", file.display())).passes();
        started.join().unwrap();
    });
    assert_eq!(cluster.operator(0).get("/readyz").0, 200);
}

/// A run that has acted and waits for a person; its name.
fn waits_for_a_person(shop: &Shop<'_>) -> String {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "careful", "namespace": "shop"},
        "spec": {"summary": "Restart, then look", "start": "Manual", "approval": "Standing",
            "serviceAccountName": "checkout-runbooks",
            "steps": [
                {"name": "restart", "restart": {"target": target}, "timeout": "2m"},
                {"name": "look", "manual": {"instructions": "Is it well?"}, "timeout": "5m"}]}});
    shop.admin.applies(&runbook.to_string()).passes();
    shop.is_approved("careful");
    shop.emil.types("kubectl mayday run -n shop careful --yes").passes();
    let run = eventually("the run waits for a person", || {
        let runs = shop.admin.reads("run -n shop");
        let run = runs["items"].as_array()?.first()?.clone();
        (run["status"]["state"] == "WaitingForPerson").then_some(run)
    });
    assert_eq!(run["metadata"]["finalizers"], json!(["mayday.dev/settle"]));
    run["metadata"]["name"].as_str().unwrap().to_owned()
}
