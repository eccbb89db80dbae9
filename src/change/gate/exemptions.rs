//! What passes without a request: what changes nothing, proved controllers, broken glass, steps of runs, exempt actors,
//! evictions within their budget, and the access that a policy allows.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::lookup;
use crate::api::change_policy::{
    ChangePolicySpec, Evictions, ExemptRule, Interactive, Operation as Verb, UnauthorizedKind,
};
use crate::api::change_request::Partial;
use crate::api::runbook_run::{Intent, StepState};
use crate::api::{ChangePolicy, Incident, RunbookRun};
use crate::change::approval::binding;
use crate::change::diff;
use crate::change::gate::disruption_budget::Budget;
use crate::change::gate::{system_controllers, unauthorized};
use crate::cluster::{Context, Error, SharedContext};

/// Why an action on a protected object passes without a request, if it does.
///
/// # Errors
/// When what would prove it cannot be read.
pub async fn passes(
    context: &SharedContext,
    action: &Action,
    over: &[&ChangePolicy],
    incidents: &[Arc<Incident>],
) -> Result<Option<&'static str>, Error> {
    if action.changes_nothing() {
        return Ok(Some("nothing changes"));
    }
    if action.is_about_a_credential() {
        return Ok(Some("a credential of Mayday, which no policy covers"));
    }
    if action.only_lets_go() {
        return Ok(Some("finalizers of an object that is being deleted"));
    }
    let rows = system_controllers::rows(action);
    if system_controllers::is_node_cleaning_up(action) {
        return Ok(Some("a node removes its stopped pod"));
    }
    if !rows.is_empty() {
        let facts = lookup::facts(context, &rows, action).await?;
        if rows.iter().any(|row| system_controllers::proves(row, action, &facts)) {
            return Ok(Some("a proved controller"));
        }
    }
    // Where several policies are over an object, each must grant what is an exception.
    if over.iter().all(|policy| breaks_glass(&policy.spec, action)) {
        if !action.dry_run {
            unauthorized::record(context, over, action, UnauthorizedKind::BreakGlass).await;
        }
        return Ok(Some("break-glass"));
    }
    if is_run_step(context, action).await? {
        return Ok(Some("the stored step of a run"));
    }
    // Whoever may impersonate an exempt account is not exempt.
    if action.caller.direct && over.iter().all(|policy| is_exempt(&policy.spec, action)) {
        return Ok(Some("an exempt actor"));
    }
    if action.is_eviction()
        && over.iter().all(|policy| policy.spec.evictions == Evictions::WithinBudget)
        && lookup::budget(context, action).await? == Budget::Allows
    {
        return Ok(Some("an eviction within its budget"));
    }
    if action.is_interactive() {
        let rule = |policy: &&ChangePolicy| {
            let bound = !binding::bindings(incidents, &[&policy.spec], &action.namespace).is_empty();
            let rule = &policy.spec.interactive;
            if bound { rule.during_incident } else { rule.normally }
        };
        if over.iter().all(|policy| rule(policy) != Interactive::Approve) {
            if over.iter().any(|policy| rule(policy) == Interactive::Record) && !action.dry_run {
                unauthorized::record(context, over, action, UnauthorizedKind::NotEnforced).await;
            }
            return Ok(Some("interactive access that the policy allows"));
        }
    }
    Ok(None)
}

fn breaks_glass(policy: &ChangePolicySpec, action: &Action) -> bool {
    policy.break_glass.as_ref().is_some_and(|glass| action.caller.in_any(&glass.groups))
}

/// Whether the policy exempts the caller for what it does.
pub fn is_exempt(policy: &ChangePolicySpec, action: &Action) -> bool {
    let resource = match action.subresource.as_str() {
        "" => action.plural.clone(),
        sub => format!("{}/{sub}", action.plural),
    };
    let verb = match action.operation {
        kube::core::admission::Operation::Create => Verb::Create,
        kube::core::admission::Operation::Update => Verb::Update,
        kube::core::admission::Operation::Delete => Verb::Delete,
        kube::core::admission::Operation::Connect => Verb::Connect,
    };
    let covers = |rule: &ExemptRule| {
        rule.api_groups.iter().any(|group| group == action.target.group())
            && rule.resources.contains(&resource)
            && rule.operations.contains(&verb)
    };
    policy
        .exempt_actors
        .iter()
        .any(|actor| actor.user == action.caller.user && actor.rules.iter().any(covers))
}

/// Whether an action is a stored, unsettled intent of the run whose mark it carries: user, object and values.
///
/// # Errors
/// When that cannot be said now. Only the operator can set the mark, so what it does not know yet it asks again: a
/// refusal for good would end the run.
async fn is_run_step(context: &Context, action: &Action) -> Result<bool, Error> {
    let Some(uid) = &action.run else { return Ok(false) };
    let known = context.stores.runs.find(|run| run.metadata.uid.as_deref() == Some(uid));
    let Some(known) = known else {
        return Err(Error::Waiting("the run that it is a step of is not known here yet".to_owned()));
    };
    // The intent was stored a moment ago: the cache may not have it yet.
    let api: Api<RunbookRun> =
        Api::namespaced(context.client.clone(), known.namespace().unwrap_or_default().as_str());
    let Some(run) = api.get_opt(&known.name_any()).await? else { return Ok(false) };
    if run.metadata.uid.as_deref() != Some(uid) {
        return Ok(false);
    }
    holds_intent(&run, action, Timestamp::now())
        .map_err(|why| Error::Waiting(format!("run/{} {why}", run.name_any())))
}

/// Whether the run has announced exactly this.
///
/// # Errors
/// Why it has, and may not do it now: it looks again before it does.
fn holds_intent(run: &RunbookRun, action: &Action, now: Timestamp) -> Result<bool, &'static str> {
    let steps = run.status.as_ref().map_or(&[][..], |status| &status.steps);
    let announced = steps.iter().filter(|step| step.state == StepState::IntentRecorded);
    let fits = |intent: &&Intent| {
        intent.actor == action.caller.user
            && intent.uid == action.uid
            && intent.target.same_object(&action.target)
            && !intent.delta.is_empty()
            && diff::uncovered(&intent.delta, &action.delta, Partial::Forbidden).is_empty()
    };
    let here = run.metadata.namespace.as_deref() == Some(&action.namespace);
    let stores = !run.spec.dry_run || action.dry_run;
    let Some(intent) =
        announced.filter_map(|step| step.intent.as_ref()).find(fits).filter(|_| here && stores)
    else {
        return Ok(false);
    };
    if run.spec.cancel || run.metadata.deletion_timestamp.is_some() {
        return Err("is cancelled");
    }
    if intent.act_before.as_ref().is_none_or(|limit| limit.0 <= now) {
        return Err("announced it too long ago");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::gate::action::tests::action;

    const ACTOR: &str = "system:serviceaccount:shop:checkout-runbooks";
    const ANNOTATION: &str = "/spec/template/metadata/annotations/mayday.dev~1restarted-by";

    fn run(edit: Value) -> RunbookRun {
        let step = json!({"name": "restart", "state": "IntentRecorded", "intent": {
            "operationId": "ru/restart/0", "uid": "du", "resourceVersion": "7", "actor": ACTOR,
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "delta": [{"path": ANNOTATION, "after": "ru/restart/0"}],
            "actBefore": "2026-11-22T12:00:30Z"}});
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": "r", "namespace": "shop", "uid": "ru"},
            "spec": {"runbookRef": {"name": "restart-checkout"}}, "status": {"step": step}});
        json_patch::merge(&mut whole, &edit);
        let step = whole["status"]["step"].take();
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

    fn judged(run: &RunbookRun, action: &Action) -> Result<bool, &'static str> {
        holds_intent(run, action, "2026-11-22T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn what_a_run_has_announced_and_nothing_else_is_its_step() {
        let announced = restart("ru/restart/0", json!({}));
        assert_eq!(judged(&run(json!({})), &announced), Ok(true));
        for settled in ["Succeeded", "Failed", "Pending"] {
            assert_eq!(judged(&run(step(json!({"state": settled}))), &announced), Ok(false), "{settled}");
        }
        for (what, edit) in [
            ("another user", json!({"intent": {"actor": "system:serviceaccount:shop:other"}})),
            ("another object of that name", json!({"intent": {"uid": "older"}})),
            ("another object", json!({"intent": {"target": {"name": "till"}}})),
            ("no values", json!({"intent": {"delta": []}})),
        ] {
            assert_eq!(judged(&run(step(edit)), &announced), Ok(false), "{what}");
        }
        assert_eq!(judged(&run(json!({"metadata": {"namespace": "till"}})), &announced), Ok(false));
        for more in [
            restart("ru/restart/1", json!({})),
            restart("ru/restart/0", json!({"object": {"spec": {"replicas": 0}}})),
            restart("ru/restart/0", json!({"userInfo": {"username": "emil"}})),
        ] {
            assert_eq!(judged(&run(json!({})), &more), Ok(false), "{:?}", more.delta);
        }
    }

    #[test]
    fn a_dry_run_stores_nothing() {
        let dry = run(json!({"spec": {"dryRun": true}}));
        assert_eq!(judged(&dry, &restart("ru/restart/0", json!({}))), Ok(false));
        assert_eq!(judged(&dry, &restart("ru/restart/0", json!({"dryRun": true}))), Ok(true));
    }

    #[test]
    fn what_was_cancelled_or_announced_too_long_ago_is_not_done_now() {
        let announced = restart("ru/restart/0", json!({}));
        for ended in [
            json!({"spec": {"cancel": true}}),
            json!({"metadata": {"deletionTimestamp": "2026-11-22T11:59:59Z"}}),
            step(json!({"intent": {"actBefore": "2026-11-22T12:00:00Z"}})),
            step(json!({"intent": {"actBefore": null}})),
        ] {
            assert!(judged(&run(ended.clone()), &announced).is_err(), "{ended}");
        }
    }
}
