//! The gate: whether one attempted write to a protected object passes.
//!
//! [`review`] walks through these phases and ends with the first that decides:
//!
//! ```text
//! action       read the review: who, which object, which values
//! protection   read the policies in force over the object       none -> passes
//! exemptions   no-op, controllers, break-glass, run step, ...    one holds -> passes
//! matching     match every request about the object, once
//! usage        evaluate approvals live, store the use            stored -> passes
//! enforcement  the refusal, or a warning or record
//! ```

pub mod action;
pub mod audience;
pub mod created;
pub mod disruption_budget;
pub mod enforcement;
pub mod exemptions;
pub mod grant;
pub mod lookup;
pub mod matching;
pub mod object_version;
pub mod plannable;
pub mod protection;
pub mod refusal;
pub mod run_step;
pub mod standing;
pub mod system_controllers;
pub mod unauthorized;
pub mod usage;
pub mod uses;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::action::Action;
use self::exemptions::Scope;
use self::protection::Protection;
use self::refusal::ClosestRequest;
use self::usage::Attempt;
use super::policy;
use crate::api::change_policy::UnauthorizedKind;
use crate::cluster::{Error, SharedContext};
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// Decides whether a write to a protected object passes.
pub async fn review(context: &SharedContext, request: &Request) -> Verdict {
    match Action::read(request, &context.config.direct_login.extra_key) {
        Ok(mut action) => match decide(context, &mut action).await {
            Ok(verdict) => verdict,
            Err(error) => not_now(&action, &error),
        },
        Err(message) => unreadable(&message),
    }
}

async fn decide(context: &SharedContext, action: &mut Action) -> Result<Verdict, Error> {
    if action.names_no_kind() {
        action.target.kind = lookup::kind(context, action).await?;
    }
    let action = &*action;
    let protection = Protection::read(context, action).await?;
    let policies = protection.in_force(action, &context.config.namespace, Timestamp::now());
    if policies.is_empty() {
        return Ok(passes("reason", "not protected"));
    }
    let scope =
        Scope { action, policies: &policies, incidents: &protection.incidents, freezes: &protection.freezes };
    if let Some(exemption) = exemptions::find(context, &scope).await? {
        return Ok(passes("reason", exemption.name));
    }
    match decided_by(usage::attempt(context, action).await?) {
        Ok(verdict) => Ok(verdict),
        Err(closest) => enforcement::refuse(context, &scope, closest).await,
    }
}

/// Decides a write to an object of Mayday that needs a quorum: it passes if an approved request covers it. `message` says
/// what is refused and whom to ask.
pub async fn review_by_quorum(context: &SharedContext, request: &Request, message: &str) -> Verdict {
    let action = match Action::read(request, &context.config.direct_login.extra_key) {
        Ok(action) => action,
        Err(message) => return unreadable(&message),
    };
    let namespace = &context.config.namespace;
    match usage::attempt(context, &action).await.map(decided_by) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(closest)) => {
            let message = refusal::with_exact_ask(message, &action, namespace);
            Verdict::refuse(match closest {
                Some(closest) => refusal::of_quorum(&message, &closest, &action, namespace),
                None => message,
            })
        }
        Err(error) => not_now(&action, &error),
    }
}

/// Records a write by break-glass in the policies over the object. It passes even if that fails.
pub async fn record_break_glass(context: &SharedContext, request: &Request) -> Verdict {
    let action = Action::read(request, &context.config.direct_login.extra_key);
    if let Ok(action) = action.as_ref()
        && !action.dry_run
        && !action.changes_nothing()
    {
        let policies = context.caches.policies.state();
        let protecting = policy::protecting(&policies, &action.resource(), &context.config.namespace);
        unauthorized::record(context, &protecting, action, UnauthorizedKind::BreakGlass).await;
    }
    let warning = "You broke the glass: everybody concerned hears of it, and two people sign it off.";
    Verdict::Allow { warnings: vec![warning.to_owned()], audit: audit("break-glass", "used") }
}

/// The verdict of an attempt, unless every request refuses; then the closest one.
fn decided_by(attempt: Attempt) -> Result<Verdict, Option<ClosestRequest>> {
    match attempt {
        Attempt::Passes { request } => Ok(passes("change-request", &request)),
        Attempt::Busy { name } => Ok(Verdict::Refuse {
            code: 429,
            message: format!("Refused for now: chg/{name} is being used by others; try again"),
        }),
        Attempt::Refused(closest) => Err(closest),
    }
}

fn passes(key: &str, value: &str) -> Verdict {
    Verdict::Allow { warnings: Vec::new(), audit: audit(key, value) }
}

fn audit(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
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
