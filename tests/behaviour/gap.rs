//! The time in which no Mayday runs, and what it finds afterwards.

use serde_json::Value;

use crate::change::shop::GLASS;
use crate::shop::Shop;
use crate::support::{Cluster, Person, condition, eventually};

/// The unauthorized changes in the status of the policy, oldest first.
fn found(cluster: &Cluster) -> Vec<String> {
    let policy = cluster.admin().reads("cpol/production");
    let unapproved = policy["status"]["unauthorized"].as_array().cloned().unwrap_or_default();
    let later = unapproved.iter().rev().filter(|change| change["kind"] == "FoundLater");
    later.map(|change| change["what"].as_str().unwrap().to_owned()).collect()
}

/// The objects of a kind in the protected namespace.
fn known(cluster: &Cluster, kind: &str) -> Option<String> {
    let maps = cluster.admin().reads("configmaps -n mayday-system");
    let maps = maps["items"].as_array().unwrap().clone();
    let map = maps.into_iter().find(|map| map["metadata"]["name"] == "mayday-baseline-shop")?;
    map["data"][kind].as_str().map(str::to_owned)
}

/// While Mayday runs, a break-glass is recorded, and everyone concerned is notified once.
fn broken_glass_is_told(shop: &Shop<'_>) {
    let image = "kubectl set image -n shop deploy/checkout app=shop/checkout:v6";
    shop.admin.types(&format!("{image} {GLASS} --dry-run=server")).passes();
    shop.admin.types(&format!("{image} {GLASS}")).passes();
    let told = || {
        let all = shop.receiver.messages();
        let glass = all.iter().filter(|message| message.text().contains("broke the glass"));
        let mut told: Vec<_> =
            glass.map(|message| (message.address().to_owned(), message.text().to_owned())).collect();
        told.sort_unstable();
        told
    };
    let all = eventually("everybody hears of it", || Some(told()).filter(|told| told.len() >= 5));
    let addresses: Vec<&str> = all.iter().map(|(address, _)| address.as_str()).collect();
    assert_eq!(addresses, ["", "amir", "bea", "emil", "lena"], "the room and each person once: {all:?}");
    for (_, text) in &all {
        assert!(text.starts_with("emil broke the glass at "), "{text}");
        let what = "image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:v6";
        assert!(text.contains(what), "{text}");
    }
    // The dry run before it left no trace.
    let recorded = shop.admin.reads("cpol/production")["status"]["unauthorized"].clone();
    assert_eq!(recorded.as_array().map(Vec::len), Some(1), "{recorded:#}");
    let entry = &recorded[0];
    let known = [
        &entry["kind"],
        &entry["by"],
        &entry["namespace"],
        &entry["object"]["kind"],
        &entry["object"]["name"],
    ];
    assert_eq!(known, ["BreakGlass", "emil", "shop", "Deployment", "checkout"], "{recorded:#}");
}

/// While Mayday is stopped, unprotected objects can be changed and protected ones heal.
fn the_rest_works(admin: &Person) {
    let kind = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: tents.example.com}, \
                spec: {group: example.com, scope: Namespaced, names: {kind: Tent, plural: tents}, versions: [{name: v1, \
                served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}";
    admin.applies(kind).passes();
    for command in [
        "create namespace elsewhere",
        "create deployment -n elsewhere web --image=shop/web:v1",
        "rollout status -n elsewhere deploy/web --timeout=60s",
        "create clusterrole readers --verb=get --resource=pods",
        "delete clusterrole readers",
        "create configmap -n kube-system note --from-literal=a=b",
        "delete configmap -n kube-system note",
        "delete crd tents.example.com",
        "delete namespace elsewhere --timeout=60s",
    ] {
        admin.types(&format!("kubectl {command}")).passes();
    }

    let ready = || {
        let pods = admin.reads("pods -n shop -l app=checkout");
        let stays = |pod: &&Value| {
            condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let pods = pods["items"].as_array().unwrap().iter().filter(stays);
        pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = eventually("three pods", || Some(ready()).filter(|pods| pods.len() == 3));
    admin.types(&format!("kubectl delete pod -n shop {} --wait=false {GLASS}", before[0])).passes();
    eventually("another pod in its place", || {
        let pods = ready();
        (pods.len() == 3 && !pods.contains(&before[0])).then_some(())
    });
}

#[test]
fn a_change_behind_its_back_is_reported_once_and_controllers_never() {
    let cluster = Cluster::start("gap");
    let shop = Shop::open(&cluster, &[]);
    let admin = cluster.admin();
    broken_glass_is_told(&shop);
    // A new policy has its baseline first.
    let kept = eventually("the settings are known", || {
        known(&cluster, "configmaps").filter(|kept| kept.contains("checkout-old-limits "))
    });
    assert!(!kept.contains("kube-root-ca.crt"), "{kept}");
    assert_eq!(known(&cluster, "secrets"), None);

    cluster.operator(0).stop();
    the_rest_works(&admin);
    for command in [
        "set image -n shop deploy/checkout app=shop/checkout:v7",
        "delete configmap -n shop checkout-old-limits",
        "create configmap -n shop extra --from-literal=word=hidden-word",
        "create service clusterip -n shop web --tcp=80",
    ] {
        admin.types(&format!("kubectl {command} {GLASS}")).passes();
    }
    admin.types("kubectl rollout status -n shop deploy/checkout --timeout=60s").passes();
    cluster.operator(0).start();
    let all = eventually("everything is told", || Some(found(&cluster)).filter(|found| found.len() >= 4));
    assert_eq!(all.len(), 4, "pods and ReplicaSets are nobody's change: {all:?}");
    for start in [
        "deployment/checkout was changed in shop while Mayday did not run, last by the field manager kubectl-set at ",
        "configmap/checkout-old-limits was deleted in shop while Mayday did not run",
        "configmap/extra was created in shop while Mayday did not run, last by the field manager kubectl-create at ",
        "service/web was created in shop while Mayday did not run, last by the field manager kubectl-create at ",
    ] {
        assert!(all.iter().any(|text| text.starts_with(start)), "{start}\n{all:?}");
    }

    // The next report contains only the next change, and no content is stored.
    let kept = eventually("the baseline has the new object", || {
        known(&cluster, "configmaps").filter(|kept| kept.contains("extra "))
    });
    assert!(!kept.contains("hidden-word"), "{kept}");
    cluster.operator(0).stop();
    admin.types(&format!("kubectl label configmap -n shop extra a=b {GLASS}")).passes();
    cluster.operator(0).start();
    let all = eventually("the next is told", || Some(found(&cluster)).filter(|found| found.len() >= 5));
    assert!(all[4].starts_with("configmap/extra was changed in shop"), "{all:?}");
    assert_eq!(all.len(), 5);

    // Lost certificates are created again, and the gate goes on deciding, even after another webhook was deleted.
    admin.types("kubectl delete mutatingwebhookconfiguration mayday-guard-stamp").passes();
    let bundle = || {
        let config = admin.reads("validatingwebhookconfiguration/mayday-change-gate");
        config["webhooks"][0]["clientConfig"]["caBundle"].clone()
    };
    let before: Value = bundle();
    admin.types("kubectl delete secret -n mayday-system mayday-certificates").passes();
    admin.types("kubectl label cpol production certificates=lost").passes();
    eventually("another CA is trusted", || (bundle() != before).then_some(()));
    let emil = cluster.person("emil", &["shop-engineers"]);
    eventually("the gate judges by itself again", || {
        let said = emil.types("kubectl scale -n shop deploy/checkout --replicas 9").is_refused();
        said.contains("Refused: replicas of deployment/checkout in shop, 3 → 9, is not approved.")
            .then_some(())
    });
    cluster.stop();
}
