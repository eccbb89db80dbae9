//! The status of a freeze, what is announced, and when that changes by itself. Pure.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::period::{self, Times};
use crate::api::change_policy::Enforcement;
use crate::api::common::{same_second, stored_time};
use crate::api::conditions::{ConditionType, Reason, is_true};
use crate::api::freeze::{FreezeSpec, FreezeStatus, Stops};
use crate::api::{ChangePolicy, Freeze};
use crate::change::policy;
use crate::cluster::conditions::{self, NotReady};
use crate::command::{Command, Verb};
use crate::text::{flat, instant};

/// How long before its start a freeze is announced.
const ANNOUNCED_BEFORE: SignedDuration = SignedDuration::from_hours(24);
/// Maximum number of namespaces in a message.
const MAX_NAMESPACES: usize = 5;
/// Maximum length of the reason in a message, in bytes.
const MAX_REASON: usize = 300;

/// The decision on a freeze.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// The status to store.
    pub status: FreezeStatus,
    /// Events to write once the status is stored: reason and note.
    pub events: Vec<(&'static str, String)>,
    /// When to decide again without a change.
    pub wake: Option<Timestamp>,
}

/// Decides the status of a freeze under its policy, if that exists.
pub fn decide(freeze: &Freeze, policy: Option<&ChangePolicy>, now: Timestamp) -> Decided {
    let spec = &freeze.spec;
    let mut status = freeze.status.clone().unwrap_or_default();
    let generation = freeze.metadata.generation.unwrap_or_default();
    let was_active = is_true(&status.conditions, ConditionType::Active);
    let read = period::times(spec, now);
    let times = read.clone().unwrap_or_default();
    let ready = match (policy, &read) {
        (None, _) => Err(NotReady::Waiting(Reason::NotFound, no_policy(spec))),
        (Some(_), Err(problem)) => {
            let message = format!("{problem}. Until that is corrected it is in force");
            Err(NotReady::Stalled(Reason::Invalid, message))
        }
        (Some(policy), Ok(_)) => Ok(accepted(spec, policy)),
    };
    conditions::ready(&mut status, generation, now, ready);
    let (is_active, reason, message) = active(freeze, policy, &read, now);
    conditions::set(
        &mut status.conditions,
        ConditionType::Active,
        is_active,
        reason,
        message.clone(),
        generation,
        now,
    );
    status.stops = Some(spec.stops.iter().map(|stops| format!("{stops:?}")).collect::<Vec<_>>().join(", "));
    status.next_start_time = times.next.and_then(|next| next.start).map(stored_time);
    let until = times.current.or(times.next).map(|period| stored_time(period.end));
    status.until_time = until.or_else(|| spec.end_time.clone().filter(|_| spec.schedule.is_none()));

    let mut events = Vec::new();
    match (was_active, is_active) {
        (false, true) => events.push(("FreezeBegan", message)),
        (true, false) => events.push(("FreezeEnded", format!("{}: {message}", ended(spec)))),
        _ => {}
    }
    let announces = policy.and_then(|policy| Some((policy, times.next?, times.next?.start?)));
    let announced_at = announces.map(|(_, _, start)| start.checked_sub(ANNOUNCED_BEFORE).unwrap_or(start));
    if let Some((policy, next, start)) = announces
        && announced_at.is_some_and(|at| at <= now)
        && !same_second(status.announced_time.as_ref(), Some(&stored_time(start)))
    {
        status.announced_time = Some(stored_time(start));
        let span = format!("from {} until {}", instant(start), instant(next.end));
        events.push(("FreezeAnnounced", format!("{span}, {}: {}", effect(spec, policy), why(spec))));
    }
    let edges =
        [times.current.map(|period| period.end), times.next.and_then(|next| next.start), announced_at];
    let wake = edges.into_iter().flatten().filter(|edge| *edge > now).min();
    Decided { status, events, wake }
}

fn no_policy(spec: &FreezeSpec) -> String {
    let name = &spec.policy_ref.name;
    format!(
        "spec.policyRef.name: there is no cpol/{name}, so it stops nothing; create it, or name one that is there: kubectl get cpol"
    )
}

/// Whether it is in force, with reason and message.
fn active(
    freeze: &Freeze,
    policy: Option<&ChangePolicy>,
    times: &Result<Times, String>,
    now: Timestamp,
) -> (bool, Reason, String) {
    let spec = &freeze.spec;
    let Some(policy) = policy else {
        return (false, Reason::NotReady, no_policy(spec));
    };
    let lift = Command::new(Verb::Unfreeze).word(freeze.name_any());
    let effect = effect(spec, policy);
    match times {
        Err(problem) => {
            let message = format!("{effect}, until its times are corrected: {problem}. Lift it: {lift}");
            (true, Reason::Invalid, message)
        }
        Ok(Times { current: Some(current), next }) => {
            let again = next.and_then(|next| next.start);
            let again = again.map(|start| format!(", and again from {}", instant(start)));
            let until = format!("until {}{}", instant(current.end), again.unwrap_or_default());
            (true, Reason::Active, format!("{effect} {until}: {}. Lift it: {lift}", why(spec)))
        }
        Ok(Times { current: None, next: Some(next) }) => {
            let start = next.start.unwrap_or(now);
            let span = format!("from {} until {}", instant(start), instant(next.end));
            (false, Reason::Scheduled, format!("{span}, {effect}: {}", why(spec)))
        }
        Ok(Times { current: None, next: None }) => {
            let end = spec.end_time.as_ref().map_or(now, |end| end.0);
            (false, Reason::Over, format!("it ended at {}", instant(end)))
        }
    }
}

/// What it does and where, as a sentence without its end.
fn effect(spec: &FreezeSpec, policy: &ChangePolicy) -> String {
    let does = match (spec.stops.contains(&Stops::Changes), spec.stops.contains(&Stops::Automation)) {
        (true, true) => "changes need a lead and a peer, and nothing starts by itself",
        (true, false) => "changes need a lead and a peer",
        _ => "nothing starts by itself",
    };
    let namespaces = policy::namespaces(policy, "");
    let place = match namespaces.len() {
        0 => "no namespace".to_owned(),
        1..=MAX_NAMESPACES => namespaces.join(", "),
        all => format!("{} and {} more", namespaces[..MAX_NAMESPACES].join(", "), all - MAX_NAMESPACES),
    };
    format!("{does} in {place} (cpol/{})", policy.name_any())
}

/// What is as before once it has ended.
fn ended(spec: &FreezeSpec) -> &'static str {
    match (spec.stops.contains(&Stops::Changes), spec.stops.contains(&Stops::Automation)) {
        (true, true) => "changes and automation go on as usual",
        (true, false) => "changes go on as usual",
        _ => "automation goes on as usual",
    }
}

fn why(spec: &FreezeSpec) -> String {
    flat(&spec.reason, MAX_REASON)
}

/// That it is accepted, and what in its policy keeps it from stopping what its author may expect.
fn accepted(spec: &FreezeSpec, policy: &ChangePolicy) -> String {
    let name = policy.name_any();
    let mut said = "accepted".to_owned();
    if spec.stops.contains(&Stops::Changes) {
        let leads = policy.spec.incident.as_ref().map_or(0, |rule| rule.leads.groups.len());
        if policy.spec.enforcement != Enforcement::Deny {
            let how = policy.spec.enforcement;
            said.push_str(&format!(
                "; but cpol/{name} refuses nothing (enforcement: {how:?}), so changes pass in spite of it"
            ));
        } else if leads == 0 {
            said.push_str(&format!(
                "; but cpol/{name} names no leads (spec.incident.leads), so nobody can approve a change meanwhile"
            ));
        }
    }
    said
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
