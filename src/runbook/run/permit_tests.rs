use super::*;
use serde_json::{Value, json};

struct World {
    run: RunbookRun,
    spec: RunbookSpec,
    runbook: Option<Runbook>,
    runbook_approved: Approved,
    run_approved: Approved,
    account: Result<(), NotReady>,
    incident: Option<Incident>,
    others: Vec<Arc<Incident>>,
    automation: Value,
    siblings: Vec<Result<Share, String>>,
    runs: Vec<Arc<RunbookRun>>,
    freezes: Vec<Arc<Freeze>>,
    is_stamped: bool,
}

impl World {
    fn new() -> World {
        let spec = json!({"summary": "s", "serviceAccountName": "sa", "approval": "Standing",
            "steps": [{"name": "r", "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}]});
        World {
            run: serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                "metadata": {"name": "run", "namespace": "shop", "uid": "run-uid"},
                "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "inc"}},
                "status": {"incidentRef": {"name": "inc", "uid": "inc-uid"}}}))
            .unwrap(),
            runbook: Some(
                serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
                "metadata": {"name": "rb", "namespace": "shop"}, "spec": spec}))
                .unwrap(),
            ),
            spec: serde_json::from_value(spec).unwrap(),
            runbook_approved: Approved::Yes,
            run_approved: Approved::Missing("amir".into()),
            account: Ok(()),
            incident: Some(incident(json!({"state": "Open"}))),
            others: Vec::new(),
            automation: json!({"start": "Automatic", "approval": "Standing", "afterLeadClaimed": "PerRun"}),
            siblings: Vec::new(),
            runs: Vec::new(),
            freezes: Vec::new(),
            is_stamped: true,
        }
    }

    fn acted(mut self) -> World {
        self.run.status = Some(serde_json::from_value(json!({"incidentRef": {"name": "inc", "uid": "inc-uid"}, "startTime": "2026-01-01T00:00:00Z",
            "steps": [{"name": "r", "state": "Succeeded", "intent": {"operationId": "o", "target": {"apiVersion": "v1", "kind": "K", "name": "n"},
                "uid": "u", "resourceVersion": "1", "actor": "a", "delta": []}}]})).unwrap());
        self
    }

    fn decide(&self) -> Permit {
        let policy: ChangePolicy = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy",
            "metadata": {"name": "p"}, "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "automation": self.automation,
            "incident": {"severities": ["SEV2"]}}})).unwrap();
        let facts = PermitFacts {
            run: &self.run,
            status: self.run.status.as_ref().unwrap(),
            spec: &self.spec,
            runbook: self.runbook.as_ref(),
            runbook_approved: &self.runbook_approved,
            run_approved: &self.run_approved,
            account: &self.account,
            incident: self.incident.as_ref(),
            incidents: &self.others,
            policies: &[Arc::new(policy)],
            siblings: &self.siblings,
            cluster_concurrency: None,
            runs: &self.runs,
            freezes: &self.freezes,
            is_stamped: self.is_stamped,
        };
        decide(&facts, Timestamp::from_second(1_000_000).unwrap())
    }

    fn waits_for(&self) -> &'static str {
        match self.decide() {
            Permit::Wait(obstacle) => obstacle.reason.as_str(),
            other => panic!("{other:?}"),
        }
    }
}

/// The kind: an object in somebody's name that the guard did not admit.
#[test]
fn a_run_that_the_guard_did_not_admit_never_acts() {
    let world = World { is_stamped: false, ..World::new() };
    let Permit::Stop(RunState::Cancelled, why) = world.decide() else { panic!("{:?}", world.decide()) };
    assert!(why.ends_with("start it again"), "{why}");
}

fn incident(status: Value) -> Incident {
    serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "inc", "namespace": "shop", "uid": "inc-uid"},
        "spec": {"title": "t", "severity": "SEV2"}, "status": status}))
    .unwrap()
}

#[test]
fn an_approved_run_without_an_obstacle_goes_on() {
    assert_eq!(World::new().decide(), Permit::Go);
    assert_eq!(World::new().acted().decide(), Permit::Go);
}

#[test]
fn a_revoked_approval_stops_before_the_next_act() {
    let mut world = World::new();
    world.runbook_approved = Approved::Missing("two of shop-approvers".into());
    assert_eq!(world.waits_for(), "NotApproved");
    let mut acted = World::new().acted();
    acted.runbook_approved = Approved::Rejected("bea".into());
    assert!(matches!(acted.decide(), Permit::Stop(RunState::Failed, message) if message.contains("bea")));
}

#[test]
fn a_run_whose_incident_is_over_or_gone_is_cancelled() {
    for incident in [None, Some(incident(json!({"state": "FalseAlarm"})))] {
        let mut world = World::new();
        world.incident = incident;
        assert!(matches!(world.decide(), Permit::Stop(RunState::Cancelled, _)));
    }
    let mut another = World::new();
    another.run.status.as_mut().unwrap().incident_ref.as_mut().unwrap().uid = "older".into();
    assert!(matches!(another.decide(), Permit::Stop(RunState::Cancelled, _)));
}

#[test]
fn a_suspension_holds_only_runs_that_have_not_begun() {
    let suspend = |mut world: World| {
        world.runbook.as_mut().unwrap().spec.suspend = true;
        world
    };
    assert_eq!(suspend(World::new()).waits_for(), "Suspended");
    assert_eq!(suspend(World::new().acted()).decide(), Permit::Go);
}

#[test]
fn each_run_waits_for_an_approval_after_a_lead_has_claimed() {
    let mut world = World::new();
    world.incident =
        Some(incident(json!({"state": "Crisis", "lead": {"user": "lena", "time": "2026-01-01T00:00:00Z"}})));
    world.incident.as_mut().unwrap().spec.roles =
        Some(serde_json::from_value(json!({"lead": {"user": "lena"}})).unwrap());
    let Permit::Ask(next, None) = world.decide() else { panic!("not asked as long as the incident lasts") };
    assert_eq!(next.who, "amir");
    assert!(next.what.contains("restart deployment/checkout"));
    assert_eq!(next.command.as_deref(), Some("kubectl mayday approve -n shop run/run"));
    world.run_approved = Approved::Yes;
    assert_eq!(world.decide(), Permit::Go);
    world.run_approved = Approved::Rejected("bea".into());
    assert!(matches!(world.decide(), Permit::Stop(RunState::Cancelled, _)));
}

#[test]
fn a_run_that_names_no_incident_still_needs_the_lead() {
    let mut world = World::new();
    let mut led = incident(json!({"state": "Crisis"}));
    led.spec.roles = Some(serde_json::from_value(json!({"lead": {"user": "lena"}})).unwrap());
    world.others = vec![Arc::new(led)];
    world.run.spec.incident_ref = None;
    world.incident = None;
    assert!(matches!(world.decide(), Permit::Ask(_, Some(_))));
    world.others = vec![Arc::new(incident(json!({"state": "Open"})))];
    assert_eq!(world.decide(), Permit::Go, "nobody leads");
}

#[test]
fn the_policy_is_a_kill_switch() {
    let mut world = World::new();
    world.automation = json!({"start": "Disabled"});
    assert_eq!(world.waits_for(), "NotAllowed");
    let mut acted = World::new().acted();
    acted.automation = json!({"start": "Manual", "approval": "Standing", "afterLeadClaimed": "Standing"});
    assert!(matches!(acted.decide(), Permit::Stop(RunState::Failed, _)));
    let by = |user: &str| Some(crate::api::common::UserRef { user: user.into() });
    acted.run.spec.started_by = by("system:serviceaccount:mayday-system:mayday");
    assert!(matches!(acted.decide(), Permit::Stop(RunState::Failed, _)), "Mayday is nobody");
    acted.run.spec.started_by = by("emil");
    assert_eq!(acted.decide(), Permit::Go, "people may still start it");
}

fn freeze(policy: &str, end: i64) -> Arc<Freeze> {
    let spec = json!({"policyRef": {"name": policy}, "stops": ["Automation"], "reason": "sale",
        "endTime": Timestamp::from_second(end).unwrap()});
    Arc::new(Freeze::new("sale", serde_json::from_value(spec).unwrap()))
}

#[test]
fn a_freeze_holds_an_automatic_run_before_it_begins_and_between_acts() {
    for mut world in [World::new(), World::new().acted()] {
        world.freezes = vec![freeze("p", 1_000_600)];
        let Permit::Wait(obstacle) = world.decide() else { panic!("{:?}", world.decide()) };
        let until = Timestamp::from_second(1_000_600).unwrap();
        assert_eq!((obstacle.reason, obstacle.until), (Reason::Frozen, Some(until)));
        assert!(
            obstacle.message.starts_with("frz/sale stops automation under cpol/p until "),
            "{}",
            obstacle.message
        );
        assert!(
            obstacle.message.ends_with("; to lift it: kubectl mayday unfreeze sale"),
            "{}",
            obstacle.message
        );
        world.freezes = vec![freeze("p", 1_000_000), freeze("other", 1_000_600)];
        assert_eq!(world.decide(), Permit::Go, "it is over, and the other is of another policy");
    }
}

#[test]
fn a_run_that_a_person_started_goes_on_under_a_freeze_of_automation() {
    for mut world in [World::new(), World::new().acted()] {
        world.freezes = vec![freeze("p", 1_000_600)];
        world.run.spec.started_by = Some(crate::api::common::UserRef { user: "emil".into() });
        assert_eq!(world.decide(), Permit::Go);
        world.run.spec.started_by = Some(crate::api::common::UserRef {
            user: "system:serviceaccount:flux-system:kustomize-controller".into(),
        });
        assert_eq!(world.waits_for(), "Frozen");
    }
}

#[test]
fn the_kill_switch_stops_a_run_that_a_freeze_holds() {
    let mut world = World::new().acted();
    world.freezes = vec![freeze("p", 1_000_600)];
    world.automation = json!({"start": "Disabled"});
    assert!(
        matches!(world.decide(), Permit::Stop(RunState::Failed, message) if message.contains("Disabled"))
    );
}

#[test]
fn another_run_on_the_same_target_is_waited_for() {
    let mut world = World::new();
    let mut other = world.run.clone();
    other.metadata.uid = Some("other".into());
    let held = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}]);
    world.run.status.as_mut().unwrap().holds = serde_json::from_value(held.clone()).unwrap();
    let working = json!({"state": "Running", "startTime": "2026-01-01T00:00:00Z", "holds": held});
    other.status = Some(serde_json::from_value(working).unwrap());
    world.runs = vec![Arc::new(other)];
    assert_eq!(world.waits_for(), "TargetBusy");
}

#[test]
fn a_run_that_a_person_started_begins_soon_or_never() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let busy = |until: Option<i64>| Obstacle {
        reason: Reason::TargetBusy,
        message: "busy".into(),
        until: until.map(at),
    };
    let until = |waits: Result<Obstacle, String>| waits.unwrap().until;
    assert_eq!(until(held(busy(None), at(0), at(60))), Some(at(900)));
    assert_eq!(until(held(busy(Some(100)), at(0), at(60))), Some(at(100)));
    assert!(held(busy(Some(901)), at(0), at(60)).is_err());
    assert!(held(busy(None), at(0), at(900)).is_err());
}

#[test]
fn a_dry_run_needs_an_approved_runbook_and_no_approval_of_its_own() {
    let mut world = World::new();
    world.run.spec.dry_run = true;
    world.automation = json!({"start": "Disabled"});
    world.runbook.as_mut().unwrap().spec.suspend = true;
    assert_eq!(world.decide(), Permit::Go);
    world.runbook_approved = Approved::Missing("everybody".into());
    assert_eq!(world.waits_for(), "NotApproved", "nothing is read as the account before");
}

#[test]
fn an_account_that_is_not_meant_for_runbooks_is_not_used() {
    let unfit = || {
        Err(NotReady::Waiting(
            Reason::ServiceAccountNotLabelled,
            "serviceaccount/sa is not meant for runbooks".into(),
        ))
    };
    let mut world = World::new();
    world.account = unfit();
    assert_eq!(world.waits_for(), "AccountNotUsable");
    let mut acted = World::new().acted();
    acted.account = unfit();
    assert!(matches!(acted.decide(), Permit::Stop(RunState::Failed, why) if why.contains("not meant")));
}

#[test]
fn a_rejection_of_the_run_is_final_even_if_no_approval_is_needed() {
    for mut world in [World::new(), World::new().acted()] {
        world.run_approved = Approved::Rejected("bea".into());
        let why = "bea rejected the run".to_owned();
        assert_eq!(world.decide(), Permit::Stop(RunState::Cancelled, why));
    }
}

#[test]
fn a_run_that_a_person_started_waits_at_most_a_quarter_of_an_hour() {
    let started = |ago: i64| {
        let mut world = World::new();
        world.run.spec.started_by = Some(crate::api::common::UserRef { user: "system:admin".into() });
        world.run.metadata.creation_timestamp =
            Some(crate::api::common::stored_time(Timestamp::from_second(1_000_000 - ago).unwrap()));
        world
    };
    let held_up: [fn(&mut World); 3] = [
        |world| world.runbook_approved = Approved::Missing("amir".into()),
        |world| world.runbook.as_mut().unwrap().spec.suspend = true,
        |world| world.automation = json!({"start": "Disabled"}),
    ];
    for hold_up in held_up {
        let mut world = started(899);
        hold_up(&mut world);
        assert!(matches!(world.decide(), Permit::Wait(obstacle) if obstacle.until.is_some()));
        let mut world = started(900);
        hold_up(&mut world);
        let Permit::Stop(RunState::Cancelled, why) = world.decide() else { panic!("it may still begin") };
        assert!(why.ends_with("start it again if it is needed then"), "{why}");
    }
}

#[test]
fn a_run_without_an_incident_waits_a_day_for_approval() {
    let mut world = World::new();
    world.run.spec.incident_ref = None;
    world.incident = None;
    world.spec.approval = crate::api::runbook::RunApproval::PerRun;
    let now = Timestamp::from_second(1_000_000).unwrap();
    let end = now.checked_add(MAX_WAIT_FOR_APPROVAL).unwrap();
    assert!(matches!(world.decide(), Permit::Ask(_, Some(until)) if until == end));
    let asks = |world: &mut World, since: i64| {
        let blocked = json!({"type": "Blocked", "status": "True", "reason": "ApprovalMissing", "message": "m",
            "lastTransitionTime": Timestamp::from_second(since).unwrap()});
        let status = world.run.status.as_mut().unwrap();
        status.state = Some(RunState::WaitingForApproval);
        status.conditions = vec![serde_json::from_value(blocked).unwrap()];
    };
    asks(&mut world, 1_000_000 - 86_399);
    assert!(matches!(world.decide(), Permit::Ask(..)));
    asks(&mut world, 1_000_000 - 86_400);
    assert!(
        matches!(world.decide(), Permit::Stop(RunState::Cancelled, why) if why.contains("within 24 hours: amir"))
    );
}

#[test]
fn a_part_of_the_cluster_is_no_person() {
    for part in ["system:serviceaccount:a:b", "system:node:n", "system:kube-controller-manager", ""] {
        assert!(!is_person(part), "{part}");
    }
    assert!(is_person("system:admin") && is_person("emil"));
}

#[test]
fn a_run_that_changes_nodes_needs_a_listed_identity() {
    let mut world = World::new();
    world
        .spec
        .steps
        .push(serde_json::from_value(json!({"name": "c", "cordon": {"target": {"name": "w1"}}})).unwrap());
    let Permit::Wait(obstacle) = world.decide() else { panic!("{:?}", world.decide()) };
    assert_eq!(obstacle.reason, Reason::NotAllowed);
    assert!(obstacle.message.contains("clusterIdentities of cpol/p"), "{}", obstacle.message);
    world.automation["clusterIdentities"] = json!([{"namespace": "shop", "name": "sa"}]);
    assert_eq!(world.decide(), Permit::Go);
    world = world.acted();
    world.automation["clusterIdentities"] = json!([]);
    assert!(matches!(world.decide(), Permit::Stop(RunState::Failed, _)), "asked before each act");
}

#[test]
fn a_breaker_and_unhealthy_others_hold_back_only_what_nobody_started() {
    type Hold = fn(&mut World);
    let hold: [(&str, Hold); 2] = [
        ("BreakerOpen", |world| {
            let runbook = world.runbook.as_mut().unwrap();
            runbook.spec.limits = serde_json::from_value(json!({"breaker": {"failures": 1}})).unwrap();
            let failed = json!({"name": "a", "uid": "a", "startTime": "1970-01-12T13:40:00Z", "endTime": "1970-01-12T13:45:00Z",
                "outcome": "Failed"});
            runbook.status = serde_json::from_value(json!({"recentRuns": [failed]})).unwrap();
        }),
        ("TooFewHealthy", |world| {
            world.automation["minHealthy"] = 50.into();
            world.siblings = vec![Ok(Share { what: "other nodes", healthy: 1, wanted: 3 })];
        }),
    ];
    for (reason, hold) in hold {
        let mut world = World::new();
        hold(&mut world);
        assert_eq!(world.waits_for(), reason);
        world.run.spec.started_by = Some(crate::api::common::UserRef { user: "emil".into() });
        assert_eq!(world.decide(), Permit::Go, "{reason}: a person has looked");
        let mut begun = World::new().acted();
        hold(&mut begun);
        assert_eq!(begun.decide(), Permit::Go, "{reason}: what has begun goes on");
    }
}
