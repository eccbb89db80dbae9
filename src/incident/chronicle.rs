//! What other objects tell of an outage, as entries of its timeline: runs, requests, decisions, changes, messages. Each is
//! told once, when it has happened, never when it was only decided on. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::facts::IncidentFacts;
use super::{changes, runbooks, timeline};
use crate::api::approval::{CountedDecision, Decision};
use crate::api::change_request::RequestState;
use crate::api::conditions::{ConditionType, find};
use crate::api::incident::Audience;
use crate::api::incident_status::{IncidentStatus, KnownChange, MAYDAY, PEOPLE};
use crate::api::notification::{NotificationState, Purpose};
use crate::api::runbook_run::{Outcome, RunState};
use crate::api::{ChangeRequest, Incident, Notification, RunbookRun};
use crate::text::flat;

/// Maximum number of keys, as the schema allows. Beyond that nothing further is told, and none is told twice.
const MAX_TOLD: usize = 500;
/// Longest part of an entry that repeats what somebody wrote, in bytes.
const PART: usize = 300;

/// Something that has happened.
#[derive(Debug)]
struct Entry {
    /// What makes it one event.
    key: String,
    time: Timestamp,
    who: String,
    what: String,
}

/// Adds what has happened and is not told yet.
pub fn add(incident: &Incident, facts: &IncidentFacts, status: &mut IncidentStatus, now: Timestamp) {
    let mut found = updates(incident, now);
    for run in facts.runs.iter().filter(|run| runbooks::is_of(run, incident, facts, status)) {
        found.extend(of_run(run, now));
        // Also what it did elsewhere: a node, a Job, a request.
        found.extend(changes::of_run(run, &|_| true).map(changed));
    }
    for request in facts.requests.iter().filter(|request| is_of(request, incident, status)) {
        found.extend(of_request(request, now));
    }
    found.extend(made(incident, facts, status));
    found.extend(answers(status));
    found.extend(facts.notifications.iter().filter_map(|notification| of_notification(notification, now)));
    for entry in found {
        once(status, &entry.key, entry.time.min(now), &entry.who, &entry.what);
    }
}

/// Adds an entry unless one with this key was added before.
pub fn once(status: &mut IncidentStatus, key: &str, time: Timestamp, who: &str, what: &str) {
    let key: String = Sha256::digest(key).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    if status.told.contains(&key) || status.told.len() >= MAX_TOLD {
        return;
    }
    status.told.push(key);
    timeline::add(status, time, who, what);
}

/// Updates that people wrote. Whether anybody was told is an entry of its own.
fn updates(incident: &Incident, now: Timestamp) -> Vec<Entry> {
    let speaker = incident.spec.roles.as_ref().and_then(|roles| roles.communications.as_ref());
    let speaker = speaker.map(|speaker| speaker.user.as_str()).or(incident.lead()).unwrap_or(PEOPLE);
    let entry = |(index, update): (usize, &crate::api::incident::Update)| {
        let whom = match update.audience {
            Audience::Internal => "to stakeholders",
            Audience::External => "to the public",
        };
        let text = update.text.as_deref().map_or_else(|| "the summary".to_owned(), |text| flat(text, PART));
        Entry {
            key: format!("update/{index}"),
            time: now,
            who: update.by.as_ref().map_or(speaker, |by| by.user.as_str()).to_owned(),
            what: format!("wrote {whom}: {text}"),
        }
    };
    incident.spec.updates.iter().enumerate().map(entry).collect()
}

fn of_run(run: &Arc<RunbookRun>, now: Timestamp) -> Vec<Entry> {
    let name = format!("run/{}", run.name_any());
    let runbook = &run.spec.runbook_ref.name;
    let uid = run.uid().unwrap_or_else(|| name.clone());
    let created = run.creation_timestamp().map_or(now, |time| time.0);
    let status = run.status.clone().unwrap_or_default();
    let what = match run.spec.dry_run {
        true => format!("asked what runbook {runbook} would do ({name})"),
        false => format!("started runbook {runbook} ({name})"),
    };
    let mut found =
        vec![Entry { key: format!("{uid}/start"), time: created, who: starter(run).to_owned(), what }];
    found.extend(status.decisions.iter().map(|decision| decided(decision, &name)));
    let questions = status.steps.iter().filter_map(|step| Some((step, step.answered.as_ref()?)));
    found.extend(questions.map(|(step, by)| Entry {
        key: format!("{uid}/answer/{}", step.name),
        time: by.time.0,
        who: by.user.clone(),
        what: format!("answered step {} of {name}", step.name),
    }));
    let state = status.state.unwrap_or_default();
    if state.is_settled() && !run.spec.dry_run {
        let ended = find(&status.conditions, ConditionType::Succeeded);
        let why = ended.map(|ended| flat(&ended.message, PART)).filter(|why| !why.is_empty());
        let word = match state {
            RunState::Succeeded => "has succeeded",
            RunState::Cancelled => "was cancelled",
            RunState::Unknown => "has an outcome that nobody can prove",
            _ => "has failed",
        };
        let why =
            why.filter(|_| state != RunState::Succeeded).map_or_else(String::new, |why| format!(": {why}"));
        found.push(Entry {
            key: format!("{uid}/end"),
            time: status.end_time.as_ref().map_or(now, |time| time.0),
            who: MAYDAY.to_owned(),
            what: format!("{name}{} {word}{why}", acting(run)),
        });
    }
    found
}

/// As whom a run has acted, if it has.
fn acting(run: &RunbookRun) -> String {
    let mut acts = run.status.iter().flat_map(|status| &status.steps).flat_map(|step| &step.acts);
    let acted = acts.find(|act| act.outcome.is_some_and(Outcome::had_effect));
    let account = acted.and_then(|act| act.actor.rsplit(':').next());
    account.map_or_else(String::new, |account| format!(", acting as serviceaccount/{account},"))
}

/// Who started a run: the person, or Mayday by itself.
fn starter(run: &RunbookRun) -> &str {
    let starter = run.spec.started_by.as_ref().map(|starter| starter.user.as_str());
    starter.filter(|user| !user.starts_with("system:serviceaccount:")).unwrap_or(MAYDAY)
}

/// Whether a request belongs to the outage: it names or is bound by the incident, or was asked for since then and changes
/// what is affected.
pub fn is_of(request: &ChangeRequest, incident: &Incident, status: &IncidentStatus) -> bool {
    let spec = &request.spec;
    let names = spec.incident_ref.as_ref().is_some_and(|named| named.name == incident.name_any());
    let is_bound = request.status.iter().flat_map(|status| &status.incidents);
    let is_bound =
        incident.uid().is_some_and(|uid| is_bound.map(|bound| &bound.uid).any(|bound| *bound == uid));
    let is_own = |target: &crate::api::common::ObjectRef| {
        target.kind == "Incident" && target.group() == crate::api::GROUP && target.name == incident.name_any()
    };
    let affected = changes::affected(incident, status);
    let mut targets = spec.changes.iter().filter_map(|change| change.target.as_ref());
    let is_about =
        targets.any(|target| is_own(target) || affected.iter().any(|object| object.same_object(target)));
    let since = status.start_time.as_ref().map(|time| time.0);
    let is_during =
        request.creation_timestamp().zip(since).is_some_and(|(created, since)| created.0 >= since);
    names || is_bound || (is_about && is_during)
}

fn of_request(request: &Arc<ChangeRequest>, now: Timestamp) -> Vec<Entry> {
    let name = format!("chg/{}", request.name_any());
    let uid = request.uid().unwrap_or_else(|| name.clone());
    let requester = request.spec.requester.as_ref().map_or(PEOPLE, |requester| requester.user.as_str());
    let mut found = vec![Entry {
        key: format!("{uid}/asked"),
        time: request.creation_timestamp().map_or(now, |time| time.0),
        who: requester.to_owned(),
        what: format!("asked for {name}: {}", flat(&request.spec.reason, PART)),
    }];
    let status = request.status.clone().unwrap_or_default();
    found.extend(status.decisions.iter().map(|decision| decided(decision, &name)));
    let ended = match status.state {
        Some(RequestState::Withdrawn) => Some("was withdrawn"),
        Some(RequestState::Expired) => Some("has expired"),
        Some(RequestState::Stale) => Some("is stale: its target has changed since it was asked for"),
        _ => None,
    };
    found.extend(ended.map(|what| Entry {
        key: format!("{uid}/end"),
        time: now,
        who: MAYDAY.to_owned(),
        what: format!("{name} {what}"),
    }));
    found
}

fn decided(decision: &CountedDecision, subject: &str) -> Entry {
    let verb = match decision.decision {
        Decision::Approve => "approved",
        Decision::Reject => "rejected",
        Decision::Confirm => "confirmed",
        Decision::Deny => "denied",
    };
    let role = if decision.role == "lead" { " as lead" } else { "" };
    Entry {
        key: format!("appr/{}", decision.uid),
        time: decision.time.0,
        who: decision.by.clone(),
        what: format!("{verb} {subject}{role}"),
    }
}

/// Changes of what is affected, from the beginning of the outage on.
fn made(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> Vec<Entry> {
    let Some(since) = status.start_time.as_ref().map(|time| time.0) else { return Vec::new() };
    let known = changes::all(incident, facts, status).into_iter().filter(|change| change.time.0 >= since);
    known.map(changed).collect()
}

fn changed(change: KnownChange) -> Entry {
    let subject = change.subject.as_ref().map(|subject| format!(" ({subject})")).unwrap_or_default();
    Entry {
        key: format!("change/{}/{}/{}", change.time.0, change.by, change.what),
        time: change.time.0,
        who: change.by,
        what: format!("changed: {}{subject}", flat(&change.what, PART)),
    }
}

/// Answers to the questions of checks.
fn answers(status: &IncidentStatus) -> Vec<Entry> {
    let answered = status.checks.iter().filter_map(|check| Some((check, check.answered.as_ref()?)));
    let entry =
        |(check, by): (&crate::api::incident_status::CheckStatus, &crate::api::incident_status::Stamped)| {
            Entry {
                key: format!("answer/{}/{}/{}", check.name, by.user, by.time.0),
                time: by.time.0,
                who: by.user.clone(),
                what: format!("answered {}: {}", check.name, flat(&check.message, PART)),
            }
        };
    answered.map(entry).collect()
}

/// What became of a message; `None` while nothing has.
fn of_notification(notification: &Arc<Notification>, now: Timestamp) -> Option<Entry> {
    let spec = &notification.spec;
    let status = notification.status.as_ref()?;
    let (reader, channel) = (&spec.recipient, &spec.channel_ref.name);
    let whom = match &reader.user {
        Some(_) => format!("{} by {channel}", reader.name),
        None => channel.clone(),
    };
    let verb = if spec.purpose == Purpose::Page { "paged" } else { "told" };
    let error = status.error.as_deref().map(|error| flat(error, PART));
    let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let (event, time, what) = match status.state {
        NotificationState::Sent => {
            let text = match spec.purpose {
                Purpose::Stakeholders => format!(": {}", flat(&spec.text, PART)),
                _ => String::new(),
            };
            let time = status.sent_time.as_ref().map_or(now, |time| time.0);
            ("sent", time, format!("{verb} {whom}{text}"))
        }
        NotificationState::Queued => {
            error.as_ref()?;
            ("error", now, format!("{whom} could not be {verb} yet{why}; Mayday tries again"))
        }
        NotificationState::Failed | NotificationState::Expired => {
            ("failed", now, format!("{whom} was not {verb}{why}"))
        }
        NotificationState::Superseded => return None,
    };
    let key = format!("ntf/{}/{event}", notification.name_any());
    Some(Entry { key, time, who: MAYDAY.to_owned(), what })
}

#[cfg(test)]
#[path = "chronicle_tests.rs"]
mod tests;
