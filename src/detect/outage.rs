//! Stores the observations of one outage. The name of its Incident is the lock, and statuses are written by
//! compare-and-swap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::correlate::{Correlation, Key, Known};
use super::live::{Live, newer};
use super::namespaces;
use super::observation::Observation;
use super::opened::opened;
use crate::api::common::{Severity, stored_time};
use crate::api::incident::IncidentSpec;
use crate::api::incident_status::{IncidentStatus, MAYDAY, Signal};
use crate::api::{AlertSource, BusinessService, Incident};
use crate::cluster::caches::in_namespace;
use crate::cluster::{Context, Error};
use crate::incident::signals::{self, Merged, merge};
use crate::incident::{episodes, roles, timeline};
use crate::service::{group_incident_name, incident_name};

/// Maximum number of attempts to write an object that others write at the same time.
const TRIES: usize = 40;
/// The label that names an alert.
const ALERT_NAME: &str = "alertname";

/// The result of storing observations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// Everything was known; nothing was written.
    Known,
    /// It is stored now.
    Written,
    /// They are about a service that does not exist.
    WithoutService,
}

/// Stores observations of one source about one outage. When it returns, everything worth keeping is stored.
///
/// # Errors
/// When the API server does not store them; the sender must not get an acknowledgement then.
pub async fn store(
    context: &Context,
    live: &Live,
    source: &AlertSource,
    key: Key<'_>,
    seen: &[&Observation],
) -> Result<Stored, Error> {
    let namespace = source.namespace().unwrap_or_default();
    let cached = in_namespace(&context.caches.incidents, &namespace);
    let mut all: BTreeMap<String, Arc<Incident>> =
        cached.into_iter().map(|incident| (incident.name_any(), incident)).collect();
    let mut verified = BTreeSet::new();
    for incident in live.fresh(&namespace) {
        let name = incident.name_any();
        let incident = newer(incident, all.get(&name));
        all.insert(name.clone(), incident);
        verified.insert(name);
    }
    let mut search = IncidentSearch {
        incidents: Api::namespaced(context.client.clone(), &namespace),
        services: Api::namespaced(context.client.clone(), &namespace),
        known: Known { key, source, all },
        after: None,
    };
    let merging = Merging::new(context, source);
    let mut remaining = seen.to_vec();
    let mut stored = Stored::Known;
    let mut raised = None;
    for _ in 0..TRIES {
        let now = Timestamp::now();
        let Some((to, part)) = search.known.next(&remaining, now) else { return Ok(stored) };
        let found = match to {
            Correlation::Begin => match search.begin(&part, now).await? {
                Begun::WithoutService => return Ok(Stored::WithoutService),
                Begun::Meanwhile => continue,
                Begun::As(incident) => incident,
            },
            // The cache may be stale: the decision is made again with the live state.
            Correlation::Merge(name) if verified.insert(name.clone()) => {
                search.reread(&name, live).await?;
                continue;
            }
            Correlation::Merge(name) => match search.known.all.get(&name) {
                Some(found) => Arc::clone(found),
                None => continue,
            },
        };
        let name = found.name_any();
        match add(&search.incidents, &found, &merging, &part, now, &mut raised).await? {
            Added::Nothing => {}
            Added::Stored(written) => {
                let written = Arc::new(*written);
                live.put(&written);
                verified.insert(name.clone());
                search.known.all.insert(name, written);
                stored = Stored::Written;
            }
            Added::Conflict => {
                live.forget(&namespace, &name);
                verified.remove(&name);
                continue;
            }
        }
        remaining = without(remaining, &part);
    }
    Err(Error::Conflict(format!("what asrc/{} reports", source.name_any())))
}

/// All observations but those of a part, which are in the same order.
fn without<'o>(all: Vec<&'o Observation>, part: &[&'o Observation]) -> Vec<&'o Observation> {
    let mut part = part.iter().peekable();
    all.into_iter().filter(|new| part.next_if(|done| std::ptr::eq(**done, *new)).is_none()).collect()
}

/// The search for the incident of one outage.
struct IncidentSearch<'a> {
    incidents: Api<Incident>,
    services: Api<BusinessService>,
    known: Known<'a>,
    /// The UID of the incident after which the next one of a group is named, if the cache lacks that incident.
    after: Option<String>,
}

/// The result of beginning a new outage.
enum Begun {
    /// This is its incident.
    As(Arc<Incident>),
    /// An incident was found that the cache lacked: decide again.
    Meanwhile,
    /// The service does not exist.
    WithoutService,
}

impl IncidentSearch<'_> {
    /// Reads an incident, since the cache may be stale.
    async fn reread(&mut self, name: &str, live: &Live) -> Result<(), Error> {
        match self.incidents.get_opt(name).await?.map(Arc::new) {
            Some(found) => {
                live.put(&found);
                self.known.all.insert(name.to_owned(), found);
            }
            None => drop(self.known.all.remove(name)),
        }
        Ok(())
    }

    /// Creates the incident of a new outage, or finds the one that another writer has created for it.
    async fn begin(&mut self, fresh: &[&Observation], now: Timestamp) -> Result<Begun, Error> {
        let source = self.known.source;
        let (service, name) = match self.known.key {
            Key::Group(group) => {
                let after = self.after.clone().unwrap_or_else(|| self.known.last_of_group(group));
                let uid = source.uid().unwrap_or_default();
                (None, group_incident_name(&source.name_any(), &uid, group, &after))
            }
            Key::Service(service) => {
                let service = self.services.get_opt(&service.name_any()).await?;
                let Some(service) = service else { return Ok(Begun::WithoutService) };
                let uid = service.uid().unwrap_or_default();
                let name = incident_name(&service.name_any(), &uid, episode(&service));
                (Some(service), name)
            }
        };
        if let Some(found) = self.incidents.get_opt(&name).await?.map(Arc::new) {
            if found.is_open() {
                return Ok(Begun::As(found));
            }
            self.known.all.insert(name, Arc::clone(&found));
            // The name is used up, unless that incident is reopened or has all of these signals.
            if matches!(self.known.next(fresh, now), Some((Correlation::Begin, _))) {
                self.after = found.uid();
                if let Some(service) = service {
                    raise_episode(&self.services, service).await?;
                }
            }
            return Ok(Begun::Meanwhile);
        }
        let Some(first) = fresh.iter().min_by_key(|new| new.start) else { return Ok(Begun::Meanwhile) };
        let spec = opened(source, service.as_ref(), first, fresh.iter().copied(), now);
        let Some(created) = create(&self.incidents, &name, spec).await?.map(Arc::new) else {
            return Ok(Begun::Meanwhile);
        };
        self.known.all.insert(name, Arc::clone(&created));
        Ok(Begun::As(created))
    }
}

fn episode(service: &BusinessService) -> i64 {
    service.status.as_ref().map_or(0, |status| status.episode)
}

/// Raises the episode of a service, so that its next incident gets a new name. A conflict means that another process has
/// raised it.
async fn raise_episode(services: &Api<BusinessService>, mut service: BusinessService) -> Result<(), Error> {
    service.status.get_or_insert_default().episode = episode(&service) + 1;
    match services.replace_status(&service.name_any(), &PostParams::default(), &service).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Creates an incident; `None` if another process has created it for the same outage.
async fn create(
    incidents: &Api<Incident>,
    name: &str,
    spec: IncidentSpec,
) -> Result<Option<Incident>, Error> {
    match incidents.create(&PostParams::default(), &Incident::new(name, spec)).await {
        Ok(created) => Ok(Some(created)),
        Err(kube::Error::Api(answer)) if answer.is_already_exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The result of merging observations into an incident.
enum Added {
    /// Everything was known.
    Nothing,
    /// The incident as it is stored now.
    Stored(Box<Incident>),
    /// Another writer changed or deleted the incident first.
    Conflict,
}

/// Merges the observations into an incident's signals. `raised` is the incident whose severity an earlier attempt
/// raised, and the new severity.
async fn add(
    incidents: &Api<Incident>,
    incident: &Incident,
    merging: &Merging,
    seen: &[&Observation],
    now: Timestamp,
    raised: &mut Option<(String, Severity)>,
) -> Result<Added, Error> {
    let name = incident.name_any();
    let said = incident.spec.severity;
    let mut status = incident.status.clone().unwrap_or_default();
    let mut next = incident.clone();
    let Some(worst) = merging.merge(&mut status, seen, now) else { return Ok(Added::Nothing) };
    // The severity is written first, then the signal that raises it: after a crash or a conflict in between, the signal
    // is still news, so both are written by the next attempt.
    if let Some(severity) = worst.filter(|worst| worst.worse_than(said)) {
        let version = &incident.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"severity": severity}});
        match incidents.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(patched) => next = patched,
            Err(error) => return conflict(error),
        }
        *raised = Some((name.clone(), severity));
    }
    if let Some((_, severity)) = raised.as_ref().filter(|(of, _)| *of == name) {
        let what = format!("raised to {severity}: {} reports worse", merging.source);
        timeline::add(&mut status, now, MAYDAY, &what);
        status.announced_severity = Some(*severity);
    }
    // An incident that was over is reopened, which pages people in any case.
    if let Some(severity) = worst.filter(|_| incident.is_open()) {
        roles::worsen(&next, &mut status, said, severity);
    }
    next.status = Some(status);
    match incidents.replace_status(&name, &PostParams::default(), &next).await {
        Ok(stored) => Ok(Added::Stored(Box::new(stored))),
        Err(error) => conflict(error),
    }
}

fn conflict(error: kube::Error) -> Result<Added, Error> {
    match error {
        kube::Error::Api(answer) if answer.is_conflict() || answer.is_not_found() => Ok(Added::Conflict),
        error => Err(error.into()),
    }
}

/// How the observations of a source become signals.
struct Merging {
    source: String,
    late: SignedDuration,
    /// The names of the labels that something is decided on later, from the stored ones.
    wanted: BTreeSet<String>,
}

impl Merging {
    fn new(context: &Context, source: &AlertSource) -> Merging {
        let namespace = source.namespace();
        let runbooks = context.caches.runbooks.state_filter(|runbook| runbook.namespace() == namespace);
        let matched = runbooks.iter().flat_map(|runbook| &runbook.spec.matches);
        let mut wanted: BTreeSet<String> =
            matched.flat_map(|symptom| symptom.labels.keys().cloned()).collect();
        let rule = source.spec.service.as_ref();
        let by_object = rule.and_then(|rule| rule.by_object.as_ref());
        wanted.extend([ALERT_NAME, namespaces::label(source)].map(str::to_owned));
        wanted.extend(source.spec.severity.from_label.clone());
        wanted.extend(rule.and_then(|rule| rule.from_label.clone()));
        wanted.extend(by_object.and_then(|by_object| by_object.name_from_label.clone()));
        Merging { source: source.name_any(), late: episodes::late(&source.spec), wanted }
    }

    /// Merges all observations. `None` if nothing is worth storing, else the worst severity of those that are news. A
    /// known signal is no news: a lead may have lowered the severity since. Pure.
    fn merge(
        &self,
        status: &mut IncidentStatus,
        seen: &[&Observation],
        now: Timestamp,
    ) -> Option<Option<Severity>> {
        let merged: Vec<(Merged, Severity)> = seen
            .iter()
            .map(|new| (merge(status, new.signal(&self.source, &self.wanted, now), self.late), new.severity))
            .filter(|(merged, _)| *merged != Merged::Nothing)
            .collect();
        let returns = self.returns(status, seen, now);
        let news = merged.iter().filter(|(merged, _)| *merged == Merged::News);
        let worst = news.map(|(_, severity)| *severity).min();
        (!merged.is_empty() || returns).then_some(worst)
    }

    /// Marks what fires in an incident that is over as seen after its end, even by a clock that is behind: this reopens
    /// it. True if something was marked. Pure.
    fn returns(&self, status: &mut IncidentStatus, seen: &[&Observation], now: Timestamp) -> bool {
        let Some(end) = status.resolved.as_ref().map(|resolved| resolved.time.clone()) else { return false };
        let heard = stored_time(now).max(end.clone());
        let mut is_marked = false;
        for new in seen.iter().filter(|new| new.end.is_none()) {
            let is_same = |known: &&mut Signal| known.source_ref.name == self.source && known.id == new.id;
            let hash = || signals::key(&self.source, &new.id);
            let last = match (status.signals.iter_mut().find(is_same), &mut status.left_out_seen_time) {
                (Some(known), _) if known.end_time.is_none() => &mut known.last_seen_time,
                (None, Some(seen)) if status.left_out_signals.binary_search(&hash()).is_ok() => seen,
                _ => continue,
            };
            if last.0 < end.0 {
                *last = heard.clone();
                is_marked = true;
            }
        }
        is_marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn merging() -> Merging {
        Merging { source: "am".to_owned(), late: SignedDuration::from_secs(60), wanted: BTreeSet::new() }
    }

    #[test]
    fn a_known_signal_is_no_news() {
        let mut status = IncidentStatus::default();
        let mut merges = |seen: Observation, second| merging().merge(&mut status, &[&seen], at(second));
        assert_eq!(merges(Observation::firing(10), 10), Some(Some(Severity::Sev2)));
        assert_eq!(merges(Observation::firing(10), 20), None);
        assert_eq!(merges(Observation::firing(10), 90), Some(None), "the lead may have lowered it since");
        assert_eq!(merges(Observation { end: Some(at(95)), ..Observation::firing(10) }, 95), Some(None));
        assert_eq!(
            merges(Observation::firing(10), 96),
            Some(None),
            "a late repeat of what has cleared is only noted"
        );
        assert_eq!(merges(Observation::firing(97), 97), Some(Some(Severity::Sev2)), "it fires again");
        let worse = Observation { severity: Severity::Sev1, ..Observation::firing(97) };
        assert_eq!(merges(worse.clone(), 98), Some(Some(Severity::Sev1)));
        assert_eq!(merges(worse, 99), None);
    }

    /// The kind: what fires after an end is not heard. It counts whichever replica hears it, and however soon.
    #[test]
    fn what_fires_after_the_end_is_marked_even_by_a_clock_that_is_behind() {
        let status = |patch: Value| {
            let mut whole = json!({"resolved": {"user": "mayday", "time": at(100).to_string()}});
            json_patch::merge(&mut whole, &patch);
            serde_json::from_value::<IncidentStatus>(whole).unwrap()
        };
        let fires = json!({"signals": [{"sourceRef": {"name": "am"}, "id": "f", "name": "Down", "severity": "SEV2",
            "startTime": at(10).to_string(), "lastSeenTime": at(99).to_string()}]});
        for known in [json!({}), fires] {
            let mut status = status(known);
            assert!(merging().merge(&mut status, &[&Observation::firing(10)], at(98)).is_some());
            assert_eq!(status.signals[0].last_seen_time.0, at(100));
        }
        let mut ended = status(json!({}));
        assert_eq!(
            merging().merge(
                &mut ended,
                &[&Observation { end: Some(at(101)), ..Observation::firing(10) }],
                at(101)
            ),
            None
        );
    }

    #[test]
    fn observations_that_are_stored_are_taken_off_the_list() {
        let all = [Observation::firing(1), Observation::firing(1), Observation::firing(1)];
        let seen: Vec<&Observation> = all.iter().collect();
        let rest = without(seen.clone(), &[seen[1]]);
        assert!(rest.len() == 2 && std::ptr::eq(rest[0], seen[0]) && std::ptr::eq(rest[1], seen[2]));
    }
}
