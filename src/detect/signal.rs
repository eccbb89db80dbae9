//! What a source reports of one thing, and how it is stored. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::common::{NameRef, ObjectRef, Severity};
use crate::api::incident_status::Signal;
use crate::cluster::conditions::seconds;
use crate::text::{cut, flat};

/// Most labels that are kept of a signal.
const LABELS: usize = 32;
/// Longest value of a label that is kept.
const LABEL: usize = 253;
/// Most bytes of labels that are kept of a signal, so that a full list of signals can be stored.
const ALL_LABELS: usize = 8192;

/// What a source has seen of one thing, before anybody knows which incident it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The source's identity of it.
    pub id: String,
    /// Name of the alert, or of the condition.
    pub name: String,
    /// In a few words.
    pub summary: Option<String>,
    /// After the source's map.
    pub severity: Severity,
    /// When it began, by the source.
    pub start: Timestamp,
    /// When it cleared; none while it fires.
    pub end: Option<Timestamp>,
    /// Labels, bounded.
    pub labels: BTreeMap<String, String>,
    /// The object it is about.
    pub object: Option<ObjectRef>,
    /// The source's own group, for things that no service claims.
    pub group: String,
}

impl Observation {
    /// As it is stored.
    pub fn signal(&self, source: &str, now: Timestamp) -> Signal {
        Signal {
            source_ref: NameRef { name: source.to_owned() },
            id: cut(&self.id, 128),
            name: cut(&self.name, 200),
            summary: self.summary.as_deref().map(|summary| cut(summary, 500)),
            severity: self.severity,
            start_time: seconds(self.start),
            end_time: self.end.map(seconds),
            last_seen_time: seconds(now),
            group: cut(&self.group, 128),
            labels: self.labels.clone(),
            object: self.object.clone(),
        }
    }
}

/// Labels as they are kept: the first 32 by name, each value on one line and cut, as far as there is room.
pub fn bounded_labels<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let sorted: BTreeMap<&String, &String> = labels.into_iter().collect();
    sorted
        .into_iter()
        .filter(|(name, _)| !name.is_empty() && name.len() <= LABEL)
        .take(LABELS)
        .map(|(name, value)| (name.clone(), flat(value, LABEL)))
        .scan(ALL_LABELS, |room, (name, value)| {
            // As they are written: a quote takes two bytes.
            let size = serde_json::to_string(&(&name, &value)).ok()?.len();
            *room = room.checked_sub(size)?;
            Some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::signals::KEPT;

    #[test]
    fn hostile_labels_are_cut_and_flattened() {
        let labels: BTreeMap<String, String> = (0..200)
            .map(|n| (format!("l{n:03}"), format!("\"}} or vector(1) #\n{{{{x}}}}{}", "x".repeat(1_000_000))))
            .collect();
        let kept = bounded_labels(&labels);
        assert!(kept.values().all(|value| value.len() <= 253 && !value.contains('\n')));
        // A full list of such signals can be stored: etcd takes 1.5 MiB.
        assert!(serde_json::to_string(&kept).unwrap().len() * KEPT < 450_000 && kept.len() > 20);
        let short = (0..200).map(|n| (format!("l{n:03}"), "v".to_owned())).collect::<BTreeMap<_, _>>();
        assert_eq!(bounded_labels(&short).len(), 32);
    }
}
