//! Adding to a list of an incident that many people write to: notes, and updates to stakeholders.

use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use mayday::api::Incident;
use serde_json::{Value, json};

use crate::client::failure::{Failure, Reason, explain, role};
use crate::client::session::Session;

/// The operator writes the incident's status all the time, so a few misses are ordinary.
const ATTEMPTS: usize = 8;

/// Adds an entry to a list of the incident's spec. No entry of a concurrent writer is lost.
///
/// # Errors
/// When the API server refuses it, or others were faster every time.
pub async fn append(
    session: &Session,
    name: &str,
    list: &str,
    entry: Value,
    what: &str,
) -> Result<(), Failure> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let incident = stored(session, name).await?;
        match session.patch::<Incident>(name, &patch(&incident, list, &entry), what).await {
            Err(failure) if attempts > 0 && failure.reason == Reason::Conflict => continue,
            outcome => return outcome.map(|_| ()),
        }
    }
}

/// The incident as it is stored. A typed one would format the instants of other people's entries in its own
/// way, and their entries must not change.
async fn stored(session: &Session, name: &str) -> Result<DynamicObject, Failure> {
    let resource = ApiResource::erase::<Incident>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(session.client.clone(), &session.namespace, &resource);
    let what = format!("read inc/{name}");
    api.get(name).await.map_err(|error| explain(&error, &session.attempt(&what, role::VIEWER)))
}

/// All entries and the new one, for exactly the version that was read.
fn patch(incident: &DynamicObject, list: &str, entry: &Value) -> Value {
    let mut entries =
        incident.data.get("spec").and_then(|spec| spec.get(list)).cloned().unwrap_or_else(|| json!([]));
    if let Some(entries) = entries.as_array_mut() {
        entries.push(entry.clone());
    }
    json!({"metadata": {"resourceVersion": incident.metadata.resource_version}, "spec": {list: entries}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_added_behind_the_others_which_stay_as_they_were_written() {
        let first = json!({"text": "first", "time": "2026-11-22T02:03:00.123456789Z"});
        let incident: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "x", "resourceVersion": "7"},
            "spec": {"notes": [first]}
        }))
        .unwrap();
        let second = json!({"text": "second"});
        assert_eq!(
            patch(&incident, "notes", &second),
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"notes": [first, second]}})
        );
        assert_eq!(patch(&incident, "updates", &second).pointer("/spec/updates"), Some(&json!([second])));
    }
}
