//! What a kind of step says about itself. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::mutation::Mutation;
use crate::api::common::ObjectRef;
use crate::api::runbook::{RunbookSpec, Step};
use crate::problem::Problem;

/// How long a step may take if neither the Runbook nor its kind says otherwise.
pub const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// A kind of step: a member of [`Step`], implemented by the struct of that member.
pub trait StepKind {
    /// The object that it reads or changes, if it needs one.
    fn target(&self) -> Option<&ObjectRef> {
        None
    }

    /// What it does, in words that follow "will" or "would": `restart deployment/checkout`.
    fn summary(&self) -> String;

    /// What is wrong with it as it is written; empty for a valid step.
    fn problems(&self, _written: &Written<'_>) -> Vec<Problem> {
        Vec::new()
    }

    /// How long it may take if `timeout` of the step is absent.
    fn default_timeout(&self) -> SignedDuration {
        DEFAULT_TIMEOUT
    }

    /// How a run works on it.
    fn work(&self) -> Work<'_>;
}

/// How a run works on a step.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// It changes its target: announced, sent and proved.
    Mutation(&'a dyn Mutation),
    /// It waits until something is so, and changes nothing.
    Poll(&'a dyn Poll),
    /// It puts this question to a person.
    Question(&'a str),
    /// This version does not act on the member of that name.
    NotImplemented(&'static str),
}

/// A step that waits and changes nothing.
pub trait Poll {
    /// Whether it is so yet. `object` is the target as it was just read, `None` if it does not exist or the step has
    /// no target; `started` is when the run began to wait.
    fn poll(&self, object: Option<&Value>, started: Timestamp, now: Timestamp) -> Progress;
}

/// What a poll has found, each with a sentence for the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It is so.
    Done(String),
    /// It is not so yet.
    NotYet {
        /// What is missing.
        message: String,
        /// When to look again; `None` for a change of the target, or for the usual interval if the target is not
        /// watched.
        until: Option<Timestamp>,
    },
    /// It can never be so.
    Failed(String),
}

/// A step as it is written in its Runbook.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The Runbook.
    pub runbook: &'a RunbookSpec,
    /// The step.
    pub step: &'a Step,
    /// Its path: `spec.steps[0]`.
    pub path: &'a str,
}

impl Written<'_> {
    /// A problem of a field of the step.
    pub fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem { path: format!("{}.{field}", self.path), message: message.into() }
    }

    /// The problem of a field that names an object other than a workload.
    pub fn not_a_workload(&self, field: &str, target: &ObjectRef) -> Option<Problem> {
        (!super::is_workload(target)).then(|| {
            let message = format!(
                "{} of {} is no Deployment, StatefulSet or DaemonSet of apps/v1",
                target.kind, target.api_version
            );
            self.problem(field, message)
        })
    }
}

/// A member that this version accepts and does not act on, by its name.
pub struct NotImplemented(pub &'static str);

impl StepKind for NotImplemented {
    fn summary(&self) -> String {
        format!("{}, which this version does not act on", self.0)
    }

    fn work(&self) -> Work<'_> {
        Work::NotImplemented(self.0)
    }
}
