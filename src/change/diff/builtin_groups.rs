//! The API groups that the API server itself serves, where custom resources differ from everything else. Pure.
//!
//! Only they know strategic merge patches; and a new object of theirs comes with a status that the API server made, some
//! of it only after the object was admitted.

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
