//! The status of a BusinessService: whether the objects it names exist, its open incident, and who is on duty. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::coverage::covers;
use crate::api::business_service::{BusinessServiceSpec, BusinessServiceStatus};
use crate::api::common::NameRef;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{BusinessService, ChangePolicy, Incident, OnCallRotation};
use crate::cluster::conditions::{self, NotReady, State};
use crate::incident::checks;

/// What the status is decided from.
#[derive(Clone, Copy, Debug)]
pub struct ServiceFacts<'a> {
    /// The service.
    pub service: &'a BusinessService,
    /// The incidents of its namespace.
    pub incidents: &'a [Arc<Incident>],
    /// Its on-call rotation, if it names one that exists.
    pub on_call: Option<&'a OnCallRotation>,
    /// The objects that it names and that do not exist, see [`missing`].
    pub missing: &'a [String],
    /// The policies over its namespace.
    pub policies: &'a [&'a ChangePolicy],
}

/// The kinds and names of objects that the spec names and that do not exist.
pub fn missing(spec: &BusinessServiceSpec, exists: impl Fn(&'static str, &str) -> bool) -> Vec<String> {
    let rotations = spec.rotations.iter().flat_map(|rotations| {
        [&rotations.on_call, &rotations.lead, &rotations.approval].into_iter().flatten()
    });
    let named = rotations
        .map(|reference| ("OnCallRotation", reference))
        .chain(spec.stakeholders.iter().map(|stakeholder| ("NotificationChannel", &stakeholder.channel_ref)));
    named
        .filter(|(kind, reference)| !exists(kind, &reference.name))
        .map(|(kind, reference)| format!("{kind} {}", reference.name))
        .collect()
}

/// Decides the status.
pub fn decide(facts: &ServiceFacts<'_>, now: Timestamp) -> BusinessServiceStatus {
    let ServiceFacts { service, incidents, on_call, missing, policies } = *facts;
    let mut status = service.status.clone().unwrap_or_default();
    let generation = service.metadata.generation.unwrap_or_default();
    let given = service.spec.return_to_service.as_ref();
    let fields = given.map(checks::not_implemented).unwrap_or_default();
    let namespace = service.namespace().unwrap_or_default();
    let cannot_look = given.and_then(|given| checks::cannot_look(given, policies, &namespace));
    let result = if !fields.is_empty() {
        Err(NotReady::not_implemented(&fields))
    } else if let Some(why) = cannot_look {
        Err(why)
    } else if missing.is_empty() {
        Ok("Its rotations and channels exist".to_owned())
    } else {
        Err(NotReady::Waiting(
            Reason::NotFound,
            format!("{} does not exist in this namespace: create it, or name another", missing.join(", ")),
        ))
    };
    conditions::ready(&mut status, generation, now, result);
    let open = incidents.iter().find(|incident| covers(incident, service));
    status.incident_ref = open.map(|incident| NameRef { name: incident.name_any() });
    let (state, reason, message) = match open {
        None => (State::True, Reason::NoIncident, "No incident is open".to_owned()),
        Some(incident) => {
            let message = format!("Incident {}: {}", incident.name_any(), incident.spec.title);
            (State::False, Reason::IncidentOpen, message)
        }
    };
    conditions::set(&mut status.conditions, ConditionType::Healthy, state, reason, message, generation, now);
    status.on_duty = on_call.and_then(|rotation| rotation.status.as_ref()?.on_duty_names.clone());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> BusinessService {
        let spec = json!({"title": "Checkout", "rotations": {"onCall": {"name": "payments"}},
            "stakeholders": [{"audience": "Internal", "channelRef": {"name": "room"}}]});
        BusinessService::new("checkout", serde_json::from_value(spec).unwrap())
    }

    fn incident(state: &str) -> Arc<Incident> {
        Arc::new(
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
                "spec": {"title": "checkout is down", "severity": "SEV2", "serviceRefs": [{"name": "checkout"}]},
                "status": {"state": state}}))
            .unwrap(),
        )
    }

    fn is(status: &BusinessServiceStatus, kind: ConditionType) -> bool {
        crate::api::conditions::is_true(&status.conditions, kind)
    }

    fn decided(
        service: &BusinessService,
        incidents: &[Arc<Incident>],
        missing: &[String],
    ) -> BusinessServiceStatus {
        let facts = ServiceFacts { service, incidents, on_call: None, missing, policies: &[] };
        decide(&facts, Timestamp::from_second(1).unwrap())
    }

    #[test]
    fn a_service_is_unhealthy_while_an_incident_is_open_but_still_ready() {
        let quiet = decided(&service(), &[incident("Resolved")], &[]);
        assert!(is(&quiet, ConditionType::Healthy) && is(&quiet, ConditionType::Ready));
        let out = decided(&service(), &[incident("Crisis")], &[]);
        assert!(!is(&out, ConditionType::Healthy) && is(&out, ConditionType::Ready));
        assert_eq!(out.incident_ref.unwrap().name, "i");
    }

    #[test]
    fn every_object_that_a_service_names_must_exist() {
        let lacking = missing(&service().spec, |kind, _| kind == "OnCallRotation");
        assert_eq!(lacking, ["NotificationChannel room"]);
        let status = decided(&service(), &[], &lacking);
        assert!(!is(&status, ConditionType::Ready));
    }

    #[test]
    fn an_endpoint_that_no_policy_lists_is_named_before_the_outage() {
        let mut service = service();
        service.spec.return_to_service =
            serde_json::from_value(json!({"checks": [{"name": "shop", "http": {"url": "http://shop"}}]}))
                .unwrap();
        let status = decided(&service, &[], &[]);
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "EndpointNotListed"));
        assert!(ready.message.contains("spec.returnToService.checks[shop].http.url: "), "{}", ready.message);
    }
}
