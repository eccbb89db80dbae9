//! The part of the webhook configurations that depends on the policies: which requests reach the gate. Pure.
//!
//! A namespace is selected by the label with its name. The API server sets and keeps that label, so relabelling a
//! namespace does not take it out of a policy. Without a policy there are no rules, and nothing reaches the gate.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::admission::probe;
use crate::api::ChangePolicy;
use crate::api::change_policy::{ChangePolicySpec, ResourceRule};
use crate::change::policy;

/// How the names of the match conditions begin that depend on policies.
pub const CONDITION: &str = "policy-";

/// The part of one webhook that depends on the policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Name of the webhook.
    pub name: &'static str,
    /// Its rules; empty: nothing reaches it.
    pub rules: Value,
    /// Its namespace selector.
    pub namespace_selector: Value,
    /// Its match conditions that depend on policies: name and CEL.
    pub conditions: Vec<(&'static str, String)>,
}

/// Both webhooks of the gate, for these policies.
pub fn gate<'a>(
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    operator_namespace: &str,
) -> [Filled; 2] {
    let covered = covered(policies, operator_namespace);
    let names: Vec<&str> = covered.keys().map(String::as_str).collect();
    let broken = break_glass(&covered);
    let scope = scope(&covered);
    let mut gate_conditions = Vec::new();
    gate_conditions.extend(scope.clone().map(|scope| ("policy-scope", scope)));
    gate_conditions.extend(broken.clone().map(|broken| ("policy-not-break-glass", format!("!({broken})"))));
    let mut glass_conditions = Vec::new();
    glass_conditions.extend(scope.map(|scope| ("policy-scope", scope)));
    glass_conditions.extend(broken.clone().map(|broken| ("policy-break-glass", broken)));
    [
        Filled {
            name: "change-gate.mayday.dev",
            rules: rules(!names.is_empty()),
            namespace_selector: selector(&names),
            conditions: gate_conditions,
        },
        Filled {
            name: "break-glass.change-gate.mayday.dev",
            rules: rules(broken.is_some()),
            namespace_selector: selector(&names),
            conditions: glass_conditions,
        },
    ]
}

/// The policies over each covered namespace.
fn covered<'a>(
    policies: impl IntoIterator<Item = &'a ChangePolicy>,
    operator_namespace: &str,
) -> BTreeMap<String, Vec<&'a ChangePolicySpec>> {
    let mut covered: BTreeMap<String, Vec<&ChangePolicySpec>> = BTreeMap::new();
    for protecting in policies {
        for namespace in policy::namespaces(protecting, operator_namespace) {
            covered.entry(namespace.to_owned()).or_default().push(&protecting.spec);
        }
    }
    covered
}

/// Everything in the namespaces, and their own Namespace objects. The match conditions leave out the requests
/// that the gate does not judge.
fn rules(any: bool) -> Value {
    if !any {
        return json!([]);
    }
    json!([
        {
            "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
            "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Namespaced"
        },
        {
            // Its status takes labels and annotations too.
            "operations": ["UPDATE", "DELETE"],
            "apiGroups": [""], "apiVersions": ["*"],
            "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "scope": "Cluster"
        }
    ])
}

fn selector(names: &[&str]) -> Value {
    json!({"matchExpressions": [
        // An empty list is invalid; a name that cannot be one matches nothing.
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": if names.is_empty() { vec![""] } else { names.to_vec() }}
    ]})
}

/// The expression that finds a break-glass: a caller in a break-glass group of every policy over the namespace. None if
/// no policy has such a group.
fn break_glass(covered: &BTreeMap<String, Vec<&ChangePolicySpec>>) -> Option<String> {
    let mut by_groups: BTreeMap<Vec<&Vec<String>>, Vec<&str>> = BTreeMap::new();
    for (namespace, policies) in covered {
        let groups: Option<Vec<&Vec<String>>> = policies
            .iter()
            .map(|policy| policy.break_glass.as_ref().map(|glass| &glass.groups).filter(|g| !g.is_empty()))
            .collect();
        if let Some(groups) = groups {
            by_groups.entry(groups).or_default().push(namespace);
        }
    }
    let clauses: Vec<String> = by_groups
        .iter()
        .map(|(all_of, namespaces)| {
            let groups: Vec<String> = all_of
                .iter()
                .map(|groups| {
                    format!("request.userInfo.?groups.orValue([]).exists(g, g in {})", list(groups.iter()))
                })
                .collect();
            format!("({} && {})", in_namespaces(namespaces), groups.join(" && "))
        })
        .collect();
    (!clauses.is_empty()).then(|| clauses.join(" || "))
}

/// Which kinds are protected where; none if everything is, everywhere. The probe always is.
fn scope(covered: &BTreeMap<String, Vec<&ChangePolicySpec>>) -> Option<String> {
    if covered.values().flatten().all(|policy| policy.scope.resources.is_none()) {
        return None;
    }
    let mut clauses = vec![
        format!("request.?name.orValue('') == '{}'", probe::NAME),
        "(request.resource.group == '' && request.resource.resource == 'namespaces')".to_owned(),
    ];
    let mut by_expression: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (namespace, policies) in covered {
        for policy in policies {
            by_expression.entry(kinds(policy)).or_default().push(namespace);
        }
    }
    for (kinds, namespaces) in &by_expression {
        clauses.push(format!("({} && {kinds})", in_namespaces(namespaces)));
    }
    Some(clauses.join(" || "))
}

fn kinds(policy: &ChangePolicySpec) -> String {
    let Some(resources) = &policy.scope.resources else { return "true".to_owned() };
    let any = |rules: &[ResourceRule]| rules.iter().map(resource_rule).collect::<Vec<_>>().join(" || ");
    let mut parts = Vec::new();
    if !resources.include.is_empty() {
        parts.push(format!("({})", any(&resources.include)));
    }
    if !resources.exclude.is_empty() {
        parts.push(format!("!({})", any(&resources.exclude)));
    }
    if parts.is_empty() { "true".to_owned() } else { parts.join(" && ") }
}

fn resource_rule(rule: &ResourceRule) -> String {
    let one = |field: &str, values: &[String]| {
        if values.iter().any(|value| value == "*") {
            "true".to_owned()
        } else {
            format!("{field} in {}", list(values.iter()))
        }
    };
    format!(
        "({} && {})",
        one("request.resource.group", &rule.api_groups),
        one("request.resource.resource", &rule.resources)
    )
}

fn in_namespaces(namespaces: &[&str]) -> String {
    format!("request.?namespace.orValue('') in {}", list(namespaces.iter()))
}

/// A CEL list of texts. JSON's escapes are CEL's too.
fn list<T: AsRef<str>>(values: impl Iterator<Item = T>) -> String {
    let texts: BTreeSet<String> = values.map(|value| json!(value.as_ref()).to_string()).collect();
    format!("[{}]", texts.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: Value) -> ChangePolicy {
        let mut whole = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {}});
        json_patch::merge(&mut whole, &spec);
        ChangePolicy::new("production", serde_json::from_value(whole).unwrap())
    }

    fn names(filled: &Filled) -> Value {
        filled.namespace_selector["matchExpressions"][0]["values"].clone()
    }

    #[test]
    fn the_gate_is_asked_nothing_without_policies() {
        let [gate, glass] = gate([], "mayday-system");
        assert_eq!(gate.rules, json!([]));
        assert_eq!(glass.rules, json!([]));
        assert_eq!(names(&gate), json!([""]));
    }

    #[test]
    fn a_policy_selects_its_namespaces_by_their_name_and_never_our_own() {
        let production =
            policy(json!({"scope": {"namespaces": {"names": ["shop", "kube-system", "mayday-system"]}}}));
        let [gate, glass] = gate([&production], "mayday-system");
        assert_eq!(names(&gate), json!(["shop"]));
        assert_eq!(gate.rules[0]["scope"], "Namespaced");
        assert_eq!(gate.rules[1]["resources"][0], "namespaces");
        assert_eq!(gate.conditions, []);
        assert_eq!(glass.rules, json!([]), "nobody can break the glass");
    }

    #[test]
    fn a_selector_counts_as_what_it_was_resolved_to() {
        let mut selected = policy(json!({"scope": {"namespaces": {"names": null, "selector": {}}}}));
        assert_eq!(gate([&selected], "mayday-system")[0].rules, json!([]));
        selected.status = Some(serde_json::from_value(json!({"namespaces": ["till"]})).unwrap());
        assert_eq!(names(&gate([&selected], "mayday-system")[0]), json!(["till"]));
    }

    #[test]
    fn break_glass_passes_the_gate_and_is_seen_by_the_other_webhook() {
        let production = policy(json!({"breakGlass": {"groups": ["shop-break-glass"]}}));
        let [gate, glass] = gate([&production], "mayday-system");
        let broken = "(request.?namespace.orValue('') in [\"shop\"] && request.userInfo.?groups.orValue([]).exists(g, g in [\"shop-break-glass\"]))";
        assert_eq!(gate.conditions, [("policy-not-break-glass", format!("!({broken})"))]);
        assert_eq!(glass.conditions, [("policy-break-glass", broken.to_owned())]);
        assert_ne!(glass.rules, json!([]));
    }

    #[test]
    fn break_glass_holds_only_if_every_policy_grants_it() {
        let granting = policy(json!({"breakGlass": {"groups": ["a"]}}));
        let other = policy(json!({"breakGlass": {"groups": ["b"]}}));
        let refusing = policy(json!({}));
        let [filled, _] = gate([&granting, &other], "mayday-system");
        let expression = &filled.conditions[0].1;
        assert!(expression.contains("[\"a\"]) && ") && expression.contains("[\"b\"])"), "{expression}");
        let [filled, glass] = gate([&granting, &refusing], "mayday-system");
        assert_eq!(filled.conditions, []);
        assert_eq!(glass.rules, json!([]));
    }

    #[test]
    fn the_probe_reaches_the_gate_where_other_kinds_are_out_of_scope() {
        let apps = policy(json!({"scope": {"resources": {
            "include": [{"apiGroups": ["apps"], "resources": ["*"]}],
            "exclude": [{"apiGroups": ["apps"], "resources": ["replicasets"]}]
        }}}));
        let [filled, _] = gate([&apps], "mayday-system");
        assert_eq!(filled.conditions[0].0, "policy-scope");
        let expression = &filled.conditions[0].1;
        assert!(expression.starts_with("request.?name.orValue('') == 'mayday-probe' || "), "{expression}");
        assert!(
            expression.ends_with(
                "(request.?namespace.orValue('') in [\"shop\"] && ((request.resource.group in [\"apps\"] && true)) && \
                 !((request.resource.group in [\"apps\"] && request.resource.resource in [\"replicasets\"])))"
            ),
            "{expression}"
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_an_expression() {
        let hostile = policy(json!({"breakGlass": {"groups": ["x\"]) || true || [\""]}}));
        let [filled, _] = gate([&hostile], "mayday-system");
        assert!(filled.conditions[0].1.contains(r#"["x\"]) || true || [\""]"#), "{}", filled.conditions[0].1);
    }
}
