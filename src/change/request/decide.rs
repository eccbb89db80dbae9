//! Decides the status of a request from its plan, the evaluation of its approvals, its targets and the time. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use crate::api::ChangeRequest;
use crate::api::change_request::{ChangeRequestStatus, PlannedChange, RequestState};
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason, is_true};
use crate::api::incident_status::Next;
use crate::change::approval::Evaluation;
use crate::change::approval::quorum;
use crate::change::diff;
use crate::change::gate::{standing, uses};
use crate::cluster::conditions::{self, set};
use crate::command::{Command, Verb};
use crate::text::{cut, instant};

/// State of a planned target, if a cache holds its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// No cache holds its kind; the gate checks it at each use.
    Unknown,
    /// It does not exist.
    Gone,
    /// The object.
    Object(Value),
}

/// The decision on a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// The status to store, without messages.
    pub status: ChangeRequestStatus,
    /// When to decide again without a change.
    pub wake: Option<Timestamp>,
}

/// Decides a request that has been planned; `live` has one entry for each of the plan.
pub fn decide(request: &ChangeRequest, evaluation: &Evaluation, live: &[Live], now: Timestamp) -> Decided {
    let mut status = request.status.clone().unwrap_or_default();
    let generation = request.metadata.generation.unwrap_or_default();
    conditions::ready(&mut status, generation, now, Ok("the request is planned".to_owned()));
    status.uses = Some(column(request, &status));
    let is_over = |status: &ChangeRequestStatus, kind| is_true(&status.conditions, kind);
    if is_over(&status, ConditionType::Spent)
        || is_over(&status, ConditionType::Expired)
        || is_over(&status, ConditionType::Rejected)
    {
        // The request has ended for good, so its decision stays.
        return finish(request, status, None, evaluation, None);
    }
    let outcome = &evaluation.outcome;
    status.decisions = outcome.counted.clone();
    status.incidents = evaluation.bindings.iter().map(|binding| binding.incident.clone()).collect();
    if request.spec.withdrawn {
        return finish(request, status, None, evaluation, None);
    }
    let mark =
        |status: &mut ChangeRequestStatus, kind: ConditionType, on: bool, reason: Reason, message: String| {
            set(&mut status.conditions, kind, on, reason, message, generation, now);
        };
    if let Some(who) = &outcome.rejected_by {
        mark(
            &mut status,
            ConditionType::Rejected,
            true,
            Reason::Rejected,
            format!("{who} rejected it, for good: ask again"),
        );
        mark(&mut status, ConditionType::Approved, false, Reason::Rejected, format!("{who} rejected it"));
        return finish(request, status, None, evaluation, None);
    }
    let missing = outcome.missing_phrase();
    if outcome.approved {
        mark(&mut status, ConditionType::Approved, true, Reason::Approved, "enough agree".to_owned());
        status.approved_time.get_or_insert_with(|| stored_time(outcome.complete_time.unwrap_or(now)));
    } else {
        let message = format!("{}{}", quorum::must_approve(&missing), frozen(evaluation));
        mark(&mut status, ConditionType::Approved, false, Reason::Missing, message);
        status.approved_time = None;
    }
    let approved = status.approved_time.as_ref().map(|time| time.0);
    let (from, until) = standing::window(&request.spec, approved.unwrap_or(now));
    let is_fixed = request.spec.window.as_ref().is_some_and(|window| window.not_after.is_some());
    let ends = (approved.is_some() || is_fixed).then_some(until);
    status.expires_time = ends.map(stored_time);
    if is_spent(request, &status, live) {
        mark(
            &mut status,
            ConditionType::Spent,
            true,
            Reason::Spent,
            "every change was used as often as was asked for".to_owned(),
        );
        return finish(request, status, None, evaluation, None);
    }
    if ends.is_some_and(|until| until <= now) {
        mark(
            &mut status,
            ConditionType::Expired,
            true,
            Reason::Expired,
            "its time is over: ask again".to_owned(),
        );
        return finish(request, status, None, evaluation, None);
    }
    let stale: Vec<String> = status
        .plan
        .iter()
        .enumerate()
        .filter(|(index, _)| used(request, &status, *index) < request.spec.max_uses)
        .filter_map(|(index, planned)| {
            let is_restart = request.spec.changes.get(index).is_some_and(|change| change.restart.is_some());
            stale(planned, is_restart, live.get(index).unwrap_or(&Live::Unknown))
        })
        .collect();
    if stale.is_empty() {
        conditions::clear(&mut status.conditions, ConditionType::Stale);
    } else {
        mark(
            &mut status,
            ConditionType::Stale,
            true,
            Reason::TargetChanged,
            format!("{}; withdraw it and ask again: {}", stale.join("; "), command(request, Verb::Withdraw)),
        );
    }
    let opens = (approved.is_some() && from > now).then_some(from);
    let wake = [opens, ends, outcome.lapses_time, evaluation.next_edge]
        .into_iter()
        .flatten()
        .filter(|time| *time > now)
        .min();
    finish(request, status, Some(&missing), evaluation, wake)
}

/// Why a lead must approve although no incident binds, in parentheses; empty if no freeze is on.
fn frozen(evaluation: &Evaluation) -> String {
    evaluation.freeze().map_or_else(String::new, |freeze| format!(" ({})", freeze.text()))
}

/// The freeze that begins within the window of an approved request, if one does: its approvals may not be enough then.
fn coming(evaluation: &Evaluation, ends: Option<Timestamp>) -> String {
    let within = |start: Timestamp| evaluation.freeze().is_none() && ends.is_none_or(|end| start < end);
    match &evaluation.next_freeze {
        Some((name, start)) if within(*start) => {
            format!(", best before {}: from then on frz/{name} asks for a lead and a peer", instant(*start))
        }
        _ => String::new(),
    }
}

/// Derives state, missing approvers and next step from the conditions.
fn finish(
    request: &ChangeRequest,
    mut status: ChangeRequestStatus,
    missing: Option<&str>,
    evaluation: &Evaluation,
    wake: Option<Timestamp>,
) -> Decided {
    let is = |kind| is_true(&status.conditions, kind);
    let state = match () {
        () if is(ConditionType::Spent) => RequestState::Spent,
        () if request.spec.withdrawn => RequestState::Withdrawn,
        () if is(ConditionType::Rejected) => RequestState::Rejected,
        () if is(ConditionType::Expired) => RequestState::Expired,
        () if is(ConditionType::Stale) => RequestState::Stale,
        () if is(ConditionType::Approved) => RequestState::Approved,
        () => RequestState::Waiting,
    };
    status.missing = missing.filter(|_| state == RequestState::Waiting).map(|missing| cut(missing, 253));
    status.next = next(request, &status, state, evaluation);
    status.state = Some(state);
    Decided { status, wake }
}

fn next(
    request: &ChangeRequest,
    status: &ChangeRequestStatus,
    state: RequestState,
    evaluation: &Evaluation,
) -> Option<Next> {
    let requester = request.spec.requester.as_ref().map_or("the requester", |user| user.user.as_str());
    let command = |verb| Some(command(request, verb).into());
    let next = match state {
        RequestState::Waiting => Next {
            who: status.missing.clone().unwrap_or_default(),
            what: cut(&format!("approve or reject it{}", frozen(evaluation)), 500),
            command: command(Verb::Approve),
        },
        RequestState::Approved => {
            let actors: Vec<&str> = request.spec.actors.iter().map(|user| user.user.as_str()).collect();
            let ends = status.expires_time.as_ref().map(|time| time.0);
            let until = ends.map_or_else(|| "the end of its window".to_owned(), instant);
            Next {
                who: cut(&if actors.is_empty() { requester.to_owned() } else { actors.join(" or ") }, 253),
                what: cut(&format!("carry it out by {until}{}", coming(evaluation, ends)), 500),
                command: command(Verb::Apply),
            }
        }
        RequestState::Stale => Next {
            who: requester.to_owned(),
            what: "withdraw it, and ask again if it is still needed".to_owned(),
            command: command(Verb::Withdraw),
        },
        RequestState::Rejected | RequestState::Expired => Next {
            who: requester.to_owned(),
            what: "ask again, if it is still needed".to_owned(),
            command: command(Verb::Show),
        },
        _ => return None,
    };
    Some(next)
}

fn command(request: &ChangeRequest, verb: Verb) -> Command {
    Command::new(verb).namespace(request.namespace().unwrap_or_default()).on("chg", &request.name_any())
}

fn used(request: &ChangeRequest, status: &ChangeRequestStatus, index: usize) -> i32 {
    i32::try_from(uses::whole(&request.spec, status, index)).unwrap_or(i32::MAX)
}

/// Whether everything was used as often as approved, and nothing of it is seen not to have been stored, because somebody else
/// refused the write: that can still be carried out.
fn is_spent(request: &ChangeRequest, status: &ChangeRequestStatus, live: &[Live]) -> bool {
    let is_lost = |(index, planned): (usize, &PlannedChange)| {
        let Some(Live::Object(object)) = live.get(index) else { return false };
        let last = uses::of_entry(&status.used, index).last();
        last.is_some_and(|last| uses::was_not_stored(last, planned, Some(object)))
    };
    !status.plan.is_empty()
        && (0..status.plan.len()).all(|index| used(request, status, index) >= request.spec.max_uses)
        && !status.plan.iter().enumerate().any(is_lost)
}

fn column(request: &ChangeRequest, status: &ChangeRequestStatus) -> String {
    let all =
        i64::from(request.spec.max_uses) * i64::try_from(request.spec.changes.len()).unwrap_or(i64::MAX);
    let so_far: i32 = (0..status.plan.len()).map(|index| used(request, status, index)).sum();
    format!("{so_far}/{all}")
}

fn stale(planned: &PlannedChange, is_restart: bool, live: &Live) -> Option<String> {
    let object = match live {
        Live::Unknown => return None,
        Live::Gone if planned.operation == "Create" => return None,
        Live::Gone => return Some(format!("{} is gone", planned.target.display())),
        Live::Object(_) if planned.operation == "Create" => return None,
        Live::Object(object) => object,
    };
    if object.pointer("/metadata/uid").and_then(Value::as_str) != planned.uid.as_deref() {
        return Some(format!("{} is another one by now", planned.target.display()));
    }
    if planned.operation != "Update" || is_restart {
        return None;
    }
    let stale = diff::stale(&planned.delta, object)?;
    Some(format!("{} of {} was changed", stale.path, planned.target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::approval::quorum::Outcome;
    use crate::change::freeze::in_force::InForce;
    use serde_json::json;

    const IMAGE: &str = "/spec/template/spec/containers/[name=app]/image";

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn request(edit: Value) -> ChangeRequest {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
            "metadata": {"name": "v2", "namespace": "shop", "uid": "cu", "generation": 1},
            "spec": {"reason": "r", "requester": {"user": "emil"}, "changes": [{
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}, "update": {"patch": {}}}]},
            "status": {"plan": [{"operation": "Update", "resource": "deployments", "namespace": "shop", "uid": "du", "summary": "s",
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "delta": [{"path": IMAGE, "before": "v1", "after": "v2"}]}]}});
        json_patch::merge(&mut whole, &edit);
        serde_json::from_value(whole).unwrap()
    }

    fn with(outcome: Outcome) -> Evaluation {
        Evaluation { outcome, ..Evaluation::default() }
    }

    fn approved() -> Evaluation {
        with(Outcome { approved: true, complete_time: Some(now()), ..Outcome::default() })
    }

    fn waiting() -> Evaluation {
        with(Outcome { missing: vec!["lena (lead)".into(), "one of amir, bea".into()], ..Outcome::default() })
    }

    fn state(request: &ChangeRequest, evaluation: &Evaluation) -> RequestState {
        decide(request, evaluation, &[], now()).status.state.unwrap()
    }

    fn used_once() -> Value {
        json!({"status": {"approvedTime": "2026-11-22T11:50:00Z",
            "used": [{"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T11:55:00Z"}]}})
    }

    #[test]
    fn a_waiting_request_names_the_missing_approvers() {
        let status = decide(&request(json!({})), &waiting(), &[], now()).status;
        assert_eq!(status.missing.as_deref(), Some("lena (lead) and one of amir, bea"));
        let next = status.next.unwrap();
        assert_eq!(next.who, "lena (lead) and one of amir, bea");
        assert_eq!(next.command.as_deref(), Some("kubectl mayday approve -n shop chg/v2"));
        assert_eq!(status.uses.as_deref(), Some("0/1"));
    }

    #[test]
    fn an_approved_request_says_when_its_window_ends_and_wakes_then() {
        let decided = decide(&request(json!({})), &approved(), &[], now());
        assert_eq!(decided.status.state, Some(RequestState::Approved));
        assert_eq!(decided.status.missing, None);
        assert_eq!(decided.wake, Some("2026-11-22T13:00:00Z".parse().unwrap()));
        assert!(decided.status.next.unwrap().what.contains("13:00:00 UTC"));
    }

    #[test]
    fn a_request_under_a_freeze_says_so_and_wakes_at_its_end() {
        let until: Timestamp = "2026-11-22T12:30:00Z".parse().unwrap();
        let freeze = InForce::sale(Some(until));
        let frozen = Evaluation { freezes: vec![freeze], next_edge: Some(until), ..waiting() };
        let decided = decide(&request(json!({})), &frozen, &[], now());
        assert_eq!(decided.wake, Some(until));
        let what = decided.status.next.unwrap().what;
        let said = "frz/sale stops changes under cpol/production until 2026-11-22 12:30:00 UTC (sale)";
        assert_eq!(what, format!("approve or reject it ({said})"));
        let approved =
            decided.status.conditions.iter().find(|condition| condition.type_ == "Approved").unwrap();
        assert!(approved.message.ends_with(&format!(" must approve ({said})")), "{}", approved.message);
    }

    #[test]
    fn an_approved_request_says_when_a_freeze_begins_within_its_window() {
        let what = |start: &str| {
            let next_freeze = Some(("sale".to_owned(), start.parse().unwrap()));
            let coming = Evaluation { next_freeze, ..approved() };
            decide(&request(json!({})), &coming, &[], now()).status.next.unwrap().what
        };
        assert_eq!(
            what("2026-11-22T12:30:00Z"),
            "carry it out by 2026-11-22 13:00:00 UTC, best before 2026-11-22 12:30:00 UTC: from then on frz/sale asks for a lead \
             and a peer"
        );
        assert_eq!(
            what("2026-11-22T13:00:00Z"),
            "carry it out by 2026-11-22 13:00:00 UTC",
            "it is used by then"
        );
    }

    #[test]
    fn an_approval_that_no_longer_counts_ends_the_approved_state() {
        let before = request(json!({"status": {"approvedTime": "2026-11-22T11:50:00Z"}}));
        let status = decide(&before, &waiting(), &[], now()).status;
        assert_eq!((status.state, status.approved_time), (Some(RequestState::Waiting), None));
    }

    #[test]
    fn each_end_has_its_state_and_is_final() {
        assert_eq!(
            state(&request(json!({"spec": {"withdrawn": true}})), &approved()),
            RequestState::Withdrawn
        );
        let rejected = with(Outcome { rejected_by: Some("bea".into()), ..approved().outcome });
        let mut decided = request(json!({}));
        decided.status = Some(decide(&decided, &rejected, &[], now()).status);
        assert_eq!(state(&decided, &approved()), RequestState::Rejected);
        let mut late = request(json!({"status": {"approvedTime": "2026-11-22T10:00:00Z"}}));
        late.status = Some(decide(&late, &approved(), &[], now()).status);
        assert_eq!(state(&late, &waiting()), RequestState::Expired);
        let mut spent = request(used_once());
        spent.status = Some(decide(&spent, &approved(), &[], now()).status);
        assert_eq!(state(&spent, &waiting()), RequestState::Spent);
    }

    // The kind of fault: said although it did not happen. Somebody else refused a write whose use was counted.
    #[test]
    fn a_request_is_not_spent_while_its_use_is_seen_not_to_be_stored() {
        let delta = json!([{"path": IMAGE, "before": "v1", "after": "v2"}]);
        let mut used = request(used_once());
        used.status.as_mut().unwrap().used[0].delta = serde_json::from_value(delta).unwrap();
        let state = |image: &str| {
            let object = json!({"metadata": {"uid": "du"},
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
            decide(&used, &approved(), &[Live::Object(object)], now()).status.state
        };
        assert_eq!(state("v1"), Some(RequestState::Approved));
        assert_eq!(state("v2"), Some(RequestState::Spent));
        assert_eq!(state("v3"), Some(RequestState::Spent), "somebody has changed it since");
    }

    #[test]
    fn a_changed_or_replaced_target_makes_a_request_stale() {
        let object = |uid: &str, image: &str| {
            Live::Object(json!({"metadata": {"uid": uid},
                "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}))
        };
        let state =
            |live: Live| decide(&request(json!({})), &approved(), &[live], now()).status.state.unwrap();
        assert_eq!(state(object("du", "v1")), RequestState::Approved);
        assert_eq!(state(object("du", "v2")), RequestState::Approved, "already as planned");
        assert_eq!(state(object("du", "v7")), RequestState::Stale);
        assert_eq!(state(object("later", "v1")), RequestState::Stale);
        assert_eq!(state(Live::Gone), RequestState::Stale);
        assert_eq!(state(Live::Unknown), RequestState::Approved);
    }

    #[test]
    fn a_second_look_changes_nothing() {
        let mut first = request(json!({}));
        first.status = Some(decide(&first, &approved(), &[], now()).status);
        assert_eq!(Some(decide(&first, &approved(), &[], now()).status), first.status);
    }
}
