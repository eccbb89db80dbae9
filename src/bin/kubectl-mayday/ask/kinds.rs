//! Which kind a word of the command line means. Pure.

use kube::discovery::ApiResource;

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

/// API groups that the API server itself serves: the only ones that know strategic merge patches.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
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

/// The one kind among those served that the word means.
///
/// # Errors
/// In words, when none or several are meant.
pub fn choose(word: &str, served: impl Iterator<Item = ApiResource>) -> Result<(String, String), String> {
    let word = word.to_ascii_lowercase();
    let (name, group) =
        word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
    let meant = |resource: &ApiResource| {
        (resource.kind.eq_ignore_ascii_case(name) || resource.plural == name)
            && group.is_none_or(|group| group == resource.group)
    };
    let found: Vec<ApiResource> = served.filter(meant).collect();
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
    BUILT_IN.contains(&group_of(api_version))
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
        let gvk = kube::core::GroupVersionKind::gvk(group, "v1", kind);
        ApiResource::from_gvk_with_plural(&gvk, plural)
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
        let served = || {
            [resource("a.example", "Widget", "widgets"), resource("b.example", "Widget", "widgets")]
                .into_iter()
        };
        assert!(choose("widget", served()).unwrap_err().contains("widgets.a.example or widgets.b.example"));
        assert_eq!(choose("widgets.b.example", served()).unwrap().0, "b.example/v1");
        assert!(choose("gadget", served()).is_err());
    }

    #[test]
    fn custom_resources_know_no_strategic_merge() {
        assert!(knows_strategic_merge("v1"));
        assert!(knows_strategic_merge("apps/v1"));
        assert!(!knows_strategic_merge("mayday.dev/v1alpha1"));
        assert!(!knows_strategic_merge("gateway.networking.k8s.io/v1"));
    }
}
