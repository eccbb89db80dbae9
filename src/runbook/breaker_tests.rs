use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn breaker(value: Value) -> Breaker {
    serde_json::from_value(value).unwrap()
}

fn run(uid: &str, start: i64, end: Option<i64>, outcome: Option<&str>) -> RecentRun {
    serde_json::from_value(
        json!({"name": uid, "uid": uid, "startTime": at(start), "endTime": end.map(at), "outcome": outcome}),
    )
    .unwrap()
}

fn failed(uid: &str, start: i64) -> RecentRun {
    run(uid, start, Some(start + 1), Some("Failed"))
}

fn succeeded(uid: &str, start: i64) -> RecentRun {
    run(uid, start, Some(start + 1), Some("Succeeded"))
}

fn came_back(uid: &str, start: i64) -> RecentRun {
    RecentRun { regressed_time: Some(stored_time(at(start + 5))), ..succeeded(uid, start) }
}

fn judged(breaker: &Breaker, runs: &[RecentRun], now: i64) -> Judgement {
    judge(breaker, &runs.iter().collect::<Vec<_>>(), None, at(now))
}

#[test]
fn failures_one_after_the_other_open_it_and_a_success_between_does_not() {
    let breaker = breaker(json!({"failures": 3, "openFor": "100s"}));
    let three = [failed("a", 0), failed("b", 10), failed("c", 20)];
    let open = judged(&breaker, &three, 30);
    assert_eq!((open.state, open.since, open.until), (BreakerState::Open, Some(at(21)), Some(at(121))));
    assert_eq!(open.why, "3 runs, one after the other, failed");
    assert_eq!(judged(&breaker, &three[..2], 30).state, BreakerState::Closed);
    let between = [failed("a", 0), succeeded("x", 5), failed("b", 10), failed("c", 20)];
    assert_eq!(judged(&breaker, &between, 30).state, BreakerState::Closed);
    for outcome in [Some("Unknown"), Some("Degraded"), None] {
        let last = [failed("a", 0), failed("b", 10), run("c", 20, Some(21), outcome)];
        assert_eq!(judged(&breaker, &last, 30).state, BreakerState::Open, "{outcome:?}");
    }
    let stopped = [failed("a", 0), failed("b", 10), run("c", 20, Some(21), Some("Cancelled"))];
    assert_eq!(judged(&breaker, &stopped, 30).state, BreakerState::Closed);
}

#[test]
fn one_run_is_tried_and_decides() {
    let breaker = breaker(json!({"failures": 1, "openFor": "100s"}));
    let half = judged(&breaker, &[failed("a", 0)], 101);
    assert_eq!((half.state, half.since, half.trial), (BreakerState::HalfOpen, Some(at(101)), None));
    let trying = judged(&breaker, &[failed("a", 0), run("t", 101, None, None)], 110);
    assert_eq!((trying.state, trying.trial.as_deref()), (BreakerState::HalfOpen, Some("t")));
    let closed = judged(&breaker, &[failed("a", 0), succeeded("t", 101)], 110);
    assert_eq!((closed.state, closed.since), (BreakerState::Closed, Some(at(102))));
    let again = judged(&breaker, &[failed("a", 0), failed("t", 101)], 110);
    assert_eq!((again.state, again.until), (BreakerState::Open, Some(at(202))));
    assert_eq!(again.why, "1 run failed", "it says why it opened first");
    let stopped = judged(&breaker, &[failed("a", 0), run("t", 101, Some(102), Some("Cancelled"))], 110);
    assert_eq!((stopped.state, stopped.trial), (BreakerState::HalfOpen, None), "the next one is tried");
}

#[test]
fn a_run_by_hand_closes_an_open_breaker_if_it_began_after_the_opening() {
    let breaker = breaker(json!({"failures": 1, "openFor": "100s"}));
    assert_eq!(judged(&breaker, &[failed("a", 0), succeeded("hand", 10)], 20).state, BreakerState::Closed);
    let in_flight = [run("early", 0, Some(15), Some("Succeeded")), failed("a", 1)];
    assert_eq!(judged(&breaker, &in_flight, 20).state, BreakerState::Open);
}

/// Failure list 44: what recovers and fires again is no repair, however green each run is.
#[test]
fn repairs_that_do_not_last_open_it_and_one_that_lasts_counts_anew() {
    let breaker = breaker(json!({"flaps": 2, "within": "60s", "openFor": "1h"}));
    let open = judged(&breaker, &[came_back("a", 0), came_back("b", 20)], 30);
    assert_eq!((open.state, open.since), (BreakerState::Open, Some(at(25))));
    assert_eq!(open.why, "after 2 runs, one after the other, the outage came back within 60s");
    let lasted = [came_back("a", 0), succeeded("b", 20), came_back("c", 100)];
    assert_eq!(judged(&breaker, &lasted, 120).state, BreakerState::Closed);
    let tried = [came_back("a", 0), came_back("b", 20), came_back("t", 3_630)];
    assert_eq!(judged(&breaker, &tried[..2], 3_630).state, BreakerState::HalfOpen);
    assert_eq!(judged(&breaker, &tried, 3_633).state, BreakerState::Closed, "it was repaired");
    assert_eq!(judged(&breaker, &tried, 3_640).state, BreakerState::Open, "and came back again");
}

#[test]
fn runs_that_begin_too_often_open_it() {
    let breaker = breaker(json!({"runs": {"max": 3, "per": "100s"}}));
    let often = [succeeded("a", 0), succeeded("b", 50), succeeded("c", 99)];
    assert_eq!(judged(&breaker, &often, 99).why, "3 runs began within 100s");
    let seldom = [succeeded("a", 0), succeeded("b", 50), succeeded("c", 100)];
    assert_eq!(judged(&breaker, &seldom, 100).state, BreakerState::Closed);
}

#[test]
fn the_obstacle_says_why_until_when_and_how_a_person_starts_it() {
    let runbook: Runbook = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "restart", "namespace": "shop"},
        "spec": {"summary": "s", "serviceAccountName": "sa", "steps": [], "limits": {"breaker": {"failures": 1}}}}))
    .unwrap();
    let recent = [failed("a", 0), run("t", 3_601, None, None)];
    let said = |recent: &[RecentRun], now: i64| {
        let judged = of(&runbook, recent, None, at(now)).unwrap();
        obstacle(&runbook, &judged).map(|obstacle| (obstacle.message, obstacle.until))
    };
    let by_hand = "by hand: kubectl mayday run -n shop restart";
    let open = format!("its breaker is open until 1970-01-01 01:00:01 UTC: 1 run failed; {by_hand}");
    assert_eq!(said(&recent[..1], 2), Some((open, Some(at(3_601)))));
    assert_eq!(said(&recent[..1], 3_601), None);
    let trying = format!("its breaker is half-open (1 run failed), and run/t is tried first; {by_hand}");
    assert_eq!(said(&recent, 3_602), Some((trying, None)));
    assert_eq!(
        of(&runbook, &recent, Some("t"), at(3_602)).unwrap().trial,
        None,
        "a run is not in its own way"
    );
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Begin,
    End(usize, RunState),
    ComesBack(usize),
    Time(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        3 => Just(RunState::Failed),
        4 => Just(RunState::Succeeded),
        1 => Just(RunState::Cancelled),
        1 => Just(RunState::Unknown),
    ];
    prop_oneof![
        3 => Just(Event::Begin),
        3 => (0_usize..4, state).prop_map(|(which, state)| Event::End(which, state)),
        2 => (0_usize..6).prop_map(Event::ComesBack),
        3 => (0_i64..80).prop_map(Event::Time),
    ]
}

proptest! {
    /// Failure list 44 and 58: in any order of events, and after any restart of the operator, what is left of
    /// the runs tells the same as all of them would.
    #[test]
    fn what_is_remembered_tells_the_same_as_every_run_would(
        breaker in (1_i32..4, 1_i32..4, 2_i32..5).prop_map(|(failures, flaps, max)| breaker(json!({"failures": failures,
            "flaps": flaps, "runs": {"max": max, "per": "60s"}, "within": "40s", "openFor": "90s"}))),
        events in prop::collection::vec(event(), 0..80),
    ) {
        let (mut all, mut kept): (Vec<RecentRun>, Vec<RecentRun>) = (Vec::new(), Vec::new());
        let (mut now, mut counts_from) = (0, None);
        for (number, event) in events.into_iter().enumerate() {
            let change = |runs: &mut Vec<RecentRun>, uid: &str, change: &dyn Fn(&mut RecentRun)| {
                runs.iter_mut().filter(|run| run.uid == uid).for_each(change);
            };
            match event {
                Event::Begin => {
                    // A run is remembered with what is needed of the others.
                    let judged = judge(&breaker, &kept.iter().collect::<Vec<_>>(), counts_from, at(now));
                    kept.retain(|run| needs(&breaker, run, &judged));
                    counts_from = judged.counts_from;
                    let new = run(&format!("{number:03}"), now, None, None);
                    all.push(new.clone());
                    kept.push(new);
                }
                Event::End(which, state) => {
                    let working: Vec<String> = all.iter().filter(|run| run.end_time.is_none()).map(|run| run.uid.clone()).collect();
                    let Some(uid) = working.get(which) else { continue };
                    for runs in [&mut all, &mut kept] {
                        change(runs, uid, &|run| {
                            run.end_time = Some(stored_time(at(now)));
                            run.outcome = Some(state);
                        });
                    }
                }
                Event::ComesBack(which) => {
                    let may = |run: &&RecentRun| {
                        let end = run.end_time.as_ref().map(|time| time.0.as_second());
                        run.outcome == Some(RunState::Succeeded) && run.regressed_time.is_none()
                            && end.is_some_and(|end| now <= end + 40)
                    };
                    let done: Vec<String> = all.iter().filter(may).map(|run| run.uid.clone()).collect();
                    let Some(uid) = done.get(which) else { continue };
                    for runs in [&mut all, &mut kept] {
                        change(runs, uid, &|run| run.regressed_time = Some(stored_time(at(now))));
                    }
                }
                Event::Time(more) => now += more,
            }
            let told = |runs: &[RecentRun], from: Option<Timestamp>| {
                judge(&breaker, &runs.iter().collect::<Vec<_>>(), from, at(now))
            };
            let (whole, rest) = (told(&all, None), told(&kept, counts_from));
            counts_from = rest.counts_from;
            let is_closed = whole.state == BreakerState::Closed;
            prop_assert_eq!(whole.state, rest.state);
            prop_assert_eq!((&whole.until, &whole.trial), (&rest.until, &rest.trial));
            prop_assert!(is_closed || (whole.since, &whole.why) == (rest.since, &rest.why));
            // Told in any other order, it is the same.
            kept.reverse();
            let turned = told(&kept, counts_from);
            kept.reverse();
            prop_assert_eq!(turned.state, rest.state);
        }
    }
}
