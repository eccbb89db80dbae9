//! Uses of requests: which request lets an action pass, stored before the answer.
//!
//! A request that covers the action is read live, with its approvals and the incidents, and its use is stored by
//! compare-and-swap. That write is the decision, so several processes never spend more uses than were approved.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::action::Action;
use super::grant::{self, Grant};
use super::matching::{self, Candidate, Matches};
use super::refusal::{self, ClosestRequest};
use crate::api::ChangeRequest;
use crate::api::change_request::Use;
use crate::api::common::stored_time;
use crate::change::approval::facts::LiveFacts;
use crate::cluster::caches::in_namespace;
use crate::cluster::{Context, Error, SharedContext, status};

/// Maximum number of attempts to store a use while others write the same request.
const ATTEMPTS: u32 = 8;
/// Pause after the first attempt; the n-th is n times as long.
const PAUSE: Duration = Duration::from_millis(15);

/// Result of an attempt to pass by an approved request.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// A request lets the action pass, and its use is stored.
    Passes {
        /// Namespace and name of the request.
        request: String,
    },
    /// The use of a request could not be stored, as others kept writing it.
    Busy {
        /// Name of the request.
        name: String,
    },
    /// No request lets the action pass; the one that comes closest, if any.
    Refused(Option<ClosestRequest>),
}

/// Tries the requests about the object of an action, approved ones first.
///
/// # Errors
/// When approvals or incidents cannot be read, or the use cannot be stored.
pub async fn attempt(context: &SharedContext, action: &Action) -> Result<Attempt, Error> {
    let namespace = namespace_of_requests(context, action);
    let requests = in_namespace(&context.caches.requests, namespace);
    let now = Timestamp::now();
    let Matches { candidates, mismatches: mut refused } = matching::matches(requests, action, now);
    if !candidates.is_empty() {
        let requests = candidates.iter().map(|candidate| &*candidate.request);
        let facts = LiveFacts::read(context, namespace, requests).await?;
        for candidate in candidates {
            match use_request(context, candidate, &facts, action).await? {
                Attempt::Refused(why) => refused.extend(why),
                ended => return Ok(ended),
            }
        }
    }
    Ok(Attempt::Refused(matching::closest(refused)))
}

/// Where the requests about the object are: those about a cluster-scoped object are in the operator's namespace.
fn namespace_of_requests<'a>(context: &'a Context, action: &'a Action) -> &'a str {
    let is_namespace = action.target.kind == "Namespace" && action.target.group().is_empty();
    match is_namespace || action.namespace.is_empty() {
        true => &context.config.namespace,
        false => &action.namespace,
    }
}

/// Tries to use one request. `facts` were read a moment ago; they are read again before each further attempt.
async fn use_request(
    context: &SharedContext,
    candidate: Candidate,
    facts: &LiveFacts,
    action: &Action,
) -> Result<Attempt, Error> {
    let Candidate { request: cached, grant } = candidate;
    let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
    // Only approvals can change after planning, and they were read live. If the cached request does not stand, the stored
    // one does not either, so it is not read.
    let mut known = match matching::examine(&cached, Ok(grant), facts, Timestamp::now()) {
        Ok(grant) => Some(grant),
        Err(why) => return Ok(Attempt::Refused(why)),
    };
    let api: Api<ChangeRequest> = Api::namespaced(context.client.clone(), &namespace);
    let mut newer;
    let mut facts = facts;
    for attempt in 1..=ATTEMPTS {
        let Some(request) = api.get_opt(&name).await? else {
            return Ok(Attempt::Refused(None));
        };
        let now = Timestamp::now();
        let granted = match known.take().filter(|_| is_same_version(&request, &cached)) {
            Some(granted) => granted,
            None => match matching::examine(&request, grant::grant(&request, action, now), facts, now) {
                Ok(granted) => granted,
                Err(why) => return Ok(Attempt::Refused(why)),
            },
        };
        let passes = || Attempt::Passes { request: format!("{namespace}/{name}") };
        if action.dry_run || granted == Grant::Repeat {
            return Ok(passes());
        }
        match store(context, &request, granted, action, now).await {
            Ok(()) => return Ok(passes()),
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        // Mayday itself writes the request after each use.
        tokio::time::sleep(PAUSE * attempt).await;
        newer = LiveFacts::read(context, &namespace, std::iter::once(&*cached)).await?;
        facts = &newer;
    }
    Ok(Attempt::Busy { name })
}

/// Whether the stored request is the cached one, so that its examination holds.
fn is_same_version(stored: &ChangeRequest, cached: &ChangeRequest) -> bool {
    let version = stored.resource_version();
    version.is_some() && version == cached.resource_version()
}

/// Stores a use or a rollback in the request as it was read.
async fn store(
    context: &SharedContext,
    request: &ChangeRequest,
    granted: Grant,
    action: &Action,
    now: Timestamp,
) -> Result<(), Error> {
    let mut next = request.status.clone().unwrap_or_default();
    let is_restore = matches!(granted, Grant::Restore(_));
    let time = stored_time(now);
    match granted {
        Grant::Repeat => {}
        Grant::Use(used) => next.used.push(Use { time, ..used }),
        Grant::Restore(index) => {
            if let Some(used) = next.used.get_mut(index) {
                used.restored_time = Some(time);
                used.restored_by = Some(action.caller.user.clone());
                used.version = action.version().map(|version| version.to_string());
            }
        }
    }
    status::write(context, request, next).await?;
    let what = format!("{}, by {}", refusal::what(action), action.caller.user);
    let (context, request) = (Arc::clone(context), request.clone());
    // The API server waits for the verdict, and storing an Event may take longer than it waits.
    tokio::spawn(async move {
        match is_restore {
            true => context.events.warning(&request, "Restored", &what).await,
            false => context.events.normal(&request, "Used", &what).await,
        }
    });
    Ok(())
}
