//! Stores observations: one outage of a service is one Incident, however many sources, senders and replicas report it.
//! The name of the Incident is the lock, and statuses are written by compare-and-swap.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::observation::Observation;
use super::sources;
use crate::api::common::{NameRef, ObjectRef, Severity, stored_time};
use crate::api::incident::{Detection, IncidentSpec};
use crate::api::incident_status::{IncidentStatus, MAYDAY};
use crate::api::{AlertSource, BusinessService, Incident};
use crate::cluster::caches::in_namespace;
use crate::cluster::{Context, Error};
use crate::detect::correlate::{Correlation, Key, Known, covering};
use crate::incident::signals::{Merged, merge};
use crate::incident::{roles, timeline};
use crate::service::{group_incident_name, incident_name, matching};
use crate::text::flat;

/// Maximum number of attempts to write an object that others write at the same time.
const TRIES: usize = 40;

/// Stores observations of one source. When it returns, everything worth keeping is stored.
///
/// # Errors
/// When the API server does not store them; the sender must not get an acknowledgement then.
pub async fn record(
    context: &Context,
    source: &AlertSource,
    observations: Vec<Observation>,
) -> Result<(), Error> {
    let namespace = source.namespace().unwrap_or_default();
    let services = in_namespace(&context.caches.services, &namespace);
    let incidents = in_namespace(&context.caches.incidents, &namespace);
    let mut of_service: BTreeMap<String, (Arc<BusinessService>, Vec<Observation>)> = BTreeMap::new();
    let mut unclaimed = Vec::new();
    for observation in observations {
        let rule = source.spec.service.as_ref();
        match matching::service(rule, &observation.labels, observation.object.as_ref(), &services) {
            Some(service) => {
                let entry =
                    of_service.entry(service.name_any()).or_insert_with(|| (Arc::clone(service), Vec::new()));
                entry.1.push(observation);
            }
            None => unclaimed.push(observation),
        }
    }
    for (service, seen) in of_service.into_values() {
        if !record_one(context, source, Key::Service(&service), &seen).await? {
            // The service was deleted, and the cache still has it.
            unclaimed.extend(seen);
        }
    }
    let mut of_group: BTreeMap<(String, Option<String>), Vec<Observation>> = BTreeMap::new();
    for observation in unclaimed {
        let key = (observation.group.clone(), covering(&incidents, &observation));
        of_group.entry(key).or_default().push(observation);
    }
    for ((group, _), seen) in of_group {
        record_one(context, source, Key::Group(&group), &seen).await?;
    }
    Ok(())
}

/// Stores observations of one outage. False if they are about a service that does not exist.
async fn record_one(
    context: &Context,
    source: &AlertSource,
    key: Key<'_>,
    seen: &[Observation],
) -> Result<bool, Error> {
    let namespace = source.namespace().unwrap_or_default();
    let cached = in_namespace(&context.caches.incidents, &namespace);
    let all = cached.into_iter().map(|incident| (incident.name_any(), incident)).collect();
    let mut search = IncidentSearch {
        incidents: Api::namespaced(context.client.clone(), &namespace),
        services: Api::namespaced(context.client.clone(), &namespace),
        known: Known { key, source, all },
        after: None,
    };
    let mut raised = None;
    for _ in 0..TRIES {
        let now = Timestamp::now();
        let found = match search.known.correlate(seen, now) {
            Correlation::Nothing => return Ok(true),
            Correlation::Merge(name) => search.reread(&name, seen, now).await?,
            Correlation::Begin => match search.begin(seen, now).await? {
                Begun::WithoutService => return Ok(false),
                Begun::Meanwhile => None,
                Begun::As(incident) => Some(incident),
            },
        };
        let Some(found) = found else { continue };
        let news = search.known.news_for(&found, seen);
        if add(&search.incidents, &found, source, &news, now, &mut raised).await? {
            return Ok(true);
        }
    }
    Err(Error::Conflict(format!("what asrc/{} reports", source.name_any())))
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
    /// Reads the incident to merge into, since the cache may be stale. `None` if it is the wrong one after all.
    async fn reread(
        &mut self,
        name: &str,
        seen: &[Observation],
        now: Timestamp,
    ) -> Result<Option<Arc<Incident>>, Error> {
        let Some(live) = self.incidents.get_opt(name).await?.map(Arc::new) else {
            self.known.all.remove(name);
            return Ok(None);
        };
        self.known.all.insert(name.to_owned(), Arc::clone(&live));
        let is_right = self.known.correlate(seen, now) == Correlation::Merge(name.to_owned());
        Ok(is_right.then_some(live))
    }

    /// Creates the incident of a new outage, or finds the one that another writer has created for it.
    async fn begin(&mut self, seen: &[Observation], now: Timestamp) -> Result<Begun, Error> {
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
            if self.known.correlate(seen, now) == Correlation::Begin {
                self.after = found.uid();
                if let Some(service) = service {
                    raise_episode(&self.services, service).await?;
                }
            }
            return Ok(Begun::Meanwhile);
        }
        let fresh = self.known.fresh(seen);
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

/// Merges the observations into an incident's signals. False if another writer changed the incident first.
/// `raised` is the incident whose severity an earlier attempt raised, and the new severity.
async fn add(
    incidents: &Api<Incident>,
    incident: &Incident,
    source: &AlertSource,
    seen: &[&Observation],
    now: Timestamp,
    raised: &mut Option<(String, Severity)>,
) -> Result<bool, Error> {
    let name = incident.name_any();
    let said = incident.spec.severity;
    let mut status = incident.status.clone().unwrap_or_default();
    let mut next = incident.clone();
    let Some(worst) = merge_all(&mut status, source, seen, now) else { return Ok(true) };
    // The severity is written first, then the signal that raises it: after a crash or a conflict in between, the signal
    // is still news, so both are written by the next attempt.
    if let Some(severity) = worst.filter(|worst| worst.worse_than(said)) {
        let version = &incident.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"severity": severity}});
        match incidents.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(patched) => next = patched,
            Err(kube::Error::Api(answer)) if answer.is_conflict() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        *raised = Some((name.clone(), severity));
    }
    if let Some((_, severity)) = raised.as_ref().filter(|(of, _)| *of == name) {
        let what = format!("raised to {severity}: {} reports worse", source.name_any());
        timeline::add(&mut status, now, MAYDAY, &what);
        status.announced_severity = Some(*severity);
    }
    // An incident that was over is reopened, which pages people in any case.
    if let Some(severity) = worst.filter(|_| incident.is_open()) {
        roles::worsen(&next, &mut status, said, severity);
    }
    next.status = Some(status);
    match incidents.replace_status(&name, &PostParams::default(), &next).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.is_conflict() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Merges all observations. `None` if nothing is worth storing, else the worst severity of those that are news. A known
/// signal is no news: a lead may have lowered the severity since. Pure.
fn merge_all(
    status: &mut IncidentStatus,
    source: &AlertSource,
    seen: &[&Observation],
    now: Timestamp,
) -> Option<Option<Severity>> {
    let merged: Vec<(Merged, Severity)> = seen
        .iter()
        .map(|new| (merge(status, new.signal(&source.name_any(), now)), new.severity))
        .filter(|(merged, _)| *merged != Merged::Nothing)
        .collect();
    let news = merged.iter().filter(|(merged, _)| *merged == Merged::News);
    let worst = news.map(|(_, severity)| *severity).min();
    (!merged.is_empty()).then_some(worst)
}

/// The incident that a first signal opens. Pure.
fn opened<'a>(
    source: &AlertSource,
    service: Option<&BusinessService>,
    first: &Observation,
    firing: impl Iterator<Item = &'a Observation>,
    now: Timestamp,
) -> IncidentSpec {
    let subject = service.map(|service| service.name_any());
    let severity = firing.map(|observation| observation.severity).min().unwrap_or(first.severity);
    let (_, kind) = sources::of(&source.spec);
    let method = kind.method();
    // Without a service the object itself is affected; a service knows its objects.
    let affected: Vec<ObjectRef> =
        if service.is_some() { Vec::new() } else { first.object.iter().cloned().collect() };
    IncidentSpec {
        title: title(source, subject.as_deref(), first),
        severity,
        service_refs: subject.into_iter().map(|name| NameRef { name }).collect(),
        affected,
        // The sender's clock may be ahead; an outage never begins in the future.
        start_time: Some(stored_time(first.start.min(now))),
        start_time_source: Some(format!("{} by {}", first.name, source.name_any())),
        detection: Some(Detection {
            method,
            reporter: Some(source.name_any()),
            time: Some(stored_time(now)),
        }),
        ..IncidentSpec::default()
    }
}

/// The title: that of the source, or made of the signal.
fn title(source: &AlertSource, service: Option<&str>, first: &Observation) -> String {
    let object = first.object.as_ref().map(ObjectRef::display);
    let own = source.spec.title.as_ref().filter(|title| !flat(title, 200).is_empty());
    let text = match (own, service.map(str::to_owned).or(object)) {
        (Some(title), _) => title.clone(),
        (None, Some(subject)) => format!("{subject} is down"),
        (None, None) => first.summary.clone().unwrap_or_else(|| first.name.clone()),
    };
    flat(&text, 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn source(spec: Value) -> AlertSource {
        let mut whole = json!({"alertmanager": {}, "severity": {"fixed": "SEV2"}});
        json_patch::merge(&mut whole, &spec);
        AlertSource::new("am", serde_json::from_value(whole).unwrap())
    }

    fn firing(start: i64) -> Observation {
        Observation {
            id: "f".into(),
            name: "CheckoutDown".into(),
            summary: Some("does not answer".into()),
            severity: Severity::Sev2,
            start: at(start),
            end: None,
            labels: BTreeMap::new(),
            object: None,
            group: "g".into(),
        }
    }

    #[test]
    fn a_known_signal_is_no_news() {
        let mut status = IncidentStatus::default();
        let mut merges =
            |seen: Observation, second| merge_all(&mut status, &source(json!({})), &[&seen], at(second));
        assert_eq!(merges(firing(10), 10), Some(Some(Severity::Sev2)));
        assert_eq!(merges(firing(10), 20), None);
        assert_eq!(merges(firing(10), 90), Some(None), "the lead may have lowered it since");
        assert_eq!(merges(Observation { end: Some(at(95)), ..firing(10) }, 95), Some(None));
        assert_eq!(merges(firing(10), 96), None, "a late repeat of what has cleared");
        assert_eq!(merges(firing(97), 97), Some(Some(Severity::Sev2)), "it fires again");
        let worse = Observation { severity: Severity::Sev1, ..firing(97) };
        assert_eq!(merges(worse.clone(), 98), Some(Some(Severity::Sev1)));
        assert_eq!(merges(worse, 99), None);
    }

    #[test]
    fn the_incident_says_what_is_out_since_when_and_how_it_was_found() {
        let worse = Observation { severity: Severity::Sev1, ..firing(12) };
        let seen = [firing(10), worse];
        let service = BusinessService::new("checkout", Default::default());
        let spec = opened(&source(json!({})), Some(&service), &seen[0], seen.iter(), at(30));
        assert_eq!((spec.title.as_str(), spec.severity), ("checkout is down", Severity::Sev1));
        assert_eq!(spec.start_time.unwrap().0, at(10));
        assert_eq!(spec.detection.unwrap().time.unwrap().0, at(30));
        assert_eq!(spec.service_refs[0].name, "checkout");
        let alone = opened(&source(json!({"title": " \n"})), None, &seen[0], seen.iter(), at(30));
        assert_eq!(alone.title, "does not answer");
        let ahead = [firing(99)];
        let spec = opened(&source(json!({})), None, &ahead[0], ahead.iter(), at(30));
        assert_eq!(spec.start_time.unwrap().0, at(30), "a clock that is ahead");
    }
}
