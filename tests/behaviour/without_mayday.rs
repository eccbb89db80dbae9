//! While no Mayday answers, writes without a look-up work, writes that need one are refused with the name of
//! the webhook, the application heals, and everything else is left alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::change::shop::GLASS;
use crate::support::{Cluster, Person, eventually, fresh, sample};

const GUARD: &str = "failed calling webhook \"guard.mayday.dev\"";
const GATE: &str = "failed calling webhook \"change-gate.mayday.dev\"";

/// A cluster with the chart installed in which no operator was ever started.
fn silent() -> &'static Cluster {
    static SILENT: OnceLock<Cluster> = OnceLock::new();
    SILENT.get_or_init(|| Cluster::without_operator("silent", &[]))
}

/// A namespace of one's own in which emil and amir are responders.
fn namespace(cluster: &Cluster) -> String {
    let name = fresh("silent");
    let admin = cluster.admin();
    admin.types(&format!("kubectl create namespace {name}")).passes();
    let binding = "respond --clusterrole=mayday-responder --user=emil --user=amir";
    admin.types(&format!("kubectl create rolebinding {binding} -n {name}")).passes();
    name
}

fn incident(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "apiVersion: mayday.dev/v1alpha1\nkind: Incident\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{title: nobody can pay, severity: SEV2, serviceRefs: [{{name: checkout}}]{more}}}\n"
    )
}

fn patch(namespace: &str, what: &str, spec: &str) -> String {
    format!("kubectl patch -n {namespace} {what} --type merge -p '{{\"spec\":{spec}}}'")
}

#[test]
fn an_incident_is_declared_acknowledged_and_written_to() {
    let cluster = silent();
    let namespace = namespace(cluster);
    let (emil, amir) = (cluster.person("emil", &[]), cluster.person("amir", &[]));
    emil.pipes(&incident(&namespace, "plain", ""), "kubectl create -f -").passes();
    let mine = incident(&namespace, "mine", ", acknowledgement: {user: emil}");
    emil.pipes(&mine, "kubectl create -f -").passes();

    for spec in [
        r#"{"acknowledgement":{"user":"emil"}}"#,
        r#"{"acknowledgement":{"user":"emil","time":"2026-11-22T02:09:00Z"}}"#,
        r#"{"notes":[{"text":"the gateway answers 500","by":{"user":"emil"}}]}"#,
        r#"{"impact":"card payments fail"}"#,
        r#"{"severity":"SEV1"}"#,
        r#"{"serviceRefs":[{"name":"basket"},{"name":"checkout"}]}"#,
    ] {
        emil.types(&patch(&namespace, "inc/plain", spec)).passes();
    }
    amir.types(&patch(&namespace, "inc/plain", r#"{"acknowledgement":{"user":"amir"}}"#)).passes();
    // If the incident names no service, naming its first object takes no object away.
    let bare = incident(&namespace, "bare", "").replace(", serviceRefs: [{name: checkout}]", "");
    emil.pipes(&bare, "kubectl create -f -").passes();
    let affected = r#"{"affected":[{"apiVersion":"v1","kind":"Pod","name":"checkout"}]}"#;
    emil.types(&patch(&namespace, "inc/bare", affected)).passes();
    emil.types(&format!("kubectl label -n {namespace} inc/plain team=pay")).passes();
}

#[test]
fn nobody_answers_leads_or_ends_for_somebody_else() {
    let cluster = silent();
    let namespace = namespace(cluster);
    let emil = cluster.person("emil", &[]);
    let refused = |more: &str, because: &str| {
        let said = emil.pipes(&incident(&namespace, "bad", more), "kubectl create -f -").is_refused();
        assert!(said.contains(because), "{said}");
    };
    refused(", acknowledgement: {user: amir}", "Refused: acknowledgement is for oneself, and you are emil");
    let later = format!("then claim the lead: kubectl mayday lead -n {namespace} inc/bad");
    refused(", notes: [{text: x, by: {user: amir}}]", "Refused: a note is by oneself, and you are emil");
    refused(", roles: {lead: {user: emil}}", &later);
    refused(", resolution: {outcome: Restored}", &later);
    refused(", updates: [{audience: External, text: x}]", &later);

    emil.pipes(&incident(&namespace, "one", ", acknowledgement: {user: emil}"), "kubectl create -f -")
        .passes();
    let again = r#"{"acknowledgement":{"time":"2026-11-22T02:09:00Z"}}"#;
    let said = cluster.person("amir", &[]).types(&patch(&namespace, "inc/one", again)).is_refused();
    assert!(said.contains("Refused: acknowledgement is for oneself, and you are amir"), "{said}");
    // Only an incident that monitoring has seen may end by itself.
    let seen = r#"{"detection":{"method":"Alert"}}"#;
    let said = emil.types(&patch(&namespace, "inc/one", seen)).is_refused();
    assert!(said.contains("Refused: spec.detection.method stays Staff"), "{said}");
    let known = r#"{"detection":{"method":"Staff","reporter":"support ticket 4711"}}"#;
    emil.types(&patch(&namespace, "inc/one", known)).passes();
    for spec in [r#"{"acknowledgement":{"user":"amir"}}"#, r#"{"acknowledgement":null}"#] {
        let said = emil.types(&patch(&namespace, "inc/one", spec)).is_refused();
        assert!(said.contains(&format!("kubectl mayday ack -n {namespace} inc/one")), "{said}");
    }
}

#[test]
fn what_needs_a_look_up_is_refused_with_the_guards_name() {
    let cluster = silent();
    let namespace = namespace(cluster);
    let emil = cluster.person("emil", &[]);
    emil.pipes(&incident(&namespace, "one", ""), "kubectl create -f -").passes();
    for spec in [
        r#"{"severity":"SEV3"}"#,
        r#"{"serviceRefs":[]}"#,
        r#"{"affected":[{"apiVersion":"v1","kind":"Pod","name":"other"}]}"#,
        r#"{"returnToService":{"checks":[],"stableFor":"1s"}}"#,
        r#"{"roles":{"lead":{"user":"emil"}}}"#,
        r#"{"updates":[{"audience":"Internal","text":"all is well"}]}"#,
        r#"{"resolution":{"outcome":"Restored"}}"#,
    ] {
        let said = emil.types(&patch(&namespace, "inc/one", spec)).is_refused();
        assert!(said.contains(GUARD), "{spec}: {said}");
    }
    // There is no way round either, such as to name nothing first, and then only a healthy object.
    emil.types(&patch(&namespace, "inc/one", r#"{"affected":[]}"#)).passes();
    let healthy = r#"{"affected":[{"apiVersion":"v1","kind":"Pod","name":"healthy"}]}"#;
    let said = emil.types(&patch(&namespace, "inc/one", healthy)).is_refused();
    assert!(said.contains(GUARD), "{said}");
    let request = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
        "metadata": {"name": "more", "namespace": namespace},
        "spec": {"reason": "sale", "changes": [{
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "scale": {"replicas": 8},
        }]},
    });
    let said = emil.pipes(&request.to_string(), "kubectl create -f -").is_refused();
    assert!(said.contains(GUARD), "{said}");
}

#[test]
fn only_mayday_writes_a_status_and_no_open_incident_is_deleted() {
    let cluster = silent();
    let namespace = namespace(cluster);
    let admin = cluster.admin();
    admin.pipes(&incident(&namespace, "one", ""), "kubectl create -f -").passes();
    let close = format!(
        "kubectl patch -n {namespace} inc/one --subresource status --type merge -p '{{\"status\":{{\"state\":\"Closed\"}}}}'"
    );
    let said = admin.types(&close).is_refused();
    assert!(said.contains("Refused: only Mayday writes the status of incidents"), "{said}");
    let said = admin.types(&format!("kubectl delete -n {namespace} inc/one")).is_refused();
    assert!(said.contains(&format!("kubectl mayday resolve -n {namespace} inc/one")), "{said}");
    let borrowed = "--as=system:serviceaccount:kube-system:namespace-controller";
    let said = admin.types(&format!("kubectl delete -n {namespace} inc --all {borrowed}")).is_refused();
    assert!(said.contains("Refused: "), "{said}");
    let mut closed = admin.reads(&format!("inc/one -n {namespace}"));
    closed["status"] = json!({"state": "Closed"});
    let path = format!("/apis/mayday.dev/v1alpha1/namespaces/{namespace}/incidents/one/status");
    let write = format!("kubectl replace --raw {path} -f -");
    let borrowed = format!("{write} --as=system:serviceaccount:mayday-system:mayday");
    let said = admin.pipes(&closed.to_string(), &borrowed).is_refused();
    assert!(said.contains("Refused: only Mayday writes the status of incidents"), "{said}");
    cluster.mayday().pipes(&closed.to_string(), &write).passes();
}

#[test]
fn no_record_hangs_on_another_object_and_no_policy_covers_its_own_keeper() {
    let cluster = silent();
    let admin = cluster.admin();
    let namespace = namespace(cluster);
    let mut owned: Value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "spec": {"title": "x", "severity": "SEV3"}});
    owned["metadata"] = json!({
        "name": "owned", "namespace": namespace,
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}],
    });
    let said = admin.pipes(&owned.to_string(), "kubectl create -f -").is_refused();
    assert!(said.contains("Refused: incidents carry no ownerReferences"), "{said}");

    let policy = "{apiVersion: mayday.dev/v1alpha1, kind: ChangePolicy, metadata: {name: bad}, spec: \
                  {scope: {namespaces: {names: [shop, kube-system, mayday-system]}}, approval: {required: []}}}";
    let said = admin.pipes(policy, "kubectl create -f -").is_refused();
    assert!(said.contains("Refused: a policy cannot protect kube-system, mayday-system"), "{said}");
}

#[test]
fn a_namespace_with_an_open_incident_can_be_deleted() {
    let cluster = silent();
    let namespace = namespace(cluster);
    let admin = cluster.admin();
    admin.pipes(&incident(&namespace, "one", ""), "kubectl create -f -").passes();
    admin.types(&format!("kubectl delete namespace {namespace} --timeout=60s")).passes();
}

/// What the operator fills in for one protected namespace.
fn gate(namespace: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "mayday-change-gate"},
        "webhooks": [{
            "name": "change-gate.mayday.dev",
            "clientConfig": {"caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Namespaced",
                "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
            }],
            "matchConditions": [{
                "name": "policy-not-break-glass",
                "expression": "!('shop-break-glass' in request.userInfo.?groups.orValue([]))",
            }],
        }],
    })
}

/// Fills in the gate over the shop, and returns once it is shut.
pub fn shut_gate(cluster: &Cluster) {
    let fill = "kubectl apply --server-side --field-manager=mayday-webhooks -f -";
    cluster.mayday().pipes(&gate("shop").to_string(), fill).passes();
    let image = "kubectl set image -n shop deploy/checkout app=shop/checkout:v9";
    eventually("the gate is shut", || (!passes_dry(cluster, image)).then_some(()));
}

fn ready_pods(person: &Person) -> BTreeSet<String> {
    let pods = person.reads("pods -n shop -l app=checkout");
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pods = pods["items"].as_array().unwrap();
    pods.iter().filter(is_ready).map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

/// Whether an administrator's command would pass: the API server learns of a webhook a little later.
fn passes_dry(cluster: &Cluster, command: &str) -> bool {
    cluster.admin().types(&format!("{command} --dry-run=server")).succeeded()
}

#[test]
fn the_application_heals_people_are_refused_and_an_upgrade_opens_nothing() {
    let cluster = Cluster::without_operator("healing", &[]);
    let admin = cluster.admin();
    admin.applies(&sample("00-shop.yaml")).passes();
    admin.applies(&sample("05-access.yaml")).passes();
    admin.types("kubectl expose -n shop deploy/checkout --port 80").passes();
    let first = eventually("three ready pods", || Some(ready_pods(&admin)).filter(|pods| pods.len() == 3));

    shut_gate(&cluster);
    let emil = cluster.person("emil", &["shop-engineers"]);
    for command in [
        "kubectl set image -n shop deploy/checkout app=shop/checkout:v9",
        "kubectl scale -n shop deploy/checkout --replicas 1",
        "kubectl delete pods -n shop --all --wait=false",
        "kubectl delete configmap -n shop checkout-old-limits",
        "kubectl exec -n shop deploy/checkout -- id",
        "kubectl create secret generic -n shop hook --from-literal=token=x",
    ] {
        let said = emil.types(command).is_refused();
        assert!(said.contains(GATE), "{command}: {said}");
    }
    let pod = admin.types("kubectl get pods -n shop -l app=checkout -o name").passes();
    let pod = pod.lines().next().unwrap();
    let away = r#"--subresource status --type merge -p '{"metadata":{"labels":{"app":"gone"}}}'"#;
    let said = admin.types(&format!("kubectl patch -n shop {pod} {away}")).is_refused();
    assert!(said.contains(GATE), "a pod leaves its Service through its status: {said}");
    admin.types("kubectl create configmap elsewhere -n default").passes();
    // Credentials of alerts and messages are Mayday's own, and people may have to mend them before Mayday is
    // back.
    let credential = "hook -n shop --from-literal=token=x --type=mayday.dev/credential";
    emil.types(&format!("kubectl create secret generic {credential}")).passes();
    emil.types("kubectl label secret -n shop hook a=b").passes();
    emil.types("kubectl delete secret -n shop hook").passes();

    // The operator owns only the fields that it fills in. An upgrade keeps them, and changes those of the
    // chart.
    let path = cluster.file("");
    cluster.script("install", &[path.to_str().unwrap(), "--set", "webhook.timeoutSeconds=5"]);
    let after = admin.reads("validatingwebhookconfiguration/mayday-change-gate");
    let gate_after = &after["webhooks"][0];
    let filled = &gate("shop")["webhooks"][0];
    assert_eq!(gate_after["timeoutSeconds"], 5);
    for kept in ["rules", "namespaceSelector"] {
        assert_eq!(gate_after[kept], filled[kept], "{kept}");
    }
    assert_eq!(gate_after["clientConfig"]["caBundle"], filled["clientConfig"]["caBundle"]);
    let conditions = gate_after["matchConditions"].as_array().unwrap();
    assert!(conditions.contains(&filled["matchConditions"][0]) && conditions.len() > 20, "{conditions:?}");

    emil.types(&format!("kubectl {GLASS} delete pods -n shop -l app=checkout --wait=false")).passes();
    eventually("three other ready pods", || {
        Some(ready_pods(&admin)).filter(|pods| pods.len() == 3 && pods.is_disjoint(&first))
    });
    eventually("the Service leads to them", || {
        let slices = admin.reads("endpointslices -n shop -l kubernetes.io/service-name=checkout");
        let endpoints = slices["items"][0]["endpoints"].as_array()?.clone();
        let uids: BTreeSet<_> =
            endpoints.iter().filter_map(|e| Some(e["targetRef"]["uid"].as_str()?.to_owned())).collect();
        (uids == ready_pods(&admin)).then_some(())
    });
    emil.types(&format!("kubectl {GLASS} set image -n shop deploy/checkout app=shop/checkout:v2")).passes();
    admin.types("kubectl rollout status -n shop deploy/checkout --timeout=60s").passes();
    cluster.stop();
}
