//! `lead`: claiming the lead of an incident, or handing it over.

use clap::Args;
use jiff::Timestamp;
use mayday::api::{Incident, OnCallRotation};
use mayday::command::{TEXT, Verb};
use serde_json::{Value, json};

use crate::client::address;
use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::commands::ack::{elsewhere, over};
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct LeadArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
    /// Hand the lead over to this user, who then claims it
    #[arg(long, value_name = "USER")]
    pub to: Option<String>,
    /// Name the one voice to stakeholders; for the lead
    #[arg(long, value_name = "USER", conflicts_with = "to")]
    pub communications: Option<String>,
}

pub async fn run(session: &Session, args: LeadArgs) -> Result<(), Failure> {
    let incident: Incident = session.get(&args.incident).await?;
    let me = session.me().await?;
    let address = format!("inc/{}", args.incident);
    let leading = leading(&incident);
    if let Some(elsewhere) = elsewhere(&incident, "lead", |there| session.command(Verb::Lead).word(there)) {
        return Err(elsewhere);
    }
    if let Some(user) = args.communications {
        let asked = format!("You ({}) name {user} as the one voice to stakeholders of {address}.", me.user);
        confirm(session.connection.yes, &asked)?;
        let what = format!("name the communications lead of {address}");
        let patch = json!({"spec": {"roles": {"communications": {"user": user}}}});
        let _: Incident = session.patch(&args.incident, &patch, &what).await?;
        let next = session.command(Verb::Update).word(&address).word(TEXT);
        say(&format!("{user} speaks to stakeholders.\nNext: {user}: {next}"));
        return Ok(());
    }
    if let Some(over) = over(&incident) {
        return Err(Failure::new(format!("{address} is {over}: nobody leads it any more."))
            .then(session.command(Verb::Show).word(&address)));
    }
    match args.to {
        Some(to) => {
            let asked = format!(
                "You ({}) hand the lead of {address} ({}) over to {to}. It stays yours until {to} claims it.",
                me.user, incident.spec.title
            );
            confirm(session.connection.yes, &asked)?;
            let what = format!("hand over the lead of {address}");
            let patch = nomination(&to, session.now());
            let _: Incident = session.patch(&args.incident, &patch, &what).await?;
            let rotations: Vec<OnCallRotation> = session.list().await.unwrap_or_default();
            say(&format!(
                "{to} is named as the next lead. {}\nNext: {to}: {}",
                told(&rotations, &to),
                session.command(Verb::Lead).word(&address)
            ));
        }
        None => {
            let asked = claim_text(&address, &incident.spec.title, &me.user, leading, incident.nominee());
            confirm(session.connection.yes, &asked)?;
            let what = format!("claim the lead of {address}");
            let _: Incident = session.patch(&args.incident, &claim(&me.user, session.now()), &what).await?;
            say(&format!(
                "{} leads {address}.\nNext: {}",
                me.user,
                session.command(Verb::Show).word(&address)
            ));
        }
    }
    Ok(())
}

/// Who tells the nominee. A name that no rotation knows may be mistyped.
fn told(rotations: &[OnCallRotation], user: &str) -> String {
    let mut people = rotations.iter().flat_map(|rotation| &rotation.spec.people);
    let known = people.any(|person| person.user == user);
    let is_reachable = rotations.iter().any(|rotation| rotation.spec.reachable(user).is_some());
    match (known, is_reachable) {
        (_, true) => "Mayday pages them.".to_owned(),
        (true, false) => "No rotation says how to page them: tell them.".to_owned(),
        (false, false) => format!("No rotation here knows a user {user}: check the name, and tell them."),
    }
}

/// The patch that claims the lead, and ends what the lead before has said. It acknowledges too, and its time tells it
/// from the claim before a relapse.
fn claim(user: &str, now: Timestamp) -> Value {
    json!({"spec": {"roles": {"lead": {"user": user, "time": whole_seconds(now)}, "nominatedLead": null}}})
}

/// The patch of a handoff. It counts when that person claims the lead.
fn nomination(user: &str, now: Timestamp) -> Value {
    json!({"spec": {"roles": {"nominatedLead": {"user": user, "time": whole_seconds(now)}}}})
}

/// Who leads, or led, before a claim.
#[derive(Clone, Copy, Debug)]
enum Leading<'a> {
    Nobody,
    /// This person leads.
    Now(&'a str),
    /// This person led until the outage came back.
    Before(&'a str),
}

fn leading(incident: &Incident) -> Leading<'_> {
    let status = incident.status.as_ref();
    if let Some(lead) = status.and_then(|status| status.lead.as_ref()) {
        return Leading::Now(&lead.user);
    }
    let Some(claim) = incident.spec.roles.as_ref().and_then(|roles| roles.lead.as_ref()) else {
        return Leading::Nobody;
    };
    let lapsed = status.and_then(|status| status.lapsed_lead.as_ref());
    match lapsed.is_some_and(|lapsed| claim.repeats(lapsed)) {
        true => Leading::Before(&claim.user),
        false => Leading::Now(&claim.user),
    }
}

fn claim_text(address: &str, title: &str, user: &str, leading: Leading<'_>, nominee: Option<&str>) -> String {
    let before = match leading {
        Leading::Now(lead) if lead == user => " You lead it already.".to_owned(),
        Leading::Now(lead) if nominee == Some(user) => {
            format!(" {lead} leads it now, and has named you as the next lead.")
        }
        Leading::Now(lead) => {
            format!(" {lead} leads it now, and has not named you: it is refused until {lead} hands it over.")
        }
        Leading::Before(lead) => {
            format!(" {lead} led it until the outage came back; since then nobody does.")
        }
        Leading::Nobody => {
            " Nobody leads it yet. From then on changes need you and one more person.".to_owned()
        }
    };
    format!("You ({user}) claim the lead of {address} ({title}).{before}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::incident::{Commitment, Roles};
    use mayday::api::incident_status::IncidentStatus;

    #[test]
    fn a_claim_says_whom_it_follows() {
        let text =
            |incident: &Incident| claim_text("inc/x", "down", "bea", leading(incident), incident.nominee());
        let mut incident = Incident::new("x", Default::default());
        assert!(text(&incident).contains("Nobody leads it yet"));
        let claim = Commitment { user: "lena".into(), time: None };
        incident.spec.roles = Some(Roles { lead: Some(claim.clone()), ..Default::default() });
        assert!(text(&incident).contains("lena leads it now, and has not named you"));
        incident.spec.roles.as_mut().unwrap().nominated_lead =
            Some(Commitment { user: "bea".into(), time: None });
        assert!(text(&incident).ends_with("lena leads it now, and has named you as the next lead."));
        incident.status = Some(IncidentStatus { lapsed_lead: Some(claim), ..Default::default() });
        assert!(text(&incident).contains("lena led it until the outage came back"));
    }

    #[test]
    fn a_handoff_leaves_the_lead_alone() {
        let now = "2026-11-22T02:04:10.5Z".parse().unwrap();
        assert_eq!(nomination("bea", now).pointer("/spec/roles/lead"), None);
        let claimed = json!({"user": "lena", "time": "2026-11-22T02:04:10Z"});
        assert_eq!(claim("lena", now).pointer("/spec/roles/lead"), Some(&claimed));
        assert_eq!(claim("lena", now).pointer("/spec/roles/nominatedLead"), Some(&Value::Null));
    }

    #[test]
    fn an_unknown_nominee_is_said_to_be_unknown() {
        let rotation = serde_json::from_value(json!({"timeZone": "UTC", "layers": [], "people": [
            {"name": "bea", "user": "bea", "contacts": [{"channelRef": {"name": "hook"}}]}, {"name": "max", "user": "max"}]}));
        let rotations = [OnCallRotation::new("leads", rotation.unwrap())];
        assert_eq!(told(&rotations, "bea"), "Mayday pages them.");
        assert_eq!(told(&rotations, "max"), "No rotation says how to page them: tell them.");
        assert!(told(&rotations, "zeo").starts_with("No rotation here knows a user zeo: check the name"));
    }
}
