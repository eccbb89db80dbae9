//! The CustomResourceDefinitions as they are written to `crds/`.
//!
//! kube derives them from the types. What is added here holds for every field alike: a maximum where the
//! type names none (the API server refuses CEL rules over unbounded fields, and an unbounded status can
//! outgrow etcd), and no `nullable`, so that a null is refused with a clear error instead of meaning
//! something.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

/// Longest text where the type says nothing.
const MAX_LENGTH: u32 = 1024;
/// Longest list where the type says nothing.
const MAX_ITEMS: u32 = 64;
/// Largest map where the type says nothing.
const MAX_PROPERTIES: u32 = 64;
/// An instant as RFC 3339 has it. The format alone lets through what no reader takes, such as an offset of 99 hours, an
/// `x` before the fraction or words behind it; it only sees to it that the day exists.
const INSTANT: &str = concat!(
    "^([1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
    "([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
);

/// Every kind's CRD as JSON, in the order of their names.
///
/// # Errors
/// When a derived CRD cannot be written as JSON, which would be a defect of the types.
pub fn all() -> Result<Vec<Value>, serde_json::Error> {
    [
        super::AlertSource::crd(),
        super::Approval::crd(),
        super::BusinessService::crd(),
        super::ChangePolicy::crd(),
        super::ChangeRequest::crd(),
        super::Freeze::crd(),
        super::Incident::crd(),
        super::Notification::crd(),
        super::NotificationChannel::crd(),
        super::OnCallOverride::crd(),
        super::OnCallRotation::crd(),
        super::Runbook::crd(),
        super::RunbookRun::crd(),
    ]
    .iter()
    .map(bounded)
    .collect()
}

/// File name of a CRD: `mayday.dev_incidents.yaml`.
pub fn file_name(crd: &Value) -> String {
    let text = |pointer| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{}_{}.yaml", text("/spec/group"), text("/spec/names/plural"))
}

fn bounded(crd: &CustomResourceDefinition) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    debug_assert!(crd.meta().name.is_some());
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                bound(schema);
                describe(schema);
                start(schema);
            }
        }
    }
    Ok(value)
}

/// The sentence about the kind stands on its spec's type; `kubectl explain` shows it for the kind too.
fn describe(schema: &mut Value) {
    if let Some(sentence) = schema.pointer("/properties/spec/description").cloned() {
        schema["description"] = sentence;
    }
}

/// A kind whose state has a default is in it from its creation on, before anybody writes its status.
fn start(schema: &mut Value) {
    if let Some(state) = schema.pointer("/properties/status/properties/state/default").cloned() {
        schema["properties"]["status"]["default"] = serde_json::json!({"state": state});
    }
}

fn bound(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => bound_string(schema),
        Some("array") => {
            // schemars writes lengths of lists and texts alike; kube keeps both spellings.
            schema.entry("maxItems").or_insert(MAX_ITEMS.into());
        }
        Some("object") if schema.contains_key("additionalProperties") => {
            schema.entry("maxProperties").or_insert(MAX_PROPERTIES.into());
        }
        _ => {}
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(key) {
            bound(child);
        }
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(bound);
    }
}

fn bound_string(schema: &mut Map<String, Value>) {
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        // The only formats in use are instants; the longest has nine digits of a second and an offset.
        debug_assert_eq!(format, "date-time");
        schema.entry("maxLength").or_insert(40.into());
        schema.entry("pattern").or_insert(INSTANT.into());
    } else if !schema.contains_key("enum") {
        schema.entry("maxLength").or_insert(MAX_LENGTH.into());
    }
}

/// A CRD as a YAML file, with a line that says where it comes from.
///
/// # Errors
/// When the value cannot be written as YAML.
pub fn yaml(crd: &Value) -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("# Written by `mayday crds` from src/api.\n{}", serde_saphyr::to_string(crd)?))
}
