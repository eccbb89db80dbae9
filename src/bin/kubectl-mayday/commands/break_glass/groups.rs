//! Which group a break-glass is taken under. Pure.

use k8s_openapi::api::authorization::v1::ResourceRule;
use mayday::api::ChangePolicy;
use mayday::command::{Command, Flag, Verb};

use crate::client::failure::Failure;
use crate::client::session::{Me, name_of};
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

/// The groups that each policy over the namespace grants.
///
/// # Errors
/// When none protects it, or one grants none.
pub fn granted(policies: &[ChangePolicy], namespace: &str, flags: &str) -> Result<Vec<Vec<String>>, Failure> {
    let over: Vec<&ChangePolicy> = policies.iter().filter(|policy| covers(policy, namespace)).collect();
    if over.is_empty() {
        return Err(Failure::new(format!(
            "No policy protects namespace {namespace}: the command needs no break-glass. Run it as it is."
        )));
    }
    let of = |policy: &ChangePolicy| policy.spec.break_glass.clone().unwrap_or_default().groups;
    let without = over.iter().filter(|policy| of(policy).is_empty()).map(|policy| name_of(*policy));
    let without = names(without, "");
    if !without.is_empty() {
        return Err(Failure::new(format!(
            "Nobody may break the glass in {namespace}: not granted by {without}. Ask for the change instead."
        ))
        .then(Command::new(Verb::Ask).namespace(namespace).connection(flags).switch(Flag::Help)));
    }
    Ok(over.into_iter().map(of).collect())
}

/// The groups to take: one group that the person may take and every policy grants, else one group of each
/// policy. None if the person may not take them.
pub fn choose(granted: &[Vec<String>], may_take: &[String]) -> Option<Vec<String>> {
    let mine = |groups: &[String]| -> Vec<String> {
        groups.iter().filter(|group| may_take.contains(group)).cloned().collect()
    };
    let first = mine(granted.first()?);
    if let Some(common) = first.iter().find(|group| granted.iter().all(|groups| groups.contains(group))) {
        return Some(vec![common.clone()]);
    }
    let mut one_of_each: Vec<String> =
        granted.iter().map(|groups| mine(groups).into_iter().next()).collect::<Option<_>>()?;
    one_of_each.sort();
    one_of_each.dedup();
    Some(one_of_each)
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

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_group_is_one_that_may_be_taken_where_policies_are_unknown() {
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
        let refused = |policies: &[ChangePolicy], namespace: &str| {
            granted(policies, namespace, "").unwrap_err().sentence
        };
        let both = granted(&[policy("a", &["x", "glass"]), policy("b", &["glass"])], "shop", "").unwrap();
        assert_eq!(both, [words("x glass"), words("glass")]);
        assert!(refused(&[policy("a", &["x"]), policy("b", &[])], "shop").contains("not granted by b"));
        assert!(refused(&[policy("a", &["x"])], "play").contains("No policy protects"));
    }

    #[test]
    fn the_group_taken_is_one_that_the_person_may_take() {
        let chosen = |granted: &[&str], may: &str| {
            let granted: Vec<Vec<String>> = granted.iter().map(|groups| words(groups)).collect();
            choose(&granted, &words(may))
        };
        assert_eq!(chosen(&["first second"], "second"), Some(words("second")));
        assert_eq!(chosen(&["x glass", "glass y"], "x glass y"), Some(words("glass")), "one that all grant");
        assert_eq!(chosen(&["x", "y"], "x y"), Some(words("x y")));
        assert_eq!(chosen(&["x", "y"], "x"), None);
        assert_eq!(chosen(&["x"], ""), None);
    }
}
