//! What passes without a request: what changes nothing, proved controllers, broken glass, steps of runs, exempt actors,
//! evictions within their budget, and the access that a policy allows.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::budget::Budget;
use super::{binding, delta, lookup, system, unapproved};
use crate::api::change_policy::{
    ChangePolicySpec, Evictions, ExemptRule, Interactive, Operation as Verb, UnapprovedKind,
};
use crate::api::change_request::Partial;
use crate::api::runbook_run::StepState;
use crate::api::{ChangePolicy, Incident, RunbookRun};
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
    let rows = system::rows(action);
    if system::is_node_cleaning_up(action) {
        return Ok(Some("a node removes its stopped pod"));
    }
    if !rows.is_empty() {
        let facts = lookup::facts(context, &rows, action).await?;
        if rows.iter().any(|row| system::proves(row, action, &facts)) {
            return Ok(Some("a proved controller"));
        }
    }
    // Where several policies are over an object, each must grant what is an exception.
    if over.iter().all(|policy| breaks_glass(&policy.spec, action)) {
        if !action.dry_run {
            unapproved::record(context, over, action, UnapprovedKind::BreakGlass).await;
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
                unapproved::record(context, over, action, UnapprovedKind::NotEnforced).await;
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
async fn is_run_step(context: &Context, action: &Action) -> Result<bool, Error> {
    let Some(uid) = &action.run else { return Ok(false) };
    let known = context.stores.runs.find(|run| run.metadata.uid.as_deref() == Some(uid));
    let Some(known) = known else { return Ok(false) };
    // The intent was stored a moment ago: the cache may not have it yet.
    let api: Api<RunbookRun> =
        Api::namespaced(context.client.clone(), known.namespace().unwrap_or_default().as_str());
    let Some(run) = api.get_opt(&known.name_any()).await? else { return Ok(false) };
    Ok(run.metadata.uid.as_deref() == Some(uid) && holds_intent(&run, action))
}

fn holds_intent(run: &RunbookRun, action: &Action) -> bool {
    let steps = run.status.as_ref().map_or(&[][..], |status| &status.steps);
    run.metadata.namespace.as_deref() == Some(&action.namespace)
        && (!run.spec.dry_run || action.dry_run)
        && steps.iter().filter(|step| step.state == StepState::IntentRecorded).any(|step| {
            step.intent.as_ref().is_some_and(|intent| {
                intent.actor == action.caller.user
                    && intent.uid == action.uid
                    && intent.target.same_object(&action.target)
                    && !intent.delta.is_empty()
                    && delta::uncovered(&intent.delta, &action.delta, Partial::Forbidden).is_empty()
            })
        })
}
