//! What is judged right before each act of every Runbook: whether somebody else is at work on the target. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::super::parts::{self, Place};
use super::act::{deadline, follows_a_change, would};
use super::announced::HELD_UP;
use super::failure::{Again, fail};
use super::{Move, RunFacts, hold, store};
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Outcome, StepState, StepStatus};
use crate::runbook::{guards, steps};
use crate::text::instant;

/// The move if somebody else is at work on the target; `None` if the act may be announced. A compensation takes back what
/// was permitted, so it is not judged.
pub(super) fn guard(
    facts: &RunFacts<'_>,
    place: Place,
    target: &ObjectRef,
    object: Option<&Value>,
    now: Timestamp,
) -> Option<Move> {
    let object = object.filter(|_| !place.back)?;
    if let Some(alone) = facts.alone
        && let Some(change) = guards::changed_since(object, alone.since)
    {
        let name = target.display();
        let message = format!(
            "{name} was changed by {} at {}, after the outage began: somebody may be repairing it. Look: kubectl get \
             -n {} {name} -o yaml --show-managed-fields; by hand: {}",
            change.manager,
            instant(change.time),
            facts.namespace,
            alone.by_hand
        );
        return Some(fail(facts, place, &message, Again::Never, now));
    }
    let _step =
        facts.step(place).filter(|step| steps::waits_for_rollout(step) && !step.allow_during_rollout)?;
    let rolling = guards::rolling_out(target, object, now).filter(|_| !is_own(facts, target))?;
    let message = rolling.message;
    if facts.dry_run {
        if follows_a_change(facts, place) {
            return None;
        }
        let what = would(facts, place);
        let message = format!("{what}; as it is now it would wait: {message}");
        return Some(store(facts.entry(now).ends(place, StepState::Skipped, &message)));
    }
    let deadline = deadline(facts, place, now);
    if now >= deadline {
        let message =
            format!("not in time: {message}; a step with allowDuringRollout: true does not wait for it");
        return Some(fail(facts, place, &message, Again::Never, now));
    }
    let entry = match parts::part(facts.status, place).open() {
        Some(_) => facts.entry(now).never_sent(place),
        None => facts.entry(now),
    };
    let until = rolling.until.map_or(deadline, |until| until.min(deadline));
    Some(hold(entry.settling(place, deadline, &format!("{HELD_UP}{message}")), Some(until)))
}

/// Whether an earlier act of this very run has changed the target, so that its rollout is the run's own.
fn is_own(facts: &RunFacts<'_>, target: &ObjectRef) -> bool {
    let is_about = |step: &StepStatus| step.targets.iter().any(|own| own.object.same_object(target));
    let had_effect =
        |step: &StepStatus| step.acts.iter().any(|act| act.outcome.is_some_and(Outcome::had_effect));
    let has_changed = |step: &StepStatus| {
        let acts = step.acts.iter().filter(|act| act.outcome.is_some_and(Outcome::had_effect));
        acts.into_iter().any(|act| act.target.same_object(target))
            || (step.targets.len() == 1 && had_effect(step))
    };
    facts.status.steps.iter().any(|step| is_about(step) && has_changed(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::stage::{Operator, StoredRun, at};
    use super::super::{Alone, Seen};
    use super::*;
    use crate::api::runbook::RunbookSpec;
    use crate::api::runbook_run::{Resolved, RunState, RunbookRunStatus};

    fn checkout() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    /// A run of one step that has just read its target.
    fn run(step: Value) -> StoredRun {
        let mut written = json!({"name": "act", "timeout": "10m"});
        json_patch::merge(&mut written, &step);
        let spec: RunbookSpec = serde_json::from_value(
            json!({"summary": "s", "serviceAccountName": "sa", "onFailure": "Stop", "steps": [written]}),
        )
        .unwrap();
        let mut run = StoredRun::new(spec, &[vec![Resolved { object: checkout(), uid: None }]]);
        run.status.state = Some(RunState::Running);
        run
    }

    fn restart() -> StoredRun {
        run(json!({"restart": {"target": checkout()}}))
    }

    /// A Deployment that somebody has begun to roll out at the second 0 of the story, by `kubectl edit`.
    fn rolling() -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "1", "generation": 2,
                "managedFields": [{"manager": "kubectl-edit", "time": at(0), "fieldsV1": {"f:spec": {}}}]},
            "spec": {"replicas": 3, "template": {"metadata": {}}},
            "status": {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3,
                "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": at(0)}]}})
    }

    fn next(run: &StoredRun, object: Value) -> Move {
        let mut operator = Operator::read(run);
        operator.pass.seen =
            Some(Seen { objects: Ok(vec![Some(object)]), related: vec![Vec::new()], preconditions: Ok(()) });
        operator.next(run)
    }

    #[track_caller]
    fn is_announced(run: &StoredRun, object: Value) -> bool {
        match next(run, object) {
            Move::Store(status) => status.steps[0].state == StepState::IntentRecorded,
            Move::Hold(..) => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_step_waits_while_somebody_else_rolls_its_target_out() {
        let mut run = restart();
        run.now = 60;
        let Move::Hold(held, until) = next(&run, rolling()) else { panic!() };
        let said = held.steps[0].message.as_deref().unwrap();
        assert_eq!(said, "waits: deployment/checkout is being rolled out: 1 of 3 replicas are updated");
        assert_eq!((held.steps[0].state, until), (StepState::Settling, Some(at(600))), "then it is stuck");
        // The wait takes no more than the time of the step, and says what would not wait.
        run.status = RunbookRunStatus { ..*held };
        run.now = 600;
        assert!(is_announced(&run, rolling()), "it does not move any more");
        let mut moves = rolling();
        moves["status"]["conditions"][0]["lastUpdateTime"] = json!(at(659));
        run.now = 660;
        let Move::Store(failed) = next(&run, moves) else { panic!() };
        let said = failed.steps[0].message.as_deref().unwrap();
        assert!(said.starts_with("not in time: ") && said.contains("allowDuringRollout: true"), "{said}");
        assert_eq!(failed.state, Some(RunState::Failed));
    }

    #[test]
    fn a_step_that_may_and_the_own_rollout_are_not_waited_for() {
        assert!(!is_announced(&restart(), rolling()));
        let allowed = run(json!({"restart": {"target": checkout()}, "allowDuringRollout": true}));
        assert!(is_announced(&allowed, rolling()));
        let mut second = restart();
        let earlier = json!({"name": "earlier", "state": "Succeeded", "targets": [checkout()],
            "acts": [{"operationId": "o", "target": checkout(), "uid": "u", "resourceVersion": "1", "actor": "a", "outcome": "Done"}]});
        second.status.steps.insert(0, serde_json::from_value(earlier).unwrap());
        second.spec.steps.insert(
            0,
            serde_json::from_value(
                json!({"name": "earlier", "scale": {"target": checkout(), "replicas": 3}}),
            )
            .unwrap(),
        );
        let Move::Store(status) = next(&second, rolling()) else { panic!() };
        assert_eq!(status.steps[1].state, StepState::IntentRecorded, "the rollout is the run's own");
    }

    #[test]
    fn a_run_that_nobody_started_stops_where_a_person_is_at_work() {
        let mut run = restart();
        let mut object = rolling();
        object["status"]["conditions"][0]["reason"] = "NewReplicaSetAvailable".into();
        let by_hand = "kubectl mayday run -n shop restart --incident checkout-down";
        run.alone = Some(Alone { since: at(-60), by_hand });
        let Move::Store(failed) = next(&run, object.clone()) else { panic!() };
        let said = failed.steps[0].message.as_deref().unwrap();
        assert!(said.starts_with("deployment/checkout was changed by kubectl-edit at "), "{said}");
        assert!(
            said.contains("kubectl get -n shop deployment/checkout -o yaml --show-managed-fields"),
            "{said}"
        );
        assert!(said.ends_with(by_hand), "{said}");
        assert_eq!(failed.state, Some(RunState::Failed));
        run.alone = Some(Alone { since: at(0), by_hand });
        assert!(is_announced(&run, object.clone()), "the change is older than the outage");
        run.alone = None;
        assert!(is_announced(&run, object), "the person who started it has seen it");
    }

    #[test]
    fn a_dry_run_says_that_it_would_wait() {
        let mut run = restart();
        run.dry_run = true;
        let Move::Store(told) = next(&run, rolling()) else { panic!() };
        let said = told.steps[0].message.as_deref().unwrap();
        assert_eq!(
            said,
            "would restart deployment/checkout; as it is now it would wait: deployment/checkout is being rolled out: \
             1 of 3 replicas are updated"
        );
        assert_eq!(told.steps[0].state, StepState::Skipped);
    }
}
