//! `note`: what somebody saw, did or thinks, added to an incident.

use clap::Args;
use jiff::Timestamp;
use mayday::api::Incident;
use serde_json::{Value, json};

use crate::address;
use crate::cluster::Session;
use crate::failure::{Failure, Reason};
use crate::output::{confirm, say};

/// The operator writes the incident's status all the time, so a few misses are ordinary.
const ATTEMPTS: usize = 8;

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
    let about_to = format!("You add to inc/{} ({}):\n  {text}", args.incident, incident.spec.title);
    confirm(session.connection.yes, &about_to)?;
    add(session, &args.incident, &text).await?;
    say(&format!("Noted.\nNext: {}", session.command("show", &format!("inc/{}", args.incident))));
    Ok(())
}

/// Adds a note; nobody's other note is lost, however many write at once.
pub async fn add(session: &Session, name: &str, text: &str) -> Result<(), Failure> {
    let what = format!("add a note to inc/{name}");
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let incident: Incident = session.get(name).await?;
        match session.patch::<Incident>(name, &patch(&incident, text, session.now()), &what).await {
            Err(failure) if attempts > 0 && failure.reason == Reason::Conflict => continue,
            outcome => return outcome.map(|_| ()),
        }
    }
}

/// All notes and the new one, for exactly the version that was read.
fn patch(incident: &Incident, text: &str, now: Timestamp) -> Value {
    let mut notes = json!(incident.spec.notes);
    if let Some(list) = notes.as_array_mut() {
        list.push(json!({"text": text, "time": now.to_string()}));
    }
    json!({"metadata": {"resourceVersion": incident.metadata.resource_version}, "spec": {"notes": notes}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use mayday::api::incident::{IncidentSpec, Note};

    #[test]
    fn a_note_is_added_behind_the_others_of_the_version_that_was_read() {
        let notes = vec![Note { text: "first".into(), time: None }];
        let mut incident = Incident::new("x", IncidentSpec { notes, ..Default::default() });
        incident.metadata.resource_version = Some("7".into());
        let now: Timestamp = "2026-11-22T02:04:10Z".parse().unwrap();
        assert_eq!(
            patch(&incident, "second", now),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"notes": [{"text": "first"}, {"text": "second", "time": "2026-11-22T02:04:10Z"}]}
            })
        );
    }
}
