//! What Kubernetes does to an object passes as Kubernetes does it: what the plan says is applied and passes, and so does the
//! way back. Random edits of twelve built-in kinds and one custom kind, against the real API server.
//!
//! Most cases take the plan of a dry run and the states of a real write to the gate's own matching, without the webhook.

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use mayday::api::ChangeRequest;
use mayday::api::change_request::{ChangeRequestStatus, Use};
use mayday::change::diff::{operations, server_assigned};
use mayday::change::gate::action::Action;
use mayday::change::gate::grant::{Grant, grant};
use mayday::change::request::plan::plan;
use mayday::webhook::review;
use serde_json::{Value, json};

use super::client::client;
use crate::support::{Cluster, Random, cases, fresh};

/// API version, kind, plural and spec of an object that random edits begin with.
fn objects() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let container = || {
        json!({"name": "app", "image": "app:v1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 80}], "args": ["-v"], "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80}}})
    };
    let pod = |policy: Option<&str>| {
        json!({"containers": [container(), {"name": "log", "image": "log:v1"}], "restartPolicy": policy,
            "volumes": [{"name": "work", "emptyDir": {}}], "schedulerName": "nobody"})
    };
    // Each with a label of its own, so that none adopts what belongs to another.
    let template = |app: &str| json!({"metadata": {"labels": {"app": app}}, "spec": pod(None)});
    let of = |app: &str| json!({"matchLabels": {"app": app}});
    let job = || json!({"suspend": true, "template": {"spec": pod(Some("Never"))}});
    let scaled = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"});
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let ports = json!([{"name": "web", "port": 80}, {"name": "tls", "port": 443}]);
    vec![
        (
            "apps/v1",
            "Deployment",
            "deployments",
            json!({"replicas": 0, "selector": of("d"), "template": template("d")}),
        ),
        (
            "apps/v1",
            "StatefulSet",
            "statefulsets",
            json!({"replicas": 0, "serviceName": "web", "selector": of("s"), "template": template("s")}),
        ),
        ("apps/v1", "DaemonSet", "daemonsets", json!({"selector": of("ds"), "template": template("ds")})),
        (
            "apps/v1",
            "ReplicaSet",
            "replicasets",
            json!({"replicas": 0, "selector": of("rs"), "template": template("rs")}),
        ),
        (
            "batch/v1",
            "CronJob",
            "cronjobs",
            json!({"suspend": true, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": job()}}),
        ),
        ("batch/v1", "Job", "jobs", job()),
        ("v1", "Service", "services", json!({"selector": {"app": "x"}, "ports": ports})),
        ("v1", "ConfigMap", "configmaps", json!(null)),
        ("networking.k8s.io/v1", "Ingress", "ingresses", json!({"defaultBackend": backend})),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "networkpolicies",
            json!({"podSelector": of("x"), "ingress": [{"ports": [{"port": 80}]}]}),
        ),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            json!({"maxReplicas": 5, "scaleTargetRef": scaled}),
        ),
        (
            "policy/v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            json!({"minAvailable": 1, "selector": of("x")}),
        ),
        (
            "example.com/v1",
            "Gadget",
            "gadgets",
            json!({"size": 1, "parts": [{"name": "a"}, {"name": "b"}], "extra": {"a": "b"}}),
        ),
    ]
}

/// One random edit of an object as it is stored.
fn edit(random: &mut Random, object: &mut Value) {
    let text = random.choose(&["v1", "it's $(x) \"y\" \\ z\n", "", "ä…", "2"]);
    let template = ["/spec/template", "/spec/jobTemplate/spec/template"]
        .into_iter()
        .find(|at| object.pointer(at).is_some());
    let kind = object["kind"].as_str().unwrap().to_owned();
    match (random.below(if template.is_some() { 8 } else { 5 }), kind.as_str(), template) {
        (0, ..) => {
            let value = random.choose(&[json!("web"), json!("a.b"), json!(null)]);
            let name = random.choose(&["tier", "example.com/team"]);
            if object["metadata"]["labels"].is_null() {
                put(object, "/metadata/labels", json!({}));
            }
            object["metadata"]["labels"][name] = value.clone();
            if value.is_null() {
                object["metadata"]["labels"].as_object_mut().unwrap().remove(name);
            }
        }
        (1, ..) => {
            if object["metadata"]["annotations"].is_null() {
                put(object, "/metadata/annotations", json!({}));
            }
            object["metadata"]["annotations"]["example.com/note"] = json!(text);
        }
        (2, ..) => {
            let finalizers = random.choose(&[
                json!(["example.com/a"]),
                json!(["example.com/b", "example.com/a"]),
                json!(null),
            ]);
            put(object, "/metadata/finalizers", finalizers);
        }
        (_, "Service", _) => service(random, object),
        (_, "ConfigMap", _) => {
            let data = random.choose(&[json!({"a": text}), json!({"a": "1", "b": text}), json!(null)]);
            put(object, "/data", data);
        }
        (_, "Ingress", _) => {
            let port = random.choose(&[json!({"number": 80}), json!({"name": "web"})]);
            let rule = json!({"host": random.choose(&["a.example", "b.example"]), "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": port}}}]}});
            let rules = random.choose(&[json!([rule]), json!(null)]);
            put(object, "/spec/rules", rules);
        }
        (_, "NetworkPolicy", _) => {
            let from =
                json!([{"ports": [{"port": random.choose(&[80, 443])}, {"port": 53, "protocol": "UDP"}]}]);
            let rules = random.choose(&[from, json!([]), json!(null)]);
            put(object, "/spec/ingress", rules);
        }
        (_, "HorizontalPodAutoscaler", _) => {
            let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
                "averageUtilization": 50 + random.below(9)}}}]);
            put(object, "/spec/metrics", metric);
            put(object, "/spec/maxReplicas", json!(2 + random.below(5)));
            put(
                object,
                "/spec/behavior",
                random.choose(&[json!({"scaleDown": {"stabilizationWindowSeconds": 9}}), json!(null)]),
            );
        }
        (_, "PodDisruptionBudget", _) => {
            let is_least = random.one_in(2);
            let count = random.choose(&[json!(1), json!("50%")]);
            put(object, "/spec/minAvailable", if is_least { count.clone() } else { json!(null) });
            put(object, "/spec/maxUnavailable", if is_least { json!(null) } else { count });
            put(
                object,
                "/spec/unhealthyPodEvictionPolicy",
                random.choose(&[json!("AlwaysAllow"), json!(null)]),
            );
        }
        (_, "Gadget", _) => {
            let parts = random.choose(&[
                json!([{"name": "b"}, {"name": "a", "x": text}]),
                json!([]),
                json!([{"name": "a"}]),
            ]);
            put(object, "/spec/parts", parts);
            put(object, "/spec/extra", random.choose(&[json!({"c": {"d": text}}), json!(null)]));
        }
        (3 | 4, "CronJob", _) => {
            put(object, "/spec/schedule", json!(random.choose(&["1 1 1 1 *", "0 0 1 1 *"])))
        }
        (3, "Deployment", _) => {
            let strategy = random.choose(&[
                json!({"type": "Recreate"}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2}}),
            ]);
            put(object, "/spec/strategy", strategy);
        }
        (3, "StatefulSet" | "DaemonSet", _) => {
            let strategy = random.choose(&[json!({"type": "OnDelete"}), json!({"type": "RollingUpdate"})]);
            put(object, "/spec/updateStrategy", strategy);
        }
        (4, "Deployment" | "StatefulSet" | "ReplicaSet", _) => {
            put(object, "/spec/minReadySeconds", json!(random.below(5)));
        }
        (5, _, Some(template)) => {
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": Timestamp::now().to_string()});
            put(
                object,
                &format!("{template}/metadata/annotations"),
                random.choose(&[annotations, json!(null)]),
            );
        }
        (_, _, Some(template)) => pod_spec(random, object, &format!("{template}/spec")),
        _ => put(object, "/spec/suspend", json!(true)),
    }
}

fn service(random: &mut Random, object: &mut Value) {
    let node_port = |random: &mut Random| random.one_in(4).then(|| 30_000 + random.below(2700));
    match random.below(6) {
        0 | 1 => put(object, "/spec/type", json!(random.choose(&["ClusterIP", "NodePort", "LoadBalancer"]))),
        2 => {
            let number = node_port(random);
            let port = json!({"name": "more", "port": 1000 + random.below(999), "nodePort": number});
            let ports = object["spec"]["ports"].as_array_mut().unwrap();
            ports.retain(|port| port["name"] != "more");
            let at = random.index(ports.len() + 1);
            ports.insert(at, port);
        }
        3 => object["spec"]["ports"].as_array_mut().unwrap().retain(|port| port["name"] == "web"),
        4 => {
            put(object, "/spec/externalTrafficPolicy", json!("Local"));
            put(object, "/spec/type", json!("LoadBalancer"));
        }
        _ => {
            put(object, "/spec/externalName", json!("shop.example"));
            put(object, "/spec/type", json!("ExternalName"));
        }
    }
}

fn pod_spec(random: &mut Random, object: &mut Value, spec: &str) {
    let container = format!("{spec}/containers/0");
    match random.below(9) {
        0 => {
            put(object, &format!("{container}/image"), json!(random.choose(&["app:v1", "app:v2", "app:v3"])))
        }
        1 => {
            let env = random.choose(&[
                json!([{"name": "A", "value": "1"}]),
                json!([{"name": "B", "value": "it's"}, {"name": "A", "value": "$(B)"}]),
                json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "B", "value": ""}]),
                json!(null),
            ]);
            put(object, &format!("{container}/env"), env);
        }
        2 => {
            let probe = random.choose(&[
                json!({"tcpSocket": {"port": 80}}),
                json!({"httpGet": {"port": 80}}),
                json!({"exec": {"command": ["true"]}}),
                json!(null),
            ]);
            put(object, &format!("{container}/livenessProbe"), probe);
        }
        3 => {
            let limits =
                random.choose(&[json!({"limits": {"cpu": "500m", "memory": "1Gi"}}), json!({}), json!(null)]);
            put(object, &format!("{container}/resources"), limits);
        }
        4 => {
            let source = random.choose(&[
                json!([{"name": "work", "secret": {"secretName": "s"}}]),
                json!([{"name": "work", "emptyDir": {}}, {"name": "more", "emptyDir": {}}]),
            ]);
            put(object, &format!("{spec}/volumes"), source);
        }
        5 => put(object, &format!("{container}/args"), random.choose(&[json!(["-q", "it's"]), json!(null)])),
        6 => {
            let ports = random.choose(&[
                json!([{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]),
                json!([{"containerPort": 80}, {"containerPort": 443}]),
                json!(null),
            ]);
            put(object, &format!("{container}/ports"), ports);
        }
        7 => {
            let list =
                object.pointer_mut(&format!("{spec}/containers")).and_then(Value::as_array_mut).unwrap();
            match list.len() {
                1 => list.push(json!({"name": "log", "image": "log:v1"})),
                _ => list.truncate(1),
            }
        }
        _ => put(
            object,
            &format!("{spec}/nodeSelector"),
            random.choose(&[json!({"disk": "ssd"}), json!(null)]),
        ),
    }
}

/// An update as admission sees it.
fn update(plural: &str, before: &Value, after: &Value) -> Action {
    let api_version = after["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let whole = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r", "kind": {"group": group, "version": version, "kind": after["kind"]},
        "resource": {"group": group, "version": version, "resource": plural},
        "name": after["metadata"]["name"], "namespace": after["metadata"]["namespace"], "operation": "UPDATE",
        "userInfo": {"username": "emil"}, "oldObject": before, "object": after, "dryRun": false}});
    Action::read(&review::read(whole.to_string().as_bytes()).unwrap(), "m").unwrap()
}

/// Puts a value at a JSON pointer, where its parent is.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        match value.is_null() {
            true => fields.remove(&name),
            false => fields.insert(name, value),
        };
    }
}

struct Case {
    api: Api<DynamicObject>,
    client: kube::Client,
    plural: &'static str,
    namespace: String,
    name: String,
}

impl Case {
    async fn read(&self) -> Value {
        serde_json::to_value(self.api.get(&self.name).await.unwrap()).unwrap()
    }

    /// Replaces the object as it was read; nothing if a controller was faster. An error is the API server's own refusal.
    async fn write(&self, object: &Value) -> Result<Option<Value>, String> {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        match self.api.replace(&self.name, &PostParams::default(), &object).await {
            Ok(stored) => Ok(Some(serde_json::to_value(stored).unwrap())),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes what `change` makes of the object, and gives the states before and after.
    async fn changes(&self, change: impl Fn(&Value) -> Value) -> Result<(Value, Value), String> {
        loop {
            let before = self.read().await;
            if let Some(after) = self.write(&change(&before)).await? {
                return Ok((before, after));
            }
        }
    }

    /// A request for what `wanted` is, planned by a dry run. None if nothing changes; an error if Kubernetes itself refuses.
    async fn asks(&self, before: &Value, wanted: &Value) -> Result<Option<ChangeRequest>, String> {
        let operations = operations::between(
            &operations::without_nulls(before),
            &operations::without_nulls(&server_assigned::as_written(before, wanted)),
        );
        if operations.is_empty() {
            return Ok(None);
        }
        let target = json!({"apiVersion": before["apiVersion"], "kind": before["kind"], "name": self.name});
        let mut request: ChangeRequest =
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
            "metadata": {"name": "case", "namespace": self.namespace, "uid": "cu"},
            "spec": {"reason": "r", "requester": {"user": "emil"}, "rollback": {"restorePrevious": {}},
                "changes": [{"target": target, "update": {"patchType": "JSON", "patch": operations}}]}}))
            .unwrap();
        match plan(&self.client, &request.spec, &self.namespace, "mayday-system").await {
            Ok(plan) => request.status = Some(ChangeRequestStatus { plan, ..ChangeRequestStatus::default() }),
            Err(error) if error.to_string().contains("nothing would change") => return Ok(None),
            Err(error) => return Err(error.to_string()),
        }
        Ok(Some(request))
    }
}

/// Plays one case: asks for edits, makes them and takes them back. Whether there was anything to do.
async fn play(case: &Case, wanted: &Value, before: &Value) -> Result<bool, String> {
    let Ok(request) = case.asks(before, wanted).await else { return Ok(false) };
    let Some(mut request) = request else { return Ok(false) };
    let content = |of: &Value, version: &Value| {
        let mut object = of.clone();
        object["metadata"]["resourceVersion"] = version["metadata"]["resourceVersion"].clone();
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
        object
    };
    let (old, new) = case
        .changes(|live| content(wanted, live))
        .await
        .map_err(|error| format!("the plan was made and the write is refused: {error}"))?;
    let plan = serde_json::to_string(&request.status.as_ref().unwrap().plan[0].delta).unwrap();
    let there = update(case.plural, &old, &new);
    let used: Use = match grant(&request, &there, Timestamp::now()) {
        Ok(Grant::Use(used)) => used,
        other => return Err(format!("there: {other:?}\nplanned {plan}\nattempted {:?}", there.delta)),
    };
    request.status.as_mut().unwrap().used.push(used);
    let (new, back) = case
        .changes(|live| content(before, live))
        .await
        .map_err(|error| format!("the way back is refused by Kubernetes: {error}"))?;
    let back = update(case.plural, &new, &back);
    match grant(&request, &back, Timestamp::now()) {
        Ok(Grant::Restore(0)) => Ok(true),
        other => Err(format!("back: {other:?}\nplanned {plan}\nattempted {:?}", back.delta)),
    }
}

#[test]
fn an_edit_passes_as_planned_and_so_does_the_way_back() {
    let cluster = Cluster::shared();
    let admin = cluster.admin();
    let namespace = fresh("delta");
    admin.types(&format!("kubectl create namespace {namespace}")).passes();
    let kind = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.example.com}, \
                spec: {group: example.com, scope: Namespaced, names: {kind: Gadget, plural: gadgets}, versions: [{name: v1, \
                served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, \
                x-kubernetes-preserve-unknown-fields: true}}}]}}";
    admin.applies(kind).passes();
    admin.types("kubectl wait crd/gadgets.example.com --for=condition=Established --timeout=60s").passes();
    let (runtime, client) = client(cluster);
    let count = cases(26);
    let mut random = Random::seeded();
    let mut objects = objects();
    for (api_version, kind, plural, spec) in &mut objects {
        let mut manifest = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": plural, "namespace": namespace, "labels": {"app": "x"}}, "spec": spec});
        if spec.is_null() {
            manifest["data"] = json!({"a": "1"});
        }
        // One half of them is applied by the server, as many pipelines do it.
        let how = if random.one_in(2) { "create" } else { "apply --server-side" };
        let manifest = operations::without_nulls(&manifest).to_string();
        admin.pipes(&manifest, &format!("kubectl {how} -f -")).passes();
    }
    let (mut played, mut tries) = (0, 0);
    while played < count {
        assert!(tries < 20 * count + 200, "only {played} of {tries} edits could be made");
        let (api_version, kind, plural, _) = objects[tries % objects.len()].clone();
        tries += 1;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api = Api::namespaced_with(client.clone(), &namespace, &resource);
        let case = Case {
            api,
            client: client.clone(),
            plural,
            namespace: namespace.clone(),
            name: plural.to_owned(),
        };
        let outcome = runtime.block_on(async {
            let before = case.read().await;
            let mut wanted = before.clone();
            for _ in 0..=random.below(3) {
                edit(&mut random, &mut wanted);
            }
            play(&case, &wanted, &before).await.map_err(|error| format!("{kind}: {error}"))
        });
        match outcome {
            Ok(true) => played += 1,
            Ok(false) => {}
            Err(error) => panic!("after {played} cases: {error}"),
        }
    }
    println!("{played} edits of {tries} could be made");
    for kind in objects.iter().map(|(_, _, plural, _)| plural) {
        let patch = r#"--type merge -p '{"metadata":{"finalizers":null}}'"#;
        admin.types(&format!("kubectl patch {kind} -n {namespace} {kind} {patch}")).passes();
    }
    admin.types(&format!("kubectl delete namespace {namespace} --wait=false")).passes();
}
