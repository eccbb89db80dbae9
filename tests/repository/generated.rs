//! The generated files are current, and the texts that `kubectl explain` shows are complete.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::fs;
use std::path::Path;

use mayday::api::crds;
use serde_json::Value;

#[test]
fn crds_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let all = crds::all().unwrap();
    for crd in &all {
        let path = folder.join(crds::file_name(crd));
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, crds::yaml(crd).unwrap(), "{} is old: run `make generate`", path.display());
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), all.len(), "crds/ holds a file of a kind that is gone");
}

#[test]
fn every_kind_has_a_short_name_a_category_and_columns() {
    for crd in crds::all().unwrap() {
        let name = crds::file_name(&crd);
        let names = &crd["spec"]["names"];
        assert_eq!(names["categories"], serde_json::json!(["mayday"]), "{name}");
        assert_eq!(names["shortNames"].as_array().map(Vec::len), Some(1), "{name}");
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
        // Those that `-o wide` adds are beside the rules.
        let shown = columns.iter().filter(|column| column["priority"].as_i64().unwrap_or_default() == 0);
        let shown: Vec<&str> = shown.map(|column| column["name"].as_str().unwrap()).collect();
        let kind = names["kind"].as_str().unwrap();
        let expected = COLUMNS.iter().find(|(known, _)| *known == kind).unwrap().1;
        assert_eq!(shown.join(", "), expected, "{name}");
    }
}

/// The columns of each kind, as the rules list them.
const COLUMNS: &[(&str, &str)] = &[
    ("Incident", "Sev, State, Waiting-On, Lead, Since, Title"),
    ("BusinessService", "Healthy, Ready, Incident, On-Duty, Age"),
    ("Runbook", "Start, Approved, Ready, Last-Run, Last-Good, Summary, Age"),
    ("RunbookRun", "Runbook, State, Step, Incident, Age"),
    ("ChangeRequest", "State, Missing, Requester, Uses, Age"),
    ("Approval", "Subject, Decision, By, Counted, Age"),
    ("ChangePolicy", "Enforcement, Enforced, Ready, Incidents, Age"),
    ("Freeze", "Policy, Stops, Active, Ready, Next, Until"),
    ("OnCallRotation", "Ready, On-Duty, Until, Next, Age"),
    ("OnCallOverride", "Rotation, Who, Ready, Start, End, State"),
    ("NotificationChannel", "Type, Delivering, Ready, Last-Sent, Age"),
    ("Notification", "About, To, Channel, State, Age"),
    ("AlertSource", "Type, Receiving, Ready, Open, Age"),
];

#[test]
fn every_field_is_explained_and_bounded() {
    let mut problems = Vec::new();
    for crd in crds::all().unwrap() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            look(&format!("{kind}.{part}"), &schema["properties"][part], &mut problems);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn look(path: &str, schema: &Value, problems: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    match schema["type"].as_str() {
        Some("string") if !has("maxLength") && !has("enum") => problems.push(format!("{path}: no maxLength")),
        Some("array") if !has("maxItems") => problems.push(format!("{path}: no maxItems")),
        Some("object") if has("additionalProperties") && !has("maxProperties") => {
            problems.push(format!("{path}: no maxProperties"));
        }
        _ => {}
    }
    if has("nullable") {
        problems.push(format!("{path}: a null would be accepted"));
    }
    for word in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"]
            .contains(&word.to_lowercase().as_str())
        {
            problems.push(format!("{path}: YAML reads {word} as something else"));
        }
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, child) in properties {
            let path = format!("{path}.{name}");
            if child["description"].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{path}: no description"));
            }
            look(&path, child, problems);
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            look(&format!("{path}[]"), &schema[key], problems);
        }
    }
}

/// Most bytes that a status may take. etcd refuses an object of 1.5 MiB, and the spec is beside the status.
const STATUS: usize = 1 << 20;

/// Bounds that the code keeps and a schema cannot express: the field, its bytes, and the code.
const KEPT_BY_CODE: &[(&str, usize, &str)] = &[
    (
        "Incident.status.signals[].labels",
        2048 + 32 * 6,
        "detect/observation.rs: MAX_LABEL_BYTES, and the quotes",
    ),
    (
        "ChangeRequest.status.plan",
        512 * 1024,
        "change/request/validate.rs: BYTES, for spec, plan and uses together",
    ),
    ("ChangeRequest.status.used", 0, "as above"),
    ("RunbookRun.status.steps", 112 * 1024, "runbook/run/journal.rs: MAX_STEPS"),
    ("RunbookRun.status.snapshot.spec", 64 * 1024, "runbook/validate.rs: MAX_BYTES"),
];

#[test]
fn every_status_fits_into_etcd_by_its_declared_bounds() {
    let crds = crds::all().unwrap();
    let schema = |kind: &str, part: &str| {
        let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
    };
    let mut problems = Vec::new();
    for crd in &crds {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        let bytes = bytes(&format!("{kind}.status"), &schema(kind, "status"));
        println!("{kind}.status: {bytes}");
        if bytes > STATUS {
            problems.push(format!("{kind}.status may take {bytes} bytes, {} too many", bytes - STATUS));
        }
    }
    let notification = bytes("Notification.spec", &schema("Notification", "spec"));
    assert!(notification < 16 * 1024, "a message is small: {notification}");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Most bytes of a field as JSON, one byte a character.
fn bytes(path: &str, schema: &Value) -> usize {
    if let Some((_, bytes, _)) = KEPT_BY_CODE.iter().find(|(kept, ..)| *kept == path) {
        return *bytes;
    }
    let max = |key: &str| {
        usize::try_from(schema[key].as_u64().unwrap_or_else(|| panic!("{path}: no {key}"))).unwrap()
    };
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| word.to_string().len()).max().unwrap();
    }
    match schema["type"].as_str() {
        Some("string") => max("maxLength") + 2,
        Some("integer") => 20,
        Some("boolean") => 5,
        Some("array") => max("maxItems") * (bytes(&format!("{path}[]"), &schema["items"]) + 1) + 2,
        // The keys of maps are names and labels: 253 characters.
        Some("object") if schema["additionalProperties"].is_object() => {
            let value = bytes(&format!("{path}{{}}"), &schema["additionalProperties"]);
            max("maxProperties") * (253 + 4 + value) + 2
        }
        Some("object") => {
            let (mut all, mut largest) = (2, 0);
            let members = members(schema);
            for (name, child) in schema["properties"].as_object().into_iter().flatten() {
                let bytes = name.len() + 4 + bytes(&format!("{path}.{name}"), child);
                if members.contains(name) {
                    largest = largest.max(bytes);
                } else {
                    all += bytes;
                }
            }
            all + largest
        }
        other => panic!("{path}: no bound is known for {other:?}"),
    }
}

/// The members of a union, of which a rule lets only one be set.
fn members(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    let union = rules.filter_map(|rule| rule["rule"].as_str()).find(|rule| rule.contains(".size() == 1"));
    let parts = union.map(|rule| rule.split("has(self.").skip(1)).into_iter().flatten();
    parts.filter_map(|part| part.split(')').next()).map(str::to_owned).collect()
}
