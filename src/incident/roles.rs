//! Who answered and who leads, from the spec; the guard has checked who may write that. The lead is the incident
//! commander. Pure.

use crate::api::common::{Severity, stored_time};
use crate::api::incident_status::{MAYDAY, PEOPLE};
use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::{chronicle, duplicates, timeline};
use crate::api::Incident;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::incident::Commitment;
use crate::api::incident_status::{IncidentStatus, Stamped};
use crate::change::approval::binding;
use crate::change::policy;

/// Maximum number of former leads in the status, as the schema allows.
const MAX_FORMER_LEADS: usize = 16;

/// Voids the acknowledgement and the lead and restarts the escalation, since the outage has come back or become worse:
/// those people may be asleep.
pub fn lapse(incident: &Incident, status: &mut IncidentStatus) {
    status.lapsed_acknowledgement = incident.spec.acknowledgement.clone();
    status.lapsed_lead = lead_of(incident).cloned();
    status.lapsed_nomination = nomination(incident);
    status.acknowledgement = None;
    let former = status.lead.take();
    led_before(status, former);
    // The escalation restarts at its first level.
    status.escalation = None;
    status.paged_severity = None;
    status.escalation_restarts = status.escalation_restarts.saturating_add(1);
}

fn lead_of(incident: &Incident) -> Option<&Commitment> {
    incident.spec.roles.as_ref()?.lead.as_ref()
}

fn nomination(incident: &Incident) -> Option<Commitment> {
    incident.spec.roles.as_ref()?.nominated_lead.clone()
}

/// Whether a nomination is known to be newer than a claim.
fn is_said_since(nomination: Option<&Commitment>, claim: Option<&Commitment>) -> bool {
    let time = |said: Option<&Commitment>| said.and_then(|said| said.time.as_ref()).map(|time| time.0);
    time(nomination).zip(time(claim)).is_some_and(|(named, claimed)| named >= claimed)
}

/// The person that the spec names, unless that is the commitment from before the relapse. Once the spec changes, every
/// later commitment counts.
fn counting<'a>(said: Option<&'a Commitment>, lapsed: &mut Option<Commitment>) -> Option<&'a str> {
    if let (Some(said), Some(before)) = (said, lapsed.as_ref())
        && said.repeats(before)
    {
        return None;
    }
    *lapsed = None;
    said.map(|person| person.user.as_str())
}

/// Restarts the escalation if a new signal is worse than the severity people were paged for and no person
/// leads. `said` is the severity of the incident before the signal.
pub fn worsen(incident: &Incident, status: &mut IncidentStatus, said: Severity, worst: Severity) {
    let known = status.paged_severity.unwrap_or(said);
    if worst.worse_than(known) && !is_led(incident, status) {
        lapse(incident, status);
        status.paged_severity = Some(worst);
    }
}

/// Whether a person has claimed the lead since the last relapse.
fn is_led(incident: &Incident, status: &IncidentStatus) -> bool {
    counting(lead_of(incident), &mut status.lapsed_lead.clone()).is_some()
}

/// Records who answered, who leads, and since when the incident binds changes (docs/rules.md#binding-incidents).
pub fn record(incident: &Incident, facts: &IncidentFacts, status: &mut IncidentStatus, now: Timestamp) {
    let stamp = |user: &str| Stamped { user: user.to_owned(), time: stored_time(now) };
    let lead = counting(lead_of(incident), &mut status.lapsed_lead);
    // Claiming the lead acknowledges. So does whoever answered an incident that is about to become a duplicate of this one.
    let said = counting(incident.spec.acknowledgement.as_ref(), &mut status.lapsed_acknowledgement);
    let own = said.or(lead);
    let carried = duplicates::answer(incident, facts).filter(|_| own.is_none());
    let what = match &carried {
        Some((_, name)) => format!("acknowledged (as inc/{name}, the same outage)"),
        None => "acknowledged".to_owned(),
    };
    let answered = own.or(carried.as_ref().map(|(user, _)| user.as_str()));
    status.paged_severity.get_or_insert(incident.spec.severity);
    if let (None, Some(user)) = (&status.acknowledgement, answered) {
        status.acknowledgement = Some(stamp(user));
        status.paged_severity = Some(incident.spec.severity);
        timeline::add(status, now, user, &what);
    }
    if let Some(user) = lead {
        let led = status.lead.clone();
        if led.as_ref().is_none_or(|led| led.user != user) {
            let what = match &led {
                None => "claimed the lead".to_owned(),
                Some(former) => format!("took the lead over from {}", former.user),
            };
            // What the lead before has said ends with that lead.
            if led.is_some() && !is_said_since(nomination(incident).as_ref(), lead_of(incident)) {
                status.lapsed_nomination = nomination(incident);
            }
            led_before(status, led);
            status.lead = Some(stamp(user));
            timeline::add(status, now, user, &what);
        }
    }
    let (named, lapsed) = (nomination(incident), &mut status.lapsed_nomination);
    if lapsed.as_ref().is_some_and(|lapsed| named.as_ref().is_none_or(|named| !named.repeats(lapsed))) {
        *lapsed = None;
    }
    if let Some(user) =
        said.filter(|user| status.acknowledgement.as_ref().is_some_and(|by| by.user != **user))
    {
        chronicle::once(status, &format!("ack/{}/{user}", status.relapses), now, user, "answered too");
    }
    tell(incident, status, now);
    let namespace = incident.namespace().unwrap_or_default();
    let over = policy::covering(&facts.policies, &namespace, &facts.operator_namespace);
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    if !specs.iter().any(|policy| binding::binds(incident, policy)) {
        status.binds_since_time = None;
    } else if status.binds_since_time.is_none() {
        status.binds_since_time = Some(stored_time(now));
        timeline::add(status, now, MAYDAY, "changes now need the lead and a peer");
    }
}

/// Tells in the timeline whom the lead has named, each once.
fn tell(incident: &Incident, status: &mut IncidentStatus, now: Timestamp) {
    let roles = incident.spec.roles.clone().unwrap_or_default();
    let lead = status.lead.as_ref().map_or(PEOPLE, |lead| &lead.user).to_owned();
    if let Some(user) = incident.nominee_by(Some(status)) {
        let time = roles.nominated_lead.and_then(|named| named.time).map(|time| time.0.to_string());
        let key = format!("nominee/{lead}/{user}/{}", time.unwrap_or_default());
        chronicle::once(status, &key, now, &lead, &format!("names {user} as the next lead"));
    }
    if let Some(speaker) = roles.communications {
        let key = format!("voice/{lead}/{}", speaker.user);
        let what = format!("names {} as the one voice to stakeholders", speaker.user);
        chronicle::once(status, &key, now, &lead, &what);
    }
}

/// Adds a former lead; the oldest are dropped.
fn led_before(status: &mut IncidentStatus, former: Option<Stamped>) {
    status.former_leads.extend(former);
    let surplus = status.former_leads.len().saturating_sub(MAX_FORMER_LEADS);
    status.former_leads.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn incident(spec: Value) -> Incident {
        let mut whole = json!({"title": "t", "severity": "SEV2"});
        json_patch::merge(&mut whole, &spec);
        Incident::new("i", serde_json::from_value(whole).unwrap())
    }

    fn recorded(spec: Value, status: &mut IncidentStatus) -> [Option<String>; 2] {
        record(&incident(spec), &IncidentFacts::default(), status, Timestamp::UNIX_EPOCH);
        [&status.acknowledgement, &status.lead].map(|stamped| stamped.as_ref().map(|by| by.user.clone()))
    }

    #[test]
    fn a_worse_severity_restarts_the_escalation_unless_somebody_leads() {
        let answered = |roles: Value| {
            let spec = json!({"severity": "SEV5", "acknowledgement": {"user": "emil"}, "roles": roles});
            let mut status = IncidentStatus::default();
            recorded(spec.clone(), &mut status);
            (spec, status)
        };
        let (mut spec, mut status) = answered(json!({}));
        // As after a conflict or a crash: the spec was raised, and no person was paged for it.
        spec["severity"] = json!("SEV2");
        recorded(spec.clone(), &mut status);
        worsen(&incident(spec.clone()), &mut status, Severity::Sev2, Severity::Sev2);
        assert_eq!((&status.acknowledgement, status.escalation_restarts), (&None, 1));
        worsen(&incident(spec.clone()), &mut status, Severity::Sev2, Severity::Sev2);
        assert_eq!(status.escalation_restarts, 1, "once");
        assert_eq!(recorded(spec, &mut status)[0], None, "emil answered for something smaller");

        let (spec, mut status) = answered(json!({"lead": {"user": "lena"}}));
        worsen(&incident(spec), &mut status, Severity::Sev5, Severity::Sev2);
        assert_eq!(status.escalation_restarts, 0, "lena is on it");
    }

    /// An act is accepted and counts nowhere, or counts although its time is over: a nomination.
    #[test]
    fn a_nomination_ends_with_the_relapse_or_the_lead_that_made_it() {
        let time = |minute: u32| format!("2026-11-22T02:{minute:02}:00Z");
        let roles = |lead: &str, claimed: u32, said: Option<u32>| {
            let named = said.map(|said| json!({"user": "bea", "time": time(said)}));
            json!({"roles": {"lead": {"user": lead, "time": time(claimed)}, "nominatedLead": named}})
        };
        let nominee = |spec: Value, status: &mut IncidentStatus| {
            recorded(spec.clone(), status);
            let mut incident = incident(spec);
            incident.status = Some(status.clone());
            incident.nominee().map(str::to_owned)
        };
        let (bea, mut status) = (Some("bea".to_owned()), IncidentStatus::default());
        assert_eq!(nominee(roles("lena", 10, None), &mut status), None);
        let named = roles("lena", 10, Some(20));
        assert_eq!(nominee(named.clone(), &mut status), bea);
        lapse(&incident(named.clone()), &mut status);
        assert_eq!(nominee(named, &mut status), None, "the relapse has ended it");
        assert_eq!(nominee(roles("mia", 30, Some(20)), &mut status), None, "mia has named nobody");
        assert_eq!(nominee(roles("mia", 30, Some(40)), &mut status), bea, "mia says it herself");
        assert_eq!(status.lapsed_nomination, None);
        assert_eq!(nominee(roles("bea", 50, Some(40)), &mut status), None, "bea leads");
    }

    #[test]
    fn claiming_the_lead_acknowledges() {
        let lena = Some("lena".to_owned());
        let spec = json!({"roles": {"lead": {"user": "lena"}}});
        assert_eq!(recorded(spec, &mut IncidentStatus::default()), [lena.clone(), lena]);
    }

    #[test]
    fn people_from_before_a_relapse_count_only_once_the_spec_changes() {
        let before = json!({"acknowledgement": {"user": "emil"}, "roles": {"lead": {"user": "lena"}}});
        let mut status = IncidentStatus::default();
        recorded(before.clone(), &mut status);
        lapse(&incident(before.clone()), &mut status);
        assert_eq!(status.former_leads.len(), 1);
        assert_eq!(recorded(before.clone(), &mut status), [None, None], "the old names do not count");
        let cleared = json!({"roles": {"lead": {"user": "lena"}}});
        assert_eq!(recorded(cleared, &mut status), [None, None]);
        let again = recorded(before, &mut status);
        assert_eq!(again, [Some("emil".to_owned()), None], "said anew, emil counts; lena has not been heard");
        let bea = json!({"acknowledgement": {"user": "emil"}, "roles": {"lead": {"user": "bea"}}});
        assert_eq!(recorded(bea, &mut status)[1].as_deref(), Some("bea"));
    }

    #[test]
    fn the_same_people_count_after_a_relapse_once_they_say_it_again() {
        let said = |time: &str| json!({"acknowledgement": {"user": "emil", "time": time}, "roles": {"lead": {"user": "lena", "time": time}}});
        let mut status = IncidentStatus::default();
        lapse(&incident(said("2026-11-22T02:04:10.7Z")), &mut status);
        // The status keeps whole seconds of what people write.
        status = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        assert_eq!(recorded(said("2026-11-22T02:04:10.7Z"), &mut status), [None, None]);
        let anew = recorded(said("2026-11-22T02:09:00Z"), &mut status);
        assert_eq!(anew, [Some("emil".to_owned()), Some("lena".to_owned())]);
        assert_eq!((&status.lapsed_acknowledgement, &status.lapsed_lead), (&None, &None));
    }
}
