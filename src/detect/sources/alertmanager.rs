//! The source `alertmanager`: the webhook of Alertmanager, version 4. Pure.
//!
//! Each alert counts by itself. The state of the whole message is wrong if the message was truncated, and Alertmanager
//! sends nothing at all for a silenced group.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Intake, Posted, Source};
use crate::api::AlertSource;
use crate::api::common::Severity;
use crate::detect::namespaces;
use crate::detect::observation::{Observation, severity};
use crate::incident::signals;
use crate::service::matching;
use crate::text::flat;

/// A message, as far as it is used. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    version: String,
    #[serde(default)]
    group_labels: BTreeMap<String, String>,
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: String,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default)]
    fingerprint: String,
}

/// The kind `alertmanager`.
pub struct Alertmanager;

impl Source for Alertmanager {
    fn intake(&self) -> Option<&dyn Intake> {
        Some(self)
    }
}

impl Intake for Alertmanager {
    fn read(&self, body: &[u8], source: &AlertSource, now: Timestamp) -> Result<Posted, String> {
        read(body, source, now)
    }
}

fn read(body: &[u8], source: &AlertSource, now: Timestamp) -> Result<Posted, String> {
    let message: Message = serde_json::from_slice(body)
        .map_err(|error| format!("this is not a message of Alertmanager's webhook: {error}"))?;
    if message.version != "4" {
        return Err(format!(
            "version {:?} of Alertmanager's webhook is not known here; version 4 is",
            flat(&message.version, 20)
        ));
    }
    let group = group(&message.group_labels);
    let mut posted = Posted::default();
    for (index, alert) in message.alerts.into_iter().enumerate() {
        let place = |what: &str, error: &str| format!("alerts[{index}].{what}: {error}");
        let start = time(&alert.starts_at)
            .map_err(|error| place("startsAt", &error))?
            .ok_or_else(|| place("startsAt", "an alert must have begun at some time"))?;
        let stated = match alert.ends_at.as_deref() {
            None | Some("") => None,
            Some(text) => time(text).map_err(|error| place("endsAt", &error))?,
        };
        let end = match alert.status.as_str() {
            "firing" => None,
            // A cleared alert without an end ended a moment ago.
            "resolved" => Some(stated.unwrap_or(now)),
            other => {
                return Err(place(
                    "status",
                    &format!("{:?} is neither firing nor resolved", flat(other, 20)),
                ));
            }
        };
        // An alert that is ignored now may have counted when it began, so its end is always read.
        let ended = end.map(|_| Severity::Sev5);
        let Some(severity) = severity(&source.spec.severity, &alert.labels).or(ended) else { continue };
        if let (None, Some(namespace)) = (end, namespaces::elsewhere(source, &alert.labels)) {
            *posted.elsewhere.entry(flat(namespace, 63)).or_default() += 1;
            continue;
        }
        let rule = source.spec.service.as_ref();
        let name = said(alert.labels.get("alertname")).unwrap_or_else(|| "alert".to_owned());
        let annotation = |name: &str| said(alert.annotations.get(name));
        let summary = annotation("summary").or_else(|| annotation("description"));
        let fingerprint = said(Some(&alert.fingerprint)).map(|_| signals::id(&alert.fingerprint));
        posted.observations.push(Observation {
            id: fingerprint.unwrap_or_else(|| self::group(&alert.labels)),
            name,
            summary,
            severity,
            start,
            end,
            object: matching::object(rule, &alert.labels, None),
            labels: alert.labels,
            group: group.clone(),
        });
    }
    Ok(posted)
}

/// The identity of a group: a hash of its sorted labels. Alertmanager's own key changes with its configuration.
fn group(labels: &BTreeMap<String, String>) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for (name, value) in labels {
        for part in [name, value] {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Maximum length of a text in bytes; what is stored is shorter.
const MAX_TEXT: usize = 2048;

/// A text on one line; `None` if it is blank.
fn said(text: Option<&String>) -> Option<String> {
    text.map(|text| flat(text, MAX_TEXT)).filter(|text| !text.trim().is_empty())
}

/// The last instant that can be stored: 9998-12-31T23:59:59Z.
const LAST: Timestamp = Timestamp::constant(253_370_764_799, 0);

/// Reads an instant; year 1 stands for none.
fn time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.starts_with("0001-01-01T00:00:00") {
        return Ok(None);
    }
    let known = text.parse().ok().filter(|time: &Timestamp| *time >= Timestamp::UNIX_EPOCH);
    known
        .map(|time| Some(time.min(LAST)))
        .ok_or_else(|| format!("{:?} is not a time such as 2026-11-22T14:03:10Z", flat(text, 60)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn source() -> AlertSource {
        let spec = json!({"alertmanager": {}, "severity": {"fromLabel": "severity",
            "map": {"critical": "SEV1", "none": "Ignore"}, "default": "SEV2"},
            "service": {"byObject": {"apiVersion": "apps/v1", "kind": "Deployment", "nameFromLabel": "deployment"}}});
        let mut source = AlertSource::new("am", serde_json::from_value(spec).unwrap());
        source.metadata.namespace = Some("shop".to_owned());
        source
    }

    fn now() -> Timestamp {
        "2026-11-22T13:30:00Z".parse().unwrap()
    }

    fn message(alert: Value) -> Value {
        let mut whole = json!({"status": "firing", "labels": {"alertname": "CheckoutDown", "severity": "critical", "deployment": "checkout"},
            "annotations": {"summary": "checkout does not answer"}, "startsAt": "2026-11-22T14:03:10.123+01:00",
            "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "ab12", "generatorURL": "http://x"});
        json_patch::merge(&mut whole, &alert);
        json!({"version": "4", "status": "firing", "groupKey": "{}", "truncatedAlerts": 0, "new": {"in": "a later version"},
            "groupLabels": {"alertname": "CheckoutDown"}, "alerts": [whole]})
    }

    fn parse(message: &Value) -> Result<Vec<Observation>, String> {
        read(message.to_string().as_bytes(), &source(), now()).map(|posted| posted.observations)
    }

    /// The kind: decisions are made on bounded copies. What decides may stand after forty other labels, or be long.
    #[test]
    fn the_service_the_severity_and_the_object_are_found_among_all_labels() {
        let mut labels: Value = (0..40)
            .map(|n| (format!("a{n:02}"), json!("ü".repeat(1000))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        labels["zz"] = json!("checkout");
        labels["zy"] = json!("critical");
        let alert = message(json!({"labels": labels}));
        let mut source = source();
        source.spec.severity.from_label = Some("zy".to_owned());
        let by_object = source.spec.service.as_mut().unwrap().by_object.as_mut().unwrap();
        by_object.name_from_label = Some("zz".to_owned());
        let seen = read(alert.to_string().as_bytes(), &source, now()).unwrap().observations.remove(0);
        assert_eq!(seen.severity, Severity::Sev1);
        assert_eq!(seen.object.unwrap().name, "checkout");
        assert_eq!(seen.labels.get("zz").map(String::as_str), Some("checkout"));
        let group = |value: &str| {
            let mut other = alert.clone();
            other["groupLabels"] = json!({"a": format!("{}{value}", "x".repeat(1000))});
            parse(&other).unwrap()[0].group.clone()
        };
        assert_ne!(group("one"), group("two"));
    }

    /// The kind: an alert about another namespace counts as an outage of this one.
    #[test]
    fn an_alert_about_another_namespace_is_left_out_and_its_end_is_read() {
        let about = |namespace: &str, end: Value| {
            let alert =
                message(json!({"labels": {"namespace": namespace}, "status": if end.is_null() { "firing" }
                else { "resolved" }, "endsAt": end}));
            read(alert.to_string().as_bytes(), &source(), now()).unwrap()
        };
        assert_eq!(about("shop", Value::Null).observations.len(), 1);
        let staging = about("staging", Value::Null);
        assert_eq!((staging.observations.len(), staging.elsewhere.get("staging")), (0, Some(&1)));
        assert_eq!(
            about("staging", json!("2026-11-22T13:10:00Z")).observations.len(),
            1,
            "it may have counted before"
        );
    }

    #[test]
    fn a_cleared_alert_without_an_end_ended_a_moment_ago() {
        let seen = parse(&message(json!({"status": "resolved"}))).unwrap();
        assert_eq!(seen[0].end, Some(now()));
    }

    #[test]
    fn a_firing_alert_is_read_with_what_it_is_about() {
        let seen = &parse(&message(json!({}))).unwrap()[0];
        assert_eq!((seen.id.as_str(), seen.name.as_str()), ("ab12", "CheckoutDown"));
        assert_eq!(seen.start.to_string(), "2026-11-22T13:03:10.123Z");
        assert_eq!(seen.end, None);
        assert_eq!(seen.severity, Severity::Sev1);
        assert_eq!(seen.object.as_ref().unwrap().display(), "deployment/checkout");
    }

    #[test]
    fn a_cleared_alert_ends_whatever_the_whole_message_says() {
        let cleared = message(json!({"status": "resolved", "endsAt": "2026-11-22T13:10:00Z"}));
        assert_eq!(parse(&cleared).unwrap()[0].end.unwrap().to_string(), "2026-11-22T13:10:00Z");
        // Truncated and called resolved: what it does not name is not cleared by it.
        let mut truncated = message(json!({}));
        truncated["status"] = json!("resolved");
        truncated["truncatedAlerts"] = json!(1);
        assert_eq!(parse(&truncated).unwrap()[0].end, None);
    }

    #[test]
    fn an_unknown_severity_goes_up_and_an_ignored_one_is_left_out() {
        assert_eq!(
            parse(&message(json!({"labels": {"severity": "apocalyptic"}}))).unwrap()[0].severity,
            Severity::Sev2
        );
        assert_eq!(
            parse(&message(json!({"labels": {"severity": null}}))).unwrap()[0].severity,
            Severity::Sev2
        );
        assert_eq!(parse(&message(json!({"labels": {"severity": "none"}}))).unwrap(), []);
        let cleared =
            json!({"labels": {"severity": "none"}, "status": "resolved", "endsAt": "2026-11-22T13:10:00Z"});
        assert!(
            parse(&message(cleared)).unwrap()[0].end.is_some(),
            "the map may have been another when it began"
        );
    }

    #[test]
    fn a_blank_value_counts_as_absent() {
        let empty = json!({"labels": {"alertname": " ", "deployment": ""}, "annotations": {"summary": "\n", "description": "d"},
            "fingerprint": ""});
        let seen = &parse(&message(empty)).unwrap()[0];
        assert_eq!((seen.name.as_str(), seen.summary.as_deref(), &seen.object), ("alert", Some("d"), &None));
        assert_eq!(seen.id.len(), 32, "by its labels");
    }

    #[test]
    fn a_label_that_is_no_object_name_names_no_object() {
        let named = |name: &str| {
            let seen = parse(&message(json!({"labels": {"deployment": name}}))).unwrap();
            seen[0].object.as_ref().map(|object| object.name.clone())
        };
        assert_eq!(named("till-2.eu"), Some("till-2.eu".to_owned()));
        for other in ["a b", "Till", "../till", "till-", &"t".repeat(300)] {
            assert_eq!(named(other), None, "{other}");
        }
    }

    #[test]
    fn an_instant_too_late_to_be_stored_becomes_the_last_one() {
        assert_eq!(time("9999-06-01T00:00:00Z"), Ok(Some(LAST)));
        assert_eq!(LAST.to_string(), "9998-12-31T23:59:59Z");
    }

    #[test]
    fn an_unreadable_field_is_named() {
        assert!(parse(&message(json!({"startsAt": "-000001-01-01T00:00:00Z"}))).is_err());
        assert!(
            parse(&message(json!({"startsAt": "yesterday"}))).unwrap_err().starts_with("alerts[0].startsAt")
        );
        assert!(
            parse(&message(json!({"startsAt": "0001-01-01T00:00:00Z"}))).unwrap_err().contains("startsAt")
        );
        assert!(parse(&message(json!({"status": "maybe"}))).unwrap_err().contains("status"));
        let mut old = message(json!({}));
        old["version"] = json!("3");
        assert!(parse(&old).unwrap_err().contains("version 4"));
        assert!(read(b"{", &source(), now()).unwrap_err().contains("not a message"));
    }

    #[test]
    fn the_group_is_its_labels_and_not_the_key_of_the_configuration() {
        let mut renamed = message(json!({}));
        renamed["groupKey"] = json!("{}/{route=\"other\"}:{}");
        assert_eq!(parse(&renamed).unwrap()[0].group, parse(&message(json!({}))).unwrap()[0].group);
    }

    #[test]
    fn the_labels_are_the_identity_of_an_alert_without_fingerprint() {
        let one = parse(&message(json!({"fingerprint": ""}))).unwrap();
        let other = parse(&message(json!({"fingerprint": "", "labels": {"pod": "x"}}))).unwrap();
        assert!(!one[0].id.is_empty());
        assert_ne!(one[0].id, other[0].id);
    }
}
