//! Values of the parameters of a run: from the run itself, else from its incident, else the default. Pure.
//!
//! What an alert says is data of a stranger. A value must fit its parameter, and a step uses it only as a whole value.

use crate::api::Incident;
use crate::api::common::ParameterValue;
use crate::api::runbook::{IncidentField, Parameter, ParameterSource, RunbookSpec};
use crate::problem::Problem;
use crate::runbook::validate::misfit;

/// Maximum length of a text, in bytes, as in the schema.
const MAX_TEXT: usize = 253;

/// The value of every parameter, in the order in which they are declared.
///
/// # Errors
/// The first parameter without a value, or with one that does not fit.
pub fn resolve(
    spec: &RunbookSpec,
    given: &[ParameterValue],
    incident: Option<&Incident>,
) -> Result<Vec<ParameterValue>, Problem> {
    let value = |(index, parameter): (usize, &Parameter)| {
        let problem = |message: String| Problem::new(format!("spec.parameters[{index}]"), message);
        let name = &parameter.name;
        let by_run = given.iter().find(|value| value.name == *name).cloned();
        let value = match (by_run, &parameter.from, default(parameter)) {
            (Some(value), ..) => value,
            (None, Some(source), default) => match from_incident(parameter, source, incident) {
                Ok(value) => value,
                Err(why) => default.ok_or_else(|| problem(format!("{name} has no value: {why}")))?,
            },
            (None, None, Some(default)) => default,
            (None, None, None) => {
                return Err(problem(format!("{name} has no default, so the run must give it")));
            }
        };
        match misfit(parameter, &value) {
            Some(message) => Err(problem(message)),
            None => Ok(value),
        }
    };
    spec.parameters.iter().enumerate().map(value).collect()
}

/// The default of a parameter.
pub fn default(parameter: &Parameter) -> Option<ParameterValue> {
    let name = parameter.name.clone();
    match (&parameter.integer, &parameter.string) {
        (Some(integer), _) => {
            Some(ParameterValue { name, integer: Some(integer.default?), ..ParameterValue::default() })
        }
        (None, Some(string)) => {
            Some(ParameterValue { name, string: Some(string.default.clone()?), ..ParameterValue::default() })
        }
        (None, None) => None,
    }
}

fn from_incident(
    parameter: &Parameter,
    source: &ParameterSource,
    incident: Option<&Incident>,
) -> Result<ParameterValue, String> {
    let incident = incident.ok_or("the run is for no incident")?;
    let text = match (&source.incident, &source.label) {
        (Some(field), _) => of_field(incident, *field)?,
        (None, Some(label)) => of_label(incident, label)?,
        (None, None) => return Err("its source names nothing".to_owned()),
    };
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err("the incident gives a text that is too long or not printable".to_owned());
    }
    let name = parameter.name.clone();
    if parameter.integer.is_some() {
        let integer = text.parse().map_err(|_| "the incident gives no whole number".to_owned())?;
        return Ok(ParameterValue { name, integer: Some(integer), ..ParameterValue::default() });
    }
    Ok(ParameterValue { name, string: Some(text), ..ParameterValue::default() })
}

fn of_field(incident: &Incident, field: IncidentField) -> Result<String, String> {
    let status = incident.status.as_ref();
    match field {
        IncidentField::Name => incident.metadata.name.clone().ok_or_else(|| "it has no name".to_owned()),
        IncidentField::Service => status
            .and_then(|status| Some(status.service.as_ref()?.r#ref.name.clone()))
            .or_else(|| Some(incident.spec.service_refs.first()?.name.clone()))
            .ok_or_else(|| "the incident is about no service".to_owned()),
        IncidentField::Severity => Ok(incident.spec.severity.to_string()),
    }
}

/// The value of a label, if all firing signals that have it agree.
fn of_label(incident: &Incident, label: &str) -> Result<String, String> {
    let signals = incident.status.iter().flat_map(|status| &status.signals);
    let mut values: Vec<&String> =
        signals.filter(|signal| signal.is_firing()).filter_map(|signal| signal.labels.get(label)).collect();
    values.sort();
    values.dedup();
    match values.as_slice() {
        [value] => Ok((*value).clone()),
        [] => Err(format!("no firing signal has the label {label:?}")),
        _ => Err(format!("firing signals disagree about the label {label:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(parameter: Value) -> RunbookSpec {
        serde_json::from_value(
            json!({"summary": "s", "serviceAccountName": "sa", "steps": [], "parameters": [parameter]}),
        )
        .unwrap()
    }

    fn incident(labels: &[Value]) -> Incident {
        let signals: Vec<Value> = labels
            .iter()
            .enumerate()
            .map(|(index, labels)| {
                json!({"id": format!("s{index}"), "sourceRef": {"name": "a"}, "name": "n", "severity": "SEV1", "labels": labels,
                    "startTime": "2026-11-22T02:00:00Z", "lastSeenTime": "2026-11-22T02:00:00Z"})
            })
            .collect();
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "cannot-pay"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": {"signals": signals}}))
        .unwrap()
    }

    fn resolved(parameter: Value, given: Value, incident: Option<&Incident>) -> Result<Value, String> {
        let given: Vec<ParameterValue> = serde_json::from_value(given).unwrap();
        let values = resolve(&spec(parameter), &given, incident).map_err(|problem| problem.to_string())?;
        let value = &values[0];
        Ok(value.integer.map(Value::from).or_else(|| value.string.clone().map(Value::from)).unwrap())
    }

    #[test]
    fn a_value_comes_from_the_run_then_the_incident_then_the_default() {
        let shard =
            json!({"name": "shard", "integer": {"default": 1, "maximum": 9}, "from": {"label": "shard"}});
        let outage = incident(&[json!({"shard": "4"})]);
        let given = json!([{"name": "shard", "integer": 7}]);
        assert_eq!(resolved(shard.clone(), given, Some(&outage)), Ok(7.into()));
        assert_eq!(resolved(shard.clone(), json!([]), Some(&outage)), Ok(4.into()));
        assert_eq!(resolved(shard.clone(), json!([]), None), Ok(1.into()));
        let disagree = incident(&[json!({"shard": "4"}), json!({"shard": "5"})]);
        assert_eq!(resolved(shard.clone(), json!([]), Some(&disagree)), Ok(1.into()));
        let too_large = incident(&[json!({"shard": "44"})]);
        assert!(resolved(shard, json!([]), Some(&too_large)).unwrap_err().contains("at most 9"));
    }

    #[test]
    fn a_parameter_without_any_value_says_why() {
        let shard = json!({"name": "shard", "string": {}, "from": {"label": "shard"}});
        let why = |incident: Option<&Incident>| resolved(shard.clone(), json!([]), incident).unwrap_err();
        assert!(why(None).contains("for no incident"));
        assert!(why(Some(&incident(&[json!({})]))).contains("no firing signal"));
        let disagree = incident(&[json!({"shard": "a"}), json!({"shard": "b"})]);
        assert!(why(Some(&disagree)).contains("disagree"));
        let control = incident(&[json!({"shard": "a\u{0}b"})]);
        assert!(why(Some(&control)).contains("not printable"));
        let name = json!({"name": "n", "string": {}, "from": {"incident": "Name"}});
        assert_eq!(resolved(name, json!([]), Some(&incident(&[]))), Ok("cannot-pay".into()));
    }
}
