//! How many of the others are healthy: if many fail at once, the cause is elsewhere, and a repair of each is no help
//! (docs/rules.md#run-siblings). Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::limits::Obstacle;
use crate::api::common::ObjectRef;
use crate::api::conditions::Reason;
use crate::cluster::rollout;

/// Interval between two looks.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// How many of something are healthy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Share {
    /// What is counted, in words: `pods of the other workloads`.
    pub what: &'static str,
    /// How many are healthy.
    pub healthy: i64,
    /// How many there should be.
    pub wanted: i64,
}

/// The pods of the workloads of a namespace that a run does not hold.
pub fn pods(workloads: &[(ObjectRef, Value)], holds: &[ObjectRef]) -> Share {
    let mut share = Share { what: "pods of the other workloads", healthy: 0, wanted: 0 };
    for (object, live) in workloads.iter().filter(|(object, _)| !is_held(object, holds)) {
        let counts = rollout::counts(&object.kind, live);
        share.wanted += counts.wanted;
        share.healthy += counts.available.clamp(0, counts.wanted);
    }
    share
}

/// The nodes that a run does not hold.
pub fn nodes(nodes: &[Value], holds: &[ObjectRef]) -> Share {
    let others: Vec<&Value> = nodes
        .iter()
        .filter(|node| {
            let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            !is_held(&ObjectRef { api_version: "v1".into(), kind: "Node".into(), name }, holds)
        })
        .collect();
    let count = |found: usize| i64::try_from(found).unwrap_or(i64::MAX);
    let is_ready = |node: &&&Value| {
        let conditions = node["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let healthy = others.iter().filter(is_ready).count();
    Share { what: "other nodes", healthy: count(healthy), wanted: count(others.len()) }
}

fn is_held(object: &ObjectRef, holds: &[ObjectRef]) -> bool {
    holds.iter().any(|held| held.same_object(object))
}

/// The obstacle of a share that is too small, or cannot be told. `least` is in percent, with the policy that says so.
pub fn too_few(
    shares: &[Result<Share, String>],
    least: Option<&(i32, String)>,
    now: Timestamp,
) -> Option<Obstacle> {
    let (least, policy) = least?;
    let message = shares.iter().find_map(|share| match share {
        Ok(share) if share.healthy.saturating_mul(100) >= share.wanted.saturating_mul(i64::from(*least)) => None,
        Ok(share) => Some(format!(
            "only {} of {} {} are healthy, less than the {least} % of {policy} (automation.minHealthy): the cause may be \
             elsewhere, and a person must look",
            share.healthy, share.wanted, share.what
        )),
        Err(why) => Some(format!("{policy} asks how many are healthy (automation.minHealthy), which cannot be told: {why}")),
    })?;
    Some(Obstacle { reason: Reason::TooFewHealthy, message, until: now.checked_add(LOOK_AGAIN).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef { api_version: api_version.into(), kind: kind.into(), name: name.into() }
    }

    fn obstacle(share: Result<Share, String>) -> Option<String> {
        let now = Timestamp::UNIX_EPOCH;
        let found = too_few(&[share], Some(&(50, "cpol/production".into())), now)?;
        assert_eq!((found.reason, found.until), (Reason::TooFewHealthy, now.checked_add(LOOK_AGAIN).ok()));
        Some(found.message)
    }

    fn workload(name: &str, wanted: i64, available: i64) -> (ObjectRef, Value) {
        (
            object("apps/v1", "Deployment", name),
            json!({"spec": {"replicas": wanted}, "status": {"availableReplicas": available}}),
        )
    }

    /// Failure list 46: most is unhealthy at once, so no single repair is the answer.
    #[test]
    fn a_run_waits_while_too_few_of_the_others_are_healthy() {
        let all = [workload("checkout", 3, 0), workload("search", 4, 1), workload("till", 1, 1)];
        let own = [object("apps/v1", "Deployment", "checkout")];
        let share = pods(&all, &own);
        assert_eq!((share.healthy, share.wanted), (2, 5), "what is to be repaired does not count");
        assert_eq!(
            obstacle(Ok(share)).unwrap(),
            "only 2 of 5 pods of the other workloads are healthy, less than the 50 % of cpol/production \
             (automation.minHealthy): the cause may be elsewhere, and a person must look"
        );
        assert_eq!(obstacle(Ok(pods(&all[..1], &own))), None, "it is alone");
        assert_eq!(obstacle(Ok(pods(&[workload("a", 2, 1)], &own))), None, "half is enough");
        let uneven = pods(&[workload("a", 1, 9), workload("b", 3, 0)], &own);
        assert!(obstacle(Ok(uneven)).is_some(), "what is too many is no help");
        assert!(obstacle(Err("no right".into())).unwrap().ends_with("cannot be told: no right"));
        assert_eq!(too_few(&[Err("no right".into())], None, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn the_nodes_that_a_run_does_not_hold_are_counted() {
        let node = |name: &str, ready: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let all = [node("sick", "False"), node("a", "True"), node("b", "Unknown"), node("c", "False")];
        let share = nodes(&all, &[object("v1", "Node", "sick")]);
        assert_eq!((share.healthy, share.wanted), (1, 3));
        assert!(obstacle(Ok(share)).unwrap().starts_with("only 1 of 3 other nodes are healthy"));
    }
}
