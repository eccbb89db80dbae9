//! Who can be named and reached for a namespace: from the rotations of its services. Pure.

use std::sync::Arc;

use super::quorum::Names;
use crate::api::common::{NameRef, ObjectRef};
use crate::api::{BusinessService, OnCallRotation};
use kube::ResourceExt;

/// The service that consists of an object; without one the first service of the namespace, whose people are
/// the best guess there is for whom to ask (never for who may decide).
pub fn service<'a>(
    services: &'a [Arc<BusinessService>],
    targets: &[ObjectRef],
) -> Option<&'a Arc<BusinessService>> {
    let owns = |service: &&Arc<BusinessService>| {
        service.spec.objects.iter().any(|object| targets.iter().any(|target| target.same_object(object)))
    };
    services.iter().find(owns).or_else(|| services.first())
}

/// Users of the approval and lead rotations of a service.
pub fn names(service: Option<&Arc<BusinessService>>, rotations: &[Arc<OnCallRotation>]) -> Names {
    let of = |reference: Option<&NameRef>| -> Vec<String> {
        let rotation =
            reference.and_then(|wanted| rotations.iter().find(|rotation| rotation.name_any() == wanted.name));
        rotation
            .map(|rotation| rotation.spec.people.iter().map(|person| person.user.clone()).collect())
            .unwrap_or_default()
    };
    let chosen = service.and_then(|service| service.spec.rotations.as_ref());
    Names {
        approvers: of(chosen.and_then(|rotations| rotations.approval.as_ref())),
        leads: of(chosen.and_then(|rotations| rotations.lead.as_ref())),
    }
}
