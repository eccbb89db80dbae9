//! Messages about a request: to the approvers while it waits, to the requester when it is decided. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::approval::Decision;
use crate::api::change_request::{ChangeRequestStatus, Partial, RequestState};
use crate::api::notification::Purpose;
use crate::api::oncall_rotation::Person;
use crate::api::{ChangeRequest, Notification};
use crate::change::approval::Evaluation;
use crate::change::approval::quorum;
use crate::change::diff;
use crate::change::diff::{describe, digest};
use crate::change::gate::audience::Audience;
use crate::command::{Command, Verb};
use crate::notify::message::{LIFETIME, Message};
use crate::notify::schedule::Settlement;
use crate::oncall::escalation::recipients;
use crate::oncall::escalation::recipients::Recipient;
use crate::text::{cut, instant};

/// Maximum number of uses taken back that are announced at a time.
const RESTORES_TOLD: usize = 3;

/// People who may be told.
#[derive(Clone, Debug, Default)]
pub struct People<'a> {
    /// Who approves.
    pub approvers: Vec<&'a Person>,
    /// Who may lead.
    pub leads: Vec<&'a Person>,
    /// All people with contacts in the namespace; among them the requester, if known.
    pub everybody: Vec<&'a Person>,
    /// The people who are told when an approved change is taken back.
    pub concerned: Audience,
}

/// The messages that the state asks for, each once by its key.
pub fn decide(
    request: &ChangeRequest,
    status: &ChangeRequestStatus,
    evaluation: &Evaluation,
    people: &People<'_>,
    now: Timestamp,
) -> Vec<Message> {
    let mut messages = taken_back(request, status, &people.concerned, now);
    messages.extend(asked_or_told(request, status, evaluation, people, now));
    messages
}

/// The Notifications about a request that are no longer needed: those that ask for approval once the request
/// no longer waits.
pub fn no_longer_needed(
    status: &ChangeRequestStatus,
    notifications: &[Arc<Notification>],
) -> Vec<(String, Settlement)> {
    let waits = status.state == Some(RequestState::Waiting);
    notifications
        .iter()
        .filter(|known| !waits && known.spec.purpose == Purpose::ApprovalNeeded && known.is_queued())
        .map(|known| (known.name_any(), Settlement::Superseded))
        .collect()
}

/// When a decision was made; a message about an older one is not stored any more.
fn decided_at(status: &ChangeRequestStatus, state: RequestState) -> Option<Timestamp> {
    let kind = state.to_string();
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(condition.last_transition_time.0)
}

fn is_news(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < LIFETIME
}

/// Approvers are asked while it waits, the requester hears what was decided.
fn asked_or_told(
    request: &ChangeRequest,
    status: &ChangeRequestStatus,
    evaluation: &Evaluation,
    people: &People<'_>,
    now: Timestamp,
) -> Vec<Message> {
    let uid = request.uid().unwrap_or_default();
    let requester = request.spec.requester.as_ref().map_or("", |user| user.user.as_str());
    let (purpose, key, text, people) = match status.state {
        // One that was used did what it was asked for; whether it is needed again its requester says.
        Some(RequestState::Waiting) if status.used.is_empty() => {
            // Other incidents and freezes ask for other approvals, and so for another message.
            let incidents: Vec<&str> =
                status.incidents.iter().map(|incident| incident.uid.as_str()).collect();
            let key = match (incidents.is_empty(), evaluation.freeze()) {
                (false, _) => format!("asked-{}", short(&incidents)),
                (true, Some(freeze)) => format!("asked-{}", short(&[&freeze.uid])),
                (true, None) => "asked".to_owned(),
            };
            (
                Purpose::ApprovalNeeded,
                key,
                waiting(request, status, evaluation),
                asked(status, evaluation, people, requester),
            )
        }
        Some(state @ (RequestState::Approved | RequestState::Rejected | RequestState::Expired))
            if decided_at(status, state).is_none_or(|at| is_news(at, now)) =>
        {
            let requester =
                people.everybody.iter().filter(|person| person.user == requester).copied().collect();
            (Purpose::Decision, state.to_string().to_lowercase(), decided(request, status, state), requester)
        }
        _ => return Vec::new(),
    };
    let recipients: Vec<Recipient> = people.into_iter().map(Recipient::from).collect();
    recipients::messages(&recipients, &format!("{uid}/{key}"), purpose, &text, now)
}

/// The messages about the latest uses that were taken back. Taking back needs no new approval, so all
/// concerned are told.
fn taken_back(
    request: &ChangeRequest,
    status: &ChangeRequestStatus,
    concerned: &Audience,
    now: Timestamp,
) -> Vec<Message> {
    let uid = request.uid().unwrap_or_default();
    let name = request.name_any();
    let mut messages = Vec::new();
    let restored = status
        .used
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, used)| used.restored_time.as_ref().is_some_and(|time| is_news(time.0, now)));
    for (index, used) in restored.take(RESTORES_TOLD) {
        let Some(planned) = usize::try_from(used.change).ok().and_then(|index| status.plan.get(index)) else {
            continue;
        };
        let by = used.restored_by.as_deref().unwrap_or("somebody");
        let time = used.restored_time.as_ref().map(|time| format!(" at {}", instant(time.0)));
        let place = planned.namespace.as_deref().unwrap_or_default();
        let text = format!(
            "{by} took back{} what chg/{name} had let through: {}. That was approved with it, once. Look: \
             {}",
            time.unwrap_or_default(),
            describe::update(&planned.target, place, &diff::inverse(&used.delta)),
            command(Verb::Show, request)
        );
        messages.extend(concerned.alarm(&format!("{uid}-restored-{index}"), &text, now));
    }
    messages
}

/// Approvers and leads, without the requester and those who have decided.
fn asked<'a>(
    status: &ChangeRequestStatus,
    evaluation: &Evaluation,
    people: &People<'a>,
    requester: &str,
) -> Vec<&'a Person> {
    let mut asked: Vec<&Person> = people.approvers.clone();
    if evaluation.freeze().is_some() {
        asked.extend(&people.leads);
    }
    for binding in &evaluation.bindings {
        // A lead who has claimed decides; until then all who may claim are asked.
        let may = |person: &&&Person| binding.lead.as_ref().is_none_or(|lead| *lead == person.user);
        asked.extend(people.leads.iter().filter(may));
    }
    asked.retain(|person| {
        person.user != requester && !status.decisions.iter().any(|decision| decision.by == person.user)
    });
    let mut seen = std::collections::BTreeSet::new();
    asked.retain(|person| seen.insert(person.user.clone()));
    asked
}

fn command(verb: Verb, request: &ChangeRequest) -> Command {
    Command::new(verb).namespace(request.namespace().unwrap_or_default()).on("chg", &request.name_any())
}

fn waiting(request: &ChangeRequest, status: &ChangeRequestStatus, evaluation: &Evaluation) -> String {
    let who = request.spec.requester.as_ref().map_or("somebody", |user| user.user.as_str());
    let incidents: Vec<&str> = status.incidents.iter().map(|incident| incident.name.as_str()).collect();
    let during = match incidents.is_empty() {
        true => String::new(),
        false => format!(" during {}", incidents.join(", ")),
    };
    let missing = quorum::sentence("", status.missing.as_deref().unwrap_or_default());
    let parts = match request.spec.partial {
        Partial::Allowed => "Each of the values may be changed on its own. ",
        Partial::Forbidden => "",
    };
    let back = match request.spec.allows_rollback() {
        true => "Taking each use back once would be approved with it. ",
        false => "",
    };
    let frozen = evaluation.freeze().map(|freeze| format!("A freeze is on: {}. ", freeze.text()));
    let frozen = frozen.unwrap_or_default();
    cut(
        &format!(
            "{who} asks{during}: {}. Why: {}. {parts}{back}{frozen}{missing}. Look and decide: {}",
            what(status),
            request.spec.reason,
            command(Verb::Approve, request)
        ),
        4000,
    )
}

fn decided(request: &ChangeRequest, status: &ChangeRequestStatus, state: RequestState) -> String {
    let by = |what: Decision| {
        let such = status.decisions.iter().filter(|decision| decision.decision == what);
        such.map(|one| format!("{} ({})", one.by, one.role)).collect::<Vec<_>>().join(" and ")
    };
    let text = match state {
        RequestState::Approved => {
            let until = status.expires_time.as_ref().map(|time| instant(time.0));
            let until = until.unwrap_or_else(|| "the end of its window".to_owned());
            format!(
                "chg/{} is approved by {}: {}. Carry it out by {until}: {}",
                request.name_any(),
                by(Decision::Approve),
                what(status),
                command(Verb::Apply, request)
            )
        }
        RequestState::Rejected => format!(
            "chg/{} is rejected by {}: {}. See why: {}",
            request.name_any(),
            by(Decision::Reject),
            what(status),
            command(Verb::Show, request)
        ),
        _ => format!(
            "chg/{} was not carried out in its time: {}. If it is still needed, ask again; what it was: {}",
            request.name_any(),
            what(status),
            command(Verb::Show, request)
        ),
    };
    cut(&text, 4000)
}

fn what(status: &ChangeRequestStatus) -> String {
    let summaries: Vec<&str> = status.plan.iter().map(|planned| planned.summary.as_str()).collect();
    summaries.join("; ")
}

fn short(incidents: &[&str]) -> String {
    let digest = digest::of(&serde_json::json!(incidents)).unwrap_or_default();
    digest.rsplit(':').next().unwrap_or_default().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::{NameRef, Severity, UidRef};
    use crate::change::approval::binding::Binding;
    use crate::change::freeze::in_force::InForce;
    use crate::notify::message::Subject;
    use serde_json::json;

    fn person(user: &str) -> Person {
        serde_json::from_value(
            json!({"name": user, "user": user, "contacts": [{"channelRef": {"name": "hook"}}]}),
        )
        .unwrap()
    }

    fn request() -> ChangeRequest {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
            "metadata": {"name": "v2", "namespace": "shop", "uid": "cu"},
            "spec": {"reason": "release v2", "requester": {"user": "emil"}, "changes": []}}))
        .unwrap()
    }

    fn told(
        state: RequestState,
        lead: Option<&str>,
        status: &mut ChangeRequestStatus,
    ) -> Vec<(String, Message)> {
        let all: Vec<Person> = ["amir", "bea", "emil", "lena", "max"].map(person).into();
        let [amir, bea, emil, lena, max] = [&all[0], &all[1], &all[2], &all[3], &all[4]];
        let people = People {
            approvers: vec![amir, bea, emil],
            leads: vec![lena, max],
            everybody: all.iter().collect(),
            concerned: Audience {
                people: vec![lena.clone()],
                channels: vec![NameRef { name: "room".into() }],
            },
        };
        let incident = UidRef { name: "checkout-x7k2p".into(), uid: "iu".into() };
        let bindings = lead
            .map(|lead| Binding {
                incident,
                namespace: "shop".into(),
                severity: Severity::Sev2,
                lead: Some(lead.into()),
            })
            .into_iter()
            .collect();
        let evaluation = Evaluation { bindings, ..Evaluation::default() };
        status.state = Some(state);
        let messages = decide(&request(), status, &evaluation, &people, now());
        messages.into_iter().map(|message| (message.recipient.user.clone().unwrap(), message)).collect()
    }

    fn users(told: &[(String, Message)]) -> Vec<&str> {
        told.iter().map(|(user, _)| user.as_str()).collect()
    }

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn approvers_are_asked_once_and_never_the_requester() {
        let mut status = ChangeRequestStatus::default();
        let first = told(RequestState::Waiting, None, &mut status);
        assert_eq!(users(&first), ["amir", "bea"]);
        assert_eq!(
            told(RequestState::Waiting, None, &mut status),
            first,
            "the same keys are the same messages"
        );
        assert!(first[0].1.text.contains("kubectl mayday approve -n shop chg/v2"));
    }

    #[test]
    fn approvers_are_told_where_parts_may_be_applied() {
        let text = |partial: Partial| {
            let mut request = request();
            request.spec.partial = partial;
            waiting(&request, &ChangeRequestStatus::default(), &Evaluation::default())
        };
        let said = "Each of the values may be changed on its own.";
        assert!(text(Partial::Allowed).contains(said) && !text(Partial::Forbidden).contains(said));
    }

    #[test]
    fn nobody_is_asked_for_a_request_that_was_used() {
        let used = json!([{"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T11:55:00Z"}]);
        let mut status: ChangeRequestStatus = serde_json::from_value(json!({"used": used})).unwrap();
        assert_eq!(told(RequestState::Waiting, Some("lena"), &mut status), Vec::new());
    }

    #[test]
    fn the_lead_who_claimed_is_asked_too_and_no_other() {
        let told = told(RequestState::Waiting, Some("lena"), &mut ChangeRequestStatus::default());
        assert_eq!(users(&told), ["amir", "bea", "lena"]);
    }

    #[test]
    fn all_leads_are_asked_too_while_a_freeze_is_on() {
        let leads = [person("lena"), person("max")];
        let people = People { leads: leads.iter().collect(), ..People::default() };
        let freeze = InForce::sale(None);
        let frozen = Evaluation { freezes: vec![freeze], ..Evaluation::default() };
        let status = ChangeRequestStatus { state: Some(RequestState::Waiting), ..Default::default() };
        let messages = decide(&request(), &status, &frozen, &people, now());
        let asked: Vec<_> = messages.iter().filter_map(|message| message.recipient.user.as_deref()).collect();
        assert_eq!(asked, ["lena", "max"]);
        assert!(messages[0].text.contains("A freeze is on: frz/sale stops changes"), "{}", messages[0].text);
        assert_eq!(decide(&request(), &status, &Evaluation::default(), &people, now()), []);
    }

    #[test]
    fn the_requester_hears_the_decision_and_the_approvers_are_left_alone() {
        let mut status = ChangeRequestStatus::default();
        let asked = told(RequestState::Waiting, None, &mut status);
        let stored: Vec<Arc<Notification>> =
            asked.iter().map(|(_, message)| Arc::new(message.about(&Subject::from(&request())))).collect();
        assert_eq!(no_longer_needed(&status, &stored), []);
        let decided = told(RequestState::Approved, None, &mut status);
        assert_eq!(users(&decided), ["emil"]);
        assert_eq!(decided[0].1.purpose, Purpose::Decision);
        let ended = no_longer_needed(&status, &stored);
        assert_eq!(
            ended,
            stored.iter().map(|known| (known.name_any(), Settlement::Superseded)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_decision_of_long_ago_is_not_told_again() {
        let rejected = |time: &str| -> ChangeRequestStatus {
            let condition = json!({"type": "Rejected", "status": "True", "reason": "Rejected", "message": "m",
                "lastTransitionTime": time});
            serde_json::from_value(json!({"conditions": [condition]})).unwrap()
        };
        let count = |time: &str| told(RequestState::Rejected, None, &mut rejected(time)).len();
        assert_eq!([count("2026-11-21T12:00:01Z"), count("2026-11-21T12:00:00Z")], [1, 0]);
    }

    #[test]
    fn the_requester_hears_who_rejected_it() {
        let decision = |by: &str, decision: &str| json!({"name": by, "uid": by, "by": by, "decision": decision, "role": "peers", "time": "2026-11-22T11:55:00Z"});
        let decisions = [decision("bea", "Approve"), decision("amir", "Reject")];
        let mut status: ChangeRequestStatus =
            serde_json::from_value(json!({"decisions": decisions})).unwrap();
        let told = told(RequestState::Rejected, None, &mut status);
        let text = &told[0].1.text;
        assert!(text.starts_with("chg/v2 is rejected by amir (peers): "), "{text}");
    }

    #[test]
    fn a_use_that_was_taken_back_is_told_to_everybody_and_to_the_room() {
        let status = json!({"plan": [{"operation": "Update", "resource": "deployments", "namespace": "shop", "summary": "s",
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}],
            "used": [{"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T11:55:00Z",
                "delta": [{"path": "/spec/replicas", "before": 3, "after": 8}],
                "restoredTime": "2026-11-22T11:58:00Z", "restoredBy": "emil"}]});
        let mut status: ChangeRequestStatus = serde_json::from_value(status).unwrap();
        status.state = Some(RequestState::Spent);
        let concerned =
            Audience { people: vec![person("lena")], channels: vec![NameRef { name: "room".into() }] };
        let people = People { concerned, ..People::default() };
        let told = |now| decide(&request(), &status, &Evaluation::default(), &people, now);
        let messages = told(now());
        assert_eq!(told("2026-11-23T11:58:00Z".parse().unwrap()), [], "a day later it is no news");
        let channels: Vec<&str> = messages.iter().map(|message| message.channel.name.as_str()).collect();
        assert_eq!(channels, ["room", "hook"]);
        assert_eq!(
            messages[0].text,
            "emil took back at 2026-11-22 11:58:00 UTC what chg/v2 had let through: replicas of deployment/checkout in shop, 8 → 3. \
             That was approved with it, once. Look: kubectl mayday show -n shop chg/v2"
        );
    }
}
