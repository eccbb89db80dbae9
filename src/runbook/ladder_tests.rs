use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::common::stored_time;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn rung_of(name: &str, ran: Ran) -> Rung {
    Rung { name: name.to_owned(), window: MINUTE, ran, is_free: ran == Ran::No }
}

fn two(first: Ran, second: Ran) -> [Rung; 2] {
    [rung_of("restart", first), rung_of("back", second)]
}

#[test]
fn the_next_rung_begins_when_the_one_before_has_not_helped() {
    let ended = |how| Ran::Ended(at(0), how);
    for (first, second, is_back, second_of, next) in [
        (Ran::No, Ran::No, false, 0, Next::Start(0)),
        (Ran::AtWork, Ran::No, false, 999, Next::Wait(None)),
        (ended(End::Done), Ran::No, false, 59, Next::Wait(Some(at(60)))),
        (ended(End::Done), Ran::No, true, 59, Next::Nothing),
        (ended(End::Done), Ran::No, false, 60, Next::Start(1)),
        (ended(End::Failed), Ran::No, false, 1, Next::Start(1)),
        (ended(End::Failed), Ran::No, true, 1, Next::Nothing),
        (ended(End::Stopped), Ran::No, false, 999, Next::Held(0)),
        (ended(End::Unknown), Ran::No, false, 999, Next::Held(0)),
        (Ran::Gone, Ran::No, false, 0, Next::Start(1)),
        (ended(End::Failed), ended(End::Done), false, 59, Next::Wait(Some(at(60)))),
        (ended(End::Failed), ended(End::Done), false, 60, Next::Exhausted),
        (ended(End::Failed), ended(End::Done), true, 60, Next::Nothing),
    ] {
        assert_eq!(decide(&two(first, second), is_back, at(second_of)), next, "{first:?} {second:?}");
    }
}

#[test]
fn a_run_that_does_not_begin_is_told_to_stop_once_another_may() {
    let waits = |stops| Ran::Waits { since: at(0), stops };
    let mut rungs = two(waits(false), Ran::No);
    assert_eq!(decide(&rungs, false, at(59)), Next::Wait(Some(at(60))));
    assert_eq!(decide(&rungs, false, at(60)), Next::Stop(0));
    assert_eq!(decide(&rungs, true, at(60)), Next::Wait(None), "the service is back");
    rungs[1].is_free = false;
    assert_eq!(decide(&rungs, false, at(60)), Next::Wait(None));
    assert_eq!(decide(&two(waits(true), Ran::No), false, at(99)), Next::Wait(None), "it is not settled yet");
}

#[test]
fn a_rung_that_may_not_start_is_passed_over() {
    let mut rungs = two(Ran::No, Ran::No);
    rungs[0].is_free = false;
    assert_eq!(decide(&rungs, false, at(0)), Next::Start(1));
    rungs[1].is_free = false;
    assert_eq!(decide(&rungs, false, at(0)), Next::Nothing, "nobody is paged for what never began");
    rungs[1].ran = Ran::Ended(at(0), End::Failed);
    assert_eq!(decide(&rungs, false, at(0)), Next::Exhausted);
    assert_eq!(account(&rungs), "restart could not start; back failed");
}

fn run(index: usize, created: Timestamp) -> RunbookRun {
    let mut run: RunbookRun =
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": format!("run-{index}"), "namespace": "shop", "uid": format!("run-{index}")},
        "spec": {"runbookRef": {"name": format!("rb-{index}")}, "incidentRef": {"name": "i"}},
        "status": {"snapshot": {"uid": "rb", "digest": "d", "spec": {"order": index}}}}))
        .unwrap();
    run.metadata.creation_timestamp = Some(stored_time(created));
    run
}

#[test]
fn a_run_that_a_person_stopped_is_told_from_one_that_was_late() {
    let ended = |begun: bool, cancel: bool, after: i64| {
        let mut run = run(0, at(0));
        run.spec.cancel = cancel;
        let status = run.status.as_mut().unwrap();
        status.state = Some(RunState::Cancelled);
        status.start_time = begun.then(|| stored_time(at(1)));
        status.end_time = Some(stored_time(at(after)));
        match of_run(&run, MINUTE) {
            Ran::Ended(_, how) => how,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ended(true, true, 99), End::Stopped);
    assert_eq!(ended(false, true, 30), End::Stopped);
    assert_eq!(ended(false, true, 60), End::Failed, "Mayday told it to stop");
    assert_eq!(ended(false, false, 30), End::Failed, "somebody rejected it");
}

/// A ladder as the API server holds it, and caches that may be old.
struct World {
    now: Timestamp,
    live: Vec<RunbookRun>,
    cached: Vec<RunbookRun>,
    /// How often the run of each rung was created.
    created: Vec<usize>,
    remembered: Vec<bool>,
    is_free: Vec<bool>,
    is_back: bool,
}

impl World {
    fn new(rungs: usize) -> World {
        World {
            now: at(0),
            live: Vec::new(),
            cached: Vec::new(),
            created: vec![0; rungs],
            remembered: vec![false; rungs],
            is_free: vec![true; rungs],
            is_back: false,
        }
    }

    fn runbook(index: usize) -> Runbook {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": format!("rb-{index}"), "namespace": "shop"},
            "spec": {"summary": "s", "serviceAccountName": "sa", "order": index, "steps": [], "verify": {"window": "1m"}}}))
        .unwrap()
    }

    /// The incident is looked at, from live runs or from an old cache.
    fn reconcile(&mut self, is_stale: bool) {
        let seen = if is_stale { &self.cached } else { &self.live };
        let named = |index: usize| seen.iter().find(|run| run.name_any() == format!("run-{index}"));
        for index in 0..self.created.len() {
            self.remembered[index] |= named(index).is_some();
        }
        let rungs: Vec<Rung> = (0..self.created.len())
            .map(|index| {
                rung(&World::runbook(index), self.remembered[index], named(index), self.is_free[index])
            })
            .collect();
        match decide(&rungs, self.is_back, self.now) {
            Next::Start(index) if self.named(index).is_none() => {
                self.created[index] += 1;
                let run = run(index, self.now);
                self.live.push(run);
            }
            Next::Stop(index) => {
                if let Some(run) = self.named(index).filter(|run| !is_settled(run)) {
                    run.spec.cancel = true;
                }
            }
            _ => {}
        }
    }

    fn named(&mut self, index: usize) -> Option<&mut RunbookRun> {
        self.live.iter_mut().find(|run| run.name_any() == format!("run-{index}"))
    }

    /// The run is looked at: it settles what it was told, it begins, it acts after its last look, or it ends. Whether it begins may
    /// be decided from an old cache, or by another leader.
    fn runs(&mut self, index: usize, state: RunState, is_stale: bool) {
        let seen = |runs: &[RunbookRun]| runs.iter().cloned().map(Arc::new).collect::<Vec<_>>();
        let (cached, live) = (seen(&self.cached), seen(&self.live));
        let now = stored_time(self.now);
        let Some(run) = self.named(index).filter(|run| !is_settled(run)) else { return };
        let known = run.status.clone().unwrap();
        let is_free = |others: &[Arc<RunbookRun>]| ahead(run, &known, others).is_none();
        let (may_begin, may_act) = (is_free(if is_stale { &cached } else { &live }), is_free(&live));
        let cancel = run.spec.cancel;
        let has_acted = has_acted(run);
        let status = run.status.as_mut().unwrap();
        if cancel {
            status.state = Some(RunState::Cancelled);
        } else if has_acted {
            status.state = Some(state);
        } else if status.start_time.is_none() && may_begin {
            status.start_time = Some(now.clone());
            status.state = Some(RunState::Running);
        } else if status.start_time.is_some() && may_act {
            let act = json!({"name": "restart", "state": "Settling", "acts": [{"operationId": "o", "uid": "u",
                "resourceVersion": "1", "actor": "sa", "outcome": "Done",
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}]});
            status.steps = vec![serde_json::from_value(act).unwrap()];
        }
        if is_settled(run) {
            run.status.as_mut().unwrap().end_time = Some(now);
        }
    }
}

fn has_acted(run: &RunbookRun) -> bool {
    run.status.as_ref().is_some_and(|status| !status.steps.is_empty())
}

fn is_settled(run: &RunbookRun) -> bool {
    run.status.as_ref().and_then(|status| status.state).unwrap_or_default().is_settled()
}

#[derive(Clone, Debug)]
enum Event {
    Reconcile,
    ReconcileFromOldCache,
    CacheCatchesUp,
    Run(usize, RunState, bool),
    PersonCancels(usize),
    PersonDeletes(usize),
    ChecksTurn,
    RungTurns(usize),
    Clock(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        Just(RunState::Running),
        Just(RunState::Succeeded),
        Just(RunState::Failed),
        Just(RunState::Degraded),
        Just(RunState::Unknown),
        Just(RunState::Blocked),
    ];
    prop_oneof![
        4 => Just(Event::Reconcile),
        3 => Just(Event::ReconcileFromOldCache),
        2 => Just(Event::CacheCatchesUp),
        8 => (0..4usize, state, any::<bool>()).prop_map(|(index, state, old)| Event::Run(index, state, old)),
        1 => (0..4usize).prop_map(Event::PersonCancels),
        1 => (0..4usize).prop_map(Event::PersonDeletes),
        1 => Just(Event::ChecksTurn),
        1 => (0..4usize).prop_map(Event::RungTurns),
        3 => (-60..120i64).prop_map(Event::Clock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_rung_is_at_work_and_none_twice(
        rungs in 1..5usize,
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new(rungs);
        for event in events {
            match event {
                Event::Reconcile => world.reconcile(false),
                Event::ReconcileFromOldCache => world.reconcile(true),
                Event::CacheCatchesUp => world.cached = world.live.clone(),
                Event::Run(index, state, is_stale) => world.runs(index, state, is_stale),
                Event::PersonCancels(index) => {
                    if let Some(run) = world.named(index).filter(|run| !is_settled(run)) {
                        run.spec.cancel = true;
                    }
                }
                // Only a settled run may be deleted; by then the incident has listed it.
                Event::PersonDeletes(index) => {
                    let is_known = world.remembered.get(index) == Some(&true);
                    world.live.retain(|run| {
                        !(is_known && is_settled(run) && run.name_any() == format!("run-{index}"))
                    });
                }
                Event::ChecksTurn => world.is_back = !world.is_back,
                Event::RungTurns(index) => {
                    if let Some(is_free) = world.is_free.get_mut(index) {
                        *is_free = !*is_free;
                    }
                }
                Event::Clock(seconds) => world.now += SignedDuration::from_secs(seconds),
            }
            let at_work = world.live.iter().filter(|run| !is_settled(run) && has_acted(run));
            prop_assert!(at_work.count() <= 1, "two of a ladder are at work");
            prop_assert!(world.created.iter().all(|count| *count <= 1), "one ran twice: {:?}", world.created);
        }
    }
}
