//! Decisions that do not count or are withdrawn: each refusal says why.

use super::shop::Shop;
use crate::support::{Output, Person, eventually};

/// The Approval that `kubectl mayday approve` writes, with this digest.
fn approval(shop: &Shop, digest: Option<&str>) -> String {
    let request = shop.request("release-v2");
    let digest = digest.unwrap_or_else(|| request["status"]["digest"].as_str().unwrap());
    let uid = request["metadata"]["uid"].as_str().unwrap();
    format!(
        "{{apiVersion: mayday.dev/v1alpha1, kind: Approval, metadata: {{name: one, namespace: NS}}, spec: {{decision: \
         Approve, digest: '{digest}', subjectRef: {{kind: ChangeRequest, name: release-v2, uid: {uid}}}}}}}"
    )
}

fn asked() -> Shop {
    let shop = Shop::open();
    shop.asks_for_v2("release-v2");
    shop
}

fn create(shop: &Shop, person: &Person, options: &str) -> Output {
    let manifest = approval(shop, None).replace("NS", &shop.namespace);
    person.pipes(&manifest, &format!("kubectl create -f - {options}"))
}

#[track_caller]
fn is_refused(output: Output, because: &str) {
    let said = output.is_refused();
    assert!(said.contains(because), "{because:?} is not in: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
}

#[test]
fn a_decision_that_cannot_count_is_refused_with_the_reason() {
    let shop = asked();
    let ask = "kubectl mayday ask -n NS deploy/checkout --scale 4 --name own --why sale --yes";
    shop.types(&shop.amir(), ask).passes();
    let said = shop.approves(&shop.amir(), "own").is_refused();
    assert!(said.contains("Refused: amir is the requester of chg/own"), "{said}");

    let carl = shop.cluster.person("carl", &["system:masters"]);
    let who = "Refused: carl may not decide on chg/release-v2; those who may: shop-approvers, shop-leads";
    is_refused(create(&shop, &carl, ""), who);

    let direct = "Refused: a decision counts only from a direct login";
    is_refused(create(&shop, &shop.admin(), "--as=amir --as-group=shop-approvers"), direct);

    // Even a token for an account of the protected namespace would need a request, so this one lives elsewhere.
    let (admin, name) = (shop.admin(), &shop.namespace);
    admin.types(&format!("kubectl create serviceaccount -n default {name}")).passes();
    let binding = format!("{name} --clusterrole=mayday-approver --serviceaccount=default:{name}");
    admin.types(&format!("kubectl create clusterrolebinding {binding}")).passes();
    let robot = shop.cluster.service_account("default", name);
    is_refused(create(&shop, &robot, ""), "Refused: a service account decides nothing");

    let other = format!("v1:sha256:{}", "a".repeat(64));
    let made_on = "Refused: chg/release-v2 is not what this decision was made on";
    is_refused(shop.creates(&shop.amir(), &approval(&shop, Some(&other))), made_on);
    let reborn = approval(&shop, None).replace("uid: ", "uid: 0");
    is_refused(shop.creates(&shop.amir(), &reborn), "Refused: chg/release-v2 is another object now");

    assert_eq!(shop.types(&admin, "kubectl get approvals -n NS -o name").passes(), "");
    assert_eq!(shop.columns("release-v2")[1], "Waiting");
}

#[test]
fn a_decision_is_never_edited_and_only_its_author_withdraws_it() {
    let shop = asked();
    create(&shop, &shop.amir(), "").passes();
    shop.approves(&shop.bea(), "release-v2").passes();
    shop.reaches("release-v2", "Approved");
    for patch in [r#"{"spec":{"decision":"Reject"}}"#, r#"{"spec":{"comment":"hm"}}"#] {
        let command = format!("kubectl patch -n NS approval/one --type merge -p '{patch}'");
        for person in [shop.amir(), shop.admin()] {
            let said = shop.types(&person, &command).is_refused();
            assert!(said.contains("a decision is never edited") || said.contains("cannot patch"), "{said}");
        }
    }
    for person in [shop.bea(), shop.admin()] {
        let mine = "Refused: this approval is by amir, who alone may take it back";
        is_refused(shop.types(&person, "kubectl delete -n NS approval/one"), mine);
    }
    // A withdrawn approval stops the next attempt, even if the request was approved.
    shop.types(&shop.amir(), "kubectl delete -n NS approval/one").passes();
    let change = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";
    let said = shop.types(&shop.emil(), change).is_refused();
    assert!(said.contains("is not approved"), "{said}");
    eventually("it waits again", || (shop.columns("release-v2")[1] == "Waiting").then_some(()));
    assert_eq!(shop.image(), "shop/checkout:v1");
}

#[test]
fn a_rejection_is_final() {
    let shop = asked();
    shop.types(&shop.bea(), "kubectl mayday reject -n NS chg/release-v2 --why 'not now' --yes").passes();
    shop.reaches("release-v2", "Rejected");
    let said = shop.approves(&shop.amir(), "release-v2").is_refused();
    assert!(
        said.contains("chg/release-v2 is Rejected: nothing can be decided any more. Ask again"),
        "{said}"
    );
    let said = create(&shop, &shop.amir(), "").is_refused();
    assert!(
        said.contains("Refused: chg/release-v2 ") && said.contains("nothing is to be decided there"),
        "{said}"
    );
    let ns = &shop.namespace;
    for person in [shop.bea(), shop.amir(), shop.admin()] {
        let stays = format!(
            "Refused: Reject is final and stays; if the change is still wanted, ask again: kubectl mayday ask -n {ns}"
        );
        is_refused(shop.types(&person, "kubectl delete -n NS approvals --all"), &stays);
    }
    assert_eq!(shop.columns("release-v2")[1], "Rejected");
}
