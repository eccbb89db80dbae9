//! Which incidents bind changes, and who leads them. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::Incident;
use crate::api::change_policy::{BindsFrom, ChangePolicySpec};
use crate::api::common::{Severity, UidRef};
use crate::command::{Command, Verb};

/// An incident that binds changes in its namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// The incident.
    pub incident: UidRef,
    /// Its namespace.
    pub namespace: String,
    /// Its severity.
    pub severity: Severity,
    /// Its lead; none until the lead is claimed.
    pub lead: Option<String>,
}

impl Binding {
    /// The binding of an incident.
    pub fn of(incident: &Incident) -> Binding {
        Binding {
            incident: UidRef { name: incident.name_any(), uid: incident.uid().unwrap_or_default() },
            namespace: incident.namespace().unwrap_or_default(),
            severity: incident.spec.severity,
            lead: incident.lead().map(str::to_owned),
        }
    }

    /// The command that claims the lead.
    pub fn claim(&self) -> Command {
        Command::new(Verb::Lead).namespace(&self.namespace).on("inc", &self.incident.name)
    }
}

/// The incidents that bind changes in a namespace under any of the policies over it, in the order of their names.
/// An incident's objects are all in its own namespace.
pub fn bindings(
    incidents: &[Arc<Incident>],
    policies: &[&ChangePolicySpec],
    namespace: &str,
) -> Vec<Binding> {
    let mut bindings: Vec<Binding> = incidents
        .iter()
        .filter(|incident| incident.namespace().as_deref() == Some(namespace))
        .filter(|incident| policies.iter().any(|policy| binds(incident, policy)))
        .map(|incident| Binding::of(incident))
        .collect();
    bindings.sort_by(|a, b| a.incident.cmp(&b.incident));
    bindings
}

/// Whether an incident binds changes under a policy (docs/rules.md#binding-incidents): its severity is listed, and it is
/// between the event that the policy names and its resolution. The spec counts as soon as it is stored, since the guard
/// checked who wrote it.
pub fn binds(incident: &Incident, policy: &ChangePolicySpec) -> bool {
    let Some(rule) = &policy.incident else { return false };
    let began = match rule.binds_from {
        BindsFrom::Detected => true,
        BindsFrom::Acknowledged => incident.is_answered(),
        BindsFrom::LeadClaimed => incident.lead().is_some(),
    };
    rule.severities.contains(&incident.spec.severity) && began && incident.is_open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn incident(spec: Value, status: Value) -> Arc<Incident> {
        let mut whole = json!({"title": "t", "severity": "SEV2"});
        json_patch::merge(&mut whole, &spec);
        let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i", "namespace": "shop", "uid": "u"}, "spec": whole, "status": status});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn policy(binds_from: &str) -> ChangePolicySpec {
        serde_json::from_value(json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
            "incident": {"severities": ["SEV1", "SEV2"], "bindsFrom": binds_from}}))
        .unwrap()
    }

    fn binds_count(binds_from: &str, incident: Arc<Incident>) -> usize {
        bindings(&[incident], &[&policy(binds_from)], "shop").len()
    }

    #[test]
    fn an_incident_binds_from_the_event_the_policy_names() {
        let plain = || incident(json!({}), json!({}));
        let acknowledged = || incident(json!({"acknowledgement": {"user": "emil"}}), json!({}));
        let led = || incident(json!({"roles": {"lead": {"user": "lena"}}}), json!({}));
        let counts =
            |from: &str| [plain(), acknowledged(), led()].map(|incident| binds_count(from, incident));
        assert_eq!(counts("Detected"), [1, 1, 1]);
        assert_eq!(counts("Acknowledged"), [0, 1, 1]);
        assert_eq!(counts("LeadClaimed"), [0, 0, 1]);
    }

    #[test]
    fn an_incident_binds_until_it_is_resolved() {
        for (state, count) in
            [("Restored", 1), ("Resolved", 0), ("Closed", 0), ("FalseAlarm", 0), ("Duplicate", 0)]
        {
            let status = json!({"state": state});
            assert_eq!(binds_count("Detected", incident(json!({}), status)), count, "{state}");
        }
    }

    #[test]
    fn an_unlisted_severity_and_another_namespace_do_not_bind() {
        assert_eq!(binds_count("Detected", incident(json!({"severity": "SEV3"}), json!({}))), 0);
        let bound = bindings(&[incident(json!({}), json!({}))], &[&policy("Detected")], "till");
        assert_eq!(bound, []);
    }

    #[test]
    fn an_incident_has_no_lead_until_it_is_claimed() {
        let bound = bindings(&[incident(json!({}), json!({}))], &[&policy("Detected")], "shop");
        assert_eq!(bound[0].lead, None);
    }
}
