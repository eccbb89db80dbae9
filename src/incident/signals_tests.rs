use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::common::{NameRef, Severity};
use crate::incident::episodes::contradicted_until;

const LATE: SignedDuration = SignedDuration::from_secs(60);

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
        contradicted_time: None,
        previous_end_time: None,
        group: String::new(),
        labels: BTreeMap::new(),
        object: None,
    }
}

use Merged::{Change, News, Nothing};

fn merged(steps: &[Signal]) -> (Vec<Signal>, Vec<Merged>) {
    let mut status = IncidentStatus::default();
    let changes = steps.iter().map(|step| merge(&mut status, step.clone(), LATE)).collect();
    (status.signals, changes)
}

#[test]
fn a_repeat_changes_nothing_until_a_minute_has_passed() {
    let (signals, changes) =
        merged(&[seen("a", 10, None, 10), seen("a", 10, None, 20), seen("a", 10, None, 70)]);
    assert_eq!(changes, [News, Nothing, Change]);
    assert_eq!(signals.len(), 1);
}

/// The kind: what the source says now is dropped because of what it said before. Alertmanager says "firing" again with
/// the same start after Prometheus has missed one send.
#[test]
fn a_signal_fires_again_with_the_same_start_once_no_sender_is_late() {
    let (signals, changes) = merged(&[
        seen("a", 10, None, 10),
        seen("a", 10, Some(20), 20),
        seen("a", 10, None, 30),
        seen("a", 10, None, 40),
        seen("a", 10, None, 81),
        seen("a", 10, Some(20), 82),
        seen("a", 10, Some(95), 95),
    ]);
    assert_eq!(changes, [News, Change, Change, Nothing, News, Nothing, Change]);
    assert_eq!(signals[0].end_time, Some(Time(at(95))), "not the end of before, which a peer repeats");
}

#[test]
fn a_late_repeat_is_stored_until_its_end_is_said_again() {
    let (signals, changes) = merged(&[
        seen("a", 10, None, 10),
        seen("a", 10, Some(20), 20),
        seen("a", 10, None, 30),
        seen("a", 10, Some(20), 300),
        seen("a", 10, None, 310),
    ]);
    assert_eq!(changes, [News, Change, Change, Change, Change]);
    assert!(signals[0].end_time.is_some(), "it has cleared all the time");
    assert_eq!(contradicted_until(&signals[0]), Some(at(310 + 360)), "and would fire if nothing else comes");
}

#[test]
fn a_new_episode_is_news_at_once() {
    let (signals, changes) =
        merged(&[seen("a", 10, None, 10), seen("a", 10, Some(20), 20), seen("a", 21, None, 22)]);
    assert_eq!(changes, [News, Change, News]);
    assert_eq!((signals[0].start_time.0, &signals[0].end_time), (at(21), &None));
}

#[test]
fn the_late_end_of_an_earlier_episode_clears_nothing() {
    let (signals, changes) = merged(&[seen("a", 40, None, 40), seen("a", 10, Some(20), 50)]);
    assert_eq!((changes, signals[0].end_time.as_ref()), (vec![News, Nothing], None));
}

#[test]
fn an_end_before_the_start_ends_the_signal_at_its_start() {
    let (signals, changes) = merged(&[seen("a", 4000, None, 40), seen("a", 4000, Some(50), 50)]);
    assert_eq!((changes, signals[0].end_time.as_ref()), (vec![News, Change], Some(&Time(at(4000)))));
}

#[test]
fn only_a_newly_firing_or_worse_signal_is_news() {
    let of = |id: &str, severity, now| Signal { severity, ..seen(id, 10, None, now) };
    let mut status = IncidentStatus::default();
    let mut merge = |new| merge(&mut status, new, LATE);
    assert_eq!(merge(of("a", Severity::Sev3, 10)), News);
    assert_eq!(merge(of("a", Severity::Sev3, 100)), Change, "a repeat");
    assert_eq!(merge(of("a", Severity::Sev1, 101)), News, "worse");
    assert_eq!(merge(of("a", Severity::Sev3, 102)), Nothing);
    for n in 1..KEPT {
        merge(seen(&format!("s{n}"), 10, None, 10));
    }
    assert_eq!(merge(of("left out", Severity::Sev1, 103)), News);
    assert_eq!(merge(of("left out", Severity::Sev1, 104)), Nothing, "known by its hash");
    merge(seen("s1", 10, Some(105), 105));
    assert_eq!(merge(of("left out", Severity::Sev1, 106)), Change, "there is room for it");
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

fn many(count: usize, end: Option<i64>, now: i64) -> impl Iterator<Item = Signal> {
    (0..count).map(move |n| seen(&format!("s{n}"), 10, end, now))
}

fn fire(status: &IncidentStatus) -> usize {
    status.signals.iter().filter(|signal| signal.end_time.is_none()).count() + status.left_out_signals.len()
}

#[test]
fn the_list_is_bounded_and_a_firing_signal_is_never_dropped() {
    let mut status = IncidentStatus::default();
    // Alertmanager repeats firing alerts.
    for signal in many(60, None, 10).chain(many(60, None, 10)) {
        merge(&mut status, signal, LATE);
    }
    assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
    merge(&mut status, seen("s0", 10, Some(20), 20), LATE);
    assert_eq!(merge(&mut status, seen("new", 30, None, 30), LATE), News);
    assert_eq!(merge(&mut status, seen("s55", 10, None, 31), LATE), Nothing, "known, and there is no room");
    assert_eq!((status.signals.len(), status.signals_left_out), (50, 10));
    let is_kept = |id: &str| status.signals.iter().any(|signal| signal.id == id);
    assert!(is_kept("new") && !is_kept("s0"));
    for signal in many(60, Some(40), 40) {
        merge(&mut status, signal, LATE);
    }
    assert_eq!((status.signals_left_out, &status.left_out_seen_time), (0, &None), "those have cleared too");
    let firing: Vec<&Signal> = status.signals.iter().filter(|signal| signal.end_time.is_none()).collect();
    assert_eq!(firing.len(), 1);
}

/// The kind: a bound of what is stored decides for ever what is known.
#[test]
fn a_storm_beyond_the_list_ends_with_its_last_alert() {
    for count in [700, KEPT + 900] {
        let mut status = IncidentStatus::default();
        for signal in many(count, None, 10).chain(many(count, None, 100)) {
            merge(&mut status, signal, LATE);
        }
        assert_eq!(fire(&status), count);
        for signal in many(count, Some(200), 200).take(count - 1) {
            merge(&mut status, signal, LATE);
        }
        assert_eq!(fire(&status), 1);
        for signal in many(count, Some(200), 200) {
            merge(&mut status, signal, LATE);
        }
        assert_eq!((fire(&status), status.signals_left_out), (0, 0));
        // Peers are late, and say the end again.
        let repeats: Vec<Merged> = many(count, None, 210).map(|new| merge(&mut status, new, LATE)).collect();
        assert!(repeats.iter().all(|merged| *merged == Change || *merged == News));
        for signal in many(count, Some(200), 300) {
            merge(&mut status, signal, LATE);
        }
        assert_eq!((fire(&status), status.signals_left_out), (0, 0), "after the late repeats");
        let stored = serde_json::to_string(&status).unwrap().len();
        assert!(stored < 400_000, "{stored} bytes");
    }
}

#[test]
fn a_late_repeat_of_a_signal_outside_the_list_does_not_fire() {
    let mut status = IncidentStatus::default();
    for signal in many(60, None, 10).chain(many(60, Some(20), 20)) {
        merge(&mut status, signal, LATE);
    }
    assert_eq!(merge(&mut status, seen("s55", 10, None, 30), LATE), Change);
    assert_eq!(fire(&status), 0, "it may be late");
    let doubted = status.signals.iter().find(|signal| signal.id == "s55").unwrap();
    assert_eq!(contradicted_until(doubted), Some(at(30 + 360)), "and it is not lost");
    assert_eq!(merge(&mut status, seen("s56", 25, None, 31), LATE), News, "a new episode");
    assert_eq!(merge(&mut status, seen("s57", 10, None, 81), LATE), News, "no sender is late any more");
    assert_eq!(fire(&status), 2);
}

#[test]
fn an_overflow_beyond_the_hashes_is_known_until_it_is_silent() {
    let mut status = IncidentStatus::default();
    for signal in many(KEPT + LEFT_OUT + 9, None, 10) {
        merge(&mut status, signal, LATE);
    }
    let counts = |status: &IncidentStatus| (status.left_out_signals.len(), status.signals_left_out);
    assert_eq!(counts(&status), (LEFT_OUT, 2_001));
    assert_eq!(status.left_out_seen_time, Some(Time(at(10))));
    for signal in many(KEPT + LEFT_OUT + 9, Some(20), 20) {
        merge(&mut status, signal, LATE);
    }
    assert_eq!(counts(&status), (0, 1), "nobody knows which, so time must tell");
    assert!(status.cleared_signals.len() <= 900);
}

#[test]
fn an_incident_takes_over_the_signals_outside_the_list_of_another() {
    let mut other = IncidentStatus::default();
    for signal in many(60, None, 10) {
        merge(&mut other, signal, LATE);
    }
    let mut status = IncidentStatus::default();
    for known in other.signals.clone().into_iter().chain([seen("s55", 10, None, 20)]) {
        merge(&mut status, known, LATE);
    }
    merge_left_out(&mut status, &other);
    assert_eq!((fire(&status), status.signals_left_out), (60, 10));
    for signal in many(60, Some(30), 30) {
        merge(&mut status, signal, LATE);
    }
    assert_eq!((fire(&status), status.signals_left_out), (0, 0));
}

/// The kind: decisions are made on bounded copies. Two things whose long identities differ only at their ends are two.
#[test]
fn a_long_identity_is_stored_as_its_hash() {
    assert_eq!(id("ab12"), "ab12");
    let long = |last: char| id(&format!("{}{last}", "x".repeat(200)));
    assert!(long('a') != long('b') && long('a') == long('a') && long('a').len() == 32);
    assert_ne!(id("a\nb"), "a b");
    let uid = "c0ffee00-0000-4000-8000-000000000000";
    assert!(condition_id(uid, &"Available".repeat(30)).len() <= 128);
}
