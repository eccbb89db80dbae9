//! Templates that were healthy, as Mayday has seen them: what the step `rollback` with `to: LastHealthy` may return to.
//! Kubernetes keeps old templates and does not say whether they ever worked. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::common::{ObjectRef, stored_time};
use crate::api::runbook::HealthyTemplate;
use crate::change::diff::digest;
use crate::cluster::rollout::{self, Rollout};

/// Maximum number of templates that are remembered for one workload.
const MOST: usize = 4;
/// Maximum number of templates that are remembered in all, as in the schema.
const MOST_IN_ALL: usize = 32;

/// The memory of a template of a workload; `None` if it cannot be written as canonical JSON.
pub fn of(target: &ObjectRef, object: &Value, template: &Value, now: Timestamp) -> Option<HealthyTemplate> {
    Some(HealthyTemplate {
        object: target.clone(),
        uid: object.pointer("/metadata/uid")?.as_str()?.to_owned(),
        digest: digest::of(template).ok()?,
        time: stored_time(now),
    })
}

/// Whether a template of a workload was seen healthy.
pub fn is_known(known: &[HealthyTemplate], target: &ObjectRef, object: &Value, template: &Value) -> bool {
    let Some(asked) = of(target, object, template, Timestamp::UNIX_EPOCH) else { return false };
    known.iter().any(|known| {
        known.object.same_object(target) && known.uid == asked.uid && known.digest == asked.digest
    })
}

/// The present template of a workload that is rolled out and wholly available, if it is not remembered yet.
pub fn unknown<'a>(known: &[HealthyTemplate], target: &ObjectRef, object: &'a Value) -> Option<&'a Value> {
    let is_complete =
        matches!(rollout::status(&target.kind, object, &target.display()), Rollout::Complete(_));
    let template = object.pointer("/spec/template").filter(|_| is_complete && serves(target, object))?;
    (!is_known(known, target, object, template)).then_some(template)
}

/// Remembers the present templates of workloads that are rolled out and wholly available. Of too many the oldest are
/// forgotten.
pub fn remember(known: &mut Vec<HealthyTemplate>, workloads: &[(ObjectRef, Value)], now: Timestamp) {
    for (target, object) in workloads {
        let Some(template) = unknown(known, target, object) else { continue };
        let Some(seen) = of(target, object, template, now) else { continue };
        let same = |known: &HealthyTemplate| known.object.same_object(target) && known.uid == seen.uid;
        known.retain(|known| !known.object.same_object(target) || known.uid == seen.uid);
        known.push(seen.clone());
        let surplus = known.iter().filter(|known| same(known)).count().saturating_sub(MOST);
        let mut to_forget = surplus;
        known.retain(|known| {
            let forget = to_forget > 0 && same(known);
            to_forget -= usize::from(forget);
            !forget
        });
    }
    let surplus = known.len().saturating_sub(MOST_IN_ALL);
    known.drain(..surplus);
}

/// Whether a workload has pods at all: one that is scaled to nothing proves nothing.
fn serves(target: &ObjectRef, object: &Value) -> bool {
    let counts = rollout::counts(&target.kind, object);
    counts.available > 0 && counts.available >= counts.wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(image: &str, available: i64) -> (ObjectRef, Value) {
        let target =
            ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() };
        let object = json!({"metadata": {"name": "checkout", "uid": "u", "generation": 2},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": available, "availableReplicas": available}});
        (target, object)
    }

    fn remembered(known: &mut Vec<HealthyTemplate>, workload: &(ObjectRef, Value)) -> bool {
        remember(known, std::slice::from_ref(workload), Timestamp::UNIX_EPOCH);
        is_known(known, &workload.0, &workload.1, &workload.1["spec"]["template"])
    }

    #[test]
    fn only_a_template_whose_pods_are_all_available_is_remembered() {
        let mut known = Vec::new();
        assert!(!remembered(&mut known, &workload("v1", 2)));
        assert!(remembered(&mut known, &workload("v1", 3)));
        assert!(remembered(&mut known, &workload("v1", 3)));
        assert_eq!(known.len(), 1, "once");
        let mut idle = workload("v2", 0);
        idle.1["spec"]["replicas"] = 0.into();
        idle.1["status"] = json!({"observedGeneration": 2});
        assert!(!remembered(&mut known, &idle), "no pod proves nothing");
    }

    #[test]
    fn the_oldest_templates_are_forgotten_and_another_object_starts_anew() {
        let mut known = Vec::new();
        for image in ["v1", "v2", "v3", "v4", "v5"] {
            assert!(remembered(&mut known, &workload(image, 3)));
        }
        assert_eq!(known.len(), MOST);
        let first = workload("v1", 3);
        assert!(!is_known(&known, &first.0, &first.1, &first.1["spec"]["template"]));
        let mut another = workload("v6", 3);
        another.1["metadata"]["uid"] = "v".into();
        assert!(remembered(&mut known, &another));
        assert_eq!(known.len(), 1, "what the former object ran says nothing about this one");
    }
}
