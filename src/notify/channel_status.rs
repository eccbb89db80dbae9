//! What a channel's status says. Pure.

use jiff::Timestamp;

use crate::api::NotificationChannel;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::message::{Message, MessageState};
use crate::api::notification_channel::NotificationChannelStatus;
use crate::cluster::conditions::{self, NotReady, State};

use super::delivery::member;

/// The status of a channel, from what its Secret is like and from the messages that name it.
pub fn decide<'a>(
    channel: &NotificationChannel,
    secret: Result<(), String>,
    messages: impl Iterator<Item = &'a Message>,
    now: Timestamp,
) -> NotificationChannelStatus {
    let mut status = channel.status.clone().unwrap_or_default();
    let generation = channel.metadata.generation.unwrap_or_default();
    let kind = member(&channel.spec);
    status.type_ = kind.map(str::to_owned);
    let ready = match (kind, secret) {
        (Some("webhook"), Ok(())) => Ok("messages can be sent".to_owned()),
        (Some("webhook"), Err(error)) => Err(NotReady::Waiting(Reason::CredentialUnusable, error)),
        (Some(other), _) => Err(NotReady::not_implemented(&[format!("spec.{other}")])),
        (None, _) => Err(NotReady::Stalled(Reason::NoMember, "set webhook".to_owned())),
    };
    conditions::ready(&mut status, generation, now, ready);

    let (sent, trouble) = latest(messages);
    let sent = sent.max(status.last_sent_time.as_ref().map(|time| time.0));
    status.last_sent_time = sent.map(|sent| crate::api::common::stored_time(minute(sent)));
    // What still waits was not taken, whatever else was since; what was given up is past once another one is.
    let is_present = |message: &Message, at: Timestamp| {
        message.state == MessageState::Queued || sent.is_none_or(|sent| at >= minute(sent))
    };
    let trouble = trouble.filter(|(at, message)| is_present(message, *at));
    let (state, reason, message) = match (trouble, sent) {
        (Some((_, message)), _) => {
            let error = message.error.as_deref().unwrap_or("a message was not taken");
            let reason =
                if message.state == MessageState::Failed { Reason::Refused } else { Reason::Retrying };
            (State::False, reason, format!("{error} (message {})", message.id))
        }
        (None, Some(_)) => (State::True, Reason::Delivered, "the last message was taken".to_owned()),
        (None, None) => (State::Unknown, Reason::NothingSent, "no message was sent yet".to_owned()),
    };
    conditions::set(
        &mut status.conditions,
        ConditionType::Delivering,
        state,
        reason,
        message,
        generation,
        now,
    );
    status
}

/// When a message was last taken, and the youngest one that was not: one that waits before one that was given up.
fn latest<'a>(
    messages: impl Iterator<Item = &'a Message>,
) -> (Option<Timestamp>, Option<(Timestamp, &'a Message)>) {
    let mut sent = None;
    let mut trouble: Option<(Timestamp, &Message)> = None;
    for message in messages {
        match (message.state, &message.sent_time, &message.error) {
            (MessageState::Sent, Some(time), _) => sent = sent.max(Some(time.0)),
            (MessageState::Queued | MessageState::Failed, _, Some(_)) => {
                let at = message.created_time.0;
                let rank = |at: Timestamp, of: &Message| (of.state == MessageState::Queued, at);
                if trouble.is_none_or(|(other, of)| rank(other, of) <= rank(at, message)) {
                    trouble = Some((at, message));
                }
            }
            _ => {}
        }
    }
    (sent, trouble)
}

/// Cut to the minute, so that a busy channel is not written at every message.
fn minute(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::Purpose;
    use crate::oncall::escalation::recipients::{Recipient, messages};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn channel(spec: serde_json::Value) -> NotificationChannel {
        NotificationChannel::new("hook", serde_json::from_value(spec).unwrap())
    }

    fn message(state: MessageState, second: i64) -> Message {
        let room = Recipient::channel(&crate::api::common::NameRef { name: "hook".to_owned() });
        let mut message = messages(&[room], "u", Purpose::Page, "text", at(second)).remove(0);
        match state {
            MessageState::Sent => message.sent_time = Some(crate::api::common::stored_time(at(second))),
            _ => message.error = Some("the receiver answered 503".to_owned()),
        }
        message.state = state;
        message
    }

    fn condition(status: &NotificationChannelStatus, kind: &str) -> (String, String) {
        let condition = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        (condition.status.clone(), condition.reason.clone())
    }

    fn pair(status: &str, reason: &str) -> (String, String) {
        (status.to_owned(), reason.to_owned())
    }

    #[test]
    fn what_is_not_built_is_named() {
        let mail = channel(serde_json::json!({"email": {"host": "h", "port": 25, "from": "a@b"}}));
        let status = decide(&mail, Ok(()), [].iter(), at(0));
        assert_eq!(condition(&status, "Ready"), pair("False", "NotImplemented"));
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert!(ready.message.starts_with("spec.email:"), "{}", ready.message);
        assert_eq!(status.type_.as_deref(), Some("email"));
    }

    #[test]
    fn delivering_follows_the_latest_result() {
        let hook = channel(serde_json::json!({"webhook": {"secretRef": {"name": "hook"}}}));
        let decided = |messages: &[Message]| decide(&hook, Ok(()), messages.iter(), at(900));
        assert_eq!(condition(&decided(&[]), "Delivering"), pair("Unknown", "NothingSent"));
        let sent = message(MessageState::Sent, 75);
        let status = decided(std::slice::from_ref(&sent));
        assert_eq!(condition(&status, "Delivering"), pair("True", "Delivered"));
        assert_eq!(status.last_sent_time.unwrap().0, at(60));
        let failing = [sent.clone(), message(MessageState::Queued, 300)];
        assert_eq!(condition(&decided(&failing), "Delivering"), pair("False", "Retrying"));
        let mended = [message(MessageState::Failed, 0), message(MessageState::Sent, 300)];
        assert_eq!(condition(&decided(&mended), "Delivering"), pair("True", "Delivered"));
        let one_waits = [
            message(MessageState::Queued, 0),
            message(MessageState::Failed, 100),
            message(MessageState::Sent, 300),
        ];
        assert_eq!(condition(&decided(&one_waits), "Delivering"), pair("False", "Retrying"));
    }

    #[test]
    fn a_missing_secret_is_waited_for() {
        let hook = channel(serde_json::json!({"webhook": {"secretRef": {"name": "hook"}}}));
        let status = decide(&hook, Err("Secret hook does not exist".to_owned()), [].iter(), at(0));
        assert_eq!(condition(&status, "Ready"), pair("False", "CredentialUnusable"));
    }
}
