//! Requests that no longer stand, and requests of pipelines.

use serde_json::json;

use super::shop::{GLASS, Shop};
use crate::support::{condition, eventually};

const IMAGE: &str = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";

#[test]
fn an_approval_ends_with_its_window_or_a_change_of_its_target() {
    let shop = Shop::open();
    let (emil, admin) = (shop.emil(), shop.admin());
    let ask = "kubectl mayday ask -n NS deploy/checkout --image app=shop/checkout:v2 --why late --name late --for 1s --yes";
    shop.types(&emil, ask).passes();
    shop.approves(&shop.amir(), "late").passes();
    shop.approves(&shop.bea(), "late").passes();
    shop.reaches("late", "Expired");
    let said = shop.types(&emil, IMAGE).is_refused();
    assert!(said.contains("The request chg/late does not let it pass: its window ended at "), "{said}");

    shop.asks_for_v2("overtaken");
    shop.is_approved("overtaken");
    let other = IMAGE.replace(":v2", ":v7");
    shop.types(&admin, &format!("{other} {GLASS}")).passes();
    shop.reaches("overtaken", "Stale");
    let said = shop.types(&emil, IMAGE).is_refused();
    assert!(
        said.contains("chg/overtaken does not let it pass: ")
            && said.contains("was changed meanwhile: ask again"),
        "{said}"
    );
}

#[test]
fn a_pipeline_asks_and_applies_where_the_policy_names_it() {
    let shop = Shop::open();
    let admin = shop.admin();
    // Its account is in another namespace: a token of the protected one would itself need a request.
    let name = shop.namespace.clone();
    admin.types(&format!("kubectl create serviceaccount -n default {name}")).passes();
    for role in ["edit", "mayday-responder"] {
        let binding = format!("{name}-{role} --clusterrole={role} --serviceaccount=default:{name}");
        admin.types(&format!("kubectl create clusterrolebinding {binding}")).passes();
    }
    let pipeline = shop.cluster.service_account("default", &name);
    let request = "{apiVersion: mayday.dev/v1alpha1, kind: ChangeRequest, metadata: {name: NAME, namespace: NS}, spec: \
                   {reason: release, changes: [{target: {apiVersion: apps/v1, kind: Deployment, name: checkout}, \
                   scale: {replicas: 4}}]}}";
    let said = shop.creates(&pipeline, &request.replace("NAME", "early")).is_refused();
    assert!(said.contains("is a service account, and spec.approval.pipelines of"), "{said}");
    // Nothing has been approved under this policy yet, so naming a pipeline needs no request.
    let named = format!(
        r#"{{"spec":{{"approval":{{"pipelines":[{{"user":"system:serviceaccount:default:{name}"}}]}}}}}}"#
    );
    admin.types(&format!("kubectl patch cpol {} --type merge -p '{named}'", shop.policy)).passes();
    let mut number = 0;
    let asked = eventually("the policy names the pipeline", || {
        number += 1;
        let name = format!("by-pipeline-{number}");
        let output = shop.creates(&pipeline, &request.replace("NAME", &name));
        output.succeeded().then_some(name)
    });
    let manifest = request.replace("NAME", "borrowed").replace("NS", &shop.namespace);
    let borrowed = format!("kubectl create -f - --as=system:serviceaccount:default:{name}");
    let said = admin.pipes(&manifest, &borrowed).is_refused();
    assert!(said.contains("Refused: this request is impersonated"), "{said}");
    shop.is_approved(&asked);
    let scale = "kubectl scale -n NS deploy/checkout --replicas 4";
    let said = shop.types(&shop.emil(), scale).is_refused();
    assert!(
        said.contains(&format!("system:serviceaccount:default:{name} may carry it out, not emil")),
        "{said}"
    );
    shop.types(&pipeline, scale).passes();
    shop.reaches(&asked, "Spent");
}

#[test]
fn a_crowd_of_waiting_requests_does_not_delay_an_approved_one() {
    let shop = Shop::open();
    let crowd: Vec<_> = (0..40)
        .map(|number| {
            json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
                "metadata": {"name": format!("crowd-{number}"), "namespace": shop.namespace},
                "spec": {"reason": "release", "changes": [{"scale": {"replicas": 4},
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}]}})
        })
        .collect();
    shop.creates(&shop.emil(), &json!({"apiVersion": "v1", "kind": "List", "items": crowd}).to_string())
        .passes();
    let scale = "kubectl scale -n NS deploy/checkout --replicas 4";
    eventually("all of them wait", || {
        let requests = shop.admin().reads(&format!("chg -n {}", shop.namespace));
        let states: Vec<_> =
            requests["items"].as_array()?.iter().map(|item| &item["status"]["state"]).collect();
        states.iter().all(|state| **state == "Waiting").then_some(())
    });
    let said = shop.types(&shop.emil(), scale).is_refused();
    assert!(said.contains("Approve: kubectl mayday approve -n"), "{said}");
    shop.is_approved("crowd-7");
    shop.types(&shop.emil(), scale).passes();
    shop.reaches("crowd-7", "Spent");
}

#[test]
fn a_request_is_used_as_often_as_it_says_even_in_parallel() {
    let shop = Shop::open();
    let emil = shop.emil();
    let ask = "kubectl mayday ask -n NS deploy/checkout --scale 4 --uses 10 --with-rollback --why x --name often --yes";
    shop.types(&emil, ask).passes();
    shop.is_approved("often");
    for replicas in [4, 3].into_iter().cycle().take(20) {
        shop.types(&emil, &format!("kubectl scale -n NS deploy/checkout --replicas {replicas}")).passes();
    }
    let said = shop.types(&emil, "kubectl scale -n NS deploy/checkout --replicas 4").is_refused();
    assert!(said.contains("it was used 10 of 10 times"), "{said}");
}

#[test]
fn a_mistake_in_a_new_policy_can_be_corrected() {
    let shop = Shop::open();
    let admin = shop.admin();
    let slip = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy",
        "metadata": {"name": format!("slip-{}", shop.namespace)},
        "spec": {"scope": {"namespaces": {"names": [shop.namespace]}},
            "approval": {"required": [{"name": "peers", "groups": ["shop-aprovers"], "count": 1}]}}});
    admin.applies(&slip.to_string()).passes();
    let slip = format!("cpol/slip-{}", shop.namespace);
    eventually("the slip is enforced", || {
        condition(&admin.reads(&slip), "Enforced").filter(|enforced| enforced["status"] == "True").map(|_| ())
    });
    shop.asks_for_v2("stuck");
    shop.approves(&shop.amir(), "stuck").passes();
    eventually("it counts under the policy that it is meant for", || {
        let policy = admin.reads(&format!("cpol/{}", shop.policy));
        policy["status"]["inForceSinceTime"].is_string().then_some(())
    });
    admin.types(&format!("kubectl delete {slip}")).passes();
    shop.approves(&shop.bea(), "stuck").passes();
    shop.reaches("stuck", "Approved");
}
