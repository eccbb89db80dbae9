//! Approvals that do not count: each is refused with a sentence that says why.

use super::shop::Shop;
use crate::support::{Output, Person};

/// What `kubectl mayday approve` writes, with this digest.
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

#[test]
fn the_requester_does_not_approve() {
    let shop = Shop::open();
    let ask = "kubectl mayday ask -n NS deploy/checkout --scale 4 --name own --why sale --yes";
    shop.types(&shop.amir(), ask).passes();
    let said = shop.approves(&shop.amir(), "own").is_refused();
    assert!(said.contains("Refused: amir is the requester of chg/own"), "{said}");
}

#[test]
fn an_administrator_without_the_group_does_not_approve() {
    let shop = asked();
    let carl = shop.cluster.person("carl", &["system:masters"]);
    let said = create(&shop, &carl, "").is_refused();
    let who = "Refused: carl may not decide on chg/release-v2; those who may: shop-approvers, shop-leads";
    assert!(said.contains(who), "{said}");
}

#[test]
fn an_approval_under_impersonation_is_refused() {
    let shop = asked();
    let said = create(&shop, &shop.admin(), "--as=amir --as-group=shop-approvers").is_refused();
    assert!(said.contains("Refused: a decision counts only from a direct login"), "{said}");
}

#[test]
fn a_service_account_does_not_approve() {
    let shop = asked();
    // Even a token for an account of the protected namespace would need a request, so this one lives elsewhere.
    let (admin, name) = (shop.admin(), &shop.namespace);
    admin.types(&format!("kubectl create serviceaccount -n default {name}")).passes();
    let binding = format!("{name} --clusterrole=mayday-approver --serviceaccount=default:{name}");
    admin.types(&format!("kubectl create clusterrolebinding {binding}")).passes();
    let robot = shop.cluster.service_account("default", name);
    let said = create(&shop, &robot, "").is_refused();
    assert!(said.contains("Refused: a service account decides nothing"), "{said}");
}

#[test]
fn an_approval_of_a_digest_that_does_not_exist_is_refused() {
    let shop = asked();
    let other = format!("v1:sha256:{}", "a".repeat(64));
    let said = shop.creates(&shop.amir(), &approval(&shop, Some(&other))).is_refused();
    assert!(said.contains("Refused: chg/release-v2 is not what this decision was made on"), "{said}");
}

#[test]
fn an_approval_is_never_edited() {
    let shop = asked();
    create(&shop, &shop.amir(), "").passes();
    for patch in [r#"{"spec":{"decision":"Reject"}}"#, r#"{"spec":{"comment":"hm"}}"#] {
        let command = format!("kubectl patch -n NS approval/one --type merge -p '{patch}'");
        let said = shop.types(&shop.admin(), &command).is_refused();
        assert!(
            said.contains("a decision is never edited: delete your own Approve, or create another"),
            "{said}"
        );
    }
}

#[test]
fn an_approval_is_taken_back_by_its_author_alone() {
    let shop = asked();
    create(&shop, &shop.amir(), "").passes();
    for person in [shop.bea(), shop.admin()] {
        let said = shop.types(&person, "kubectl delete -n NS approval/one").is_refused();
        assert!(said.contains("Refused: this approval is by amir, who alone may take it back"), "{said}");
    }
    shop.types(&shop.amir(), "kubectl delete -n NS approval/one").passes();
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
}
