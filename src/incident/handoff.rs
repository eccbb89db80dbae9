//! Pages the person to whom the lead hands over: a handoff counts only once that person claims the lead. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use crate::api::Incident;
use crate::api::incident_status::IncidentStatus;
use crate::api::notification::Purpose;
use crate::api::oncall_rotation::Person;
use crate::command::{Command, Verb};
use crate::incident::announcements;
use crate::notify::message::Message;
use crate::oncall::escalation::recipients;
use crate::oncall::escalation::recipients::Recipient;
use crate::text::flat;

/// Longest title in a message, in bytes.
const TITLE: usize = 300;

/// Who leads, and whom they have named as the next lead, until that person claims it.
pub fn pending(incident: &Incident, status: &IncidentStatus) -> Option<(String, String)> {
    let lead = status.lead.as_ref()?.user.clone();
    let named = incident.nominee_by(Some(status)).filter(|named| *named != lead)?.to_owned();
    Some((lead, named))
}

/// Whether a rotation says how the user is reached.
pub fn is_reachable(user: &str, facts: &IncidentFacts) -> bool {
    reachable(user, facts).is_some()
}

fn reachable<'a>(user: &str, facts: &'a IncidentFacts) -> Option<&'a Person> {
    facts.rotations.iter().find_map(|rotation| rotation.spec.reachable(user))
}

/// Adds one page for the person who is named, if a rotation says how they are reached.
pub fn page(
    incident: &Incident,
    facts: &IncidentFacts,
    status: &mut IncidentStatus,
    outgoing: &mut Vec<Message>,
    now: Timestamp,
) {
    let Some((lead, named)) = pending(incident, status) else { return };
    let Some(person) = reachable(&named, facts) else { return };
    let (namespace, name) = (incident.namespace().unwrap_or_default(), incident.name_any());
    let claim = Command::new(Verb::Lead).namespace(namespace).on("inc", &name);
    let text = format!(
        "{lead} hands the lead of inc/{name} ({} {}) over to you, and leads until you claim it: {claim}",
        incident.spec.severity,
        flat(&incident.spec.title, TITLE)
    );
    let what = format!("{}/handover/{lead}/{named}", status.relapses);
    let key = format!("{}/{what}", incident.uid().unwrap_or_default());
    let messages = recipients::messages(&[Recipient::from(person)], &key, Purpose::Page, &text, now);
    announcements::once(status, outgoing, &what, messages);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn facts() -> IncidentFacts {
        let rotation = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "OnCallRotation", "metadata": {"name": "leads"},
            "spec": {"timeZone": "UTC", "layers": [], "people": [
                {"name": "bea", "user": "bea", "contacts": [{"channelRef": {"name": "hook"}}]},
                {"name": "max", "user": "max"}]}});
        IncidentFacts {
            rotations: vec![Arc::new(serde_json::from_value(rotation).unwrap())],
            ..IncidentFacts::default()
        }
    }

    fn told(named: &str, status: &mut IncidentStatus) -> Vec<String> {
        let spec = json!({"title": "checkout is down", "severity": "SEV2",
            "roles": {"lead": {"user": "lena"}, "nominatedLead": {"user": named}}});
        let mut incident = Incident::new("i", serde_json::from_value(spec).unwrap());
        incident.metadata.namespace = Some("shop".to_owned());
        let mut outgoing = Vec::new();
        page(&incident, &facts(), status, &mut outgoing, Timestamp::UNIX_EPOCH);
        outgoing.into_iter().map(|message| message.text).collect()
    }

    fn led_by(user: &str) -> IncidentStatus {
        serde_json::from_value(json!({"lead": {"user": user, "time": "2026-11-22T02:04:10Z"}})).unwrap()
    }

    #[test]
    fn the_nominee_is_told_once_with_the_command() {
        let mut status = led_by("lena");
        let text = "lena hands the lead of inc/i (SEV2 checkout is down) over to you, and leads until you claim it: \
                    kubectl mayday lead -n shop inc/i";
        assert_eq!(told("bea", &mut status), [text]);
        assert_eq!(told("bea", &mut status), Vec::<String>::new());
    }

    #[test]
    fn a_nominee_who_leads_or_cannot_be_reached_is_not_told() {
        assert_eq!(told("bea", &mut led_by("bea")), Vec::<String>::new());
        assert_eq!(told("max", &mut led_by("lena")), Vec::<String>::new());
        assert_eq!(told("bea", &mut IncidentStatus::default()), Vec::<String>::new());
    }
}
