//! Which policies protect an object or govern a change. Pure.

use std::sync::Arc;

use crate::api::change_policy::{ChangePolicySpec, ResourceRule};
use crate::api::change_request::PlannedChange;
use crate::api::common::ObjectRef;
use crate::api::{ChangePolicy, Freeze};

/// The resource of a review, as admission names it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resource<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name: `deployments`.
    pub plural: &'a str,
    /// Namespace the object is in; for a Namespace its own name.
    pub namespace: &'a str,
}

/// Whether no policy may cover a namespace, so that the cluster and Mayday can always be repaired there.
pub fn is_refused_scope(namespace: &str, operator_namespace: &str) -> bool {
    namespace == "kube-system" || namespace == operator_namespace
}

/// The namespaces a policy covers now: those it names, or those its selector was resolved to.
pub fn namespaces<'a>(policy: &'a ChangePolicy, operator_namespace: &str) -> Vec<&'a str> {
    let resolved = || policy.status.as_ref().map_or(&[][..], |status| &status.namespaces);
    let names = policy.spec.scope.namespaces.names.as_deref().unwrap_or_else(resolved);
    let may_be = |name: &&str| is_namespace_name(name) && !is_refused_scope(name, operator_namespace);
    names.iter().map(String::as_str).filter(may_be).collect()
}

/// Whether a namespace can have that name. The schema checks it as well, but with a name stored before that the API server
/// would refuse every rule of the webhook.
fn is_namespace_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(is_inner)
        && name.ends_with(is_inner)
        && name.chars().all(|c| is_inner(c) || c == '-')
}

/// The namespaces that any policy protects, for the rules of the webhook.
pub fn protected_namespaces(policies: &[Arc<ChangePolicy>], operator_namespace: &str) -> Vec<String> {
    let mut found: Vec<String> = policies
        .iter()
        .flat_map(|policy| namespaces(policy, operator_namespace))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The policies that cover a namespace, in the order of their names.
pub fn covering<'a>(
    policies: &'a [Arc<ChangePolicy>],
    namespace: &str,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    let mut covering: Vec<&ChangePolicy> = policies
        .iter()
        .map(|policy| &**policy)
        .filter(|policy| namespaces(policy, operator_namespace).contains(&namespace))
        .collect();
    covering.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    covering
}

/// The policies that protect an object.
pub fn protecting<'a>(
    policies: &'a [Arc<ChangePolicy>],
    resource: &Resource<'_>,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    if is_never_protected(resource) {
        return Vec::new();
    }
    covering(policies, resource.namespace, operator_namespace)
        .into_iter()
        .filter(|policy| covers(&policy.spec, resource))
        .collect()
}

/// The policies that govern a planned change: those that protect the object; for an object of Mayday those over its
/// namespace.
pub fn governing<'a>(
    policies: &'a [Arc<ChangePolicy>],
    freezes: &[Arc<Freeze>],
    planned: &PlannedChange,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    let target = &planned.target;
    let namespace = namespace_of(planned);
    match (target.group(), target.kind.as_str()) {
        (crate::api::GROUP, "ChangePolicy" | "Freeze") => {
            of_cluster_scoped(policies, freezes, target, operator_namespace)
        }
        (crate::api::GROUP, _) => covering(policies, namespace, operator_namespace),
        (group, _) => protecting(
            policies,
            &Resource { group, plural: &planned.resource, namespace },
            operator_namespace,
        ),
    }
}

/// The policies that govern a cluster-scoped object: for a ChangePolicy itself, for a Freeze the one it names, both as
/// stored, and for a Namespace those over it. No policy governs any other.
pub fn of_cluster_scoped<'a>(
    policies: &'a [Arc<ChangePolicy>],
    freezes: &[Arc<Freeze>],
    target: &ObjectRef,
    operator_namespace: &str,
) -> Vec<&'a ChangePolicy> {
    let named = |name: &str| {
        let found = policies.iter().find(|policy| policy.metadata.name.as_deref() == Some(name));
        found.map(|policy| &**policy).into_iter().collect()
    };
    match (target.group(), target.kind.as_str()) {
        (crate::api::GROUP, "ChangePolicy") => named(&target.name),
        (crate::api::GROUP, "Freeze") => freezes
            .iter()
            .find(|freeze| freeze.metadata.name.as_ref() == Some(&target.name))
            .map(|freeze| named(&freeze.spec.policy_ref.name))
            .unwrap_or_default(),
        ("", "Namespace") => covering(policies, &target.name, operator_namespace),
        _ => Vec::new(),
    }
}

/// The namespace that a planned change is about; for a Namespace itself.
pub fn namespace_of(planned: &PlannedChange) -> &str {
    match planned.target.kind.as_str() {
        "Namespace" if planned.target.group().is_empty() => &planned.target.name,
        _ => planned.namespace.as_deref().unwrap_or_default(),
    }
}

/// Events and Leases come by the thousand and change nothing; the kinds of `mayday.dev` have rules of their own.
fn is_never_protected(resource: &Resource<'_>) -> bool {
    resource.group == crate::api::GROUP
        || matches!(
            (resource.group, resource.plural),
            ("" | "events.k8s.io", "events") | ("coordination.k8s.io", "leases")
        )
}

fn covers(policy: &ChangePolicySpec, resource: &Resource<'_>) -> bool {
    // A Namespace is protected with its contents, even if the policy lists kinds.
    if resource.group.is_empty() && resource.plural == "namespaces" {
        return true;
    }
    let Some(scope) = &policy.scope.resources else { return true };
    let included = scope.include.is_empty() || scope.include.iter().any(|rule| matches(rule, resource));
    included && !scope.exclude.iter().any(|rule| matches(rule, resource))
}

fn matches(rule: &ResourceRule, resource: &Resource<'_>) -> bool {
    let one_of = |values: &[String], value: &str| values.iter().any(|known| known == "*" || known == value);
    one_of(&rule.api_groups, resource.group) && one_of(&rule.resources, resource.plural)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(scope: Value, status: Value) -> Arc<ChangePolicy> {
        let mut policy = ChangePolicy::new(
            "production",
            serde_json::from_value(json!({"scope": scope, "approval": {}})).unwrap(),
        );
        policy.status = serde_json::from_value(status).unwrap();
        Arc::new(policy)
    }

    fn protects(policy: &Arc<ChangePolicy>, group: &str, plural: &str, namespace: &str) -> bool {
        let resource = Resource { group, plural, namespace };
        !protecting(std::slice::from_ref(policy), &resource, "mayday-system").is_empty()
    }

    #[test]
    fn all_is_protected_but_events_leases_and_maydays_own_kinds() {
        let policy = policy(json!({"namespaces": {"names": ["shop"]}}), json!(null));
        assert!(protects(&policy, "apps", "deployments", "shop"));
        assert!(protects(&policy, "example.com", "anything", "shop"));
        assert!(protects(&policy, "", "namespaces", "shop"));
        assert!(!protects(&policy, "", "events", "shop"));
        assert!(!protects(&policy, "events.k8s.io", "events", "shop"));
        assert!(!protects(&policy, "coordination.k8s.io", "leases", "shop"));
        assert!(!protects(&policy, "mayday.dev", "incidents", "shop"));
        assert!(!protects(&policy, "apps", "deployments", "till"));
    }

    #[test]
    fn listed_kinds_narrow_the_scope_but_keep_the_namespace() {
        let scope = json!({"namespaces": {"names": ["shop"]}, "resources": {
            "include": [{"apiGroups": ["apps"], "resources": ["*"]}],
            "exclude": [{"apiGroups": ["apps"], "resources": ["replicasets"]}]}});
        let policy = policy(scope, json!(null));
        assert!(protects(&policy, "apps", "deployments", "shop"));
        assert!(!protects(&policy, "apps", "replicasets", "shop"));
        assert!(!protects(&policy, "", "configmaps", "shop"));
        assert!(protects(&policy, "", "namespaces", "shop"));
    }

    #[test]
    fn a_selector_counts_only_once_it_is_resolved() {
        let scope = json!({"namespaces": {"selector": {"matchLabels": {"env": "production"}}}});
        assert!(!protects(&policy(scope.clone(), json!(null)), "apps", "deployments", "shop"));
        assert!(protects(&policy(scope, json!({"namespaces": ["shop"]})), "apps", "deployments", "shop"));
    }

    #[test]
    fn an_invalid_namespace_name_is_left_out() {
        let policy =
            policy(json!({"namespaces": {"names": ["*", "shop", "-a", "a-", "A", "a.b", ""]}}), json!(null));
        assert_eq!(namespaces(&policy, "mayday-system"), ["shop"]);
    }

    #[test]
    fn maydays_own_namespace_and_kube_system_are_never_covered() {
        let policy = policy(json!({"namespaces": {"names": ["kube-system", "mayday-system"]}}), json!(null));
        assert!(!protects(&policy, "apps", "deployments", "kube-system"));
        assert!(!protects(&policy, "apps", "deployments", "mayday-system"));
    }
}
