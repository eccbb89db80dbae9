//! The Runbooks that fit an incident, the runs that start without a person, and the list of its runs. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::changes;
use super::facts::IncidentFacts;
use super::plan::Plan;
use crate::api::common::NameRef;
use crate::api::incident_status::IncidentStatus;
use crate::api::{Incident, RunbookRun};
use crate::runbook::{matching, steps};

/// Maximum number of runs that an incident remembers, as the schema allows.
const MAX_RUNS: usize = 50;

/// Lists the Runbooks that match, and plans the runs that start without a person.
pub fn start(incident: &Incident, facts: &IncidentFacts, plan: &mut Plan, now: Timestamp) {
    let current = plan.applied_to(incident);
    let found = matching::decide(
        &matching::MatchFacts {
            incidents: &facts.incidents,
            incident: &current,
            runbooks: &facts.runbooks,
            runs: &facts.runs,
            policies: &facts.policies,
            freezes: &facts.freezes,
        },
        now,
    );
    plan.status.runbooks = found.runbooks;
    plan.start = found.start;
    plan.stop = found.stop;
    plan.exhausted = found.exhausted;
    plan.wake_at(found.wake);
}

/// Whether a run belongs to the incident: it names it, or it names none, was started since the outage began, and acts on
/// what is affected. A drill belongs to none.
pub fn is_of(run: &RunbookRun, incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> bool {
    if run.spec.drill {
        return false;
    }
    if run.spec.incident_ref.is_some() {
        return run.is_for(&incident.name_any());
    }
    let since = status.start_time.as_ref().map(|time| time.0);
    let is_during = run.creation_timestamp().zip(since).is_some_and(|(created, since)| created.0 >= since);
    is_during && {
        let affected = changes::affected(incident, status);
        let resolved = run.status.iter().flat_map(steps::objects).cloned();
        let stored = facts.runbooks.iter().find(|known| known.name_any() == run.spec.runbook_ref.name);
        let named = stored.into_iter().flat_map(|runbook| steps::named(&runbook.spec.steps));
        let is_prepared = run.status.as_ref().is_some_and(|status| status.snapshot.is_some());
        let mut targets = resolved.chain(named.filter(|_| !is_prepared));
        targets.any(|target| affected.iter().any(|object| object.same_object(&target)))
    }
}

/// The newest runs of the incident, oldest first; those that only said what they would do are left out. Deleted runs stay
/// in front: they have run.
pub fn runs(incident: &Incident, facts: &IncidentFacts, status: &IncidentStatus) -> Vec<NameRef> {
    let known = &status.runs;
    let is_mine = |run: &&Arc<RunbookRun>| run.is_repair() && is_of(run, incident, facts, status);
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
    let surplus = runs.len().saturating_sub(MAX_RUNS);
    runs.drain(..surplus);
    runs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deleted_run_stays_in_the_list() {
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
        let facts = IncidentFacts {
            runs: vec![run("b", "i"), run("a", "i"), run("c", "other")],
            ..IncidentFacts::default()
        };
        let names = |known: &[&str]| -> Vec<String> {
            let known: Vec<NameRef> = known.iter().map(|name| NameRef { name: (*name).to_owned() }).collect();
            runs(&incident, &facts, &IncidentStatus { runs: known, ..IncidentStatus::default() })
                .into_iter()
                .map(|run| run.name)
                .collect()
        };
        assert_eq!(names(&[]), ["a", "b"]);
        assert_eq!(names(&["deleted", "a"]), ["deleted", "a", "b"]);
        assert_eq!(names(&["a", "deleted", "b"]), ["deleted", "a", "b"]);

        // A full list is stable: otherwise each decision would undo the write of the one before.
        let many = (0..MAX_RUNS + 2).map(|number| run(&format!("{number:03}"), "i")).collect();
        let facts = IncidentFacts { runs: many, ..IncidentFacts::default() };
        let first = runs(&incident, &facts, &IncidentStatus::default());
        assert_eq!(first.len(), MAX_RUNS);
        let known = IncidentStatus { runs: first.clone(), ..IncidentStatus::default() };
        assert_eq!(runs(&incident, &facts, &known), first);
    }
}
