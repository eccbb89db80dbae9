//! The status of a channel. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::notification::NotificationState;
use crate::api::notification_channel::NotificationChannelStatus;
use crate::api::{Notification, NotificationChannel};
use crate::cluster::conditions::{self, NotReady, State};

use super::channels::{self, Member};

/// The status of a channel, from what its Secret is like and from the Notifications that name it.
pub fn decide<'a>(
    channel: &NotificationChannel,
    secret: Result<(), String>,
    messages: impl Iterator<Item = &'a Notification>,
    now: Timestamp,
) -> NotificationChannelStatus {
    let mut status = channel.status.clone().unwrap_or_default();
    let generation = channel.metadata.generation.unwrap_or_default();
    let member = channels::of(&channel.spec);
    status.type_ = member.map(|(name, _)| name.to_owned());
    let ready = match (member, secret) {
        (Some((_, Member::Built(_))), Ok(())) => Ok("messages can be sent".to_owned()),
        (Some((_, Member::Built(_))), Err(error)) => {
            Err(NotReady::Waiting(Reason::CredentialUnusable, error))
        }
        (Some((name, Member::NotBuilt)), _) => Err(NotReady::not_implemented(&[format!("spec.{name}")])),
        (None, _) => Err(NotReady::Stalled(Reason::NoMember, "set the member that sends".to_owned())),
    };
    conditions::ready(&mut status, generation, now, ready);

    let (sent, trouble) = latest(messages);
    let sent = sent.max(status.last_sent_time.as_ref().map(|time| time.0));
    status.last_sent_time = sent.map(|sent| crate::api::common::stored_time(minute(sent)));
    // A queued message was not taken, even if later ones were. A message that was given up is past once a
    // later one is taken.
    let is_present = |message: &Notification, at: Timestamp| {
        message.is_queued() || sent.is_none_or(|sent| at >= minute(sent))
    };
    let trouble = trouble.filter(|(at, message)| is_present(message, *at));
    let (state, reason, message) = match (trouble, sent) {
        (Some((_, message)), _) => {
            let error = error(message).unwrap_or("a message was not taken");
            let reason = match message.state() {
                NotificationState::Failed => Reason::Refused,
                NotificationState::Expired => Reason::Expired,
                _ => Reason::Retrying,
            };
            (State::False, reason, format!("{error} (ntf/{})", message.name_any()))
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
    messages: impl Iterator<Item = &'a Notification>,
) -> (Option<Timestamp>, Option<(Timestamp, &'a Notification)>) {
    let mut sent = None;
    let mut trouble: Option<(Timestamp, &Notification)> = None;
    for message in messages {
        match message.state() {
            NotificationState::Sent => {
                let time = message.status.as_ref().and_then(|status| status.sent_time.as_ref());
                sent = sent.max(time.map(|time| time.0));
            }
            NotificationState::Queued | NotificationState::Failed | NotificationState::Expired => {
                let at = message.spec.created_time.0;
                let rank = |at: Timestamp, of: &Notification| (of.is_queued(), at);
                let is_younger = trouble.is_none_or(|(other, of)| rank(other, of) <= rank(at, message));
                if error(message).is_some() && is_younger {
                    trouble = Some((at, message));
                }
            }
            NotificationState::Superseded => {}
        }
    }
    (sent, trouble)
}

fn error(message: &Notification) -> Option<&str> {
    message.status.as_ref()?.error.as_deref()
}

/// Cut to the minute, so that a busy channel is not written at every message.
fn minute(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(60) * 60).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn channel(spec: serde_json::Value) -> NotificationChannel {
        NotificationChannel::new("hook", serde_json::from_value(spec).unwrap())
    }

    fn message(state: &str, second: i64) -> Notification {
        let status = match state {
            "Sent" => serde_json::json!({"state": state, "sentTime": at(second).to_string()}),
            _ => serde_json::json!({"state": state, "error": "the receiver answered 503"}),
        };
        let whole = serde_json::json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Notification",
            "metadata": {"name": "page-0"}, "spec": {"about": "inc/i", "purpose": "Page", "text": "t", "key": "k",
                "subjectRef": {"kind": "Incident", "name": "i", "uid": "u"}, "recipient": {"name": "room"},
                "channelRef": {"name": "hook"}, "createdTime": at(second).to_string()}, "status": status});
        serde_json::from_value(whole).unwrap()
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
        let decided = |messages: &[Notification]| decide(&hook, Ok(()), messages.iter(), at(900));
        assert_eq!(condition(&decided(&[]), "Delivering"), pair("Unknown", "NothingSent"));
        let sent = message("Sent", 75);
        let status = decided(std::slice::from_ref(&sent));
        assert_eq!(condition(&status, "Delivering"), pair("True", "Delivered"));
        assert_eq!(status.last_sent_time.unwrap().0, at(60));
        let failing = [sent.clone(), message("Queued", 300)];
        assert_eq!(condition(&decided(&failing), "Delivering"), pair("False", "Retrying"));
        let told =
            decided(&failing).conditions.into_iter().find(|c| c.type_ == "Delivering").unwrap().message;
        assert_eq!(told, "the receiver answered 503 (ntf/page-0)");
        let gave_up = [message("Expired", 300)];
        assert_eq!(condition(&decided(&gave_up), "Delivering"), pair("False", "Expired"));
        let mended = [message("Failed", 0), message("Sent", 300)];
        assert_eq!(condition(&decided(&mended), "Delivering"), pair("True", "Delivered"));
        let one_waits = [message("Queued", 0), message("Failed", 100), message("Sent", 300)];
        assert_eq!(condition(&decided(&one_waits), "Delivering"), pair("False", "Retrying"));
    }

    #[test]
    fn a_missing_secret_is_waited_for() {
        let hook = channel(serde_json::json!({"webhook": {"secretRef": {"name": "hook"}}}));
        let status = decide(&hook, Err("Secret hook does not exist".to_owned()), [].iter(), at(0));
        assert_eq!(condition(&status, "Ready"), pair("False", "CredentialUnusable"));
    }
}
