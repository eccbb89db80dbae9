//! `update`: a message to stakeholders, by the lead or the communications lead. Each is sent once.

use clap::Args;
use mayday::api::Incident;
use serde_json::{Value, json};

use crate::address;
use crate::append::append;
use crate::clock;
use crate::cluster::Session;
use crate::failure::Failure;
use crate::output::{confirm, say};
use crate::text::instant;

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
    let (audience, whom) =
        if args.external { ("External", "the public") } else { ("Internal", "the organisation") };
    let text = match &args.text {
        Some(text) => text.clone(),
        None => public_summary(session, &incident)?,
    };
    let hear =
        next.map(|next| format!("\nThey hear next by {}.", instant(next, &session.zone))).unwrap_or_default();
    confirm(session.connection.yes, &format!("{whom} reads, about inc/{}:\n  {text}{hear}", args.incident))?;
    let entry = entry(audience, args.text.as_deref(), next);
    append(session, &args.incident, "updates", entry, &format!("write an update of inc/{}", args.incident))
        .await?;
    say(&format!(
        "Written; it is sent once.\nNext: {}",
        session.command("show", &format!("inc/{}", args.incident))
    ));
    Ok(())
}

fn entry(audience: &str, text: Option<&str>, next: Option<jiff::Timestamp>) -> Value {
    let mut entry = json!({"audience": audience});
    if let Some(text) = text {
        entry["text"] = json!(text);
    }
    if let Some(next) = next {
        entry["nextUpdateTime"] = json!(next.to_string());
    }
    entry
}

/// What the public reads where the person writes nothing: it is shown before it is sent.
fn public_summary(session: &Session, incident: &Incident) -> Result<String, Failure> {
    let copy = incident.status.as_ref().and_then(|status| status.service.as_ref());
    let summary =
        incident.spec.public_summary.as_ref().or(copy.and_then(|copy| copy.public_summary.as_ref()));
    summary.cloned().ok_or_else(|| {
        let again = format!("inc/{} --external \"…\"", incident.metadata.name.as_deref().unwrap_or_default());
        Failure::usage("There is no public summary, so the text must be said.")
            .then(session.command("update", &again))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_written() {
        assert_eq!(entry("External", None, None), json!({"audience": "External"}));
        let next = "2026-11-22T02:40:00Z".parse().unwrap();
        assert_eq!(
            entry("Internal", Some("lena leads the repair."), Some(next)),
            json!({
                "audience": "Internal",
                "text": "lena leads the repair.",
                "nextUpdateTime": "2026-11-22T02:40:00Z"
            })
        );
    }
}
