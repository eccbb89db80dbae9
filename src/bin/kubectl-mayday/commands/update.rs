//! `update`: a message to stakeholders, by the lead or the communications lead. Each is sent once.

use std::time::Duration;

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mayday::api::incident::{Audience, Update};
use mayday::api::incident_status::{IncidentStatus, TimelineEntry};
use mayday::api::{Incident, OnCallRotation};
use mayday::command::{Flag, TEXT, Verb};
use mayday::incident::stakeholders::{self, Words};
use serde_json::{Value, json};

use crate::client::address;
use crate::client::append::append;
use crate::client::clock;
use crate::client::failure::Failure;
use crate::client::session::{Session, name_of};
use crate::client::wait::{Waited, until};
use crate::commands::ack::elsewhere;
use crate::render::terminal::{confirm, say};
use crate::text::{instant, names};

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
    /// When they hear next: HH:MM in your time zone, a length of time such as 30m, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub next_update: Option<String>,
}

pub async fn run(session: &Session, args: UpdateArgs) -> Result<(), Failure> {
    let incident: Incident = session.get(&args.incident).await?;
    let text = args.text.as_deref().unwrap_or(TEXT);
    let there = |there: &str| {
        let command = session.command(Verb::Update).word(there);
        if args.external { command.switch(Flag::External).word(text) } else { command.word(text) }
    };
    if let Some(elsewhere) = elsewhere(&incident, "write to stakeholders of", there) {
        return Err(elsewhere);
    }
    let me = session.me().await?;
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
    let update = Update { audience, text: args.text.clone(), next_update_time: next.map(Time), by: None };
    let text = words.update(&update).unwrap_or_default();
    let heard = heard(&incident, &status, audience);
    let hears = match &heard {
        Ok(channels) => format!("{whom} reads, about inc/{}, in {channels}", args.incident),
        Err(why) => {
            format!("Nobody is told: {why}. This would only be written down in inc/{}", args.incident)
        }
    };
    let promised =
        next.map(|next| format!("\nYou promise the next update by {}.", instant(next, &session.zone)));
    confirm(session.connection.yes, &format!("{hears}:\n  {text}{}", promised.unwrap_or_default()))?;
    let entry = entry(audience, args.text.as_deref(), next, &me.user);
    append(session, &args.incident, "updates", entry, &format!("write an update of inc/{}", args.incident))
        .await?;
    let sent = match &heard {
        Ok(channels) => {
            let channels: Vec<&str> = channels.split(", ").collect();
            delivered(session, &incident, &channels).await
        }
        Err(why) => format!("Written, and sent to nobody: {why}."),
    };
    say(&format!("{sent}\nNext: {}", session.command(Verb::Show).on("inc", &args.incident)));
    Ok(())
}

/// How long the command waits until the channels have taken the update.
const SOON: Duration = Duration::from_secs(5);

/// What became of an update in each channel, as the timeline tells it.
async fn delivered(session: &Session, before: &Incident, channels: &[&str]) -> String {
    let known = before.status.clone().unwrap_or_default().timeline;
    let news = |incident: &Incident, channel: &str| {
        let timeline = incident.status.as_ref().map_or(&[][..], |status| &status.timeline);
        let is_about = |entry: &&TimelineEntry| !known.contains(entry) && tells_of(&entry.what, channel);
        timeline.iter().rev().find(is_about).map(|entry| entry.what.clone())
    };
    let is_done = |incident: &Incident| channels.iter().all(|channel| news(incident, channel).is_some());
    let seen = match until::<Incident>(session, name_of(before), Some(SOON), is_done).await {
        Ok(Waited::Done(seen)) | Ok(Waited::TimeOver(Some(seen))) => Some(seen),
        // The update is stored, so failing to follow it is no failure of the command.
        Ok(Waited::TimeOver(None)) | Err(_) => None,
    };
    let line = |channel: &&str| {
        let news = seen.as_ref().and_then(|seen| news(seen, channel));
        let news = news.map(|news| match news.starts_with("told ") {
            true => format!("{channel} has it"),
            false => news,
        });
        news.unwrap_or_else(|| format!("{channel} does not have it yet"))
    };
    format!("Written: {}.", channels.iter().map(line).collect::<Vec<_>>().join("; "))
}

/// Whether an entry of the timeline says what became of a message in a channel.
fn tells_of(what: &str, channel: &str) -> bool {
    let rest = what.strip_prefix("told ").unwrap_or(what).strip_prefix(channel);
    rest.is_some_and(|rest| {
        [": ", " could not be told", " was not told"].iter().any(|start| rest.starts_with(start))
    })
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

fn entry(audience: Audience, text: Option<&str>, next: Option<jiff::Timestamp>, user: &str) -> Value {
    let mut entry = json!({"audience": audience, "by": {"user": user}});
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
    fn an_entry_of_the_timeline_is_about_one_channel() {
        for what in
            ["told room: We are on it.", "room could not be told yet: answered 503", "room was not told"]
        {
            assert!(tells_of(what, "room") && !tells_of(what, "roo") && !tells_of(what, "other"), "{what}");
        }
        assert!(!tells_of("noted: room", "room"));
    }

    #[test]
    fn an_update_holds_only_what_was_said() {
        let by = json!({"user": "lena"});
        assert_eq!(entry(Audience::External, None, None, "lena"), json!({"audience": "External", "by": by}));
        let next = "2026-11-22T02:40:00Z".parse().unwrap();
        assert_eq!(
            entry(Audience::Internal, Some("lena leads the repair."), Some(next), "lena"),
            json!({
                "audience": "Internal", "by": by,
                "text": "lena leads the repair.",
                "nextUpdateTime": "2026-11-22T02:40:00Z"
            })
        );
    }
}
