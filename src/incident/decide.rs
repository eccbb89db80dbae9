//! What follows from the facts of an incident: `PHASES`, one after the other, over one draft. Pure.
//!
//! Reading the list is reading a reconcile. Each phase is a short function below it that says what it needs from earlier
//! phases and what it writes; the rules themselves are in the files of this folder.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::phase::{Phase, Scope, is_in_order, phase};
use super::plan::Plan;
use super::{
    announcements, changes, checks, chronicle, conditions, duplicates, handoff, next, opening, paging,
    questions, recovery, relapse, roles, run_failures, runbooks, stakeholders, staleness, still_firing,
    timeline, watch,
};
use crate::api::Incident;
use crate::api::common::{NameRef, stored_time};
use crate::api::incident_status::MAYDAY;
use crate::report;

/// An incident's reconcile, in order.
const PHASES: &[Phase] = &[
    // Record what people and sources report.
    phase("opening", opening, &[]),
    phase("roles", roles, &[]),
    phase("severity and notes", severity_and_notes, &["roles"]),
    // Find out which outage this is.
    phase("take over duplicates", take_over_duplicates, &["opening", "roles"]),
    phase("duplicate", duplicate, &[]),
    phase("still firing", still_firing, &["opening"]),
    phase("reopen", reopen, &["roles"]),
    phase("relapse of", relapse_of, &["take over duplicates", "reopen"]),
    // Evaluate the health of the service.
    phase("checks", checks, &["opening", "take over duplicates", "duplicate", "still firing", "reopen"]),
    phase("changes", changes, &["opening", "duplicate", "reopen"]),
    phase("recovery", recovery, &["roles", "reopen", "checks", "changes"]),
    phase("state", state, &["roles", "duplicate", "recovery"]),
    phase("conditions", conditions, &["recovery", "state"]),
    // Act: runs, pages and messages.
    phase("list runs", list_runs, &[]),
    phase("start runbooks", start_runbooks, &["state"]),
    phase("page", page, &["state", "start runbooks"]),
    phase("page for failed runs", page_for_failed_runs, &["state", "start runbooks", "page"]),
    phase("page for a handoff", page_for_a_handoff, &["state", "page for failed runs"]),
    phase("tell stakeholders", tell_stakeholders, &["state", "page for a handoff"]),
    // Show it: next action, reports and Events.
    phase("next", next, &["state", "conditions", "page", "tell stakeholders"]),
    phase("chronicle", chronicle, &["opening"]),
    phase("reports", reports, &["state", "list runs", "chronicle"]),
    phase("events", events, &["state", "page", "next"]),
];

// The compiler checks that every phase comes after those it reads from.
const _: () = assert!(is_in_order(PHASES));

/// Decides what to write and to do for an incident now.
pub fn decide(incident: &Incident, facts: &IncidentFacts, now: Timestamp) -> Plan {
    let is_original = duplicates::original(incident, facts).is_none();
    let scope = Scope { incident, facts, now, is_original };
    let mut plan = Plan { status: incident.status.clone().unwrap_or_default(), ..Plan::default() };
    for phase in PHASES {
        (phase.run)(&scope, &mut plan);
    }
    plan
}

/// Records the detection, the start of the outage and the service it is about.
///
/// Needs the stored signals. Writes `detectedTime`, `startTime`, `service`.
fn opening(scope: &Scope<'_>, plan: &mut Plan) {
    opening::record(scope.incident, scope.facts, &mut plan.status, scope.now);
}

/// Records who answered, who leads, and since when changes need approvals.
///
/// Writes `acknowledgement`, `lead`, `formerLeads`, `pagedSeverity`, `bindsSinceTime`.
fn roles(scope: &Scope<'_>, plan: &mut Plan) {
    roles::record(scope.incident, scope.facts, &mut plan.status, scope.now);
}

/// Copies a changed severity and new notes into the timeline.
///
/// Needs the lead (`roles`), who is named as the author. Writes `announcedSeverity`, `notesAnnounced`.
fn severity_and_notes(scope: &Scope<'_>, plan: &mut Plan) {
    timeline::add_severity(scope.incident, &mut plan.status, scope.now);
    timeline::add_notes(scope.incident, &mut plan.status, scope.now);
}

/// Takes over what duplicates know: first into the spec, and once it is there into the status.
///
/// Needs `startTime` and `service` (`opening`); resets what `roles` recorded if a duplicate is worse. Writes the
/// takeover of the plan, or `duplicates` and `signals`.
fn take_over_duplicates(scope: &Scope<'_>, plan: &mut Plan) {
    let untaken = duplicates::untaken(scope.incident, &plan.status, scope.facts);
    plan.takeover = duplicates::takeover(scope.incident, &plan.status, &untaken);
    if plan.takeover.is_none() {
        for note in duplicates::remember(scope.incident, &mut plan.status, &untaken) {
            timeline::add(&mut plan.status, scope.now, MAYDAY, &note);
        }
    }
}

/// Notes that an older incident has taken this one over; its timeline goes on there.
///
/// Needs the stored status of both. Writes `duplicateOf`.
fn duplicate(scope: &Scope<'_>, plan: &mut Plan) {
    let Some(original) = duplicates::duplicate_of(scope.incident, scope.facts) else { return };
    if plan.status.duplicate_of.is_none() {
        let what = format!("inc/{} is older and about the same outage: it goes on there", original.name);
        timeline::add(&mut plan.status, scope.now, MAYDAY, &what);
    }
    plan.status.duplicate_of = Some(original);
}

/// Shows what fires since before the incident opened, once.
///
/// Needs `service` (`opening`). Writes `signals`.
fn still_firing(scope: &Scope<'_>, plan: &mut Plan) {
    let is_new = scope.incident.status.as_ref().is_none_or(|status| status.detected_time.is_none());
    if is_new && scope.is_original && plan.goes_on() {
        still_firing::carry_over(scope.incident, &mut plan.status, scope.facts, scope.now);
    }
}

/// Reopens a resolved incident whose outage has returned.
///
/// Needs the stored signals; resets what `roles` recorded. Clears `resolved`, `restoredTime` and
/// `healthySinceTime`, writes `relapses`, `pastOutages`, `returnedTime`.
fn reopen(scope: &Scope<'_>, plan: &mut Plan) {
    recovery::reopen(scope.incident, &mut plan.status, scope.now);
}

/// Notes which earlier incident's outage has come back with this one.
///
/// Needs all signals (`take over duplicates`) and whether the incident is resolved (`reopen`). Writes `relapseOf`.
fn relapse_of(scope: &Scope<'_>, plan: &mut Plan) {
    if plan.status.relapse_of.is_some() || plan.status.resolved.is_some() {
        return;
    }
    let Some(earlier) = relapse::of(scope.incident, &plan.status, scope.facts) else { return };
    let name = earlier.name_any();
    let what = format!("the outage of inc/{name}, which was over, has come back");
    timeline::add(&mut plan.status, scope.now, MAYDAY, &what);
    plan.status.relapse_of = Some(NameRef { name });
}

/// Evaluates the checks of an incident that goes on.
///
/// Needs `service` (`opening`), all signals, `duplicateOf` and `resolved`. Writes `checks`.
fn checks(scope: &Scope<'_>, plan: &mut Plan) {
    if !plan.goes_on() {
        return;
    }
    let given = questions::with_the_report(scope.incident, &plan.status);
    let (results, due) = checks::evaluate(scope.incident, scope.facts, &plan.status, &given, scope.now);
    plan.status.checks = results;
    plan.wake_at(due);
    let (_, silent) = staleness::stale(&plan.status, scope.facts, scope.now);
    plan.wake_at(silent);
}

/// Lists the last changes to the affected objects while the incident goes on.
///
/// Needs `startTime` and `service` (`opening`), `duplicateOf` and `resolved`. Writes `changes`.
fn changes(scope: &Scope<'_>, plan: &mut Plan) {
    if plan.goes_on() {
        plan.status.changes = changes::known(scope.incident, scope.facts, &plan.status);
    }
}

/// Moves the incident along from its checks: mitigated, restored, resolved.
///
/// Needs `checks` and the lead. Comes after `changes`, since it may resolve the incident. Writes `healthySinceTime`,
/// `restoredTime`, `noticedTime`, `checkTransitionTimes`, `regressions`, `resolved`.
fn recovery(scope: &Scope<'_>, plan: &mut Plan) {
    if !plan.goes_on() {
        return;
    }
    let was_back = plan.status.healthy_since_time.is_some();
    let stable_for = watch::stable_for(scope, &plan.status);
    let due = recovery::advance(
        scope.incident,
        &mut plan.status,
        stable_for,
        scope.facts.observed_since,
        scope.now,
    );
    plan.wake_at(due);
    if was_back && plan.status.healthy_since_time.is_none() {
        watch::note_regression(scope, &mut plan.status);
    }
}

/// Derives the state.
///
/// Needs `acknowledgement` and `lead` (`roles`), `duplicateOf`, and what `recovery` wrote. Writes `state`.
fn state(scope: &Scope<'_>, plan: &mut Plan) {
    let is_remediating = next::is_remediating(scope.incident, scope.facts, &plan.status);
    plan.status.state = Some(recovery::state(scope.incident, &plan.status, is_remediating));
}

/// Sets the conditions.
///
/// Needs the state and what it was derived from. Writes `conditions`, `observedGeneration`.
fn conditions(scope: &Scope<'_>, plan: &mut Plan) {
    let generation = scope.incident.metadata.generation.unwrap_or_default();
    conditions::readiness(scope.incident, scope.facts, &mut plan.status, generation, scope.now);
    conditions::lifecycle(&mut plan.status, scope.facts, generation, scope.now);
}

/// Lists the runs of the incident.
///
/// Writes `runs`.
fn list_runs(scope: &Scope<'_>, plan: &mut Plan) {
    plan.status.runs = runbooks::runs(scope.incident, scope.facts, &plan.status);
}

/// Plans the runs that start without a person.
///
/// Needs the state. Writes `runbooks` and the runs of the plan.
fn start_runbooks(scope: &Scope<'_>, plan: &mut Plan) {
    if scope.is_original && plan.is_open() {
        runbooks::start(scope.incident, scope.facts, plan, scope.now);
    }
}

/// Pages by escalation level; the pages of an incident that is not open any more end.
///
/// Needs the state, and for its text the runs that start. Writes `escalation` and `paged`, and adds to the messages of
/// the plan.
fn page(scope: &Scope<'_>, plan: &mut Plan) {
    if scope.is_original {
        paging::page(scope.incident, scope.facts, plan, scope.now);
    }
}

/// Pages the lead's rotation for runs that failed, and when no Runbook of a ladder has helped.
///
/// Needs the state, the lead and what became of a ladder. Writes `announced` and `paged`, and adds to the messages of the plan.
fn page_for_failed_runs(scope: &Scope<'_>, plan: &mut Plan) {
    if scope.is_original && plan.is_open() {
        run_failures::page(scope.incident, scope.facts, &mut plan.status, &mut plan.messages, scope.now);
        if let Some(what) = plan.exhausted.take() {
            let (status, outgoing) = (&mut plan.status, &mut plan.messages);
            run_failures::page_for_a_ladder(
                scope.incident,
                scope.facts,
                &what,
                (status, outgoing),
                scope.now,
            );
        }
    }
}

/// Pages the person to whom the lead hands over.
///
/// Needs the state and the lead. Writes `announced` and `paged`, and adds to the messages of the plan.
fn page_for_a_handoff(scope: &Scope<'_>, plan: &mut Plan) {
    if scope.is_original && plan.is_open() {
        handoff::page(scope.incident, scope.facts, &mut plan.status, &mut plan.messages, scope.now);
    }
}

/// Tells stakeholders once what there is to say, and drafts what a person may tell the public.
///
/// Needs the service, the lead and `resolved`. Writes `announced`, `nextUpdateTime` and `publicDraft`, and adds to the
/// messages of the plan.
fn tell_stakeholders(scope: &Scope<'_>, plan: &mut Plan) {
    if !scope.is_original {
        return;
    }
    for said in stakeholders::decide(scope.incident, scope.facts, &plan.status, scope.now) {
        if announcements::once(&mut plan.status, &mut plan.messages, &said.what, said.messages) {
            plan.status.next_update_time = said.next.map(stored_time);
        }
    }
    plan.status.public_draft = stakeholders::draft(scope.incident, scope.facts, &plan.status, scope.now);
}

/// Says who must do what next.
///
/// Needs the state, `conditions`, whom the escalation pages, and when an update is promised. Writes `next`,
/// `waitingOn`.
fn next(scope: &Scope<'_>, plan: &mut Plan) {
    let Some(state) = plan.status.state else { return };
    let stable_for = watch::stable_for(scope, &plan.status);
    let proved_at = recovery::proved_at(&plan.status, stable_for, scope.facts.observed_since);
    let promised = plan.status.next_update_time.as_ref().map(|time| time.0);
    let promised = promised.filter(|_| state.is_open() && plan.status.duplicate_of.is_none());
    plan.wake_at(promised.filter(|promised| *promised > scope.now));
    let overdue = promised.filter(|promised| *promised <= scope.now);
    let scene = next::Scene {
        incident: scope.incident,
        facts: scope.facts,
        status: &plan.status,
        proved_at,
        overdue,
        now: scope.now,
    };
    plan.status.next = next::decide(&scene, state);
    plan.status.waiting_on = plan.status.next.as_ref().map(next::waiting_on);
}

/// Tells in the timeline what other objects say has happened.
///
/// Needs `startTime` and `service` (`opening`). Writes `told`.
fn chronicle(scope: &Scope<'_>, plan: &mut Plan) {
    chronicle::add(scope.incident, scope.facts, &mut plan.status, scope.now);
}

/// Writes the reports of an incident that is over, and drops those of one that was reopened.
///
/// Needs the state, the timeline and all times. Writes `reports`.
fn reports(scope: &Scope<'_>, plan: &mut Plan) {
    let stored = plan.status.reports.take();
    if plan.is_open() {
        return;
    }
    let ended = plan.applied_to(scope.incident);
    let facts = report::Facts { incident: &ended, requests: &scope.facts.requests, runs: &scope.facts.runs };
    let reported = scope.incident.status.as_ref().map(|status| status.observed_generation);
    let is_edited = reported != Some(scope.incident.metadata.generation.unwrap_or_default());
    plan.status.reports = Some(report::reports(&facts, stored, is_edited));
}

/// Announces a new incident, or a new state, as an Event.
///
/// Needs the state and `waitingOn`. Adds to the events of the plan, after those of `page`.
fn events(scope: &Scope<'_>, plan: &mut Plan) {
    let Some(state) = plan.status.state else { return };
    let before = scope.incident.status.as_ref().and_then(|status| status.state);
    if before.is_none() {
        let spec = &scope.incident.spec;
        plan.events.push(("Opened", format!("{} {}", spec.severity, spec.title)));
    } else if before != Some(state) {
        let waits = plan.status.waiting_on.as_deref().unwrap_or("nothing left to do");
        plan.events.push(("StateChanged", format!("{state}: {waits}")));
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
