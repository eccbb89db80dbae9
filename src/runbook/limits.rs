//! Limits, cooldown and locks, computed from stored runs, so that a restart of the operator resets nothing. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::actions::changed_targets;
use super::outcome::snapshot_spec;
use crate::api::RunbookRun;
use crate::api::common::ObjectRef;
use crate::api::runbook::Limits;

/// What stands in the way of a run for now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// In CamelCase, for a condition.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
    /// When it goes by itself, if that is known.
    pub until: Option<Timestamp>,
}

/// Runs that did, or do, something: neither dry, nor still waiting to begin.
fn began<'a>(
    runs: &'a [Arc<RunbookRun>],
    except: Option<&'a str>,
) -> impl Iterator<Item = (&'a RunbookRun, Timestamp)> {
    runs.iter()
        .filter(move |run| !run.spec.dry_run && (except.is_none() || run.uid().as_deref() != except))
        .filter_map(|run| {
            let start = run.status.as_ref()?.start_time.as_ref()?;
            Some((&**run, start.0))
        })
}

fn is_settled(run: &RunbookRun) -> bool {
    run.status.as_ref().and_then(|status| status.state).is_some_and(|state| state.is_settled())
}

/// The limits of a Runbook, by all its runs except `except` (a UID).
pub fn reached(
    limits: Option<&Limits>,
    runbook: &str,
    runs: &[Arc<RunbookRun>],
    except: Option<&str>,
    now: Timestamp,
) -> Option<Obstacle> {
    let limits = limits?;
    let of_this = || began(runs, except).filter(|(run, _)| run.spec.runbook_ref.name == runbook);
    if let Some(limit) = &limits.runs {
        let since = now.checked_sub(limit.per.get()).unwrap_or(Timestamp::MIN);
        let mut starts: Vec<Timestamp> =
            of_this().map(|(_, start)| start).filter(|start| *start > since).collect();
        starts.sort();
        let max = usize::try_from(limit.max).unwrap_or(0);
        if starts.len() >= max {
            // Free again once so many of them have left the window that fewer than `max` remain.
            let until =
                starts.get(starts.len() - max).and_then(|start| start.checked_add(limit.per.get()).ok());
            return Some(Obstacle {
                reason: "LimitReached",
                message: format!(
                    "it ran {} times within {}; its limit is {}",
                    starts.len(),
                    limit.per,
                    limit.max
                ),
                until,
            });
        }
    }
    let cooldown = limits.cooldown.as_ref()?;
    let ended =
        of_this().filter_map(|(run, _)| run.status.as_ref()?.end_time.as_ref().map(|time| time.0)).max()?;
    let until = ended.checked_add(cooldown.get()).unwrap_or(Timestamp::MAX);
    (until > now).then(|| Obstacle {
        reason: "CoolingDown",
        message: format!("its last run ended at {ended}; it rests for {cooldown}"),
        until: Some(until),
    })
}

/// Another run that has begun and changes one of the targets. It holds them until it is settled; there is no
/// other way for a lock to end.
pub fn busy(targets: &[&ObjectRef], runs: &[Arc<RunbookRun>], except: Option<&str>) -> Option<Obstacle> {
    began(runs, except).filter(|(run, _)| !is_settled(run)).find_map(|(run, _)| {
        let spec = snapshot_spec(run)?;
        let held = changed_targets(&spec.steps);
        let shared = targets.iter().find(|target| held.iter().any(|held| held.same_object(target)))?;
        Some(Obstacle {
            reason: "TargetBusy",
            message: format!("run/{} is working on {}", run.name_any(), shared.display()),
            until: None,
        })
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
                    "snapshot": {"uid": "u", "digest": "d", "spec": spec}},
            }))
            .unwrap(),
        )
    }

    fn limits(value: serde_json::Value) -> Limits {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_limit_counts_stored_runs_in_a_sliding_window() {
        let limits = limits(json!({"runs": {"max": 2, "per": "1h"}}));
        let runs = [run("a", 0, Some(10)), run("b", 100, Some(110)), run("c", 200, Some(210))];
        let found = reached(Some(&limits), "restart", &runs, None, at(3_000)).unwrap();
        assert_eq!((found.reason, found.until), ("LimitReached", Some(at(3_700))));
        assert_eq!(reached(Some(&limits), "restart", &runs, None, at(3_700)), None);
        assert_eq!(reached(Some(&limits), "other", &runs, None, at(3_000)), None);
        assert_eq!(reached(None, "restart", &runs, None, at(3_000)), None);
    }

    #[test]
    fn a_run_does_not_count_against_itself_and_a_dry_run_not_at_all() {
        let limits = limits(json!({"runs": {"max": 1, "per": "1h"}}));
        let runs = [run("a", 0, None)];
        assert!(reached(Some(&limits), "restart", &runs, None, at(10)).is_some());
        assert_eq!(reached(Some(&limits), "restart", &runs, Some("a"), at(10)), None);
        let mut dry = (*runs[0]).clone();
        dry.spec.dry_run = true;
        assert_eq!(reached(Some(&limits), "restart", &[Arc::new(dry)], None, at(10)), None);
    }

    #[test]
    fn the_cooldown_begins_with_the_end_of_the_last_run() {
        let limits = limits(json!({"cooldown": "1m"}));
        let runs = [run("a", 0, Some(100))];
        assert_eq!(reached(Some(&limits), "restart", &runs, None, at(159)).unwrap().until, Some(at(160)));
        assert_eq!(reached(Some(&limits), "restart", &runs, None, at(160)), None);
    }

    #[test]
    fn a_target_is_held_until_the_run_is_settled_whatever_the_clock_says() {
        let target = ObjectRef {
            api_version: "apps/v1beta2".into(),
            kind: "Deployment".into(),
            name: "checkout".into(),
        };
        assert_eq!(busy(&[&target], &[run("a", 0, None)], None).unwrap().reason, "TargetBusy");
        assert_eq!(busy(&[&target], &[run("a", 0, None)], Some("a")), None);
        assert_eq!(busy(&[&target], &[run("a", 0, Some(5))], None), None);
        let other = ObjectRef { name: "other".into(), ..target };
        assert_eq!(busy(&[&other], &[run("a", 0, None)], None), None);
    }
}
