//! Refuses an action that nothing lets pass, as strictly as the policies want.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::exemptions::{self, Scope};
use super::refusal::{self, Circumstances, ClosestRequest};
use super::{lookup, unauthorized};
use crate::api::ChangePolicy;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::{ChangePolicySpec, Enforcement, UnauthorizedKind};
use crate::api::change_request::PlannedChange;
use crate::api::freeze::Stops;
use crate::change::approval::quorum::{self, Rules, Subject};
use crate::change::approval::{approvers, binding};
use crate::change::freeze::in_force;
use crate::cluster::caches::in_namespace;
use crate::cluster::{Context, Error, SharedContext};
use crate::webhook::verdict::Verdict;

/// Refuses an action, or lets it pass with a warning or a record if no policy denies.
///
/// # Errors
/// When the disruption budgets of an eviction, or the rights of the planner, cannot be read.
pub async fn refuse(
    context: &SharedContext,
    scope: &Scope<'_>,
    closest: Option<ClosestRequest>,
) -> Result<Verdict, Error> {
    let message = message(context, scope, closest).await?;
    let has_mode = |mode: Enforcement| scope.policies.iter().any(|policy| policy.spec.enforcement == mode);
    if has_mode(Enforcement::Deny) {
        return Ok(Verdict::refuse(message));
    }
    if !scope.action.dry_run {
        unauthorized::record(context, scope.policies, scope.action, UnauthorizedKind::NotEnforced).await;
    }
    let warnings = if has_mode(Enforcement::Warn) { vec![message.clone()] } else { Vec::new() };
    Ok(Verdict::Allow { warnings, audit: BTreeMap::from([("would-be-refused".to_owned(), message)]) })
}

async fn message(
    context: &Context,
    scope: &Scope<'_>,
    closest: Option<ClosestRequest>,
) -> Result<String, Error> {
    let Scope { action, policies, incidents, freezes } = *scope;
    let now = Timestamp::now();
    let specs: Vec<&ChangePolicySpec> = policies.iter().map(|policy| &policy.spec).collect();
    let bindings = binding::bindings(incidents, &specs, &action.namespace);
    let plan = [PlannedChange { target: action.target.clone(), ..PlannedChange::default() }];
    let names = approvers::names(
        &in_namespace(&context.caches.services, &action.namespace),
        &in_namespace(&context.caches.rotations, &action.namespace),
        &plan,
    );
    let freezes = in_force::over(freezes, policies.iter().copied(), Stops::Changes, now);
    let is_frozen = |policy: &&&ChangePolicy| freezes.iter().any(|freeze| freeze.policy == policy.name_any());
    let frozen: Vec<&ChangePolicySpec> =
        policies.iter().filter(is_frozen).map(|policy| &policy.spec).collect();
    let rules =
        Rules { policies: &specs, bindings: &bindings, names: &names, one_peer: false, frozen: &frozen };
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: "",
        uid: "",
        digest: "",
        excluded: BTreeSet::from([action.caller.user.clone()]),
    };
    // The reason of a waiting request already names the missing approvers.
    let missing = match closest.as_ref().is_some_and(|request| request.waits) {
        true => String::new(),
        false => quorum::evaluate(&subject, &rules, &[], now).missing_phrase(),
    };
    let budget = if action.is_eviction() { Some(lookup::budget(context, action).await?) } else { None };
    let missing_verbs = match refusal::is_askable(action) {
        true => lookup::missing_verbs(context, action).await?,
        false => Vec::new(),
    };
    let only_direct = !action.caller.direct && exemptions::is_exempt_by_all(policies, action);
    let circumstances = Circumstances {
        bindings: &bindings,
        freezes: &freezes,
        missing,
        operator_namespace: &context.config.namespace,
        closest,
        only_direct,
        budget,
        missing_verbs,
    };
    Ok(refusal::text(action, &circumstances))
}
