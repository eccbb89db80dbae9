//! Whether the PodDisruptionBudgets of a namespace allow the eviction of a pod (docs/rules.md#evictions). Pure.
//!
//! Where a budget covers the pod, the answer is that of the API server (`pkg/registry/core/pod/storage/eviction.go`), which
//! checks again by itself. Only a pod without a budget is treated otherwise: the API server evicts it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

/// Maximum number of evictions that a budget may wait for, as in the API server.
const DISRUPTED_PODS: usize = 2000;

/// Answer of the PodDisruptionBudgets about one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Budget {
    /// There is no such pod.
    NoPod,
    /// No protected budget covers the pod.
    Absent,
    /// The budget that covers the pod allows its eviction now.
    Allows,
    /// This budget covers the pod and allows no disruption.
    Exhausted(String),
    /// This budget covers the pod, and its status is older than its spec.
    Unobserved(String),
    /// These budgets cover the pod: the API server evicts no pod that several cover.
    Several(Vec<String>),
}

impl Budget {
    /// The answer of the budgets of a pod's namespace about the pod.
    pub fn of<'a>(pod: &Pod, budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>) -> Budget {
        let covering: Vec<&PodDisruptionBudget> =
            budgets.into_iter().filter(|budget| covers(budget, pod)).collect();
        match covering.as_slice() {
            [] => Budget::Absent,
            // Such a pod does not count for any budget, or not any more.
            _ if is_out_of_service(pod) => Budget::Allows,
            [budget] => of_one(pod, budget),
            several => Budget::Several(several.iter().map(|budget| budget.name_any()).collect()),
        }
    }

    /// The answer as a sentence of a refusal.
    pub fn text(&self) -> String {
        match self {
            Budget::NoPod => "There is no such pod.".to_owned(),
            Budget::Absent => "No protected PodDisruptionBudget covers the pod.".to_owned(),
            Budget::Allows => {
                "Its PodDisruptionBudget allows it, but the policy wants every eviction approved.".to_owned()
            }
            Budget::Exhausted(name) => format!("PodDisruptionBudget {name} allows no disruption now."),
            Budget::Unobserved(name) => {
                format!(
                    "PodDisruptionBudget {name} was changed, and what it allows is not counted yet: try again."
                )
            }
            Budget::Several(names) => format!(
                "PodDisruptionBudgets {} cover the pod, and Kubernetes evicts no pod that more than one covers.",
                names.join(" and ")
            ),
        }
    }
}

fn of_one(pod: &Pod, budget: &PodDisruptionBudget) -> Budget {
    let status = budget.status.clone().unwrap_or_default();
    if !is_ready(pod) {
        let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
        let is_healthy_enough =
            status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
        if policy == Some("AlwaysAllow") || is_healthy_enough {
            return Budget::Allows;
        }
    }
    if status.observed_generation.unwrap_or_default() < budget.metadata.generation.unwrap_or_default() {
        return Budget::Unobserved(budget.name_any());
    }
    let waits_for_too_many = status.disrupted_pods.is_some_and(|pods| pods.len() > DISRUPTED_PODS);
    match status.disruptions_allowed > 0 && !waits_for_too_many {
        true => Budget::Allows,
        false => Budget::Exhausted(budget.name_any()),
    }
}

/// Whether a pod has not begun to serve, or has stopped.
fn is_out_of_service(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Pending" | "Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    selector
        .and_then(|selector| Selector::try_from(selector).ok())
        .is_some_and(|selector| selector.matches(pod.labels()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn budget(name: &str, edit: Value) -> PodDisruptionBudget {
        let mut whole = json!({"metadata": {"name": name, "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": "checkout"}}},
            "status": {"observedGeneration": 2, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}});
        json_patch::merge(&mut whole, &edit);
        serde_json::from_value(whole).unwrap()
    }

    fn status(edit: Value) -> PodDisruptionBudget {
        budget("one", json!({"status": edit}))
    }

    fn pod(edit: Value) -> Pod {
        let mut whole = json!({"metadata": {"name": "checkout-1", "labels": {"app": "checkout"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        json_patch::merge(&mut whole, &edit);
        serde_json::from_value(whole).unwrap()
    }

    fn unready() -> Pod {
        pod(json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}))
    }

    fn said(pod: &Pod, budgets: &[PodDisruptionBudget]) -> Budget {
        Budget::of(pod, budgets)
    }

    // The kind of fault: an eviction that Kubernetes itself allows is refused, or the other way round.
    #[test]
    fn a_ready_pod_needs_a_disruption_that_its_budget_allows() {
        let ready = pod(json!({}));
        let exhausted = Budget::Exhausted("one".into());
        assert_eq!(said(&ready, &[]), Budget::Absent);
        assert_eq!(said(&ready, &[budget("one", json!({}))]), Budget::Allows);
        assert_eq!(said(&ready, &[status(json!({"disruptionsAllowed": 0}))]), exhausted);
        assert_eq!(said(&ready, &[status(json!({"disruptionsAllowed": -1}))]), exhausted);
        let unseen = status(json!({"observedGeneration": 1}));
        assert_eq!(said(&ready, &[unseen]), Budget::Unobserved("one".into()));
        let many: Value = (0..2001).map(|n| (format!("p{n}"), json!("2026-11-22T12:00:00Z"))).collect();
        assert_eq!(said(&ready, &[status(json!({"disruptedPods": many}))]), exhausted);
    }

    #[test]
    fn a_pod_that_is_not_ready_goes_while_enough_others_are_healthy() {
        let none_left = json!({"disruptionsAllowed": 0, "currentHealthy": 2});
        assert_eq!(said(&unready(), &[status(none_left)]), Budget::Allows);
        let unhealthy = json!({"disruptionsAllowed": 0, "currentHealthy": 1});
        let exhausted = Budget::Exhausted("one".into());
        assert_eq!(said(&unready(), &[status(unhealthy.clone())]), exhausted);
        let nothing_desired = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0});
        assert_eq!(said(&unready(), &[status(nothing_desired)]), exhausted);
        let policy = |policy: &str| {
            budget("one", json!({"spec": {"unhealthyPodEvictionPolicy": policy}, "status": unhealthy}))
        };
        assert_eq!(said(&unready(), &[policy("AlwaysAllow")]), Budget::Allows);
        assert_eq!(said(&unready(), &[policy("IfHealthyBudget")]), exhausted);
        assert_eq!(said(&pod(json!({})), &[policy("AlwaysAllow")]), exhausted, "a ready pod counts");
    }

    #[test]
    fn a_pod_that_does_not_serve_is_no_disruption() {
        let full = status(json!({"disruptionsAllowed": 0, "currentHealthy": 1}));
        for edit in [
            json!({"status": {"phase": "Pending"}}),
            json!({"status": {"phase": "Succeeded"}}),
            json!({"status": {"phase": "Failed"}}),
            json!({"metadata": {"deletionTimestamp": "2026-11-22T12:00:00Z"}}),
        ] {
            let pod = pod(edit.clone());
            assert_eq!(said(&pod, &[full.clone(), budget("two", json!({}))]), Budget::Allows, "{edit}");
            assert_eq!(said(&pod, &[]), Budget::Absent, "{edit}");
        }
    }

    #[test]
    fn a_pod_that_several_budgets_cover_is_never_evicted() {
        let both = [budget("one", json!({})), budget("two", json!({}))];
        assert_eq!(said(&pod(json!({})), &both), Budget::Several(vec!["one".into(), "two".into()]));
        assert_eq!(said(&unready(), &both), Budget::Several(vec!["one".into(), "two".into()]));
    }

    #[test]
    fn a_selector_covers_what_it_covers_in_the_api_server() {
        let covered = |selector: Value| {
            let budget = budget("one", json!({"spec": {"selector": null}}));
            let mut whole = serde_json::to_value(budget).unwrap();
            whole["spec"]["selector"] = selector;
            said(&pod(json!({})), &[serde_json::from_value(whole).unwrap()]) == Budget::Allows
        };
        assert!(!covered(Value::Null), "no selector covers nothing");
        assert!(covered(json!({})), "an empty one covers everything");
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        assert!(covered(expression("In", json!(["checkout", "till"]))));
        assert!(!covered(expression("NotIn", json!(["checkout"]))));
        assert!(covered(expression("Exists", Value::Null)));
        assert!(!covered(json!({"matchLabels": {"app": "till"}})));
    }
}
