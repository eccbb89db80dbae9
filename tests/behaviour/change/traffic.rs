//! Writes that need no request, and writes of people in disguise.

use super::shop::{GLASS, Shop};
use crate::support::eventually;

#[test]
fn an_unprotected_namespace_never_reaches_the_gate() {
    let shop = Shop::unprotected();
    let asked = |shop: &Shop| {
        let config = shop.admin().reads("validatingwebhookconfiguration/mayday-change-gate");
        config.to_string().contains(&shop.namespace)
    };
    let emil = shop.emil();
    shop.types(&emil, "kubectl set image -n NS deploy/checkout app=shop/checkout:v9").passes();
    shop.types(&emil, "kubectl scale -n NS deploy/checkout --replicas 1").passes();
    shop.types(&emil, "kubectl delete -n NS deploy/checkout").passes();
    assert!(!asked(&shop), "the webhook names the namespace though no policy does");
    assert!(asked(&Shop::open()), "the webhook does not name a protected namespace");
    shop.types(&shop.admin(), "kubectl delete namespace NS --wait=false").passes();
}

#[test]
fn a_pod_that_goes_within_the_budget_is_replaced() {
    let shop = Shop::open();
    let admin = shop.admin();
    let before = eventually("three pods", || Some(shop.ready_pods()).filter(|pods| pods.len() == 3));
    let (pod, uid) = before[0].clone();
    let evict = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": shop.namespace},
    })
    .to_string();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", shop.namespace);
    let command = format!("kubectl create --raw {path} -f -");
    let said = admin.pipes(&evict, &command).is_refused();
    assert!(
        said.contains(&format!(
            "Refused: eviction of pod/{pod} in {} is not approved. No protected PodDisruptionBudget covers the pod.",
            shop.namespace
        )),
        "{said}"
    );

    let budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: checkout, namespace: NS}, \
                  spec: {minAvailable: 2, selector: {matchLabels: {app: checkout}}}}";
    let file = shop.cluster.file(&format!("{}-budget.yaml", shop.namespace));
    std::fs::write(&file, budget.replace("NS", &shop.namespace)).unwrap();
    let ask =
        format!("kubectl mayday ask -n NS -f {} --name budget --why 'drain nodes' --yes", file.display());
    shop.types(&admin, &ask).passes();
    shop.is_approved("budget");
    shop.types(&admin, &format!("kubectl create -f {}", file.display())).passes();
    eventually("the budget allows one", || {
        let budget = admin.reads(&format!("pdb/checkout -n {}", shop.namespace));
        (budget["status"]["disruptionsAllowed"] == 1).then_some(())
    });
    admin.pipes(&evict, &command).passes();
    eventually("three ready pods without the evicted one", || {
        let pods = shop.ready_pods();
        (pods.len() == 3 && pods.iter().all(|(_, other)| *other != uid)).then_some(())
    });
}

#[test]
fn a_deleted_pod_is_replaced() {
    let shop = Shop::open();
    let before = eventually("three pods", || Some(shop.ready_pods()).filter(|pods| pods.len() == 3));
    let (pod, uid) = before[0].clone();
    let delete = format!("kubectl delete -n NS pod/{pod} --wait=false");
    let said = shop.types(&shop.emil(), &delete).is_refused();
    assert!(said.contains(&format!("Refused: deletion of pod/{pod} in {}", shop.namespace)), "{said}");
    shop.types(&shop.admin(), &format!("{delete} {GLASS}")).passes();
    eventually("three ready pods without the deleted one", || {
        let pods = shop.ready_pods();
        (pods.len() == 3 && pods.iter().all(|(_, other)| *other != uid)).then_some(())
    });
    // Its node deletes the pod once it has stopped.
    shop.types(&shop.admin(), &format!("kubectl wait -n NS pod/{pod} --for=delete --timeout=60s")).passes();
}

#[test]
fn access_to_a_pod_is_refused_without_approval() {
    let shop = Shop::open();
    for command in [
        "kubectl exec -n NS deploy/checkout -- id",
        "kubectl attach -n NS deploy/checkout",
        "kubectl port-forward -n NS deploy/checkout :80",
    ] {
        let said = shop.types(&shop.emil(), command).is_refused();
        assert!(said.contains("Refused: "), "{command}: {said}");
    }
    let (admin, ns) = (shop.admin(), &shop.namespace);
    let (pod, _) = shop.ready_pods()[0].clone();
    for command in [
        format!("kubectl debug -n {ns} {pod} --image=shop/shell:v1 --target=app"),
        format!("kubectl get --raw /api/v1/namespaces/{ns}/pods/{pod}/proxy/"),
        format!("kubectl get --raw /api/v1/namespaces/{ns}/services/checkout:80/proxy/"),
    ] {
        let said = admin.types(&command).is_refused();
        assert!(said.contains("Refused: "), "{command}: {said}");
    }
    assert_eq!(shop.changes(), Vec::<String>::new());
}

#[test]
fn an_exempt_account_writes_what_its_policy_lists_with_its_own_login() {
    let shop = Shop::open();
    let (admin, name) = (shop.admin(), shop.namespace.clone());
    admin.types(&format!("kubectl create serviceaccount -n default {name}")).passes();
    let user = format!("system:serviceaccount:default:{name}");
    admin
        .types(&format!("kubectl create clusterrolebinding {name} --clusterrole=edit --user={user}"))
        .passes();
    // Nothing has been approved under this policy yet, so the change needs no request.
    let exempt = serde_json::json!({"spec": {"exemptActors": [{"user": user,
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "operations": ["Update"]}]}]}});
    admin.types(&format!("kubectl patch cpol {} --type merge -p '{exempt}'", shop.policy)).passes();
    let scaler = shop.cluster.service_account("default", &name);
    let scales = |replicas: u8| format!("kubectl scale -n NS deploy/checkout --replicas {replicas}");
    eventually("the account is exempt", || shop.types(&scaler, &scales(4)).succeeded().then_some(()));

    let said = shop.types(&admin, &format!("{} --as={user}", scales(5))).is_refused();
    assert!(
        said.contains("This account is exempt only where it logs in itself, not under impersonation."),
        "{said}"
    );
    let image = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";
    let said = shop.types(&scaler, image).is_refused();
    assert!(said.contains("Refused: image of deployment/checkout"), "{said}");
    assert_eq!(shop.changes(), [format!("{user}: patch deployments/checkout/scale")]);
}

#[test]
fn dependents_of_a_custom_kind_are_collected_once_its_owner_is_readable() {
    let shop = Shop::open();
    let admin = shop.admin();
    let kind = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: boxes.example.com}, \
                spec: {group: example.com, scope: Namespaced, names: {kind: Box, plural: boxes}, versions: [{name: v1, \
                served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}";
    admin.applies(kind).passes();
    admin.types("kubectl wait crd/boxes.example.com --for=condition=Established --timeout=60s").passes();
    let glass = format!("{GLASS} --as-group=system:masters");
    let create = |manifest: &str| {
        let manifest = manifest.replace("NS", &shop.namespace);
        eventually("the glass is broken", || {
            let created = admin.pipes(&manifest, &format!("kubectl create {glass} -f -"));
            created.succeeded().then_some(())
        });
    };
    create("{apiVersion: example.com/v1, kind: Box, metadata: {name: gift, namespace: NS}}");
    let uid = admin.reads(&format!("box/gift -n {}", shop.namespace))["metadata"]["uid"].clone();
    create(&format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: card, namespace: NS, ownerReferences: [{{apiVersion: \
         example.com/v1, kind: Box, name: gift, uid: {uid}}}]}}}}"
    ));
    shop.types(&admin, &format!("kubectl delete -n NS box/gift {glass}")).passes();

    // An owner that Mayday may not read proves nothing; the log names the missing right.
    let unread = "the owner of a protected object cannot be read";
    eventually("the log says that the owner cannot be read", || {
        let log = shop.cluster.operator(0).log();
        log.lines().any(|line| line.contains(unread) && line.contains(&shop.namespace)).then_some(())
    });
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: boxes-for-mayday, labels: \
                {mayday.dev/aggregate-to-planner: 'true'}}, rules: [{apiGroups: [example.com], resources: [boxes], verbs: [get]}]}";
    admin.applies(role).passes();
    shop.types(&admin, "kubectl wait -n NS configmap/card --for=delete --timeout=120s").passes();
}

#[test]
fn a_status_without_a_subresource_and_finalizers_are_protected() {
    let shop = Shop::open();
    let admin = shop.admin();
    let kind = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: crates.example.com}, \
                spec: {group: example.com, scope: Namespaced, names: {kind: Crate, plural: crates}, versions: [{name: v1, \
                served: true, storage: true, schema: {openAPIV3Schema: {type: object, \
                x-kubernetes-preserve-unknown-fields: true}}}]}}";
    admin.applies(kind).passes();
    let manifest = "{apiVersion: example.com/v1, kind: Crate, metadata: {name: gift, namespace: NS}, status: {open: false}}";
    eventually("the glass is broken", || {
        let glass = format!("kubectl create {GLASS} --as-group=system:masters -f -");
        admin.pipes(&manifest.replace("NS", &shop.namespace), &glass).succeeded().then_some(())
    });
    let opened = r#"kubectl patch -n NS crate/gift --type merge -p '{"status":{"open":true}}'"#;
    let said = shop.types(&admin, opened).is_refused();
    assert!(said.contains("/status/open of crate/gift"), "{said}");
    let parked = r#"kubectl patch -n NS deploy/checkout --subresource status --type merge -p '{"metadata":{"finalizers":["example.com/never"]}}'"#;
    let said = shop.types(&admin, parked).is_refused();
    assert!(said.contains("/metadata/finalizers of deployment/checkout"), "{said}");
}

#[test]
fn the_scale_of_a_custom_kind_is_asked_for_like_any_other() {
    let shop = Shop::open();
    let (admin, emil) = (shop.admin(), shop.emil());
    let kind = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: fleets.example.com}, \
                spec: {group: example.com, scope: Namespaced, names: {kind: Fleet, plural: fleets, singular: fleet}, versions: \
                [{name: v1, served: true, storage: true, subresources: {scale: {specReplicasPath: .spec.replicas, \
                statusReplicasPath: .status.replicas}}, schema: {openAPIV3Schema: {type: object, \
                x-kubernetes-preserve-unknown-fields: true}}}]}}";
    admin.applies(kind).passes();
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: fleets, labels: \
                {rbac.authorization.k8s.io/aggregate-to-edit: 'true', mayday.dev/aggregate-to-planner: 'true'}}, rules: \
                [{apiGroups: [example.com], resources: [fleets, fleets/scale], verbs: [get, list, patch, update]}]}";
    admin.applies(role).passes();
    let fleet = "{apiVersion: example.com/v1, kind: Fleet, metadata: {name: web, namespace: NS}, spec: {replicas: 2}}";
    eventually("the glass is broken", || {
        let glass = format!("kubectl create {GLASS} --as-group=system:masters -f -");
        admin.pipes(&fleet.replace("NS", &shop.namespace), &glass).succeeded().then_some(())
    });
    let scale = "kubectl scale -n NS fleet/web --replicas 4";
    let said = eventually("the gate judges it", || {
        let said = shop.types(&emil, scale).is_refused();
        said.contains("Refused: replicas of fleet/web").then_some(said)
    });
    assert!(said.contains("2 → 4"), "{said}");
    shop.types(&emil, "kubectl mayday ask -n NS fleet/web --scale 4 --name more --why sale --yes").passes();
    for person in [shop.amir(), shop.bea()] {
        shop.types(&person, "kubectl mayday approve -n NS chg/more --yes").passes();
    }
    shop.types(&emil, scale).passes();
    shop.types(&emil, "kubectl scale -n NS fleet/web --replicas 5").is_refused();
}
