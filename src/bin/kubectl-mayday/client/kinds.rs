//! Which kind a word of the command line means. Pure.

use kube::core::discovery::v2::APIGroupDiscovery;
use mayday::change::diff::builtin_groups;

/// Words that need no look-up: short name, singular, plural; API version; kind.
const KNOWN: &[(&[&str], &str, &str)] = &[
    (&["deploy", "deployment", "deployments"], "apps/v1", "Deployment"),
    (&["sts", "statefulset", "statefulsets"], "apps/v1", "StatefulSet"),
    (&["ds", "daemonset", "daemonsets"], "apps/v1", "DaemonSet"),
    (&["rs", "replicaset", "replicasets"], "apps/v1", "ReplicaSet"),
    (&["po", "pod", "pods"], "v1", "Pod"),
    (&["svc", "service", "services"], "v1", "Service"),
    (&["cm", "configmap", "configmaps"], "v1", "ConfigMap"),
    (&["secret", "secrets"], "v1", "Secret"),
    (&["sa", "serviceaccount", "serviceaccounts"], "v1", "ServiceAccount"),
    (&["pvc", "persistentvolumeclaim", "persistentvolumeclaims"], "v1", "PersistentVolumeClaim"),
    (&["ns", "namespace", "namespaces"], "v1", "Namespace"),
    (&["ing", "ingress", "ingresses"], "networking.k8s.io/v1", "Ingress"),
    (&["netpol", "networkpolicy", "networkpolicies"], "networking.k8s.io/v1", "NetworkPolicy"),
    (
        &["hpa", "horizontalpodautoscaler", "horizontalpodautoscalers"],
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
    ),
    (&["pdb", "poddisruptionbudget", "poddisruptionbudgets"], "policy/v1", "PodDisruptionBudget"),
    (&["job", "jobs"], "batch/v1", "Job"),
    (&["cj", "cronjob", "cronjobs"], "batch/v1", "CronJob"),
    (&["role", "roles"], "rbac.authorization.k8s.io/v1", "Role"),
    (&["rolebinding", "rolebindings"], "rbac.authorization.k8s.io/v1", "RoleBinding"),
    (&["inc", "incident", "incidents"], "mayday.dev/v1alpha1", "Incident"),
    (&["rb", "runbook", "runbooks"], "mayday.dev/v1alpha1", "Runbook"),
    (&["cpol", "changepolicy", "changepolicies"], "mayday.dev/v1alpha1", "ChangePolicy"),
    (&["frz", "freeze", "freezes"], "mayday.dev/v1alpha1", "Freeze"),
];

/// API version and kind of a word that everybody uses; a group behind a dot must be the one meant.
pub fn known(word: &str) -> Option<(String, String)> {
    let word = word.to_ascii_lowercase();
    let (name, group) =
        word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
    let (_, api_version, kind) = KNOWN.iter().find(|(words, api_version, _)| {
        words.contains(&name) && group.is_none_or(|group| group == group_of(api_version))
    })?;
    Some(((*api_version).to_owned(), (*kind).to_owned()))
}

/// A kind that the cluster serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Served {
    group: String,
    api_version: String,
    kind: String,
    plural: String,
    short_names: Vec<String>,
}

/// The kinds of these groups, each in the version that its group prefers.
pub fn served(groups: impl Iterator<Item = APIGroupDiscovery>) -> Vec<Served> {
    let mut all: Vec<Served> = Vec::new();
    for group in groups {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        for found in group.versions {
            let version = found.version.unwrap_or_default();
            let api_version = if name.is_empty() { version } else { format!("{name}/{version}") };
            for resource in found.resources {
                let served = Served {
                    group: name.clone(),
                    api_version: api_version.clone(),
                    kind: resource.response_kind.and_then(|kind| kind.kind).unwrap_or_default(),
                    plural: resource.resource.unwrap_or_default(),
                    short_names: resource.short_names,
                };
                // The versions come in the order in which they are preferred.
                if !all.iter().any(|known| (&known.group, &known.plural) == (&served.group, &served.plural)) {
                    all.push(served);
                }
            }
        }
    }
    all
}

/// The one kind among those served that the word means.
///
/// # Errors
/// In words, when none or several are meant.
pub fn choose(word: &str, served: &[Served]) -> Result<(String, String), String> {
    let word = word.to_ascii_lowercase();
    let (name, group) =
        word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
    let meant = |served: &&Served| {
        let is_named = served.kind.eq_ignore_ascii_case(name)
            || served.plural == name
            || served.short_names.iter().any(|short| short == name);
        is_named && group.is_none_or(|group| group == served.group)
    };
    let found: Vec<&Served> = served.iter().filter(meant).collect();
    match found.as_slice() {
        [] => Err(format!("The cluster has no kind {word:?}: write it in full, such as deployment/NAME.")),
        [one] => Ok((one.api_version.clone(), one.kind.clone())),
        several => {
            let all: Vec<String> =
                several.iter().map(|one| format!("{}.{}", one.plural, one.group)).collect();
            Err(format!("{word:?} may mean {}: write which.", all.join(" or ")))
        }
    }
}

/// Whether strategic merge patches work on objects of that API version.
pub fn knows_strategic_merge(api_version: &str) -> bool {
    builtin_groups::is(group_of(api_version))
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, resources: serde_json::Value) -> APIGroupDiscovery {
        let version = |version: &str| serde_json::json!({"version": version, "resources": resources});
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": name}, "versions": [version("v1"), version("v1beta1")]}),
        )
        .unwrap()
    }

    fn widgets(name: &str) -> APIGroupDiscovery {
        let kind = serde_json::json!({"group": name, "version": "v1", "kind": "Widget"});
        group(name, serde_json::json!([{"resource": "widgets", "responseKind": kind, "shortNames": ["wd"]}]))
    }

    #[test]
    fn usual_words_need_no_look_up() {
        let deployment = Some(("apps/v1".to_owned(), "Deployment".to_owned()));
        assert_eq!(known("deploy"), deployment);
        assert_eq!(known("Deployment.apps"), deployment);
        assert_eq!(known("deployment.example.org"), None);
        assert_eq!(known("widgets"), None);
    }

    #[test]
    fn a_word_that_may_mean_two_kinds_is_not_guessed() {
        let both = served([widgets("a.example"), widgets("b.example")].into_iter());
        assert!(choose("widget", &both).unwrap_err().contains("widgets.a.example or widgets.b.example"));
        assert_eq!(choose("widgets.b.example", &both).unwrap().0, "b.example/v1");
        assert_eq!(choose("wd.a.example", &both).unwrap().0, "a.example/v1");
        assert!(choose("gadget", &both).is_err());
    }

    #[test]
    fn a_short_name_of_the_cluster_is_known() {
        let one = served([widgets("a.example")].into_iter());
        assert_eq!(choose("wd", &one), Ok(("a.example/v1".to_owned(), "Widget".to_owned())));
    }

    #[test]
    fn custom_resources_know_no_strategic_merge() {
        assert!(knows_strategic_merge("v1"));
        assert!(knows_strategic_merge("apps/v1"));
        assert!(!knows_strategic_merge("mayday.dev/v1alpha1"));
        assert!(!knows_strategic_merge("gateway.networking.k8s.io/v1"));
    }
}
