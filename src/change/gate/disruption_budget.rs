//! Whether the PodDisruptionBudgets of a namespace allow the eviction of a pod (docs/rules.md#evictions). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

/// Answer of the PodDisruptionBudgets about one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Budget {
    /// No protected budget covers the pod.
    Absent,
    /// Every budget that covers the pod allows a disruption now.
    Allows,
    /// These budgets cover the pod and allow no disruption, or have not observed their latest change.
    Exhausted(Vec<String>),
}

impl Budget {
    /// The answer of the budgets about a pod with these labels.
    pub fn of<'a>(
        labels: &BTreeMap<String, String>,
        budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    ) -> Budget {
        let (mut is_covered, mut exhausted) = (false, Vec::new());
        for budget in budgets.into_iter().filter(|budget| covers(budget, labels)) {
            is_covered = true;
            let status = budget.status.clone().unwrap_or_default();
            let is_current = status.observed_generation == budget.metadata.generation;
            if !is_current || status.disruptions_allowed < 1 {
                exhausted.push(budget.name_any());
            }
        }
        match (is_covered, exhausted.is_empty()) {
            (false, _) => Budget::Absent,
            (true, true) => Budget::Allows,
            (true, false) => Budget::Exhausted(exhausted),
        }
    }

    /// The answer as a sentence of a refusal.
    pub fn text(&self) -> String {
        match self {
            Budget::Absent => "No protected PodDisruptionBudget covers the pod.".to_owned(),
            Budget::Allows => {
                "Its PodDisruptionBudget allows it, but the policy wants every eviction approved.".to_owned()
            }
            Budget::Exhausted(names) => match names.as_slice() {
                [name] => format!("PodDisruptionBudget {name} allows no disruption now."),
                several => format!("PodDisruptionBudgets {} allow no disruption now.", several.join(" and ")),
            },
        }
    }
}

fn covers(budget: &PodDisruptionBudget, labels: &BTreeMap<String, String>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    selector
        .and_then(|selector| Selector::try_from(selector).ok())
        .is_some_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn budget(name: &str, app: &str, allowed: i32, status: Value) -> PodDisruptionBudget {
        let mut whole = json!({"metadata": {"name": name, "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}});
        json_patch::merge(&mut whole["status"], &status);
        serde_json::from_value(whole).unwrap()
    }

    fn said(budgets: &[PodDisruptionBudget]) -> Budget {
        Budget::of(&BTreeMap::from([("app".to_owned(), "checkout".to_owned())]), budgets)
    }

    #[test]
    fn every_budget_over_the_pod_must_allow_it() {
        let one = |allowed| budget("one", "checkout", allowed, json!({}));
        assert_eq!(said(&[]), Budget::Absent);
        assert_eq!(said(&[budget("other", "till", 1, json!({}))]), Budget::Absent);
        assert_eq!(said(&[one(1)]), Budget::Allows);
        assert_eq!(
            said(&[one(1), budget("two", "checkout", 0, json!({}))]),
            Budget::Exhausted(vec!["two".into()])
        );
        let unseen = budget("two", "checkout", 1, json!({"observedGeneration": 1}));
        assert_eq!(said(&[one(1), unseen]), Budget::Exhausted(vec!["two".into()]));
    }
}
