//! When a Notification is due, and what follows from an attempt to send it. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::Notification;
use crate::api::common::stored_time;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::incident_status::Stamped;
use crate::api::notification::{NotificationState, NotificationStatus, Purpose};
use crate::cluster::conditions::{self, State, set};
use crate::text::cut;

/// Waits after the first, second, … failed attempt, in seconds; the last one repeats until the deadline.
const WAITS: [i64; 5] = [5, 30, 120, 300, 600];
/// A receiver may ask for more patience, but a page must not sleep for hours.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);
/// Longest error that the API takes, in bytes.
const MAX_ERROR: usize = 500;

/// The outcome of an attempt.
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
    /// Its deadline passed before it was tried.
    Expired,
    /// Its subject is gone, so the message is no longer needed.
    Superseded,
}

/// How a decision about the subject settles a Notification.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// It is no longer needed; it is not sent if it still waits.
    Superseded,
    /// Its recipient has acknowledged the incident after it was sent.
    Acknowledged(Stamped),
}

/// When a Notification is tried next; `None` if it does not wait to be sent.
pub fn due(notification: &Notification) -> Option<Timestamp> {
    if !notification.is_queued() {
        return None;
    }
    let spec = &notification.spec;
    let planned = spec.send_time.as_ref().map_or(spec.created_time.0, |send| send.0);
    let next = notification.status.as_ref().and_then(|status| status.next_attempt_time.as_ref());
    Some(next.map_or(planned, |next| next.0.max(planned)))
}

/// Whether its deadline is past.
pub fn is_expired(notification: &Notification, now: Timestamp) -> bool {
    notification.spec.deadline.as_ref().is_some_and(|deadline| deadline.0 <= now)
}

/// Writes the outcome of an attempt into the status of a Notification; whether there was anything to write. One that
/// was superseded meanwhile stays so.
pub fn record(notification: &mut Notification, outcome: &Outcome, now: Timestamp) -> bool {
    if !notification.is_queued() {
        return false;
    }
    let deadline = notification.spec.deadline.as_ref().map(|deadline| deadline.0);
    let status = notification.status.get_or_insert_default();
    let attempted = !matches!(outcome, Outcome::Expired | Outcome::Superseded);
    status.attempts = status.attempts.saturating_add(i32::from(attempted));
    status.next_attempt_time = None;
    match outcome {
        Outcome::Sent => {
            status.state = NotificationState::Sent;
            status.sent_time = Some(stored_time(now));
            status.error = None;
        }
        Outcome::Failed { error } => {
            status.state = NotificationState::Failed;
            status.error = Some(cut(error, MAX_ERROR));
        }
        Outcome::Retry { error, after } => {
            status.error = Some(cut(error, MAX_ERROR));
            let next = now.checked_add(wait(status.attempts, *after)).unwrap_or(Timestamp::MAX);
            if deadline.is_some_and(|deadline| deadline <= next) {
                status.state = NotificationState::Expired;
            } else {
                status.next_attempt_time = Some(stored_time(next));
            }
        }
        Outcome::Expired => status.state = NotificationState::Expired,
        Outcome::Superseded => status.state = NotificationState::Superseded,
    }
    tell(notification, now);
    true
}

/// Writes what a decision makes of a Notification into its status; whether there was anything to write.
pub fn settle(notification: &mut Notification, settlement: &Settlement, now: Timestamp) -> bool {
    match settlement {
        Settlement::Superseded => record(notification, &Outcome::Superseded, now),
        Settlement::Acknowledged(by) => {
            let status = notification.status.get_or_insert_default();
            if status.state != NotificationState::Sent || status.acknowledgement.is_some() {
                return false;
            }
            status.acknowledgement = Some(by.clone());
            tell(notification, now);
            true
        }
    }
}

/// Sets the conditions of a Notification by its status. For one that waits for a later time too, before its first
/// attempt.
pub fn tell(notification: &mut Notification, now: Timestamp) {
    let generation = notification.metadata.generation.unwrap_or_default();
    let status = notification.status.get_or_insert_default();
    conditions::ready(status, generation, now, Ok("the message is stored".to_owned()));
    let (delivered, reason, message) = delivered(status);
    set(&mut status.conditions, ConditionType::Delivered, delivered, reason, message, generation, now);
    if notification.spec.purpose != Purpose::Page {
        return;
    }
    let (acknowledged, reason, message) = match &status.acknowledgement {
        Some(by) => (State::True, Reason::Answered, format!("{} acknowledged after it was sent", by.user)),
        None => (State::False, Reason::Unanswered, "nobody acknowledged through it".to_owned()),
    };
    set(&mut status.conditions, ConditionType::Acknowledged, acknowledged, reason, message, generation, now);
}

fn delivered(status: &NotificationStatus) -> (State, Reason, String) {
    let error = status.error.as_deref();
    match status.state {
        NotificationState::Queued => {
            let (reason, message) = match error {
                Some(error) => (Reason::Retrying, error.to_owned()),
                None => (Reason::Queued, "it waits to be sent".to_owned()),
            };
            (State::Unknown, reason, message)
        }
        NotificationState::Sent => (State::True, Reason::Delivered, "the channel took it".to_owned()),
        NotificationState::Failed => {
            (State::False, Reason::Refused, error.unwrap_or("the receiver refused it").to_owned())
        }
        NotificationState::Superseded => {
            (State::False, Reason::Superseded, "nobody needed it any more before it was sent".to_owned())
        }
        NotificationState::Expired => (
            State::False,
            Reason::Expired,
            error.unwrap_or("its time was over before any channel took it").to_owned(),
        ),
    }
}

/// How long to wait after that many attempts; a receiver may ask for more, never for less.
fn wait(attempts: i32, asked: Option<SignedDuration>) -> SignedDuration {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(WAITS.len() - 1);
    let own = SignedDuration::from_secs(WAITS[index]);
    asked.map_or(own, |asked| asked.max(own).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::conditions::is_true;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn notification(change: Value) -> Notification {
        let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Notification", "metadata": {"name": "n"},
            "spec": {"about": "inc/i", "subjectRef": {"kind": "Incident", "name": "i", "uid": "u"}, "purpose": "Page",
                "recipient": {"name": "emil", "user": "emil"}, "channelRef": {"name": "hook"}, "text": "t",
                "key": "u/0.0/0/emil/hook", "createdTime": at(0).to_string(), "deadline": at(3600).to_string()}});
        json_patch::merge(&mut whole, &change);
        serde_json::from_value(whole).unwrap()
    }

    fn retry(after: Option<SignedDuration>) -> Outcome {
        Outcome::Retry { error: "answered 503".to_owned(), after }
    }

    #[test]
    fn the_first_attempt_is_at_once_and_later_ones_wait_longer() {
        let mut message = notification(json!({}));
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(due(&message), Some(at(now)));
            assert!(record(&mut message, &retry(None), at(now)));
            let next = due(&message).unwrap().as_second() - at(now).as_second();
            waits.push(next);
            now += next;
        }
        assert_eq!(waits, [5, 30, 120, 300, 600, 600]);
        assert_eq!(message.status.unwrap().attempts, 6);
    }

    #[test]
    fn a_receiver_may_ask_for_more_patience_never_for_less() {
        let asked = |seconds| {
            let mut message = notification(json!({}));
            record(&mut message, &retry(Some(SignedDuration::from_secs(seconds))), at(0));
            due(&message).unwrap().as_second() - at(0).as_second()
        };
        assert_eq!([asked(1), asked(60), asked(999_999)], [5, 60, 1_800]);
    }

    #[test]
    fn a_message_that_would_be_tried_after_its_deadline_has_expired() {
        let mut message = notification(json!({}));
        record(&mut message, &retry(None), at(3_598));
        assert_eq!((message.state(), due(&message)), (NotificationState::Expired, None));
        assert_eq!(
            message.status.unwrap().error.as_deref(),
            Some("answered 503"),
            "what was answered is kept"
        );
        let untried = notification(json!({}));
        assert_eq!([3_599, 3_600].map(|second| is_expired(&untried, at(second))), [false, true]);
    }

    #[test]
    fn a_superseded_message_is_never_woken() {
        let mut message = notification(json!({}));
        assert!(settle(&mut message, &Settlement::Superseded, at(1)));
        let before = message.clone();
        assert!(!record(&mut message, &Outcome::Sent, at(1)) && !record(&mut message, &retry(None), at(1)));
        assert_eq!(message, before);
        assert_eq!((message.state(), due(&message)), (NotificationState::Superseded, None));
    }

    #[test]
    fn a_delayed_contact_is_not_due_before_its_time() {
        let message = notification(json!({"spec": {"sendTime": at(120).to_string()}}));
        assert_eq!(due(&message), Some(at(120)));
    }

    #[test]
    fn only_a_sent_page_is_acknowledged_and_only_once() {
        let by = |user: &str| {
            Settlement::Acknowledged(Stamped { user: user.to_owned(), time: stored_time(at(9)) })
        };
        let mut message = notification(json!({}));
        assert!(!settle(&mut message, &by("emil"), at(1)), "it has not been sent");
        record(&mut message, &Outcome::Sent, at(2));
        let is = |message: &Notification, kind| is_true(&message.status.as_ref().unwrap().conditions, kind);
        assert!(
            is(&message, ConditionType::Ready)
                && is(&message, ConditionType::Delivered)
                && !is(&message, ConditionType::Acknowledged)
        );
        assert!(settle(&mut message, &by("emil"), at(9)) && is(&message, ConditionType::Acknowledged));
        assert!(!settle(&mut message, &by("bea"), at(10)));
        assert!(!settle(&mut message, &Settlement::Superseded, at(10)), "what was sent was sent");
    }
}
