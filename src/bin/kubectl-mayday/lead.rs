//! `lead`: claiming the lead of an incident, or handing it over.

use clap::Args;
use mayday::api::Incident;
use serde_json::{Value, json};

use crate::address;
use crate::cluster::Session;
use crate::failure::Failure;
use crate::output::{confirm, say};

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
    let leading = lead_of(&incident);
    if let Some(user) = args.communications {
        let asked = format!("You ({}) name {user} as the one voice to stakeholders of {address}.", me.user);
        confirm(session.connection.yes, &asked)?;
        let what = format!("name the communications lead of {address}");
        let patch = json!({"spec": {"roles": {"communications": {"user": user}}}});
        let _: Incident = session.patch(&args.incident, &patch, &what).await?;
        let next = session.command("update", &format!("{address} \"…\""));
        say(&format!("{user} speaks to stakeholders.\nNext: {user}: {next}"));
        return Ok(());
    }
    match args.to {
        Some(to) => {
            let asked = format!(
                "You ({}) hand the lead of {address} ({}) over to {to}. It stays yours until {to} claims it.",
                me.user, incident.spec.title
            );
            confirm(session.connection.yes, &asked)?;
            let what = format!("hand over the lead of {address}");
            let _: Incident = session.patch(&args.incident, &nomination(&to), &what).await?;
            say(&format!(
                "{to} is named as the next lead.\nNext: {to}: {}",
                session.command("lead", &address)
            ));
        }
        None => {
            confirm(session.connection.yes, &claim_text(&address, &incident.spec.title, &me.user, leading))?;
            let what = format!("claim the lead of {address}");
            let _: Incident = session.patch(&args.incident, &claim(&me.user), &what).await?;
            say(&format!("{} leads {address}.\nNext: {}", me.user, session.command("show", &address)));
        }
    }
    Ok(())
}

/// What claiming the lead writes. It acknowledges too.
fn claim(user: &str) -> Value {
    json!({"spec": {"roles": {"lead": {"user": user}}}})
}

/// What a hand-over writes; it counts when that person claims the lead.
fn nomination(user: &str) -> Value {
    json!({"spec": {"roles": {"nominatedLead": {"user": user}}}})
}

fn lead_of(incident: &Incident) -> Option<&str> {
    let status = incident.status.as_ref().and_then(|status| status.lead.as_ref());
    let spec = incident.spec.roles.as_ref().and_then(|roles| roles.lead.as_ref());
    status.map(|lead| lead.user.as_str()).or(spec.map(|lead| lead.user.as_str()))
}

fn claim_text(address: &str, title: &str, user: &str, leading: Option<&str>) -> String {
    let before = match leading {
        Some(lead) if lead == user => " You lead it already.".to_owned(),
        Some(lead) => format!(" {lead} leads it now, and must have named you as the next lead."),
        None => " Nobody leads it yet. From then on changes need you and one more person.".to_owned(),
    };
    format!("You ({user}) claim the lead of {address} ({title}).{before}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_says_whom_it_follows() {
        assert!(claim_text("inc/x", "down", "lena", None).contains("Nobody leads it yet"));
        assert!(claim_text("inc/x", "down", "bea", Some("lena")).contains("lena leads it now"));
    }

    #[test]
    fn a_hand_over_leaves_the_lead_alone() {
        assert_eq!(nomination("bea").pointer("/spec/roles/lead"), None);
        assert_eq!(claim("lena"), json!({"spec": {"roles": {"lead": {"user": "lena"}}}}));
    }
}
