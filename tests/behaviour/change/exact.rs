//! What was approved passes exactly, and so does the way back: also where the API server has a hand in the values, where
//! somebody else refuses the write, and where only a printed command can say what was refused.

use serde_json::{Value, json};

use super::shop::{GLASS, Shop};
use crate::support::{Person, eventually, fresh};

fn of(kind: &str, name: &str) -> Value {
    let api_version = if kind == "Service" { "v1" } else { "apps/v1" };
    json!({"apiVersion": api_version, "kind": kind, "name": name})
}

/// Asks as emil for these changes, with the rollback, and has both approvers approve.
fn has_approved(shop: &Shop, name: &str, more: Value) {
    let mut request = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
        "metadata": {"name": name, "namespace": shop.namespace}, "spec": {"reason": "r"}});
    json_patch::merge(&mut request["spec"], &more);
    shop.creates(&shop.emil(), &request.to_string()).passes();
    eventually("the request is planned", || {
        let request = shop.request(name);
        assert_ne!(request["status"]["state"], "Invalid", "{request}");
        request["status"]["digest"].as_str().map(drop)
    });
    shop.is_approved(name);
}

/// Types the command that a refusal asks with, under a name.
fn asks_as_told(shop: &Shop, person: &Person, refusal: &str, name: &str) {
    let (_, ask) = refusal.split_once("Ask: ").unwrap_or_else(|| panic!("{refusal}"));
    let ask =
        ask.trim().replace("--why \"…\"", &format!("--why told --name {name} --without-rollback --yes"));
    shop.types(person, &ask).passes();
}

// The kind of fault: values that the API server assigns on update are taken for the client's.
#[test]
fn values_that_the_api_server_assigns_pass_there_and_back() {
    let shop = Shop::open();
    let emil = shop.emil();
    let objects = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent, namespace: NS}, spec: {selector: \
         {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {nodeSelector: {none: such}, \
         containers: [{name: app, image: 'agent:v1'}]}}}}\n---\n{apiVersion: v1, kind: Service, metadata: {name: web, \
         namespace: NS}, spec: {selector: {app: web}, ports: [{port: 80}]}}";
    shop.admin()
        .pipes(&objects.replace("NS", &shop.namespace), &format!("kubectl create {GLASS} -f -"))
        .passes();
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "agent:v2"}]}}}});
    let ports = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "name": "web"}, {"port": 443, "name": "tls", "nodePort": 30777}]}});
    has_approved(
        &shop,
        "assigned",
        json!({"rollback": {"restorePrevious": {}}, "changes": [
            {"target": of("DaemonSet", "agent"), "update": {"patch": image}},
            {"target": of("DaemonSet", "agent"), "restart": {}},
            {"target": of("Service", "web"), "update": {"patch": ports}},
        ]}),
    );
    let patch = format!("kubectl patch -n NS svc/web -p '{ports}'");
    for command in [
        "kubectl set image -n NS ds/agent app=agent:v2",
        "kubectl set image -n NS ds/agent app=agent:v1",
        "kubectl rollout restart -n NS ds/agent",
        &patch,
    ] {
        shop.types(&emil, command).passes();
    }
    let service = shop.admin().reads(&format!("svc/web -n {}", shop.namespace));
    assert!(service["spec"]["ports"][0]["nodePort"].is_u64(), "{service}");
    let back = json!([{"op": "replace", "path": "/spec/type", "value": "ClusterIP"},
        {"op": "replace", "path": "/spec/ports", "value": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}]);
    shop.types(&emil, &format!("kubectl patch -n NS svc/web --type json -p '{back}'")).passes();
}

// The kind of fault: a printed command does not do what it says.
#[test]
fn the_command_of_a_refusal_can_say_every_change() {
    let shop = Shop::open();
    let (admin, emil) = (shop.admin(), shop.emil());
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: NS, finalizers: [example.com/a]}, spec: {replicas: 0, \
         selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, \
         image: 'web:v1', env: [{name: FEATURE, value: 'on'}, {name: HOST, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}], \
         livenessProbe: {httpGet: {port: 80}}, resources: {limits: {cpu: '1'}}}]}}}}";
    let manifest = deployment.replace("NS", &shop.namespace);
    admin.pipes(&manifest, &format!("kubectl apply --server-side {GLASS} -f -")).passes();
    let container = |rest: &str| {
        format!(
            r#"kubectl patch -n NS deploy/web -p '{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"app",{rest}}}]}}}}}}}}'"#
        )
    };
    let commands = [
        "kubectl set env -n NS deploy/web FEATURE-".to_owned(),
        "kubectl set env -n NS deploy/web HOST=web-1".to_owned(),
        container(r#""livenessProbe":null"#),
        container(r#""resources":{"limits":{"cpu":null}}"#),
        r#"kubectl patch -n NS deploy/web --type merge -p '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}'"#.to_owned(),
        r#"kubectl patch -n NS deploy/web --type merge -p '{"metadata":{"finalizers":["example.com/b"]}}'"#.to_owned(),
        r#"kubectl annotate -n NS deploy/web note='say "no" to $(rm -rf *) \ `x`'"#.to_owned(),
        "kubectl create configmap -n NS limits --from-literal=a=b --from-literal=c='d \"e\"'".to_owned(),
    ];
    let names: Vec<String> = commands.iter().map(|_| fresh("told")).collect();
    for (command, name) in commands.iter().zip(&names) {
        let refusal = shop.types(&emil, command).is_refused();
        assert!(!refusal.contains("-f FILE"), "{refusal}");
        asks_as_told(&shop, &emil, &refusal, name);
    }
    for (command, name) in commands.iter().zip(&names) {
        shop.is_approved(name);
        shop.types(&emil, command).passes();
    }
    // The whole manifest without what was applied by the server: its removal is asked for.
    let without = manifest.replace(", resources: {limits: {cpu: '1'}}", "").replace("replicas: 0, ", "");
    let ask = format!("kubectl mayday ask -n {} -f - --why 'less' --name less --yes", shop.namespace);
    emil.pipes(&without, &ask).passes();
    let plan = shop.request("less")["status"]["plan"].to_string();
    assert!(plan.contains("/spec/replicas"), "{plan}");
    let free = r#"kubectl patch -n NS deploy/web --type merge -p '{"metadata":{"finalizers":null}}'"#;
    shop.types(&admin, &format!("{free} {GLASS}")).passes();
}

#[test]
fn an_undone_restart_is_asked_for_as_what_it_is() {
    let shop = Shop::open();
    let emil = shop.emil();
    has_approved(
        &shop,
        "restart",
        json!({"changes": [{"target": of("Deployment", "checkout"), "restart": {}}]}),
    );
    shop.types(&emil, "kubectl rollout restart -n NS deploy/checkout").passes();
    let status = "kubectl rollout status -n NS deploy/checkout --timeout=60s";
    shop.types(&emil, status).passes();
    let undo = "kubectl rollout undo -n NS deploy/checkout";
    let refusal = shop.types(&emil, undo).is_refused();
    assert!(
        !refusal.contains("restart of deployment/checkout") && !refusal.contains("--restart"),
        "{refusal}"
    );
    asks_as_told(&shop, &emil, &refusal, "undo");
    shop.is_approved("undo");
    shop.types(&emil, undo).passes();
}

#[test]
fn what_no_request_can_hold_yet_says_who_can_change_that() {
    let shop = Shop::open();
    let admin = shop.admin();
    let bind = "kubectl create rolebinding -n NS look --clusterrole=view --user=nele";
    let refusal = shop.types(&admin, bind).is_refused();
    let said = "No request can hold it as things are: mayday-planner, which plans requests, may not create \
                rolebindings.rbac.authorization.k8s.io";
    assert!(refusal.contains(said) && !refusal.contains("must approve"), "{refusal}");
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: ROLE, labels: \
                {mayday.dev/aggregate-to-planner: 'true'}}, rules: [{apiGroups: [rbac.authorization.k8s.io], resources: \
                [roles, rolebindings], verbs: [get, create, patch, delete, bind, escalate]}, {apiGroups: \
                [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind]}]}";
    let name = fresh("plan-rights");
    admin.applies(&role.replace("ROLE", &name)).passes();
    let refusal = eventually("a request can hold it", || {
        let refusal = shop.types(&admin, bind).is_refused();
        refusal.contains("Ask: ").then_some(refusal)
    });
    asks_as_told(&shop, &admin, &refusal, "bind");
    shop.is_approved("bind");
    shop.types(&admin, bind).passes();
    admin.types(&format!("kubectl delete clusterrole {name}")).passes();
}

// The kind of fault: said although it did not happen. The use was counted, and somebody else refused the write.
#[test]
fn a_use_that_another_webhook_kept_from_being_stored_is_carried_out_again() {
    let shop = Shop::open();
    let (admin, emil) = (shop.admin(), shop.emil());
    shop.asks_for_v2("release");
    shop.is_approved("release");
    let name = format!("{}.example.com", fresh("other"));
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name}, "webhooks": [{"name": name, "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["deployments"]}]}]});
    admin.applies(&webhook.to_string()).passes();
    let apply = "kubectl mayday apply -n NS chg/release --yes";
    let said = eventually("the other webhook refuses", || {
        let said = shop.types(&emil, apply);
        (!said.succeeded()).then(|| said.is_refused())
    });
    assert!(said.contains(&format!("not by Mayday: the webhook {name} does not answer")), "{said}");
    assert!(said.contains("It was only tried: nothing was written, and no use was counted."), "{said}");
    assert_eq!(shop.request("release")["status"]["used"], Value::Null);

    // Plain kubectl tries nothing first, so the use is counted.
    let image = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";
    assert!(shop.types(&emil, image).is_refused().contains(&name));
    eventually("the use is counted", || {
        shop.request("release")["status"]["used"][0].is_object().then_some(())
    });
    admin.types(&format!("kubectl delete validatingwebhookconfiguration {name}")).passes();
    let shown = eventually("what was not stored is carried out again", || {
        let said = shop.types(&emil, apply);
        said.succeeded().then(|| said.passes())
    });
    assert!(shown.contains("It was counted as used and never stored, so you carry it out again."), "{shown}");
    assert_eq!(shop.image(), "shop/checkout:v2");
    shop.reaches("release", "Spent");
    let said = shop.types(&emil, apply).is_refused();
    assert!(said.contains("is Spent, so it lets nothing through"), "{said}");
}

#[test]
fn an_entry_is_used_whole_and_in_parts_only_where_that_is_said() {
    let shop = Shop::open();
    let emil = shop.emil();
    let patch = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image, "securityContext": {"privileged": false}}]}}}});
    let ask = |name: &str, more: &str| {
        let patch = patch("shop/checkout:v2");
        let ask = format!(
            "kubectl mayday ask -n NS deploy/checkout --patch '{patch}' --name {name} --why safe {more} --yes"
        );
        shop.types(&emil, &ask).passes()
    };
    assert!(ask("whole", "").contains("Parts: none, all values of an update are changed at once or none is"));
    shop.is_approved("whole");
    let image = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";
    let said = shop.types(&emil, image).is_refused();
    let whole = "The request chg/whole does not let it pass: it is used as a whole, and \
                 /spec/template/spec/containers/[name=app]/securityContext/privileged does not change with the rest. All of \
                 it at once: kubectl mayday apply";
    assert!(said.contains(whole), "{said}");

    assert!(
        ask("parts", "--in-parts")
            .contains("Parts: ALLOWED, each value of an update may be changed on its own")
    );
    shop.is_approved("parts");
    shop.types(&emil, image).passes();
    shop.types(&emil, &format!("kubectl patch -n NS deploy/checkout -p '{}'", patch("shop/checkout:v2")))
        .passes();
    shop.reaches("parts", "Spent");
}
