//! What happened while no Mayday ran, and what it finds when it is back.

use serde_json::Value;

use crate::change::shop::GLASS;
use crate::support::{Cluster, condition, eventually, sample};

/// What the policy says was found, oldest first.
fn found(cluster: &Cluster) -> Vec<String> {
    let policy = cluster.admin().reads("cpol/production");
    let unapproved = policy["status"]["unapproved"].as_array().cloned().unwrap_or_default();
    let later = unapproved.iter().rev().filter(|change| change["kind"] == "FoundLater");
    later.map(|change| change["what"].as_str().unwrap().to_owned()).collect()
}

/// What is kept of a kind in the protected namespace.
fn known(cluster: &Cluster, kind: &str) -> Option<String> {
    let maps = cluster.admin().reads("configmaps -n mayday-system");
    let maps = maps["items"].as_array().unwrap().clone();
    let map = maps.into_iter().find(|map| map["metadata"]["name"] == "mayday-known-shop")?;
    map["data"][kind].as_str().map(str::to_owned)
}

fn protected() -> Cluster {
    let cluster = Cluster::start("gap");
    let admin = cluster.admin();
    admin.applies(&sample("00-shop.yaml")).passes();
    admin.applies(&sample("05-access.yaml")).passes();
    admin.types("kubectl rollout status -n shop deploy/checkout --timeout=60s").passes();
    let policy = sample("10-policy.yaml");
    admin.applies(policy.split_once("\n---").unwrap().0).passes();
    eventually("the policy is enforced", || {
        let policy = admin.reads("cpol/production");
        condition(&policy, "Enforced").filter(|enforced| enforced["status"] == "True").map(|_| ())
    });
    cluster
}

#[test]
fn each_change_behind_its_back_is_told_once_and_none_of_the_controllers() {
    let cluster = protected();
    let admin = cluster.admin();
    // A new policy is looked at from its beginning.
    let kept = eventually("the settings are known", || {
        known(&cluster, "configmaps").filter(|kept| kept.contains("checkout-old-limits "))
    });
    assert!(!kept.contains("kube-root-ca.crt"), "{kept}");
    assert_eq!(known(&cluster, "secrets"), None);

    cluster.operator(0).stop();
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

    // Only the next change is told the next time, and content is kept nowhere.
    let kept = known(&cluster, "configmaps").unwrap();
    assert!(kept.contains("extra ") && !kept.contains("hidden-word"), "{kept}");
    cluster.operator(0).stop();
    admin.types(&format!("kubectl label configmap -n shop extra a=b {GLASS}")).passes();
    cluster.operator(0).start();
    let all = eventually("the next is told", || Some(found(&cluster)).filter(|found| found.len() >= 5));
    assert!(all[4].starts_with("configmap/extra was changed in shop"), "{all:?}");
    assert_eq!(all.len(), 5);

    // Certificates that were lost are made anew, and the gate goes on judging.
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
