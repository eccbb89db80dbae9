//! `update`: a message to stakeholders, by the lead or the communications lead. Each is sent once.

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mayday::api::incident::{Audience, Update};
use mayday::api::incident_status::IncidentStatus;
use mayday::api::{Incident, OnCallRotation};
use mayday::command::{Flag, TEXT, Verb};
use mayday::incident::stakeholders::{self, Words};
use serde_json::{Value, json};

use crate::client::address;
use crate::client::append::append;
use crate::client::clock;
use crate::client::failure::Failure;
use crate::client::session::{Session, name_of};
use crate::render::terminal::{confirm, say};
use crate::text::names;

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
    /// What they read; may be left out with --external: the public summary
    #[arg(required_unless_present = "external")]
    pub text: Option<String>,
    /// For the public instead of the organisation
    #[arg(long)]
    pub external: bool,
    /// When they hear next: HH:MM in your time zone, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub next_update: Option<String>,
}

pub async fn run(session: &Session, args: UpdateArgs) -> Result<(), Failure> {
    let incident: Incident = session.get(&args.incident).await?;
    let now = session.now().to_zoned(session.zone.clone());
    let next =
        args.next_update.as_deref().map(|next| clock::next("--next-update", next, &now)).transpose()?;
    let (audience, whom) = match args.external {
        true => (Audience::External, "The public"),
        false => (Audience::Internal, "The organisation"),
    };
    if args.text.is_none() {
        is_summed_up(session, &incident)?;
    }
    let status = incident.status.clone().unwrap_or_default();
    let rotations: Vec<OnCallRotation> = session.list().await.unwrap_or_default();
    let zone = stakeholders::zone(&rotations, &status);
    let words = Words::of(&incident, &status, &zone, session.now());
    let update = Update { audience, text: args.text.clone(), next_update_time: next.map(Time) };
    let text = words.update(&update).unwrap_or_default();
    let heard = heard(&incident, &status, audience);
    let hears = match &heard {
        Ok(channels) => format!("{whom} reads, about inc/{}, in {channels}", args.incident),
        Err(why) => {
            format!("Nobody is told: {why}. This would only be written down in inc/{}", args.incident)
        }
    };
    confirm(session.connection.yes, &format!("{hears}:\n  {text}"))?;
    let entry = entry(audience, args.text.as_deref(), next);
    append(session, &args.incident, "updates", entry, &format!("write an update of inc/{}", args.incident))
        .await?;
    let sent = match &heard {
        Ok(channels) => format!("Written; it goes to {channels}, once"),
        Err(why) => format!("Written, and sent to nobody: {why}"),
    };
    say(&format!("{sent}.\nNext: {}", session.command(Verb::Show).on("inc", &args.incident)));
    Ok(())
}

/// The channels that carry it, in words, or why there are none.
fn heard(incident: &Incident, status: &IncidentStatus, audience: Audience) -> Result<String, String> {
    if status.state.is_none() {
        return Err("the operator has not looked at the incident yet, and sends it once it does".to_owned());
    }
    if let Some(original) = &status.duplicate_of {
        return Err(format!("they hear of this outage from inc/{}", original.name));
    }
    let Some(service) = &status.service else {
        let name = incident.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("inc/{name} is about no service, and a service says who its stakeholders are"));
    };
    let them = service.stakeholders.iter().filter(|stakeholder| stakeholder.audience == audience);
    let channels = names(them.map(|stakeholder| stakeholder.channel_ref.name.as_str()), "");
    if channels.is_empty() {
        return Err(format!(
            "when the incident opened, spec.stakeholders of bsvc/{} held nobody of audience {audience:?}",
            service.r#ref.name
        ));
    }
    Ok(channels)
}

fn entry(audience: Audience, text: Option<&str>, next: Option<jiff::Timestamp>) -> Value {
    let mut entry = json!({"audience": audience});
    if let Some(text) = text {
        entry["text"] = json!(text);
    }
    if let Some(next) = next {
        entry["nextUpdateTime"] = json!(next.to_string());
    }
    entry
}

/// If the person writes no text, the public reads the summary, if there is one.
fn is_summed_up(session: &Session, incident: &Incident) -> Result<(), Failure> {
    let copy = incident.status.as_ref().and_then(|status| status.service.as_ref());
    if incident.spec.public_summary.is_some() || copy.is_some_and(|copy| copy.public_summary.is_some()) {
        return Ok(());
    }
    let again = session.command(Verb::Update).on("inc", name_of(incident)).switch(Flag::External).word(TEXT);
    Err(Failure::usage("There is no public summary, so the text must be said.").then(again))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_channels_or_why_there_are_none() {
        let incident = Incident::new("i", Default::default());
        let heard =
            |status: Value, audience| heard(&incident, &serde_json::from_value(status).unwrap(), audience);
        let room = json!([{"audience": "Internal", "channelRef": {"name": "crisis-room"}}]);
        let service =
            json!({"ref": {"name": "checkout", "uid": "u"}, "title": "Checkout", "stakeholders": room});
        let known = json!({"state": "Crisis", "service": service});
        assert_eq!(heard(known.clone(), Audience::Internal), Ok("crisis-room".to_owned()));
        let why = |status: Value, audience| heard(status, audience).unwrap_err();
        assert!(why(known, Audience::External).contains("nobody of audience External"));
        assert!(why(json!({"state": "Crisis"}), Audience::Internal).contains("about no service"));
        assert!(why(json!({}), Audience::Internal).contains("not looked"));
        let other = json!({"state": "Duplicate", "duplicateOf": {"name": "other"}});
        assert!(why(other, Audience::Internal).contains("inc/other"));
    }

    #[test]
    fn an_update_holds_only_what_was_said() {
        assert_eq!(entry(Audience::External, None, None), json!({"audience": "External"}));
        let next = "2026-11-22T02:40:00Z".parse().unwrap();
        assert_eq!(
            entry(Audience::Internal, Some("lena leads the repair."), Some(next)),
            json!({
                "audience": "Internal",
                "text": "lena leads the repair.",
                "nextUpdateTime": "2026-11-22T02:40:00Z"
            })
        );
    }
}
