//! Pages by escalation level until a person answers. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::plan::Plan;
use super::{announcements, delivery, timeline};
use crate::api::incident_status::{IncidentStatus, MAYDAY};
use crate::api::runbook_run::RunState;
use crate::api::{Incident, RunbookRun};
use crate::oncall::escalation;
use crate::runbook::automation_limits;
use crate::runbook::run::view;

/// How long a page waits for the signal of the source that opened the incident.
const SIGNAL_WAIT: SignedDuration = SignedDuration::from_secs(2);

/// Pages whom the escalation names now, and ends the pages that are answered.
pub fn page(incident: &Incident, facts: &IncidentFacts, plan: &mut Plan, now: Timestamp) {
    if let Some(until) = waits_for_signal(incident, &plan.status).filter(|until| now < *until) {
        plan.wake_at(Some(until));
        return;
    }
    let finding = finding(&plan.status);
    let done = done(incident, facts, &plan.status, &plan.start);
    let current = plan.applied_to(incident);
    let paging = escalation::decide(
        &escalation::Facts {
            incident: &current,
            notifications: &facts.notifications,
            rotations: &facts.rotations,
            overrides: &facts.overrides,
            channels: &facts.channels,
            finding: finding.as_deref(),
            done: &done,
        },
        now,
    );
    plan.wake_at(paging.wake);
    for note in &paging.notes {
        timeline::add(&mut plan.status, now, MAYDAY, note);
        plan.events.push(("Paging", note.clone()));
    }
    announcements::remember(&mut plan.status, &paging.messages);
    plan.status.escalation = paging.escalation;
    plan.status.page_delivery = delivery::of(incident, &plan.status, &facts.notifications);
    plan.messages.extend(paging.messages);
    plan.settle.extend(paging.settle);
}

/// Until when a page waits for the signal: a source stores it a moment after the incident, and the page quotes it.
/// `None` if there is nothing to wait for.
fn waits_for_signal(incident: &Incident, status: &IncidentStatus) -> Option<Timestamp> {
    let by_a_source = incident.spec.detection.as_ref()?.method.is_by_a_source();
    let created = incident.metadata.creation_timestamp.as_ref()?.0;
    (by_a_source && status.signals.is_empty()).then(|| created.checked_add(SIGNAL_WAIT).ok())?
}

/// How Mayday detected the outage, in a few words: `not available for 20 s`.
fn finding(status: &IncidentStatus) -> Option<String> {
    // Firing signals come first: they say what is wrong now.
    let first =
        status.signals.iter().min_by_key(|signal| (signal.end_time.is_some(), signal.start_time.0))?;
    let detected = status.detected_time.as_ref()?.0;
    let held = detected.duration_since(first.start_time.0).as_secs().max(0);
    if first.name.ends_with("Available is False") {
        return Some(format!("not available for {held} s"));
    }
    Some(first.summary.clone().unwrap_or_else(|| first.name.clone()))
}
/// What Mayday has done so far, as a sentence for the page.
fn done(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus, start: &[RunbookRun]) -> String {
    let name = incident.name_any();
    // Only runs that started since the last relapse; a dry run does nothing, and a held run has not started.
    let since = status.out_since().filter(|_| status.relapses > 0).map(|time| time.0);
    let began = |run: &&Arc<RunbookRun>| {
        let start = run.status.as_ref()?.start_time.as_ref()?.0;
        let counts = run.is_for(&name) && run.is_repair() && since.is_none_or(|since| start >= since);
        counts.then_some(start)
    };
    let latest = facts.runs.iter().filter(|run| began(run).is_some()).max_by_key(|run| began(run));
    let limits = automation_limits::in_namespace(&facts.policies, &incident.namespace().unwrap_or_default());
    let asks = |run: &RunbookRun| {
        let mut named = facts.runbooks.iter().filter(|known| known.name_any() == run.spec.runbook_ref.name);
        named.any(|runbook| limits.asks_per_run(runbook.spec.approval, false))
    };
    let starting = start.first();
    if let Some(run) = starting.filter(|run| !asks(run)).or(latest.map(|run| &**run)) {
        return format!("Runbook {} has been started.", run.spec.runbook_ref.name);
    }
    let waits = |run: &RunbookRun, what: &str| {
        format!("Mayday has changed nothing: runbook {} waits for {what}.", run.spec.runbook_ref.name)
    };
    if let Some(run) = starting {
        return waits(run, "an approval");
    }
    let mut mine = facts.runs.iter().filter(|run| run.is_for(&name) && run.is_repair());
    if let Some((run, next)) = mine.find_map(|run| Some((run, view::waits_for(run)?))) {
        let state = run.status.as_ref().and_then(|status| status.state);
        return match state {
            Some(RunState::WaitingForApproval) => waits(run, "an approval"),
            _ => waits(run, &format!("this: {}", next.what)),
        };
    }
    match status.runbooks.iter().find_map(|runbook| Some((&runbook.name, runbook.blocked.as_ref()?))) {
        Some((name, why)) => format!("Mayday has changed nothing: runbook {name} fits, but {why}."),
        None if status.runbooks.is_empty() => {
            "Mayday has changed nothing: no approved runbook fits.".to_owned()
        }
        None => format!(
            "Mayday has changed nothing: runbook {} fits and waits for a person.",
            status.runbooks[0].name
        ),
    }
}
#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_names_only_a_run_that_has_started() {
        let incident = Incident::new("i", Default::default());
        let told = |run: serde_json::Value| {
            let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
                "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "i"}},
                "status": {"startTime": "2026-11-22T02:00:00Z"}});
            json_patch::merge(&mut whole, &run);
            let facts = IncidentFacts {
                runs: vec![Arc::new(serde_json::from_value(whole).unwrap())],
                ..IncidentFacts::default()
            };
            done(&incident, &facts, &IncidentStatus::default(), &[])
        };
        assert_eq!(told(json!({})), "Runbook rb has been started.");
        for nothing in [json!({"spec": {"dryRun": true}}), json!({"status": {"startTime": null}})] {
            assert!(told(nothing).starts_with("Mayday has changed nothing"));
        }
        for (state, why) in [("WaitingForApproval", "an approval"), ("Blocked", "this: rb/rb is suspended")] {
            let next = json!({"who": "nobody", "what": "rb/rb is suspended"});
            let held = json!({"status": {"startTime": null, "state": state, "next": next}});
            assert_eq!(told(held), format!("Mayday has changed nothing: runbook rb waits for {why}."));
        }
    }

    #[test]
    fn a_run_that_needs_its_own_approval_is_not_called_started() {
        let told = |approval: &str| {
            let runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "rb"},
                "spec": {"summary": "s", "serviceAccountName": "sa", "approval": approval, "steps": []}});
            let policy = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "p"},
                "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                    "automation": {"start": "Automatic", "approval": "Standing"}}});
            let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
                "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "i"}}});
            let facts = IncidentFacts {
                runbooks: vec![Arc::new(serde_json::from_value(runbook).unwrap())],
                policies: vec![Arc::new(serde_json::from_value(policy).unwrap())],
                ..IncidentFacts::default()
            };
            let start = [serde_json::from_value(run).unwrap()];
            let mut incident = Incident::new("i", Default::default());
            incident.metadata.namespace = Some("shop".to_owned());
            done(&incident, &facts, &IncidentStatus::default(), &start)
        };
        assert_eq!(told("Standing"), "Runbook rb has been started.");
        assert_eq!(told("PerRun"), "Mayday has changed nothing: runbook rb waits for an approval.");
    }
}
