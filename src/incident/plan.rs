//! What follows for an incident: its next status, and what the controller does beside writing it. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::incident_status::{IncidentState, IncidentStatus};
use crate::api::{Incident, RunbookRun};
use crate::notify::message::Message;
use crate::notify::schedule::Settlement;

/// The draft that the phases of [`decide`](super::decide) work on, and their result.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The status to write.
    pub status: IncidentStatus,
    /// What the spec takes over from duplicates, as a merge patch. Its write triggers another reconcile; the rest of the
    /// plan is carried out only if that write fails.
    pub takeover: Option<Value>,
    /// Messages to store before the status is written; their keys are the lock.
    pub messages: Vec<Message>,
    /// Notifications to settle after the status is written, by name.
    pub settle: Vec<(String, Settlement)>,
    /// Runs to create after the status is written; their names are the lock.
    pub start: Vec<RunbookRun>,
    /// Runs that are told to stop, by name, so that another Runbook may begin.
    pub stop: Vec<String>,
    /// What became of the Runbooks of a ladder that have all run in vain; paged, and not carried out.
    pub exhausted: Option<String>,
    /// Events: reason and note.
    pub events: Vec<(&'static str, String)>,
    /// When to decide again although nothing changes.
    pub wake: Option<Timestamp>,
}

impl Plan {
    /// Decides again at the latest at `time`.
    pub fn wake_at(&mut self, time: Option<Timestamp>) {
        self.wake = [self.wake, time].into_iter().flatten().min();
    }

    /// Whether the incident is neither resolved nor a duplicate: only then its checks and its copy of the service change.
    pub fn goes_on(&self) -> bool {
        self.status.resolved.is_none() && self.status.duplicate_of.is_none()
    }

    /// Whether the planned state is an open one.
    pub fn is_open(&self) -> bool {
        self.status.state.is_some_and(IncidentState::is_open)
    }

    /// The incident with the status as planned so far, for rooms that read a whole incident.
    pub fn applied_to(&self, incident: &Incident) -> Incident {
        let mut planned = incident.clone();
        planned.status = Some(self.status.clone());
        planned
    }
}
