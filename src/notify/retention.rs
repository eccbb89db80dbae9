//! When a Notification is deleted (`docs/rules.md#notification-retention`). Pure.

use jiff::{SignedDuration, Timestamp};

use super::message::LIFETIME;
use crate::api::Notification;

/// What is known of the subject of a Notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It, or an incident that it belongs to, is not over.
    Open,
    /// It is over since then.
    Over(Timestamp),
    /// It is gone, or has no end.
    Gone,
}

/// When a Notification may be deleted; `None` as long as it waits to be sent or its subject is open. It stays until its
/// subject has been over for the retention, and at least for a day after its deadline: what is older is not told a
/// second time, so that the name of a deleted one can be free again.
pub fn end(notification: &Notification, standing: Standing, retention: SignedDuration) -> Option<Timestamp> {
    if notification.is_queued() || standing == Standing::Open {
        return None;
    }
    let created = notification.spec.created_time.0;
    let over = match standing {
        Standing::Over(time) => time.max(created),
        Standing::Open | Standing::Gone => created,
    };
    let deadline = notification.spec.deadline.as_ref().map_or(created, |deadline| deadline.0);
    let kept = over.saturating_add(retention).unwrap_or(Timestamp::MAX);
    Some(kept.max(deadline.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notification_outlives_its_subject_and_its_deadline_and_then_goes() {
        let at = |hour: i64| Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap();
        let stored = |state: &str| -> Notification {
            let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Notification", "metadata": {"name": "n"},
                "spec": {"about": "inc/i", "subjectRef": {"kind": "Incident", "name": "i", "uid": "u"}, "purpose": "Page",
                    "recipient": {"name": "room"}, "channelRef": {"name": "room"}, "text": "t", "key": "k",
                    "createdTime": at(0).to_string(), "deadline": at(24).to_string()},
                "status": {"state": state}});
            serde_json::from_value(whole).unwrap()
        };
        let hours = SignedDuration::from_hours;
        let end_of = |standing, retention| end(&stored("Sent"), standing, hours(retention));
        assert_eq!(end_of(Standing::Open, 0), None);
        assert_eq!(end(&stored("Queued"), Standing::Gone, hours(0)), None);
        assert_eq!(end_of(Standing::Over(at(100)), 720), Some(at(820)));
        assert_eq!(end_of(Standing::Gone, 720), Some(at(720)));
        assert_eq!(end_of(Standing::Gone, 0), Some(at(48)), "a day after its deadline");
    }
}
