//! Events on objects. They show in `kubectl describe` what happened; the status is authoritative.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::text::cut;

/// Maximum length of a note in bytes. The API server refuses longer notes.
const MAX_NOTE: usize = 1024;
/// Maximum length of an action in bytes. The API server refuses longer ones.
const MAX_ACTION: usize = 128;
/// Maximum number of characters of the object's name in an Event's name. A dot and up to 16 digits follow it,
/// and a name may have 253 characters.
const MAX_NAME: usize = 253 - 17;

/// Writes events. The process has one writer so that events that say the same again are folded into a series.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// A writer that reports as `mayday`, with the name of the process as instance.
    pub fn new(client: Client, identity: &str) -> Events {
        let reporter = Reporter { controller: "mayday".to_owned(), instance: Some(cut(identity, 128)) };
        Events { recorder: Recorder::new(client, reporter) }
    }

    /// Writes a normal event. A failed write is only logged because the status is authoritative.
    pub async fn normal<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Normal, reason, note).await;
    }

    /// Writes a warning: an event that a person should see. A failed write is only logged.
    pub async fn warning<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Warning, reason, note).await;
    }

    /// Writes a warning on an object of which only the reference is known.
    pub async fn warning_on(&self, reference: ObjectReference, reason: &str, note: &str) {
        self.publish(reference, EventType::Warning, reason, note).await;
    }

    async fn publish(&self, mut reference: ObjectReference, type_: EventType, reason: &str, note: &str) {
        reference.name = reference.name.map(|name| short(&name));
        let event = Event {
            type_,
            reason: cut(reason, 128),
            note: Some(cut(note, MAX_NOTE)),
            // Repeated Events are folded where reason and action are the same, and keep the first note: so the action is
            // what the note says.
            action: cut(note, MAX_ACTION),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!(reason, error = %error, "an event was not written");
        }
    }
}

/// The name, cut to [`MAX_NAME`] characters. The UID still identifies the object. Names are ASCII.
fn short(name: &str) -> String {
    let head: String = name.chars().take(MAX_NAME).collect();
    head.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_can_be_named_after_every_object() {
        assert_eq!(short("checkout"), "checkout");
        let longest = format!("{}-{}", "a".repeat(MAX_NAME - 1), "b".repeat(17));
        assert_eq!(short(&longest), "a".repeat(MAX_NAME - 1));
    }
}
