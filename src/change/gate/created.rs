//! Whether an object that is being created is exactly the planned one, but for what the API server fills in. Pure.
//!
//! The API server fills in defaults before admission, so the object is never equal to the plan. Every value that is not
//! planned must be one of the defaults listed here: an unknown one means no.

use serde_json::{Map, Value};

/// Values that the API server writes for itself into the metadata of a new object.
const METADATA: &[&str] =
    &["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];
/// Labels by which a Job selects its pods.
const OF_A_JOB: &[&str] =
    &["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

/// Whether a new object holds what is planned, and besides only defaults of the API server.
pub fn is_exactly(planned: &Value, actual: &Value) -> bool {
    fits("", "", planned, actual)
}

/// `parent` and `key` are the names of the fields that hold the value and its parent.
fn fits(parent: &str, key: &str, planned: &Value, actual: &Value) -> bool {
    match (planned, actual) {
        (Value::Object(planned), Value::Object(actual)) => {
            planned.iter().all(|(name, value)| match actual.get(name) {
                Some(found) => fits(key, name, value, found),
                // The API server leaves out what is empty.
                None => is_empty(value),
            }) && actual
                .iter()
                .filter(|(name, value)| !value.is_null() && !planned.contains_key(*name))
                .all(|(name, value)| is_default(key, name, value, planned))
        }
        (Value::Array(planned), Value::Array(actual)) => {
            planned.len() == actual.len()
                && planned.iter().zip(actual).all(|(planned, actual)| fits(parent, key, planned, actual))
        }
        (Value::String(planned), Value::String(actual))
            if matches!(parent, "limits" | "requests") || key == "sizeLimit" =>
        {
            planned == actual || amount(planned).is_some_and(|planned| amount(actual) == Some(planned))
        }
        _ => planned == actual,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Whether the API server fills in this value of a Job where the plan says nothing.
fn is_default(parent: &str, name: &str, value: &Value, planned: &Map<String, Value>) -> bool {
    let text = value.as_str();
    match (parent, name) {
        ("", "status") => true,
        ("metadata", _) if METADATA.contains(&name) => true,
        ("metadata", "labels") | ("spec", "selector") => selects_its_pods(value),
        ("labels", _) => OF_A_JOB.contains(&name),
        (_, "completionMode") => text == Some("NonIndexed"),
        (_, "suspend" | "manualSelector") => *value == false,
        (_, "dnsPolicy") => text == Some("ClusterFirst"),
        (_, "schedulerName") => text == Some("default-scheduler"),
        (_, "terminationGracePeriodSeconds") => *value == 30,
        (_, "securityContext" | "resources") => is_empty(value),
        (_, "serviceAccount") => planned.get("serviceAccountName") == Some(value),
        (_, "imagePullPolicy") => matches!(text, Some("IfNotPresent" | "Always")),
        (_, "terminationMessagePath") => text == Some("/dev/termination-log"),
        (_, "terminationMessagePolicy") => text == Some("File"),
        ("fieldRef", "apiVersion") => text == Some("v1"),
        ("resourceFieldRef", "divisor") => text == Some("0"),
        (_, "defaultMode") => *value == 420,
        ("serviceAccountToken", "expirationSeconds") => *value == 3600,
        _ => false,
    }
}

/// Whether labels, or a selector of labels, hold only those by which a Job selects its pods.
fn selects_its_pods(value: &Value) -> bool {
    let labels = value.get("matchLabels").unwrap_or(value);
    labels.as_object().is_some_and(|labels| labels.keys().all(|name| OF_A_JOB.contains(&name.as_str())))
}

/// The amount of a quantity such as `500m` or `1Gi`, in thousandths of the unit.
fn amount(quantity: &str) -> Option<i128> {
    let end = quantity.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let scaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let unit = 10_i128.pow(digits);
    let total = scaled.checked_mul(factor)?;
    (total % unit == 0).then_some(total / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn planned() -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "labels": {"a": "b"}},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "serviceAccountName": "sa", "automountServiceAccountToken": false, "tolerations": [],
                "containers": [
                    {"name": "main", "image": "m", "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}},
                    {"name": "help", "image": "h"}]}}}})
    }

    /// As the API server shows it to admission.
    fn filled() -> Value {
        let mut job = planned();
        let of_job = json!({"batch.kubernetes.io/controller-uid": "u", "job-name": "j"});
        json_patch::merge(
            &mut job,
            &json!({"metadata": {"uid": "u", "generation": 1, "labels": of_job}, "status": {},
            "spec": {"completionMode": "NonIndexed", "suspend": false, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": of_job}, "spec": {"tolerations": null, "serviceAccount": "sa", "dnsPolicy": "ClusterFirst",
                    "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "securityContext": {}}}}}),
        );
        for container in job["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
            json_patch::merge(
                container,
                &json!({"imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}),
            );
        }
        let containers = &mut job["spec"]["template"]["spec"]["containers"];
        containers[0]["resources"]["limits"] = json!({"cpu": "1", "memory": "1Gi"});
        containers[1]["resources"] = json!({});
        job
    }

    #[test]
    fn defaults_of_the_api_server_are_part_of_every_plan() {
        assert!(is_exactly(&planned(), &filled()));
    }

    #[test]
    fn a_value_that_is_not_planned_is_another_object() {
        let pod = |change: Value| json!({"spec": {"template": {"spec": change}}});
        for change in [
            pod(json!({"hostNetwork": true})),
            pod(json!({"serviceAccountName": "admin", "serviceAccount": "admin"})),
            pod(json!({"serviceAccount": "admin"})),
            pod(json!({"automountServiceAccountToken": true})),
            pod(json!({"automountServiceAccountToken": null, "x": 1})),
            pod(json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]})),
            pod(json!({"containers": [{"name": "main", "image": "m"}]})),
            pod(json!({"securityContext": {"runAsUser": 0}})),
            json!({"spec": {"suspend": true}}),
            json!({"spec": {"backoffLimit": 6}}),
            json!({"metadata": {"labels": {"other": "x"}}}),
            json!({"metadata": {"annotations": {"x": "y"}}}),
            json!({"metadata": {"finalizers": ["park/it"]}}),
        ] {
            let mut other = filled();
            json_patch::merge(&mut other, &change);
            assert!(!is_exactly(&planned(), &other), "{change}");
        }
        let mut other = filled();
        other["spec"]["template"]["spec"]["containers"][1]["image"] = "evil".into();
        assert!(!is_exactly(&planned(), &other));
        let mut less = filled();
        less["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "2".into();
        assert!(!is_exactly(&planned(), &less));
    }

    #[test]
    fn equal_amounts_are_equal_however_they_are_written() {
        for (one, other) in [("0.5", "500m"), ("1024Ki", "1Mi"), ("1.5Gi", "1536Mi"), ("2", "2000m")] {
            assert_eq!(amount(one), amount(other), "{one}");
            assert!(amount(one).is_some());
        }
        for bad in ["", "x", "1e3", "-1"] {
            assert_eq!(amount(bad), None, "{bad}");
        }
    }
}
