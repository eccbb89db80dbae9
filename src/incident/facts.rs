//! The facts that the decision on an incident is based on. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::api::{
    AlertSource, Approval, BusinessService, ChangePolicy, ChangeRequest, Freeze, Incident, Notification,
    NotificationChannel, OnCallOverride, OnCallRotation, Runbook, RunbookRun,
};
use crate::change::policy;
use crate::outbound::look::Seen;

/// The objects of the incident's namespace that the decision reads.
#[derive(Clone, Debug, Default)]
pub struct IncidentFacts {
    /// The operator's own namespace.
    pub operator_namespace: String,
    /// When this process began to observe incidents.
    pub started: Timestamp,
    /// Since when this process observes this incident without interruption; it saw nothing of the time before. Later than
    /// `started` for an incident whose checks look outside.
    pub observed_since: Timestamp,
    /// All policies.
    pub policies: Vec<Arc<ChangePolicy>>,
    /// All freezes.
    pub freezes: Vec<Arc<Freeze>>,
    /// The services.
    pub services: Vec<Arc<BusinessService>>,
    /// The sources.
    pub sources: Vec<Arc<AlertSource>>,
    /// The incidents, this one included.
    pub incidents: Vec<Arc<Incident>>,
    /// The rotations.
    pub rotations: Vec<Arc<OnCallRotation>>,
    /// The on-call overrides.
    pub overrides: Vec<Arc<OnCallOverride>>,
    /// The channels.
    pub channels: Vec<Arc<NotificationChannel>>,
    /// The Notifications about this incident.
    pub notifications: Vec<Arc<Notification>>,
    /// The Runbooks.
    pub runbooks: Vec<Arc<Runbook>>,
    /// The runs.
    pub runs: Vec<Arc<RunbookRun>>,
    /// The requests.
    pub requests: Vec<Arc<ChangeRequest>>,
    /// The approvals: decisions and answers.
    pub approvals: Vec<Arc<Approval>>,
    /// Workloads by [`key`], as JSON.
    pub workloads: BTreeMap<String, Value>,
    /// What the checks that look outside have last seen, by their names. Those that have not looked yet are missing.
    pub looks: BTreeMap<String, Observed>,
}

/// What a look outside has seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// When this process first saw anything.
    pub first: Timestamp,
    /// When this was seen.
    pub at: Timestamp,
    /// What was seen.
    pub seen: Seen,
}

impl IncidentFacts {
    /// The service of an incident: the first that it names, or the first that owns one of its affected objects.
    pub fn service(&self, incident: &Incident) -> Option<&Arc<BusinessService>> {
        let named = |service: &&Arc<BusinessService>| {
            incident.spec.service_refs.first().is_some_and(|reference| reference.name == service.name_any())
        };
        let owns = |service: &&Arc<BusinessService>| {
            let objects = &service.spec.objects;
            incident.spec.affected.iter().any(|object| objects.iter().any(|known| known.same_object(object)))
        };
        self.services.iter().find(named).or_else(|| self.services.iter().find(owns))
    }

    /// Whether a policy governs a namespace. Without one no person may lead there.
    pub fn is_governed(&self, namespace: &str) -> bool {
        !policy::covering(&self.policies, namespace, &self.operator_namespace).is_empty()
    }

    /// The live state of a workload, if it is known.
    pub fn workload(&self, object: &ObjectRef) -> Option<&Value> {
        self.workloads.get(&key(object))
    }
}

/// Key of a workload, independent of the API version.
pub fn key(object: &ObjectRef) -> String {
    format!("{}/{}/{}", object.group(), object.kind, object.name)
}
