//! What can go wrong between the operator and the API server, and what follows from it.

use std::fmt::Write as _;

/// What can go wrong in a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
    /// Somebody wrote first; read again and decide again.
    #[error("{0} was changed by somebody else meanwhile")]
    Conflict(String),
    /// Something that must be there first is not there yet.
    #[error("{0}")]
    Waiting(String),
    /// Trying again changes nothing; the object must be changed.
    #[error("{0}")]
    Terminal(String),
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Try again, each time later.
    Transient,
    /// Try again soon, without noise.
    Conflict,
    /// Wait for a change of something else.
    Waiting,
    /// Wait for a change of the object.
    Terminal,
}

impl Error {
    /// What follows from it.
    pub fn class(&self) -> Class {
        match self {
            Error::Api(_) => Class::Transient,
            Error::Conflict(_) => Class::Conflict,
            Error::Waiting(_) => Class::Waiting,
            Error::Terminal(_) => Class::Terminal,
        }
    }

    /// A word for metrics; bounded.
    pub fn label(&self) -> &'static str {
        match self.class() {
            Class::Transient => "transient",
            Class::Conflict => "conflict",
            Class::Waiting => "waiting",
            Class::Terminal => "terminal",
        }
    }

    /// The HTTP status the API server answered with, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Api(error) => code(error),
            Error::Conflict(_) => Some(409),
            _ => None,
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Error {
        match &error {
            kube::Error::Api(status) if status.is_conflict() => Error::Conflict(status.message.clone()),
            _ => Error::Api(Box::new(error)),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        Error::Terminal(format!("cannot be written as JSON: {error}"))
    }
}

/// The HTTP status of an answer of the API server, if it answered.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
