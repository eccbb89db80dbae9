//! Announcements that must be sent once. Their names outlive the Notifications, which are deleted in the end. Pure.

use crate::api::incident_status::IncidentStatus;
use crate::notify::message::{self, Message};

/// Maximum number of names that are remembered, as the schema allows. What is announced again after a relapse has the
/// number of the relapse in front.
const MAX_ANNOUNCED: usize = 256;
/// Longest stored name in bytes, as the schema allows.
const MAX_NAME: usize = 128;
/// Maximum number of people that are remembered, as the schema allows.
const MAX_PAGED: usize = 100;

/// Adds the messages of an announcement to those that are to be stored, unless it has been made before.
/// Returns whether this call makes it. An announcement without messages is tried again.
pub fn once(
    status: &mut IncidentStatus,
    outgoing: &mut Vec<Message>,
    what: &str,
    messages: Vec<Message>,
) -> bool {
    let what = name(what);
    if messages.is_empty() || status.announced.contains(&what) {
        return false;
    }
    remember(status, &messages);
    outgoing.extend(messages);
    status.announced.push(what);
    while status.announced.len() > MAX_ANNOUNCED {
        // Names of an earlier relapse are not asked for any more; all others are, in each reconcile.
        let relapses = status.relapses;
        let is_past = |name: &String| {
            name.split_once('/').and_then(|(of, _)| of.parse::<i32>().ok()).is_some_and(|of| of != relapses)
        };
        let past = status.announced.iter().position(is_past).unwrap_or_default();
        status.announced.remove(past);
    }
    true
}

/// The name as it is stored: one that is made of long user names is shortened to a hash.
fn name(what: &str) -> String {
    match what.len() <= MAX_NAME {
        true => what.to_owned(),
        false => format!("{}/{}", what.split('/').next().unwrap_or_default(), message::webhook_id(what)),
    }
}

/// Remembers the people whom messages are for: the report for the public names none of them.
pub fn remember(status: &mut IncidentStatus, messages: &[Message]) {
    for recipient in messages.iter().map(|message| &message.recipient).filter(|reader| reader.user.is_some())
    {
        if !status.paged.contains(&recipient.name) && status.paged.len() < MAX_PAGED {
            status.paged.push(recipient.name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::common::NameRef;
    use crate::api::notification::Purpose;
    use crate::oncall::escalation::recipients::{self, Recipient};

    fn message(key: &str) -> Vec<Message> {
        let room = Recipient::channel(&NameRef { name: "room".to_owned() });
        recipients::messages(&[room], key, Purpose::Stakeholders, "t", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_announcement_is_made_once() {
        let (mut status, mut outgoing) = (IncidentStatus::default(), Vec::new());
        assert!(!once(&mut status, &mut outgoing, "0/open", Vec::new()), "it would reach nobody");
        assert!(once(&mut status, &mut outgoing, "0/open", message("open")));
        assert!(!once(&mut status, &mut outgoing, "0/open", message("open")));
        assert_eq!((outgoing.len(), status.announced.len()), (1, 1));
    }

    #[test]
    fn names_of_earlier_relapses_make_room_first() {
        let (mut status, mut outgoing) = (IncidentStatus::default(), Vec::new());
        once(&mut status, &mut outgoing, "update/0", message("update"));
        for relapse in 0..=MAX_ANNOUNCED {
            status.relapses = i32::try_from(relapse).unwrap();
            once(&mut status, &mut outgoing, &format!("{relapse}/open"), message(&format!("{relapse}")));
        }
        assert_eq!(status.announced.len(), MAX_ANNOUNCED);
        assert!(status.announced.contains(&"update/0".to_owned()), "it would be sent again");
    }

    #[test]
    fn a_long_name_is_shortened_and_still_made_once() {
        let (mut status, mut outgoing) = (IncidentStatus::default(), Vec::new());
        let long = format!("3/handover/{}/{}", "l".repeat(253), "n".repeat(253));
        assert!(once(&mut status, &mut outgoing, &long, message("k")));
        assert!(!once(&mut status, &mut outgoing, &long, message("k")));
        assert!(status.announced[0].starts_with("3/msg_") && status.announced[0].len() < 64, "{status:?}");
    }

    #[test]
    fn people_are_remembered_and_rooms_are_not() {
        let mut status = IncidentStatus::default();
        let person = serde_json::json!({"name": "emil", "user": "emil@example", "contacts": [{"channelRef": {"name": "a"}},
            {"channelRef": {"name": "b"}}]});
        let emil = Recipient::from(&serde_json::from_value(person).unwrap());
        let pages = recipients::messages(&[emil], "k", Purpose::Page, "t", Timestamp::UNIX_EPOCH);
        assert_eq!(pages.len(), 2);
        remember(&mut status, &pages);
        remember(&mut status, &message("k"));
        assert_eq!(status.paged, ["emil"]);
    }
}
