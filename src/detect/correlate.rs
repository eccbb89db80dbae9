//! Which incident observations belong to: the open one about the same thing, one that is over and goes on, or a new one
//! (docs/rules.md#one-open-incident, docs/decisions/0038-signal-correlation.md). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::observation::Observation;
use crate::api::common::ObjectRef;
use crate::api::incident::Outcome;
use crate::api::incident_status::{IncidentState, Signal};
use crate::api::{AlertSource, BusinessService, Incident};
use crate::incident::changes;
use crate::service::coverage::covers;

/// How long after a resolution the same outage is the same incident, if the source does not say.
const REOPEN_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// What makes observations one outage.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// They are about the same service.
    Service(&'a BusinessService),
    /// No service claims them: they are in one group of their source, or about what an open incident covers.
    Group(&'a str),
}

/// The decision about observations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Correlation {
    /// They are merged into the incident of that name: it is open, is reopened, or has signals that have now cleared.
    Merge(String),
    /// They are a new outage.
    Begin,
    /// They change nothing.
    Nothing,
}

/// What is known of one outage, and of earlier ones.
pub struct Known<'a> {
    /// What makes the observations one outage.
    pub key: Key<'a>,
    /// The source that reports.
    pub source: &'a AlertSource,
    /// The known incidents of the namespace, by name.
    pub all: BTreeMap<String, Arc<Incident>>,
}

impl Known<'_> {
    /// Decides what becomes of these observations.
    pub fn correlate(&self, seen: &[Observation], now: Timestamp) -> Correlation {
        let name = |incident: &Arc<Incident>| Correlation::Merge(incident.name_any());
        let open = self.all.values().filter(|incident| incident.is_open() && self.is_about(incident, seen));
        // An incident that covers the object comes before one of the same group.
        let is_beside =
            |incident: &Incident| matches!(self.key, Key::Group(_)) && !covers_any(incident, seen);
        if let Some(open) = open.min_by_key(|incident| (is_beside(incident), incident.creation_timestamp())) {
            return name(open);
        }
        let over = || self.all.values().filter(|incident| !incident.is_open());
        if self.fresh(seen).is_empty() {
            let still = |known: &Signal| {
                let ends = |new: &Observation| new.end.is_some() && new.id == known.id;
                known.end_time.is_none() && seen.iter().any(ends)
            };
            let cleared = over().filter(|incident| self.signals(incident).any(still));
            return cleared.max_by_key(|incident| ended(incident)).map_or(Correlation::Nothing, name);
        }
        let goes_on = over().filter(|last| self.is_about(last, seen) && self.may_reopen(last, now));
        goes_on.max_by_key(|incident| ended(incident)).map_or(Correlation::Begin, name)
    }

    /// The observations that begin an outage: they fire, and repeat neither a signal that has cleared nor one whose
    /// incident people have ended (see [`Known::is_ended_by_people`]).
    pub fn fresh<'o>(&self, seen: &'o [Observation]) -> Vec<&'o Observation> {
        let is_repeat = |new: &Observation, last: &Incident| {
            let known = self.signals(last).find(|known| known.id == new.id);
            known.is_some_and(|known| {
                new.start.as_second() <= known.start_time.0.as_second()
                    && (known.end_time.is_some() || self.is_ended_by_people(last))
            })
        };
        let over = || self.all.values().filter(|incident| !incident.is_open());
        seen.iter().filter(|new| new.end.is_none() && !over().any(|last| is_repeat(new, last))).collect()
    }

    /// The observations for an incident: all but those that an earlier incident has already.
    pub fn news_for<'o>(&self, incident: &Incident, seen: &'o [Observation]) -> Vec<&'o Observation> {
        let fresh = self.fresh(seen);
        let is_known = |new: &Observation| self.signals(incident).any(|known| known.id == new.id);
        let is_fresh = |new: &Observation| fresh.iter().any(|fresh| std::ptr::eq(*fresh, new));
        seen.iter().filter(|new| new.end.is_some() || is_fresh(new) || is_known(new)).collect()
    }

    /// The UID of the last incident of the group; empty if it had none.
    pub fn last_of_group(&self, group: &str) -> String {
        let of_group = self.all.values().filter(|incident| self.is_of_group(incident, group));
        let last = of_group.max_by_key(|incident| (incident.creation_timestamp(), incident.uid()));
        last.and_then(|incident| incident.uid()).unwrap_or_default()
    }

    /// Whether an incident is, or was, about the same as these observations.
    fn is_about(&self, incident: &Incident, seen: &[Observation]) -> bool {
        let knows = || self.signals(incident).any(|known| seen.iter().any(|new| new.id == known.id));
        match self.key {
            Key::Service(service) => {
                let copied = incident.status.as_ref().and_then(|status| status.service.as_ref());
                let same = copied.is_some_and(|copy| Some(&copy.r#ref.uid) == service.metadata.uid.as_ref());
                covers(incident, service) || (!incident.is_open() && (same || knows()))
            }
            Key::Group(group) => {
                knows()
                    || self.is_of_group(incident, group)
                    || (incident.is_open() && covers_any(incident, seen))
            }
        }
    }

    fn is_of_group(&self, incident: &Incident, group: &str) -> bool {
        let has_service = incident.status.as_ref().is_some_and(|status| status.service.is_some());
        !has_service && self.signals(incident).any(|signal| signal.group == group)
    }

    /// The signals of an incident that come from the source.
    fn signals<'i>(&'i self, incident: &'i Incident) -> impl Iterator<Item = &'i Signal> {
        let signals = incident.status.iter().flat_map(|status| &status.signals);
        signals.filter(|signal| signal.source_ref.name == self.source.name_any())
    }

    /// Whether an outage that is over may be reopened: it ended within the time that the source allows.
    fn may_reopen(&self, last: &Incident, now: Timestamp) -> bool {
        let was_one = matches!(state(last), Some(IncidentState::Resolved | IncidentState::Closed));
        let within = self.source.spec.reopen_within.as_ref().map_or(REOPEN_WITHIN, |duration| duration.get());
        was_one && ended(last).is_some_and(|end| now.duration_since(end) <= within)
    }

    /// Whether people have ended an incident although its signals may still fire, which they knew: as a false alarm, as
    /// a duplicate of an incident that is open or a false alarm, or as resolved without proof. Once the other incident
    /// of a duplicate is over, a signal that still fires is an outage again.
    fn is_ended_by_people(&self, last: &Incident) -> bool {
        let said = last.spec.resolution.as_ref();
        match state(last) {
            Some(IncidentState::FalseAlarm) => true,
            Some(IncidentState::Duplicate) => {
                let found = last.status.as_ref().and_then(|status| status.duplicate_of.as_ref());
                let other = said.and_then(|said| said.duplicate_of.as_ref()).or(found);
                other
                    .and_then(|other| self.all.get(&other.name))
                    .is_some_and(|other| other.is_open() || state(other) == Some(IncidentState::FalseAlarm))
            }
            _ => ended(last).is_some() && said.is_some_and(|said| said.outcome == Outcome::Unproved),
        }
    }
}

/// The open incident that covers the object of an observation that no service claims; of several the oldest.
pub fn covering(incidents: &[Arc<Incident>], seen: &Observation) -> Option<String> {
    let covers =
        |incident: &&Arc<Incident>| incident.is_open() && covers_any(incident, std::slice::from_ref(seen));
    let oldest = incidents.iter().filter(covers).min_by_key(|incident| incident.creation_timestamp());
    oldest.map(|incident| incident.name_any())
}

fn state(incident: &Incident) -> Option<IncidentState> {
    incident.status.as_ref().and_then(|status| status.state)
}

/// When people or Mayday declared it to be over.
fn ended(incident: &Incident) -> Option<Timestamp> {
    Some(incident.status.as_ref()?.resolved.as_ref()?.time.0)
}

/// Whether an incident is about one of the objects, under any service.
fn covers_any(incident: &Incident, seen: &[Observation]) -> bool {
    let affected =
        incident.status.as_ref().map(|status| changes::affected(incident, status)).unwrap_or_default();
    let covers = |object: &ObjectRef| affected.iter().any(|known| known.same_object(object));
    seen.iter().filter_map(|new| new.object.as_ref()).any(covers)
}

#[cfg(test)]
#[path = "correlate_tests.rs"]
mod tests;
