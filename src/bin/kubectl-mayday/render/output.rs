//! Objects for programs, as kubectl prints them with `-o`: JSON, YAML, or names.

use serde::Serialize;
use serde_json::{Value, json};

use crate::render::terminal::say_exactly;
use crate::text::yaml;

/// A form of output for programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    Json,
    Yaml,
    Name,
}

impl Format {
    /// `json`, `yaml` or `name`.
    pub fn any(text: &str) -> Result<Format, String> {
        match text {
            "json" => Ok(Format::Json),
            "yaml" => Ok(Format::Yaml),
            "name" => Ok(Format::Name),
            _ => Err("write json, yaml or name".to_owned()),
        }
    }

    /// `json` or `yaml`, for what has no name.
    pub fn without_names(text: &str) -> Result<Format, String> {
        Format::any(text).ok().filter(|format| *format != Format::Name).ok_or("write json or yaml".to_owned())
    }
}

/// Objects as one value: the object itself, or a list of them as kubectl makes it.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// An object that the API server has stored, as JSON.
pub fn value<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The text of an object or a list in a form.
pub fn text(format: Format, value: &Value) -> String {
    match format {
        Format::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        Format::Yaml => yaml(value).trim_end().to_owned(),
        Format::Name => names(value).join("\n"),
    }
}

/// `incident.mayday.dev/checkout-x7k2p`, as kubectl names objects.
fn names(value: &Value) -> Vec<String> {
    if let Some(items) = value["items"].as_array() {
        return items.iter().flat_map(names).collect();
    }
    let part = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let group = part("/apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    vec![format!("{}{group}/{}", part("/kind").to_lowercase(), part("/metadata/name"))]
}

/// Prints an object or a list in a form.
pub fn print(format: Format, value: &Value) {
    let text = text(format, value);
    if !text.is_empty() {
        say_exactly(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_printed_as_kubectl_prints_them() {
        let incident =
            json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "x"}});
        assert_eq!(text(Format::Name, &incident), "incident.mayday.dev/x");
        assert_eq!(text(Format::Name, &list(vec![incident.clone(), incident.clone()])).lines().count(), 2);
        assert_eq!(text(Format::Name, &list(Vec::new())), "");
        let back: Value = serde_json::from_str(&text(Format::Json, &list(vec![incident.clone()]))).unwrap();
        assert_eq!((&back["kind"], &back["items"][0]), (&json!("List"), &incident));
        assert!(text(Format::Yaml, &incident).contains("kind: Incident"));
    }

    #[test]
    fn only_known_forms_are_taken() {
        assert_eq!(Format::any("name"), Ok(Format::Name));
        assert!(Format::any("wide").is_err() && Format::without_names("name").is_err());
    }
}
