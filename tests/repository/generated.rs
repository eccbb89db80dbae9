//! What is generated is current, and what `kubectl explain` shows is complete.

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
    ("BusinessService", "Healthy, Incident, On-Duty, Age"),
    ("Runbook", "Start, Approved, Last-Run, Summary, Age"),
    ("RunbookRun", "Runbook, State, Step, Incident, Age"),
    ("ChangeRequest", "State, Missing, Requester, Uses, Age"),
    ("Approval", "Subject, Decision, By, Counted, Age"),
    ("ChangePolicy", "Enforcement, Enforced, Incidents, Age"),
    ("Freeze", "Policy, Stops, Active, Until"),
    ("OnCallRotation", "On-Duty, Until, Next, Age"),
    ("OnCallOverride", "Rotation, Who, Start, End, State"),
    ("NotificationChannel", "Type, Delivering, Last-Sent, Age"),
    ("AlertSource", "Type, Receiving, Open, Age"),
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
