//! What a source says of one thing, and how it joins what is known. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::common::{NameRef, ObjectRef, Severity};
use crate::api::incident_status::Signal;
use crate::cluster::conditions::seconds;
use crate::text::{cut, flat};

/// Most signals that an incident keeps.
const KEPT: usize = 50;
/// Most labels that are kept of a signal.
const LABELS: usize = 32;
/// Longest value of a label that is kept.
const LABEL: usize = 253;
/// A signal that is repeated is only written again after so long, or every repeat would be a write.
const REFRESH: SignedDuration = SignedDuration::from_secs(60);

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
            labels: self.labels.clone(),
            object: self.object.clone(),
        }
    }
}

/// Labels as they are kept: the first 32 by name, each value on one line and cut.
pub fn bounded_labels<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let sorted: BTreeMap<&String, &String> = labels.into_iter().collect();
    sorted
        .into_iter()
        .filter(|(name, _)| !name.is_empty() && name.len() <= LABEL)
        .take(LABELS)
        .map(|(name, value)| (name.clone(), flat(value, LABEL)))
        .collect()
}

/// Joins a signal to the known ones. Says whether anything worth storing changed.
///
/// A signal that fires again for an episode that has cleared is a late repeat, and changes nothing; one that
/// was never seen firing and comes cleared changes nothing either. Of two starts the earlier one counts.
pub fn join(signals: &mut Vec<Signal>, left_out: &mut i32, new: Signal) -> bool {
    let known = signals.iter_mut().find(|known| known.source_ref == new.source_ref && known.id == new.id);
    let Some(known) = known else {
        if new.end_time.is_some() {
            return false;
        }
        return push(signals, left_out, new);
    };
    let fires_again = known.end_time.is_some() && new.end_time.is_none();
    if fires_again
        && new.start_time.0
            <= known.end_time.as_ref().map_or(known.start_time.0, |end| end.0.min(known.start_time.0))
    {
        return false;
    }
    if fires_again {
        *known = new;
        return true;
    }
    if new.end_time.is_some() {
        if known.end_time.is_some() {
            return false;
        }
        known.end_time = new.end_time;
        known.last_seen_time = new.last_seen_time;
        return true;
    }
    let earlier = new.start_time.0 < known.start_time.0;
    let worse = new.severity.worse_than(known.severity);
    let due = new.last_seen_time.0.duration_since(known.last_seen_time.0) >= REFRESH;
    if earlier {
        known.start_time = new.start_time;
    }
    if worse {
        known.severity = new.severity;
    }
    if earlier || worse || due {
        known.last_seen_time = new.last_seen_time;
    }
    earlier || worse || due
}

/// Adds a signal; a full list loses its oldest cleared one, or does not take the new one and counts it.
fn push(signals: &mut Vec<Signal>, left_out: &mut i32, new: Signal) -> bool {
    if signals.len() >= KEPT {
        let oldest = signals
            .iter()
            .enumerate()
            .filter_map(|(index, signal)| Some((signal.end_time.as_ref()?.0, index)))
            .min()
            .map(|(_, index)| index);
        match oldest {
            Some(index) => {
                signals.remove(index);
            }
            None => {
                *left_out = left_out.saturating_add(1);
                return true;
            }
        }
    }
    signals.push(new);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(id: &str, start: i64, end: Option<i64>, now: i64) -> Signal {
        Observation {
            id: id.into(),
            name: "CheckoutDown".into(),
            summary: None,
            severity: Severity::Sev2,
            start: at(start),
            end: end.map(at),
            labels: BTreeMap::new(),
            object: None,
            group: String::new(),
        }
        .signal("alertmanager", at(now))
    }

    fn joined(steps: &[Signal]) -> (Vec<Signal>, Vec<bool>) {
        let (mut signals, mut left_out) = (Vec::new(), 0);
        let changes = steps.iter().map(|step| join(&mut signals, &mut left_out, step.clone())).collect();
        (signals, changes)
    }

    #[test]
    fn a_repeat_changes_nothing_until_a_minute_has_passed() {
        let (signals, changes) =
            joined(&[seen("a", 10, None, 10), seen("a", 10, None, 20), seen("a", 10, None, 70)]);
        assert_eq!(changes, [true, false, true]);
        assert_eq!(signals.len(), 1);
    }

    #[test]
    fn a_late_repeat_of_a_cleared_episode_is_ignored_and_a_new_episode_is_not() {
        let (signals, changes) = joined(&[
            seen("a", 10, None, 10),
            seen("a", 10, Some(20), 20),
            seen("a", 10, None, 30),
            seen("a", 40, None, 40),
        ]);
        assert_eq!(changes, [true, true, false, true]);
        assert_eq!(signals[0].end_time, None);
        assert_eq!(signals[0].start_time.0, at(40));
    }

    #[test]
    fn of_two_starts_the_earlier_counts() {
        let (signals, _) = joined(&[seen("a", 30, None, 30), seen("a", 10, None, 31)]);
        assert_eq!(signals[0].start_time.0, at(10));
    }

    #[test]
    fn what_comes_cleared_and_was_never_seen_is_ignored() {
        assert_eq!(joined(&[seen("a", 10, Some(20), 20)]), (vec![], vec![false]));
    }

    #[test]
    fn the_list_is_bounded_and_a_firing_signal_is_never_dropped() {
        let many: Vec<Signal> = (0..60).map(|n| seen(&format!("s{n}"), 10, None, 10)).collect();
        let (mut signals, mut left_out) = (Vec::new(), 0);
        for signal in many {
            join(&mut signals, &mut left_out, signal);
        }
        assert_eq!((signals.len(), left_out), (50, 10));
        join(&mut signals, &mut left_out, seen("s0", 10, Some(20), 20));
        join(&mut signals, &mut left_out, seen("new", 30, None, 30));
        assert_eq!(signals.len(), 50);
        assert!(
            signals.iter().any(|signal| signal.id == "new")
                && !signals.iter().any(|signal| signal.id == "s0")
        );
    }

    #[test]
    fn hostile_labels_are_cut_and_flattened() {
        let labels: BTreeMap<String, String> = (0..200)
            .map(|n| (format!("l{n:03}"), format!("\"}} or vector(1) #\n{{{{x}}}}{}", "x".repeat(1_000_000))))
            .collect();
        let kept = bounded_labels(&labels);
        assert_eq!(kept.len(), 32);
        assert!(kept.values().all(|value| value.len() <= 253 && !value.contains('\n')));
    }
}
