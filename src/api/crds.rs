//! Generates the CustomResourceDefinitions for `crds/`.
//!
//! kube derives them from the types. This module adds two rules for every field. A field without its own
//! limit gets a maximum, because the API server refuses CEL rules over unbounded fields and an unbounded
//! status can outgrow etcd. `nullable` is removed, so that a null is refused with a clear error and never
//! gets a meaning.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

/// Maximum length of a text in characters, unless the type sets its own.
const MAX_LENGTH: u32 = 1024;
/// Maximum number of items in a list, unless the type sets its own.
const MAX_ITEMS: u32 = 64;
/// Maximum number of entries in a map, unless the type sets its own.
const MAX_PROPERTIES: u32 = 64;
/// Pattern of an RFC 3339 instant. The format `date-time` alone only ensures that the day exists. It accepts
/// values that no reader accepts, such as an offset of 99 hours, an `x` before the fraction or words after
/// it.
const INSTANT: &str = concat!(
    "^([1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
    "([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
);

/// Every kind's CRD as JSON, in the order of their names.
///
/// # Errors
/// When a derived CRD cannot be written as JSON, which would be a defect in the types.
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

/// Copies the description of the spec's type to the kind, so that `kubectl explain` shows it for the kind
/// too.
fn describe(schema: &mut Value) {
    if let Some(sentence) = schema.pointer("/properties/spec/description").cloned() {
        schema["description"] = sentence;
    }
}

/// Gives each new object the default state of its kind at creation, before the operator writes a status.
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
            // schemars spells the limits of lists and texts alike, and kube keeps both spellings.
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
        // Instants are the only format in use. The longest has nine fractional digits and an offset.
        debug_assert_eq!(format, "date-time");
        schema.entry("maxLength").or_insert(40.into());
        schema.entry("pattern").or_insert(INSTANT.into());
    } else if !schema.contains_key("enum") {
        schema.entry("maxLength").or_insert(MAX_LENGTH.into());
    }
}

/// A CRD as a YAML file, with a first line that names its source.
///
/// # Errors
/// When the value cannot be written as YAML.
pub fn yaml(crd: &Value) -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("# Written by `mayday crds` from src/api.\n{}", serde_saphyr::to_string(crd)?))
}
