//! What a copy of a workload is, for a drill in a namespace of its own (docs/rules.md#drill-namespace). Pure.
//!
//! A copy must not reach what people use: it gets no Secret, no volume with data, no identity and no way to the node.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::common::ObjectRef;

/// Label of a copy: the UID of the drill that made it.
pub const COPY_LABEL: &str = "mayday.dev/drill";
/// Kinds of group `apps` that are copied. A copy of a DaemonSet would run on every node.
pub const COPIED: [&str; 2] = ["Deployment", "StatefulSet"];
/// Maximum number of replicas of a copy, if the Runbook does not say.
pub const MAX_REPLICAS: i32 = 2;
/// Labels and annotations by which a GitOps tool would take a copy for its own.
const OWNED: [&str; 5] = [
    "argocd.argoproj.io/",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
];

/// Whether drills copy objects of this kind.
pub fn is_copied(object: &ObjectRef) -> bool {
    object.group() == "apps" && COPIED.contains(&object.kind.as_str())
}

/// The copy of a workload, for the drill with this UID, with at most so many replicas.
///
/// # Errors
/// What of it cannot be copied, in words.
pub fn of_workload(object: &Value, run_uid: &str, replicas: i32) -> Result<Value, String> {
    let mut copy = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": metadata(object, run_uid), "spec": object["spec"],
    });
    let spec = &mut copy["spec"];
    let wanted = spec["replicas"].as_i64().unwrap_or(1).clamp(1, i64::from(replicas.max(1)));
    spec["replicas"] = wanted.into();
    // Claims of a StatefulSet would make volumes that outlive the drill.
    let claims = spec.as_object_mut().and_then(|spec| spec.remove("volumeClaimTemplates"));
    let claimed: Vec<Value> = claims
        .iter()
        .flat_map(|claims| claims.as_array().into_iter().flatten())
        .map(|claim| json!({"name": claim["metadata"]["name"], "emptyDir": {}}))
        .collect();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("persistentVolumeClaimRetentionPolicy");
    }
    let Some(pod) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut) else {
        return Err("it has no pod template".to_owned());
    };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod.get(field) == Some(&Value::Bool(true)) {
            return Err(format!("its pods use {field}, which would reach the node"));
        }
    }
    pod.remove("serviceAccountName");
    pod.remove("serviceAccount");
    pod.insert("automountServiceAccountToken".to_owned(), false.into());
    let mut volumes: Vec<Value> = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    for volume in &mut volumes {
        if volume.get("hostPath").is_some() {
            return Err(format!(
                "its volume {} is a path of the node",
                volume["name"].as_str().unwrap_or_default()
            ));
        }
        if volume.get("persistentVolumeClaim").is_some() {
            *volume = json!({"name": volume["name"], "emptyDir": {}});
        }
    }
    volumes.extend(claimed);
    if !volumes.is_empty() {
        pod.insert("volumes".to_owned(), volumes.into());
    }
    for container in containers(pod.get("containers")).chain(containers(pod.get("initContainers"))) {
        let ports = container["ports"].as_array().into_iter().flatten();
        let name = container["name"].as_str().unwrap_or_default();
        if ports.into_iter().any(|port| port.get("hostPort").is_some()) {
            return Err(format!("its container {name} uses a port of the node"));
        }
        if container.pointer("/securityContext/privileged") == Some(&Value::Bool(true)) {
            return Err(format!("its container {name} is privileged"));
        }
    }
    Ok(copy)
}

/// The copy of a ConfigMap, for the drill with this UID.
pub fn of_config_map(object: &Value, run_uid: &str) -> Value {
    let mut copy = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(object, run_uid)});
    for field in ["data", "binaryData"] {
        if let Some(content) = object.get(field) {
            copy[field] = content.clone();
        }
    }
    copy
}

/// The ConfigMaps that the pods of a workload need, by name.
pub fn config_maps(object: &Value) -> BTreeSet<String> {
    named(object, &[("configMap", "name"), ("configMapRef", "name"), ("configMapKeyRef", "name")])
}

/// The Secrets that the pods of a workload need, by name. They are never copied.
pub fn secrets(object: &Value) -> BTreeSet<String> {
    let mut found = named(
        object,
        &[("secret", "secretName"), ("secret", "name"), ("secretRef", "name"), ("secretKeyRef", "name")],
    );
    let pulls = object.pointer("/spec/template/spec/imagePullSecrets").and_then(Value::as_array);
    found.extend(pulls.into_iter().flatten().filter_map(|pull| pull["name"].as_str().map(str::to_owned)));
    found
}

/// The names under these members anywhere in the pod template, but for those that are optional.
fn named(object: &Value, members: &[(&str, &str)]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Value> = object.pointer("/spec/template/spec").into_iter().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                for (member, name) in members {
                    let source = fields.get(*member).filter(|source| source["optional"] != Value::Bool(true));
                    found.extend(source.and_then(|source| source[*name].as_str()).map(str::to_owned));
                }
                left.extend(fields.values());
            }
            Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
    found
}

fn containers(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn metadata(object: &Value, run_uid: &str) -> Value {
    let owned = |name: &str| OWNED.iter().any(|prefix| name.starts_with(prefix));
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let kept = labels.into_iter().flatten().filter(|(name, _)| !owned(name));
    let mut labels: serde_json::Map<String, Value> =
        kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.insert(COPY_LABEL.to_owned(), run_uid.into());
    json!({"name": object["metadata"]["name"], "labels": labels})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(pod: Value) -> Value {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
                "ownerReferences": [{"name": "o"}], "annotations": {"a": "b"}, "finalizers": ["f"],
                "labels": {"app": "orders", "argocd.argoproj.io/instance": "shop", "app.kubernetes.io/instance": "shop"}},
            "spec": {"replicas": 5, "selector": {"matchLabels": {"app": "orders"}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"metadata": {"labels": {"app": "orders"}}, "spec": {
                    "serviceAccountName": "orders", "containers": [{"name": "db", "image": "db:1",
                        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "password"}}],
                        "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "maybe", "optional": true}}}]}],
                    "imagePullSecrets": [{"name": "registry"}],
                    "volumes": [{"name": "old", "persistentVolumeClaim": {"claimName": "old"}},
                        {"name": "tls", "secret": {"secretName": "tls"}},
                        {"name": "conf", "configMap": {"name": "conf"}}]}}},
            "status": {"replicas": 5}});
        json_patch::merge(&mut object["spec"]["template"]["spec"], &pod);
        object
    }

    #[test]
    fn a_copy_reaches_nothing_that_people_use() {
        let copy = of_workload(&workload(json!({})), "run", 2).unwrap();
        assert_eq!(
            copy["metadata"],
            json!({"name": "orders", "labels": {"app": "orders", COPY_LABEL: "run"}})
        );
        assert_eq!(copy["spec"]["replicas"], 2);
        assert!(copy.get("status").is_none() && copy["spec"].get("volumeClaimTemplates").is_none());
        let pod = &copy["spec"]["template"]["spec"];
        assert!(pod.get("serviceAccountName").is_none() && pod["automountServiceAccountToken"] == false);
        assert_eq!(pod["volumes"][0], json!({"name": "old", "emptyDir": {}}));
        assert_eq!(pod["volumes"][3], json!({"name": "data", "emptyDir": {}}));
        let one = of_workload(&json!({"spec": {"replicas": 0, "template": {"spec": {}}}}), "run", 2).unwrap();
        assert_eq!(one["spec"]["replicas"], 1, "a copy without a pod proves nothing");
    }

    #[test]
    fn what_would_reach_the_node_is_not_copied() {
        for (pod, why) in [
            (json!({"hostNetwork": true}), "hostNetwork"),
            (json!({"hostPID": true}), "hostPID"),
            (json!({"volumes": [{"name": "logs", "hostPath": {"path": "/var"}}]}), "volume logs"),
            (json!({"containers": [{"name": "p", "ports": [{"hostPort": 80}]}]}), "port of the node"),
            (
                json!({"initContainers": [{"name": "p", "securityContext": {"privileged": true}}]}),
                "privileged",
            ),
        ] {
            let said = of_workload(&workload(pod), "run", 2).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(of_workload(&json!({"spec": {}}), "run", 2).is_err());
    }

    #[test]
    fn what_the_pods_need_is_named_wherever_it_stands() {
        let object = workload(json!({}));
        assert_eq!(config_maps(&object).into_iter().collect::<Vec<_>>(), ["conf", "settings"]);
        assert_eq!(secrets(&object).into_iter().collect::<Vec<_>>(), ["password", "registry", "tls"]);
    }

    #[test]
    fn a_copy_of_a_config_map_has_its_content_only() {
        let object = json!({"metadata": {"name": "conf", "uid": "u"}, "data": {"a": "b"}, "immutable": true});
        let copy = of_config_map(&object, "run");
        assert_eq!(copy["data"], json!({"a": "b"}));
        assert!(copy.get("immutable").is_none() && copy["metadata"].get("uid").is_none());
    }
}
