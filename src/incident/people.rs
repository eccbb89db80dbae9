//! Who answered and who leads: taken from the spec, where the API server let only the entitled write. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::facts::Facts;
use super::timeline;
use crate::api::Incident;
use crate::api::change_policy::ChangePolicySpec;
use crate::api::incident_status::{IncidentStatus, Stamped};
use crate::change::{binding, policy};
use crate::cluster::conditions::seconds;

/// Records who answered, who leads, and since when the incident binds changes.
pub fn record(incident: &Incident, facts: &Facts, status: &mut IncidentStatus, now: Timestamp) {
    let stamp = |user: &str| Stamped { user: user.to_owned(), time: seconds(now) };
    let roles = incident.spec.roles.as_ref();
    let lead = roles.and_then(|roles| roles.lead.as_ref()).map(|lead| lead.user.as_str());
    // Claiming acknowledges.
    let answered = incident.spec.acknowledgement.as_ref().map(|person| person.user.as_str()).or(lead);
    if let (None, Some(user)) = (&status.acknowledgement, answered) {
        status.acknowledgement = Some(stamp(user));
        timeline::add(status, now, user, "acknowledged");
    }
    if let Some(user) = lead {
        let led = status.lead.clone();
        if led.as_ref().is_none_or(|led| led.user != user) {
            let what = match &led {
                None => "claimed the lead".to_owned(),
                Some(former) => format!("took the lead over from {}", former.user),
            };
            status.former_leads.extend(led);
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
        timeline::add(status, now, timeline::MAYDAY, "changes now need the lead and a peer");
    }
}
