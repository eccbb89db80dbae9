//! What no run changes, even if its ServiceAccount has the right: who may do what, what the API server admits, secrets, and
//! Mayday itself. A Runbook that could change these could give itself every right.

use crate::api::GROUP;
use crate::api::common::ObjectRef;

/// Groups that decide who may do what, and what is admitted.
const GROUPS: [&str; 6] = [
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "authentication.k8s.io",
];
/// Kinds of the core group that give rights or hold secrets.
const CORE: [&str; 3] = ["Secret", "ServiceAccount", "Namespace"];

/// Why no run changes an object of this kind; `None` if one may.
pub fn why(object: &ObjectRef) -> Option<String> {
    let group = object.group();
    let kind = &object.kind;
    if group == GROUP {
        return Some(format!("{kind} is Mayday's own: a run changes nothing that decides about runs"));
    }
    let is_denied = GROUPS.contains(&group) || (group.is_empty() && CORE.contains(&kind.as_str()));
    is_denied.then(|| format!("no run changes a {kind}, whatever rights its ServiceAccount has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_rights_and_mayday_itself_are_never_changed() {
        let why = |api_version: &str, kind: &str| {
            why(&ObjectRef { api_version: api_version.into(), kind: kind.into(), name: "n".into() })
        };
        for (api_version, kind) in [
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("mayday.dev/v1alpha1", "Approval"),
        ] {
            assert!(why(api_version, kind).is_some(), "{api_version} {kind}");
        }
        for (api_version, kind) in
            [("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("secrets.example/v1", "Secret")]
        {
            assert_eq!(why(api_version, kind), None, "{api_version} {kind}");
        }
    }
}
