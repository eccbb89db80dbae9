//! Conditions: set without touching what has not changed. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::common::Conditioned;

/// Longest message that is stored; longer ones are cut on a character boundary.
const MAX_MESSAGE: usize = 1024;

/// What a condition says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody can say.
    Unknown,
}

impl State {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            State::True => "True",
            State::False => "False",
            State::Unknown => "Unknown",
        }
    }
}

impl From<bool> for State {
    fn from(value: bool) -> State {
        if value { State::True } else { State::False }
    }
}

/// Sets a condition. The transition time moves only when the state does, and stored times have whole seconds.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    state: impl Into<State>,
    reason: &str,
    message: impl Into<String>,
    generation: i64,
    now: Timestamp,
) {
    let status = state.into().as_str();
    let message = crate::text::cut(&message.into(), MAX_MESSAGE);
    let transition = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .map_or_else(|| seconds(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: transition,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(present) => *present = condition,
        None => {
            conditions.push(condition);
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        }
    }
}

/// Takes a condition away, for states that are shown only while they last.
pub fn clear(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

/// Why an object is not ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotReady {
    /// The object must be changed: reason and message. kstatus sees it as failed.
    Stalled(String, String),
    /// Something else must come first: reason and message. kstatus sees it as in progress.
    Waiting(String, String),
}

impl NotReady {
    /// In a sentence.
    pub fn message(&self) -> &str {
        let (NotReady::Stalled(_, message) | NotReady::Waiting(_, message)) = self;
        message
    }

    /// A field that no controller acts on yet.
    pub fn not_implemented(fields: &[String]) -> NotReady {
        let fields = fields.join(", ");
        NotReady::Stalled(
            "NotImplemented".to_owned(),
            format!("{fields}: this version of Mayday does not act on it yet; leave it out to become Ready"),
        )
    }
}

/// Sets `Ready`, and `Reconciling` or `Stalled` beside it, and the observed generation.
pub fn ready<S: Conditioned>(
    status: &mut S,
    generation: i64,
    now: Timestamp,
    result: Result<String, NotReady>,
) {
    status.set_observed_generation(generation);
    let conditions = status.conditions_mut();
    match result {
        Ok(message) => {
            set(conditions, "Ready", true, "Accepted", message, generation, now);
            clear(conditions, "Reconciling");
            clear(conditions, "Stalled");
        }
        Err(NotReady::Stalled(reason, message)) => {
            set(conditions, "Ready", false, &reason, message.clone(), generation, now);
            set(conditions, "Stalled", true, &reason, message, generation, now);
            clear(conditions, "Reconciling");
        }
        Err(NotReady::Waiting(reason, message)) => {
            set(conditions, "Ready", false, &reason, message.clone(), generation, now);
            set(conditions, "Reconciling", true, &reason, message, generation, now);
            clear(conditions, "Stalled");
        }
    }
}

/// An instant as it is stored: whole seconds, so that a status read back equals the one written.
pub fn seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_state() {
        let mut conditions = Vec::new();
        set(&mut conditions, "Ready", true, "Accepted", "one", 1, at(10));
        set(&mut conditions, "Ready", true, "Accepted", "two", 2, at(20));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "two");
        set(&mut conditions, "Ready", false, "Broken", "three", 2, at(30));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn what_must_be_changed_is_stalled_and_what_must_come_is_reconciling() {
        let mut status = crate::api::common::PlainStatus::default();
        ready(&mut status, 3, at(10), Err(NotReady::not_implemented(&["spec.email".to_owned()])));
        let kinds: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(kinds, [("Ready", "False"), ("Stalled", "True")]);
        ready(&mut status, 3, at(11), Err(NotReady::Waiting("NoPolicy".into(), "…".into())));
        let kinds: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(kinds, [("Ready", "False"), ("Reconciling", "True")]);
        ready(&mut status, 4, at(12), Ok(String::new()));
        assert_eq!(status.conditions.len(), 1);
        assert_eq!(status.observed_generation, 4);
    }
}
