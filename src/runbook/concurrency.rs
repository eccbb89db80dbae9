//! How many runs may work at once: in a namespace as its policies say, and in the cluster as the operator's configuration
//! says (docs/rules.md#run-concurrency). Those that wait begin in the order of their creation. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::limits::Obstacle;
use super::locks::Claim;
use crate::api::RunbookRun;
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::runbook_run::RunState;
use crate::command::{Command, Verb};

/// Maximum number of runs that a message names.
const NAMED: usize = 3;

/// The most runs that may work at once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// In the namespace of the run, with who says so: `cpol/production`.
    pub namespace: Option<(usize, String)>,
    /// In the whole cluster.
    pub cluster: Option<usize>,
}

impl Bounds {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        self.namespace.is_none() && self.cluster.is_none()
    }
}

/// The obstacle of runs that work, or have waited longer, in the place of this one. `created` is when the run was.
pub fn reached(
    claim: &Claim<'_>,
    created: Option<Timestamp>,
    bounds: &Bounds,
    runs: &[Arc<RunbookRun>],
) -> Option<Obstacle> {
    let here = |run: &RunbookRun| run.metadata.namespace.as_deref() == Some(claim.namespace);
    let of = |reasons: &[Reason], is_counted: &dyn Fn(&RunbookRun) -> bool| {
        let before = |run: &&Arc<RunbookRun>| {
            is_counted(run) && (claim.comes_after(run) || has_waited_longer(claim, created, reasons, run))
        };
        let mut found: Vec<&RunbookRun> = runs.iter().filter(before).map(|run| &**run).collect();
        found.sort_by_key(|run| !claim.comes_after(run));
        found
    };
    let obstacle = |reason: Reason, most: usize, says: &str, found: &[&RunbookRun]| {
        let names: Vec<String> = found.iter().take(NAMED).map(|run| named(run, claim.namespace)).collect();
        let more = found.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{says} {most} at once, and {}{more} come first", names.join(", "));
        let way_out = found.first().map(|run| {
            Command::new(Verb::Cancel)
                .namespace(run.namespace().unwrap_or_default())
                .on("run", &run.name_any())
        });
        let way_out = way_out.map_or_else(String::new, |command| format!("; to make room: {command}"));
        Obstacle { reason, message: format!("{message}{way_out}"), until: None }
    };
    if let Some((most, policy)) = &bounds.namespace {
        let found = of(&[Reason::ConcurrencyReached, Reason::ClusterConcurrencyReached], &here);
        if found.len() >= *most {
            let says = format!("{policy} lets runs of {} work", claim.namespace);
            return Some(obstacle(Reason::ConcurrencyReached, *most, &says, &found));
        }
    }
    let most = bounds.cluster?;
    // A run that waits for its own namespace takes no place of the cluster.
    let found = of(&[Reason::ClusterConcurrencyReached], &|_| true);
    let says = "the configuration of Mayday (config.runs.concurrency) lets runs of the cluster work";
    (found.len() >= most).then(|| obstacle(Reason::ClusterConcurrencyReached, most, says, &found))
}

/// Whether a run that has not begun waits for one of these reasons, and was created before this one.
fn has_waited_longer(
    claim: &Claim<'_>,
    created: Option<Timestamp>,
    reasons: &[Reason],
    run: &RunbookRun,
) -> bool {
    let Some(status) = run.status.as_ref().filter(|status| status.start_time.is_none()) else { return false };
    let blocked = find(&status.conditions, ConditionType::Blocked);
    let waits = status.state == Some(RunState::Blocked)
        && blocked.is_some_and(|blocked| reasons.iter().any(|reason| blocked.reason == reason.as_str()));
    let uid = run.metadata.uid.as_deref().unwrap_or_default();
    let other = run.creation_timestamp().map(|time| time.0);
    let is_going = run.spec.cancel || run.metadata.deletion_timestamp.is_some();
    waits && !is_going && uid != claim.uid && claim.start.is_none() && (other, uid) < (created, claim.uid)
}

fn named(run: &RunbookRun, namespace: &str) -> String {
    match run.namespace().filter(|own| own != namespace) {
        Some(own) => format!("run/{} of {own}", run.name_any()),
        None => format!("run/{}", run.name_any()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(namespace: &str, name: &str, created: i64, status: Value) -> Arc<RunbookRun> {
        Arc::new(
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                "metadata": {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": at(created)},
                "spec": {"runbookRef": {"name": "rb"}}, "status": status}))
            .unwrap(),
        )
    }

    fn at_work(namespace: &str, name: &str) -> Arc<RunbookRun> {
        run(namespace, name, 0, json!({"state": "Running", "startTime": at(1)}))
    }

    fn waits(namespace: &str, name: &str, created: i64, reason: &str) -> Arc<RunbookRun> {
        let blocked = json!({"type": "Blocked", "status": "True", "reason": reason, "message": "", "lastTransitionTime": at(1)});
        run(namespace, name, created, json!({"state": "Blocked", "conditions": [blocked]}))
    }

    fn found(created: i64, bounds: &Bounds, runs: &[Arc<RunbookRun>]) -> Option<Obstacle> {
        let claim = Claim { namespace: "shop", objects: &[], uid: "me", start: None };
        reached(&claim, Some(at(created)), bounds, runs)
    }

    fn in_namespace(most: usize) -> Bounds {
        Bounds { namespace: Some((most, "cpol/production".into())), cluster: None }
    }

    #[test]
    fn a_namespace_has_room_until_as_many_runs_work_as_its_policy_lets() {
        let runs = [
            at_work("shop", "a"),
            at_work("depot", "b"),
            run("shop", "done", 0, json!({"state": "Failed", "startTime": at(1)})),
        ];
        assert_eq!(found(9, &in_namespace(2), &runs), None);
        let obstacle = found(9, &in_namespace(1), &runs).unwrap();
        assert_eq!(obstacle.reason, Reason::ConcurrencyReached);
        assert_eq!(
            obstacle.message,
            "cpol/production lets runs of shop work 1 at once, and run/a come first; to make room: kubectl mayday cancel -n shop run/a"
        );
        assert_eq!(found(9, &Bounds::default(), &runs), None);
    }

    #[test]
    fn runs_that_wait_begin_in_the_order_of_their_creation() {
        let runs = |reason: &str| [waits("shop", "older", 5, reason), waits("shop", "younger", 15, reason)];
        assert!(found(10, &in_namespace(1), &runs("ConcurrencyReached")).is_some());
        assert_eq!(found(10, &in_namespace(2), &runs("ConcurrencyReached")), None);
        assert_eq!(
            found(10, &in_namespace(1), &runs("TargetBusy")),
            None,
            "it could not begin even if there were room"
        );
    }

    #[test]
    fn a_wait_for_a_namespace_takes_no_place_of_the_cluster() {
        let cluster = Bounds { namespace: None, cluster: Some(2) };
        let others = |reason: &str| [at_work("shop", "a"), waits("depot", "b", 5, reason)];
        assert_eq!(found(10, &cluster, &others("ConcurrencyReached")), None);
        let obstacle = found(10, &cluster, &others("ClusterConcurrencyReached")).unwrap();
        assert_eq!(obstacle.reason, Reason::ClusterConcurrencyReached);
        assert!(
            obstacle.message.contains("2 at once, and run/a, run/b of depot come first"),
            "{}",
            obstacle.message
        );
    }

    #[test]
    fn a_run_that_has_begun_gives_way_only_to_those_before_it() {
        let claim = Claim { namespace: "shop", objects: &[], uid: "me", start: Some(at(3)) };
        let earlier = at_work("shop", "a");
        let later = run("shop", "b", 0, json!({"state": "Running", "startTime": at(4)}));
        assert!(reached(&claim, Some(at(0)), &in_namespace(1), &[earlier]).is_some());
        let waiting = waits("shop", "older", -5, "ConcurrencyReached");
        assert_eq!(reached(&claim, Some(at(0)), &in_namespace(1), &[later, waiting]), None);
    }
}
