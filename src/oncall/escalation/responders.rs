//! The people who may answer a question of a check or of a step: one person on duty, or the lead
//! (docs/rules.md#questions). Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::recipients;
use crate::api::{BusinessService, Incident, OnCallOverride, OnCallRotation};

/// Users on duty now for the services of the incidents, or where those name no rotation for any service given.
pub fn on_duty(
    incidents: &[Arc<Incident>],
    services: &[Arc<BusinessService>],
    rotations: &[Arc<OnCallRotation>],
    overrides: &[Arc<OnCallOverride>],
    now: Timestamp,
) -> BTreeSet<String> {
    let copies = incidents.iter().filter_map(|incident| incident.status.as_ref()?.service.as_ref());
    let of_copies = copies.filter_map(|copy| copy.rotations.as_ref()?.on_call.as_ref());
    let mut wanted: BTreeSet<&str> = of_copies.map(|rotation| rotation.name.as_str()).collect();
    if wanted.is_empty() {
        let of_services =
            services.iter().filter_map(|service| service.spec.rotations.as_ref()?.on_call.as_ref());
        wanted.extend(of_services.map(|rotation| rotation.name.as_str()));
    }
    rotations
        .iter()
        .filter(|rotation| wanted.contains(rotation.name_any().as_str()))
        .flat_map(|rotation| recipients::on_duty(rotation, overrides, now))
        .filter_map(|recipient| recipient.user)
        .collect()
}

/// Who is asked, in words: `emil (on duty) or lena (lead)`.
pub fn asked(
    incident: Option<&Arc<Incident>>,
    services: &[Arc<BusinessService>],
    rotations: &[Arc<OnCallRotation>],
    overrides: &[Arc<OnCallOverride>],
    now: Timestamp,
) -> String {
    let incidents: Vec<Arc<Incident>> = incident.into_iter().cloned().collect();
    let lead = incident.and_then(|incident| incident.lead());
    let on_duty = on_duty(&incidents, services, rotations, overrides, now);
    let mut who: Vec<String> = on_duty
        .iter()
        .filter(|user| Some(user.as_str()) != lead)
        .map(|user| format!("{user} (on duty)"))
        .collect();
    who.extend(lead.map(|lead| format!("{lead} (lead)")));
    if on_duty.is_empty() {
        who.insert(0, "anybody on duty".to_owned());
    }
    who.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, content: Value) -> Arc<K> {
        let mut whole =
            json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind, "metadata": {"name": name}});
        json_patch::merge(&mut whole, &content);
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn rotation(name: &str, user: &str) -> Arc<OnCallRotation> {
        let spec = json!({"timeZone": "UTC", "people": [{"name": user, "user": user}, {"name": "ann", "user": "ann"}],
            "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": [user]}]}]});
        // A status may still name the people of the turn before.
        object(
            "OnCallRotation",
            name,
            json!({"spec": spec, "status": {"onDuty": [{"name": "old", "user": "old"}]}}),
        )
    }

    fn now() -> Timestamp {
        "2026-11-22T02:04:30Z".parse().unwrap()
    }

    #[test]
    fn those_on_duty_for_the_incident_and_the_lead_are_asked_by_name() {
        let service = |name: &str, rotation: &str| {
            object(
                "BusinessService",
                name,
                json!({"spec": {"title": name, "rotations": {"onCall": {"name": rotation}}}}),
            )
        };
        let services = [service("checkout", "payments"), service("till", "shops")];
        let rotations = [rotation("payments", "emil"), rotation("shops", "tom"), rotation("other", "eve")];
        let asked = |incident: Option<&Arc<Incident>>, rotations: &[Arc<OnCallRotation>]| {
            super::asked(incident, &services, rotations, &[], now())
        };
        assert_eq!(asked(None, &rotations), "emil (on duty) or tom (on duty)");
        let ann = json!({"spec": {"rotationRef": {"name": "payments"}, "startTime": "2026-11-22T00:00:00Z",
            "endTime": "2026-11-23T00:00:00Z", "replace": {"person": "emil", "by": "ann"}, "reason": "r"}});
        let stands_in = [object::<OnCallOverride>("OnCallOverride", "o", ann)];
        let on_duty = on_duty(&[], &services, &rotations, &stands_in, now());
        assert!(on_duty.contains("ann") && !on_duty.contains("emil"), "{on_duty:?}");
        let incident = |roles: Value| {
            let copy = json!({"ref": {"name": "till", "uid": "u"}, "title": "Till", "rotations": {"onCall": {"name": "shops"}}});
            object(
                "Incident",
                "i",
                json!({"spec": {"title": "t", "severity": "SEV2", "roles": roles}, "status": {"service": copy}}),
            )
        };
        let led = incident(json!({"lead": {"user": "lena"}}));
        assert_eq!(asked(Some(&led), &rotations), "tom (on duty) or lena (lead)");
        let by_tom = incident(json!({"lead": {"user": "tom"}}));
        assert_eq!(asked(Some(&by_tom), &rotations), "tom (lead)");
        assert_eq!(asked(None, &[]), "anybody on duty");
    }
}
