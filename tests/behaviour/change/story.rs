//! A change from its refusal to its one use, as people type it.

use serde_json::json;

use super::shop::Shop;
use crate::support::{condition, eventually};

const IMAGE: &str = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";

#[test]
fn a_change_is_refused_asked_for_approved_by_two_and_passes_once() {
    let shop = Shop::open();
    let emil = shop.emil();
    let said = shop.types(&emil, IMAGE).is_refused();
    let ns = &shop.namespace;
    for part in [
        format!(
            "Refused: image of deployment/checkout in {ns}, shop/checkout:v1 → shop/checkout:v2, is not approved."
        ),
        "two of groups shop-approvers, shop-leads must approve.".to_owned(),
        format!("Ask: kubectl mayday ask -n {ns} deploy/checkout --image app=shop/checkout:v2 --why \"…\""),
    ] {
        assert!(said.contains(&part), "{part}\n{said}");
    }

    shop.asks_for_v2("release-v2");
    let waiting = shop.columns("release-v2").join(" ");
    assert!(
        waiting.starts_with("release-v2 Waiting two of groups shop-approvers, shop-leads emil 0/1 "),
        "{waiting}"
    );
    let said = shop.types(&emil, IMAGE).is_refused();
    assert!(said.contains("chg/release-v2"), "what waits is named: {said}");

    shop.approves(&shop.amir(), "release-v2").passes();
    let said = shop.types(&emil, IMAGE).is_refused();
    assert!(said.contains("is not approved"), "{said}");
    let waiting = shop.columns("release-v2").join(" ");
    assert!(waiting.contains("Waiting one of groups shop-approvers, shop-leads emil 0/1"), "{waiting}");
    shop.approves(&shop.bea(), "release-v2").passes();
    shop.reaches("release-v2", "Approved");

    let said = shop.types(&emil, &IMAGE.replace(":v2", ":v3")).is_refused();
    assert!(said.contains("shop/checkout:v1 → shop/checkout:v3, is not approved"), "{said}");
    let said = shop.types(&shop.admin(), IMAGE).is_refused();
    assert!(said.contains("is not approved"), "approved for emil, not for the administrator: {said}");

    shop.types(&emil, IMAGE).passes();
    assert_eq!(shop.image(), "shop/checkout:v2");
    shop.reaches("release-v2", "Spent");
    let used = shop.columns("release-v2").join(" ");
    assert!(used.contains("Spent") && used.contains("emil 1/1"), "{used}");
    assert_eq!(condition(&shop.request("release-v2"), "Approved").unwrap()["status"], "True");

    assert_eq!(shop.changes(), ["emil: patch deployments/checkout"], "the audit log is the judge");
}

#[test]
fn a_use_is_taken_back_once_and_a_second_use_is_refused() {
    let shop = Shop::open();
    shop.asks_for_v2("z-withdrawn");
    shop.types(&shop.emil(), "kubectl mayday withdraw -n NS chg/z-withdrawn --yes").passes();
    shop.asks_for_v2("once");
    shop.is_approved("once");
    shop.types(&shop.emil(), IMAGE).passes();
    shop.reaches("once", "Spent");
    // One rollback is approved with the change; making the change again is a second use.
    let back = IMAGE.replace(":v2", ":v1");
    shop.types(&shop.emil(), &back).passes();
    let said = shop.types(&shop.emil(), IMAGE).is_refused();
    assert!(said.contains("shop/checkout:v1 → shop/checkout:v2, is not approved"), "{said}");
    let nearest = "The request chg/once does not let it pass: it was used 1 of 1 times: ask again.";
    assert!(said.contains(nearest), "of two that are over the latest is named: {said}");
}

#[test]
fn a_dry_run_gets_the_same_verdict_and_spends_nothing() {
    let shop = Shop::open();
    let emil = shop.emil();
    let real = shop.types(&emil, IMAGE).is_refused();
    let trial = format!("{IMAGE} --dry-run=server");
    assert_eq!(shop.types(&emil, &trial).is_refused(), real);
    shop.asks_for_v2("release-v2");
    shop.is_approved("release-v2");
    for _ in 0..2 {
        shop.types(&emil, &trial).passes();
    }
    assert_eq!(shop.image(), "shop/checkout:v1");
    let columns = shop.columns("release-v2").join(" ");
    assert!(columns.contains("0/1"), "{columns}");
    shop.types(&emil, IMAGE).passes();
    shop.reaches("release-v2", "Spent");
}

#[test]
fn other_ways_to_the_same_change_are_refused_too() {
    let shop = Shop::open();
    let emil = shop.emil();
    let ns = shop.namespace.clone();
    for (command, what) in [
        (
            "kubectl scale -n NS deploy/checkout --replicas 1",
            format!("replicas of deployment/checkout in {ns}, 3 → 1"),
        ),
        ("kubectl delete -n NS deploy/checkout", format!("deletion of deployment/checkout in {ns}")),
        (
            "kubectl delete -n NS configmap/checkout-old-limits",
            format!("deletion of configmap/checkout-old-limits in {ns}"),
        ),
        (
            "kubectl create configmap -n NS new --from-literal=a=b",
            format!("creation of configmap/new in {ns}"),
        ),
        ("kubectl rollout restart -n NS deploy/checkout", "deployment/checkout".to_owned()),
    ] {
        let said = shop.types(&emil, command).is_refused();
        assert!(said.contains("Refused: ") && said.contains(&what), "{command}: {said}");
        assert!(said.contains("Ask: kubectl mayday ask"), "{command}: {said}");
    }
    let said = shop.types(&shop.admin(), "kubectl delete namespace NS").is_refused();
    assert!(said.contains(&format!("Refused: deletion of namespace/{ns} is not approved")), "{said}");
    assert!(said.contains("kubectl mayday ask -n mayday-system"), "{said}");
}

/// An open incident, a rejected request, and a run that has acted and waits for a person.
fn is_busy(shop: &Shop) {
    let (emil, admin) = (shop.emil(), shop.admin());
    let incident = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "no-payments", "namespace": shop.namespace},
        "spec": {"title": "Customers cannot pay", "severity": "SEV3"}});
    emil.applies(&incident.to_string()).passes();
    shop.asks_for_v2("unwanted");
    shop.types(&shop.amir(), "kubectl mayday reject -n NS chg/unwanted --why no --yes").passes();
    shop.reaches("unwanted", "Rejected");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "careful", "namespace": shop.namespace},
        "spec": {"summary": "Restart, then look", "start": "Manual", "approval": "Standing",
            "serviceAccountName": "checkout-runbooks",
            "steps": [
                {"name": "restart", "restart": {"target": target}, "timeout": "2m"},
                {"name": "look", "manual": {"instructions": "Is it well?"}, "timeout": "5m"}]}});
    admin.applies(&runbook.to_string()).passes();
    for person in [shop.amir(), shop.bea()] {
        shop.types(&person, "kubectl mayday approve -n NS rb/careful --yes").passes();
    }
    shop.types(&admin, "kubectl wait -n NS rb/careful --for=condition=Approved --timeout=30s").passes();
    shop.types(&emil, "kubectl mayday run -n NS careful --yes").passes();
    let run = eventually("the run waits for a person", || {
        let runs = admin.reads(&format!("run -n {}", shop.namespace));
        let run = runs["items"].as_array()?.first()?.clone();
        (run["status"]["state"] == "WaitingForPerson").then_some(run)
    });
    assert_eq!(run["metadata"]["finalizers"], json!(["mayday.dev/settle"]));
}

#[test]
fn an_approved_deletion_of_the_namespace_finishes() {
    let shop = Shop::open();
    is_busy(&shop);
    let ns = &shop.namespace;
    let admin = shop.admin();
    let binding = format!("approvers-{ns} --clusterrole=mayday-approver --group=shop-approvers");
    admin.types(&format!("kubectl create rolebinding -n mayday-system {binding}")).passes();
    let ask =
        format!("kubectl mayday ask -n mayday-system ns/{ns} --delete --name end-{ns} --why moved --yes");
    admin.types(&ask).passes();
    for person in [shop.amir(), shop.bea()] {
        person.types(&format!("kubectl mayday approve -n mayday-system chg/end-{ns} --yes")).passes();
    }
    admin
        .types(&format!("kubectl wait -n mayday-system chg/end-{ns} --for=condition=Approved --timeout=30s"))
        .passes();
    admin.types(&format!("kubectl delete namespace {ns} --timeout=90s")).passes();
    let said = admin.types(&format!("kubectl get namespace {ns}")).is_refused();
    assert!(said.contains("not found"), "{said}");
}
