//! Which of the requests about an object let an action pass, and which of the others a refusal names. Pure.
//!
//! Each request is matched once, as cached: a plan never changes once made and uses only grow, so a request that does not
//! cover the action as cached does not cover it as stored. The approvals of those that do are then evaluated live.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::action::Action;
use super::grant::{self, Grant, Mismatch};
use super::refusal::ClosestRequest;
use super::standing;
use crate::api::ChangeRequest;
use crate::api::change_request::RequestState;
use crate::change::approval;
use crate::change::approval::facts::LiveFacts;

/// A cached request whose plan covers the action.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The request, as cached.
    pub request: Arc<ChangeRequest>,
    /// How it lets the action pass, if it stands.
    pub grant: Grant,
}

/// The requests about an object, each matched against an action.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// Those that cover the action, in the order in which to try them.
    pub candidates: Vec<Candidate>,
    /// Those that do not and that a refusal may name, in the same order.
    pub mismatches: Vec<ClosestRequest>,
}

/// Matches the requests of a namespace against an action. Approved ones come first, ended ones last, and among equals the
/// youngest first.
pub fn matches(mut requests: Vec<Arc<ChangeRequest>>, action: &Action, now: Timestamp) -> Matches {
    requests.retain(|request| grant::is_about(request, action));
    requests.sort_by_key(|request| {
        let is_approved = state(request) == Some(RequestState::Approved);
        (!is_approved, is_over(request), Reverse(request.creation_timestamp()))
    });
    let mut found = Matches::default();
    for request in requests {
        match grant::grant(&request, action, now) {
            Ok(grant) => found.candidates.push(Candidate { request, grant }),
            Err(mismatch) if is_worth_naming(&request, action) => {
                found.mismatches.push(ClosestRequest::mismatch(request.name_any(), &mismatch));
            }
            Err(_) => {}
        }
    }
    found
}

/// Whether a refusal names a request that does not cover the action: people expect it to.
fn is_worth_naming(request: &ChangeRequest, action: &Action) -> bool {
    let was_approved =
        matches!(state(request), Some(RequestState::Approved | RequestState::Spent | RequestState::Stale));
    was_approved && grant::shares_a_value(request, action)
}

/// Whether a matched request lets the action pass: it covers it and stands, by approvals and incidents read live.
///
/// # Errors
/// Why it does not; none if the request has nothing to do with the action any more.
pub fn examine(
    request: &ChangeRequest,
    matched: Result<Grant, Mismatch>,
    facts: &LiveFacts,
    now: Timestamp,
) -> Result<Grant, Option<ClosestRequest>> {
    let outcome = approval::evaluate(request, facts.get(), now).outcome;
    let name = request.name_any();
    match (standing::standing(request, &outcome, now), matched) {
        (Ok(()), Ok(grant)) => Ok(grant),
        (Ok(()), Err(mismatch)) => Err(Some(ClosestRequest::mismatch(name, &mismatch))),
        (Err(why), Ok(Grant::Use(_))) if is_over(request) => {
            Err(Some(ClosestRequest::over(name, why.to_string())))
        }
        (Err(why), Ok(Grant::Use(_))) => Err(Some(ClosestRequest {
            waits: true,
            lacks_approval: !outcome.approved,
            ..ClosestRequest::over(name, why.to_string())
        })),
        (Err(_), _) => Err(None),
    }
}

/// The request that a refusal names: the first that covers the action and waits, else the first of all.
pub fn closest(refused: Vec<ClosestRequest>) -> Option<ClosestRequest> {
    let waiting = refused.iter().position(|request| request.waits).unwrap_or_default();
    refused.into_iter().nth(waiting)
}

fn state(request: &ChangeRequest) -> Option<RequestState> {
    request.status.as_ref().and_then(|status| status.state)
}

fn is_over(request: &ChangeRequest) -> bool {
    state(request).is_some_and(RequestState::is_over)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::approval::facts::Facts;
    use crate::change::gate::grant::tests::{image, now, request, use_it};

    fn named(name: &str, state: &str, edit: Value) -> Arc<ChangeRequest> {
        let mut whole = json!({"metadata": {"name": name}, "status": {"state": state}});
        json_patch::merge(&mut whole, &edit);
        Arc::new(request(whole))
    }

    fn names(requests: impl IntoIterator<Item = String>) -> Vec<String> {
        requests.into_iter().collect()
    }

    /// A policy that wants one peer, and the approvals of these users.
    fn facts(request: &ChangeRequest, approvers: &[&str]) -> LiveFacts {
        let policy = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "p"},
            "spec": {"scope": {"namespaces": {"names": ["shop"]}},
                "approval": {"required": [{"name": "peers", "groups": ["shop-approvers"], "count": 1}]}}});
        let digest = request.status.as_ref().and_then(|status| status.digest.clone());
        let approval = |user: &&str| {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
                "metadata": {"name": user, "namespace": "shop", "uid": user, "creationTimestamp": "2026-11-22T11:59:00Z"},
                "spec": {"subjectRef": {"kind": "ChangeRequest", "name": request.name_any(), "uid": "cu"},
                    "digest": digest, "decision": "Approve", "by": {"user": user, "groups": ["shop-approvers"]}}});
            Arc::new(serde_json::from_value(whole).unwrap())
        };
        LiveFacts::of(Facts {
            policies: vec![Arc::new(serde_json::from_value(policy).unwrap())],
            approvals: approvers.iter().map(approval).collect(),
            ..Facts::default()
        })
    }

    fn examined(request: &ChangeRequest, approvers: &[&str]) -> Result<Grant, Option<ClosestRequest>> {
        let matched = grant::grant(request, &image("v1", "v2"), now());
        examine(request, matched, &facts(request, approvers), now())
    }

    #[test]
    fn approved_requests_are_tried_first_and_ended_ones_last() {
        let made =
            |hour: u8| json!({"metadata": {"creationTimestamp": format!("2026-11-22T{hour:02}:00:00Z")}});
        let requests = vec![
            named("spent", "Spent", made(11)),
            named("old", "Waiting", made(8)),
            named("young", "Waiting", made(9)),
            named("approved", "Approved", made(7)),
        ];
        let found = matches(requests, &image("v1", "v2"), now());
        let order = names(found.candidates.iter().map(|candidate| candidate.request.name_any()));
        assert_eq!(order, ["approved", "young", "old", "spent"]);
        assert!(found.candidates.iter().all(|candidate| matches!(candidate.grant, Grant::Use(_))));
        assert_eq!(found.mismatches, []);
    }

    #[test]
    fn a_mismatch_is_named_if_it_was_approved_and_shares_a_value() {
        let requests = vec![
            named("waiting", "Waiting", json!({})),
            named("approved", "Approved", json!({})),
            named(
                "elsewhere",
                "Approved",
                json!({"metadata": {"namespace": "till"}, "status": {"plan": []}}),
            ),
        ];
        let found = matches(requests, &image("v1", "v9"), now());
        assert!(found.candidates.is_empty());
        let why = "it does not hold this value of /spec/template/spec/containers/[name=app]/image";
        assert_eq!(found.mismatches, [ClosestRequest::over("approved".into(), why.into())]);
    }

    #[test]
    fn a_request_passes_by_its_live_approvals_alone() {
        let request = named("v2", "Waiting", json!({}));
        assert!(matches!(examined(&request, &["amir"]), Ok(Grant::Use(_))), "the cached state is behind");
        let waits = examined(&named("v2", "Approved", json!({})), &[]).unwrap_err().unwrap();
        let why = "one of group shop-approvers must approve";
        assert_eq!((waits.why.as_str(), waits.waits, waits.lacks_approval), (why, true, true));
        assert!(examined(&request, &["emil"]).is_err(), "the requester never counts");
    }

    #[test]
    fn a_request_outside_its_window_waits_or_is_over() {
        let window = |name: &str, time: &str| json!({"spec": {"window": {name: time}}});
        let later = named("v2", "Approved", window("notBefore", "2026-11-22T14:00:00Z"));
        let waits = examined(&later, &["amir"]).unwrap_err().unwrap();
        assert_eq!(waits.why, "its window begins at 2026-11-22 14:00:00 UTC");
        assert_eq!((waits.waits, waits.lacks_approval), (true, false));
        let ended = named("v2", "Expired", window("notAfter", "2026-11-22T11:00:00Z"));
        let over = examined(&ended, &["amir"]).unwrap_err().unwrap();
        assert_eq!(over.why, "its window ended at 2026-11-22 11:00:00 UTC");
        assert_eq!((over.waits, over.lacks_approval), (false, false));
    }

    #[test]
    fn a_request_that_matches_no_more_is_named_with_the_reason() {
        let used = use_it(request(json!({"status": {"state": "Approved"}})), &image("v1", "v2"));
        let spent = examined(&used, &["amir"]).unwrap_err().unwrap();
        assert_eq!(spent.why, "it was used 1 of 1 times: ask again");
        assert!(!spent.waits);
        assert_eq!(examined(&used, &[]), Err(None), "neither covers it nor stands");
    }

    #[test]
    fn a_waiting_request_is_closer_than_a_mismatch() {
        let mismatch = |name: &str| ClosestRequest::over(name.into(), "why".into());
        let waiting = ClosestRequest { waits: true, ..mismatch("waiting") };
        let name = |refused: Vec<ClosestRequest>| closest(refused).map(|request| request.name);
        assert_eq!(name(vec![]), None);
        assert_eq!(name(vec![mismatch("a"), mismatch("b")]).as_deref(), Some("a"));
        assert_eq!(name(vec![mismatch("a"), waiting]).as_deref(), Some("waiting"));
    }
}
