//! What can go wrong between the operator and the API server, and what follows from it.

use std::fmt::Write as _;

/// What can go wrong in a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{}", said(.0))]
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

impl Error {
    /// Whether the API server refuses the content itself, by a field of it or as a whole: the same again would be refused
    /// again. What a policy of somebody's refuses may be taken later.
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

/// The HTTP status of an answer of the API server, if it answered.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// An error with all its causes, in one line. An answer of the API server is its message alone.
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
        // What is below an answer is the same answer again, in other words.
        let is_answer = answer.is_some_and(|error| matches!(error, kube::Error::Api(_)));
        next = error.source().filter(|_| !is_answer);
    }
    text.replace('\n', " ")
}

/// The error of the client in an error, which may be ours around it or a box.
fn answer<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a kube::Error> {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(|error| &**error);
    let ours = || match error.downcast_ref::<Error>() {
        Some(Error::Api(error)) => Some(&**error),
        _ => None,
    };
    error.downcast_ref::<kube::Error>().or_else(boxed).or_else(ours)
}

/// An error of the client as a person reads it: `kube` prints the whole status of an answer twice.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("the API server answered {} {}", status.code, status.reason)
        }
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
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
