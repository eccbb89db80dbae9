//! Whether an action is the step that a run has announced. Pure.

use std::fmt;

use jiff::Timestamp;
use kube::core::admission::Operation;

use super::action::Action;
use super::created;
use crate::api::RunbookRun;
use crate::api::runbook_run::{Act, ActVerb, PodToRemove, RunbookRunStatus};
use crate::change::diff;

/// Why a run may not do now what it has announced. It looks again before it acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotNow {
    /// The run is cancelled or being deleted.
    Cancelled,
    /// The time to act has passed.
    Late,
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotNow::Cancelled => "is cancelled",
            NotNow::Late => "announced it too long ago",
        })
    }
}

/// Whether a run has announced exactly this action: the same user, object and values, in an intent that is not settled.
///
/// # Errors
/// Why it has announced it and may not do it now.
pub fn is_announced(run: &RunbookRun, action: &Action, now: Timestamp) -> Result<bool, NotNow> {
    let mut acts = run.status.iter().flat_map(RunbookRunStatus::acts).filter(|act| act.outcome.is_none());
    let fits = |act: &&Act| act.actor == action.caller.user && is_same(act, action);
    let here = run.metadata.namespace.as_deref() == Some(&action.namespace);
    let caches = !run.spec.dry_run || action.dry_run;
    let Some(act) = acts.find(fits).filter(|_| here && caches) else {
        return Ok(false);
    };
    if run.spec.cancel || run.metadata.deletion_timestamp.is_some() {
        return Err(NotNow::Cancelled);
    }
    if act.act_before.as_ref().is_none_or(|limit| limit.0 <= now) {
        return Err(NotNow::Late);
    }
    Ok(true)
}

/// Whether an action does to the same object what an act says.
fn is_same(act: &Act, action: &Action) -> bool {
    let is_target = act.uid == action.uid && act.target.same_object(&action.target);
    let is_pod = |pod: &PodToRemove| {
        action.target.group().is_empty()
            && action.target.kind == "Pod"
            && (&pod.namespace, &pod.name) == (&action.namespace, &action.target.name)
            && (action.uid.is_empty() || pod.uid == action.uid)
    };
    match act.verb {
        ActVerb::Update => {
            is_target
                && action.operation == Operation::Update
                && !act.delta.is_empty()
                && diff::difference(&act.delta, &action.delta).is_none()
        }
        ActVerb::Create => {
            action.operation == Operation::Create
                && action.subresource.is_empty()
                && act.target.same_object(&action.target)
                && act.body.as_ref().is_some_and(|body| created::is_exactly(body, &action.after))
        }
        ActVerb::Evict => action.subresource == "eviction" && act.pods.iter().any(is_pod),
        ActVerb::Delete => action.operation == Operation::Delete && act.pods.iter().any(is_pod),
        ActVerb::Send => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::gate::action::tests::action;

    const ACTOR: &str = "system:serviceaccount:shop:checkout-runbooks";
    const ANNOTATION: &str = "/spec/template/metadata/annotations/mayday.dev~1restarted-by";

    fn run(edit: Value) -> RunbookRun {
        let step = json!({"name": "restart", "state": "IntentRecorded", "acts": {
            "operationId": "ru/restart/0", "uid": "du", "resourceVersion": "7", "actor": ACTOR,
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "delta": [{"path": ANNOTATION, "after": "ru/restart/0"}],
            "actBefore": "2026-11-22T12:00:30Z"}});
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": "r", "namespace": "shop", "uid": "ru"},
            "spec": {"runbookRef": {"name": "restart-checkout"}}, "status": {"step": step}});
        json_patch::merge(&mut whole, &edit);
        let mut step = whole["status"]["step"].take();
        step["acts"] = json!([step["acts"]]);
        whole["status"] = json!({"steps": [step]});
        serde_json::from_value(whole).unwrap()
    }

    fn step(edit: Value) -> Value {
        json!({"status": {"step": edit}})
    }

    fn restart(by: &str, edit: Value) -> Action {
        let template = |by: Option<&str>| {
            let annotations = by.map_or(json!({}), |by| json!({"mayday.dev/restarted-by": by}));
            json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "v1"}]}})
        };
        let mut whole = json!({"userInfo": {"username": ACTOR},
            "oldObject": {"spec": {"template": template(None)}}, "object": {"spec": {"template": template(Some(by))}}});
        json_patch::merge(&mut whole, &edit);
        action(whole)
    }

    fn is_step(run: &RunbookRun, action: &Action) -> Result<bool, NotNow> {
        is_announced(run, action, "2026-11-22T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn only_a_recorded_intent_passes_as_a_step() {
        let made = restart("ru/restart/0", json!({}));
        assert_eq!(is_step(&run(json!({})), &made), Ok(true));
        for settled in ["Done", "Settled", "Failed", "Unknown"] {
            assert_eq!(
                is_step(&run(step(json!({"acts": {"outcome": settled}}))), &made),
                Ok(false),
                "{settled}"
            );
        }
        for (what, edit) in [
            ("another user", json!({"acts": {"actor": "system:serviceaccount:shop:other"}})),
            ("another object of that name", json!({"acts": {"uid": "older"}})),
            ("another object", json!({"acts": {"target": {"name": "till"}}})),
            ("no values", json!({"acts": {"delta": []}})),
        ] {
            assert_eq!(is_step(&run(step(edit)), &made), Ok(false), "{what}");
        }
        assert_eq!(is_step(&run(json!({"metadata": {"namespace": "till"}})), &made), Ok(false));
        for more in [
            restart("ru/restart/1", json!({})),
            restart("ru/restart/0", json!({"object": {"spec": {"replicas": 0}}})),
            restart("ru/restart/0", json!({"userInfo": {"username": "emil"}})),
        ] {
            assert_eq!(is_step(&run(json!({})), &more), Ok(false), "{:?}", more.delta);
        }
    }

    #[test]
    fn a_dry_run_passes_only_as_a_dry_run() {
        let dry = run(json!({"spec": {"dryRun": true}}));
        assert_eq!(is_step(&dry, &restart("ru/restart/0", json!({}))), Ok(false));
        assert_eq!(is_step(&dry, &restart("ru/restart/0", json!({"dryRun": true}))), Ok(true));
    }

    #[test]
    fn a_cancelled_run_and_a_late_step_do_not_pass() {
        let made = restart("ru/restart/0", json!({}));
        for ended in [
            json!({"spec": {"cancel": true}}),
            json!({"metadata": {"deletionTimestamp": "2026-11-22T11:59:59Z"}}),
            step(json!({"acts": {"actBefore": "2026-11-22T12:00:00Z"}})),
            step(json!({"acts": {"actBefore": null}})),
        ] {
            assert!(is_step(&run(ended.clone()), &made).is_err(), "{ended}");
        }
    }
}
