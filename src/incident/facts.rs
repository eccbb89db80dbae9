//! What is known when an incident is decided on. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use crate::api::common::ObjectRef;
use crate::api::{
    AlertSource, Approval, BusinessService, ChangePolicy, ChangeRequest, Incident, NotificationChannel,
    OnCallOverride, OnCallRotation, Runbook, RunbookRun,
};
use crate::change::policy;

/// Everything of the incident's namespace that a decision may look at.
#[derive(Clone, Debug, Default)]
pub struct IncidentFacts {
    /// The operator's own namespace.
    pub operator_namespace: String,
    /// Since when this process looks at incidents without a break; what was before it has not seen.
    pub observed_since: Timestamp,
    /// All policies.
    pub policies: Vec<Arc<ChangePolicy>>,
    /// The services.
    pub services: Vec<Arc<BusinessService>>,
    /// The sources.
    pub sources: Vec<Arc<AlertSource>>,
    /// The incidents, this one included.
    pub incidents: Vec<Arc<Incident>>,
    /// The rotations.
    pub rotations: Vec<Arc<OnCallRotation>>,
    /// Who stands in for whom.
    pub overrides: Vec<Arc<OnCallOverride>>,
    /// The channels.
    pub channels: Vec<Arc<NotificationChannel>>,
    /// The Runbooks.
    pub runbooks: Vec<Arc<Runbook>>,
    /// The runs.
    pub runs: Vec<Arc<RunbookRun>>,
    /// The requests.
    pub requests: Vec<Arc<ChangeRequest>>,
    /// The decisions and answers.
    pub approvals: Vec<Arc<Approval>>,
    /// Workloads by their key, as JSON.
    pub workloads: BTreeMap<String, Value>,
}

impl IncidentFacts {
    /// The service an incident is about: the first it names, or the first whose object it names.
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

    /// Whether any policy is over a namespace. Without one nobody may lead there.
    pub fn is_governed(&self, namespace: &str) -> bool {
        !policy::over(&self.policies, namespace, &self.operator_namespace).is_empty()
    }

    /// A workload as it is, if it is known.
    pub fn workload(&self, object: &ObjectRef) -> Option<&Value> {
        self.workloads.get(&key(object))
    }
}

/// Key of a workload, whatever the version.
pub fn key(object: &ObjectRef) -> String {
    format!("{}/{}/{}", object.group(), object.kind, object.name)
}
