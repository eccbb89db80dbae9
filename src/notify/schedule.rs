//! Which message is due, and what follows from an attempt. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::common::stored_time;
use crate::api::message::{Message, MessageState};
use crate::text::cut;

/// Waits after the first, second, … failed attempt, in seconds; the last one repeats until the deadline.
const WAITS: [i64; 5] = [5, 30, 120, 300, 600];
/// A receiver may ask for more patience, but a page must not sleep for hours.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);
/// As long as the API takes.
const MAX_ERROR: usize = 500;

/// What became of an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The channel took it.
    Sent,
    /// It may work later; the receiver may have said when.
    Retry {
        /// Why, without address or secret.
        error: String,
        /// What the receiver asked for.
        after: Option<SignedDuration>,
    },
    /// It will never work.
    Failed {
        /// Why, without address or secret.
        error: String,
    },
}

/// When a message is tried next; `None` if it is not waiting to be sent.
pub fn due(message: &Message) -> Option<Timestamp> {
    if message.state != MessageState::Queued {
        return None;
    }
    let planned = message.send_time.as_ref().map_or(message.created_time.0, |send| send.0);
    Some(message.next_attempt_time.as_ref().map_or(planned, |next| next.0.max(planned)))
}

/// Whether its time is over without success.
pub fn expired(message: &Message, now: Timestamp) -> bool {
    message.state == MessageState::Queued
        && message.deadline.as_ref().is_some_and(|deadline| deadline.0 <= now)
}

/// The next instant at which one of these is due.
pub fn next(messages: &[Message]) -> Option<Timestamp> {
    messages.iter().filter_map(due).min()
}

/// Writes the outcome of an attempt into a message. One that was superseded meanwhile stays so: nobody wakes it
/// again.
pub fn record(message: &mut Message, outcome: &Outcome, now: Timestamp) {
    if message.state != MessageState::Queued {
        return;
    }
    message.attempts = message.attempts.saturating_add(1);
    message.next_attempt_time = None;
    match outcome {
        Outcome::Sent => {
            message.state = MessageState::Sent;
            message.sent_time = Some(stored_time(now));
            message.error = None;
        }
        Outcome::Failed { error } => {
            message.state = MessageState::Failed;
            message.error = Some(cut(error, MAX_ERROR));
        }
        Outcome::Retry { error, after } => {
            message.error = Some(cut(error, MAX_ERROR));
            let next = now.checked_add(wait(message.attempts, *after)).unwrap_or(Timestamp::MAX);
            if message.deadline.as_ref().is_some_and(|deadline| deadline.0 <= next) {
                message.state = MessageState::Failed;
            } else {
                message.next_attempt_time = Some(stored_time(next));
            }
        }
    }
}

/// How long to wait after so many attempts; a receiver may ask for more, never for less.
fn wait(attempts: i32, asked: Option<SignedDuration>) -> SignedDuration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(WAITS.len() - 1);
    let own = SignedDuration::from_secs(WAITS[index]);
    asked.map_or(own, |asked| asked.max(own).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::Purpose;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn message() -> Message {
        Message {
            id: "u/0.0/0/emil/hook".to_owned(),
            purpose: Purpose::Page,
            person: None,
            user: None,
            channel_ref: Default::default(),
            namespace: None,
            address: None,
            text: String::new(),
            created_time: Time(at(0)),
            send_time: None,
            deadline: Some(Time(at(3600))),
            state: MessageState::Queued,
            attempts: 0,
            next_attempt_time: None,
            sent_time: None,
            error: None,
        }
    }

    fn retry(after: Option<SignedDuration>) -> Outcome {
        Outcome::Retry { error: "answered 503".to_owned(), after }
    }

    #[test]
    fn the_first_attempt_is_at_once_and_later_ones_wait_longer() {
        let mut message = message();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(due(&message), Some(at(now)));
            record(&mut message, &retry(None), at(now));
            let next = due(&message).unwrap().as_second() - at(now).as_second();
            waits.push(next);
            now += next;
        }
        assert_eq!(waits, [5, 30, 120, 300, 600, 600]);
        assert_eq!(message.attempts, 6);
    }

    #[test]
    fn a_receiver_may_ask_for_more_patience_never_for_less() {
        let asked = |seconds| {
            let mut message = message();
            record(&mut message, &retry(Some(SignedDuration::from_secs(seconds))), at(0));
            due(&message).unwrap().as_second() - at(0).as_second()
        };
        assert_eq!([asked(1), asked(60), asked(999_999)], [5, 60, 1_800]);
    }

    #[test]
    fn after_the_deadline_it_has_failed() {
        let mut message = message();
        record(&mut message, &retry(None), at(3_598));
        assert_eq!((message.state, due(&message)), (MessageState::Failed, None));
    }

    #[test]
    fn a_superseded_message_is_never_woken() {
        let mut message = message();
        message.state = MessageState::Superseded;
        let before = message.clone();
        record(&mut message, &Outcome::Sent, at(1));
        record(&mut message, &retry(None), at(1));
        assert_eq!(message, before);
        assert_eq!(due(&message), None);
    }

    #[test]
    fn a_delayed_contact_is_not_due_before() {
        let mut message = message();
        message.send_time = Some(Time(at(120)));
        assert_eq!(due(&message), Some(at(120)));
    }
}
