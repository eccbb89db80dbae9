//! The page about a breaker that has opened: a person must look, since nothing repairs by itself any more. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::breaker::{BreakerState, BreakerStatus};
use crate::api::notification::Purpose;
use crate::api::{BusinessService, NotificationChannel, OnCallOverride, OnCallRotation, Runbook};
use crate::command::{Command, Verb};
use crate::notify::message::Message;
use crate::oncall::escalation::recipients;
use crate::runbook::steps;
use crate::text::instant;

/// What the page is decided from, all of the Runbook's namespace.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The Runbook.
    pub runbook: &'a Runbook,
    /// The services.
    pub services: &'a [Arc<BusinessService>],
    /// The rotations.
    pub rotations: &'a [Arc<OnCallRotation>],
    /// The overrides of the rotations.
    pub overrides: &'a [Arc<OnCallOverride>],
    /// The channels.
    pub channels: &'a [Arc<NotificationChannel>],
}

/// The page about an open breaker; empty if it is not open, was paged, or no person can be paged.
pub fn decide(facts: &Facts<'_>, breaker: &BreakerStatus, now: Timestamp) -> Vec<Message> {
    let (Some(since), None, BreakerState::Open) = (&breaker.since_time, &breaker.paged_time, breaker.state)
    else {
        return Vec::new();
    };
    let runbook = facts.runbook;
    let (namespace, name) = (runbook.namespace().unwrap_or_default(), runbook.name_any());
    let until =
        breaker.until_time.as_ref().map_or_else(String::new, |until| format!(" until {}", instant(until.0)));
    let why = breaker.message.as_deref().unwrap_or_default();
    let show = Command::new(Verb::Show).namespace(namespace).on("rb", &name);
    let text = format!("Runbook {name} does not start by itself{until}: {why}. Somebody must look: {show}");
    let about = format!("{}/breaker-{}", runbook.uid().unwrap_or_default(), since.0.as_second());
    let called: Vec<_> = services(facts)
        .iter()
        .filter_map(|service| service.spec.rotations.as_ref())
        .flat_map(|named| {
            recipients::for_a_lead(named, facts.rotations, facts.overrides, facts.channels, now)
        })
        .collect();
    recipients::messages(&called, &about, Purpose::Page, &text, now)
}

/// The services that the Runbook answers for or whose objects it names; where it names none, all.
fn services<'a>(facts: &Facts<'a>) -> Vec<&'a BusinessService> {
    let spec = &facts.runbook.spec;
    let named = steps::named(&spec.steps);
    let is_about = |service: &&BusinessService| {
        let name = service.name_any();
        let answers = spec.matches.iter().filter_map(|symptom| symptom.service_ref.as_ref());
        answers.into_iter().any(|answered| answered.name == name)
            || named.iter().any(|target| service.spec.objects.iter().any(|object| object.same_object(target)))
    };
    let all = || facts.services.iter().map(|service| &**service);
    let found: Vec<_> = all().filter(is_about).collect();
    if found.is_empty() { all().collect() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> Arc<K> {
        let value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": spec});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn rotation(name: &str, person: &str) -> Arc<OnCallRotation> {
        let contacts = json!([{"channelRef": {"name": "hook"}}]);
        let turns = json!([{"people": [person]}]);
        let layer = json!({"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1}, "turns": turns});
        let people = json!([{"name": person, "user": person, "contacts": contacts}]);
        object("OnCallRotation", name, json!({"timeZone": "UTC", "people": people, "layers": [layer]}))
    }

    fn breaker(state: &str, paged: bool) -> BreakerStatus {
        let paged = paged.then_some("2026-11-22T02:00:00Z");
        serde_json::from_value(
            json!({"state": state, "sinceTime": "2026-11-22T02:00:00Z", "untilTime": "2026-11-22T03:00:00Z",
            "message": "1 run failed", "pagedTime": paged}),
        )
        .unwrap()
    }

    #[test]
    fn an_open_breaker_pages_who_leads_the_service_once() {
        let checkout = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
        let service = |name: &str, objects: Value, lead: &str| -> Arc<BusinessService> {
            object(
                "BusinessService",
                name,
                json!({"title": name, "objects": objects, "rotations": {"lead": {"name": lead}}}),
            )
        };
        let services =
            [service("checkout", json!([checkout]), "leads"), service("search", json!([]), "others")];
        let runbook: Arc<Runbook> = object(
            "Runbook",
            "restart",
            json!({"summary": "s", "serviceAccountName": "sa",
            "steps": [{"name": "r", "restart": {"target": checkout}}]}),
        );
        let rotations = [rotation("leads", "lena"), rotation("others", "otto")];
        let facts = Facts {
            runbook: &runbook,
            services: &services,
            rotations: &rotations,
            overrides: &[],
            channels: &[],
        };
        let now = "2026-11-22T02:00:01Z".parse().unwrap();
        let told = decide(&facts, &breaker("Open", false), now);
        assert_eq!(told.iter().map(|message| message.recipient.name.as_str()).collect::<Vec<_>>(), ["lena"]);
        assert_eq!(
            told[0].text,
            "Runbook restart does not start by itself until 2026-11-22 03:00:00 UTC: 1 run failed. Somebody must look: \
             kubectl mayday show -n shop rb/restart"
        );
        assert_eq!(decide(&facts, &breaker("Open", true), now), []);
        assert_eq!(decide(&facts, &breaker("HalfOpen", false), now), []);
    }
}
