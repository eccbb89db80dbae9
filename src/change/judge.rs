//! Judging a request on a protected object: gathers what the pure decisions need, and stores a use before the
//! request is let through.
//!
//! What lets a request pass is looked at live: the request itself, its approvals and the incidents, so that a
//! revoked approval stops the very next request on every replica. The stored use is a compare-and-swap, so that
//! no two replicas let the last use through twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::core::admission::Operation;
use kube::{Api, ResourceExt};

use super::attempt::Attempt;
use super::binding::{self, Binding};
use super::gate::{self, Coverage};
use super::live::Live;
use super::quorum::{self, Names, Outcome, Rules, Subject};
use super::system::{self, Proof};
use super::{people, policy, refusal};
use crate::admission::review::Request;
use crate::admission::verdict::Verdict;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::{Activation, ChangePolicySpec, Enforcement, Evictions, Interactive};
use crate::api::common::is_true;
use crate::api::{Approval, ChangePolicy, ChangeRequest, Incident, RunbookRun};
use crate::cluster::error::chain;
use crate::cluster::stores::in_namespace;
use crate::cluster::{Context, Error};

/// How often a compare-and-swap is tried before the client is told to try again.
const TRIES: usize = 3;

/// Judges one request on an object that may be protected.
pub async fn judge(context: &Context, request: &Request) -> Verdict {
    let attempt = match Attempt::new(request) {
        Ok(attempt) => attempt,
        Err(error) => return Verdict::refuse(format!("Refused: the object cannot be read: {error}")),
    };
    match decide(context, &attempt).await {
        Ok(verdict) => verdict,
        // Unknown means no.
        Err(error) => Verdict::unavailable(format!(
            "Refused: {} could not be judged ({}); try again, or break the glass: kubectl mayday break-glass --why \"…\" -- COMMAND",
            refusal::what(&attempt),
            chain(&error)
        )),
    }
}

/// Whether an approved request covers a write to an object of `mayday.dev` that takes a quorum. These objects are
/// in no policy's scope, so nothing but a request lets it pass.
pub async fn agreed(context: &Context, request: &Request) -> Verdict {
    let attempt = match Attempt::new(request) {
        Ok(attempt) => attempt,
        Err(error) => return Verdict::refuse(format!("Refused: the object cannot be read: {error}")),
    };
    match covered(context, &attempt).await {
        Ok(Some(verdict)) => verdict,
        Ok(None) => Verdict::refuse(format!("Refused: {} is not approved", refusal::what(&attempt))),
        Err(error) => Verdict::unavailable(format!(
            "Refused: {} could not be judged ({}); do the same again in a moment",
            refusal::what(&attempt),
            chain(&error)
        )),
    }
}

async fn decide(context: &Context, attempt: &Attempt) -> Result<Verdict, Error> {
    let all = context.stores.policies.state();
    let protecting = policy::protecting(&all, &attempt.resource(), &context.config.namespace);
    if protecting.is_empty() || gate::is_no_change(attempt) {
        return Ok(Verdict::allow());
    }
    if is_system_traffic(context, attempt).await? {
        return Ok(passes("system traffic"));
    }
    let specs: Vec<&ChangePolicySpec> = protecting.iter().map(|policy| &policy.spec).collect();
    let incidents = in_namespace(&context.stores.incidents, &attempt.namespace);
    let bindings = binding::bindings(&incidents, &specs, &attempt.namespace);
    let active: Vec<&ChangePolicy> = protecting
        .iter()
        .copied()
        .filter(|policy| policy.spec.activation == Activation::Always || !bindings.is_empty())
        .collect();
    if active.is_empty() {
        return Ok(passes("no incident binds"));
    }
    if active.iter().all(|policy| gate::is_exempt(&policy.spec.exempt_actors, attempt)) {
        return Ok(passes("exempt actor"));
    }
    if attempt.subresource == "eviction"
        && active.iter().all(|policy| policy.spec.evictions == Evictions::WithinBudget)
    {
        if Live::new(context)?.budget_allows(&attempt.target.name, &attempt.namespace).await? {
            return Ok(passes("eviction within budget"));
        }
        return Ok(enforced(context, &active, attempt, format!(
            "Refused: eviction of {} is not approved: no PodDisruptionBudget covers it and allows it now. See: kubectl -n {} get pdb",
            attempt.target.display(), attempt.namespace
        )).await);
    }
    if is_interactive(attempt) {
        let rule = |policy: &ChangePolicy| {
            let rule = &policy.spec.interactive;
            if bindings.is_empty() { rule.normally } else { rule.during_incident }
        };
        if active.iter().all(|policy| rule(policy) != Interactive::Approve) {
            return Ok(passes("interactive access is allowed"));
        }
        return Ok(enforced(context, &active, attempt, refusal::interactive(attempt)).await);
    }
    if is_step_of_a_run(context, attempt).await? {
        return Ok(passes("step of an approved run"));
    }
    if let Some(verdict) = covered(context, attempt).await? {
        return Ok(verdict);
    }
    let message = not_approved(context, attempt, &bindings);
    Ok(enforced(context, &active, attempt, message).await)
}

fn passes(why: &str) -> Verdict {
    Verdict::Allow { warnings: Vec::new(), audit: BTreeMap::from([("reason".to_owned(), why.to_owned())]) }
}

fn is_interactive(attempt: &Attempt) -> bool {
    attempt.operation == Operation::Connect || attempt.subresource == "ephemeralcontainers"
}

async fn is_system_traffic(context: &Context, attempt: &Attempt) -> Result<bool, Error> {
    let Some(proof) = system::proof(attempt) else { return Ok(false) };
    let namespace = &attempt.namespace;
    match proof {
        Proof::Given => Ok(true),
        Proof::OwnersGone(owners) => Live::new(context)?.owners_are_gone(&owners, namespace).await,
        Proof::NamespaceTerminating => Live::new(context)?.is_terminating(namespace).await,
        Proof::WithinAutoscaler(replicas) => {
            Live::new(context)?.autoscaler_allows(&attempt.target, namespace, replicas).await
        }
    }
}

async fn is_step_of_a_run(context: &Context, attempt: &Attempt) -> Result<bool, Error> {
    let Some(uid) = &attempt.run else { return Ok(false) };
    let runs = in_namespace(&context.stores.runs, &attempt.namespace);
    let Some(cached) = runs.iter().find(|run| run.uid().as_ref() == Some(uid)) else { return Ok(false) };
    // The intent was stored a moment ago; the cache may not have it yet.
    let api: Api<RunbookRun> = Api::namespaced(context.client.clone(), &attempt.namespace);
    let run = api.get_opt(&cached.name_any()).await?;
    Ok(run.is_some_and(|run| gate::is_step(&run, attempt)))
}

/// Where requests for the target live: beside it, or for cluster-scoped targets in the operator's namespace.
fn home<'a>(context: &'a Context, attempt: &'a Attempt) -> &'a str {
    attempt.place().unwrap_or(&context.config.namespace)
}

/// The verdict of the first approved request that covers the attempt, its use stored.
async fn covered(context: &Context, attempt: &Attempt) -> Result<Option<Verdict>, Error> {
    let namespace = home(context, attempt);
    let now = Timestamp::now();
    for cached in in_namespace(&context.stores.requests, namespace) {
        let Some(status) = &cached.status else { continue };
        // Each request is judged whole; two are never put together.
        let covers = status.digest.is_some() && gate::coverage(&cached, status, attempt, now)?.is_some();
        if covers && is_true(&status.conditions, "Approved") {
            if let Some(verdict) = use_request(context, attempt, &cached).await? {
                return Ok(Some(verdict));
            }
        }
    }
    Ok(None)
}

async fn use_request(
    context: &Context,
    attempt: &Attempt,
    cached: &ChangeRequest,
) -> Result<Option<Verdict>, Error> {
    let namespace = home(context, attempt);
    let api: Api<ChangeRequest> = Api::namespaced(context.client.clone(), namespace);
    for _ in 0..TRIES {
        let Some(mut request) = api.get_opt(&cached.name_any()).await? else { return Ok(None) };
        if request.uid() != cached.uid() || request.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let now = Timestamp::now();
        let Some(mut status) = request.status.clone() else { return Ok(None) };
        if !is_approved_now(context, attempt, &request, now).await? {
            return Ok(None);
        }
        let Some(coverage) = gate::coverage(&request, &status, attempt, now)? else { return Ok(None) };
        let verdict = passes(&format!("chg/{}", request.name_any()));
        match coverage {
            Coverage::Repeat => return Ok(Some(verdict)),
            Coverage::Use(_) | Coverage::Restore(_) if attempt.dry_run => return Ok(Some(verdict)),
            Coverage::Use(used) => status.used.push(used),
            Coverage::Restore(index) => {
                if let Some(used) = status.used.get_mut(index) {
                    used.restored_time = Some(crate::cluster::conditions::seconds(now));
                    used.restored_by = Some(attempt.user.clone());
                }
            }
        }
        request.status = Some(status);
        match api.replace_status(&request.name_any(), &PostParams::default(), &request).await {
            Ok(_) => return Ok(Some(verdict)),
            Err(kube::Error::Api(answer)) if answer.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Verdict::Refuse {
        code: 429,
        message: format!(
            "Refused for now: chg/{} is being used by several at once; try again",
            cached.name_any()
        ),
    }))
}

/// Whether the approvals of a request are complete at this moment, by what the API server holds now.
async fn is_approved_now(
    context: &Context,
    attempt: &Attempt,
    request: &ChangeRequest,
    now: Timestamp,
) -> Result<bool, Error> {
    let namespace = home(context, attempt);
    let approvals: Api<Approval> = Api::namespaced(context.client.clone(), namespace);
    let approvals: Vec<Arc<Approval>> =
        approvals.list(&ListParams::default()).await?.items.into_iter().map(Arc::new).collect();
    let all = context.stores.policies.state();
    let over = governing(&all, attempt, &context.config.namespace);
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    // A policy and a Freeze are everywhere that they hold.
    let (incidents, places): (Api<Incident>, Vec<&str>) = if attempt.namespace.is_empty() {
        let places = over.iter().flat_map(|policy| policy::namespaces(policy, &context.config.namespace));
        (Api::all(context.client.clone()), places.collect())
    } else {
        (Api::namespaced(context.client.clone(), &attempt.namespace), vec![&attempt.namespace])
    };
    let incidents: Vec<Arc<Incident>> =
        incidents.list(&ListParams::default()).await?.items.into_iter().map(Arc::new).collect();
    let bindings: Vec<Binding> =
        places.into_iter().flat_map(|place| binding::bindings(&incidents, &specs, place)).collect();
    let names = Names::default();
    let rules = Rules { policies: &specs, bindings: &bindings, names: &names };
    let Some(digest) = request.status.as_ref().and_then(|status| status.digest.clone()) else {
        return Ok(false);
    };
    let plan = request.status.as_ref().map(|status| status.plan.clone()).unwrap_or_default();
    let uid = request.uid().unwrap_or_default();
    if super::digest::request(&uid, &request.spec, &plan)? != digest {
        return Ok(false);
    }
    let name = request.name_any();
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: &name,
        uid: &uid,
        digest: &digest,
        excluded: request.spec.requester.iter().map(|requester| requester.user.clone()).collect(),
    };
    Ok(quorum::evaluate(&subject, &rules, &approvals, now).approved)
}

/// The policies that must be satisfied: those over the namespace, or for a policy itself, and for a Freeze, that
/// policy as it is stored. None: nobody can approve.
fn governing<'a>(
    all: &'a [Arc<ChangePolicy>],
    attempt: &Attempt,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    let named =
        |name: &str| all.iter().filter(|policy| policy.name_any() == name).map(|policy| &**policy).collect();
    match (attempt.target.group(), attempt.target.kind.as_str()) {
        (crate::api::GROUP, "ChangePolicy") => named(&attempt.target.name),
        (crate::api::GROUP, "Freeze") => {
            let policy = attempt.before.pointer("/spec/policyRef/name").and_then(serde_json::Value::as_str);
            named(policy.unwrap_or_default())
        }
        _ => policy::over(all, &attempt.namespace, operator_namespace),
    }
}

fn not_approved(context: &Context, attempt: &Attempt, bindings: &[Binding]) -> String {
    let namespace = home(context, attempt);
    let services = in_namespace(&context.stores.services, &attempt.namespace);
    let rotations = in_namespace(&context.stores.rotations, &attempt.namespace);
    let names = people::names(people::service(&services, std::slice::from_ref(&attempt.target)), &rotations);
    let all = context.stores.policies.state();
    let over = policy::over(&all, &attempt.namespace, &context.config.namespace);
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    let rules = Rules { policies: &specs, bindings, names: &names };
    let subject = Subject {
        kind: SubjectKind::ChangeRequest,
        name: "",
        uid: "",
        digest: "",
        excluded: [attempt.user.clone()].into(),
    };
    let outcome: Outcome = quorum::evaluate(&subject, &rules, &[], Timestamp::now());
    let waiting: Vec<String> = in_namespace(&context.stores.requests, namespace)
        .iter()
        .filter(|request| {
            request.status.as_ref().is_some_and(|status| {
                status.state.as_deref() == Some("Waiting") && gate::would_cover(request, status, attempt)
            })
        })
        .map(|request| request.name_any())
        .collect();
    refusal::not_approved(attempt, bindings, &outcome, &waiting)
}

/// What the enforcement of the active policies makes of a refusal. One that denies is enough.
async fn enforced(
    context: &Context,
    active: &[&ChangePolicy],
    attempt: &Attempt,
    message: String,
) -> Verdict {
    let is = |enforcement: Enforcement| active.iter().any(|policy| policy.spec.enforcement == enforcement);
    if is(Enforcement::Deny) {
        return Verdict::refuse(message);
    }
    let told = message.replacen("Refused: ", "Not enforced yet, but would be refused: ", 1);
    if !attempt.dry_run {
        for policy in active {
            super::unapproved::record(
                context,
                policy,
                attempt,
                crate::api::change_policy::UnapprovedKind::NotEnforced,
            )
            .await;
        }
    }
    let warnings = if is(Enforcement::Warn) { vec![told.clone()] } else { Vec::new() };
    Verdict::Allow { warnings, audit: BTreeMap::from([("would-refuse".to_owned(), told)]) }
}

/// Records a change by somebody who broke the glass; the API server has let it through already.
pub async fn record_break_glass(context: &Context, request: &Request) -> Verdict {
    let Ok(attempt) = Attempt::new(request) else { return Verdict::allow() };
    if attempt.dry_run || gate::is_no_change(&attempt) {
        return Verdict::allow();
    }
    let all = context.stores.policies.state();
    for policy in policy::protecting(&all, &attempt.resource(), &context.config.namespace) {
        super::unapproved::record(
            context,
            policy,
            &attempt,
            crate::api::change_policy::UnapprovedKind::BreakGlass,
        )
        .await;
    }
    Verdict::allow()
}
