//! Whether an edit of a ChangePolicy loosens it. Pure.
//!
//! An edit tightens if provably no person may do more after it than before. Every other edit counts as a
//! loosening, so a field that this comparison does not know yet errs on the safe side.

use std::collections::BTreeSet;

use crate::api::change_policy::{
    Activation, ApprovalRule, AutomationStart, BindsFrom, ChangePolicySpec, Endpoint, Enforcement, Evictions,
    ExemptActor, Groups, IncidentRule, Interactive, NamespaceScope, Operation, ResourceRule, ResourceScope,
};
use crate::api::runbook::RunApproval;
use crate::outbound::{HttpUrl, endpoints};

/// Which fields are looser in `new`, in words; empty if none is.
pub fn loosened(old: &ChangePolicySpec, new: &ChangePolicySpec) -> Vec<String> {
    let mut found = Vec::new();
    // Destructured without `..`: a new field does not compile until it is compared.
    let ChangePolicySpec {
        scope,
        enforcement: _,
        activation: _,
        approval,
        incident,
        interactive,
        evictions: _,
        break_glass,
        automation,
        limits,
        exempt_actors,
    } = new;
    namespaces(&old.scope.namespaces, &scope.namespaces, &mut found);
    resources(old.scope.resources.as_ref(), scope.resources.as_ref(), &mut found);
    let mut less = |field: &str, looser: bool| {
        if looser {
            found.push(format!("spec.{field}"));
        }
    };
    less("enforcement", enforcement(new.enforcement) < enforcement(old.enforcement));
    less("activation", old.activation == Activation::Always && new.activation == Activation::DuringIncident);
    less("interactive.normally", strict(interactive.normally) < strict(old.interactive.normally));
    less(
        "interactive.duringIncident",
        strict(interactive.during_incident) < strict(old.interactive.during_incident),
    );
    less("evictions", old.evictions == Evictions::Approve && new.evictions == Evictions::WithinBudget);
    less("breakGlass.groups", !members(break_glass.as_ref()).is_subset(&members(old.break_glass.as_ref())));
    less("automation.start", reach(automation.start) > reach(old.automation.start));
    less("automation.approval", standing(old.automation.approval, automation.approval));
    less(
        "automation.afterLeadClaimed",
        standing(old.automation.after_lead_claimed, automation.after_lead_claimed),
    );
    // Absent: no limit.
    let most = |concurrency: Option<i32>| concurrency.unwrap_or(i32::MAX);
    less("automation.concurrency", most(automation.concurrency) > most(old.automation.concurrency));
    less("automation.minHealthy", automation.min_healthy < old.automation.min_healthy);
    less(
        "automation.endpoints",
        !automation.endpoints.iter().all(|endpoint| is_listed(endpoint, &old.automation.endpoints)),
    );
    let identities = &old.automation.cluster_identities;
    less(
        "automation.clusterIdentities",
        !automation.cluster_identities.iter().all(|identity| identities.contains(identity)),
    );
    less("automation.requireDrill", old.automation.require_drill && !automation.require_drill);
    less("limits.maxUses", limits.max_uses > old.limits.max_uses);
    less("limits.maxWindow", limits.max_window.get() > old.limits.max_window.get());
    approvals(&old.approval, approval, &mut found);
    incidents(old.incident.as_ref(), incident.as_ref(), &mut found);
    if !exempt_actors.iter().all(|actor| is_exempt(actor, &old.exempt_actors)) {
        found.push("spec.exemptActors".to_owned());
    }
    found
}

fn namespaces(old: &NamespaceScope, new: &NamespaceScope, found: &mut Vec<String>) {
    match (&old.names, &new.names) {
        (Some(old), Some(new)) => {
            let gone: Vec<&str> = old.iter().filter(|name| !new.contains(name)).map(String::as_str).collect();
            if !gone.is_empty() {
                found.push(format!("spec.scope.namespaces.names (without {})", gone.join(", ")));
            }
        }
        // The namespaces that a selector will select cannot be known.
        _ if old != new => found.push("spec.scope.namespaces".to_owned()),
        _ => {}
    }
}

fn resources(old: Option<&ResourceScope>, new: Option<&ResourceScope>, found: &mut Vec<String>) {
    let none = ResourceScope::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    // An empty list includes everything.
    let included = match (old.include.is_empty(), new.include.is_empty()) {
        (_, true) => true,
        (true, false) => everything(&new.include),
        (false, false) => covers(&new.include, &old.include),
    };
    if !included {
        found.push("spec.scope.resources.include".to_owned());
    }
    if !covers(&old.exclude, &new.exclude) {
        found.push("spec.scope.resources.exclude".to_owned());
    }
}

fn everything(rules: &[ResourceRule]) -> bool {
    covers(rules, &[ResourceRule { api_groups: vec!["*".into()], resources: vec!["*".into()] }])
}

/// Whether every pair of group and resource of `inner` is in `outer`.
fn covers(outer: &[ResourceRule], inner: &[ResourceRule]) -> bool {
    let holds = |list: &[String], value: &String| list.iter().any(|held| held == "*" || held == value);
    inner.iter().all(|rule| {
        rule.api_groups.iter().all(|group| {
            rule.resources.iter().all(|resource| {
                outer.iter().any(|rule| holds(&rule.api_groups, group) && holds(&rule.resources, resource))
            })
        })
    })
}

fn approvals(old: &ApprovalRule, new: &ApprovalRule, found: &mut Vec<String>) {
    // A rule without an entry lets no person approve, so the first entry lets more.
    let first = old.required.is_empty() && !new.required.is_empty();
    // Every member of any of the groups may reject, which is final.
    let others = !groups(new).is_subset(&groups(old));
    let kept = old.required.iter().all(|before| {
        new.required.is_empty()
            || new.required.iter().any(|after| {
                after.count >= before.count && set(&after.groups).is_subset(&set(&before.groups))
            })
    });
    if first || others || !kept {
        found.push("spec.approval.required".to_owned());
    }
    if !new.pipelines.iter().all(|pipeline| old.pipelines.contains(pipeline)) {
        found.push("spec.approval.pipelines".to_owned());
    }
    // An added alias loosens too: a user who is the same person as the requester or lead is no longer needed.
    if aliases(old) != aliases(new) {
        found.push("spec.approval.aliases".to_owned());
    }
}

/// Every group that approves.
fn groups(rule: &ApprovalRule) -> BTreeSet<&str> {
    rule.required.iter().flat_map(|required| set(&required.groups)).collect()
}

fn aliases(rule: &ApprovalRule) -> BTreeSet<BTreeSet<&str>> {
    rule.aliases.iter().map(|alias| set(&alias.users)).collect()
}

fn incidents(old: Option<&IncidentRule>, new: Option<&IncidentRule>, found: &mut Vec<String>) {
    let none = IncidentRule::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    // A lead counts beside the required groups, so another lead is another approver.
    if !set(&new.leads.groups).is_subset(&set(&old.leads.groups)) {
        found.push("spec.incident.leads.groups".to_owned());
    }
    if !old.severities.iter().all(|severity| new.severities.contains(severity)) {
        found.push("spec.incident.severities".to_owned());
    }
    if !old.severities.is_empty() && late(new.binds_from) > late(old.binds_from) {
        found.push("spec.incident.bindsFrom".to_owned());
    }
}

fn is_exempt(actor: &ExemptActor, old: &[ExemptActor]) -> bool {
    let before: Vec<_> =
        old.iter().filter(|held| held.user == actor.user).flat_map(|held| &held.rules).collect();
    actor.rules.iter().all(|rule| {
        rule.api_groups.iter().all(|group| {
            rule.resources.iter().all(|resource| {
                rule.operations.iter().all(|operation: &Operation| {
                    before.iter().any(|held| {
                        held.api_groups.contains(group)
                            && held.resources.contains(resource)
                            && held.operations.contains(operation)
                    })
                })
            })
        })
    })
}

/// Whether everything below an endpoint could be called before.
fn is_listed(endpoint: &Endpoint, old: &[Endpoint]) -> bool {
    let old = || old.iter().filter(|known| known.ca_bundle == endpoint.ca_bundle);
    let below = |url: &HttpUrl| old().any(|known| endpoints::covers(known, url));
    old().any(|known| known.url == endpoint.url) || HttpUrl::parse(&endpoint.url).is_ok_and(|url| below(&url))
}

fn members(groups: Option<&Groups>) -> BTreeSet<&str> {
    groups.map(|groups| set(&groups.groups)).unwrap_or_default()
}

fn set(values: &[String]) -> BTreeSet<&str> {
    values.iter().map(String::as_str).collect()
}

fn enforcement(value: Enforcement) -> u8 {
    match value {
        Enforcement::Audit => 0,
        Enforcement::Warn => 1,
        Enforcement::Deny => 2,
    }
}

fn strict(value: Interactive) -> u8 {
    match value {
        Interactive::Allow => 0,
        Interactive::Record => 1,
        Interactive::Approve => 2,
    }
}

fn reach(value: AutomationStart) -> u8 {
    match value {
        AutomationStart::Disabled => 0,
        AutomationStart::Manual => 1,
        AutomationStart::Automatic => 2,
    }
}

fn late(value: BindsFrom) -> u8 {
    match value {
        BindsFrom::Detected => 0,
        BindsFrom::Acknowledged => 1,
        BindsFrom::LeadClaimed => 2,
    }
}

fn standing(old: RunApproval, new: RunApproval) -> bool {
    old == RunApproval::PerRun && new == RunApproval::Standing
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    /// The policy of the examples, and a little more so that every field can be tightened.
    fn stored() -> Value {
        json!({
            "scope": {
                "namespaces": {"names": ["shop", "till"]},
                "resources": {
                    "include": [{"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"]}],
                    "exclude": [{"apiGroups": ["apps"], "resources": ["replicasets"]}]
                }
            },
            "enforcement": "Warn",
            "activation": "DuringIncident",
            "approval": {
                "required": [{"name": "peers", "groups": ["shop-approvers", "shop-leads"], "count": 2}],
                "pipelines": [{"user": "system:serviceaccount:flux:flux"}],
                "aliases": [{"users": ["lena", "lena-admin"]}]
            },
            "incident": {
                "leads": {"groups": ["shop-leads", "leads"]}, "severities": ["SEV1", "SEV2"], "bindsFrom": "Acknowledged"
            },
            "interactive": {"normally": "Record", "duringIncident": "Record"},
            "evictions": "WithinBudget",
            "breakGlass": {"groups": ["shop-break-glass", "old-hands"]},
            "automation": {"start": "Manual", "approval": "Standing", "afterLeadClaimed": "Standing",
                "concurrency": 4, "minHealthy": 50,
                "endpoints": [{"name": "prometheus", "url": "http://p:9090/prom"}, {"name": "bad", "url": "http://P"}]},
            "limits": {"maxUses": 5, "maxWindow": "4h"},
            "exemptActors": [{"user": "keda", "rules": [
                {"apiGroups": ["apps"], "resources": ["deployments/scale", "statefulsets/scale"], "operations": ["Update"]}
            ]}]
        })
    }

    fn compare(edit: &Value) -> Vec<String> {
        let old: ChangePolicySpec = from_value(stored()).unwrap();
        let mut edited = stored();
        json_patch::merge(&mut edited, edit);
        loosened(&old, &from_value(edited).unwrap())
    }

    fn tightens(edit: Value) {
        assert_eq!(compare(&edit), Vec::<String>::new(), "{edit}");
    }

    fn loosens(edit: Value, field: &str) {
        let found = compare(&edit);
        assert_eq!(found.len(), 1, "{edit}: {found:?}");
        assert!(found[0].starts_with(field), "{edit}: {found:?}");
    }

    #[test]
    fn an_edit_of_nothing_is_free() {
        tightens(json!({}));
    }

    #[test]
    fn more_is_protected_freely_and_less_is_not() {
        tightens(json!({"scope": {"namespaces": {"names": ["till", "shop", "bank"]}}}));
        loosens(
            json!({"scope": {"namespaces": {"names": ["shop"]}}}),
            "spec.scope.namespaces.names (without till)",
        );
        loosens(
            json!({"scope": {"namespaces": {"names": null, "selector": {"matchLabels": {"env": "prod"}}}}}),
            "spec.scope.namespaces",
        );
        tightens(json!({"scope": {"resources": null}}));
        tightens(json!({"scope": {"resources": {"include": []}}}));
        tightens(json!({"scope": {"resources": {"include": [{"apiGroups": ["*"], "resources": ["*"]}]}}}));
        loosens(
            json!({"scope": {"resources": {"include": [{"apiGroups": ["apps"], "resources": ["deployments"]}]}}}),
            "spec.scope.resources.include",
        );
        tightens(json!({"scope": {"resources": {"exclude": []}}}));
        loosens(
            json!({"scope": {"resources": {"exclude": [{"apiGroups": ["*"], "resources": ["replicasets"]}]}}}),
            "spec.scope.resources.exclude",
        );
    }

    #[test]
    fn a_scope_of_everything_is_not_narrowed_freely() {
        let mut old: ChangePolicySpec = from_value(stored()).unwrap();
        let new = old.clone();
        old.scope.resources = None;
        assert_eq!(loosened(&old, &new), ["spec.scope.resources.include", "spec.scope.resources.exclude"]);
    }

    #[test]
    fn enforcement_and_activation_only_rise_freely() {
        tightens(json!({"enforcement": "Deny", "activation": "Always"}));
        loosens(json!({"enforcement": "Audit"}), "spec.enforcement");
        let mut always: ChangePolicySpec = from_value(stored()).unwrap();
        always.activation = Activation::Always;
        assert_eq!(loosened(&always, &from_value(stored()).unwrap()), ["spec.activation"]);
    }

    #[test]
    fn fewer_may_approve_freely_and_more_may_not() {
        let required = |groups: Value, count: i32| json!({"approval": {"required": [{"name": "peers", "groups": groups, "count": count}]}});
        tightens(required(json!(["shop-approvers"]), 2));
        tightens(required(json!(["shop-approvers", "shop-leads"]), 3));
        tightens(json!({"approval": {"required": []}}));
        loosens(required(json!(["shop-approvers", "shop-leads"]), 1), "spec.approval.required");
        loosens(required(json!(["shop-approvers", "shop-leads", "all"]), 2), "spec.approval.required");
        let more = |groups: Value| {
            json!({"approval": {"required": [
                {"name": "renamed", "groups": ["shop-leads"], "count": 2}, {"name": "more", "groups": groups, "count": 1}
            ]}})
        };
        tightens(more(json!(["shop-approvers"])));
        loosens(more(json!(["anybody"])), "spec.approval.required");
        loosens(
            json!({"approval": {"required": [{"name": "more", "groups": ["anybody"], "count": 9}]}}),
            "spec.approval.required",
        );
    }

    #[test]
    fn a_policy_that_lets_nobody_approve_is_not_opened_freely() {
        let mut old: ChangePolicySpec = from_value(stored()).unwrap();
        old.approval.required = Vec::new();
        assert_eq!(loosened(&old, &from_value(stored()).unwrap()), ["spec.approval.required"]);
    }

    #[test]
    fn pipelines_and_aliases() {
        tightens(json!({"approval": {"pipelines": []}}));
        loosens(
            json!({"approval": {"pipelines": [{"user": "system:serviceaccount:argocd:argocd"}]}}),
            "spec.approval.pipelines",
        );
        tightens(json!({"approval": {"aliases": [{"users": ["lena-admin", "lena"]}]}}));
        for aliases in [
            json!([]),
            json!([{"users": ["lena", "bea"]}]),
            json!([{"users": ["lena", "lena-admin", "lena-root"]}]),
            json!([{"users": ["lena", "lena-admin"]}, {"users": ["emil", "bea"]}]),
        ] {
            loosens(json!({"approval": {"aliases": aliases}}), "spec.approval.aliases");
        }
    }

    #[test]
    fn incidents_bind_more_freely_and_less_not() {
        tightens(json!({"incident": {"severities": ["SEV1", "SEV2", "SEV3"], "bindsFrom": "Detected"}}));
        tightens(json!({"incident": {"leads": {"groups": ["shop-leads"]}}}));
        loosens(
            json!({"incident": {"leads": {"groups": ["shop-leads", "everybody"]}}}),
            "spec.incident.leads.groups",
        );
        loosens(json!({"incident": {"severities": ["SEV1"]}}), "spec.incident.severities");
        loosens(json!({"incident": {"bindsFrom": "LeadClaimed"}}), "spec.incident.bindsFrom");
        loosens(json!({"incident": null}), "spec.incident.severities");
    }

    #[test]
    fn doors_are_closed_freely_and_not_opened() {
        tightens(
            json!({"interactive": {"normally": "Approve", "duringIncident": "Approve"}, "evictions": "Approve"}),
        );
        loosens(json!({"interactive": {"normally": "Allow"}}), "spec.interactive.normally");
        loosens(json!({"interactive": {"duringIncident": "Allow"}}), "spec.interactive.duringIncident");
        tightens(json!({"breakGlass": {"groups": ["shop-break-glass"]}}));
        tightens(json!({"breakGlass": null}));
        loosens(json!({"breakGlass": {"groups": ["shop-break-glass", "all"]}}), "spec.breakGlass.groups");
        let mut strict: ChangePolicySpec = from_value(stored()).unwrap();
        strict.evictions = Evictions::Approve;
        assert_eq!(loosened(&strict, &from_value(stored()).unwrap()), ["spec.evictions"]);
    }

    #[test]
    fn automation_is_held_back_freely_and_not_let_go() {
        tightens(
            json!({"automation": {"start": "Disabled", "approval": "PerRun", "afterLeadClaimed": "PerRun"}}),
        );
        loosens(json!({"automation": {"start": "Automatic"}}), "spec.automation.start");
        let mut strict: ChangePolicySpec = from_value(stored()).unwrap();
        strict.automation.approval = RunApproval::PerRun;
        strict.automation.after_lead_claimed = RunApproval::PerRun;
        assert_eq!(
            loosened(&strict, &from_value(stored()).unwrap()),
            ["spec.automation.approval", "spec.automation.afterLeadClaimed"]
        );
    }

    #[test]
    fn endpoints_are_taken_off_freely_and_not_added() {
        let endpoints = |urls: &[&str]| {
            let list = |(n, url)| json!({"name": format!("e{n}"), "url": url});
            json!({"automation": {"endpoints": urls.iter().enumerate().map(list).collect::<Vec<_>>()}})
        };
        for urls in [
            &[][..],
            &["http://p:9090/prom"],
            &["http://p:9090/prom/api", "http://p:9090/prom/"],
            &["http://P"],
        ] {
            tightens(endpoints(urls));
        }
        for url in
            ["http://p:9090", "http://p:9090/prometheus", "https://p:9090/prom", "http://q", "http://P/x"]
        {
            loosens(endpoints(&["http://p:9090/prom", url]), "spec.automation.endpoints");
        }
        let mut trusted = endpoints(&["http://p:9090/prom"]);
        trusted["automation"]["endpoints"][0]["caBundle"] = json!("-----BEGIN CERTIFICATE-----");
        loosens(trusted, "spec.automation.endpoints");
    }

    #[test]
    fn fewer_runs_at_once_are_stricter_than_many() {
        let concurrency = |most: Option<i32>| json!({"automation": {"concurrency": most}});
        tightens(concurrency(Some(1)));
        tightens(concurrency(Some(4)));
        loosens(concurrency(Some(5)), "spec.automation.concurrency");
        loosens(concurrency(None), "spec.automation.concurrency");
    }

    #[test]
    fn more_healthy_others_are_stricter_than_fewer() {
        let least = |least: Option<i32>| json!({"automation": {"minHealthy": least}});
        tightens(least(Some(50)));
        tightens(least(Some(100)));
        loosens(least(Some(49)), "spec.automation.minHealthy");
        loosens(least(None), "spec.automation.minHealthy");
    }

    #[test]
    fn cluster_identities_are_taken_off_freely_and_not_added() {
        let identities = |list: Value| json!({"automation": {"clusterIdentities": list}});
        tightens(identities(json!([])));
        let added = identities(json!([{"namespace": "shop", "name": "nodes"}]));
        loosens(added, "spec.automation.clusterIdentities");
    }

    #[test]
    fn limits_and_exemptions() {
        tightens(json!({"limits": {"maxUses": 1, "maxWindow": "30m"}, "exemptActors": []}));
        loosens(json!({"limits": {"maxUses": 6}}), "spec.limits.maxUses");
        loosens(json!({"limits": {"maxWindow": "241m"}}), "spec.limits.maxWindow");
        let exempt = |user: &str, resource: &str, operation: &str| {
            json!({"exemptActors": [{"user": user, "rules": [
                {"apiGroups": ["apps"], "resources": [resource], "operations": [operation]}
            ]}]})
        };
        tightens(exempt("keda", "deployments/scale", "Update"));
        for edit in [
            exempt("keda", "deployments", "Update"),
            exempt("keda", "deployments/scale", "Delete"),
            exempt("emil", "deployments/scale", "Update"),
        ] {
            loosens(edit, "spec.exemptActors");
        }
    }
}
