//! Which group a break-glass is taken under. Pure.

use k8s_openapi::api::authorization::v1::ResourceRule;
use mayday::api::ChangePolicy;

use crate::cluster::{Me, name_of};
use crate::failure::Failure;
use crate::text::names;

/// Groups that the person may impersonate and is not in.
pub fn takeable(rules: &[ResourceRule], me: &Me) -> Vec<String> {
    let about_groups = |rule: &&ResourceRule| {
        rule.verbs.iter().any(|verb| verb == "impersonate")
            && rule.resources.iter().flatten().any(|resource| resource == "groups")
    };
    let named = rules.iter().filter(about_groups).flat_map(|rule| rule.resource_names.iter().flatten());
    let mut found: Vec<String> = named.filter(|group| !me.groups.contains(group)).cloned().collect();
    found.sort();
    found.dedup();
    found
}

/// One group that every policy over the namespace grants; without one, a group of each.
pub fn of_policies(policies: &[ChangePolicy], namespace: &str) -> Result<Vec<String>, Failure> {
    let over: Vec<&ChangePolicy> = policies.iter().filter(|policy| covers(policy, namespace)).collect();
    if over.is_empty() {
        return Err(Failure::new(format!(
            "No policy protects namespace {namespace}: the command needs no break-glass."
        ))
        .then("kubectl get changepolicies"));
    }
    let granted = |policy: &ChangePolicy| policy.spec.break_glass.clone().unwrap_or_default().groups;
    let without = over.iter().filter(|policy| granted(policy).is_empty()).map(|policy| name_of(*policy));
    let without = names(without, "");
    if !without.is_empty() {
        return Err(Failure::new(format!(
            "Nobody may break the glass in {namespace}: not granted by {without}."
        ))
        .then(crate::text::command("ask", namespace, "--help")));
    }
    let first = over.first().map(|policy| granted(policy)).unwrap_or_default();
    let common = first.iter().find(|group| over.iter().all(|policy| granted(policy).contains(group)));
    if let Some(common) = common {
        return Ok(vec![common.clone()]);
    }
    let mut one_of_each: Vec<String> =
        over.iter().filter_map(|policy| granted(policy).into_iter().next()).collect();
    one_of_each.sort();
    one_of_each.dedup();
    Ok(one_of_each)
}

fn covers(policy: &ChangePolicy, namespace: &str) -> bool {
    let named = policy.spec.scope.namespaces.names.as_deref().unwrap_or_default();
    let resolved = policy.status.as_ref().map(|status| status.namespaces.as_slice()).unwrap_or_default();
    named.iter().chain(resolved).any(|covered| covered == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::change_policy::{ChangePolicySpec, Groups, NamespaceScope, Scope};

    fn policy(name: &str, groups: &[&str]) -> ChangePolicy {
        let names = Some(vec!["shop".to_owned()]);
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        let spec = ChangePolicySpec {
            scope: Scope { namespaces: NamespaceScope { names, selector: None }, resources: None },
            break_glass: Some(Groups { groups }),
            ..Default::default()
        };
        ChangePolicy::new(name, spec)
    }

    #[test]
    fn without_policies_the_group_is_one_that_may_be_taken() {
        let rule = ResourceRule {
            verbs: vec!["impersonate".into()],
            resources: Some(vec!["groups".into()]),
            resource_names: Some(vec!["shop-break-glass".into(), "shop-engineers".into()]),
            ..Default::default()
        };
        let read = ResourceRule { verbs: vec!["get".into()], ..rule.clone() };
        let me = Me { user: "emil".into(), groups: vec!["shop-engineers".into()] };
        assert_eq!(takeable(&[rule], &me), ["shop-break-glass"]);
        assert!(takeable(&[read], &me).is_empty());
    }

    #[test]
    fn every_policy_over_the_namespace_must_grant_it() {
        let granted = |policies: &[ChangePolicy]| of_policies(policies, "shop");
        assert_eq!(granted(&[policy("a", &["x", "glass"]), policy("b", &["glass"])]).unwrap(), ["glass"]);
        assert_eq!(granted(&[policy("a", &["x"]), policy("b", &["y"])]).unwrap(), ["x", "y"]);
        assert!(
            granted(&[policy("a", &["x"]), policy("b", &[])])
                .unwrap_err()
                .sentence
                .contains("not granted by b")
        );
        assert!(
            of_policies(&[policy("a", &["x"])], "play").unwrap_err().sentence.contains("No policy protects")
        );
    }
}
