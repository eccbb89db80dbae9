//! What a message about a known signal means: a repeat, the end, a late message, or that it fires again
//! (docs/rules.md#firing-fires, docs/decisions/0049-what-an-alert-says-now.md). Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::alert_source::AlertSourceSpec;
use crate::api::incident_status::{ClearedSignal, Signal};

/// How long redundant senders may repeat themselves, beyond the source's `resolveAfter`.
const SENDERS: SignedDuration = SignedDuration::from_secs(60);
/// The same for a source that Mayday watches by itself: only its own cache may be late.
const CACHE: SignedDuration = SignedDuration::from_secs(5);
/// How long the end of a contradicted signal is waited for: the usual `group_interval` of Alertmanager, after which a
/// peer that was late says that the alert has cleared, and a minute.
const CONTRADICTED: SignedDuration = SignedDuration::from_mins(6);

/// How long after the end of a signal a message that it fires may be a late one.
pub fn late(source: &AlertSourceSpec) -> SignedDuration {
    if source.condition.is_some() {
        return CACHE;
    }
    let after = source.resolve_after.as_ref().map_or(SignedDuration::ZERO, |duration| duration.get());
    after.saturating_add(SENDERS)
}

/// A signal that has cleared.
#[derive(Clone, Copy, Debug)]
pub struct Cleared {
    start: Timestamp,
    end: Timestamp,
    heard: Timestamp,
}

impl Cleared {
    /// What is known of a signal of the list; `None` if it fires.
    pub fn of(signal: &Signal) -> Option<Cleared> {
        let end = signal.end_time.as_ref()?.0;
        Some(Cleared { start: signal.start_time.0, end, heard: signal.last_seen_time.0 })
    }

    /// Whether a message that the signal fires is news: it begins after the end, or it comes when no sender is late any
    /// more. Everything else may be an older message. `late` is [`late`] of the source.
    pub fn fires_again(&self, start: Timestamp, late: SignedDuration, now: Timestamp) -> bool {
        // A clock that is ahead puts the end, or both, into the future.
        let over = self.start.max(self.end.min(self.heard));
        start.as_second() > over.as_second() || now.duration_since(self.heard) > late
    }
}

impl From<&ClearedSignal> for Cleared {
    fn from(signal: &ClearedSignal) -> Cleared {
        Cleared { start: signal.start_time.0, end: signal.end_time.0, heard: signal.last_seen_time.0 }
    }
}

/// Whether a message ends a signal that fires. A late message about an episode before the present one does not; it is
/// told by the end that it names, or by its start and its end.
pub fn ends(known: &Signal, start: Timestamp, end: Timestamp, now: Timestamp) -> bool {
    // An instant that has not come yet is of a clock that is ahead, and tells nothing about the order.
    let is_past = |time: Timestamp| time.as_second() <= now.as_second();
    let before = |one: Timestamp, other: Timestamp| one.as_second() < other.as_second();
    if let Some(previous) = known.previous_end_time.as_ref().map(|time| time.0)
        && (previous.as_second() == end.as_second() || (before(end, previous) && is_past(previous)))
    {
        return false;
    }
    let began = known.start_time.0;
    !(before(start, began) && before(end, began) && is_past(began))
}

/// When a signal counts as firing because the source has contradicted its end; `None` if it has not.
pub fn contradicted_until(signal: &Signal) -> Option<Timestamp> {
    let since = signal.contradicted_time.as_ref().filter(|_| signal.end_time.is_some())?.0;
    Some(since.saturating_add(CONTRADICTED).unwrap_or(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LATE: SignedDuration = SignedDuration::from_secs(60);

    fn signal(start: i64, patch: Value) -> Signal {
        let mut whole = json!({"sourceRef": {"name": "am"}, "id": "a", "name": "Down", "severity": "SEV2",
            "startTime": at(start).to_string(), "lastSeenTime": at(start).to_string()});
        json_patch::merge(&mut whole, &patch);
        serde_json::from_value(whole).unwrap()
    }

    /// The kind: a message is taken for old only because of the times that it names. A clock may be ahead or behind by
    /// an hour; the order of what Mayday heard decides.
    #[test]
    fn a_firing_message_counts_again_whatever_the_senders_clock_says() {
        for skew in [0, -3600, 3600] {
            let (start, end) = (1_000_000 + skew, 1_000_100 + skew);
            let known = Cleared { start: at(start), end: at(end), heard: at(1_000_100) };
            let again = |start: i64, now: i64| known.fires_again(at(start), LATE, at(now));
            assert!(!again(start, 1_000_101), "a late repeat, {skew}");
            assert!(!again(start - 5, 1_000_101), "a late repeat of a peer that saw it earlier, {skew}");
            assert!(!again(start, 1_000_160), "a late repeat, {skew}");
            assert!(again(start, 1_000_161), "no sender is late any more, {skew}");
            assert!(again(end + 20, 1_000_120), "a new episode, {skew}");
        }
        let known = Cleared { start: at(10), end: at(3600), heard: at(100) };
        assert!(known.fires_again(at(120), LATE, at(120)), "a new episode by a clock that is right");
        let peer = Cleared { start: at(10), end: at(100), heard: at(100) };
        assert!(!peer.fires_again(at(40), LATE, at(110)), "a peer's start within the episode");
    }

    #[test]
    fn an_end_counts_unless_it_is_the_end_of_an_earlier_episode() {
        let known = signal(100, json!({}));
        assert!(ends(&known, at(100), at(150), at(150)));
        assert!(ends(&known, at(100), at(90), at(150)), "the same episode, by a clock that is behind");
        assert!(ends(&known, at(90), at(150), at(150)), "a peer saw it earlier");
        assert!(!ends(&known, at(10), at(50), at(150)), "an earlier episode");
        let ahead = signal(3700, json!({}));
        assert!(ends(&ahead, at(110), at(150), at(150)), "it began by a clock that is ahead");
        let again = signal(100, json!({"previousEndTime": at(150).to_string()}));
        assert!(!ends(&again, at(100), at(150), at(900)), "a peer repeats the end of before");
        assert!(!ends(&again, at(100), at(149), at(900)), "or one that is older");
        assert!(ends(&again, at(100), at(899), at(900)));
        let ahead = signal(3700, json!({"previousEndTime": at(3750).to_string()}));
        assert!(ends(&ahead, at(3700), at(900), at(900)), "an end by a clock that is right");
    }

    #[test]
    fn only_the_end_of_a_signal_can_be_contradicted() {
        let said = json!({"contradictedTime": at(40).to_string()});
        assert_eq!(contradicted_until(&signal(10, said.clone())), None);
        let mut cleared = said;
        cleared["endTime"] = json!(at(30).to_string());
        assert_eq!(contradicted_until(&signal(10, cleared)), Some(at(40 + 360)));
    }
}
