use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use proptest::prelude::*;
use serde_json::json;

use super::stage::{NOW, Network, Operator, StoredRun, World, at, is_consistent, touch, work};
use super::*;
use crate::api::conditions::Reason;
use crate::api::incident_status::Next;
use crate::api::runbook_run::ActVerb;
use crate::runbook::limits::Obstacle;
use crate::runbook::steps::stage::applied;

const OPERATION: &str = "run-uid/restart/0";

fn spec(steps: Value) -> RunbookSpec {
    serde_json::from_value(json!({"summary": "s", "serviceAccountName": "sa", "steps": steps})).unwrap()
}

fn checkout() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"})
}

fn restart_and_check() -> RunbookSpec {
    spec(json!([
        {"name": "restart", "restart": {"target": checkout()}, "timeout": "2m"},
        {"name": "rolled-out", "check": {"rollout": {"target": checkout()}}, "timeout": "5m"},
    ]))
}

/// The stored run and the stored Deployment, as the API server holds them.
struct Shop {
    run: StoredRun,
    object: Value,
    restarts: BTreeMap<String, u32>,
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
    fn new(spec: RunbookSpec) -> Shop {
        let targets: Vec<Vec<Resolved>> = spec
            .steps
            .iter()
            .map(|step| {
                let kind = steps::of(step).unwrap();
                kind.target().map_or_else(Vec::new, |target| target.known(kind.implied(), &[]))
            })
            .collect();
        let object = json!({
            "metadata": {"uid": "deployment-uid", "resourceVersion": "1", "generation": 1},
            "spec": {"replicas": 3, "template": {"metadata": {"annotations": {}}}},
            "status": {"observedGeneration": 0},
        });
        Shop { run: StoredRun::new(spec, &targets), object, restarts: BTreeMap::new() }
    }

    /// Stores the object again; `generation` if its spec has changed.
    fn touch(&mut self, generation: bool) {
        touch(&mut self.object, generation);
    }

    fn controller_finishes(&mut self) {
        self.object["status"] = json!({"observedGeneration": self.object["metadata"]["generation"],
            "updatedReplicas": 3, "availableReplicas": 3, "replicas": 3});
        self.touch(false);
    }
}

impl World for Shop {
    fn seen(&self, _: &Look) -> Seen {
        let mut object = Some(self.object.clone()).filter(|object| !object.is_null());
        // What others change is rolled out at once; what the run changes takes its time.
        let is_scaled = |object: &Value| object["spec"]["replicas"].is_i64();
        if let Some(object) = object.as_mut().filter(|object| self.restarts.is_empty() && is_scaled(object)) {
            let replicas = &object["spec"]["replicas"];
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"],
                "updatedReplicas": replicas, "availableReplicas": replicas, "replicas": replicas});
        }
        Seen { objects: Ok(vec![object]), related: Vec::new(), preconditions: Ok(()) }
    }

    fn patch(&mut self, act: &Act) -> Sent {
        if self.object["metadata"]["resourceVersion"] != act.resource_version.as_str() {
            return Sent::Conflict;
        }
        let after = applied(&self.object, act);
        if after["metadata"]["resourceVersion"] != self.object["metadata"]["resourceVersion"]
            || after["metadata"]["uid"] != self.object["metadata"]["uid"]
        {
            return Sent::Conflict;
        }
        if !self.dry_run && after != self.object {
            self.object = after;
            *self.restarts.entry(act.operation_id.clone()).or_default() += 1;
            self.touch(true);
        }
        Sent::Applied(Vec::new())
    }
}

fn states(world: &Shop) -> Vec<StepState> {
    world.status.steps.iter().map(|step| step.state).collect()
}

#[test]
fn a_run_restarts_once_waits_for_the_rollout_and_succeeds() {
    let mut world = Shop::new(restart_and_check());
    work(&mut world);
    assert_eq!(world.restarts, BTreeMap::from([(OPERATION.to_owned(), 1)]));
    assert_eq!(states(&world), [StepState::Succeeded, StepState::Settling]);
    assert_eq!(world.status.state, Some(RunState::Running));
    world.controller_finishes();
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Succeeded));
    assert_eq!(world.restarts.len(), 1);
}

#[test]
fn an_intent_with_target_version_delta_and_actor_precedes_the_act() {
    let mut world = Shop::new(restart_and_check());
    Operator::about_to_act(&mut world);
    assert!(world.restarts.is_empty());
    let intent = &world.status.steps[0].acts[0];
    assert_eq!(intent.operation_id, OPERATION);
    assert_eq!((intent.uid.as_str(), intent.resource_version.as_str()), ("deployment-uid", "1"));
    assert_eq!(intent.actor, "system:serviceaccount:shop:sa");
    assert_eq!(intent.delta[0].after, Some(OPERATION.into()));
    assert!(intent.act_before.as_ref().unwrap().0 > at(0));
}

#[test]
fn a_run_that_is_killed_between_intent_and_act_acts_once() {
    let mut world = Shop::new(restart_and_check());
    Operator::about_to_act(&mut world);
    work(&mut world);
    assert_eq!(world.restarts[OPERATION], 1);
}

#[test]
fn a_run_that_is_killed_after_the_act_does_not_act_again() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::read(&world);
    while world.restarts.is_empty() {
        operator.step(&mut world, Network::Fine, &mut Vec::new());
    }
    assert_eq!(states(&world)[0], StepState::IntentRecorded);
    work(&mut world);
    assert_eq!(world.restarts[OPERATION], 1);
    assert_eq!(states(&world)[0], StepState::Succeeded);
}

#[test]
fn an_outcome_that_cannot_be_proved_is_unknown_and_never_repeated() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::read(&world);
    while world.restarts.is_empty() {
        operator.step(&mut world, Network::Fine, &mut Vec::new());
    }
    world.object["spec"]["template"]["metadata"]["annotations"] = json!({});
    world.touch(true);
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Unknown));
    assert_eq!(states(&world), [StepState::Unknown, StepState::Skipped]);
    assert_eq!(world.restarts[OPERATION], 1);
}

#[test]
fn a_change_between_look_and_act_is_looked_at_again() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::about_to_act(&mut world);
    world.object["spec"]["replicas"] = 4.into();
    world.touch(true);
    while operator.step(&mut world, Network::Fine, &mut Vec::new()) {}
    assert_eq!(world.restarts[OPERATION], 1);
    assert_eq!(world.status.steps[0].acts[0].resource_version, "2");
}

#[test]
fn a_false_precondition_stops_the_run_before_anything_is_touched() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::read(&world);
    while !matches!(operator.next(&world), Move::Look(Look { of_runbook: true, .. })) {
        operator.step(&mut world, Network::Fine, &mut Vec::new());
    }
    let Move::Look(look) = operator.next(&world) else { panic!("no look") };
    operator.pass.seen = Some(Seen { preconditions: Err("a single replica".into()), ..world.seen(&look) });
    operator.step(&mut world, Network::Fine, &mut Vec::new());
    assert_eq!(world.status.state, Some(RunState::Failed));
    assert_eq!(states(&world), [StepState::Failed, StepState::Skipped]);
    assert!(!parts::has_act(&world.status));
}

#[test]
fn a_permit_that_is_lost_between_intent_and_act_holds_the_act_back() {
    let obstacle = Obstacle { reason: Reason::NotAllowed, message: "switched off".into(), until: None };
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::about_to_act(&mut world);
    operator.pass.permit = Some(Permit::Wait(obstacle));
    operator.step(&mut world, Network::Fine, &mut Vec::new());
    assert_eq!(world.status.state, Some(RunState::Blocked));
    assert_eq!(states(&world)[0], StepState::Pending);
    assert!(world.restarts.is_empty());
}

#[test]
fn a_step_that_was_held_back_has_all_of_its_time_once_it_is_approved() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::about_to_act(&mut world);
    let next = Next { who: "amir".into(), what: "approve".into(), command: None };
    operator.pass.permit = Some(Permit::Ask(next, None));
    operator.step(&mut world, Network::Fine, &mut Vec::new());
    assert_eq!(world.status.state, Some(RunState::WaitingForApproval));
    // Longer than the two minutes of the step.
    world.now = 3_600;
    work(&mut world);
    assert_eq!(states(&world), [StepState::Succeeded, StepState::Settling]);
    assert_eq!(world.restarts[OPERATION], 1);
}

#[test]
fn an_act_without_an_answer_is_announced_again_later_each_time() {
    let mut world = Shop::new(restart_and_check());
    let mut waits = Vec::new();
    for _ in 0..5 {
        // The act gets no answer, and the stored intent wakes the run at once.
        let mut operator = Operator::read(&world);
        let until = loop {
            match operator.next(&world) {
                Move::Act(_) => break None,
                Move::Hold(_, until) => break until,
                _ => operator.step(&mut world, Network::Fine, &mut Vec::new()),
            };
        };
        if let Some(until) = until {
            waits.push(until.as_second() - at(world.now).as_second());
            world.now = until.as_second() - NOW;
        }
    }
    assert_eq!(waits, [1, 3]);
    assert!(world.restarts.is_empty());
}

#[test]
fn a_check_of_an_unwatched_object_looks_again_soon() {
    let check = |target: Value| {
        let condition = json!({"target": target, "type": "Ready", "status": "True"});
        let mut world =
            Shop::new(spec(json!([{"name": "c", "check": {"condition": condition}, "timeout": "1m"}])));
        let mut operator = Operator::read(&world);
        let mut holds = Vec::new();
        for now in [0, 57] {
            world.now = now;
            loop {
                if let Move::Hold(_, until) = operator.next(&world) {
                    holds.push(until.unwrap().as_second() - NOW);
                    operator.step(&mut world, Network::Fine, &mut Vec::new());
                    break;
                }
                operator.step(&mut world, Network::Fine, &mut Vec::new());
            }
        }
        holds
    };
    let database = json!({"apiVersion": "shop.example/v1", "kind": "Database", "name": "orders"});
    assert_eq!(check(database), [5, 60], "never after its deadline");
    assert_eq!(check(checkout()), [60, 60], "its change wakes the run");
}

#[test]
fn a_cancel_counts_in_every_state_and_says_what_was_done() {
    for moves in 0..12 {
        let mut world = Shop::new(restart_and_check());
        let mut operator = Operator::read(&world);
        for _ in 0..moves {
            operator.step(&mut world, Network::Fine, &mut Vec::new());
        }
        world.cancel = true;
        work(&mut world);
        assert_eq!(world.status.state, Some(RunState::Cancelled), "after {moves} moves");
        let done = world.restarts.contains_key(OPERATION);
        assert_eq!(states(&world)[0] == StepState::Succeeded, done, "after {moves} moves");
    }
}

#[test]
fn a_refused_act_fails_the_step_with_the_reason() {
    let mut world = Shop::new(restart_and_check());
    let mut operator = Operator::about_to_act(&mut world);
    operator.pass = Pass { sent: Sent::Refused("may not patch deployments".into()), ..Pass::default() };
    operator.step(&mut world, Network::Fine, &mut Vec::new());
    assert_eq!(world.status.state, Some(RunState::Failed));
    assert_eq!(world.status.steps[0].message.as_deref(), Some("may not patch deployments"));
}

#[test]
fn a_check_that_does_not_pass_in_time_fails_the_run() {
    let mut world = Shop::new(restart_and_check());
    work(&mut world);
    world.now = 299;
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Running));
    world.now = 300;
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Failed));
    assert!(world.status.steps[1].message.as_ref().unwrap().starts_with("not in time"));
}

#[test]
fn a_wait_ends_at_its_instant_despite_restarts() {
    let mut world = Shop::new(spec(json!([{"name": "w", "wait": {"duration": "90s"}}])));
    work(&mut world);
    world.now = 89;
    work(&mut world);
    assert_eq!(states(&world), [StepState::Settling]);
    world.now = 90;
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Succeeded));
}

#[test]
fn a_question_takes_the_answer_of_a_person_or_fails_without_one() {
    let question =
        json!([{"name": "look", "manual": {"instructions": "Does the queue shrink?"}, "timeout": "15m"}]);
    let mut world = Shop::new(spec(question));
    let mut operator = work(&mut world);
    assert_eq!(world.status.state, Some(RunState::WaitingForPerson));
    assert_eq!(
        world.status.next.as_ref().unwrap().command.as_deref(),
        Some("kubectl mayday answer -n shop run/run look confirm")
    );
    assert!(world.status.steps[0].digest.as_ref().unwrap().starts_with("v1:sha256:"));

    let answer = |confirmed| Answer { by: "emil".into(), confirmed, comment: None };
    for (confirmed, end) in [(true, StepState::Succeeded), (false, StepState::Failed)] {
        operator.pass.answer = Some(Some(answer(confirmed)));
        let Move::Store(status) = operator.next(&world) else { panic!("the answer is not stored") };
        assert_eq!(status.steps[0].state, end);
        assert_eq!(status.steps[0].answered.as_ref().unwrap().user, "emil");
    }
    world.now = 15 * 60;
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Failed));
}

fn pod(uid: &str) -> Value {
    json!({"metadata": {"name": "checkout-1", "namespace": "shop", "uid": uid, "resourceVersion": "7",
        "ownerReferences": [{"kind": "ReplicaSet", "name": "checkout", "controller": true}]}})
}

fn world_of_a_pod() -> Shop {
    let steps = json!([{"name": "evict", "deletePod": {"target": {"name": "checkout-1"}}, "timeout": "1m"}]);
    let mut world = Shop::new(spec(steps));
    world.status.steps[0].targets[0].uid = Some("u".into());
    world.object = pod("u");
    world
}

#[test]
fn an_eviction_that_a_budget_holds_up_is_tried_again_until_the_timeout() {
    let mut world = world_of_a_pod();
    let (mut sent, mut waits) = (0, Vec::new());
    let why = "pod/checkout-1 of shop: the disruption budget checkout needs 3";
    for second in 0..70 {
        world.now = second;
        let mut operator = Operator::read(&world);
        for _ in 0..20 {
            if let Move::Act(act) = operator.next(&world) {
                assert_eq!((act.verb, act.pods[0].uid.as_str()), (ActVerb::Evict, "u"));
                sent += 1;
                operator.pass = Pass { sent: Sent::Partly(why.to_owned(), None), ..Pass::default() };
            } else if !operator.step(&mut world, Network::Fine, &mut Vec::new()) {
                break;
            }
        }
        if world.status.state != Some(RunState::Running) {
            break;
        }
        waits.push(world.status.steps[0].message.clone().unwrap());
    }
    assert!((6..10).contains(&sent), "{sent}: less and less often");
    assert!(waits.iter().all(|message| *message == format!("waits: {why}")), "{waits:?}");
    assert_eq!((world.status.state, world.now), (Some(RunState::Failed), 60));
    assert_eq!(world.status.steps[0].message.as_deref(), Some(&*format!("not in time: {why}")));
}

/// Failure list 54: whichever process looks at the run meanwhile.
#[test]
fn an_eviction_is_tried_again_when_the_api_server_wants_to_be_asked() {
    let mut world = world_of_a_pod();
    let mut operator = Operator::about_to_act(&mut world);
    let asked = Some(SignedDuration::from_secs(20));
    operator.pass = Pass { sent: Sent::Partly("the API server is busy".into(), asked), ..Pass::default() };
    while operator.step(&mut world, Network::Fine, &mut Vec::new()) {}
    let acts = |world: &mut Shop| {
        let mut operator = Operator::started(world);
        loop {
            if matches!(operator.next(world), Move::Act(_)) {
                return true;
            }
            if !operator.step(world, Network::Fine, &mut Vec::new()) {
                return false;
            }
        }
    };
    for (second, is_asked) in [(1, false), (7, false), (19, false), (20, true)] {
        world.now = second;
        assert_eq!(acts(&mut world), is_asked, "after {second} s");
    }
}

#[test]
fn a_pod_that_was_replaced_since_the_run_was_prepared_stays() {
    let mut world = world_of_a_pod();
    world.object = pod("its-successor");
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::Succeeded));
    assert_eq!(world.status.steps[0].acts[0].outcome, Some(Outcome::Unneeded));
}

#[test]
fn a_dry_run_tells_what_would_hold_an_eviction_up() {
    let mut world = world_of_a_pod();
    world.dry_run = true;
    let mut operator = Operator::read(&world);
    for _ in 0..20 {
        if let Move::Act(_) = operator.next(&world) {
            operator.pass = Pass { sent: Sent::Partly("the budget".into(), None), ..Pass::default() };
        } else if !operator.step(&mut world, Network::Fine, &mut Vec::new()) {
            break;
        }
    }
    assert_eq!(world.status.state, Some(RunState::DryRunComplete));
    assert!(world.status.steps[0].message.as_ref().unwrap().contains("would wait now: the budget"));
}

fn world_of_a_job() -> Shop {
    let image = format!("shop/flush@sha256:{}", "0".repeat(64));
    let template = json!({"spec": {"containers": [{"name": "flush", "image": image}]}});
    let mut world = Shop::new(spec(json!([{"name": "flush", "job": {"spec": {"template": template}}}])));
    world.object = Value::Null;
    world
}

/// Works until the act, which the API server answers with `sent`; then until it has nothing to do for now.
fn create(world: &mut Shop, sent: impl Fn(&mut Shop, &Act) -> Sent) {
    let mut operator = Operator::read(world);
    for _ in 0..20 {
        if let Move::Act(act) = operator.next(world) {
            assert_eq!(act.verb, ActVerb::Create);
            operator.pass = Pass { sent: sent(world, &act), ..Pass::default() };
        } else if !operator.step(world, Network::Fine, &mut Vec::new()) {
            return;
        }
    }
    panic!("it never comes to rest: {:?}", world.status);
}

#[test]
fn a_job_that_may_have_run_and_is_gone_is_not_created_again() {
    let mut world = world_of_a_job();
    Operator::about_to_act(&mut world);
    create(&mut world, |_, _| panic!("a process that has not announced it creates nothing"));
    assert_eq!(world.status.state, Some(RunState::Unknown));
    assert!(world.status.steps[0].message.as_ref().unwrap().contains("may have run"));
}

#[test]
fn a_job_that_the_api_server_refused_for_now_is_created_later() {
    let mut world = world_of_a_job();
    create(&mut world, |_, _| Sent::Conflict);
    assert_eq!((world.status.state, world.status.steps[0].acts.len()), (Some(RunState::Running), 0));
    world.now = 1;
    create(&mut world, |world, act| {
        world.object = act.body.clone().unwrap();
        Sent::Applied(Vec::new())
    });
    assert_eq!(world.status.steps[0].acts[0].outcome, Some(Outcome::Done));
    // A process that comes later finds it by its name.
    world.status.steps[0].acts[0].outcome = None;
    world.status.steps[0].acts[0].body = Some(world.object.clone());
    world.status.steps[0].state = StepState::IntentRecorded;
    create(&mut world, |_, _| panic!("it is there"));
    assert_eq!(world.status.steps[0].acts[0].outcome, Some(Outcome::Done));
    world.object["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    create(&mut world, |_, _| panic!("it is there"));
    assert_eq!(world.status.state, Some(RunState::Succeeded));
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_happen() {
    let mut world = Shop::new(restart_and_check());
    world.dry_run = true;
    work(&mut world);
    assert_eq!(world.status.state, Some(RunState::DryRunComplete));
    assert_eq!(states(&world), [StepState::Skipped, StepState::Skipped]);
    assert!(world.status.steps[0].message.as_ref().unwrap().starts_with("would restart deployment/checkout"));
    assert!(world.restarts.is_empty());
}

/// What may happen between two moves.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Operator 0 or 1 makes a move; both may believe to be the leader.
    Move(usize, Network),
    /// An operator dies and starts again.
    Crash(usize),
    /// A request that was under way arrives.
    Arrive,
    /// The status of the Deployment changes.
    Churn,
    /// A person changes its spec.
    Edit,
    /// A GitOps tool removes foreign annotations.
    Strip,
    /// Time passes, in seconds.
    Pass(i64),
    /// The clock is set, or the next leader has another one: by so many seconds, forwards or back.
    Jump(i64),
    /// A request that was under way arrives twice.
    Doubled,
    /// Another writer stores the run, so that every operator meets a conflict.
    Conflict,
    /// A person cancels.
    Cancel,
}

fn event() -> impl Strategy<Value = Event> {
    let network = prop_oneof![
        6 => Just(Network::Fine), 1 => Just(Network::AnswerLost), 1 => Just(Network::RequestLost), 1 => Just(Network::Delayed)
    ];
    prop_oneof![
        20 => (0..2_usize, network).prop_map(|(who, network)| Event::Move(who, network)),
        3 => (0..2_usize).prop_map(Event::Crash),
        2 => Just(Event::Arrive),
        1 => Just(Event::Churn),
        1 => Just(Event::Edit),
        1 => Just(Event::Strip),
        1 => (0..60_i64).prop_map(Event::Pass),
        1 => (-3_600..3_600_i64).prop_map(Event::Jump),
        1 => Just(Event::Doubled),
        1 => Just(Event::Conflict),
        1 => prop::bool::weighted(0.1).prop_map(|cancel| if cancel { Event::Cancel } else { Event::Churn }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn at_most_one_act_per_operation_takes_effect_despite_crashes(
        events in prop::collection::vec(event(), 1..120)
    ) {
        let mut world = Shop::new(restart_and_check());
        let mut operators = [Operator::read(&world), Operator::read(&world)];
        let mut late = Vec::new();
        for event in events {
            let ended: Vec<(usize, StepState)> = states(&world).into_iter().enumerate().filter(|(_, state)| parts::is_terminal(*state)).collect();
            match event {
                Event::Move(who, network) => { operators[who].step(&mut world, network, &mut late); }
                Event::Crash(who) => operators[who] = Operator::started(&world),
                Event::Arrive => if let Some(act) = late.pop() { world.patch(&act); },
                Event::Churn => world.touch(false),
                Event::Edit => { world.object["spec"]["replicas"] = (world.now % 7).into(); world.touch(true); }
                Event::Strip => { world.object["spec"]["template"]["metadata"]["annotations"] = json!({}); world.touch(true); }
                Event::Pass(seconds) | Event::Jump(seconds) => world.now += seconds,
                Event::Doubled => if let Some(act) = late.pop() { world.patch(&act); world.patch(&act); },
                Event::Conflict => world.version += 1,
                Event::Cancel => world.cancel = true,
            }
            prop_assert_eq!(is_consistent(&world.status), Ok(()));
            prop_assert!(world.restarts.values().all(|count| *count <= 1), "{:?}", world.restarts);
            for (index, state) in ended {
                prop_assert_eq!(states(&world)[index], state, "a terminal state changed");
            }
            if states(&world)[0] == StepState::Succeeded {
                prop_assert_eq!(world.restarts.get(OPERATION), Some(&1), "succeeded without an act");
            }
        }
        for act in late {
            world.patch(&act);
        }
        prop_assert!(world.restarts.values().all(|count| *count <= 1), "{:?}", world.restarts);
        // Left alone, it comes to an end: the watched object settles, and time passes.
        world.controller_finishes();
        work(&mut world);
        // Longer than any step waits, even if the clock was set back meanwhile.
        world.now += 20 * 3_600;
        work(&mut world);
        world.now += 600;
        work(&mut world);
        prop_assert!(world.status.state.is_some_and(RunState::is_settled), "{:?}", world.status);
        prop_assert_eq!(is_consistent(&world.status), Ok(()));
    }
}
