//! People who could approve or lead, by name, from rotations: Kubernetes cannot list the members of a group. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use super::quorum::Names;
use crate::api::change_request::PlannedChange;
use crate::api::common::NameRef;
use crate::api::oncall_rotation::Person;
use crate::api::{BusinessService, OnCallRotation};

/// The people of the approval and lead rotations of the services that own a target; where no service owns one,
/// of every service in the namespace.
pub fn names(
    services: &[Arc<BusinessService>],
    rotations: &[Arc<OnCallRotation>],
    plan: &[PlannedChange],
) -> Names {
    let users = |pick: fn(&Rotations) -> Option<&NameRef>| -> Vec<String> {
        people(services, rotations, plan, pick).into_iter().map(|person| person.user.clone()).collect()
    };
    Names { approvers: users(approval), leads: users(lead) }
}

/// Which rotations a service names.
pub type Rotations = crate::api::business_service::ServiceRotations;

/// The rotation of approvers.
pub fn approval(rotations: &Rotations) -> Option<&NameRef> {
    rotations.approval.as_ref()
}

/// The rotation of leads.
pub fn lead(rotations: &Rotations) -> Option<&NameRef> {
    rotations.lead.as_ref()
}

/// The on-call rotation.
pub fn on_call(rotations: &Rotations) -> Option<&NameRef> {
    rotations.on_call.as_ref()
}

/// The people of one kind of rotation of the services that own a target, each user once, in the rotation's order.
pub fn people<'a>(
    services: &'a [Arc<BusinessService>],
    rotations: &'a [Arc<OnCallRotation>],
    plan: &[PlannedChange],
    pick: fn(&Rotations) -> Option<&NameRef>,
) -> Vec<&'a Person> {
    let owners = owners(services, plan);
    let mut people: Vec<&Person> = Vec::new();
    for reference in owners.iter().filter_map(|service| pick(service.spec.rotations.as_ref()?)) {
        let rotation = rotations.iter().find(|rotation| rotation.name_any() == reference.name);
        for person in rotation.iter().flat_map(|rotation| &rotation.spec.people) {
            if !people.iter().any(|known| known.user == person.user) {
                people.push(person);
            }
        }
    }
    people
}

/// The services that own a target; where none owns one, every service in the namespace.
pub fn owners<'a>(services: &'a [Arc<BusinessService>], plan: &[PlannedChange]) -> Vec<&'a BusinessService> {
    let owns = |service: &&BusinessService| {
        let mut objects = service.spec.objects.iter();
        objects.any(|object| plan.iter().any(|planned| planned.target.same_object(object)))
    };
    let owners: Vec<_> = services.iter().map(|service| &**service).filter(owns).collect();
    if owners.is_empty() { services.iter().map(|service| &**service).collect() } else { owners }
}
