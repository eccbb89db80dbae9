//! The freezes that are on, above what is open.

use kube::Api;
use kube::api::ListParams;
use mayday::api::conditions::{ConditionType, find};
use mayday::api::{ChangePolicy, Freeze};
use mayday::change::policy::namespaces;

use crate::client::session::{Session, name_of};

/// The freezes over the namespace, or over any; `None` if there is none, or the person may not read them: they belong to
/// no namespace, and what they hold says so itself.
pub async fn text(session: &Session, all: bool) -> Option<String> {
    let every = ListParams::default();
    let freezes = Api::<Freeze>::all(session.client.clone()).list(&every).await.ok()?.items;
    if freezes.is_empty() {
        return None;
    }
    let policies = match all {
        true => Vec::new(),
        false => Api::<ChangePolicy>::all(session.client.clone()).list(&every).await.ok()?.items,
    };
    let namespace = (!all).then_some(session.namespace.as_str());
    lines(&freezes, &policies, namespace)
}

fn lines(freezes: &[Freeze], policies: &[ChangePolicy], namespace: Option<&str>) -> Option<String> {
    let is_here = |freeze: &Freeze| {
        namespace.is_none_or(|here| {
            let named = policies.iter().find(|policy| name_of(*policy) == freeze.spec.policy_ref.name);
            named.is_some_and(|policy| namespaces(policy, "").contains(&here))
        })
    };
    let active = |freeze: &Freeze| {
        let status = freeze.status.as_ref()?;
        let active =
            find(&status.conditions, ConditionType::Active).filter(|active| active.status == "True")?;
        Some(format!("frz/{}: {}", name_of(freeze), active.message))
    };
    let lines: Vec<String> = freezes.iter().filter(|freeze| is_here(freeze)).filter_map(active).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_freeze_that_is_on_is_shown_where_it_holds() {
        let freeze = |name: &str, policy: &str, status: &str| -> Freeze {
            from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": name},
                "spec": {"policyRef": {"name": policy}, "stops": ["Changes"], "reason": "r"},
                "status": {"conditions": [{"type": "Active", "status": status, "reason": "Active", "message": "it holds",
                    "lastTransitionTime": "2026-11-22T02:04:10Z"}]}}))
            .unwrap()
        };
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}});
        let policies = [ChangePolicy::new("production", from_value(spec).unwrap())];
        let all = [
            freeze("sale", "production", "True"),
            freeze("later", "production", "False"),
            freeze("lab", "lab", "True"),
        ];
        assert_eq!(lines(&all, &policies, Some("shop")).as_deref(), Some("frz/sale: it holds"));
        assert_eq!(lines(&all, &policies, Some("lab")), None);
        assert_eq!(lines(&all, &[], None).as_deref(), Some("frz/sale: it holds\nfrz/lab: it holds"));
    }
}
