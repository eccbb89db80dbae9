//! How long the service must hold after a run, and what follows if it does not (docs/rules.md#verify). Pure.
//!
//! The checks of the incident decide; a run has none of its own.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::phase::Scope;
use super::{checks, timeline};
use crate::api::common::stored_time;
use crate::api::incident_status::{IncidentStatus, MAYDAY, Regression};
use crate::api::runbook_run::RunState;
use crate::api::{Incident, RunbookRun};
use crate::runbook::ladder;
use crate::runbook::run::view;

/// Maximum number of regressions in the status, as in the schema.
const MAX_REGRESSIONS: usize = 20;

/// How long every check must pass without a break: for the time of the incident itself, and until the window of each run for it
/// has passed whose Runbook sets one.
pub(super) fn stable_for(scope: &Scope<'_>, status: &IncidentStatus) -> SignedDuration {
    let usual = checks::stable_for(&checks::of(scope.incident, status));
    let since = status.healthy_since_time.as_ref().map_or(scope.now, |time| time.0);
    let since = since.max(scope.facts.observed_since);
    let ends = repairs(scope).filter_map(|(run, ended)| {
        let window = view::snapshot_spec(run)?.verify?.window.get();
        ended.checked_add(window).ok()
    });
    ends.max().map_or(usual, |until| usual.max(until.duration_since(since)))
}

/// Notes the last run that had brought the service back, if a check fails again within its window.
pub(super) fn note_regression(scope: &Scope<'_>, status: &mut IncidentStatus) {
    let Some((run, ended)) = repairs(scope).max_by_key(|(_, ended)| *ended) else { return };
    let spec = view::snapshot_spec(run).unwrap_or_default();
    let is_within = ended.checked_add(ladder::window(&spec)).is_ok_and(|until| scope.now < until);
    let name = run.name_any();
    if !is_within || status.regressions.iter().any(|known| known.run == name) {
        return;
    }
    let what = format!(
        "run/{name} did not help for good: a check failed again {} s after it",
        scope.now.duration_since(ended).as_secs().max(0)
    );
    timeline::add(status, scope.now, MAYDAY, &what);
    status.regressions.push(Regression { run: name, time: stored_time(scope.now) });
    let surplus = status.regressions.len().saturating_sub(MAX_REGRESSIONS);
    status.regressions.drain(..surplus);
}

/// The runs for the incident that did what they should, with their ends.
fn repairs<'a>(scope: &'a Scope<'_>) -> impl Iterator<Item = (&'a RunbookRun, Timestamp)> {
    scope.facts.runs.iter().filter_map(|run| {
        let status = run.status.as_ref().filter(|_| run.is_repair() && is_for(run, scope.incident))?;
        let done = matches!(status.state, Some(RunState::Succeeded | RunState::Degraded));
        Some((&**run, status.end_time.as_ref().filter(|_| done)?.0))
    })
}

fn is_for(run: &RunbookRun, incident: &Incident) -> bool {
    let named = run.status.as_ref().and_then(|status| status.incident_ref.as_ref());
    named.is_some_and(|named| Some(&named.uid) == incident.uid().as_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::incident::facts::IncidentFacts;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// The facts with a run that succeeded at 0; with or without a window.
    fn facts(verify: serde_json::Value) -> IncidentFacts {
        let spec = json!({"summary": "s", "serviceAccountName": "sa", "steps": [], "verify": verify});
        let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun", "metadata": {"name": "r", "uid": "r"},
            "spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}},
            "status": {"state": "Succeeded", "endTime": at(0), "incidentRef": {"name": "i", "uid": "u"},
                "snapshot": {"uid": "rb", "digest": "d", "spec": spec}}});
        IncidentFacts {
            runs: vec![Arc::new(serde_json::from_value(run).unwrap())],
            observed_since: at(-999),
            ..IncidentFacts::default()
        }
    }

    fn incident(uid: &str) -> Incident {
        let spec =
            json!({"title": "t", "severity": "SEV2", "returnToService": {"checks": [], "stableFor": "30s"}});
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i", "uid": uid}, "spec": spec});
        serde_json::from_value(whole).unwrap()
    }

    fn status(healthy_since: Option<i64>) -> IncidentStatus {
        let since = healthy_since.map(|second| stored_time(at(second)));
        IncidentStatus { healthy_since_time: since, ..IncidentStatus::default() }
    }

    #[test]
    fn the_service_must_hold_until_the_window_of_the_run_has_passed() {
        let long = |uid: &str, verify: serde_json::Value, since: Option<i64>| {
            let (incident, facts) = (incident(uid), facts(verify));
            let scope = Scope { incident: &incident, facts: &facts, now: at(20), is_original: true };
            stable_for(&scope, &status(since)).as_secs()
        };
        assert_eq!(long("u", json!({"window": "2m"}), Some(10)), 110);
        assert_eq!(long("u", json!({"window": "2m"}), None), 100, "from now on");
        assert_eq!(long("u", json!({"window": "10s"}), Some(10)), 30, "the incident asks for more");
        assert_eq!(long("u", json!(null), Some(10)), 30, "no window was set");
        assert_eq!(long("other", json!({"window": "2m"}), Some(10)), 30, "the run was for another incident");
    }

    #[test]
    fn a_regression_within_the_window_is_noted_once() {
        let noted = |verify: serde_json::Value, second: i64| {
            let (incident, facts) = (incident("u"), facts(verify));
            let scope = Scope { incident: &incident, facts: &facts, now: at(second), is_original: true };
            let mut status = status(None);
            note_regression(&scope, &mut status);
            note_regression(&scope, &mut status);
            status.regressions
        };
        let once = [Regression { run: "r".to_owned(), time: stored_time(at(59)) }];
        assert_eq!(noted(json!({"window": "1m"}), 59), once);
        assert_eq!(noted(json!({"window": "1m"}), 60), []);
        assert_eq!(noted(json!(null), 299).len(), 1, "5 minutes if nothing is set");
    }
}
