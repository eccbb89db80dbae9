//! Limits and cooldown, computed from the runs that the Runbook's status remembers (docs/rules.md#run-limits). Pure.
//!
//! A run is remembered before it begins, so that neither a restart of the operator nor a deletion of runs resets a
//! limit.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{breaker, flaps};

use crate::api::common::{UidRef, stored_time};
use crate::api::conditions::Reason;
use crate::api::runbook::{Limits, RecentRun, RunbookStatus};
use crate::api::runbook_run::RunState;
use crate::api::{Incident, Runbook, RunbookRun};
use crate::text::instant;

/// Maximum number of runs that are remembered, as in the schema.
const MOST: usize = 1000;

/// A reason why a run cannot begin now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// Reason for a condition.
    pub reason: Reason,
    /// The same as a sentence.
    pub message: String,
    /// When it ends by itself, if that is known.
    pub until: Option<Timestamp>,
}

/// The limit or cooldown of a Runbook that its recent runs have reached; the run with the UID `except` does not count.
pub fn reached(runbook: &Runbook, except: Option<&str>, now: Timestamp) -> Option<Obstacle> {
    let limits = runbook.spec.limits.as_ref()?;
    let recent = runbook.status.iter().flat_map(|status| &status.recent_runs);
    let recent: Vec<&RecentRun> = recent.filter(|run| Some(run.uid.as_str()) != except).collect();
    too_many(limits, &recent, now).or_else(|| cooling_down(limits, &recent, now))
}

/// The obstacle of the Runbook's breaker, which holds back automatic runs; the run with the UID `except` does not
/// count. An outage that has come back counts even before the status of the Runbook says so.
pub fn broken(
    runbook: &Runbook,
    incidents: &[Arc<Incident>],
    except: Option<&str>,
    now: Timestamp,
) -> Option<Obstacle> {
    let mut recent = runbook.status.as_ref().map_or_else(Vec::new, |status| status.recent_runs.clone());
    flaps::note(&mut recent, runbook, incidents, now);
    breaker::obstacle(runbook, &breaker::of(runbook, &recent, except, now)?)
}

fn too_many(limits: &Limits, recent: &[&RecentRun], now: Timestamp) -> Option<Obstacle> {
    let limit = limits.runs.as_ref()?;
    let since = now.checked_sub(limit.per.get()).unwrap_or(Timestamp::MIN);
    let mut starts: Vec<Timestamp> =
        recent.iter().map(|run| run.start_time.0).filter(|start| *start > since).collect();
    starts.sort();
    // A run may begin when enough runs have left the window for fewer than `max` to remain.
    let surplus = starts.len().checked_sub(usize::try_from(limit.max).unwrap_or(0))?;
    Some(Obstacle {
        reason: Reason::LimitReached,
        message: format!("it ran {} times within {}; its limit is {}", starts.len(), limit.per, limit.max),
        until: starts.get(surplus).and_then(|start| start.checked_add(limit.per.get()).ok()),
    })
}

fn cooling_down(limits: &Limits, recent: &[&RecentRun], now: Timestamp) -> Option<Obstacle> {
    let cooldown = limits.cooldown.as_ref()?;
    if let Some(run) = recent.iter().find(|run| run.end_time.is_none()) {
        return Some(Obstacle {
            reason: Reason::CoolingDown,
            message: format!("run/{} has not ended; after it, it rests for {cooldown}", run.name),
            until: None,
        });
    }
    let ended = recent.iter().filter_map(|run| run.end_time.as_ref().map(|time| time.0)).max()?;
    let until = ended.checked_add(cooldown.get()).unwrap_or(Timestamp::MAX);
    (until > now).then(|| Obstacle {
        reason: Reason::CoolingDown,
        message: format!("its last run ended at {}; it rests for {cooldown}", instant(ended)),
        until: Some(until),
    })
}

/// The status of a Runbook after it remembers that a run begins, for that incident if it is for one; `None` if it does already.
pub fn with_run(
    runbook: &Runbook,
    run: &RunbookRun,
    incident: Option<UidRef>,
    now: Timestamp,
) -> Option<RunbookStatus> {
    let mut next = runbook.status.clone().unwrap_or_default();
    let uid = run.uid().unwrap_or_default();
    if next.recent_runs.iter().any(|known| known.uid == uid) {
        return None;
    }
    next.recent_runs.push(RecentRun {
        name: run.name_any(),
        uid,
        start_time: stored_time(now),
        end_time: None,
        outcome: None,
        incident_ref: incident,
        regressed_time: None,
    });
    next.last_run_time = Some(stored_time(now));
    let limits = runbook.spec.limits.as_ref();
    let needed = limits.and_then(|limits| limits.runs.as_ref()).map_or(1, |limit| limit.max);
    let surplus = next.recent_runs.len().saturating_sub(usize::try_from(needed).unwrap_or(1));
    let judged = breaker::of(runbook, &next.recent_runs, None, now);
    let breaker = limits.and_then(|limits| limits.breaker.as_ref()).zip(judged.as_ref());
    let mut index = 0;
    next.recent_runs.retain(|run| {
        index += 1;
        index > surplus || breaker.is_some_and(|(breaker, judged)| breaker::needs(breaker, run, judged))
    });
    if let Some((breaker, judged)) = breaker {
        // What is forgotten must not be asked for any more: from when on the rest counts is stored with it.
        next.breaker = breaker::status(Some(breaker), judged, next.breaker.as_ref());
    }
    let surplus = next.recent_runs.len().saturating_sub(MOST);
    next.recent_runs.drain(..surplus);
    Some(next)
}

/// Notes the end of the recent runs that are settled or gone; `find` gives a run by its UID. A run that ended before it
/// changed anything is forgotten: if a precondition did not hold, the repair must be possible as soon as it does.
pub fn note_ends<'a>(
    recent: &mut Vec<RecentRun>,
    find: impl Fn(&str) -> Option<&'a RunbookRun>,
    now: Timestamp,
) {
    recent.retain(|known| known.end_time.is_some() || !find(&known.uid).is_some_and(changed_nothing));
    for known in recent.iter_mut().filter(|run| run.end_time.is_none()) {
        match find(&known.uid) {
            Some(run) if !run.is_settled() => {}
            Some(run) => {
                let ended = run.status.as_ref().and_then(|status| status.end_time.clone());
                known.end_time = Some(ended.unwrap_or_else(|| stored_time(now)));
                known.outcome = run.status.as_ref().and_then(|status| status.state);
            }
            None => known.end_time = Some(stored_time(now)),
        }
    }
}

fn changed_nothing(run: &RunbookRun) -> bool {
    run.status.as_ref().is_some_and(|status| {
        matches!(status.state, Some(RunState::Failed | RunState::Cancelled))
            && status.steps.iter().all(|step| step.acts.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(name: &str, start: i64, end: Option<i64>) -> Arc<RunbookRun> {
        let spec = json!({"summary": "s", "serviceAccountName": "sa", "steps": [
            {"name": "r", "restart": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}}]});
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"runbookRef": {"name": "restart"}},
                "status": {"startTime": at(start), "endTime": end.map(at),
                    "state": if end.is_some() { "Succeeded" } else { "Running" },
                    "steps": [{"name": "r", "state": "Succeeded",
                        "targets": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}]}],
                    "snapshot": {"uid": "u", "digest": "d", "spec": spec}},
            }))
            .unwrap(),
        )
    }

    fn runbook(limits: serde_json::Value, recent: &[(&str, i64, Option<i64>)]) -> Runbook {
        let recent: Vec<_> = recent
            .iter()
            .map(|(uid, start, end)| json!({"name": uid, "uid": uid, "startTime": at(*start), "endTime": end.map(at)}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "restart", "namespace": "shop"},
            "spec": {"summary": "s", "serviceAccountName": "sa", "steps": [], "limits": limits},
            "status": {"recentRuns": recent},
        }))
        .unwrap()
    }

    #[test]
    fn the_limit_counts_what_is_remembered_in_a_sliding_window() {
        let limits = || json!({"runs": {"max": 2, "per": "1h"}});
        let two = runbook(limits(), &[("b", 100, Some(110)), ("c", 200, Some(210))]);
        let found = reached(&two, None, at(3_000)).unwrap();
        assert_eq!((found.reason, found.until), (Reason::LimitReached, Some(at(3_700))));
        assert_eq!(reached(&two, None, at(3_700)), None);
        assert_eq!(reached(&two, Some("c"), at(3_000)), None, "a run does not count against itself");
        assert_eq!(reached(&runbook(json!(null), &[("a", 0, None)]), None, at(1)), None);
    }

    #[test]
    fn the_cooldown_begins_with_the_end_of_the_last_run() {
        let limits = || json!({"cooldown": "1m"});
        let ended = runbook(limits(), &[("a", 0, Some(100))]);
        assert_eq!(reached(&ended, None, at(159)).unwrap().until, Some(at(160)));
        assert_eq!(reached(&ended, None, at(160)), None);
        assert_eq!(reached(&runbook(limits(), &[("a", 0, None)]), None, at(999)).unwrap().until, None);
    }

    #[test]
    fn a_run_is_remembered_once_and_as_many_as_the_limit_needs() {
        let full = runbook(json!({"runs": {"max": 2, "per": "1h"}}), &[("a", 0, Some(1)), ("b", 2, Some(3))]);
        let names =
            |status: RunbookStatus| status.recent_runs.into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(with_run(&full, &run("b", 2, None), None, at(9)), None);
        assert_eq!(
            with_run(&full, &run("c", 9, None), None, at(9)).map(names),
            Some(vec!["b".into(), "c".into()])
        );
    }

    /// Failure list 58: the retention keeps what the breaker may still need.
    #[test]
    fn a_run_is_remembered_for_as_long_as_the_breaker_may_need_it() {
        let failing = |limits: serde_json::Value| {
            let mut book = runbook(limits, &[("a", 0, Some(1)), ("b", 10, Some(11))]);
            let status = book.status.as_mut().unwrap();
            status.recent_runs.iter_mut().for_each(|run| run.outcome = Some(RunState::Failed));
            let next = with_run(&book, &run("c", 20, None), None, at(20)).unwrap();
            next.recent_runs.into_iter().map(|run| run.name).collect::<Vec<_>>()
        };
        assert_eq!(failing(json!({"runs": {"max": 1, "per": "1h"}})), ["c"]);
        assert_eq!(failing(json!({"breaker": {"failures": 3}})), ["a", "b", "c"]);
    }

    #[test]
    fn a_missing_run_has_ended_and_one_that_changed_nothing_is_forgotten() {
        let runs = [run("at-work", 0, None), run("settled", 0, Some(7))];
        let mut recent =
            runbook(json!(null), &[("at-work", 0, None), ("settled", 0, None), ("gone", 0, None)])
                .status
                .unwrap()
                .recent_runs;
        let find = |uid: &str| runs.iter().find(|run| run.name_any() == uid).map(|run| &**run);
        note_ends(&mut recent, find, at(9));
        let ends: Vec<_> = recent.iter().map(|run| run.end_time.as_ref().map(|time| time.0)).collect();
        assert_eq!(ends, [None, Some(at(7)), Some(at(9))]);
        let outcomes: Vec<_> = recent.iter().map(|run| run.outcome).collect();
        assert_eq!(outcomes, [None, Some(RunState::Succeeded), None]);
    }
}
