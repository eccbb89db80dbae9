//! What is said once about an incident: stored as messages, and remembered after these had to make room. Pure.

use crate::api::incident_status::IncidentStatus;
use crate::api::message::Message;
use crate::oncall::escalation::recipients;

/// Most messages that are kept with an incident, as the schema allows.
const MESSAGES: usize = 100;
/// Most names that are remembered, as the schema allows; what is said anew after a relapse has its number in front.
const MAX_ANNOUNCED: usize = 256;

/// Stores the messages that are said under a name, unless they have been said; whether it is said with this. Where
/// there is no room for all of them, the rest is tried again.
pub fn once(status: &mut IncidentStatus, what: &str, messages: Vec<Message>) -> bool {
    if messages.is_empty() || status.announced.iter().any(|told| told == what) {
        return false;
    }
    if recipients::append(&mut status.messages, messages, MESSAGES) > 0 {
        return false;
    }
    status.announced.push(what.to_owned());
    while status.announced.len() > MAX_ANNOUNCED {
        // What belongs to an earlier relapse is not asked for any more; all else is, in each look.
        let relapses = status.relapses;
        let is_past = |name: &String| {
            name.split_once('/').and_then(|(of, _)| of.parse::<i32>().ok()).is_some_and(|of| of != relapses)
        };
        let past = status.announced.iter().position(is_past).unwrap_or_default();
        status.announced.remove(past);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::message::MessageState;

    fn message(id: &str, state: &str) -> Message {
        serde_json::from_value(
            serde_json::json!({"id": id, "purpose": "Stakeholders", "channelRef": {"name": "room"},
            "text": "t", "createdTime": "2026-11-22T02:04:00Z", "state": state, "attempts": 0}),
        )
        .unwrap()
    }

    #[test]
    fn what_made_room_is_not_said_again() {
        let mut status = IncidentStatus::default();
        once(&mut status, "0/open", vec![message("open", "Queued")]);
        for message in &mut status.messages {
            message.state = MessageState::Sent;
        }
        for number in 0..MESSAGES {
            once(&mut status, &format!("update/{number}"), vec![message(&format!("{number}"), "Sent")]);
        }
        assert!(status.messages.iter().all(|message| message.id != "open"), "it has made room");
        once(&mut status, "0/open", vec![message("open", "Queued")]);
        assert!(status.messages.iter().all(|message| message.id != "open"));
    }

    #[test]
    fn names_of_earlier_relapses_make_room_first() {
        let mut status = IncidentStatus::default();
        once(&mut status, "update/0", vec![message("update", "Sent")]);
        for relapse in 0..=MAX_ANNOUNCED {
            status.relapses = i32::try_from(relapse).unwrap();
            once(&mut status, &format!("{relapse}/open"), vec![message(&format!("{relapse}"), "Sent")]);
        }
        assert_eq!(status.announced.len(), MAX_ANNOUNCED);
        assert!(status.announced.contains(&"update/0".to_owned()), "it would be sent again");
    }

    #[test]
    fn what_had_no_room_is_tried_again() {
        let waiting = (0..MESSAGES).map(|number| message(&format!("{number}"), "Queued")).collect();
        let mut status = IncidentStatus { messages: waiting, ..IncidentStatus::default() };
        once(&mut status, "0/open", vec![message("open", "Queued")]);
        assert_eq!(status.announced, Vec::<String>::new());
        status.messages[0].state = MessageState::Sent;
        once(&mut status, "0/open", vec![message("open", "Queued")]);
        assert_eq!(status.announced, ["0/open"]);
    }
}
