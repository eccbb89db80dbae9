//! Sets conditions in a status and leaves unchanged ones alone. Pure.

use crate::api::common::{Conditioned, stored_time};
use crate::api::conditions::{ConditionType, Reason};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Maximum length of a stored message in bytes. Longer messages are cut on a character boundary.
const MAX_MESSAGE: usize = 1024;

/// The status of a condition: True, False or Unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known whether the condition holds.
    Unknown,
}

impl State {
    /// The value as stored.
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

/// Sets a condition. The transition time changes only when the state changes, and is stored in whole seconds.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    state: impl Into<State>,
    reason: Reason,
    message: impl Into<String>,
    generation: i64,
    now: Timestamp,
) {
    let (kind, status) = (kind.as_str(), state.into().as_str());
    let message = crate::text::cut(&message.into(), MAX_MESSAGE);
    let transition = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .map_or_else(|| stored_time(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
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

/// Removes a condition that is shown only while it holds.
pub fn clear(conditions: &mut Vec<Condition>, kind: ConditionType) {
    conditions.retain(|condition| condition.type_ != kind.as_str());
}

/// The reason why an object is not ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotReady {
    /// A person must change the object first. Holds reason and message. kstatus reports it as failed.
    Stalled(Reason, String),
    /// Something else must happen first. Holds reason and message. kstatus reports it as in progress.
    Waiting(Reason, String),
}

impl NotReady {
    /// The message without the reason.
    pub fn message(&self) -> &str {
        let (NotReady::Stalled(_, message) | NotReady::Waiting(_, message)) = self;
        message
    }

    /// For an object that sets fields on which no controller acts yet.
    pub fn not_implemented(fields: &[String]) -> NotReady {
        let fields = fields.join(", ");
        NotReady::Stalled(
            Reason::NotImplemented,
            format!("{fields}: this version of Mayday does not act on it yet; leave it out to become Ready"),
        )
    }
}

/// Sets the observed generation, `Ready` and, if the object is not ready, either `Reconciling` or `Stalled`.
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
            set(conditions, ConditionType::Ready, true, Reason::Accepted, message, generation, now);
            clear(conditions, ConditionType::Reconciling);
            clear(conditions, ConditionType::Stalled);
        }
        Err(NotReady::Stalled(reason, message)) => {
            set(conditions, ConditionType::Ready, false, reason, message.clone(), generation, now);
            set(conditions, ConditionType::Stalled, true, reason, message, generation, now);
            clear(conditions, ConditionType::Reconciling);
        }
        Err(NotReady::Waiting(reason, message)) => {
            set(conditions, ConditionType::Ready, false, reason, message.clone(), generation, now);
            set(conditions, ConditionType::Reconciling, true, reason, message, generation, now);
            clear(conditions, ConditionType::Stalled);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_state() {
        let mut conditions = Vec::new();
        set(&mut conditions, ConditionType::Ready, true, Reason::Accepted, "one", 1, at(10));
        set(&mut conditions, ConditionType::Ready, true, Reason::Accepted, "two", 2, at(20));
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "two");
        set(&mut conditions, ConditionType::Ready, false, Reason::Invalid, "three", 2, at(30));
        assert_eq!(conditions[0].last_transition_time, Time(at(30)));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn what_must_be_changed_is_stalled_and_what_must_come_is_reconciling() {
        let mut status = crate::api::common::PlainStatus::default();
        ready(&mut status, 3, at(10), Err(NotReady::not_implemented(&["spec.email".to_owned()])));
        let kinds: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(kinds, [("Ready", "False"), ("Stalled", "True")]);
        ready(&mut status, 3, at(11), Err(NotReady::Waiting(Reason::NotFound, "…".into())));
        let kinds: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(kinds, [("Ready", "False"), ("Reconciling", "True")]);
        ready(&mut status, 4, at(12), Ok(String::new()));
        assert_eq!(status.conditions.len(), 1);
        assert_eq!(status.observed_generation, 4);
    }
}
