//! The verdict on one request: gathers what the pure parts need, in the order in which they end it.
//!
//! What passes by itself ([`exemptions`]) comes first, most of it from memory alone; then a request that lets it pass
//! ([`usage`]); then the refusal.

pub mod action;
pub mod audience;
pub mod disruption_budget;
pub mod exemptions;
pub mod grant;
pub mod lookup;
pub mod object_version;
pub mod refusal;
pub mod system_controllers;
pub mod unauthorized;
pub mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::Api;

use super::policy;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::{Activation, ChangePolicySpec, Enforcement, Interactive, UnauthorizedKind};
use crate::api::change_request::PlannedChange;
use crate::api::{ChangePolicy, Incident};
use crate::change::approval::approvers;
use crate::change::approval::binding;
use crate::change::approval::binding::Binding;
use crate::change::approval::quorum;
use crate::change::approval::quorum::{Rules, Subject};
use crate::change::gate::action::Action;
use crate::change::gate::refusal::{Circumstances, Near};
use crate::change::gate::usage::Tried;
use crate::cluster::caches::{in_namespace, stored_now};
use crate::cluster::{Context, Error, SharedContext};
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// Judges a request for a protected object.
pub async fn judge(context: &SharedContext, request: &Request) -> Verdict {
    match Action::read(request, &context.config.direct_login.extra_key) {
        Ok(mut action) => match decide(context, &mut action).await {
            Ok(verdict) => verdict,
            Err(error) => not_now(&action, &error),
        },
        Err(message) => unreadable(&message),
    }
}

/// Judges a write to an object of ours that takes a quorum: it passes if an approved request covers it. `message` is the
/// refusal: what it is about and whom to ask.
pub async fn agreed(context: &SharedContext, request: &Request, message: &str) -> Verdict {
    let action = match Action::read(request, &context.config.direct_login.extra_key) {
        Ok(action) => action,
        Err(message) => return unreadable(&message),
    };
    match usage::of_requests(context, &action).await.map(used) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(near)) => Verdict::refuse(match near {
            Some(near) => refusal::of_quorum(message, &near, &action, &context.config.namespace),
            None => message.to_owned(),
        }),
        Err(error) => not_now(&action, &error),
    }
}

fn unreadable(message: &str) -> Verdict {
    Verdict::refuse(format!("Refused: this request cannot be judged: {message}"))
}

fn not_now(action: &Action, error: &Error) -> Verdict {
    Verdict::unavailable(format!(
        "Refused: {} cannot be judged now ({}); try again",
        refusal::what(action),
        crate::cluster::error::chain(error)
    ))
}

/// What comes of the requests that were tried, if they end it; else the one that comes nearest.
fn used(tried: Tried) -> Result<Verdict, Option<Near>> {
    match tried {
        Tried::Passes { request } => {
            Ok(Verdict::Allow { warnings: Vec::new(), audit: audit("change-request", &request) })
        }
        Tried::Busy { name } => Ok(Verdict::Refuse {
            code: 429,
            message: format!("Refused for now: chg/{name} is being used by others; try again"),
        }),
        Tried::Refused(near) => Err(near),
    }
}

/// Records that somebody broke the glass, and lets them pass whatever happens.
pub async fn record_break_glass(context: &SharedContext, request: &Request) -> Verdict {
    let action = Action::read(request, &context.config.direct_login.extra_key);
    if let Ok(action) = action.as_ref()
        && !action.dry_run
        && !action.changes_nothing()
    {
        let policies = context.stores.policies.state();
        let over = policy::protecting(&policies, &action.resource(), &context.config.namespace);
        unauthorized::record(context, &over, action, UnauthorizedKind::BreakGlass).await;
    }
    let warning = "You broke the glass: everybody concerned hears of it, and two people sign it off.";
    Verdict::Allow { warnings: vec![warning.to_owned()], audit: audit("break-glass", "used") }
}

fn audit(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn passes(reason: &str) -> Verdict {
    Verdict::Allow { warnings: Vec::new(), audit: audit("reason", reason) }
}

async fn decide(context: &SharedContext, action: &mut Action) -> Result<Verdict, Error> {
    if action.names_no_kind() {
        action.target.kind = lookup::kind(context, action).await?;
    }
    let action = &*action;
    let policies = policies(context, action).await?;
    let incidents = incidents(context, action, &policies).await?;
    let over = in_force(&policies, &incidents, action, &context.config.namespace);
    if over.is_empty() {
        return Ok(passes("not protected"));
    }
    if let Some(reason) = exemptions::passes(context, action, &over, &incidents).await? {
        return Ok(passes(reason));
    }
    let near = match used(usage::of_requests(context, action).await?) {
        Ok(verdict) => return Ok(verdict),
        Err(near) => near,
    };
    let message = refusal_text(context, action, &over, &incidents, near).await?;
    Ok(enforced(context, action, &over, message).await)
}

/// Every policy. The API server asks only about what is protected: where none is known, the cache lies behind.
async fn policies(context: &Context, action: &Action) -> Result<Vec<Arc<ChangePolicy>>, Error> {
    let known = context.stores.policies.state();
    if !policy::over(&known, &action.namespace, &context.config.namespace).is_empty() {
        return Ok(known);
    }
    stored_now(Api::all(context.client.clone()), &context.stores.policies).await
}

/// The incidents. Where it lets more pass that there is none, what is stored counts, and not what is cached.
async fn incidents(
    context: &Context,
    action: &Action,
    policies: &[Arc<ChangePolicy>],
) -> Result<Vec<Arc<Incident>>, Error> {
    let over = policy::over(policies, &action.namespace, &context.config.namespace);
    let rests = |policy: &&ChangePolicy| {
        policy.spec.activation == Activation::DuringIncident
            || (action.is_interactive() && policy.spec.interactive.normally != Interactive::Approve)
    };
    if !over.iter().any(rests) {
        return Ok(context.stores.incidents.state());
    }
    let incidents = Api::namespaced(context.client.clone(), &action.namespace);
    stored_now(incidents, &context.stores.incidents).await
}

/// The policies that protect the object and are active.
fn in_force<'a>(
    policies: &'a [Arc<ChangePolicy>],
    incidents: &[Arc<Incident>],
    action: &Action,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    policy::protecting(policies, &action.resource(), operator_namespace)
        .into_iter()
        .filter(|policy| match policy.spec.activation {
            Activation::Always => true,
            Activation::DuringIncident => {
                !binding::bindings(incidents, &[&policy.spec], &action.namespace).is_empty()
            }
        })
        .collect()
}

async fn refusal_text(
    context: &Context,
    action: &Action,
    over: &[&ChangePolicy],
    incidents: &[Arc<Incident>],
    near: Option<Near>,
) -> Result<String, Error> {
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    let bindings: Vec<Binding> = binding::bindings(incidents, &specs, &action.namespace);
    let plan = [PlannedChange { target: action.target.clone(), ..PlannedChange::default() }];
    let names = approvers::names(
        &in_namespace(&context.stores.services, &action.namespace),
        &in_namespace(&context.stores.rotations, &action.namespace),
        &plan,
    );
    let rules = Rules { policies: &specs, bindings: &bindings, names: &names, one_peer: false };
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: "",
        uid: "",
        digest: "",
        excluded: BTreeSet::from([action.caller.user.clone()]),
    };
    // A request that waits says itself whom it waits for.
    let missing = match near.as_ref().is_some_and(|near| near.waits) {
        true => String::new(),
        false => quorum::evaluate(&subject, &rules, &[], Timestamp::now()).missing_phrase(),
    };
    let operator_namespace = &context.config.namespace;
    let budget = if action.is_eviction() { Some(lookup::budget(context, action).await?) } else { None };
    let only_direct = !over.is_empty()
        && !action.caller.direct
        && over.iter().all(|policy| exemptions::is_exempt(&policy.spec, action));
    let circumstances =
        Circumstances { bindings: &bindings, missing, operator_namespace, near, only_direct, budget };
    Ok(refusal::text(action, &circumstances))
}

/// The refusal, as the strictest policy wants it.
async fn enforced(
    context: &SharedContext,
    action: &Action,
    over: &[&ChangePolicy],
    message: String,
) -> Verdict {
    let is_strict = |policy: &&ChangePolicy| policy.spec.enforcement == Enforcement::Deny;
    if over.is_empty() || over.iter().any(is_strict) {
        return Verdict::refuse(message);
    }
    if !action.dry_run {
        unauthorized::record(context, over, action, UnauthorizedKind::NotEnforced).await;
    }
    let warns = over.iter().any(|policy| policy.spec.enforcement == Enforcement::Warn);
    let warnings = if warns { vec![message.clone()] } else { Vec::new() };
    Verdict::Allow { warnings, audit: audit("would-be-refused", &message) }
}
