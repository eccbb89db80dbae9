//! Values that the API server assigns to a new object: addresses, ports, names, its UID. Pure.
//!
//! A dry run is assigned other values than the creation that follows it, so no creation could match its plan. Each assigned
//! value is replaced by [`ASSIGNED`], in the plan and in the attempted write alike, so that approvers see who chooses it.
//! `managedFields` prove that the client left the choice to the API server: every field that a request sets is listed there
//! before values are assigned, and clients cannot remove an entry. Listed fields are compared as they are.

use serde_json::Value;

/// Replacement of an assigned value.
pub const ASSIGNED: &str = "assigned by the API server";

/// Values of a Service that the API server assigns.
const OF_A_SERVICE: &[&str] = &["clusterIP", "clusterIPs", "healthCheckNodePort"];
/// Labels by which a Job selects its pods.
const OF_A_JOB: &[&str] =
    &["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Prefix of the name of the volume with the token of a pod.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// A new object, as admission or a dry run shows it, with [`ASSIGNED`] for every assigned value. An object without
/// `managedFields` stays as it is.
pub fn settled(object: &Value) -> Value {
    let mut settled = object.clone();
    let set = set_fields(object);
    if set.is_empty() {
        return settled;
    }
    if let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str) {
        // A Job has its UID in its labels and those of its pods. No client can know the UID, so none can have set it.
        for place in ["/spec", "/metadata/labels"] {
            if let Some(part) = settled.pointer_mut(place) {
                replace(part, uid);
            }
        }
    }
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("Service")) => service(&mut settled["spec"], &set),
        (Some("v1"), Some("Pod")) => pod(&mut settled["spec"], &set),
        (Some("batch/v1"), Some("Job")) => job(&mut settled["metadata"], &set),
        _ => {}
    }
    settled
}

/// The fields that clients have set, one value for each entry of `managedFields`.
fn set_fields(object: &Value) -> Vec<&Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| entry.get("fieldsV1")).collect()
}

fn service(spec: &mut Value, set: &[&Value]) {
    let Some(fields) = spec.as_object_mut() else { return };
    for field in OF_A_SERVICE {
        let is_stated = set.iter().any(|fields| fields["f:spec"].get(format!("f:{field}")).is_some());
        if let Some(value) = fields.get_mut(*field).filter(|_| !is_stated) {
            *value = Value::from(ASSIGNED);
        }
    }
    // Ports are listed by their keys; without keys the owners of their fields are unknown.
    let listed: Vec<&Value> = set
        .iter()
        .filter_map(|fields| fields["f:spec"]["f:ports"].as_object())
        .flat_map(|ports| ports.iter().filter(|(key, _)| key.starts_with("k:")).map(|(_, fields)| fields))
        .collect();
    let is_stated = listed.is_empty() || listed.iter().any(|port| port.get("f:nodePort").is_some());
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(value) = port.get_mut("nodePort").filter(|_| !is_stated) {
            *value = Value::from(ASSIGNED);
        }
    }
}

fn pod(spec: &mut Value, set: &[&Value]) {
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let is_stated = |name: &str| set.iter().any(|fields| fields.to_string().contains(name));
    let assigned: Vec<&str> =
        names.filter(|name| name.starts_with(TOKEN_VOLUME) && !is_stated(name)).collect();
    if let [name] = assigned.as_slice() {
        replace(spec, name);
    }
}

/// Removes labels that a Job without its own takes from its pods. It does so after admission: a dry run shows them, an
/// attempted write does not yet.
fn job(metadata: &mut Value, set: &[&Value]) {
    let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) else { return };
    let is_stated = |label: &str| {
        set.iter().any(|fields| fields["f:metadata"]["f:labels"].get(format!("f:{label}")).is_some())
    };
    labels.retain(|label, _| !OF_A_JOB.contains(&label.as_str()) || is_stated(label));
    if labels.is_empty()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("labels");
    }
}

/// Replaces every text that equals `text` by [`ASSIGNED`].
fn replace(value: &mut Value, text: &str) {
    match value {
        Value::String(found) if found == text => *found = ASSIGNED.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, text)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, text)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_fields_set(mut object: Value, fields: Value) -> Value {
        object["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "operation": "Update", "fieldsV1": fields}]);
        object
    }

    fn service_with(ip: &str, port: i64, spec: Value, of_port: Value) -> Value {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "type": "NodePort", "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "nodePort": port}]}});
        let mut fields = json!({"f:ports": {".": {}, "k:{\"port\":80}": of_port}});
        json_patch::merge(&mut fields, &spec);
        settled(&with_fields_set(object, json!({"f:spec": fields})))["spec"].clone()
    }

    #[test]
    fn unset_fields_of_a_service_are_equal_for_all_assigned_values() {
        let drawn = |ip: &str, port: i64| service_with(ip, port, json!({}), json!({"f:port": {}}));
        assert_eq!(drawn("10.0.0.7", 30001), drawn("10.0.0.9", 30002));
        assert_eq!(drawn("10.0.0.7", 30001)["clusterIP"], ASSIGNED);
    }

    #[test]
    fn fields_that_a_client_set_are_compared() {
        let none = service_with("None", 30001, json!({"f:clusterIP": {}}), json!({"f:port": {}}));
        assert_eq!(none["clusterIP"], "None");
        let port = service_with("10.0.0.7", 30001, json!({}), json!({"f:nodePort": {}}));
        assert_eq!(port["ports"][0]["nodePort"], 30001);
        let unknown = service_with("10.0.0.7", 30001, json!({"f:ports": null}), json!({}));
        assert_eq!(unknown["ports"][0]["nodePort"], 30001, "no entry about ports at all");
    }

    #[test]
    fn an_object_without_managed_fields_stays_as_it_is() {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"uid": "u"}, "spec": {"clusterIP": "10.0.0.7"}});
        assert_eq!(settled(&object), object);
    }

    #[test]
    fn labels_that_a_job_takes_from_its_pods_are_left_out() {
        let job = |labels: Value| {
            let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": "u", "name": "load", "labels": labels}});
            settled(&with_fields_set(object, json!({"f:metadata": {"f:labels": {"f:app": {}}}})))["metadata"]
                ["labels"]
                .clone()
        };
        assert_eq!(job(json!({"job-name": "load", "batch.kubernetes.io/controller-uid": "u"})), Value::Null);
        assert_eq!(job(json!({"job-name": "load", "app": "load"})), json!({"app": "load"}));
    }

    #[test]
    fn the_uid_of_a_job_and_the_token_volume_of_a_pod_are_assigned() {
        let job = |uid: &str| {
            let labels = json!({"batch.kubernetes.io/controller-uid": uid, "app": "load"});
            settled(&with_fields_set(
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": uid},
                "spec": {"selector": {"matchLabels": labels.clone()}}}),
                json!({"f:spec": {}}),
            ))["spec"]
                .clone()
        };
        assert_eq!(job("one"), job("two"));
        let pod = |volume: &str, listed: &str| {
            settled(&with_fields_set(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u"}, "spec": {
                "volumes": [{"name": volume, "projected": {}}], "containers": [{"volumeMounts": [{"name": volume}]}]}}),
                json!({"f:spec": {"f:volumes": {listed: {}}}})))["spec"].clone()
        };
        assert_eq!(pod("kube-api-access-abcde", "x"), pod("kube-api-access-fghij", "x"));
        let stated = pod("kube-api-access-abcde", "k:{\"name\":\"kube-api-access-abcde\"}");
        assert_eq!(stated["volumes"][0]["name"], "kube-api-access-abcde");
    }
}
