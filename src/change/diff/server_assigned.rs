//! What the API server draws by itself for a new object: addresses, ports, names, its UID. Pure.
//!
//! A dry run draws other values than the creation that follows it, so a plan could never be met. Each drawn value
//! is replaced by one word, in the plan and in the request alike, so that what people approve says who chooses it.
//! That somebody left the choice to the API server is proved by `managedFields`: every field that a request states
//! is noted there before anything is drawn, and nobody can take a note away. What is noted is compared as it is.

use serde_json::Value;

/// What stands for a drawn value.
pub const ASSIGNED: &str = "assigned by the API server";

/// Single values of a Service that are drawn.
const OF_A_SERVICE: &[&str] = &["clusterIP", "clusterIPs", "healthCheckNodePort"];
/// Labels by which a Job knows its pods.
const OF_A_JOB: &[&str] =
    &["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// How the volume begins through which a pod gets its token.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// A new object, as admission or a dry run shows it, with one word for every drawn value. An object without notes
/// stays as it is.
pub fn settled(object: &Value) -> Value {
    let mut settled = object.clone();
    let notes = notes(object);
    if notes.is_empty() {
        return settled;
    }
    if let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str) {
        // A Job names itself in its labels and its pods'. Nobody knows the UID before, so nobody can have stated it.
        for place in ["/spec", "/metadata/labels"] {
            if let Some(part) = settled.pointer_mut(place) {
                replace(part, uid);
            }
        }
    }
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("Service")) => service(&mut settled["spec"], &notes),
        (Some("v1"), Some("Pod")) => pod(&mut settled["spec"], &notes),
        (Some("batch/v1"), Some("Job")) => job(&mut settled["metadata"], &notes),
        _ => {}
    }
    settled
}

/// The notes of who stated which fields.
fn notes(object: &Value) -> Vec<&Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| entry.get("fieldsV1")).collect()
}

fn service(spec: &mut Value, notes: &[&Value]) {
    let Some(fields) = spec.as_object_mut() else { return };
    for field in OF_A_SERVICE {
        let is_stated = notes.iter().any(|note| note["f:spec"].get(format!("f:{field}")).is_some());
        if let Some(value) = fields.get_mut(*field).filter(|_| !is_stated) {
            *value = Value::from(ASSIGNED);
        }
    }
    // The notes name ports by their keys; where they do not, nothing is known of them.
    let noted: Vec<&Value> = notes
        .iter()
        .filter_map(|note| note["f:spec"]["f:ports"].as_object())
        .flat_map(|ports| ports.iter().filter(|(key, _)| key.starts_with("k:")).map(|(_, fields)| fields))
        .collect();
    let is_stated = noted.is_empty() || noted.iter().any(|port| port.get("f:nodePort").is_some());
    for port in fields.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(value) = port.get_mut("nodePort").filter(|_| !is_stated) {
            *value = Value::from(ASSIGNED);
        }
    }
}

fn pod(spec: &mut Value, notes: &[&Value]) {
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let is_stated = |name: &str| notes.iter().any(|note| note.to_string().contains(name));
    let drawn: Vec<&str> = names.filter(|name| name.starts_with(TOKEN_VOLUME) && !is_stated(name)).collect();
    if let [name] = drawn.as_slice() {
        replace(spec, name);
    }
}

/// A Job without labels of its own takes those of its pods, but only after it was admitted: a dry run shows them, a
/// request does not yet.
fn job(metadata: &mut Value, notes: &[&Value]) {
    let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) else { return };
    let is_stated = |label: &str| {
        notes.iter().any(|note| note["f:metadata"]["f:labels"].get(format!("f:{label}")).is_some())
    };
    labels.retain(|label, _| !OF_A_JOB.contains(&label.as_str()) || is_stated(label));
    if labels.is_empty()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("labels");
    }
}

/// Puts the word in the place of every text that is this one.
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

    fn with_notes(mut object: Value, fields: Value) -> Value {
        object["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "operation": "Update", "fieldsV1": fields}]);
        object
    }

    fn service_with(ip: &str, port: i64, spec: Value, of_port: Value) -> Value {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "type": "NodePort", "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "nodePort": port}]}});
        let mut fields = json!({"f:ports": {".": {}, "k:{\"port\":80}": of_port}});
        json_patch::merge(&mut fields, &spec);
        settled(&with_notes(object, json!({"f:spec": fields})))["spec"].clone()
    }

    #[test]
    fn what_nobody_stated_of_a_service_is_the_same_whatever_was_drawn() {
        let drawn = |ip: &str, port: i64| service_with(ip, port, json!({}), json!({"f:port": {}}));
        assert_eq!(drawn("10.0.0.7", 30001), drawn("10.0.0.9", 30002));
        assert_eq!(drawn("10.0.0.7", 30001)["clusterIP"], ASSIGNED);
    }

    #[test]
    fn what_somebody_stated_is_compared() {
        let none = service_with("None", 30001, json!({"f:clusterIP": {}}), json!({"f:port": {}}));
        assert_eq!(none["clusterIP"], "None");
        let port = service_with("10.0.0.7", 30001, json!({}), json!({"f:nodePort": {}}));
        assert_eq!(port["ports"][0]["nodePort"], 30001);
        let unknown = service_with("10.0.0.7", 30001, json!({"f:ports": null}), json!({}));
        assert_eq!(unknown["ports"][0]["nodePort"], 30001, "no note of ports at all");
    }

    #[test]
    fn without_notes_nothing_is_taken_for_drawn() {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"uid": "u"}, "spec": {"clusterIP": "10.0.0.7"}});
        assert_eq!(settled(&object), object);
    }

    #[test]
    fn what_a_job_takes_from_its_pods_once_it_is_admitted_is_left_out() {
        let job = |labels: Value| {
            let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": "u", "name": "load", "labels": labels}});
            settled(&with_notes(object, json!({"f:metadata": {"f:labels": {"f:app": {}}}})))["metadata"]["labels"].clone()
        };
        assert_eq!(job(json!({"job-name": "load", "batch.kubernetes.io/controller-uid": "u"})), Value::Null);
        assert_eq!(job(json!({"job-name": "load", "app": "load"})), json!({"app": "load"}));
    }

    #[test]
    fn a_job_names_itself_and_a_pod_its_token() {
        let job = |uid: &str| {
            let labels = json!({"batch.kubernetes.io/controller-uid": uid, "app": "load"});
            settled(&with_notes(
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": uid},
                "spec": {"selector": {"matchLabels": labels.clone()}}}),
                json!({"f:spec": {}}),
            ))["spec"]
                .clone()
        };
        assert_eq!(job("one"), job("two"));
        let pod = |volume: &str, noted: &str| {
            settled(&with_notes(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u"}, "spec": {
                "volumes": [{"name": volume, "projected": {}}], "containers": [{"volumeMounts": [{"name": volume}]}]}}),
                json!({"f:spec": {"f:volumes": {noted: {}}}})))["spec"].clone()
        };
        assert_eq!(pod("kube-api-access-abcde", "x"), pod("kube-api-access-fghij", "x"));
        let stated = pod("kube-api-access-abcde", "k:{\"name\":\"kube-api-access-abcde\"}");
        assert_eq!(stated["volumes"][0]["name"], "kube-api-access-abcde");
    }
}
