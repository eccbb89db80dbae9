//! Which incident observations belong to: the open one about the same thing, one that is over and goes on, or a new one
//! (docs/rules.md#one-open-incident, docs/decisions/0038-signal-correlation.md,
//! docs/decisions/0049-what-an-alert-says-now.md). Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::observation::Observation;
use crate::api::common::ObjectRef;
use crate::api::incident_status::{IncidentState, IncidentStatus, Signal};
use crate::api::{AlertSource, BusinessService, Incident};
use crate::incident::episodes::{self, Cleared};
use crate::incident::{changes, signals};
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

/// Where observations go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Correlation {
    /// They are merged into the incident of that name: it is open, is reopened, or has what they say something about.
    Merge(String),
    /// They are a new outage.
    Begin,
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

/// What an incident that is over knows of one signal.
enum Account<'i> {
    /// It fires.
    Fires(&'i Arc<Incident>),
    /// It has cleared; the source may have contradicted that.
    Cleared { of: &'i Arc<Incident>, how: Cleared, is_contradicted: bool },
}

impl<'i> Account<'i> {
    /// The incident, if an observation that begins nothing changes it: the end of what fires there, a message that
    /// contradicts an end there and may be late, or the end after such a message.
    fn owner(&self, new: &Observation) -> Option<&'i Arc<Incident>> {
        match self {
            Account::Fires(of) => new.end.is_some().then_some(*of),
            Account::Cleared { of, is_contradicted, .. } => {
                (*is_contradicted == new.end.is_some()).then_some(*of)
            }
        }
    }
}

impl Known<'_> {
    /// The first incident to write, and the observations that go there; `None` if nothing changes anything any more.
    ///
    /// What fires goes to the open incident about the same thing, or begins or reopens one. Messages about a signal that
    /// only an incident that is over knows go to that one: an end, or a message that may be late.
    pub fn next<'o>(
        &self,
        seen: &[&'o Observation],
        now: Timestamp,
    ) -> Option<(Correlation, Vec<&'o Observation>)> {
        let accounts = self.accounts(seen);
        let account = |new: &Observation| accounts.get(new.id.as_str()).map(|(_, account)| account);
        let fires = |new: &Observation| new.end.is_none() && self.is_news(new, account(new), now);
        let owner = |new: &Observation| account(new).and_then(|account| account.owner(new));
        if let Some(open) = self.open(seen) {
            let is_of_open = |new: &Observation| {
                fires(new) || self.knows(open, new) || (new.end.is_some() && owner(new).is_none())
            };
            let part = part(seen, is_of_open);
            if !part.is_empty() {
                return Some((Correlation::Merge(open.name_any()), part));
            }
        } else if seen.iter().any(|new| fires(new)) {
            let goes_on = self.over().filter(|last| self.is_about(last, seen) && self.may_reopen(last, now));
            let Some(last) = goes_on.max_by_key(|incident| ended(incident)) else {
                return Some((Correlation::Begin, part(seen, fires)));
            };
            let is_of_last = |new: &Observation| owner(new).is_some_and(|of| Arc::ptr_eq(of, last));
            let part = part(seen, |new| fires(new) || is_of_last(new));
            return Some((Correlation::Merge(last.name_any()), part));
        }
        let first = seen.iter().find_map(|new| owner(new))?;
        let part = part(seen, |new| owner(new).is_some_and(|of| Arc::ptr_eq(of, first)));
        Some((Correlation::Merge(first.name_any()), part))
    }

    /// The open incident about the same as these observations.
    fn open(&self, seen: &[&Observation]) -> Option<&Arc<Incident>> {
        let open = self.all.values().filter(|incident| incident.is_open() && self.is_about(incident, seen));
        // An incident that covers the object comes before one of the same group.
        let is_beside =
            |incident: &Incident| matches!(self.key, Key::Group(_)) && !covers_any(incident, seen);
        open.min_by_key(|incident| (is_beside(incident), incident.creation_timestamp()))
    }

    fn over(&self) -> impl Iterator<Item = &Arc<Incident>> {
        self.all.values().filter(|incident| !incident.is_open())
    }

    /// Whether a firing observation is an outage, as far as the incidents that are over know: what fires after an end
    /// is one, except a late message about what has cleared (see [`Cleared::fires_again`]), and what people have called
    /// a duplicate of an outage that goes on.
    fn is_news(&self, new: &Observation, account: Option<&Account<'_>>, now: Timestamp) -> bool {
        match account {
            None => true,
            Some(Account::Fires(of)) => !self.is_duplicate_of_an_open_one(of),
            Some(Account::Cleared { how, .. }) => {
                how.fires_again(new.start, episodes::late(&self.source.spec), now)
            }
        }
    }

    /// What the incidents that are over know of the signals of these observations, by id, and when they heard of it; of
    /// several the one that heard last.
    fn accounts<'k>(&'k self, seen: &[&'k Observation]) -> HashMap<&'k str, (Timestamp, Account<'k>)> {
        let ids: HashSet<&str> = seen.iter().map(|new| new.id.as_str()).collect();
        let mut accounts: HashMap<&str, (Timestamp, Account<'_>)> = HashMap::new();
        let mut take = |id, heard: Timestamp, account| {
            if accounts.get(id).is_none_or(|(known, _)| *known <= heard) {
                accounts.insert(id, (heard, account));
            }
        };
        for of in self.over() {
            for known in self.signals(of).filter(|known| ids.contains(known.id.as_str())) {
                let is_contradicted = known.contradicted_time.is_some();
                let account = match Cleared::of(known) {
                    Some(how) => Account::Cleared { of, how, is_contradicted },
                    None => Account::Fires(of),
                };
                take(known.id.as_str(), known.last_seen_time.0, account);
            }
            let Some(status) = of.status.as_ref().filter(|status| has_hashes(status)) else { continue };
            for new in seen {
                let hash = signals::key(&self.source.name_any(), &new.id);
                let seen = status.left_out_seen_time.as_ref();
                if let (Some(heard), Ok(_)) = (seen, status.left_out_signals.binary_search(&hash)) {
                    take(new.id.as_str(), heard.0, Account::Fires(of));
                }
                if let Ok(at) = status.cleared_signals.binary_search_by(|known| known.key.cmp(&hash)) {
                    let known = &status.cleared_signals[at];
                    let how = Cleared::from(known);
                    let account = Account::Cleared { of, how, is_contradicted: false };
                    take(new.id.as_str(), known.last_seen_time.0, account);
                }
            }
        }
        accounts
    }

    /// Whether an incident knows the signal of an observation.
    fn knows(&self, incident: &Incident, new: &Observation) -> bool {
        let hashes = incident.status.as_ref().filter(|status| has_hashes(status));
        let by_hash = |status: &IncidentStatus| {
            let hash = signals::key(&self.source.name_any(), &new.id);
            status.left_out_signals.binary_search(&hash).is_ok()
                || status.cleared_signals.binary_search_by(|known| known.key.cmp(&hash)).is_ok()
        };
        self.signals(incident).any(|known| known.id == new.id) || hashes.is_some_and(by_hash)
    }

    /// The UID of the last incident of the group; empty if it had none.
    pub fn last_of_group(&self, group: &str) -> String {
        let of_group = self.all.values().filter(|incident| self.is_of_group(incident, group));
        let last = of_group.max_by_key(|incident| (incident.creation_timestamp(), incident.uid()));
        last.and_then(|incident| incident.uid()).unwrap_or_default()
    }

    /// Whether an incident is, or was, about the same as these observations.
    fn is_about(&self, incident: &Incident, seen: &[&Observation]) -> bool {
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

    /// Whether people have called an incident a duplicate of one that is open: that one goes on for both.
    fn is_duplicate_of_an_open_one(&self, last: &Incident) -> bool {
        let said = last.spec.resolution.as_ref().and_then(|said| said.duplicate_of.as_ref());
        let found = last.status.as_ref().and_then(|status| status.duplicate_of.as_ref());
        let other = said.or(found).and_then(|other| self.all.get(&other.name));
        state(last) == Some(IncidentState::Duplicate) && other.is_some_and(|other| other.is_open())
    }
}

/// The observations for which something holds.
fn part<'o>(seen: &[&'o Observation], holds: impl Fn(&Observation) -> bool) -> Vec<&'o Observation> {
    seen.iter().copied().filter(|new| holds(new)).collect()
}

/// Whether signals are known by their hashes only.
fn has_hashes(status: &IncidentStatus) -> bool {
    !status.left_out_signals.is_empty() || !status.cleared_signals.is_empty()
}

/// The open incident that covers the object of an observation that no service claims; of several the oldest.
pub fn covering(incidents: &[Arc<Incident>], seen: &Observation) -> Option<String> {
    let covers = |incident: &&Arc<Incident>| incident.is_open() && covers_any(incident, &[seen]);
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
fn covers_any(incident: &Incident, seen: &[&Observation]) -> bool {
    let affected =
        incident.status.as_ref().map(|status| changes::affected(incident, status)).unwrap_or_default();
    let covers = |object: &ObjectRef| affected.iter().any(|known| known.same_object(object));
    seen.iter().filter_map(|new| new.object.as_ref()).any(covers)
}

#[cfg(test)]
#[path = "correlate_tests.rs"]
mod tests;
