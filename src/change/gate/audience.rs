//! The people and channels that hear about an unauthorized change or a rollback. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::api::change_request::PlannedChange;
use crate::api::common::NameRef;
use crate::api::incident::Audience as Reach;
use crate::api::notification::Purpose;
use crate::api::oncall_rotation::Person;
use crate::api::{BusinessService, OnCallRotation};
use crate::change::approval::approvers;
use crate::notify::message::Message;
use crate::oncall::escalation::recipients;
use crate::oncall::escalation::recipients::Recipient;

/// Recipients of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audience {
    /// Leads, approvers and on-call people of the services concerned, each once.
    pub people: Vec<Person>,
    /// Channels of the internal stakeholders, each once.
    pub channels: Vec<NameRef>,
}

impl Audience {
    /// The people and channels of the services that own a target; if no service owns one, of every service in the namespace.
    pub fn concerned(
        services: &[Arc<BusinessService>],
        rotations: &[Arc<OnCallRotation>],
        plan: &[PlannedChange],
    ) -> Audience {
        let mut audience = Audience::default();
        for pick in [approvers::lead, approvers::approval, approvers::on_call] {
            for person in approvers::people(services, rotations, plan, pick) {
                if !audience.people.iter().any(|known| known.user == person.user) {
                    audience.people.push(person.clone());
                }
            }
        }
        for stakeholder in
            approvers::owners(services, plan).iter().flat_map(|service| &service.spec.stakeholders)
        {
            let is_new = !audience.channels.contains(&stakeholder.channel_ref);
            if stakeholder.audience == Reach::Internal && is_new {
                audience.channels.push(stakeholder.channel_ref.clone());
            }
        }
        audience
    }

    /// One message to each contact and each channel. `key` identifies the alarm.
    pub fn alarm(&self, key: &str, text: &str, now: Timestamp) -> Vec<Message> {
        let channels = self.channels.iter().map(Recipient::channel);
        let recipients: Vec<Recipient> = channels.chain(self.people.iter().map(Recipient::from)).collect();
        recipients::messages(&recipients, key, Purpose::Alarm, text, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_person_and_each_internal_channel_hears_once() {
        let service = json!({"metadata": {"name": "checkout", "namespace": "shop"}, "spec": {"title": "t",
            "rotations": {"lead": {"name": "leads"}, "onCall": {"name": "leads"}},
            "stakeholders": [{"audience": "Internal", "channelRef": {"name": "room"}},
                {"audience": "External", "channelRef": {"name": "public"}}]}});
        let rotation = json!({"metadata": {"name": "leads", "namespace": "shop"}, "spec": {"timeZone": "UTC", "layers": [], "people":
            [{"name": "lena", "user": "lena", "contacts": [{"channelRef": {"name": "hook"}, "address": "lena"}]}]}});
        let service: BusinessService = serde_json::from_value(service).unwrap();
        let rotation: OnCallRotation = serde_json::from_value(rotation).unwrap();
        let audience = Audience::concerned(&[Arc::new(service)], &[Arc::new(rotation)], &[]);
        let messages = audience.alarm("k", "text", Timestamp::UNIX_EPOCH);
        let told: Vec<_> = messages
            .iter()
            .map(|message| (message.key.as_str(), message.channel.name.as_str(), message.address.as_deref()))
            .collect();
        assert_eq!(told, [("k/-/room/", "room", None), ("k/lena/hook/lena", "hook", Some("lena"))]);
    }
}
