//! The API groups that the API server itself serves; all others are custom resources. Pure.
//!
//! Only built-in groups support strategic merge patches, and the API server sets the status of their new objects, in part
//! only after admission.

const GROUPS: &[&str] = &[
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

/// Whether the API server itself serves the group.
pub fn is(group: &str) -> bool {
    GROUPS.contains(&group)
}
