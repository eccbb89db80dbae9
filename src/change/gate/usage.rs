//! Uses of requests: which of them lets an action pass, stored before the answer.
//!
//! A request that could let it pass is read live, with its approvals and the incidents, and its use is stored by
//! compare-and-swap: that write is the decision, so that several processes never spend more than was approved.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::grant::{self, Grant};
use super::refusal;
use super::refusal::Near;
use crate::api::change_request::RequestState;
use crate::api::{Approval, ChangeRequest, Incident};
use crate::change::approval;
use crate::change::approval::Facts;
use crate::change::policy;
use crate::cluster::caches::{in_namespace, stored_now};
use crate::cluster::{Context, Error, SharedContext, conditions, status};

/// So often a use is tried to be stored while others write the same request.
const TRIES: u32 = 8;
/// The pause after the first of them; after each further one it is longer by as much.
const PAUSE: Duration = Duration::from_millis(15);

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Tried {
    /// A request lets it pass, and that is stored.
    Passes {
        /// Its namespace and name.
        request: String,
    },
    /// Others write a request that might let it pass all the time.
    Busy {
        /// Its name.
        name: String,
    },
    /// None lets it pass; the one that comes nearest, if any does.
    Refused(Option<Near>),
}

/// Tries the requests that are about the object of an action, those that are approved first.
///
/// # Errors
/// When what has a say cannot be read, or the use not be stored.
pub async fn of_requests(context: &SharedContext, action: &Action) -> Result<Tried, Error> {
    let (mut nearest, mut waiting) = (None, None);
    let mut open = Vec::new();
    for candidate in candidates(context, action) {
        match as_known(&candidate, action, Timestamp::now()) {
            None => open.push(candidate),
            Some(Used::No(why)) => nearest = nearest.or(Some(Near::over(candidate.name, why))),
            Some(_) => {}
        }
    }
    let facts = live_facts(context, &open).await?;
    for candidate in &open {
        let Candidate { namespace, name, .. } = candidate;
        match use_request(context, candidate, &facts, action).await? {
            Used::Passes => return Ok(Tried::Passes { request: format!("{namespace}/{name}") }),
            Used::Busy => return Ok(Tried::Busy { name: name.clone() }),
            Used::No(why) => nearest = nearest.or(Some(Near::over(name.clone(), why))),
            Used::Waits { why, lacks_approval } => {
                waiting = waiting.or(Some(Near { name: name.clone(), why, waits: true, lacks_approval }));
            }
            Used::Unrelated => {}
        }
    }
    Ok(Tried::Refused(waiting.or(nearest)))
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
        Some(RequestState::Approved | RequestState::Spent | RequestState::Stale)
            if grant::shares_a_value(&candidate.known, action) =>
        {
            Used::No(why)
        }
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
    let outcome = approval::request(request, facts, now).outcome;
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
    context: &SharedContext,
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
                used.version = action.version().map(|version| version.to_string());
            }
        }
    }
    status::write(&context.client, request, next).await?;
    let what = format!("{}, by {}", refusal::what(action), action.caller.user);
    let (context, request) = (Arc::clone(context), request.clone());
    // The API server waits for the verdict, and an Event may take longer than it waits.
    tokio::spawn(async move {
        match is_restore {
            true => context.events.warning(&request, "Restored", &what).await,
            false => context.events.normal(&request, "Used", &what).await,
        }
    });
    Ok(())
}

/// What has a say in requests of one namespace, with everything that may revoke an approval read live.
async fn live_facts(context: &Context, candidates: &[Candidate]) -> Result<Facts, Error> {
    let Some(Candidate { namespace, .. }) = candidates.first() else { return Ok(Facts::default()) };
    let approvals = Api::namespaced(context.client.clone(), namespace);
    let approvals = stored_now::<Approval>(approvals, &context.stores.approvals).await?;
    let plans = candidates.iter().filter_map(|candidate| candidate.known.status.as_ref());
    let namespaces: BTreeSet<&str> =
        plans.flat_map(|status| &status.plan).map(policy::namespace_of).collect();
    let mut incidents = Vec::new();
    for namespace in namespaces {
        let api = match namespace {
            "" => Api::all(context.client.clone()),
            namespace => Api::namespaced(context.client.clone(), namespace),
        };
        incidents.extend(stored_now::<Incident>(api, &context.stores.incidents).await?);
    }
    Ok(Facts {
        policies: context.stores.policies.state(),
        freezes: context.stores.freezes.state(),
        incidents,
        services: in_namespace(&context.stores.services, namespace),
        rotations: in_namespace(&context.stores.rotations, namespace),
        approvals,
        operator_namespace: context.config.namespace.clone(),
    })
}
