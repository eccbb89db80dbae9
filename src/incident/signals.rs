//! The signals of an incident: how a new signal is merged into the stored ones. Pure.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::episodes::{Cleared, ends};
use crate::api::incident_status::{ClearedSignal, IncidentStatus, Signal};
use crate::text::flat;

/// Maximum length of a text in an identity, in bytes: with a UID before it, it fits.
const MAX_ID: usize = 90;
/// Maximum number of signals that an incident stores.
pub const KEPT: usize = 50;
/// Maximum number of firing signals that are tracked by hash because the list is full.
pub const LEFT_OUT: usize = 2_000;
/// Maximum number of signals outside the list that are remembered after they cleared.
const CLEARED: usize = 900;
/// How long those are remembered: longer than a sender is late.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);
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

/// Merges a signal into the known ones. `late` says for how long a message that it fires may be a late one, see
/// [`super::episodes::late`].
///
/// Three kinds change nothing: a late repeat of an episode that has cleared, a cleared signal that never fired here, and
/// the late end of an episode before the present one. Of two starts the earlier one counts.
pub fn merge(status: &mut IncidentStatus, new: Signal, late: SignedDuration) -> Merged {
    let is_same = |known: &&mut Signal| known.source_ref == new.source_ref && known.id == new.id;
    let Some(known) = status.signals.iter_mut().find(is_same) else {
        return merge_unlisted(status, new, late);
    };
    let now = new.last_seen_time.0;
    match (Cleared::of(known), &new.end_time) {
        (None, None) => repeat(known, &new),
        (None, Some(end)) if ends(known, new.start_time.0, end.0, now) => {
            known.end_time = new.end_time.max(Some(known.start_time.clone()));
            known.last_seen_time = new.last_seen_time;
            Merged::Change
        }
        (Some(cleared), None) if cleared.fires_again(new.start_time.0, late, now) => {
            let previous = known.end_time.take();
            *known = new;
            known.previous_end_time = previous;
            Merged::News
        }
        // Stored, so that nothing is lost if it was no late message.
        (Some(_), None) if known.contradicted_time.is_none() => {
            known.contradicted_time = Some(new.last_seen_time);
            Merged::Change
        }
        (Some(_), Some(_)) if known.contradicted_time.is_some() => {
            known.contradicted_time = None;
            known.last_seen_time = new.last_seen_time;
            Merged::Change
        }
        _ => Merged::Nothing,
    }
}

/// Merges a message that a signal fires which is known to fire.
fn repeat(known: &mut Signal, new: &Signal) -> Merged {
    let earlier = new.start_time.0 < known.start_time.0;
    let worse = new.severity.worse_than(known.severity);
    let due = new.last_seen_time.0.duration_since(known.last_seen_time.0) >= REFRESH;
    if earlier {
        known.start_time = new.start_time.clone();
    }
    if worse {
        known.severity = new.severity;
    }
    if earlier || worse || due {
        known.last_seen_time = new.last_seen_time.clone();
    }
    match (worse, earlier || due) {
        (true, _) => Merged::News,
        (false, true) => Merged::Change,
        (false, false) => Merged::Nothing,
    }
}

/// Merges a signal that is not in the list: it is added, or tracked by hash until it clears if the list is full.
fn merge_unlisted(status: &mut IncidentStatus, new: Signal, late: SignedDuration) -> Merged {
    let key = key(&new.source_ref.name, &new.id);
    let now = new.last_seen_time.0;
    let fires = status.left_out_signals.binary_search(&key);
    if let Some(end) = new.end_time {
        let Ok(at) = fires else { return Merged::Nothing };
        let is_overflowing = overflows(status);
        status.left_out_signals.remove(at);
        count(status, is_overflowing);
        let cleared = ClearedSignal {
            key,
            start_time: new.start_time,
            end_time: end,
            last_seen_time: new.last_seen_time,
        };
        remember(&mut status.cleared_signals, cleared, now);
        return Merged::Change;
    }
    let cleared = status.cleared_signals.binary_search_by(|known| known.key.cmp(&key));
    if let (Err(_), Ok(at)) = (fires, cleared) {
        let known = status.cleared_signals[at].clone();
        let may_be_late = !Cleared::from(&known).fires_again(new.start_time.0, late, now);
        if may_be_late && !make_room(status, now) {
            // The incident goes on in any case, and the end that follows a late message clears it.
            return leave_out(status, key, &new, false);
        }
        forget(status, &key);
        if may_be_late {
            status.signals.push(Signal {
                start_time: known.start_time,
                end_time: Some(known.end_time),
                last_seen_time: known.last_seen_time,
                contradicted_time: Some(new.last_seen_time.clone()),
                ..new
            });
            return Merged::Change;
        }
    }
    if make_room(status, now) {
        if let Ok(at) = fires {
            let is_overflowing = overflows(status);
            status.left_out_signals.remove(at);
            count(status, is_overflowing);
        }
        status.signals.push(new);
        return if fires.is_ok() { Merged::Change } else { Merged::News };
    }
    leave_out(status, key, &new, fires.is_ok())
}

/// Takes over the firing signals for which the list of another incident has no place.
pub fn merge_left_out(status: &mut IncidentStatus, other: &IncidentStatus) {
    let is_listed = |status: &IncidentStatus, hash: &String| {
        status.signals.iter().any(|known| key(&known.source_ref.name, &known.id) == *hash)
    };
    let mut is_overflowing = overflows(status) || overflows(other);
    for hash in &other.left_out_signals {
        if is_listed(status, hash) {
            continue;
        }
        match status.left_out_signals.binary_search(hash) {
            Ok(_) => {}
            Err(_) if status.left_out_signals.len() >= LEFT_OUT => is_overflowing = true,
            Err(at) => status.left_out_signals.insert(at, hash.clone()),
        }
    }
    let seen = status.left_out_seen_time.take().max(other.left_out_seen_time.clone());
    status.left_out_seen_time = seen;
    count(status, is_overflowing);
}

/// Tracks a firing signal for which the list has no place.
fn leave_out(status: &mut IncidentStatus, key: String, new: &Signal, is_known: bool) -> Merged {
    let now = &new.last_seen_time;
    let is_overflowing = overflows(status);
    let seen = status.left_out_seen_time.as_ref();
    let due = seen.is_none_or(|seen| now.0.duration_since(seen.0) >= REFRESH);
    if due {
        status.left_out_seen_time = Some(now.clone());
    }
    let fits = status.left_out_signals.len() < LEFT_OUT;
    if !is_known
        && fits
        && let Err(at) = status.left_out_signals.binary_search(&key)
    {
        forget(status, &key);
        status.left_out_signals.insert(at, key);
        count(status, is_overflowing);
        return Merged::News;
    }
    if !is_known && !fits && !is_overflowing {
        // From here on the exact number is unknown, and so is which signals are new.
        count(status, true);
        return Merged::News;
    }
    if due { Merged::Change } else { Merged::Nothing }
}

/// Whether signals fire that are not even tracked by hash.
pub fn overflows(status: &IncidentStatus) -> bool {
    usize::try_from(status.signals_left_out).is_ok_and(|count| count > status.left_out_signals.len())
}

fn count(status: &mut IncidentStatus, is_overflowing: bool) {
    let count = status.left_out_signals.len() + usize::from(is_overflowing);
    status.signals_left_out = i32::try_from(count).unwrap_or(i32::MAX);
    if count == 0 {
        status.left_out_seen_time = None;
    }
}

fn forget(status: &mut IncidentStatus, key: &str) {
    if let Ok(at) = status.cleared_signals.binary_search_by(|known| known.key.as_str().cmp(key)) {
        status.cleared_signals.remove(at);
    }
}

/// Remembers a signal outside the list that has cleared. A full list forgets those whose senders are not late any more,
/// or else the quarter that cleared first.
fn remember(all: &mut Vec<ClearedSignal>, cleared: ClearedSignal, now: Timestamp) {
    if all.len() >= CLEARED {
        all.retain(|known| now.duration_since(known.last_seen_time.0) < REMEMBERED);
    }
    if all.len() >= CLEARED {
        all.sort_by_key(|known| known.last_seen_time.0);
        all.drain(..CLEARED / 4);
        all.sort_by(|one, other| one.key.cmp(&other.key));
    }
    match all.binary_search_by(|known| known.key.cmp(&cleared.key)) {
        Ok(at) => all[at] = cleared,
        Err(at) => all.insert(at, cleared),
    }
}

/// Makes room for one more in the list. A full list drops the signal that cleared first, and remembers it by its hash;
/// it drops none that fires, or whose end the source has contradicted.
fn make_room(status: &mut IncidentStatus, now: Timestamp) -> bool {
    if status.signals.len() < KEPT {
        return true;
    }
    let cleared = status.signals.iter().enumerate().filter(|(_, signal)| signal.contradicted_time.is_none());
    let cleared = cleared.filter_map(|(index, signal)| Some((signal.end_time.as_ref()?.0, index)));
    let Some((_, oldest)) = cleared.min() else { return false };
    let dropped = status.signals.remove(oldest);
    if let Some(end_time) = dropped.end_time {
        let key = key(&dropped.source_ref.name, &dropped.id);
        let (start_time, last_seen_time) = (dropped.start_time, dropped.last_seen_time);
        remember(
            &mut status.cleared_signals,
            ClearedSignal { key, start_time, end_time, last_seen_time },
            now,
        );
    }
    true
}

/// The identity of a signal as it is stored: the text itself, or its hash if it is too long or holds characters that are
/// not kept.
pub fn id(text: &str) -> String {
    if text.len() <= MAX_ID && flat(text, MAX_ID) == text {
        return text.to_owned();
    }
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The identity of the signal about a condition of an object.
pub fn condition_id(uid: &str, kind: &str) -> String {
    format!("{uid}/{}", id(kind))
}

/// The hash that identifies a signal outside the list.
pub fn key(source: &str, id: &str) -> String {
    let identity = format!("{source}/{id}");
    Sha256::digest(identity).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
