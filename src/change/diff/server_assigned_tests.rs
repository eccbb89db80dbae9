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

/// A Service with these ports; each with the node port that it has, and whether a client stated that.
fn ports(kind: &str, ports: &[(u32, Option<u32>, bool)]) -> Value {
    let mut fields = json!({});
    let listed: Vec<Value> = ports
        .iter()
        .map(|(port, node_port, is_stated)| {
            let mut set = json!({".": {}, "f:port": {}});
            if *is_stated {
                set["f:nodePort"] = json!({});
            }
            fields[format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}")] = set;
            let mut port = json!({"port": port, "protocol": "TCP"});
            if let Some(number) = node_port {
                port["nodePort"] = json!(number);
            }
            port
        })
        .collect();
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"type": kind, "ports": listed}});
    with_fields_set(object, json!({"f:spec": {"f:type": {}, "f:ports": fields}}))
}

// The kind of fault: values that the API server assigns on update are taken for the client's.
#[test]
fn a_port_that_is_left_open_beside_a_stated_one_is_assigned() {
    let made = settled(&ports("NodePort", &[(80, Some(30080), true), (443, Some(31234), false)]));
    assert_eq!(made["spec"]["ports"][0]["nodePort"], 30080);
    assert_eq!(made["spec"]["ports"][1]["nodePort"], ASSIGNED);
}

#[test]
fn ports_that_an_update_left_open_are_marked_and_the_others_stay() {
    let marked = |before: &Value, after: &Value| -> Vec<(String, Option<Value>)> {
        let deltas = crate::change::diff::diff_with_status(before, after);
        deltas.into_iter().map(|delta| (delta.path, delta.after)).collect()
    };
    let inner = ports("ClusterIP", &[(80, None, false)]);
    let outer = ports("NodePort", &[(80, Some(31234), false)]);
    let node_port = "/spec/ports/[port=80,protocol=TCP]/nodePort".to_owned();
    assert!(marked(&inner, &outer).contains(&(node_port.clone(), Some(json!(ASSIGNED)))));
    assert!(marked(&outer, &inner).contains(&(node_port.clone(), None)), "it goes as it was");
    let stated = ports("NodePort", &[(80, Some(30080), true)]);
    assert!(marked(&inner, &stated).contains(&(node_port, Some(json!(30080)))));
    // A further port in front of the others: the list is one value.
    let more = ports("NodePort", &[(8, Some(32000), false), (80, Some(31234), false)]);
    let [(path, Some(list))] = &*marked(&outer, &more) else { panic!("{:?}", marked(&outer, &more)) };
    assert_eq!((path.as_str(), &list[0]["nodePort"]), ("/spec/ports", &json!(ASSIGNED)));
    assert_eq!(list[1]["nodePort"], 31234);
}

#[test]
fn an_update_as_its_client_wrote_it_leaves_the_choice_open() {
    let inner = ports("ClusterIP", &[(80, None, false)]);
    let outer = ports("NodePort", &[(80, Some(31234), false), (443, Some(30443), true)]);
    let written = as_written(&inner, &outer);
    assert_eq!(written["spec"]["type"], "NodePort");
    assert_eq!(written["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(written["spec"]["ports"][1]["nodePort"], 30443);
}

#[test]
fn what_no_client_can_change_is_left_out_for_its_kind_alone() {
    let of = |kind: &str| json!({"apiVersion": "autoscaling/v1", "kind": kind});
    let path = "/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions";
    let is_maintained = |kind: &str, path: &str| is_maintained(&of(kind), &of(kind), path);
    assert!(is_maintained("HorizontalPodAutoscaler", path));
    assert!(!is_maintained("Other", path));
    assert!(!is_maintained(
        "HorizontalPodAutoscaler",
        "/metadata/annotations/autoscaling.alpha.kubernetes.io~1behavior"
    ));
    assert!(is_maintained("Other", "/metadata/generation"));
}
