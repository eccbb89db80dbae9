//! What no run changes, even if its ServiceAccount has the right: who may do what, what the API server admits, secrets, and
//! Mayday itself. A Runbook that could change these could give itself every right.

use crate::api::GROUP;
use crate::api::common::ObjectRef;

/// Groups that decide who may do what, who is who, what is admitted, and which kinds there are.
const GROUPS: [&str; 9] = [
    "rbac.authorization.k8s.io",
    "authorization.k8s.io",
    "authentication.k8s.io",
    "certificates.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "internal.apiserver.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];
/// Kinds of the core group that give rights or hold secrets. A token is made of its ServiceAccount.
const CORE: [&str; 4] = ["Secret", "ServiceAccount", "Namespace", "Binding"];

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

    /// Failure list 36: RBAC, admission, kinds, secrets, tokens and Mayday itself, even if the account has the right.
    #[test]
    fn what_gives_rights_and_mayday_itself_are_never_changed() {
        let why = |api_version: &str, kind: &str| {
            why(&ObjectRef { api_version: api_version.into(), kind: kind.into(), name: "n".into() })
        };
        for (api_version, kind) in [
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
            ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("apiregistration.k8s.io/v1", "APIService"),
            ("certificates.k8s.io/v1", "CertificateSigningRequest"),
            ("certificates.k8s.io/v1beta1", "ClusterTrustBundle"),
            ("authentication.k8s.io/v1", "TokenRequest"),
            ("authentication.k8s.io/v1", "TokenReview"),
            ("authorization.k8s.io/v1", "SubjectAccessReview"),
            ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
            ("internal.apiserver.k8s.io/v1alpha1", "StorageVersion"),
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("v1", "Namespace"),
            ("mayday.dev/v1alpha1", "Approval"),
            ("mayday.dev/v1alpha1", "Runbook"),
            ("mayday.dev/v1alpha1", "RunbookRun"),
            ("mayday.dev/v1alpha1", "ChangePolicy"),
            ("mayday.dev/v1alpha1", "Incident"),
        ] {
            assert!(why(api_version, kind).is_some(), "{api_version} {kind}");
        }
        for (api_version, kind) in
            [("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("v1", "Node"), ("secrets.example/v1", "Secret")]
        {
            assert_eq!(why(api_version, kind), None, "{api_version} {kind}");
        }
    }
}
