//! An observation of a source, and how it is stored as a signal. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::api::alert_source::SeverityRule;
use crate::api::common::{NameRef, ObjectRef, Severity, stored_time};
use crate::api::incident_status::Signal;
use crate::text::{cut, flat};

/// Maximum length of the name of a signal, in characters, as the schema counts; a Runbook may name all of it.
const MAX_NAME: usize = 200;
/// Maximum number of labels of a signal.
const MAX_LABELS: usize = 32;
/// Maximum length of the name and of the value of a label.
const MAX_LABEL: usize = 253;
/// Maximum size of all labels of a signal in bytes, so that a full list of signals can be stored.
const MAX_LABEL_BYTES: usize = 2048;

/// What a source has seen of one thing, before it is assigned to an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The id that the source gives to it; the same for every report of one thing.
    pub id: String,
    /// Name of the alert, or of the condition.
    pub name: String,
    /// What is wrong, in a few words.
    pub summary: Option<String>,
    /// The severity by the source's rule.
    pub severity: Severity,
    /// When it began, as the source says.
    pub start: Timestamp,
    /// When it cleared; `None` while it fires.
    pub end: Option<Timestamp>,
    /// All its labels. What is decided, is decided on them; only what is stored is bounded.
    pub labels: BTreeMap<String, String>,
    /// The object it is about.
    pub object: Option<ObjectRef>,
    /// The group that the source puts it into; used if no service claims it.
    pub group: String,
}

impl Observation {
    /// The signal that is stored for it. `wanted` are the names of labels that something is decided on later.
    pub fn signal(&self, source: &str, wanted: &BTreeSet<String>, now: Timestamp) -> Signal {
        Signal {
            source_ref: NameRef { name: source.to_owned() },
            id: self.id.clone(),
            name: short(&self.name, MAX_NAME),
            summary: self.summary.as_deref().map(|summary| cut(summary, 500)),
            severity: self.severity,
            start_time: stored_time(self.start),
            end_time: self.end.map(stored_time),
            last_seen_time: stored_time(now),
            contradicted_time: None,
            previous_end_time: None,
            group: cut(&self.group, 128),
            labels: bounded_labels(&self.labels, wanted),
            object: self.object.clone(),
        }
    }
}

/// Labels within their bounds: 32, first those that are wanted and then the others by name, each value on one line, 2 KiB
/// in all. A value is cut to 253 bytes, a wanted one to 253 characters, of which a Runbook may name all.
fn bounded_labels(labels: &BTreeMap<String, String>, wanted: &BTreeSet<String>) -> BTreeMap<String, String> {
    let (first, rest): (Vec<_>, Vec<_>) = labels.iter().partition(|(name, _)| wanted.contains(*name));
    let first = first.into_iter().map(|(name, value)| (name, short(value, MAX_LABEL)));
    let rest = rest.into_iter().map(|(name, value)| (name, flat(value, MAX_LABEL)));
    first
        .chain(rest)
        .filter(|(name, _)| !name.is_empty() && name.len() <= MAX_LABEL)
        .take(MAX_LABELS)
        .scan(MAX_LABEL_BYTES, |room, (name, value)| {
            // The size in JSON, where a quote takes two bytes.
            let size = serde_json::to_string(&(name, &value)).ok()?.len();
            *room = room.checked_sub(size)?;
            Some((name.clone(), value))
        })
        .collect()
}

/// A foreign text on one line, cut to `most` characters.
fn short(text: &str, most: usize) -> String {
    // No character has more than four bytes.
    let line = flat(text, most.saturating_mul(4));
    if line.chars().count() <= most {
        return line;
    }
    let head: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{head}…")
}

/// The severity by the source's rule; `None` if the signal is to be ignored. A value that the map lacks gets the
/// default, which is high: unknown goes up, not down.
pub fn severity(rule: &SeverityRule, labels: &BTreeMap<String, String>) -> Option<Severity> {
    if let Some(fixed) = rule.fixed {
        return Some(fixed);
    }
    let value = rule.from_label.as_ref().and_then(|label| labels.get(label));
    match value.and_then(|value| rule.map.get(value)) {
        Some(mapped) => mapped.severity(),
        None => Some(rule.default.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::signals::KEPT;

    impl Observation {
        /// `CheckoutDown`, which fires since a second of 1970.
        pub fn firing(start: i64) -> Observation {
            Observation {
                id: "f".into(),
                name: "CheckoutDown".into(),
                summary: Some("does not answer".into()),
                severity: Severity::Sev2,
                start: Timestamp::from_second(start).unwrap(),
                end: None,
                labels: BTreeMap::new(),
                object: None,
                group: "g".into(),
            }
        }
    }

    #[test]
    fn hostile_labels_are_cut_and_flattened() {
        let labels: BTreeMap<String, String> = (0..200)
            .map(|n| (format!("l{n:03}"), format!("\"}} or vector(1) #\n{{{{x}}}}{}", "x".repeat(1_000_000))))
            .collect();
        let kept = bounded_labels(&labels, &BTreeSet::new());
        assert!(kept.values().all(|value| value.len() <= 253 && !value.contains('\n')));
        // A full list of such signals can be stored: etcd takes 1.5 MiB.
        assert!(serde_json::to_string(&kept).unwrap().len() * KEPT < 150_000 && kept.len() > 6);
        let short = (0..200).map(|n| (format!("l{n:03}"), "v".to_owned())).collect::<BTreeMap<_, _>>();
        let wanted = BTreeSet::from(["l150".to_owned()]);
        let kept = bounded_labels(&short, &wanted);
        assert!(kept.len() == 32 && kept.contains_key("l150"), "{kept:?}");
    }

    /// The kind: decisions are made on bounded copies. A Runbook may name as many characters as the schema takes.
    #[test]
    fn a_text_is_bounded_by_its_characters() {
        assert_eq!(short(&"ü".repeat(200), 200), "ü".repeat(200));
        assert_eq!(short(&"ü".repeat(201), 200), format!("{}…", "ü".repeat(199)));
    }
}
