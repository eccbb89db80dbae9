//! What is left behind: the outage reports. All of it is pure: stored facts in, Markdown out.

pub mod external;
pub mod internal;
pub mod span;
pub mod words;

use std::sync::Arc;

use crate::api::{ChangeRequest, Incident, RunbookRun};

/// What a report is made of. Nothing is looked up, nothing is guessed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident, with the status as it is stored or about to be.
    pub incident: &'a Incident,
    /// Requests of the incident's namespace; those that the incident's changes name are explained.
    pub requests: &'a [Arc<ChangeRequest>],
    /// Runs of the incident's namespace; those that belong to the incident are listed.
    pub runs: &'a [Arc<RunbookRun>],
}

#[cfg(test)]
mod report_tests;
