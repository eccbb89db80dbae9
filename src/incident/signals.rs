//! The signals of an incident: how a new signal is merged into the stored ones. Pure.

use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use crate::api::incident_status::{IncidentStatus, Signal};

/// Maximum number of signals that an incident stores.
pub const KEPT: usize = 50;
/// Maximum number of signals that are tracked by hash because the list is full.
pub const LEFT_OUT: usize = 500;
/// Minimum interval between two writes of `lastSeenTime`, so that not every repeat is a write.
const REFRESH: SignedDuration = SignedDuration::from_secs(60);

/// The result of merging a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Merged {
    /// The signal was known.
    Nothing,
    /// The signal changed, but is no worse than before.
    Change,
    /// The signal newly fires, or is worse than before.
    News,
}

/// Merges a signal into the known ones.
///
/// Three kinds change nothing: a late repeat of an episode that has cleared, a cleared signal that never fired here, and
/// the late end of an episode before the present one. Of two starts the earlier one counts.
pub fn merge(status: &mut IncidentStatus, new: Signal) -> Merged {
    let is_same = |known: &&mut Signal| known.source_ref == new.source_ref && known.id == new.id;
    let Some(known) = status.signals.iter_mut().find(is_same) else { return merge_unlisted(status, new) };
    let fires_again = known.end_time.is_some() && new.end_time.is_none();
    if fires_again
        && new.start_time.0
            <= known.end_time.as_ref().map_or(known.start_time.0, |end| end.0.min(known.start_time.0))
    {
        return Merged::Nothing;
    }
    if fires_again {
        *known = new;
        return Merged::News;
    }
    if let Some(end) = &new.end_time {
        if known.end_time.is_some() || end.0 < known.start_time.0 {
            return Merged::Nothing;
        }
        known.end_time = new.end_time;
        known.last_seen_time = new.last_seen_time;
        return Merged::Change;
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
    match (worse, earlier || due) {
        (true, _) => Merged::News,
        (false, true) => Merged::Change,
        (false, false) => Merged::Nothing,
    }
}

/// Merges a signal that is not in the list: it is added, or tracked by hash until it clears if the list is full.
fn merge_unlisted(status: &mut IncidentStatus, new: Signal) -> Merged {
    let key = key(&new.source_ref.name, &new.id);
    let noted = status.left_out_signals.iter().position(|known| *known == key);
    let joined = match (new.end_time.is_some(), noted) {
        (true, None) => return Merged::Nothing,
        (true, Some(_)) => Merged::Change,
        (false, noted) if has_room(&mut status.signals) => {
            status.signals.push(new);
            if noted.is_some() { Merged::Change } else { Merged::News }
        }
        (false, Some(_)) => return Merged::Nothing,
        (false, None) if status.left_out_signals.len() < LEFT_OUT => {
            status.left_out_signals.push(key);
            Merged::News
        }
        (false, None) => {
            // From here on the exact number is unknown, and so is which signals are new.
            let most = i32::try_from(LEFT_OUT + 1).unwrap_or(i32::MAX);
            let is_first = std::mem::replace(&mut status.signals_left_out, most) != most;
            return if is_first { Merged::News } else { Merged::Nothing };
        }
    };
    if let Some(at) = noted {
        status.left_out_signals.remove(at);
    }
    let count = status.left_out_signals.len();
    if usize::try_from(status.signals_left_out).is_ok_and(|known| known <= LEFT_OUT) {
        status.signals_left_out = i32::try_from(count).unwrap_or(i32::MAX);
    }
    joined
}

/// Whether the list has room for one more; a full list drops its oldest cleared signal.
fn has_room(signals: &mut Vec<Signal>) -> bool {
    if signals.len() < KEPT {
        return true;
    }
    let cleared = signals.iter().enumerate();
    let cleared = cleared.filter_map(|(index, signal)| Some((signal.end_time.as_ref()?.0, index)));
    let Some((_, oldest)) = cleared.min() else { return false };
    signals.remove(oldest);
    true
}

/// The hash that identifies a signal outside the list.
pub fn key(source: &str, id: &str) -> String {
    let identity = format!("{source}/{id}");
    Sha256::digest(identity).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::common::{NameRef, Severity};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(id: &str, start: i64, end: Option<i64>, now: i64) -> Signal {
        Signal {
            source_ref: NameRef { name: "alertmanager".into() },
            id: id.into(),
            name: "CheckoutDown".into(),
            summary: None,
            severity: Severity::Sev2,
            start_time: Time(at(start)),
            end_time: end.map(at).map(Time),
            last_seen_time: Time(at(now)),
            group: String::new(),
            labels: BTreeMap::new(),
            object: None,
        }
    }

    use Merged::{Change, News, Nothing};

    fn merged(steps: &[Signal]) -> (Vec<Signal>, Vec<Merged>) {
        let mut status = IncidentStatus::default();
        let changes = steps.iter().map(|step| merge(&mut status, step.clone())).collect();
        (status.signals, changes)
    }

    #[test]
    fn a_repeat_changes_nothing_until_a_minute_has_passed() {
        let (signals, changes) =
            merged(&[seen("a", 10, None, 10), seen("a", 10, None, 20), seen("a", 10, None, 70)]);
        assert_eq!(changes, [News, Nothing, Change]);
        assert_eq!(signals.len(), 1);
    }

    #[test]
    fn a_late_repeat_of_a_cleared_episode_is_ignored_and_a_new_episode_is_not() {
        let (signals, changes) = merged(&[
            seen("a", 10, None, 10),
            seen("a", 10, Some(20), 20),
            seen("a", 10, None, 30),
            seen("a", 40, None, 40),
        ]);
        assert_eq!(changes, [News, Change, Nothing, News]);
        assert_eq!(signals[0].end_time, None);
        assert_eq!(signals[0].start_time.0, at(40));
    }

    #[test]
    fn the_late_end_of_an_earlier_episode_clears_nothing() {
        let (signals, changes) = merged(&[seen("a", 40, None, 40), seen("a", 10, Some(20), 50)]);
        assert_eq!((changes, signals[0].end_time.as_ref()), (vec![News, Nothing], None));
    }

    #[test]
    fn only_a_newly_firing_or_worse_signal_is_news() {
        let of = |id: &str, severity, now| Signal { severity, ..seen(id, 10, None, now) };
        let mut status = IncidentStatus::default();
        assert_eq!(merge(&mut status, of("a", Severity::Sev3, 10)), News);
        assert_eq!(merge(&mut status, of("a", Severity::Sev3, 100)), Change, "a repeat");
        assert_eq!(merge(&mut status, of("a", Severity::Sev1, 101)), News, "worse");
        assert_eq!(merge(&mut status, of("a", Severity::Sev3, 102)), Nothing);
        for n in 1..KEPT {
            merge(&mut status, seen(&format!("s{n}"), 10, None, 10));
        }
        assert_eq!(merge(&mut status, of("left out", Severity::Sev1, 103)), News);
        assert_eq!(merge(&mut status, of("left out", Severity::Sev1, 104)), Nothing, "known by its hash");
        merge(&mut status, seen("s1", 10, Some(105), 105));
        assert_eq!(merge(&mut status, of("left out", Severity::Sev1, 106)), Change, "there is room for it");
    }

    #[test]
    fn the_earlier_of_two_starts_counts() {
        let (signals, _) = merged(&[seen("a", 30, None, 30), seen("a", 10, None, 31)]);
        assert_eq!(signals[0].start_time.0, at(10));
    }

    #[test]
    fn a_cleared_signal_that_never_fired_is_ignored() {
        assert_eq!(merged(&[seen("a", 10, Some(20), 20)]), (vec![], vec![Nothing]));
    }

    #[test]
    fn the_list_is_bounded_and_a_firing_signal_is_never_dropped() {
        let many = |end: Option<i64>| (0..60).map(move |n| seen(&format!("s{n}"), 10, end, 10));
        let mut status = IncidentStatus::default();
        // Alertmanager repeats firing alerts.
        for signal in many(None).chain(many(None)) {
            merge(&mut status, signal);
        }
        assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
        merge(&mut status, seen("s0", 10, Some(20), 20));
        assert_eq!(merge(&mut status, seen("new", 30, None, 30)), News);
        assert_eq!(merge(&mut status, seen("s55", 10, None, 31)), Nothing, "known, and there is no room");
        assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
        let is_kept = |id: &str| status.signals.iter().any(|signal| signal.id == id);
        assert!(is_kept("new") && !is_kept("s0"));
        for signal in many(Some(40)) {
            merge(&mut status, signal);
        }
        assert_eq!(status.signals_left_out, 0, "what did not fit has cleared too");
        let firing: Vec<&Signal> = status.signals.iter().filter(|signal| signal.end_time.is_none()).collect();
        assert_eq!(firing.len(), 1);
    }

    #[test]
    fn an_overflow_beyond_the_hashes_stays_an_overflow() {
        let mut status = IncidentStatus::default();
        for n in 0..(KEPT + LEFT_OUT + 9) {
            merge(&mut status, seen(&format!("s{n}"), 10, None, 10));
        }
        assert_eq!((status.left_out_signals.len(), status.signals_left_out), (LEFT_OUT, 501));
        merge(&mut status, seen(&format!("s{KEPT}"), 10, Some(20), 20));
        assert_eq!((status.left_out_signals.len(), status.signals_left_out), (LEFT_OUT - 1, 501));
    }
}
