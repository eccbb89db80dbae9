//! Events on objects: they mirror what happened for `kubectl describe`; the truth is in the status.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::text::cut;

/// The API server refuses longer notes.
const MAX_NOTE: usize = 1024;
/// An Event is named after its object, with a dot and up to 16 digits behind; no name has more than 253 characters.
const MAX_NAME: usize = 253 - 17;

/// Writes events; one for the whole process, so that repeats fold into a series.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// A recorder that reports as `mayday`, with the process's own name as instance.
    pub fn new(client: Client, identity: &str) -> Events {
        let reporter = Reporter { controller: "mayday".to_owned(), instance: Some(cut(identity, 128)) };
        Events { recorder: Recorder::new(client, reporter) }
    }

    /// Something normal happened. A failure to write it is logged, never more: events are a mirror.
    pub async fn normal<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Normal, reason, note).await;
    }

    /// Something happened that a person should see.
    pub async fn warning<K>(&self, object: &K, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.publish(object.object_ref(&()), EventType::Warning, reason, note).await;
    }

    async fn publish(&self, mut reference: ObjectReference, type_: EventType, reason: &str, note: &str) {
        reference.name = reference.name.map(|name| short(&name));
        let event = Event {
            type_,
            reason: cut(reason, 128),
            note: Some(cut(note, MAX_NOTE)),
            action: cut(reason, 128),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            tracing::warn!(reason, error = %error, "an event was not written");
        }
    }
}

/// The name, or as much of it as an Event can be named after; the UID still says which object is meant. Names are ASCII.
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
