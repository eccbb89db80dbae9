//! Pages the lead's rotation when a run failed and its Runbook asks for that, when its outcome is unknown, or when no Runbook
//! of a ladder has helped. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::Incident;
use crate::api::incident_status::IncidentStatus;
use crate::api::notification::Purpose;
use crate::command::{Command, Verb};
use crate::incident::announcements;
use crate::notify::message::Message;
use crate::oncall::escalation::recipients;
use crate::runbook::run::view;

/// Adds one page for each such run of the incident.
pub fn page(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &mut IncidentStatus,
    outgoing: &mut Vec<Message>,
    now: Timestamp,
) {
    for run in facts.runs.iter().filter(|run| run.is_for(&incident.name_any())) {
        let Some(failure) = view::escalation(run) else { continue };
        let what = format!("run/{}", run.uid().unwrap_or_default());
        call(incident, facts, (&what, &failure), (status, outgoing), now);
    }
}

/// Adds one page an episode if every Runbook of a ladder has run and the service is not back. `what`: what became of each.
pub fn page_for_a_ladder(
    incident: &Incident,
    facts: &IncidentFacts,
    what: &str,
    (status, outgoing): (&mut IncidentStatus, &mut Vec<Message>),
    now: Timestamp,
) {
    let key = format!("{}/ladder", status.relapses);
    let text = format!("No runbook has brought the service back: {what}");
    call(incident, facts, (&key, &text), (status, outgoing), now);
}

/// Adds one page to the lead's rotation under this key.
fn call(
    incident: &Incident,
    facts: &IncidentFacts,
    (key, text): (&str, &str),
    (status, outgoing): (&mut IncidentStatus, &mut Vec<Message>),
    now: Timestamp,
) {
    let name = incident.name_any();
    let namespace = incident.namespace().unwrap_or_default();
    let command = |verb| Command::new(verb).namespace(&namespace).on("inc", &name);
    let named = status.service.as_ref().and_then(|service| service.rotations.clone()).unwrap_or_default();
    let called = recipients::for_a_lead(&named, &facts.rotations, &facts.overrides, &facts.channels, now);
    let next = match &status.lead {
        Some(lead) => format!("{} leads: {}", lead.user, command(Verb::Show)),
        None => format!("A lead is needed: {}", command(Verb::Lead)),
    };
    let about = format!("{}/{key}", incident.uid().unwrap_or_default());
    let messages = recipients::messages(&called, &about, Purpose::Page, &format!("{text}. {next}"), now);
    announcements::once(status, outgoing, key, messages);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::incident_status::Stamped;

    fn facts(rotations: &[(&str, &str)]) -> IncidentFacts {
        let rotation = |(name, person): &(&str, &str)| {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation",
                "metadata": {"name": name}, "spec": {"timeZone": "UTC",
                "people": [{"name": person, "user": person, "contacts": [{"channelRef": {"name": "hook"}}]}],
                "layers": [{"name": "l", "start": "2026-01-05T09:00", "shift": {"unit": "Weeks", "length": 1},
                    "turns": [{"people": [person]}]}]}});
            Arc::new(serde_json::from_value(whole).unwrap())
        };
        let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": "r", "uid": "u"},
            "spec": {"runbookRef": {"name": "restart"}, "incidentRef": {"name": "i"}},
            "status": {"state": "Unknown"}});
        IncidentFacts {
            rotations: rotations.iter().map(rotation).collect(),
            runs: vec![Arc::new(serde_json::from_value(run).unwrap())],
            ..IncidentFacts::default()
        }
    }

    fn paged(status: &mut IncidentStatus, facts: &IncidentFacts) -> Vec<(String, String)> {
        let named: Value = json!({"onCall": {"name": "payments"}, "lead": {"name": "leads"}});
        status.service.get_or_insert_default().rotations = serde_json::from_value(named).unwrap();
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.namespace = Some("shop".to_owned());
        let mut outgoing = Vec::new();
        page(&incident, facts, status, &mut outgoing, "2026-11-22T02:04:30Z".parse().unwrap());
        outgoing.into_iter().map(|message| (message.recipient.name, message.text)).collect()
    }

    #[test]
    fn the_leads_rotation_is_paged_once_for_a_run_of_unknown_outcome() {
        let mut status = IncidentStatus::default();
        let facts = facts(&[("payments", "emil"), ("leads", "lena")]);
        let text = "Runbook restart has an outcome that nobody can prove (run/r). \
            A lead is needed: kubectl mayday lead -n shop inc/i";
        assert_eq!(paged(&mut status, &facts), [("lena".to_owned(), text.to_owned())]);
        assert_eq!(paged(&mut status, &facts), Vec::new());
    }

    #[test]
    fn without_anybody_there_it_is_whoever_is_on_duty_for_the_service() {
        let facts = facts(&[("payments", "emil")]);
        let mut status = IncidentStatus {
            lead: Some(Stamped { user: "amir".to_owned(), time: Time(Timestamp::UNIX_EPOCH) }),
            ..IncidentStatus::default()
        };
        let paged = paged(&mut status, &facts);
        assert_eq!(paged[0].0, "emil");
        assert!(paged[0].1.ends_with("amir leads: kubectl mayday show -n shop inc/i"), "{}", paged[0].1);
    }
}
