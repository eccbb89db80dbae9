//! What follows from what is known of an incident. Pure: reading this is understanding the kind.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::facts::Facts;
use super::timeline;
use super::{changes, checks, duplicates, next, recovery, relapse, run_failures, stakeholders};
use crate::api::common::{NameRef, UidRef};
use crate::api::incident_status::MAYDAY;
use crate::api::incident_status::{IncidentStatus, ServiceCopy};
use crate::api::runbook_run::RunState;
use crate::api::{Incident, RunbookRun};
use crate::cluster::conditions::{self, NotReady, seconds};
use crate::incident::{announcements, handoff, roles, staleness};
use crate::oncall::escalation;
use crate::report;
use crate::runbook::run::view;
use crate::runbook::{automation_limits, matching};

/// Most runs that are remembered, as the schema allows.
const RUNS: usize = 50;
/// How long a page waits for what the source saw.
const SIGNAL_DUE: SignedDuration = SignedDuration::from_secs(2);

/// What follows.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The status to be written.
    pub status: IncidentStatus,
    /// What the spec takes over from duplicates, as a merge patch. Once it is written everything is decided again; what
    /// else is planned is for when it cannot be written.
    pub takeover: Option<Value>,
    /// Runs to be created once the status is written; their names are the lock.
    pub start: Vec<RunbookRun>,
    /// Events: reason and note.
    pub events: Vec<(&'static str, String)>,
    /// When to decide again although nothing changes.
    pub wake: Option<Timestamp>,
}

/// Decides.
pub fn decide(incident: &Incident, facts: &Facts, now: Timestamp) -> Plan {
    let mut status = incident.status.clone().unwrap_or_default();
    let before = status.state;
    let is_new = before.is_none();
    open(incident, facts, &mut status, now);
    roles::record(incident, facts, &mut status, now);
    timeline::tell_severity(incident, &mut status, now);
    timeline::tell_notes(incident, &mut status, now);
    let mut plan = Plan::default();
    let taken = duplicates::untaken(incident, &status, facts);
    plan.takeover = duplicates::takeover(incident, &status, &taken);
    if plan.takeover.is_none() {
        for note in duplicates::remember(incident, &mut status, &taken) {
            timeline::add(&mut status, now, MAYDAY, &note);
        }
    }
    is_duplicate(incident, facts, &mut status, now);

    recovery::relapse(incident, &mut status, now);
    is_relapse(incident, facts, &mut status, now);
    let given = checks::of(incident, &status);
    // What is over stays as it was: what happens to the service afterwards is another story.
    if status.resolved.is_none() && status.duplicate_of.is_none() {
        let (seen, soon) = checks::evaluate(incident, facts, &status, &given, now);
        status.checks = seen;
        status.changes = changes::known(incident, facts, &status);
        let proved =
            recovery::advance(incident, &mut status, checks::stable_for(&given), facts.observed_since, now);
        let (_, silent) = staleness::stale(&status, facts, now);
        plan.wake = earliest([soon, proved, silent]);
    }
    let state = recovery::state(incident, &status, next::is_remediating(incident, facts));
    status.state = Some(state);

    let mut fields = checks::not_implemented(&given);
    fields.extend(incident.spec.review.iter().flat_map(report::not_implemented));
    let ready = match fields.as_slice() {
        [] => Ok("The incident is being worked on; status.next says by whom".to_owned()),
        fields => Err(NotReady::not_implemented(fields)),
    };
    let generation = incident.metadata.generation.unwrap_or_default();
    conditions::ready(&mut status, generation, now, ready);
    recovery::conditions(&mut status, facts, generation, now);
    status.runs = runs(incident, facts, &status.runs);

    // What another incident is about to take over is not worked on twice.
    if duplicates::original(incident, facts).is_none() {
        if state.is_open() {
            repair(incident, facts, &mut status, &mut plan, now);
        }
        page(incident, facts, &mut status, &mut plan, now);
        if state.is_open() {
            run_failures::page(incident, facts, &mut status, now);
            handoff::page(incident, facts, &mut status, now);
        }
        let said = stakeholders::decide(incident, facts, &status, now);
        stakeholders::end_drafts(&mut status, &said);
        for (what, messages) in said {
            announcements::once(&mut status, &what, messages);
        }
    }

    let proved_at = recovery::proved_at(&status, checks::stable_for(&given), facts.observed_since);
    let promised = stakeholders::promised(incident, facts, &status, now).filter(|_| state.is_open());
    plan.wake = earliest([plan.wake, promised.filter(|promised| *promised > now)]);
    let overdue = promised.filter(|promised| *promised <= now);
    status.next = next::decide(incident, facts, &status, state, proved_at, overdue);
    status.waiting_on = status.next.as_ref().map(next::waiting_on);
    // The report of an end speaks of it as the end; one that came back has none.
    let stored = status.reports.take();
    if !state.is_open() {
        let ended = with(incident, &status);
        let known = report::Facts { incident: &ended, requests: &facts.requests, runs: &facts.runs };
        let told = incident.status.as_ref().map(|status| status.observed_generation);
        status.reports = Some(report::reports(&known, stored, told != Some(generation)));
    }
    if is_new {
        plan.events.push(("Opened", format!("{} {}", incident.spec.severity, incident.spec.title)));
    } else if before != Some(state) {
        plan.events.push((
            "StateChanged",
            format!("{state}: {}", status.waiting_on.as_deref().unwrap_or("nothing left to do")),
        ));
    }
    plan.status = status;
    plan
}

/// What is taken down when an incident opens.
fn open(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, now: Timestamp) {
    let detection = incident.spec.detection.as_ref();
    if status.detected_time.is_none() {
        let created = incident.metadata.creation_timestamp.clone().unwrap_or_else(|| seconds(now));
        let detected = detection.and_then(|detection| detection.time.clone()).unwrap_or(created);
        // A clock that is ahead has found nothing of the future.
        let detected = seconds(detected.0.min(now));
        let method = detection.map(|detection| detection.method).unwrap_or_default();
        let reporter =
            detection.and_then(|detection| detection.reporter.clone()).unwrap_or_else(|| "staff".to_owned());
        timeline::add(
            status,
            detected.0,
            &reporter,
            &format!("reported ({method:?}): {}", incident.spec.title),
        );
        status.detected_time = Some(detected);
    }
    let first = status.signals.iter().map(|signal| signal.start_time.clone()).min_by_key(|time| time.0);
    let start = incident.spec.start_time.clone().or(first);
    // What is known has begun, whatever the clock of who says so.
    let before = status.start_time.clone();
    status.start_time = start.into_iter().chain(status.detected_time.clone()).min_by_key(|time| time.0);
    timeline::tell_start(incident, status, before.as_ref(), now);
    // What is over stays as it was.
    if status.service.is_none() && status.resolved.is_none() && status.duplicate_of.is_none() {
        status.service = facts.service(incident).map(|service| ServiceCopy {
            r#ref: UidRef { name: service.name_any(), uid: service.uid().unwrap_or_default() },
            title: service.spec.title.clone(),
            objects: service.spec.objects.clone(),
            impact: service.spec.impact.clone(),
            public_summary: service.spec.public_summary.clone(),
            rotations: service.spec.rotations.clone(),
            stakeholders: service.spec.stakeholders.clone(),
            bridge: service.spec.bridge.clone(),
            return_to_service: service.spec.return_to_service.clone(),
        });
    }
}

/// Notes which earlier outage has come back with this one.
fn is_relapse(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, now: Timestamp) {
    if status.relapse_of.is_some() || status.resolved.is_some() {
        return;
    }
    let Some(earlier) = relapse::of(incident, status, facts) else { return };
    let name = earlier.name_any();
    timeline::add(status, now, MAYDAY, &format!("the outage of inc/{name}, which was over, has come back"));
    status.relapse_of = Some(NameRef { name });
}

/// Notes that another incident has taken this one over; its timeline goes on there.
fn is_duplicate(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, now: Timestamp) {
    let Some(original) = duplicates::duplicate_of(incident, facts) else { return };
    if status.duplicate_of.is_none() {
        let name = &original.name;
        timeline::add(
            status,
            now,
            MAYDAY,
            &format!("inc/{name} is older and about the same outage: it goes on there"),
        );
    }
    status.duplicate_of = Some(original);
}

/// Its runs, oldest first, of those the newest. Those that somebody has deleted are remembered in front: they have run.
fn runs(incident: &Incident, facts: &Facts, known: &[NameRef]) -> Vec<NameRef> {
    let name = incident.name_any();
    let is_mine = |run: &&Arc<RunbookRun>| run.is_for(&name);
    let mut found: Vec<_> = facts
        .runs
        .iter()
        .filter(is_mine)
        .map(|run| (run.metadata.creation_timestamp.as_ref().map(|time| time.0), run.name_any()))
        .collect();
    found.sort();
    let found: Vec<NameRef> = found.into_iter().map(|(_, name)| NameRef { name }).collect();
    let mut runs: Vec<NameRef> = known.iter().filter(|run| !found.contains(run)).cloned().collect();
    runs.extend(found);
    let surplus = runs.len().saturating_sub(RUNS);
    runs.drain(..surplus);
    runs
}

/// The Runbooks that match, and those that start by themselves.
fn repair(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, plan: &mut Plan, now: Timestamp) {
    let current = with(incident, status);
    let found = matching::decide(
        &matching::Facts {
            incident: &current,
            runbooks: &facts.runbooks,
            runs: &facts.runs,
            policies: &facts.policies,
        },
        now,
    );
    for run in &found.start {
        timeline::add(
            status,
            now,
            MAYDAY,
            &format!("starts runbook {} (run/{})", run.spec.runbook_ref.name, run.name_any()),
        );
    }
    status.runbooks = found.runbooks;
    plan.start = found.start;
    plan.wake = earliest([plan.wake, found.wake]);
}

/// Pages by level until somebody answers.
fn page(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, plan: &mut Plan, now: Timestamp) {
    if let Some(until) = signal_due(incident, status).filter(|until| now < *until) {
        plan.wake = earliest([plan.wake, Some(until)]);
        return;
    }
    let finding = finding(status);
    let done = done(incident, facts, status, plan);
    let current = with(incident, status);
    let paging = escalation::decide(
        &escalation::Facts {
            incident: &current,
            rotations: &facts.rotations,
            overrides: &facts.overrides,
            channels: &facts.channels,
            finding: finding.as_deref(),
            done: &done,
        },
        now,
    );
    plan.wake = earliest([plan.wake, paging.wake]);
    for note in &paging.notes {
        timeline::add(status, now, MAYDAY, note);
        plan.events.push(("Paging", note.clone()));
    }
    paging.apply(status);
}

/// Until when a page waits for what the source saw: sources store their signal a moment after the incident, and
/// whoever is woken should read it. Absent if there is nothing to wait for.
fn signal_due(incident: &Incident, status: &IncidentStatus) -> Option<Timestamp> {
    let by_a_source = incident.spec.detection.as_ref()?.method.is_by_a_source();
    let created = incident.metadata.creation_timestamp.as_ref()?.0;
    (by_a_source && status.signals.is_empty()).then(|| created.checked_add(SIGNAL_DUE).ok())?
}

/// How Mayday knows, in a few words: `not available for 20 s`.
fn finding(status: &IncidentStatus) -> Option<String> {
    // What fires says what is wrong now; only where nothing does any more, what fired.
    let first =
        status.signals.iter().min_by_key(|signal| (signal.end_time.is_some(), signal.start_time.0))?;
    let detected = status.detected_time.as_ref()?.0;
    let held = detected.duration_since(first.start_time.0).as_secs().max(0);
    if first.name.ends_with("Available is False") {
        return Some(format!("not available for {held} s"));
    }
    Some(first.summary.clone().unwrap_or_else(|| first.name.clone()))
}

/// What Mayday has done, as a sentence.
fn done(incident: &Incident, facts: &Facts, status: &IncidentStatus, plan: &Plan) -> String {
    let name = incident.name_any();
    // What began this time: a trial did nothing, nor did what is held back.
    let since = status.out_since().filter(|_| status.relapses > 0).map(|time| time.0);
    let began = |run: &&Arc<RunbookRun>| {
        let start = run.status.as_ref()?.start_time.as_ref()?.0;
        let counts = run.is_for(&name) && !run.spec.dry_run && since.is_none_or(|since| start >= since);
        counts.then_some(start)
    };
    let latest = facts.runs.iter().filter(|run| began(run).is_some()).max_by_key(|run| began(run));
    let ceiling = automation_limits::over(&facts.policies, &incident.namespace().unwrap_or_default());
    let asks = |run: &RunbookRun| {
        let mut named = facts.runbooks.iter().filter(|known| known.name_any() == run.spec.runbook_ref.name);
        named.any(|runbook| ceiling.asks_per_run(runbook.spec.approval, false))
    };
    let starting = plan.start.first();
    if let Some(run) = starting.filter(|run| !asks(run)).or(latest.map(|run| &**run)) {
        return format!("Runbook {} has been started.", run.spec.runbook_ref.name);
    }
    let waits = |run: &RunbookRun, what: &str| {
        format!("Mayday has changed nothing: runbook {} waits for {what}.", run.spec.runbook_ref.name)
    };
    if let Some(run) = starting {
        return waits(run, "an approval");
    }
    let mut mine = facts.runs.iter().filter(|run| run.is_for(&name) && !run.spec.dry_run);
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

fn with(incident: &Incident, status: &IncidentStatus) -> Incident {
    let mut current = incident.clone();
    current.status = Some(status.clone());
    current
}

fn earliest<const N: usize>(times: [Option<Timestamp>; N]) -> Option<Timestamp> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::incident_status::Stamped;

    #[test]
    fn a_page_says_what_has_begun_and_nothing_else() {
        let incident = Incident::new("i", Default::default());
        let told = |run: serde_json::Value| {
            let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
                "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "i"}},
                "status": {"startTime": "2026-11-22T02:00:00Z"}});
            json_patch::merge(&mut whole, &run);
            let facts =
                Facts { runs: vec![Arc::new(serde_json::from_value(whole).unwrap())], ..Facts::default() };
            done(&incident, &facts, &IncidentStatus::default(), &Plan::default())
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
    fn a_run_that_needs_an_approval_of_its_own_is_not_told_as_started() {
        let told = |approval: &str| {
            let runbook = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "rb"},
                "spec": {"summary": "s", "serviceAccountName": "sa", "approval": approval, "steps": []}});
            let policy = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "p"},
                "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
                    "automation": {"start": "Automatic", "approval": "Standing"}}});
            let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r"},
                "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": "i"}}});
            let facts = Facts {
                runbooks: vec![Arc::new(serde_json::from_value(runbook).unwrap())],
                policies: vec![Arc::new(serde_json::from_value(policy).unwrap())],
                ..Facts::default()
            };
            let plan = Plan { start: vec![serde_json::from_value(run).unwrap()], ..Plan::default() };
            let mut incident = Incident::new("i", Default::default());
            incident.metadata.namespace = Some("shop".to_owned());
            done(&incident, &facts, &IncidentStatus::default(), &plan)
        };
        assert_eq!(told("Standing"), "Runbook rb has been started.");
        assert_eq!(told("PerRun"), "Mayday has changed nothing: runbook rb waits for an approval.");
    }

    #[test]
    fn a_service_that_is_made_later_does_not_reach_what_is_over_and_nothing_was_found_in_the_future() {
        let service = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "BusinessService",
            "metadata": {"name": "checkout", "uid": "cu"}, "spec": {"title": "Checkout"}});
        let facts =
            Facts { services: vec![Arc::new(serde_json::from_value(service).unwrap())], ..Facts::default() };
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let opened = |resolved: bool| {
            let spec = json!({"title": "t", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}],
                "detection": {"method": "Customer", "time": "2999-01-01T00:00:00Z"}});
            let incident = Incident::new("i", serde_json::from_value(spec).unwrap());
            let end = Stamped { user: "mayday".to_owned(), time: seconds(now) };
            let mut status =
                IncidentStatus { resolved: resolved.then_some(end), ..IncidentStatus::default() };
            open(&incident, &facts, &mut status, now);
            status
        };
        assert!(opened(false).service.is_some() && opened(true).service.is_none());
        assert_eq!(opened(false).detected_time.unwrap().0, now);
    }

    #[test]
    fn a_run_that_somebody_deleted_is_remembered_for_it_has_run() {
        let incident: Incident = serde_json::from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i", "uid": "u"},
            "spec": {"title": "t", "severity": "SEV2"}
        }))
        .unwrap();
        let run = |name: &str, incident: &str| -> Arc<RunbookRun> {
            Arc::new(
                serde_json::from_value(json!({
                    "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": name},
                    "spec": {"runbookRef": {"name": "rb"}, "incidentRef": {"name": incident}}
                }))
                .unwrap(),
            )
        };
        let facts = Facts { runs: vec![run("b", "i"), run("a", "i"), run("c", "other")], ..Facts::default() };
        let names = |known: &[&str]| -> Vec<String> {
            let known: Vec<NameRef> = known.iter().map(|name| NameRef { name: (*name).to_owned() }).collect();
            runs(&incident, &facts, &known).into_iter().map(|run| run.name).collect()
        };
        assert_eq!(names(&[]), ["a", "b"]);
        assert_eq!(names(&["deleted", "a"]), ["deleted", "a", "b"]);
        assert_eq!(names(&["a", "deleted", "b"]), ["deleted", "a", "b"]);

        // Too many are the same ones in each look, or each look would write what the one before has undone.
        let many = (0..RUNS + 2).map(|number| run(&format!("{number:03}"), "i")).collect();
        let facts = Facts { runs: many, ..Facts::default() };
        let first = runs(&incident, &facts, &[]);
        assert_eq!(first.len(), RUNS);
        assert_eq!(runs(&incident, &facts, &first), first);
    }
}
