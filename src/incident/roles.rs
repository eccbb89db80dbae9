//! Who answered and who leads: taken from the spec, where the API server let only the entitled write. Pure.

use crate::api::incident_status::MAYDAY;
use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::IncidentFacts;
use super::timeline;
use crate::api::Incident;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::common::Severity;
use crate::api::incident::Commitment;
use crate::api::incident_status::{IncidentStatus, Stamped};
use crate::change::approval::binding;
use crate::change::policy;
use crate::cluster::conditions::seconds;

/// Most former leads that are kept, as the schema allows.
const FORMER_LEADS: usize = 16;

/// The outage has come back, or is worse: whoever answered or led before may be asleep, so people are paged anew.
pub fn lapse(incident: &Incident, status: &mut IncidentStatus) {
    status.lapsed_acknowledgement = incident.spec.acknowledgement.clone();
    status.lapsed_lead = lead_of(incident).cloned();
    status.acknowledgement = None;
    let former = status.lead.take();
    led_before(status, former);
    // The ladder begins again at its first level.
    status.escalation = None;
    status.paged_severity = None;
    status.escalation_restarts = status.escalation_restarts.saturating_add(1);
}

fn lead_of(incident: &Incident) -> Option<&Commitment> {
    incident.spec.roles.as_ref()?.lead.as_ref()
}

/// The person of the spec, unless it is the one of before the relapse. Once the spec says something else, whatever it
/// says later counts.
fn counting<'a>(said: Option<&'a Commitment>, lapsed: &mut Option<Commitment>) -> Option<&'a str> {
    if let (Some(said), Some(before)) = (said, lapsed.as_ref())
        && said.repeats(before)
    {
        return None;
    }
    *lapsed = None;
    said.map(|person| person.user.as_str())
}

/// A new signal says how bad it is. If that is worse than what people know, and nobody leads, they are paged anew;
/// `said` is how bad it was said to be before.
pub fn worsen(incident: &Incident, status: &mut IncidentStatus, said: Severity, worst: Severity) {
    let known = status.paged_severity.unwrap_or(said);
    if worst.worse_than(known) && !is_led(incident, status) {
        lapse(incident, status);
        status.paged_severity = Some(worst);
    }
}

/// Whether somebody leads who has said so since the outage came back.
fn is_led(incident: &Incident, status: &IncidentStatus) -> bool {
    counting(lead_of(incident), &mut status.lapsed_lead.clone()).is_some()
}

/// Records who answered, who leads, and since when the incident binds changes.
pub fn record(incident: &Incident, facts: &IncidentFacts, status: &mut IncidentStatus, now: Timestamp) {
    let stamp = |user: &str| Stamped { user: user.to_owned(), time: seconds(now) };
    let lead = counting(lead_of(incident), &mut status.lapsed_lead);
    // Claiming acknowledges.
    let answered =
        counting(incident.spec.acknowledgement.as_ref(), &mut status.lapsed_acknowledgement).or(lead);
    status.paged_severity.get_or_insert(incident.spec.severity);
    if let (None, Some(user)) = (&status.acknowledgement, answered) {
        status.acknowledgement = Some(stamp(user));
        status.paged_severity = Some(incident.spec.severity);
        timeline::add(status, now, user, "acknowledged");
    }
    if let Some(user) = lead {
        let led = status.lead.clone();
        if led.as_ref().is_none_or(|led| led.user != user) {
            let what = match &led {
                None => "claimed the lead".to_owned(),
                Some(former) => format!("took the lead over from {}", former.user),
            };
            led_before(status, led);
            status.lead = Some(stamp(user));
            timeline::add(status, now, user, &what);
        }
    }
    let namespace = incident.namespace().unwrap_or_default();
    let over = policy::over(&facts.policies, &namespace, &facts.operator_namespace);
    let specs: Vec<&ChangePolicySpec> = over.iter().map(|policy| &policy.spec).collect();
    if !specs.iter().any(|policy| binding::binds(incident, policy)) {
        status.binds_since_time = None;
    } else if status.binds_since_time.is_none() {
        status.binds_since_time = Some(seconds(now));
        timeline::add(status, now, MAYDAY, "changes now need the lead and a peer");
    }
}

/// Remembers a former lead; of many only the newest are kept.
fn led_before(status: &mut IncidentStatus, former: Option<Stamped>) {
    status.former_leads.extend(former);
    let surplus = status.former_leads.len().saturating_sub(FORMER_LEADS);
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
    fn what_is_worse_than_people_know_pages_anew_whoever_raised_it_unless_somebody_leads() {
        let answered = |roles: Value| {
            let spec = json!({"severity": "SEV5", "acknowledgement": {"user": "emil"}, "roles": roles});
            let mut status = IncidentStatus::default();
            recorded(spec.clone(), &mut status);
            (spec, status)
        };
        let (mut spec, mut status) = answered(json!({}));
        // As after a conflict or a crash: the spec has been raised, and nobody knows.
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

    #[test]
    fn claiming_the_lead_acknowledges() {
        let lena = Some("lena".to_owned());
        let spec = json!({"roles": {"lead": {"user": "lena"}}});
        assert_eq!(recorded(spec, &mut IncidentStatus::default()), [lena.clone(), lena]);
    }

    #[test]
    fn after_a_relapse_the_people_of_before_count_again_only_once_the_spec_changes() {
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
    fn after_a_relapse_the_same_people_count_once_they_say_it_again() {
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
