//! Whether the steps of a Runbook may change objects outside every namespace, such as nodes: only as a ServiceAccount that
//! every policy over its namespace lists (docs/rules.md#cluster-identities). Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::ChangePolicy;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_step::Step;
use crate::runbook::automation_limits::covers;
use crate::runbook::steps::kind::{StepKind, Work};
use crate::runbook::{steps, targets};

/// Why the steps of a Runbook of that namespace may not change what they would change; `None` if they may.
pub fn refuses(policies: &[Arc<ChangePolicy>], namespace: &str, spec: &RunbookSpec) -> Option<String> {
    let step = spec.steps.iter().find(|step| leaves_namespace(step))?;
    let account = &spec.service_account_name;
    let what = steps::of(step).map_or_else(String::new, StepKind::summary);
    let of_step = format!("step {} would {what}, which is outside {namespace}", step.name);
    let covering = || policies.iter().filter(|policy| covers(policy, namespace));
    if covering().next().is_none() {
        return Some(format!("{of_step}, and no ChangePolicy covers {namespace} that could allow it"));
    }
    let lists = |policy: &ChangePolicy| {
        let identities = &policy.spec.automation.cluster_identities;
        identities.iter().any(|known| known.namespace == namespace && known.name == *account)
    };
    let missing: Vec<String> = covering()
        .filter(|policy| !lists(policy))
        .map(|policy| format!("cpol/{}", policy.name_any()))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{of_step}: a platform engineer adds {{namespace: {namespace}, name: {account}}} to \
             automation.clusterIdentities of {}",
            missing.join(" and of ")
        )
    })
}

/// Whether a step, or its way back, changes objects outside every namespace.
fn leaves_namespace(step: &Step) -> bool {
    let kinds = steps::of(step).into_iter().chain(steps::compensation_of(step));
    kinds.filter(|kind| matches!(kind.work(), Work::Mutation(_))).any(|kind| {
        let named = kind.target().and_then(|target| target.kind_of(kind.implied()));
        named.is_some_and(|(api_version, kind)| targets::is_cluster_scoped(api_version, kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(name: &str, identities: Value) -> Arc<ChangePolicy> {
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
            "automation": {"clusterIdentities": identities}});
        Arc::new(
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy",
                "metadata": {"name": name}, "spec": spec}))
            .unwrap(),
        )
    }

    fn spec(step: Value) -> RunbookSpec {
        let mut named = json!({"name": "s"});
        json_patch::merge(&mut named, &step);
        serde_json::from_value(json!({"summary": "s", "serviceAccountName": "nodes", "steps": [named]}))
            .unwrap()
    }

    #[test]
    fn every_policy_must_list_an_identity_that_changes_nodes() {
        let cordon = spec(json!({"cordon": {"target": {"name": "w1"}}}));
        let listed = policy("a", json!([{"namespace": "shop", "name": "nodes"}]));
        assert_eq!(refuses(&[Arc::clone(&listed)], "shop", &cordon), None);
        for other in [
            json!([]),
            json!([{"namespace": "till", "name": "nodes"}]),
            json!([{"namespace": "shop", "name": "sa"}]),
        ] {
            let policies = [Arc::clone(&listed), policy("b", other)];
            let why = refuses(&policies, "shop", &cordon).unwrap();
            assert!(why.contains("would cordon node/w1") && why.ends_with("cpol/b"), "{why}");
        }
        assert!(refuses(&[], "shop", &cordon).unwrap().contains("no ChangePolicy covers shop"));
    }

    #[test]
    fn a_change_within_the_namespace_needs_no_such_identity() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "c"});
        assert_eq!(refuses(&[], "shop", &spec(json!({"restart": {"target": deployment}}))), None);
        let node = json!({"apiVersion": "v1", "kind": "Node", "name": "w1", "type": "Ready"});
        let check = json!({"check": {"condition": {"target": node, "type": "Ready"}}});
        assert_eq!(refuses(&[], "shop", &spec(check)), None, "a look changes nothing");
    }

    #[test]
    fn the_way_back_of_a_step_counts_as_well() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "c"});
        let step = json!({"restart": {"target": deployment}, "compensation": {"uncordon": {"target": {"name": "w1"}}}});
        assert!(refuses(&[policy("a", json!([]))], "shop", &spec(step)).is_some());
    }
}
