//! `note`: adds to an incident what a person saw, did or thinks.

use clap::Args;
use jiff::Timestamp;
use mayday::api::Incident;
use mayday::command::Verb;
use serde_json::{Value, json};

use crate::client::address;
use crate::client::append::append;
use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::commands::ack::elsewhere;
use crate::render::terminal::{confirm, say};

#[derive(Debug, Args)]
pub struct NoteArgs {
    /// The incident
    #[arg(value_name = "inc/NAME", value_parser = address::incident)]
    pub incident: String,
    /// What you saw, did or think
    #[arg(required = true, num_args = 1..)]
    pub text: Vec<String>,
}

pub async fn run(session: &Session, args: NoteArgs) -> Result<(), Failure> {
    let text = args.text.join(" ");
    let incident: Incident = session.get(&args.incident).await?;
    let there = |there: &str| session.command(Verb::Note).word(there).word(&text);
    if let Some(elsewhere) = elsewhere(&incident, "note it in", there) {
        return Err(elsewhere);
    }
    let about_to = format!("You add to inc/{} ({}):\n  {text}", args.incident, incident.spec.title);
    confirm(session.connection.yes, &about_to)?;
    add(session, &args.incident, &text).await?;
    say(&format!("Noted.\nNext: {}", session.command(Verb::Show).on("inc", &args.incident)));
    Ok(())
}

/// Adds a note of this person, with the time of now.
pub async fn add(session: &Session, name: &str, text: &str) -> Result<(), Failure> {
    let me = session.me().await?;
    let entry = entry(text, &me.user, session.now());
    append(session, name, "notes", entry, &format!("add a note to inc/{name}")).await
}

fn entry(text: &str, user: &str, now: Timestamp) -> Value {
    json!({"text": text, "time": whole_seconds(now), "by": {"user": user}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_knows_its_time_and_its_author() {
        let now: Timestamp = "2026-11-22T02:04:10.5Z".parse().unwrap();
        let expected = json!({"text": "seen", "time": "2026-11-22T02:04:10Z", "by": {"user": "emil"}});
        assert_eq!(entry("seen", "emil", now), expected);
    }
}
