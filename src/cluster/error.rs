//! Errors of calls to the API server and of reconciles, and how they are retried.

use std::fmt::Write as _;
use std::time::Duration;

use super::busy;

/// An error of a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{}", said(.0))]
    Api(#[source] Box<kube::Error>),
    /// Another writer changed the object first. Read the object and decide again.
    #[error("{0} was changed by somebody else meanwhile")]
    Conflict(String),
    /// Something that the object depends on does not exist yet.
    #[error("{0}")]
    Waiting(String),
    /// A retry would fail again. A person must change the object.
    #[error("{0}")]
    Terminal(String),
}

/// How an error is retried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Retry with a growing pause.
    Transient,
    /// Retry soon, without a log line.
    Conflict,
    /// Wait until another object changes.
    Waiting,
    /// Wait until the object changes.
    Terminal,
}

impl Error {
    /// The class of the error, which decides how it is retried.
    pub fn class(&self) -> Class {
        match self {
            Error::Api(_) => Class::Transient,
            Error::Conflict(_) => Class::Conflict,
            Error::Waiting(_) => Class::Waiting,
            Error::Terminal(_) => Class::Terminal,
        }
    }

    /// The class as a metric label. The set of values is fixed.
    pub fn label(&self) -> &'static str {
        match self.class() {
            Class::Transient => "transient",
            Class::Conflict => "conflict",
            Class::Waiting => "waiting",
            Class::Terminal => "terminal",
        }
    }

    /// How long the API server asks to be left alone, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Api(error) => busy::retry_after(error),
            _ => None,
        }
    }

    /// The HTTP status with which the API server answered, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Error::Api(error) => code(error),
            Error::Conflict(_) => Some(409),
            _ => None,
        }
    }
}

impl Error {
    /// Whether the API server refuses the content itself, as a whole or because of one field. The same
    /// content would be refused again. Content refused by an admission policy may be accepted later, so it
    /// does not count.
    pub fn is_about_the_content(&self) -> bool {
        let Error::Api(error) = self else { return false };
        let kube::Error::Api(status) = &**error else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        match status.code {
            400 | 413 => true,
            422 => causes.into_iter().any(|cause| !cause.field.is_empty()),
            _ => false,
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

/// The HTTP status with which the API server answered, if it answered.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error with all its causes, in one line. An answer of the API server contributes only its message.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let answer = answer(error);
        let cause = answer.map_or_else(|| error.to_string(), said);
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
        // The sources below an answer only repeat that answer in other words.
        let is_answer = answer.is_some_and(|error| matches!(error, kube::Error::Api(_)));
        next = error.source().filter(|_| !is_answer);
    }
    text.replace('\n', " ")
}

/// Finds the client's error in `error`, which may be the client's error itself, a box of it, or
/// [`Error::Api`].
fn answer<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::Error> {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(|error| &**error);
    let ours = || match error.downcast_ref::<Error>() {
        Some(Error::Api(error)) => Some(&**error),
        _ => None,
    };
    error.downcast_ref::<kube::Error>().or_else(boxed).or_else(ours)
}

/// Formats an error of the client for people. The text from `kube` would contain the whole status twice.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        kube::Error::Api(status) => status.message.clone(),
        other => caused(other),
    }
}

/// An error with the innermost cause, which alone says what to correct: `client error (Connect): dns error`.
fn caused(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let mut text = error.to_string();
    for cause in causes.map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn refused(message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "Forbidden").with_code(403).boxed())
    }

    #[test]
    fn a_field_is_refused_for_good_and_what_a_policy_refuses_is_not() {
        let answer = |code: u16, field: &str| {
            let status = serde_json::json!({"status": "Failure", "code": code, "reason": "Invalid", "message": "no",
                "details": {"causes": [{"message": "no", "field": field}]}});
            let status: Status = serde_json::from_value(status).unwrap();
            Error::from(kube::Error::Api(status.boxed())).is_about_the_content()
        };
        assert!(answer(422, "spec.title") && answer(413, ""));
        assert!(!answer(422, "") && !answer(403, "spec.title") && !answer(500, ""));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot plan")]
    struct Planning(#[source] Box<kube::Error>);

    #[test]
    fn an_answer_is_its_message_alone_wherever_it_stands() {
        assert_eq!(chain(&refused("pods is forbidden")), "pods is forbidden");
        assert_eq!(chain(&Error::from(refused("pods is forbidden"))), "pods is forbidden");
        assert_eq!(Error::from(refused("pods is forbidden")).to_string(), "pods is forbidden");
        let planning = Planning(Box::new(refused("pods is\nforbidden")));
        assert_eq!(chain(&planning), "cannot plan: pods is forbidden");
    }

    #[test]
    fn an_answer_without_words_is_its_code() {
        assert_eq!(chain(&refused("")), "the API server answered 403 Forbidden");
    }
}
