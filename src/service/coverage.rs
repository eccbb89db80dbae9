//! Whether an incident is about a service. Pure.

use kube::ResourceExt;

use crate::api::{BusinessService, Incident};

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
