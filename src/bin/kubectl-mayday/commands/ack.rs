//! `ack`: the person answers, and paging stops.

use clap::Args;
use jiff::Timestamp;
use mayday::api::{Incident, OnCallRotation};
use mayday::command::{Command, Verb};
use serde_json::{Value, json};

use crate::client::address;
use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::wait::{PATIENCE, Waited, until};
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct AckArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
}

pub async fn run(session: &Session, args: AckArgs) -> Result<(), Failure> {
    let incident: Incident = session.get(&args.incident).await?;
    let address = format!("inc/{}", args.incident);
    if let Some(elsewhere) =
        elsewhere(&incident, "acknowledge", |there| session.command(Verb::Ack).word(there))
    {
        return Err(elsewhere);
    }
    if let Some(over) = over(&incident) {
        say(&format!(
            "{address} is {over}: nobody needs to answer it any more.\nNext: {}",
            session.command(Verb::Show).word(&address)
        ));
        return Ok(());
    }
    let me = session.me().await?;
    confirm(session.connection.yes, &about_to(&incident, &args.incident, &me.user))?;
    let what = format!("acknowledge inc/{}", args.incident);
    let stored: Incident = session.patch(&args.incident, &patch(&me.user, session.now()), &what).await?;
    let is_seen =
        |incident: &Incident| incident.status.as_ref().is_some_and(|status| status.acknowledgement.is_some());
    // Mayday may be down. The answer is stored, so failing to follow it is no failure of the command.
    let waited = until::<Incident>(session, &args.incident, Some(PATIENCE), is_seen).await;
    let paging = match waited {
        Ok(Waited::Done(_)) => "the paging stops",
        _ => "it is stored, and Mayday has not looked at it yet: until it does, others may be paged too",
    };
    let lead = call_a_lead(session, &stored).await;
    say(&format!(
        "{} has answered {address}: {paging}.\nNext: {}\n  {lead}, who claims it: {}",
        me.user,
        session.command(Verb::Show).word(&address),
        session.command(Verb::Lead).word(&address)
    ));
    Ok(())
}

/// The people to call for a lead: no lead is appointed, and only members of the lead groups may claim it.
async fn call_a_lead(session: &Session, incident: &Incident) -> String {
    let service = incident.status.as_ref().and_then(|status| status.service.as_ref());
    let named = service.and_then(|service| service.rotations.as_ref()?.lead.as_ref());
    let Some(named) = named else { return "or call a lead".to_owned() };
    let rotation = session.find::<OnCallRotation>(&named.name).await.ok().flatten();
    match rotation.and_then(|rotation| rotation.status).and_then(|status| status.on_duty_names) {
        Some(names) => format!("or call a lead (on duty: {names})"),
        None => format!("or call a lead ({})", session.command(Verb::Who).word(&named.name)),
    }
}

/// The refusal of what would have no effect on a duplicate, with the command for the incident that goes on.
pub fn elsewhere(incident: &Incident, what: &str, command: impl FnOnce(&str) -> Command) -> Option<Failure> {
    let original = format!("inc/{}", incident.goes_on_as()?);
    let address = format!("inc/{}", incident.metadata.name.as_deref().unwrap_or_default());
    let sentence = format!(
        "{address} is about the same outage as {original}, which goes on; {what} {original} instead."
    );
    Some(Failure::new(sentence).then(command(&original)))
}

/// How an incident that is over ended: `Resolved`.
pub fn over(incident: &Incident) -> Option<String> {
    let state = incident.status.as_ref().and_then(|status| status.state)?;
    (!state.is_open()).then(|| format!("{state:?}"))
}

/// The patch of the acknowledgement. Its time tells it from the acknowledgement before a relapse.
fn patch(user: &str, now: Timestamp) -> Value {
    json!({"spec": {"acknowledgement": {"user": user, "time": whole_seconds(now)}}})
}

fn about_to(incident: &Incident, name: &str, user: &str) -> String {
    let spec = &incident.spec;
    let answered = incident.status.as_ref().and_then(|status| status.acknowledgement.as_ref());
    let before = match answered {
        Some(first) if first.user != user => format!(" {} answered first.", first.user),
        _ => String::new(),
    };
    format!("You ({user}) answer inc/{name} ({}, {}).{before}", spec.severity, spec.title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::incident::IncidentSpec;
    use mayday::api::incident_status::{IncidentStatus, Stamped};

    #[test]
    fn the_text_names_who_was_first() {
        let mut incident = Incident::new(
            "checkout-x7k2p",
            IncidentSpec { title: "checkout is down".into(), ..Default::default() },
        );
        let text = about_to(&incident, "checkout-x7k2p", "emil");
        assert_eq!(text, "You (emil) answer inc/checkout-x7k2p (SEV2, checkout is down).");
        let time = "2026-11-22T02:04:10Z".parse::<jiff::Timestamp>().unwrap();
        let bea =
            Stamped { user: "bea".into(), time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time) };
        incident.status = Some(IncidentStatus { acknowledgement: Some(bea), ..Default::default() });
        assert!(about_to(&incident, "checkout-x7k2p", "emil").ends_with("bea answered first."));
    }
}
