//! What a kind of step says about itself. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::mutation::Mutation;
use crate::api::common::ObjectRef;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::{Effect, Resolved};
use crate::api::runbook_step::{Step, Target};
use crate::outbound::look::Look;
use crate::problem::Problem;
use crate::runbook::targets::Implied;

/// How long a step may take if neither the Runbook nor its kind says otherwise.
pub const DEFAULT_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// A kind of step: a member of [`Step`], implemented by the struct of that member.
pub trait StepKind {
    /// The objects that it reads or changes, if it needs some.
    fn target(&self) -> Option<&Target> {
        None
    }

    /// The field of its target, below its member.
    fn target_field(&self) -> &'static str {
        "target"
    }

    /// The kind of its objects, if it is about one kind.
    fn implied(&self) -> Implied {
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

    /// The field with the URL that it calls, below the step, and the URL; `None` if it calls none.
    fn calls(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// The Secrets that it reads, by name.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// How a run works on it.
    fn work(&self) -> Work<'_>;

    /// Whether it changes something.
    fn effect(&self) -> Effect {
        match self.work() {
            Work::Mutation(_) => Effect::Mutating,
            _ => Effect::ReadOnly,
        }
    }
}

/// How a run works on a step.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// It changes its targets: announced, sent and proved.
    Mutation(&'a dyn Mutation),
    /// It waits until something is so, and changes nothing.
    Poll(&'a dyn Poll),
    /// It puts this question to people.
    Question(&'a str, Answerer),
}

/// Who answers a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answerer {
    /// The person on duty, or the lead.
    OnDuty,
    /// Somebody who may approve the run, and did not start it.
    Approver,
}

/// A step that waits and changes nothing.
pub trait Poll {
    /// Whether it is so yet. `objects` are the targets as they were just read; `started` is when the run began to wait.
    fn poll(&self, objects: &[Found<'_>], started: Timestamp, now: Timestamp) -> Progress;

    /// What it looks at outside of the API server; then this decides, and not [`Poll::poll`].
    fn outside(&self) -> Option<Look<'_>> {
        None
    }
}

/// A target as it was just read.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Which object it is.
    pub target: &'a Resolved,
    /// The object, `None` if it does not exist.
    pub object: Option<&'a Value>,
}

impl Found<'_> {
    /// The object as people write it: `deployment/checkout`.
    pub fn name(&self) -> String {
        self.target.object.display()
    }
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
    /// It cannot be told any more whether it is or was so. A person must look.
    Unknown(String),
}

impl Progress {
    /// What is missing; look again when the object changes.
    pub fn not_yet(message: impl Into<String>) -> Progress {
        Progress::NotYet { message: message.into(), until: None }
    }

    /// Whether it is so for every object: the first that failed decides, then the first that is not so yet.
    pub fn of_all(each: impl IntoIterator<Item = Progress>) -> Progress {
        let mut done = Vec::new();
        let mut missing = None;
        for progress in each {
            match progress {
                Progress::Done(message) => done.push(message),
                Progress::Failed(_) | Progress::Unknown(_) => return progress,
                Progress::NotYet { .. } => missing = missing.or(Some(progress)),
            }
        }
        missing.unwrap_or_else(|| Progress::Done(done.join("; ")))
    }
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

    /// The problem of a field whose target is of another kind than these of a group.
    pub fn not_of(&self, field: &str, target: &Target, group: &str, kinds: &[&str]) -> Option<Problem> {
        let (Some(api_version), Some(kind)) = (&target.api_version, &target.kind) else { return None };
        let of_group = ObjectRef { api_version: api_version.clone(), ..ObjectRef::default() };
        (of_group.group() != group || !kinds.contains(&kind.as_str())).then(|| {
            let (last, first) = kinds.split_last().unwrap_or((&"", &[]));
            let known =
                if first.is_empty() { (*last).to_owned() } else { format!("{} or {last}", first.join(", ")) };
            let group = if group.is_empty() { "v1" } else { group };
            self.problem(field, format!("{kind} of {api_version} is no {known} of {group}"))
        })
    }

    /// The problem of a field whose target is no workload.
    pub fn not_a_workload(&self, field: &str, target: &Target) -> Option<Problem> {
        self.not_of(field, target, crate::cluster::workloads::GROUP, &crate::cluster::workloads::KINDS)
    }

    /// The problem of a field that names an integer parameter that is not declared.
    pub fn no_integer(&self, field: &str, parameter: &str) -> Option<Problem> {
        let mut declared = self.runbook.parameters.iter();
        let is_declared = declared.any(|known| known.name == parameter && known.integer.is_some());
        (!is_declared).then(|| {
            let message =
                format!("no integer parameter is named {parameter:?}: declare it in spec.parameters");
            self.problem(field, message)
        })
    }

    /// The problem of a field that names a text parameter that is not declared.
    pub fn no_text(&self, field: &str, parameter: &str) -> Option<Problem> {
        let mut declared = self.runbook.parameters.iter();
        let is_declared = declared.any(|known| known.name == parameter && known.string.is_some());
        (!is_declared).then(|| {
            let message =
                format!("no string parameter is named {parameter:?}: declare it in spec.parameters");
            self.problem(field, message)
        })
    }

    /// The problem of a field that names a parameter that is not declared.
    pub fn no_parameter(&self, field: &str, parameter: &str) -> Option<Problem> {
        let mut declared = self.runbook.parameters.iter();
        (!declared.any(|known| known.name == parameter)).then(|| {
            self.problem(field, format!("no parameter is named {parameter:?}: declare it in spec.parameters"))
        })
    }
}
