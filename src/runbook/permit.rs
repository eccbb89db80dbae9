//! Whether a run may go on: asked before it begins, and again right before each act. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::actions::changed_targets;
use super::limits::Obstacle;
use super::{ceiling, limits};
use crate::api::incident_status::Next;
use crate::api::runbook::{RunbookSpec, Start};
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::{ChangePolicy, Incident, Runbook, RunbookRun};
use crate::change::binding;

/// So long a run that a person started waits for others, and for limits.
const HELD: SignedDuration = SignedDuration::from_mins(15);

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Permit {
    /// Go on.
    Go,
    /// Something stands in the way for now.
    Wait(Obstacle),
    /// Somebody must approve the run first.
    Ask(Next),
    /// Never again: the state in which the run ends, and why.
    Stop(RunState, String),
}

/// Whether an approval is complete.
#[derive(Clone, Debug, PartialEq)]
pub enum Approved {
    /// It is.
    Yes,
    /// Somebody is missing; who, in words.
    Missing(String),
    /// Somebody said no, for good.
    Rejected(String),
}

/// What is known when a run asks.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run.
    pub run: &'a RunbookRun,
    /// Its newest status.
    pub status: &'a RunbookRunStatus,
    /// The Runbook as it was when the run began.
    pub spec: &'a RunbookSpec,
    /// The Runbook as it is now, if it still exists.
    pub runbook: Option<&'a Runbook>,
    /// Whether the approvals of the Runbook count for the snapshot.
    pub runbook_approved: &'a Approved,
    /// Whether the run's own approval is complete, should it need one.
    pub run_approved: &'a Approved,
    /// The incident as it is now, if it still exists.
    pub incident: Option<&'a Incident>,
    /// The incidents of the namespace: one that binds its changes binds the run, whichever the run names.
    pub incidents: &'a [Arc<Incident>],
    /// All policies.
    pub policies: &'a [Arc<ChangePolicy>],
    /// The runs of the namespace.
    pub runs: &'a [Arc<RunbookRun>],
}

/// Decides. What is not known counts as no.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Permit {
    let run = facts.run;
    let namespace = run.namespace().unwrap_or_default();
    if let Some(message) = incident_over(facts) {
        return Permit::Stop(RunState::Cancelled, message);
    }
    // Nothing is changed, so nobody need agree.
    if run.spec.dry_run {
        return Permit::Go;
    }
    let begun = facts.status.start_time.is_some();
    // Before it begins it waits; later it stops, since half a repair must not linger.
    let hold = |reason: &'static str, message: String| {
        if begun {
            Permit::Stop(RunState::Failed, format!("stopped before its next act: {message}"))
        } else {
            Permit::Wait(Obstacle { reason, message, until: None })
        }
    };
    let name = &run.spec.runbook_ref.name;
    match facts.runbook {
        None if !begun => return Permit::Stop(RunState::Cancelled, format!("rb/{name} no longer exists")),
        Some(runbook) if !begun && runbook.spec.suspend => {
            return hold("Suspended", format!("rb/{name} is suspended"));
        }
        _ => {}
    }
    match facts.runbook_approved {
        Approved::Yes => {}
        Approved::Missing(who) => return hold("NotApproved", format!("rb/{name} is not approved: {who}")),
        Approved::Rejected(by) => return hold("Rejected", format!("rb/{name} was rejected by {by}")),
    }
    let ceiling = ceiling::over(facts.policies, &namespace);
    let start = if started_by_person(run) { Start::Manual } else { Start::Automatic };
    if let Some(message) = ceiling.refuses(start, &namespace) {
        return hold("NotAllowed", message);
    }
    if ceiling.asks_per_run(facts.spec.approval, is_led(facts, &namespace)) {
        match facts.run_approved {
            Approved::Yes => {}
            Approved::Rejected(by) => {
                return Permit::Stop(RunState::Cancelled, format!("{by} rejected the run"));
            }
            Approved::Missing(who) => return Permit::Ask(ask(run, &namespace, facts.spec, who)),
        }
    }
    if !begun {
        let uid = run.uid();
        let in_the_way = facts
            .runbook
            .and_then(|runbook| limits::reached(runbook, uid.as_deref(), now))
            .or_else(|| limits::busy(&changed_targets(&facts.spec.steps), facts.runs, uid.as_deref()));
        if let Some(obstacle) = in_the_way {
            if let Some(created) = run.creation_timestamp().filter(|_| started_by_person(run)) {
                return held(obstacle, created.0, now);
            }
            // Where no instant is known it is the end of another run, and each change of a run wakes the others.
            return Permit::Wait(obstacle);
        }
    }
    Permit::Go
}

/// What a person started begins soon or not at all: when nobody looks any more, it would be a surprise.
fn held(obstacle: Obstacle, created: Timestamp, now: Timestamp) -> Permit {
    let end = created.checked_add(HELD).unwrap_or(Timestamp::MAX);
    if end <= now || obstacle.until.is_some_and(|until| until > end) {
        let minutes = HELD.as_mins();
        let why = format!(
            "{}; it cannot begin within {minutes} minutes: start it again if it is needed then",
            obstacle.message
        );
        return Permit::Stop(RunState::Cancelled, why);
    }
    Permit::Wait(Obstacle { until: Some(obstacle.until.unwrap_or(end)), ..obstacle })
}

/// Whether a lead has claimed the incident of the run, or one that binds changes in its namespace: a run that names
/// no incident, or another, does not get round the lead.
fn is_led(facts: &Facts<'_>, namespace: &str) -> bool {
    let covering = facts.policies.iter().filter(|policy| ceiling::covers(policy, namespace));
    let specs: Vec<_> = covering.map(|policy| &policy.spec).collect();
    let bindings = binding::bindings(facts.incidents, &specs, namespace);
    facts.incident.and_then(binding::lead).is_some() || bindings.iter().any(|binding| binding.lead.is_some())
}

/// What a ServiceAccount starts, Mayday's own above all, starts by itself.
fn started_by_person(run: &RunbookRun) -> bool {
    run.spec.started_by.as_ref().is_some_and(|starter| !starter.user.starts_with("system:"))
}

fn incident_over(facts: &Facts<'_>) -> Option<String> {
    let name = &facts.run.spec.incident_ref.as_ref()?.name;
    let known = facts.status.incident_ref.as_ref();
    let Some(incident) = facts
        .incident
        .filter(|incident| known.is_none_or(|known| incident.uid().as_deref() == Some(&known.uid)))
    else {
        return Some(format!("inc/{name} no longer exists"));
    };
    let state = incident.status.as_ref().and_then(|status| status.state);
    state.filter(|state| !state.is_open()).map(|state| format!("inc/{name} is over ({state})"))
}

fn ask(run: &RunbookRun, namespace: &str, spec: &RunbookSpec, who: &str) -> Next {
    let steps: Vec<String> =
        spec.steps.iter().filter_map(super::actions::Action::of).map(|action| action.summary()).collect();
    Next {
        who: crate::text::cut(who, 253),
        what: crate::text::cut(
            &format!("approve run/{}, which will: {}", run.name_any(), steps.join("; ")),
            500,
        ),
        command: Some(format!("kubectl mayday approve -n {namespace} run/{}", run.name_any())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct World {
        run: RunbookRun,
        spec: RunbookSpec,
        runbook: Option<Runbook>,
        runbook_approved: Approved,
        run_approved: Approved,
        incident: Option<Incident>,
        others: Vec<Arc<Incident>>,
        automation: Value,
        runs: Vec<Arc<RunbookRun>>,
    }

    impl World {
        fn new() -> World {
            let spec = json!({"summary": "s", "serviceAccountName": "sa", "approval": "Standing",
                "steps": [{"name": "r", "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}]});
            World {
                run: serde_json::from_value(
                    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                    "metadata": {"name": "run", "namespace": "shop", "uid": "run-uid"},
                    "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "inc"}},
                    "status": {"incidentRef": {"name": "inc", "uid": "inc-uid"}}}),
                )
                .unwrap(),
                runbook: Some(
                    serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
                    "metadata": {"name": "rb", "namespace": "shop"}, "spec": spec}))
                    .unwrap(),
                ),
                spec: serde_json::from_value(spec).unwrap(),
                runbook_approved: Approved::Yes,
                run_approved: Approved::Missing("amir".into()),
                incident: Some(incident(json!({"state": "Open"}))),
                others: Vec::new(),
                automation: json!({"start": "Automatic", "approval": "Standing", "afterLeadClaimed": "PerRun"}),
                runs: Vec::new(),
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
            let facts = Facts {
                run: &self.run,
                status: self.run.status.as_ref().unwrap(),
                spec: &self.spec,
                runbook: self.runbook.as_ref(),
                runbook_approved: &self.runbook_approved,
                run_approved: &self.run_approved,
                incident: self.incident.as_ref(),
                incidents: &self.others,
                policies: &[Arc::new(policy)],
                runs: &self.runs,
            };
            decide(&facts, Timestamp::from_second(1_000_000).unwrap())
        }

        fn waits_for(&self) -> &'static str {
            match self.decide() {
                Permit::Wait(obstacle) => obstacle.reason,
                other => panic!("{other:?}"),
            }
        }
    }

    fn incident(status: Value) -> Incident {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "inc", "namespace": "shop", "uid": "inc-uid"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": status}))
        .unwrap()
    }

    #[test]
    fn what_is_approved_and_unhindered_goes_on() {
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
    fn an_incident_that_is_over_or_gone_cancels() {
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
    fn suspension_holds_what_has_not_begun_and_leaves_the_rest_alone() {
        let suspend = |mut world: World| {
            world.runbook.as_mut().unwrap().spec.suspend = true;
            world
        };
        assert_eq!(suspend(World::new()).waits_for(), "Suspended");
        assert_eq!(suspend(World::new().acted()).decide(), Permit::Go);
    }

    #[test]
    fn after_a_lead_has_claimed_each_run_waits_for_an_approval() {
        let mut world = World::new();
        world.incident = Some(incident(
            json!({"state": "Crisis", "lead": {"user": "lena", "time": "2026-01-01T00:00:00Z"}}),
        ));
        world.incident.as_mut().unwrap().spec.roles =
            Some(serde_json::from_value(json!({"lead": {"user": "lena"}})).unwrap());
        let Permit::Ask(next) = world.decide() else { panic!("not asked") };
        assert_eq!(next.who, "amir");
        assert!(next.what.contains("restart deployment/checkout"));
        assert_eq!(next.command.as_deref(), Some("kubectl mayday approve -n shop run/run"));
        world.run_approved = Approved::Yes;
        assert_eq!(world.decide(), Permit::Go);
        world.run_approved = Approved::Rejected("bea".into());
        assert!(matches!(world.decide(), Permit::Stop(RunState::Cancelled, _)));
    }

    #[test]
    fn a_run_that_names_no_incident_does_not_get_round_the_lead() {
        let mut world = World::new();
        let mut led = incident(json!({"state": "Crisis"}));
        led.spec.roles = Some(serde_json::from_value(json!({"lead": {"user": "lena"}})).unwrap());
        world.others = vec![Arc::new(led)];
        world.run.spec.incident_ref = None;
        world.incident = None;
        assert!(matches!(world.decide(), Permit::Ask(_)));
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

    #[test]
    fn another_run_on_the_same_target_is_waited_for() {
        let mut world = World::new();
        let mut other = world.run.clone();
        other.metadata.uid = Some("other".into());
        other.status = Some(
            serde_json::from_value(json!({"state": "Running", "startTime": "2026-01-01T00:00:00Z",
            "snapshot": {"uid": "u", "digest": "d", "spec": world.spec}}))
            .unwrap(),
        );
        world.runs = vec![Arc::new(other)];
        assert_eq!(world.waits_for(), "TargetBusy");
    }

    #[test]
    fn what_a_person_starts_begins_soon_or_not_at_all() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let busy =
            |until: Option<i64>| Obstacle { reason: "R", message: "busy".into(), until: until.map(at) };
        let until = |permit: Permit| match permit {
            Permit::Wait(obstacle) => obstacle.until,
            _ => None,
        };
        assert_eq!(until(held(busy(None), at(0), at(60))), Some(at(900)));
        assert_eq!(until(held(busy(Some(100)), at(0), at(60))), Some(at(100)));
        assert!(matches!(held(busy(Some(901)), at(0), at(60)), Permit::Stop(RunState::Cancelled, _)));
        assert!(matches!(held(busy(None), at(0), at(900)), Permit::Stop(RunState::Cancelled, _)));
    }

    #[test]
    fn a_dry_run_needs_nobody() {
        let mut world = World::new();
        world.run.spec.dry_run = true;
        world.runbook_approved = Approved::Missing("everybody".into());
        world.automation = json!({"start": "Disabled"});
        assert_eq!(world.decide(), Permit::Go);
    }
}
