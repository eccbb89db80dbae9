//! `note`: what somebody saw, did or thinks, added to an incident.

use clap::Args;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use mayday::api::Incident;
use serde_json::{Value, json};

use crate::address;
use crate::cluster::Session;
use crate::failure::{Failure, Reason, explain, role};
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
        let incident = stored(session, name).await?;
        match session.patch::<Incident>(name, &patch(&incident, text, session.now()), &what).await {
            Err(failure) if attempts > 0 && failure.reason == Reason::Conflict => continue,
            outcome => return outcome.map(|_| ()),
        }
    }
}

/// The incident as it is stored. A typed one would write the instants of other people's notes in its own way,
/// and what was written must stay as it is.
async fn stored(session: &Session, name: &str) -> Result<DynamicObject, Failure> {
    let resource = ApiResource::erase::<Incident>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &resource);
    let what = format!("read inc/{name}");
    api.get(name).await.map_err(|error| explain(&error, &session.attempt(&what, role::VIEWER)))
}

/// All notes and the new one, for exactly the version that was read.
fn patch(incident: &DynamicObject, text: &str, now: Timestamp) -> Value {
    let mut notes = incident.data.pointer("/spec/notes").cloned().unwrap_or_else(|| json!([]));
    if let Some(list) = notes.as_array_mut() {
        list.push(json!({"text": text, "time": now.to_string()}));
    }
    json!({"metadata": {"resourceVersion": incident.metadata.resource_version}, "spec": {"notes": notes}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_added_behind_the_others_which_stay_as_they_were_written() {
        let first = json!({"text": "first", "time": "2026-11-22T02:03:00.123456789Z"});
        let incident: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "x", "resourceVersion": "7"},
            "spec": {"notes": [first]}
        }))
        .unwrap();
        let now: Timestamp = "2026-11-22T02:04:10Z".parse().unwrap();
        assert_eq!(
            patch(&incident, "second", now),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"notes": [first, {"text": "second", "time": "2026-11-22T02:04:10Z"}]}
            })
        );
    }
}
