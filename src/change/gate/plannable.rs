//! Which kinds the account that plans requests may write by dry runs, so that a request can hold them. Pure.

use kube::core::admission::Operation;

use super::action::Action;

/// The account that plans requests.
pub const PLANNER: &str = "mayday-planner";
/// What allows it to plan another kind, as the end of a sentence.
pub const NEXT: &str = "whoever runs Mayday can allow it with a ClusterRole with the label \
                        mayday.dev/aggregate-to-planner: \"true\" (docs/installing.md#kinds-that-a-request-can-hold)";

/// API groups and plural names of the kinds that it may write in every installation: ClusterRole mayday-planner-base of the
/// chart.
const KINDS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "limitranges",
            "persistentvolumeclaims",
            "pods",
            "podtemplates",
            "replicationcontrollers",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    ("apps", &["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "mayday.dev",
        &[
            "alertsources",
            "businessservices",
            "changepolicies",
            "freezes",
            "incidents",
            "notificationchannels",
            "oncalloverrides",
            "oncallrotations",
            "runbooks",
        ],
    ),
];

/// The verbs that planning an action takes beyond those of every installation; none for the kinds that it may write.
pub fn verbs(action: &Action) -> &'static [&'static str] {
    let (group, plural) = (action.target.group(), action.plural.as_str());
    let is_known = KINDS.iter().any(|(known, plurals)| *known == group && plurals.contains(&plural))
        || (group.is_empty() && plural == "secrets" && action.operation == Operation::Delete)
        || (group.is_empty() && plural == "namespaces" && action.operation != Operation::Create);
    match action.operation {
        _ if is_known => &[],
        Operation::Create => &["create"],
        Operation::Update => &["get", "patch"],
        Operation::Delete => &["delete"],
        Operation::Connect => &[],
    }
}

/// A kind as the API server names it in a refusal: `rolebindings.rbac.authorization.k8s.io`.
pub fn resource(action: &Action) -> String {
    match action.target.group() {
        "" => action.plural.clone(),
        group => format!("{}.{group}", action.plural),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::gate::action::tests::action;
    use serde_json::{Value, json};

    #[test]
    fn the_kinds_are_those_of_the_chart() {
        let chart = std::fs::read_to_string(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("charts/mayday/templates/rbac/planner.yaml"),
        )
        .unwrap();
        let base = chart.split("name: mayday-planner-base").nth(1).unwrap();
        let rules =
            format!("rules:{}", base.split("\nrules:").nth(1).unwrap().split("\n---").next().unwrap());
        let rules: Value = serde_saphyr::from_str(&rules).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut written = Vec::new();
        for rule in rules["rules"].as_array().unwrap() {
            if rule["verbs"].as_array().unwrap().contains(&json!("create")) {
                for plural in rule["resources"].as_array().unwrap() {
                    written.push((text(&rule["apiGroups"][0]), text(plural)));
                }
            }
        }
        written.retain(|(_, plural)| !plural.contains('/'));
        let mut known: Vec<(String, String)> = KINDS
            .iter()
            .flat_map(|(group, plurals)| {
                plurals.iter().map(|plural| ((*group).to_owned(), (*plural).to_owned()))
            })
            .collect();
        written.sort();
        known.sort();
        assert_eq!(written, known);
    }

    #[test]
    fn other_kinds_take_rights_of_their_own() {
        assert_eq!(verbs(&action(json!({}))), [""; 0]);
        let binding = json!({"kind": {"group": "rbac.authorization.k8s.io", "kind": "RoleBinding"},
            "resource": {"group": "rbac.authorization.k8s.io", "resource": "rolebindings"}});
        let update = action(binding.clone());
        assert_eq!(verbs(&update), ["get", "patch"]);
        assert_eq!(resource(&update), "rolebindings.rbac.authorization.k8s.io");
        let mut create = binding;
        create["operation"] = json!("CREATE");
        create["oldObject"] = json!(null);
        assert_eq!(verbs(&action(create)), ["create"]);
    }
}
