//! What automation may do in a namespace: only what every policy that covers it grants. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::ChangePolicy;
use crate::api::change_policy::AutomationStart;
use crate::api::runbook::{RunApproval, Start};

/// The most that runbooks in a namespace may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AutomationLimits {
    /// Who may start a Runbook.
    pub start: AutomationStart,
    /// The weakest approval that is enough.
    pub approval: RunApproval,
    /// The weakest approval that is enough once a lead has claimed an incident.
    pub after_lead_claimed: RunApproval,
    /// The most runs that may work at once, with the policy that says so: `cpol/production`.
    pub concurrency: Option<(usize, String)>,
    /// The least percentage of the others that must be healthy, with the policy that says so.
    pub min_healthy: Option<(i32, String)>,
    /// The policies that these limits come from, as people write them: `cpol/production`.
    pub policies: Vec<String>,
}

/// Whether a policy covers a namespace. A policy that covers the operator's own namespace is refused elsewhere.
pub fn covers(policy: &ChangePolicy, namespace: &str) -> bool {
    crate::change::policy::namespaces(policy, "").contains(&namespace)
}

/// Combines the policies that cover a namespace; the strictest wins. Without a policy nothing is allowed.
pub fn in_namespace(policies: &[Arc<ChangePolicy>], namespace: &str) -> AutomationLimits {
    let covering = || policies.iter().filter(|policy| covers(policy, namespace));
    let strictest = |choose: fn(&ChangePolicy) -> RunApproval| {
        let all_standing = covering().all(|policy| choose(policy) == RunApproval::Standing);
        if all_standing && covering().next().is_some() { RunApproval::Standing } else { RunApproval::PerRun }
    };
    AutomationLimits {
        start: covering()
            .map(|policy| policy.spec.automation.start)
            .min_by_key(|start| rank(*start))
            .unwrap_or_default(),
        approval: strictest(|policy| policy.spec.automation.approval),
        after_lead_claimed: strictest(|policy| policy.spec.automation.after_lead_claimed),
        concurrency: covering()
            .filter_map(|policy| {
                let most = usize::try_from(policy.spec.automation.concurrency?).ok()?;
                Some((most, format!("cpol/{}", policy.name_any())))
            })
            .min(),
        min_healthy: covering()
            .filter_map(|policy| {
                Some((policy.spec.automation.min_healthy?, format!("cpol/{}", policy.name_any())))
            })
            .max_by_key(|(least, _)| *least),
        policies: covering().map(|policy| format!("cpol/{}", policy.name_any())).collect(),
    }
}

fn rank(start: AutomationStart) -> u8 {
    match start {
        AutomationStart::Disabled => 0,
        AutomationStart::Manual => 1,
        AutomationStart::Automatic => 2,
    }
}

impl AutomationLimits {
    /// Why a Runbook may not be started that way; `None` if it may.
    pub fn refuses(&self, start: Start, namespace: &str) -> Option<String> {
        if self.policies.is_empty() {
            return Some(format!(
                "no ChangePolicy covers {namespace}, so nobody can approve a Runbook there: ask a platform engineer for one"
            ));
        }
        if self.start.allows(start) {
            return None;
        }
        let policies = self.policies.join(", ");
        Some(match self.start {
            AutomationStart::Disabled => {
                format!("{policies} switches runbooks off (automation.start: Disabled)")
            }
            _ => format!("{policies} lets only people start runbooks (automation.start: Manual)"),
        })
    }

    /// Whether a run needs an approval of its own.
    pub fn asks_per_run(&self, runbook: RunApproval, lead_claimed: bool) -> bool {
        let least = if lead_claimed { self.after_lead_claimed } else { self.approval };
        runbook == RunApproval::PerRun || self.approval == RunApproval::PerRun || least == RunApproval::PerRun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(name: &str, automation: serde_json::Value) -> Arc<ChangePolicy> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": name},
                "spec": {"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}, "automation": automation},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_namespace_without_a_policy_allows_nothing() {
        let limits = in_namespace(&[], "shop");
        assert!(limits.refuses(Start::Manual, "shop").unwrap().contains("no ChangePolicy"));
        assert!(limits.asks_per_run(RunApproval::Standing, false));
        let elsewhere = [policy("production", json!({"start": "Automatic", "approval": "Standing"}))];
        assert!(in_namespace(&elsewhere, "other").refuses(Start::Manual, "other").is_some());
    }

    #[test]
    fn the_strictest_of_several_policies_wins() {
        let open = policy(
            "a",
            json!({"start": "Automatic", "approval": "Standing", "afterLeadClaimed": "Standing"}),
        );
        let manual =
            policy("b", json!({"start": "Manual", "approval": "Standing", "afterLeadClaimed": "PerRun"}));
        assert_eq!(in_namespace(&[Arc::clone(&open)], "shop").refuses(Start::Automatic, "shop"), None);
        let both = in_namespace(&[open, manual], "shop");
        assert!(both.refuses(Start::Automatic, "shop").unwrap().contains("only people"));
        assert_eq!(both.refuses(Start::Manual, "shop"), None);
        assert!(!both.asks_per_run(RunApproval::Standing, false));
        assert!(both.asks_per_run(RunApproval::Standing, true), "a lead has claimed");
        assert!(both.asks_per_run(RunApproval::PerRun, false), "the Runbook itself asks");
    }
}
