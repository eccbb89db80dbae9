//! Whether the pages of the present escalation have reached anybody. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::incident_status::{IncidentStatus, PageDelivery};
use crate::api::notification::{NotificationState, Purpose};
use crate::api::{Incident, Notification};

/// Maximum number of names, as the schema allows.
const MAX_PEOPLE: usize = 32;

/// What became of the pages since the escalation began, or began again; `None` while there are none.
pub fn of(
    incident: &Incident,
    status: &IncidentStatus,
    notifications: &[Arc<Notification>],
) -> Option<PageDelivery> {
    let prefix = format!("{}/{}.", incident.uid().unwrap_or_default(), status.escalation_restarts);
    let is_page = |known: &&Arc<Notification>| {
        known.spec.purpose == Purpose::Page && known.spec.key.starts_with(&prefix)
    };
    let mut pages: Vec<&Arc<Notification>> = notifications.iter().filter(is_page).collect();
    pages.sort_by_key(|page| (page.spec.created_time.0, page.name_any()));
    if pages.is_empty() {
        return None;
    }
    let mut delivery = PageDelivery::default();
    for page in &pages {
        let name = &page.spec.recipient.name;
        if page.state() == NotificationState::Sent
            && !delivery.reached.contains(name)
            && delivery.reached.len() < MAX_PEOPLE
        {
            delivery.reached.push(name.clone());
        }
    }
    let failure = |page: &&Arc<Notification>| {
        let error = page.status.as_ref()?.error.as_ref()?;
        Some(format!("{} by {}: {error}", page.spec.recipient.name, page.spec.channel_ref.name))
    };
    // The newest says how things are now.
    delivery.failure = pages.iter().rev().find_map(failure).map(|failure| crate::text::cut(&failure, 500));
    Some(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn page(name: &str, key: &str, status: Value) -> Arc<Notification> {
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Notification",
            "metadata": {"name": format!("page-{name}")},
            "spec": {"about": "inc/i", "subjectRef": {"kind": "Incident", "name": "i", "uid": "u"}, "purpose": "Page",
                "recipient": {"name": name, "user": name}, "channelRef": {"name": "hook"}, "text": "t",
                "key": key, "createdTime": "2026-11-22T02:04:10Z"},
            "status": status});
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    fn delivery(notifications: &[Arc<Notification>]) -> Option<PageDelivery> {
        let mut incident = Incident::new("i", Default::default());
        incident.metadata.uid = Some("u".into());
        let status = IncidentStatus { escalation_restarts: 1, ..IncidentStatus::default() };
        of(&incident, &status, notifications)
    }

    /// Said although it did not happen: that somebody was paged.
    #[test]
    fn a_page_has_reached_somebody_once_its_channel_took_it() {
        let queued = page("emil", "u/1.0/0/emil/hook/", json!({"state": "Queued"}));
        let failing = page("bea", "u/1.0/1/bea/hook/", json!({"state": "Queued", "error": "answered 503"}));
        let sent = page("emil", "u/1.0/0/emil/sms/", json!({"state": "Sent"}));
        let before = page("lena", "u/0.0/0/lena/hook/", json!({"state": "Sent"}));
        assert_eq!(delivery(std::slice::from_ref(&before)), None, "that was an outage ago");
        assert_eq!(delivery(std::slice::from_ref(&queued)), Some(PageDelivery::default()));
        let found = delivery(&[queued, failing.clone(), before]).unwrap();
        assert_eq!((found.reached, found.failure.as_deref()), (vec![], Some("bea by hook: answered 503")));
        assert_eq!(delivery(&[sent, failing]).unwrap().reached, ["emil"]);
    }
}
