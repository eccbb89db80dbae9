//! Messages about a run. A run that waits tells the people it waits for. A run without an incident pages
//! people if it failed and its Runbook says so, or if its effect is unknown. The incident of any other run
//! does the paging. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::common::stored_time;
use crate::api::incident_status::Next;
use crate::api::notification::Purpose;
use crate::api::runbook_run::{RunState, RunbookRunStatus};
use crate::api::{
    BusinessService, Notification, NotificationChannel, OnCallOverride, OnCallRotation, RunbookRun,
};
use crate::command::{Command, Verb};
use crate::notify::message::Message;
use crate::notify::schedule::Settlement;
use crate::oncall::escalation::recipients;
use crate::oncall::escalation::recipients::Recipient;
use crate::runbook::run::view;
use crate::runbook::steps;
use crate::text::flat;

/// How long after the end of a run Mayday looks for a person to page.
const LOOKED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// How long after a page the run is kept in any case: the cache may not hold the Notification yet.
const SETTLING: SignedDuration = SignedDuration::from_mins(1);
/// Maximum length of the run's own text in a message, in bytes.
const MAX_WHAT: usize = 500;

/// What the messages are decided from, all of the run's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run with the status that is about to be written.
    pub run: &'a RunbookRun,
    /// The services.
    pub services: &'a [Arc<BusinessService>],
    /// The rotations.
    pub rotations: &'a [Arc<OnCallRotation>],
    /// The overrides of the rotations.
    pub overrides: &'a [Arc<OnCallOverride>],
    /// The channels.
    pub channels: &'a [Arc<NotificationChannel>],
    /// The Notifications about the run.
    pub notifications: &'a [Arc<Notification>],
}

/// The messages to send, and the Notifications that are no longer needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Messages to be stored before the status is written.
    pub messages: Vec<Message>,
    /// Notifications to be settled once the status is written, by name.
    pub settle: Vec<(String, Settlement)>,
}

/// Lists the messages that the status asks for, each once by its key, and ends those that are no longer needed.
pub fn decide(facts: &Facts, status: &mut RunbookRunStatus, now: Timestamp) -> Told {
    let uid = facts.run.uid().unwrap_or_default();
    let asked = view::waits_for(facts.run).map(|_| format!("{}/", waiting_key(&uid, status)));
    let is_asked = |key: &str| asked.as_ref().is_some_and(|asked| key.starts_with(asked));
    let is_over = |known: &&Arc<Notification>| {
        let key = &known.spec.key;
        known.is_queued() && key.starts_with(&asked_key(&uid)) && !is_asked(key)
    };
    let settle = facts.notifications.iter().filter(is_over);
    let settle = settle.map(|known| (known.name_any(), Settlement::Superseded)).collect();
    let mut messages = waiting(facts, status, now);
    // The end of a run is paged once.
    if status.paged_time.is_none() {
        let failed = failed(facts, now);
        status.paged_time = (!failed.is_empty()).then(|| stored_time(now));
        messages.extend(failed);
    }
    Told { messages, settle }
}

/// Whether a question or request for approval of the run still waits to be sent. A settled run asks no one.
pub fn asks(run: &RunbookRun, notifications: &[Arc<Notification>]) -> bool {
    let key = asked_key(&run.uid().unwrap_or_default());
    notifications.iter().any(|known| known.is_queued() && known.spec.key.starts_with(&key))
}

/// Whether a settled run must stay: it has still to page a person, or its pages wait to be sent.
pub fn is_due(run: &RunbookRun, notifications: &[Arc<Notification>], now: Timestamp) -> bool {
    let status = run.status.as_ref();
    let lasts = |from: Option<Timestamp>, length| {
        from.and_then(|from| from.checked_add(length).ok()).is_some_and(|until| now < until)
    };
    let ended = status.and_then(|status| status.end_time.as_ref()).map(|time| time.0);
    let paged = status.and_then(|status| status.paged_time.as_ref()).map(|time| time.0);
    let is_due = match paged {
        Some(paged) => lasts(Some(paged), SETTLING) || waits(run, notifications),
        None => lasts(ended, LOOKED_FOR),
    };
    failure(run).is_some() && is_due
}

/// Whether pages of the end of a run wait to be sent.
fn waits(run: &RunbookRun, notifications: &[Arc<Notification>]) -> bool {
    let key = format!("{}/", failed_key(run));
    notifications.iter().any(|known| known.is_queued() && known.spec.key.starts_with(&key))
}

fn failed_key(run: &RunbookRun) -> String {
    format!("{}/failed", run.uid().unwrap_or_default())
}

fn asked_key(uid: &str) -> String {
    format!("{uid}/asked-")
}

/// One message for each step that waits, and for the begin.
fn waiting_key(uid: &str, status: &RunbookRunStatus) -> String {
    format!("{}{}", asked_key(uid), super::parts::current(status).unwrap_or_default())
}

/// Why the end of a run without an incident is paged; `None` if it is not.
fn failure(run: &RunbookRun) -> Option<String> {
    view::escalation(run).filter(|_| run.spec.incident_ref.is_none())
}

/// The pages about the end of the run.
fn failed(facts: &Facts, now: Timestamp) -> Vec<Message> {
    let run = facts.run;
    let Some(failure) = failure(run) else { return Vec::new() };
    let namespace = run.namespace().unwrap_or_default();
    let show = Command::new(Verb::Show).namespace(namespace).on("run", &run.name_any());
    let text = format!("{failure}. It belongs to no incident: {show}");
    // A person who is on duty in several rotations gets the same keys, and one message.
    recipients::messages(&who_leads(facts, now), &failed_key(run), Purpose::Page, &text, now)
}

/// The messages to the people whom the run waits for.
fn waiting(facts: &Facts, status: &RunbookRunStatus, now: Timestamp) -> Vec<Message> {
    let run = facts.run;
    let Some(next) = view::waits_for(run) else { return Vec::new() };
    let (purpose, word) = match status.state {
        Some(RunState::WaitingForApproval) => (Purpose::ApprovalNeeded, "waits for an approval"),
        Some(RunState::WaitingForPerson) => (Purpose::Page, "asks"),
        _ => return Vec::new(),
    };
    let text = format!(
        "Runbook {} {word} (run/{}): {}. Look and decide: {}",
        run.spec.runbook_ref.name,
        run.name_any(),
        flat(&next.what, MAX_WHAT).trim_end_matches('.'),
        next.command.as_deref().unwrap_or_default()
    );
    let mut called = named(facts, next);
    if called.is_empty() {
        called = who_leads(facts, now);
    }
    recipients::messages(&called, &waiting_key(&run.uid().unwrap_or_default(), status), purpose, &text, now)
}

/// Those of the rotations whom the run names as the ones it waits for.
fn named(facts: &Facts, next: &Next) -> Vec<Recipient> {
    let words: Vec<&str> = next.who.split([' ', ',']).collect();
    let mut found: Vec<Recipient> = Vec::new();
    for person in facts.rotations.iter().flat_map(|rotation| &rotation.spec.people) {
        let is_known = found.iter().any(|known| known.user.as_ref() == Some(&person.user));
        if words.contains(&person.user.as_str()) && !is_known {
            found.push(Recipient::from(person));
        }
    }
    found
}

/// Who would lead for the services that the run is about.
fn who_leads(facts: &Facts, now: Timestamp) -> Vec<Recipient> {
    services(facts)
        .iter()
        .filter_map(|service| service.spec.rotations.as_ref())
        .flat_map(|named| {
            recipients::for_a_lead(named, facts.rotations, facts.overrides, facts.channels, now)
        })
        .collect()
}

/// The services whose objects the run is about; where it is about none, all.
fn services<'a>(facts: &Facts<'a>) -> Vec<&'a BusinessService> {
    let is_about = |service: &&BusinessService| {
        let mut targets = facts.run.status.iter().flat_map(steps::objects);
        targets.any(|target| service.spec.objects.iter().any(|object| object.same_object(target)))
    };
    let all = || facts.services.iter().map(|service| &**service);
    let found: Vec<_> = all().filter(is_about).collect();
    if found.is_empty() { all().collect() } else { found }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
