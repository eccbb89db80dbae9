//! Whom a run that belongs to no incident pages where it failed and its Runbook says so, or nobody can tell what it did:
//! with an incident, that one does. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{actions, outcome};
use crate::api::message::{Message, Purpose};
use crate::api::{BusinessService, OnCallOverride, OnCallRotation, RunbookRun};
use crate::oncall::recipients::{self, Recipient};

/// What the pages are decided from, all of the run's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The run with the status that is about to be written.
    pub run: &'a RunbookRun,
    /// The services.
    pub services: &'a [Arc<BusinessService>],
    /// The rotations.
    pub rotations: &'a [Arc<OnCallRotation>],
    /// Who stands in for whom.
    pub overrides: &'a [Arc<OnCallOverride>],
}

/// The pages, which are stored with the end of the run.
pub fn decide(facts: &Facts, now: Timestamp) -> Vec<Message> {
    let run = facts.run;
    let Some(failure) = outcome::escalation(run).filter(|_| run.spec.incident_ref.is_none()) else {
        return Vec::new();
    };
    let called: Vec<Recipient> = services(facts)
        .iter()
        .filter_map(|service| service.spec.rotations.as_ref())
        .flat_map(|named| recipients::for_a_lead(named, facts.rotations, facts.overrides, now))
        .collect();
    let namespace = run.namespace().unwrap_or_default();
    let text = format!(
        "{failure}. It belongs to no incident: kubectl mayday show -n {namespace} run/{}",
        run.name_any()
    );
    // Whoever is on duty in several rotations gets the same ids, and one message.
    recipients::messages(&called, &run.uid().unwrap_or_default(), Purpose::Page, &text, now)
}

/// The services whose objects the run is about; where it is about none, all.
fn services<'a>(facts: &Facts<'a>) -> Vec<&'a BusinessService> {
    let spec = outcome::snapshot_spec(facts.run).unwrap_or_default();
    let is_about = |service: &&BusinessService| {
        let objects = &service.spec.objects;
        actions::targets(&spec.steps).any(|target| objects.iter().any(|object| object.same_object(target)))
    };
    let all = || facts.services.iter().map(|service| &**service);
    let found: Vec<_> = all().filter(is_about).collect();
    if found.is_empty() { all().collect() } else { found }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, content: Value) -> K {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "uid": "u"}});
        json_patch::merge(&mut whole, &content);
        serde_json::from_value(whole).unwrap()
    }

    fn rotation(name: &str, person: &str) -> Arc<OnCallRotation> {
        Arc::new(object(
            "OnCallRotation",
            name,
            json!({"spec": {"timeZone": "UTC",
            "people": [{"name": person, "user": person, "contacts": [{"channelRef": {"name": "hook"}}]}],
            "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                "turns": [{"people": [person]}]}]}}),
        ))
    }

    fn service(name: &str, deployment: &str, rotations: Value) -> Arc<BusinessService> {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment});
        let spec = json!({"title": name, "objects": [target], "rotations": rotations});
        Arc::new(object("BusinessService", name, json!({"spec": spec})))
    }

    fn paged(state: &str, incident: Value, target: &str) -> Vec<(Option<String>, String)> {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": target});
        let spec = json!({"summary": "s", "serviceAccountName": "sa", "onFailure": "Escalate",
            "steps": [{"name": "one", "restart": {"target": target}}]});
        let run: RunbookRun = object(
            "RunbookRun",
            "r",
            json!({"spec": {"runbookRef": {"name": "restart"}, "incidentRef": incident},
            "status": {"state": state,
                "snapshot": {"uid": "u", "digest": "d", "spec": spec, "approvals": []}}}),
        );
        let services = [
            service(
                "checkout",
                "checkout",
                json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}}),
            ),
            service("till", "till", json!({"onCall": {"name": "payments"}})),
        ];
        let rotations = [rotation("payments", "emil"), rotation("leads", "lena")];
        let facts = Facts { run: &run, services: &services, rotations: &rotations, overrides: &[] };
        let pages = decide(&facts, "2026-11-22T02:04:30Z".parse().unwrap());
        pages.into_iter().map(|page| (page.person, page.text)).collect()
    }

    fn people(state: &str, incident: Value, target: &str) -> Vec<String> {
        paged(state, incident, target).into_iter().filter_map(|(person, _)| person).collect()
    }

    #[test]
    fn a_run_that_failed_and_belongs_to_no_incident_pages_for_the_service_it_is_about() {
        let text =
            "Runbook restart failed (run/r). It belongs to no incident: kubectl mayday show -n shop run/r";
        assert_eq!(paged("Failed", json!(null), "checkout"), [(Some("lena".to_owned()), text.to_owned())]);
        assert_eq!(people("Unknown", json!(null), "till"), ["emil"], "no rotation for leads");
        assert_eq!(people("Failed", json!(null), "other"), ["lena", "emil"], "nobody knows whose it is");
    }

    #[test]
    fn with_an_incident_or_a_good_end_it_pages_nobody() {
        assert!(people("Failed", json!({"name": "i"}), "checkout").is_empty());
        assert!(people("Succeeded", json!(null), "checkout").is_empty());
        assert!(people("Running", json!(null), "checkout").is_empty());
    }
}
