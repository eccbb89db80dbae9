//! Which runs of a Runbook did not help for good, as their incidents say (docs/rules.md#verify). Pure.

use std::sync::Arc;

use crate::api::runbook::RecentRun;
use crate::api::{Incident, Runbook};

/// Marks the recent runs after which the service was lost again within their window. A mark stays.
pub fn note(recent: &mut [RecentRun], incidents: &[Arc<Incident>]) {
    for known in recent.iter_mut().filter(|known| known.regressed_time.is_none()) {
        let mut all =
            incidents.iter().flat_map(|incident| &incident.status).flat_map(|status| &status.regressions);
        known.regressed_time = all.find(|noted| noted.run == known.name).map(|noted| noted.time.clone());
    }
}

/// Whether an incident says about a recent run of the Runbook what its status does not know yet.
pub fn is_news(runbook: &Runbook, incident: &Incident) -> bool {
    let noted = incident.status.as_ref().map_or(&[][..], |status| &status.regressions);
    let recent = runbook.status.iter().flat_map(|status| &status.recent_runs);
    let mut open = recent.filter(|known| known.regressed_time.is_none());
    open.any(|known| noted.iter().any(|noted| noted.run == known.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::common::stored_time;
    use jiff::Timestamp;

    #[test]
    fn a_run_after_which_the_service_was_lost_is_marked_for_good() {
        let recent = |name: &str| json!({"name": name, "uid": name, "startTime": "2026-11-22T02:04:10Z"});
        let mut runbook: Runbook = serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
            "metadata": {"name": "restart"}, "spec": {"summary": "s", "serviceAccountName": "sa", "steps": []},
            "status": {"recentRuns": [recent("a"), recent("b")]}}))
        .unwrap();
        let time = "2026-11-22T02:09:10Z";
        let incident: Incident =
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i"}, "spec": {"title": "t", "severity": "SEV2"},
            "status": {"regressions": [{"run": "b", "time": time}]}}))
            .unwrap();
        assert!(is_news(&runbook, &incident));
        let marks = |runbook: &Runbook| -> Vec<_> {
            runbook
                .status
                .iter()
                .flat_map(|status| &status.recent_runs)
                .map(|run| run.regressed_time.clone())
                .collect()
        };
        note(&mut runbook.status.as_mut().unwrap().recent_runs, &[Arc::new(incident.clone())]);
        let noted = stored_time(time.parse::<Timestamp>().unwrap());
        assert_eq!(marks(&runbook), [None, Some(noted.clone())]);
        assert!(!is_news(&runbook, &incident));
        note(&mut runbook.status.as_mut().unwrap().recent_runs, &[]);
        assert_eq!(marks(&runbook), [None, Some(noted)]);
    }
}
