//! Policies that name missing objects, and policies that the people they bind try to loosen.

use std::fs;

use serde_json::{Value, json};

use super::{is_one_sentence, told};
use crate::change::shop::Shop;
use crate::support::{Person, eventually};

const IMAGE: &str = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";

fn patches(person: &Person, shop: &Shop, spec: &Value) -> crate::support::Output {
    let patch = json!({"spec": spec});
    person.types(&format!("kubectl patch cpol/{} --type merge -p '{patch}'", shop.policy))
}

fn spec(shop: &Shop) -> Value {
    shop.admin().reads(&format!("cpol/{}", shop.policy))["spec"].clone()
}

#[test]
fn a_namespace_that_does_not_exist_is_said_and_the_others_are_protected() {
    let shop = Shop::open();
    let admin = shop.admin();
    let missing = format!("{}-typo", shop.namespace);
    let names = |names: Value| json!({"scope": {"namespaces": {"names": names}}});
    patches(&admin, &shop, &names(json!([shop.namespace, missing]))).passes();
    let what = format!("cpol/{}", shop.policy);
    assert_eq!(
        told(&what, "Ready", "False"),
        format!(
            "spec.scope.namespaces.names: there is no namespace {missing}; create it, or correct the name"
        )
    );
    let said = patches(&admin, &shop, &names(json!(["*"]))).is_refused();
    assert!(said.contains("spec.scope.namespaces.names[0]"), "{said}");
    let said = shop.types(&shop.emil(), IMAGE).is_refused();
    assert!(said.contains("Refused: image of deployment/checkout"), "{said}");
    // No approval has counted under it yet, so the mistake can simply be undone.
    patches(&admin, &shop, &names(json!([shop.namespace]))).passes();
    assert!(told(&what, "Ready", "True").starts_with("accepted; no approval has counted under it yet"));
    assert_eq!(shop.image(), "shop/checkout:v1");
}

#[test]
fn whom_a_policy_binds_loosens_it_only_with_its_approvals() {
    let shop = Shop::open();
    let (admin, emil, policy) = (shop.admin(), shop.emil(), shop.policy.clone());
    shop.lets_emil_write("changepolicies");
    shop.asks_for_v2("release-v2");
    shop.approves(&shop.amir(), "release-v2").passes();
    eventually("the policy is in force", || {
        let policy = admin.reads(&format!("cpol/{policy}"));
        policy["status"]["inForceSinceTime"].as_str().map(drop)
    });

    let before = spec(&shop);
    for (looser, field) in [
        (json!({"enforcement": "Audit"}), "spec.enforcement"),
        (json!({"scope": {"namespaces": {"names": ["elsewhere"]}}}), "spec.scope.namespaces.names"),
        (
            json!({"approval": {"required": [{"name": "peers", "groups": ["shop-engineers"], "count": 1}]}}),
            "spec.approval.required",
        ),
        (
            json!({"exemptActors": [{"user": "emil", "rules": [{"apiGroups": ["*"], "resources": ["*"], "operations": ["Update"]}]}]}),
            "spec.exemptActors",
        ),
        (json!({"breakGlass": {"groups": ["shop-engineers"]}}), "spec.breakGlass.groups"),
        (json!({"approval": {"aliases": [{"users": ["emil", "lena"]}]}}), "spec.approval.aliases"),
    ] {
        for person in [&emil, &admin] {
            let said = patches(person, &shop, &looser).is_refused();
            is_one_sentence(&said, &format!("Refused: this loosens cpol/{policy} ({field}"));
            let ask = format!("Ask: kubectl mayday ask -n mayday-system cpol/{policy} --patch '");
            assert!(said.contains(&ask), "{said}");
        }
    }
    let said = emil.types(&format!("kubectl delete cpol/{policy}")).is_refused();
    is_one_sentence(&said, &format!("kubectl mayday ask -n mayday-system cpol/{policy} --delete"));
    assert_eq!(spec(&shop), before);
    patches(&emil, &shop, &json!({"limits": {"maxUses": 5}})).passes();

    // The command that the refusal names asks for the policy as it is to be. Two approve it, and no other
    // passes.
    let file = shop.cluster.file(&format!("{policy}.yaml"));
    let mut milder = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": policy},
        "spec": spec(&shop)});
    milder["spec"]["enforcement"] = json!("Warn");
    fs::write(&file, milder.to_string()).unwrap();
    let ask = format!(
        "kubectl mayday ask -n mayday-system -f {} --why trial --name {policy} --yes",
        file.display()
    );
    emil.types(&ask).passes();
    shop.approves_for_the_cluster(&shop.amir(), &policy);
    patches(&emil, &shop, &json!({"enforcement": "Warn"})).is_refused();
    shop.approves_for_the_cluster(&shop.bea(), &policy);
    let what = format!("chg/{policy} -n mayday-system");
    told(&what, "Approved", "True");
    patches(&emil, &shop, &json!({"enforcement": "Audit"})).is_refused();
    patches(&emil, &shop, &json!({"enforcement": "Warn"})).passes();
    assert_eq!(spec(&shop)["enforcement"], "Warn");
    patches(&emil, &shop, &json!({"limits": {"maxUses": 6}})).is_refused();
}
