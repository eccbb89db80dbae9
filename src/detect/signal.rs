//! What a source says of one thing, and how it joins what is known. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::api::common::{NameRef, ObjectRef, Severity};
use crate::api::incident_status::{IncidentStatus, Signal};
use crate::cluster::conditions::seconds;
use crate::text::{cut, flat};

/// Most signals that an incident keeps.
const KEPT: usize = 50;
/// Most signals that are known to have found no place there.
pub const LEFT_OUT: usize = 500;
/// Most labels that are kept of a signal.
const LABELS: usize = 32;
/// Longest value of a label that is kept.
const LABEL: usize = 253;
/// Most bytes of labels that are kept of a signal, so that a full list of signals can be stored.
const ALL_LABELS: usize = 8192;
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

/// What came of joining a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Joined {
    /// It was known.
    Nothing,
    /// It is worth storing, and tells nothing worse than what was known.
    Change,
    /// Something fires that did not, or worse than before.
    News,
}

/// Joins a signal to the known ones.
///
/// A signal that fires again for an episode that has cleared is a late repeat, and changes nothing; nor does one that
/// was never seen firing and comes cleared, or the late end of an episode before the one that fires. Of two starts the
/// earlier one counts.
pub fn join(status: &mut IncidentStatus, new: Signal) -> Joined {
    let is_same = |known: &&mut Signal| known.source_ref == new.source_ref && known.id == new.id;
    let Some(known) = status.signals.iter_mut().find(is_same) else { return join_unlisted(status, new) };
    let fires_again = known.end_time.is_some() && new.end_time.is_none();
    if fires_again
        && new.start_time.0
            <= known.end_time.as_ref().map_or(known.start_time.0, |end| end.0.min(known.start_time.0))
    {
        return Joined::Nothing;
    }
    if fires_again {
        *known = new;
        return Joined::News;
    }
    if let Some(end) = &new.end_time {
        if known.end_time.is_some() || end.0 < known.start_time.0 {
            return Joined::Nothing;
        }
        known.end_time = new.end_time;
        known.last_seen_time = new.last_seen_time;
        return Joined::Change;
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
        (true, _) => Joined::News,
        (false, true) => Joined::Change,
        (false, false) => Joined::Nothing,
    }
}

/// Joins a signal that is not in the list: it is added, or noted as one that did not fit until it clears.
fn join_unlisted(status: &mut IncidentStatus, new: Signal) -> Joined {
    let key = key(&new.source_ref.name, &new.id);
    let noted = status.left_out_signals.iter().position(|known| *known == key);
    let joined = match (new.end_time.is_some(), noted) {
        (true, None) => return Joined::Nothing,
        (true, Some(_)) => Joined::Change,
        (false, noted) if has_room(&mut status.signals) => {
            status.signals.push(new);
            if noted.is_some() { Joined::Change } else { Joined::News }
        }
        (false, Some(_)) => return Joined::Nothing,
        (false, None) if status.left_out_signals.len() < LEFT_OUT => {
            status.left_out_signals.push(key);
            Joined::News
        }
        (false, None) => {
            // From here on nobody knows how many there are, nor which of them are news.
            let most = i32::try_from(LEFT_OUT + 1).unwrap_or(i32::MAX);
            let is_first = std::mem::replace(&mut status.signals_left_out, most) != most;
            return if is_first { Joined::News } else { Joined::Nothing };
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

/// Whether the list takes one more; a full one loses its oldest cleared signal.
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

/// What tells a signal that is not kept from others.
pub fn key(source: &str, id: &str) -> String {
    let identity = format!("{source}/{id}");
    Sha256::digest(identity).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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

    use Joined::{Change, News, Nothing};

    fn joined(steps: &[Signal]) -> (Vec<Signal>, Vec<Joined>) {
        let mut status = IncidentStatus::default();
        let changes = steps.iter().map(|step| join(&mut status, step.clone())).collect();
        (status.signals, changes)
    }

    #[test]
    fn a_repeat_changes_nothing_until_a_minute_has_passed() {
        let (signals, changes) =
            joined(&[seen("a", 10, None, 10), seen("a", 10, None, 20), seen("a", 10, None, 70)]);
        assert_eq!(changes, [News, Nothing, Change]);
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
        assert_eq!(changes, [News, Change, Nothing, News]);
        assert_eq!(signals[0].end_time, None);
        assert_eq!(signals[0].start_time.0, at(40));
    }

    #[test]
    fn the_late_end_of_an_earlier_episode_clears_nothing() {
        let (signals, changes) = joined(&[seen("a", 40, None, 40), seen("a", 10, Some(20), 50)]);
        assert_eq!((changes, signals[0].end_time.as_ref()), (vec![News, Nothing], None));
    }

    #[test]
    fn only_what_did_not_fire_or_is_worse_is_news() {
        let of = |id: &str, severity, now| Signal { severity, ..seen(id, 10, None, now) };
        let mut status = IncidentStatus::default();
        assert_eq!(join(&mut status, of("a", Severity::Sev3, 10)), News);
        assert_eq!(join(&mut status, of("a", Severity::Sev3, 100)), Change, "a repeat");
        assert_eq!(join(&mut status, of("a", Severity::Sev1, 101)), News, "worse");
        assert_eq!(join(&mut status, of("a", Severity::Sev3, 102)), Nothing);
        for n in 1..KEPT {
            join(&mut status, seen(&format!("s{n}"), 10, None, 10));
        }
        assert_eq!(join(&mut status, of("left out", Severity::Sev1, 103)), News);
        assert_eq!(join(&mut status, of("left out", Severity::Sev1, 104)), Nothing, "known by its hash");
        join(&mut status, seen("s1", 10, Some(105), 105));
        assert_eq!(join(&mut status, of("left out", Severity::Sev1, 106)), Change, "there is room for it");
    }

    #[test]
    fn of_two_starts_the_earlier_counts() {
        let (signals, _) = joined(&[seen("a", 30, None, 30), seen("a", 10, None, 31)]);
        assert_eq!(signals[0].start_time.0, at(10));
    }

    #[test]
    fn what_comes_cleared_and_was_never_seen_is_ignored() {
        assert_eq!(joined(&[seen("a", 10, Some(20), 20)]), (vec![], vec![Nothing]));
    }

    #[test]
    fn the_list_is_bounded_and_a_firing_signal_is_never_dropped() {
        let many = |end: Option<i64>| (0..60).map(move |n| seen(&format!("s{n}"), 10, end, 10));
        let mut status = IncidentStatus::default();
        // Alertmanager repeats what fires.
        for signal in many(None).chain(many(None)) {
            join(&mut status, signal);
        }
        assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
        join(&mut status, seen("s0", 10, Some(20), 20));
        assert_eq!(join(&mut status, seen("new", 30, None, 30)), News);
        assert_eq!(join(&mut status, seen("s55", 10, None, 31)), Nothing, "known, and there is no place");
        assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
        let is_kept = |id: &str| status.signals.iter().any(|signal| signal.id == id);
        assert!(is_kept("new") && !is_kept("s0"));
        for signal in many(Some(40)) {
            join(&mut status, signal);
        }
        assert_eq!(status.signals_left_out, 0, "what did not fit has cleared too");
        let firing: Vec<&Signal> = status.signals.iter().filter(|signal| signal.end_time.is_none()).collect();
        assert_eq!(firing.len(), 1);
    }

    #[test]
    fn what_is_too_much_to_be_known_stays_so() {
        let mut status = IncidentStatus::default();
        for n in 0..(KEPT + LEFT_OUT + 9) {
            join(&mut status, seen(&format!("s{n}"), 10, None, 10));
        }
        assert_eq!((status.left_out_signals.len(), status.signals_left_out), (LEFT_OUT, 501));
        join(&mut status, seen(&format!("s{KEPT}"), 10, Some(20), 20));
        assert_eq!((status.left_out_signals.len(), status.signals_left_out), (LEFT_OUT - 1, 501));
    }

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
