//! The verdict on one request: gathers what the pure parts need, in the order in which they end it.
//!
//! What passes by itself needs memory only. A request that could let it pass is read live, with its approvals
//! and the incidents, and its use is stored by compare-and-swap before the answer: that write is the decision,
//! so that several processes never spend more than was approved.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::action::Action;
use super::binding::{self, Binding};
use super::budget::Budget;
use super::grant::{self, Grant};
use super::policy;
use super::quorum::{self, Rules, Subject};
use super::refusal::{self, Circumstances};
use super::weigh::{self, Facts};
use super::{delta, lookup, people, system, unapproved};
use crate::admission::review::Request;
use crate::admission::verdict::Verdict;
use crate::api::approval::SubjectKind;
use crate::api::change_policy::{
    Activation, ChangePolicySpec, Enforcement, Evictions, ExemptRule, Interactive, Operation as Verb,
    UnapprovedKind,
};
use crate::api::change_request::{Partial, PlannedChange, RequestState};
use crate::api::runbook_run::StepState;
use crate::api::{Approval, ChangePolicy, ChangeRequest, Freeze, Incident, RunbookRun};
use crate::cluster::stores::in_namespace;
use crate::cluster::{Context, Error, SharedContext, conditions, status};

/// So often a use is tried to be stored while others write the same request.
const TRIES: u32 = 8;
/// The pause after the first of them; after each further one it is longer by as much.
const PAUSE: Duration = Duration::from_millis(15);

/// Judges a request for a protected object, or for an object of ours whose change takes a quorum.
pub async fn judge(context: &SharedContext, request: &Request) -> Verdict {
    let action = match Action::read(request, &context.config.direct_login.extra_key) {
        Ok(action) => action,
        Err(message) => return Verdict::refuse(format!("Refused: this request cannot be judged: {message}")),
    };
    match decide(context, &action).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::unavailable(format!(
            "Refused: {} cannot be judged now ({}); try again",
            refusal::what(&action),
            crate::cluster::error::chain(&error)
        )),
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
        unapproved::record(context, &over, action, UnapprovedKind::BreakGlass).await;
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

async fn decide(context: &SharedContext, action: &Action) -> Result<Verdict, Error> {
    let policies = context.stores.policies.state();
    let incidents = context.stores.incidents.state();
    let freezes = context.stores.freezes.state();
    let over = in_force(&policies, &freezes, &incidents, action, &context.config.namespace);
    let is_ours = action.target.group() == crate::api::GROUP;
    if !is_ours {
        if over.is_empty() {
            return Ok(passes("not protected"));
        }
        if let Some(reason) = passes_by_itself(context, action, &over, &incidents).await? {
            return Ok(passes(reason));
        }
    }
    let (mut nearest, mut waiting) = (None, None);
    let mut open = Vec::new();
    for candidate in candidates(context, action) {
        match as_known(&candidate, action, Timestamp::now()) {
            None => open.push(candidate),
            Some(Used::No(why)) => nearest = nearest.or(Some(Named::over(candidate.name, why))),
            Some(_) => {}
        }
    }
    let facts = live_facts(context, &open).await?;
    for candidate in open {
        match use_request(context, &candidate, &facts, action).await? {
            Used::Passes => {
                return Ok(Verdict::Allow {
                    warnings: Vec::new(),
                    audit: audit("change-request", &format!("{}/{}", candidate.namespace, candidate.name)),
                });
            }
            Used::Busy => {
                return Ok(Verdict::Refuse {
                    code: 429,
                    message: format!(
                        "Refused for now: chg/{} is being used by others; try again",
                        candidate.name
                    ),
                });
            }
            Used::No(why) => nearest = nearest.or(Some(Named::over(candidate.name, why))),
            Used::Waits { why, lacks_approval } => {
                waiting = waiting.or(Some(Named { name: candidate.name, why, lacks_approval }));
            }
            Used::Unrelated => {}
        }
    }
    let message = refusal_text(context, action, &over, &incidents, waiting, nearest).await?;
    Ok(enforced(context, action, &over, message).await)
}

/// The policies that protect the object and are active.
fn in_force<'a>(
    policies: &'a [Arc<ChangePolicy>],
    freezes: &[Arc<Freeze>],
    incidents: &[Arc<Incident>],
    action: &Action,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    if action.target.group() == crate::api::GROUP {
        let planned = PlannedChange {
            target: action.target.clone(),
            namespace: Some(action.namespace.clone()),
            ..PlannedChange::default()
        };
        return policy::governing(policies, freezes, &planned, operator_namespace);
    }
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

/// Why an action on a protected object passes without a request, if it does.
async fn passes_by_itself(
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

fn is_exempt(policy: &ChangePolicySpec, action: &Action) -> bool {
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

/// A request by name.
struct Candidate {
    namespace: String,
    name: String,
    known: Arc<ChangeRequest>,
}

/// Requests that are about the object; those of cluster-scoped objects are in the operator's namespace. Those that
/// are approved come first, those that are over last, and the youngest first: a refusal names the first that is near.
fn candidates(context: &Context, action: &Action) -> Vec<Candidate> {
    let is_namespace = action.target.kind == "Namespace" && action.target.group().is_empty();
    let namespace = if is_namespace || action.namespace.is_empty() {
        context.config.namespace.as_str()
    } else {
        action.namespace.as_str()
    };
    let mut about = in_namespace(&context.stores.requests, namespace);
    about.retain(|request| grant::is_about(request, action));
    about.sort_by_key(|request| {
        let is_approved = state(request) == Some(RequestState::Approved);
        (!is_approved, is_over(request), Reverse(request.creation_timestamp()))
    });
    about
        .iter()
        .map(|known| Candidate {
            namespace: namespace.to_owned(),
            name: known.name_any(),
            known: Arc::clone(known),
        })
        .collect()
}

fn state(request: &ChangeRequest) -> Option<RequestState> {
    request.status.as_ref().and_then(|status| status.state)
}

fn is_over(request: &ChangeRequest) -> bool {
    state(request).is_some_and(RequestState::is_over)
}

/// A request that a refusal names.
struct Named {
    name: String,
    /// Why it does not let the action pass.
    why: String,
    /// Whether it holds exactly this and only lacks approvals.
    lacks_approval: bool,
}

impl Named {
    fn over(name: String, why: String) -> Named {
        Named { name, why, lacks_approval: false }
    }
}

/// What a request made of an action.
enum Used {
    /// It lets it pass, and that is stored.
    Passes,
    /// It does not, for this reason, which nobody's approval changes.
    No(String),
    /// It holds exactly this and does not stand yet.
    Waits {
        /// Why: who must still approve it, or when its window begins.
        why: String,
        /// Whether it is for want of approvals.
        lacks_approval: bool,
    },
    /// It is of another day: there is nothing to say about it.
    Unrelated,
    /// Others write the request all the time.
    Busy,
}

/// What is known of a request without asking: a plan never changes once it is made, and uses only grow, so what does not
/// hold an action will not. Everything else is asked for, each time anew. Pure.
fn as_known(candidate: &Candidate, action: &Action, now: Timestamp) -> Option<Used> {
    let why = grant::grant(&candidate.known, action, now).err()?;
    Some(match state(&candidate.known) {
        Some(RequestState::Approved | RequestState::Spent | RequestState::Stale) => Used::No(why),
        _ => Used::Unrelated,
    })
}

/// Tries to use one request. What has a say was read a moment ago, `facts`; it is read again with every further try.
async fn use_request(
    context: &SharedContext,
    candidate: &Candidate,
    facts: &Facts,
    action: &Action,
) -> Result<Used, Error> {
    // Of what stands between a request and its use only the approvals come and go: one that does not stand as it is
    // known does not stand as it is stored.
    if let Err(stands_not) = stands(&candidate.known, facts) {
        return Ok(not_standing(&candidate.known, action, stands_not));
    }
    let api: Api<ChangeRequest> = Api::namespaced(context.client.clone(), &candidate.namespace);
    let mut newer;
    let mut facts = facts;
    for attempt in 1..=TRIES {
        let Some(request) = api.get_opt(&candidate.name).await? else {
            return Ok(Used::Unrelated);
        };
        if let Err(stands_not) = stands(&request, facts) {
            return Ok(not_standing(&request, action, stands_not));
        }
        let now = Timestamp::now();
        let granted = match grant::grant(&request, action, now) {
            Ok(granted) => granted,
            Err(why) => return Ok(Used::No(why)),
        };
        if action.dry_run || granted == Grant::Repeat {
            return Ok(Used::Passes);
        }
        match store(context, &request, granted, action, now).await {
            Ok(()) => return Ok(Used::Passes),
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        // Mayday itself writes the request after each use.
        tokio::time::sleep(PAUSE * attempt).await;
        newer = live_facts(context, std::slice::from_ref(candidate)).await?;
        facts = &newer;
    }
    Ok(Used::Busy)
}

/// Whether a request stands; else why not, and whether it is for want of approvals.
fn stands(request: &ChangeRequest, facts: &Facts) -> Result<(), (String, bool)> {
    let now = Timestamp::now();
    let outcome = weigh::request(request, facts, now).outcome;
    grant::standing(request, &outcome, now).map_err(|why| (why, !outcome.approved))
}

/// What is said of a request that does not stand.
fn not_standing(request: &ChangeRequest, action: &Action, (why, lacks_approval): (String, bool)) -> Used {
    match matches!(grant::grant(request, action, Timestamp::now()), Ok(Grant::Use(_))) {
        true if is_over(request) => Used::No(why),
        true => Used::Waits { why, lacks_approval },
        false => Used::Unrelated,
    }
}

async fn store(
    context: &Context,
    request: &ChangeRequest,
    granted: Grant,
    action: &Action,
    now: Timestamp,
) -> Result<(), Error> {
    let mut next = request.status.clone().unwrap_or_default();
    let is_restore = matches!(granted, Grant::Restore(_));
    match granted {
        Grant::Repeat => {}
        Grant::Use(used) => next.used.push(used),
        Grant::Restore(index) => {
            if let Some(used) = next.used.get_mut(index) {
                used.restored_time = Some(conditions::seconds(now));
                used.restored_by = Some(action.caller.user.clone());
                used.version = action.version();
            }
        }
    }
    status::write(&context.client, request, next).await?;
    let what = format!("{}, by {}", refusal::what(action), action.caller.user);
    if is_restore {
        context.events.warning(request, "Restored", &what).await;
    } else {
        context.events.normal(request, "Used", &what).await;
    }
    Ok(())
}

/// What has a say in requests of one namespace, with everything that may revoke an approval read live.
async fn live_facts(context: &Context, candidates: &[Candidate]) -> Result<Facts, Error> {
    let Some(Candidate { namespace, .. }) = candidates.first() else { return Ok(Facts::default()) };
    let approvals: Api<Approval> = Api::namespaced(context.client.clone(), namespace);
    let plans = candidates.iter().filter_map(|candidate| candidate.known.status.as_ref());
    let namespaces: BTreeSet<&str> =
        plans.flat_map(|status| &status.plan).map(policy::namespace_of).collect();
    let mut incidents = Vec::new();
    for namespace in namespaces {
        let api: Api<Incident> = match namespace {
            "" => Api::all(context.client.clone()),
            namespace => Api::namespaced(context.client.clone(), namespace),
        };
        incidents.extend(api.list(&ListParams::default()).await?.into_iter().map(Arc::new));
    }
    Ok(Facts {
        policies: context.stores.policies.state(),
        freezes: context.stores.freezes.state(),
        incidents,
        services: in_namespace(&context.stores.services, namespace),
        rotations: in_namespace(&context.stores.rotations, namespace),
        approvals: approvals.list(&ListParams::default()).await?.into_iter().map(Arc::new).collect(),
        operator_namespace: context.config.namespace.clone(),
    })
}

async fn refusal_text(
    context: &Context,
    action: &Action,
    over: &[&ChangePolicy],
    incidents: &[Arc<Incident>],
    waiting: Option<Named>,
    nearest: Option<Named>,
) -> Result<String, Error> {
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    let bindings: Vec<Binding> = binding::bindings(incidents, &specs, &action.namespace);
    let plan = [PlannedChange { target: action.target.clone(), ..PlannedChange::default() }];
    let names = people::names(
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
    let missing = match waiting {
        Some(_) => String::new(),
        None => quorum::evaluate(&subject, &rules, &[], Timestamp::now()).missing_phrase(),
    };
    let named = waiting.or(nearest);
    let lacks_approval = named.as_ref().is_some_and(|named| named.lacks_approval);
    let request = named.map(|named| (named.name, named.why));
    let operator_namespace = &context.config.namespace;
    let budget = if action.is_eviction() { Some(lookup::budget(context, action).await?) } else { None };
    let only_direct = !over.is_empty()
        && !action.caller.direct
        && over.iter().all(|policy| is_exempt(&policy.spec, action));
    let circumstances = Circumstances {
        bindings: &bindings,
        missing,
        operator_namespace,
        request,
        lacks_approval,
        only_direct,
        budget,
    };
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
    if over.is_empty() || over.iter().any(is_strict) || action.target.group() == crate::api::GROUP {
        return Verdict::refuse(message);
    }
    if !action.dry_run {
        unapproved::record(context, over, action, UnapprovedKind::NotEnforced).await;
    }
    let warns = over.iter().any(|policy| policy.spec.enforcement == Enforcement::Warn);
    let warnings = if warns { vec![message.clone()] } else { Vec::new() };
    Verdict::Allow { warnings, audit: audit("would-be-refused", &message) }
}
