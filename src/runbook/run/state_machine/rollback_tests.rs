//! Runs of several steps and several targets that fail and are taken back, under crashes, lost requests and edits.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use proptest::prelude::*;
use serde_json::json;

use super::stage::{Network, Operator, StoredRun, World, at, is_consistent, touch, work};
use super::*;
use crate::api::runbook::OnFailure;
use crate::runbook::steps::stage::applied;

/// Two workloads are restarted, one is scaled, and what is waited for never comes.
fn spec() -> RunbookSpec {
    let target = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let many = json!({"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"tier": "front"}}});
    let spec = json!({"summary": "s", "serviceAccountName": "sa", "steps": [
        {"name": "restart", "restart": {"target": many}, "timeout": "5m"},
        {"name": "scale", "scale": {"target": target("a"), "delta": 2}, "compensation": {"restorePrevious": {}}, "retry": {"maximum": 2, "wait": "1s"}},
        {"name": "more", "scale": {"target": target("b"), "replicas": 9}, "compensation": {"restorePrevious": {}}},
        {"name": "well", "check": {"condition": {"target": target("a"), "type": "Never"}}, "timeout": "30s"}]});
    serde_json::from_value(spec).unwrap()
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: name.into() }
}

/// The stored run and the stored workloads.
struct Shop {
    run: StoredRun,
    objects: BTreeMap<String, Value>,
    effects: BTreeMap<String, u32>,
}

impl Deref for Shop {
    type Target = StoredRun;

    fn deref(&self) -> &StoredRun {
        &self.run
    }
}

impl DerefMut for Shop {
    fn deref_mut(&mut self) -> &mut StoredRun {
        &mut self.run
    }
}

impl Shop {
    fn new() -> Shop {
        let spec = spec();
        let one = |name: &str| Resolved { object: object(name), uid: Some(format!("uid-{name}")) };
        let targets = [vec![one("a"), one("b")], vec![one("a")], vec![one("b")], vec![one("a")]];
        let stored = |name: &str| {
            let object = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1", "generation": 1},
                "spec": {"replicas": 3, "template": {"metadata": {}}}, "status": {}});
            (name.to_owned(), object)
        };
        let objects = [stored("a"), stored("b")].into();
        Shop { run: StoredRun::new(spec, &targets), objects, effects: BTreeMap::new() }
    }

    fn touch(&mut self, name: &str, generation: bool) {
        touch(self.objects.get_mut(name).unwrap(), generation);
    }

    fn controllers_finish(&mut self) {
        for name in ["a", "b"] {
            let object = self.objects.get_mut(name).unwrap();
            let replicas = object["spec"]["replicas"].clone();
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"], "replicas": replicas,
                "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas});
            self.touch(name, false);
        }
    }

    fn replicas(&self, name: &str) -> &Value {
        &self.objects[name]["spec"]["replicas"]
    }
}

impl World for Shop {
    fn seen(&self, look: &Look) -> Seen {
        let found = look.objects.iter().map(|object| self.objects.get(&object.name).cloned());
        Seen { objects: Ok(found.collect()), related: vec![Vec::new()], preconditions: Ok(()) }
    }

    fn patch(&mut self, act: &Act) -> Sent {
        let before = self.objects[&act.target.name].clone();
        if before["metadata"]["resourceVersion"] != act.resource_version.as_str() {
            return Sent::Conflict;
        }
        let after = applied(&before, act);
        if after != before {
            let is_of_the_spec = after["spec"] != before["spec"];
            self.objects.insert(act.target.name.clone(), after);
            *self.effects.entry(act.operation_id.clone()).or_default() += 1;
            self.touch(&act.target.name, is_of_the_spec);
        }
        Sent::Applied(Vec::new())
    }
}

/// The controllers finish and time passes until the run has ended.
fn ends(world: &mut Shop) {
    for _ in 0..40 {
        world.controllers_finish();
        work(world);
        if world.status.state.is_some_and(RunState::is_settled) {
            return;
        }
        world.now += 31;
    }
    panic!("it never ends: {:#?}", world.status);
}

fn compensations(world: &Shop) -> Vec<Option<StepState>> {
    world.status.steps.iter().map(|step| step.compensation.as_ref().map(|back| back.state)).collect()
}

#[test]
fn a_failed_run_takes_back_what_it_did_the_last_step_first() {
    let mut world = Shop::new();
    ends(&mut world);
    assert_eq!(world.status.state, Some(RunState::Failed));
    let done = Some(StepState::Succeeded);
    assert_eq!(compensations(&world), [None, done, done, None]);
    assert_eq!((world.replicas("a"), world.replicas("b")), (&3.into(), &3.into()));
    let operations: Vec<&str> = world.effects.keys().map(String::as_str).collect();
    assert_eq!(
        operations,
        [
            "run-uid/more/0",
            "run-uid/more/back/0",
            "run-uid/restart/0",
            "run-uid/restart/1",
            "run-uid/scale/0",
            "run-uid/scale/back/0"
        ]
    );
    let time = |index: usize| world.status.steps[index].compensation.as_ref().unwrap().end_time.clone();
    assert!(time(2).unwrap().0 <= time(1).unwrap().0);
}

/// Failure list 54: also the process that comes next leaves the API server alone for as long as it has asked.
#[test]
fn a_compensation_that_is_turned_away_waits_as_long_as_it_is_asked_to() {
    let mut world = Shop::new();
    let mut operator = Operator::read(&world);
    let is_back = |next: Move| matches!(next, Move::Act(act) if act.operation_id.contains("/back/"));
    while !is_back(operator.next(&world)) {
        if !operator.step(&mut world, Network::Fine, &mut Vec::new()) {
            world.controllers_finish();
            world.now += 31;
            operator = Operator::read(&world);
        }
    }
    let asked = Some(SignedDuration::from_secs(90));
    operator.pass = Pass { sent: Sent::TurnedAway("busy".into(), asked), ..Pass::default() };
    while operator.step(&mut world, Network::Fine, &mut Vec::new()) {}
    let effects = world.effects.len();
    world.now += 89;
    work(&mut world);
    assert_eq!(world.effects.len(), effects);
    world.now += 1;
    work(&mut world);
    assert!(world.effects.len() > effects);
    ends(&mut world);
    assert_eq!(compensations(&world), [None, Some(StepState::Succeeded), Some(StepState::Succeeded), None]);
}

#[test]
fn a_batch_begins_when_the_one_before_has_taken_effect() {
    let mut world = Shop::new();
    work(&mut world);
    assert_eq!(world.effects.len(), 1, "the second waits for the rollout of the first");
    world.controllers_finish();
    work(&mut world);
    assert_eq!(world.effects.len(), 2);
    assert_eq!(world.status.steps[0].state, StepState::Settling);
    world.controllers_finish();
    work(&mut world);
    assert_eq!(world.status.steps[0].state, StepState::Succeeded);
}

#[test]
fn what_somebody_else_changed_meanwhile_stays_and_is_told() {
    let mut world = Shop::new();
    while world.status.steps[2].state != StepState::Succeeded {
        world.controllers_finish();
        work(&mut world);
    }
    world.objects.get_mut("b").unwrap()["spec"]["replicas"] = 12.into();
    world.touch("b", true);
    ends(&mut world);
    assert_eq!(compensations(&world), [None, Some(StepState::Succeeded), Some(StepState::Failed), None]);
    assert_eq!((world.replicas("a"), world.replicas("b")), (&3.into(), &12.into()));
    let ended = world.status.conditions.iter().find(|condition| condition.type_ == "Succeeded").unwrap();
    assert!(
        ended.message.contains("rolled back: scale; still as the run left it: more ("),
        "{}",
        ended.message
    );
}

#[test]
fn a_target_that_was_replaced_since_the_run_was_prepared_is_not_touched() {
    let mut world = Shop::new();
    world.objects.get_mut("a").unwrap()["metadata"]["uid"] = "another".into();
    ends(&mut world);
    assert!(world.effects.is_empty());
    let message = world.status.steps[0].message.as_deref().unwrap();
    assert!(message.contains("was replaced by another object of that name"), "{message}");
}

#[test]
fn a_run_that_goes_on_after_a_failure_is_degraded_and_never_succeeds() {
    let mut world = Shop::new();
    for step in &mut world.spec.steps {
        step.compensation = None;
        step.on_failure = Some(OnFailure::Continue);
    }
    ends(&mut world);
    assert_eq!(world.status.state, Some(RunState::Degraded));
    assert_eq!((world.replicas("a"), world.replicas("b")), (&5.into(), &9.into()));
}

/// What may happen between two moves.
#[derive(Clone, Copy, Debug)]
enum Event {
    Move(usize, Network),
    Crash(usize),
    Arrive,
    Churn(bool),
    Edit(bool),
    Finish,
    Pass(i64),
    /// The clock is set, or the next leader has another one: by so many seconds, forwards or back.
    Jump(i64),
    /// A request that was under way arrives twice.
    Doubled,
    /// Another writer stores the run, so that every operator meets a conflict.
    Conflict,
    Cancel,
}

fn event() -> impl Strategy<Value = Event> {
    let network = prop_oneof![
        8 => Just(Network::Fine), 1 => Just(Network::AnswerLost), 1 => Just(Network::RequestLost), 1 => Just(Network::Delayed)
    ];
    prop_oneof![
        40 => (0..2_usize, network).prop_map(|(who, network)| Event::Move(who, network)),
        3 => (0..2_usize).prop_map(Event::Crash),
        2 => Just(Event::Arrive),
        1 => any::<bool>().prop_map(Event::Churn),
        1 => any::<bool>().prop_map(Event::Edit),
        6 => Just(Event::Finish),
        2 => (0..20_i64).prop_map(Event::Pass),
        1 => (-3_600..3_600_i64).prop_map(Event::Jump),
        1 => Just(Event::Doubled),
        1 => Just(Event::Conflict),
        1 => prop::bool::weighted(0.05).prop_map(|cancel| if cancel { Event::Cancel } else { Event::Finish }),
    ]
}

/// A request is under way for less time than it has (`actBefore`): it arrives before anybody takes it for lost.
fn arrive_in_time(world: &mut Shop, late: &mut Vec<Act>) {
    let now = at(world.now);
    for act in late.extract_if(.., |act| act.act_before.as_ref().is_none_or(|limit| limit.0 <= now)) {
        world.patch(&act);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn each_operation_takes_effect_at_most_once_forwards_and_back(
        events in prop::collection::vec(event(), 1..250)
    ) {
        let mut world = Shop::new();
        let mut operators = [Operator::read(&world), Operator::read(&world)];
        let mut late = Vec::new();
        let mut edited = false;
        for event in events {
            let name = |is_a: bool| if is_a { "a" } else { "b" };
            let before: Vec<StepState> = world.status.steps.iter().map(|step| step.state).collect();
            match event {
                Event::Move(who, network) => { operators[who].step(&mut world, network, &mut late); }
                Event::Crash(who) => operators[who] = Operator::started(&world),
                Event::Arrive => if let Some(act) = late.pop() { world.patch(&act); },
                Event::Churn(is_a) => world.touch(name(is_a), false),
                Event::Edit(is_a) => {
                    edited = true;
                    let replicas = world.replicas(name(is_a)).as_i64().unwrap() + 1;
                    world.objects.get_mut(name(is_a)).unwrap()["spec"]["replicas"] = replicas.into();
                    world.touch(name(is_a), true);
                }
                Event::Finish => world.controllers_finish(),
                Event::Pass(seconds) | Event::Jump(seconds) => {
                    world.now += seconds;
                    arrive_in_time(&mut world, &mut late);
                }
                Event::Doubled => if let Some(act) = late.pop() { world.patch(&act); world.patch(&act); },
                Event::Conflict => world.version += 1,
                Event::Cancel => world.cancel = true,
            }
            prop_assert!(world.effects.values().all(|count| *count <= 1), "{:?}", world.effects);
            prop_assert_eq!(is_consistent(&world.status), Ok(()));
            for (index, state) in before.into_iter().enumerate().filter(|(_, state)| parts::is_terminal(*state)) {
                prop_assert_eq!(world.status.steps[index].state, state, "a terminal state changed");
            }
        }
        for act in late {
            world.patch(&act);
        }
        // Longer than any step waits, even if the clock was set back meanwhile.
        world.now += 20 * 3_600;
        ends(&mut world);
        prop_assert!(world.effects.values().all(|count| *count <= 1), "{:?}", world.effects);
        prop_assert_eq!(is_consistent(&world.status), Ok(()));
        let all_back = compensations(&world).iter().flatten().all(|state| *state == StepState::Succeeded);
        if world.status.state == Some(RunState::Failed) && !edited && all_back {
            prop_assert_eq!((world.replicas("a"), world.replicas("b")), (&3.into(), &3.into()));
        }
    }
}
