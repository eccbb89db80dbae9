//! BusinessService: whether what it names is there, its open incident, and who is on duty.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::business_service::{BusinessServiceSpec, BusinessServiceStatus};
use crate::api::common::NameRef;
use crate::api::{BusinessService, Incident, OnCallRotation};
use crate::cluster::caches::{Change, get, in_namespace};
use crate::cluster::conditions::{self, NotReady, State};
use crate::cluster::controller::{self, Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};
use crate::incident::checks;

/// Reconciles BusinessServices.
pub struct BusinessServiceReconciler;

impl Reconciler for BusinessServiceReconciler {
    const NAME: &'static str = "businessservice";
    type Kind = BusinessService;

    fn cache(context: &Context) -> &Store<BusinessService> {
        &context.stores.services
    }

    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<BusinessService>> {
        match change.kind {
            "Incident" | "OnCallRotation" | "NotificationChannel" => {
                controller::same_namespace(&context.stores.services, change)
            }
            _ => Vec::new(),
        }
    }

    async fn reconcile(
        &self,
        service: Arc<BusinessService>,
        context: &SharedContext,
    ) -> Result<Requeue, Error> {
        let namespace = service.namespace().unwrap_or_default();
        let stores = &context.stores;
        let rotation = |reference: Option<&NameRef>| {
            reference.and_then(|reference| get(&stores.rotations, &namespace, &reference.name))
        };
        let rotations = service.spec.rotations.as_ref();
        let on_call = rotation(rotations.and_then(|rotations| rotations.on_call.as_ref()));
        let lacking = missing(&service.spec, |kind, name| match kind {
            "OnCallRotation" => get(&stores.rotations, &namespace, name).is_some(),
            _ => get(&stores.channels, &namespace, name).is_some(),
        });
        let incidents = in_namespace(&stores.incidents, &namespace);
        let status = decide(&service, &incidents, on_call.as_deref(), &lacking, Timestamp::now());
        status::write(&context.client, &*service, status).await?;
        Ok(Requeue::Never)
    }
}

/// What the spec names and is not there: kind and name. Pure.
fn missing(spec: &BusinessServiceSpec, exists: impl Fn(&'static str, &str) -> bool) -> Vec<String> {
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

/// The status. Pure.
fn decide(
    service: &BusinessService,
    incidents: &[Arc<Incident>],
    on_call: Option<&OnCallRotation>,
    missing: &[String],
    now: Timestamp,
) -> BusinessServiceStatus {
    let mut status = service.status.clone().unwrap_or_default();
    let generation = service.metadata.generation.unwrap_or_default();
    let fields = service.spec.return_to_service.as_ref().map(checks::not_implemented).unwrap_or_default();
    let result = if !fields.is_empty() {
        Err(NotReady::not_implemented(&fields))
    } else if missing.is_empty() {
        Ok("Its rotations and channels exist".to_owned())
    } else {
        Err(NotReady::Waiting(
            "NotFound".to_owned(),
            format!("{} does not exist in this namespace: create it, or name another", missing.join(", ")),
        ))
    };
    conditions::ready(&mut status, generation, now, result);
    let open = incidents.iter().find(|incident| covers(incident, service));
    status.incident_ref = open.map(|incident| NameRef { name: incident.name_any() });
    let (state, reason, message) = match open {
        None => (State::True, "NoIncident", "No incident is open".to_owned()),
        Some(incident) => {
            let message = format!("Incident {}: {}", incident.name_any(), incident.spec.title);
            (State::False, "IncidentOpen", message)
        }
    };
    conditions::set(&mut status.conditions, "Healthy", state, reason, message, generation, now);
    status.on_duty = on_call.and_then(|rotation| rotation.status.as_ref()?.on_duty_names.clone());
    status
}

/// Whether an open incident is about a service.
pub fn covers(incident: &Incident, service: &BusinessService) -> bool {
    let copied = incident.status.as_ref().and_then(|status| status.service.as_ref());
    let same = copied.is_some_and(|copy| Some(&copy.r#ref.uid) == service.metadata.uid.as_ref());
    let named = incident.spec.service_refs.iter().any(|reference| reference.name == service.name_any());
    let touches = incident
        .spec
        .affected
        .iter()
        .any(|object| service.spec.objects.iter().any(|known| known.same_object(object)));
    incident.is_open() && (same || named || touches)
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

    fn is(status: &BusinessServiceStatus, kind: &str) -> bool {
        crate::api::common::is_true(&status.conditions, kind)
    }

    #[test]
    fn it_is_healthy_unless_an_incident_is_open_and_ready_all_the_same() {
        let now = Timestamp::from_second(1).unwrap();
        let quiet = decide(&service(), &[incident("Resolved")], None, &[], now);
        assert!(is(&quiet, "Healthy") && is(&quiet, "Ready"));
        let out = decide(&service(), &[incident("Crisis")], None, &[], now);
        assert!(!is(&out, "Healthy") && is(&out, "Ready"));
        assert_eq!(out.incident_ref.unwrap().name, "i");
    }

    #[test]
    fn what_it_names_must_exist() {
        let lacking = missing(&service().spec, |kind, _| kind == "OnCallRotation");
        assert_eq!(lacking, ["NotificationChannel room"]);
        let status = decide(&service(), &[], None, &lacking, Timestamp::from_second(1).unwrap());
        assert!(!is(&status, "Ready"));
    }

    #[test]
    fn a_check_that_nobody_looks_at_is_named_before_the_outage() {
        let mut service = service();
        service.spec.return_to_service =
            serde_json::from_value(json!({"checks": [{"name": "shop", "http": {"url": "http://shop"}}]}))
                .unwrap();
        let status = decide(&service, &[], None, &[], Timestamp::from_second(1).unwrap());
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "NotImplemented"));
        assert!(ready.message.contains("spec.returnToService.checks[shop].http"), "{}", ready.message);
    }
}
