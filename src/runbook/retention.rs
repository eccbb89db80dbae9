//! Which runs are deleted, and when (docs/rules.md#run-retention). Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::runbook_run::RunState;
use crate::api::{Incident, RunbookRun};

/// No run is deleted sooner after its end: people and programs may still be reading it.
const GRACE: SignedDuration = SignedDuration::from_hours(1);
/// Interval between two looks at a run that is over and must stay.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Most runs that are deleted at once.
const AT_ONCE: usize = 50;

/// What is kept of the runs of one Runbook.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Number of runs of each outcome: those that succeeded, those that did not, and dry runs.
    pub count: usize,
    /// Time since their end.
    pub age: SignedDuration,
}

/// What is decided from.
#[derive(Clone, Copy, Debug)]
pub struct RetentionFacts<'a> {
    /// The runs of the Runbook.
    pub runs: &'a [Arc<RunbookRun>],
    /// UIDs of runs from which a limit is computed.
    pub counted: &'a [String],
    /// UIDs of runs about which a message waits to be sent.
    pub told: &'a [String],
    /// The incidents of the namespace.
    pub incidents: &'a [Arc<Incident>],
    /// What is kept.
    pub kept: Kept,
}

/// The runs that are deleted now, and when to look again.
pub fn due(facts: &RetentionFacts<'_>, now: Timestamp) -> (Vec<Arc<RunbookRun>>, Option<Timestamp>) {
    let mut over: Vec<(Timestamp, &Arc<RunbookRun>)> =
        facts.runs.iter().filter_map(|run| Some((ended(run)?, run))).collect();
    over.sort_by_key(|(end, run)| (std::cmp::Reverse(*end), run.name_any()));
    let mut newer = [0_usize; 3];
    let (mut delete, mut next): (Vec<Arc<RunbookRun>>, Option<Timestamp>) = (Vec::new(), None);
    let mut wake = |at: Timestamp| next = Some(next.map_or(at, |known| known.min(at)));
    for (end, run) in over {
        let Some(place) = newer.get_mut(group(run)) else { continue };
        let age = if *place >= facts.kept.count { GRACE } else { facts.kept.age.max(GRACE) };
        *place += 1;
        let expires = end.checked_add(age).unwrap_or(Timestamp::MAX);
        if now < expires {
            wake(expires);
        } else if must_stay(facts, run, end) || delete.len() >= AT_ONCE {
            wake(now.checked_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX));
        } else {
            delete.push(Arc::clone(run));
        }
    }
    (delete, next)
}

/// When a run ended; `None` while it is not settled, or while something is to be done about it.
fn ended(run: &RunbookRun) -> Option<Timestamp> {
    let status = run.status.as_ref()?;
    let is_over =
        status.is_settled() && run.finalizers().is_empty() && run.metadata.deletion_timestamp.is_none();
    let end = status.end_time.as_ref().map(|time| time.0);
    end.or_else(|| run.creation_timestamp().map(|time| time.0)).filter(|_| is_over)
}

fn group(run: &RunbookRun) -> usize {
    let state = run.status.as_ref().and_then(|status| status.state);
    match (run.spec.dry_run, state) {
        (true, _) => 0,
        (false, Some(RunState::Succeeded)) => 1,
        (false, _) => 2,
    }
}

/// Whether something still needs a run: a limit, a message, or an incident that is open or has no report yet.
fn must_stay(facts: &RetentionFacts<'_>, run: &RunbookRun, end: Timestamp) -> bool {
    let uid = run.uid().unwrap_or_default();
    let named = run.status.as_ref().and_then(|status| status.incident_ref.as_ref());
    let needs = |incident: &Arc<Incident>| {
        let is_unfinished =
            incident.is_open() || incident.status.as_ref().is_none_or(|status| status.reports.is_none());
        let is_named = named.is_some_and(|named| incident.uid().as_ref() == Some(&named.uid));
        // A run that names no incident belongs to the one about its object, which may have begun before it ended.
        let began = incident.creation_timestamp().map_or(Timestamp::MIN, |time| time.0);
        is_unfinished && (is_named || (!run.spec.dry_run && began <= end))
    };
    facts.counted.contains(&uid) || facts.told.contains(&uid) || facts.incidents.iter().any(needs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The instant 0, from which the runs of these tests end hourly.
    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    fn run(name: &str, end: i64, change: Value) -> Arc<RunbookRun> {
        let mut run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"runbookRef": {"name": "rb"}},
            "status": {"state": "Succeeded", "endTime": at(end).to_string()}});
        json_patch::merge(&mut run, &change);
        Arc::new(serde_json::from_value(run).unwrap())
    }

    fn incident(name: &str, began: i64, status: Value) -> Arc<Incident> {
        Arc::new(
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
                "metadata": {"name": name, "uid": name, "creationTimestamp": at(began).to_string()},
                "spec": {"title": "t", "severity": "SEV2"}, "status": status}))
            .unwrap(),
        )
    }

    struct World {
        runs: Vec<Arc<RunbookRun>>,
        counted: Vec<String>,
        told: Vec<String>,
        incidents: Vec<Arc<Incident>>,
        count: usize,
    }

    fn world(runs: Vec<Arc<RunbookRun>>) -> World {
        World { runs, counted: Vec::new(), told: Vec::new(), incidents: Vec::new(), count: 2 }
    }

    impl World {
        /// Names of the runs that go at that hour, and the hour of the next look. Runs are kept for ten hours.
        fn due(&self, hour: i64) -> (Vec<String>, Option<i64>) {
            let kept = Kept { count: self.count, age: SignedDuration::from_hours(10) };
            let (runs, counted) = (&self.runs[..], &self.counted[..]);
            let facts = RetentionFacts { runs, counted, told: &self.told, incidents: &self.incidents, kept };
            let (delete, next) = due(&facts, at(hour));
            let hour_of = |time: Timestamp| (time.as_second() - at(0).as_second()) / 3600;
            (delete.iter().map(|run| run.name_any()).collect(), next.map(hour_of))
        }
    }

    #[test]
    fn runs_are_kept_by_age_and_by_number() {
        let three = world(vec![run("a", 0, json!({})), run("b", 2, json!({})), run("c", 3, json!({}))]);
        assert_eq!(three.due(0).0, Vec::<String>::new(), "an hour is left to read it");
        assert_eq!(three.due(4), (vec!["a".to_owned()], Some(12)), "two are kept");
        assert_eq!(three.due(12), (vec!["b".to_owned(), "a".to_owned()], Some(13)));
        assert_eq!(three.due(13).0, ["c", "b", "a"]);
    }

    #[test]
    fn each_outcome_has_its_own_number() {
        let failed = json!({"status": {"state": "Failed"}});
        let mixed = world(vec![
            run("failed", 0, failed),
            run("dry", 1, json!({"spec": {"dryRun": true}, "status": {"state": "DryRunComplete"}})),
            run("a", 2, json!({})),
            run("b", 3, json!({})),
        ]);
        assert_eq!(mixed.due(5).0, Vec::<String>::new(), "many that succeeded push out none that failed");
    }

    /// Failure list 58: nothing goes that is still needed.
    #[test]
    fn a_run_that_something_needs_is_never_deleted() {
        let long = 1000;
        for change in [
            json!({"status": {"state": "Running", "endTime": null}}),
            json!({"status": {"state": "Blocked", "endTime": null}}),
            json!({"metadata": {"finalizers": ["mayday.dev/settle"]}}),
        ] {
            let held = world(vec![run("a", 0, change.clone())]);
            assert_eq!(held.due(long), (Vec::new(), None), "{change}");
        }
        let one = || world(vec![run("a", 0, json!({}))]);
        assert_eq!(one().due(long).0, ["a"]);
        let limited = World { counted: vec!["a".into()], ..one() };
        assert_eq!(limited.due(long), (Vec::new(), Some(long + 1)), "a limit is computed from it");
        let told = World { told: vec!["a".into()], ..one() };
        assert_eq!(told.due(long).0, Vec::<String>::new(), "a page about it waits");
        let reports = json!({"internal": "i", "external": "e"});
        for (status, began, stays) in [
            (json!({"state": "Crisis"}), -1, true),
            (json!({"state": "Resolved"}), -1, true),
            (json!({"state": "Resolved", "reports": reports}), -1, false),
            (json!({"state": "Crisis"}), 1, false),
        ] {
            let in_outage = World { incidents: vec![incident("i", began, status.clone())], ..one() };
            assert_eq!(in_outage.due(long).0.is_empty(), stays, "{status} since {began}");
        }
        let named = run("a", 0, json!({"status": {"incidentRef": {"name": "i", "uid": "i"}}}));
        let later =
            World { incidents: vec![incident("i", 1, json!({"state": "Open"}))], ..world(vec![named]) };
        assert_eq!(later.due(long).0, Vec::<String>::new());
    }
}
