//! Storing what was seen: one outage of a service is one Incident, however many sources, senders and replicas
//! report it. Names are the lock, and statuses are written by compare-and-swap.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::signal::{Observation, join};
use crate::api::common::{NameRef, ObjectRef, Severity};
use crate::api::incident::Outcome;
use crate::api::incident::{Detection, DetectionMethod, IncidentSpec};
use crate::api::incident_status::IncidentState;
use crate::api::{AlertSource, BusinessService, Incident};
use crate::cluster::conditions::seconds;
use crate::cluster::stores::in_namespace;
use crate::cluster::{Context, Error};
use crate::incident::changes;
use crate::incident::{people, timeline};
use crate::service::{controller::covers, group_incident_name, incident_name, matching};
use crate::text::flat;

/// How often a write is tried against others who write the same object.
const TRIES: usize = 20;
/// How long after a resolution the same outage is the same incident, if the source does not say.
const REOPEN_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Stores observations of one source. When it returns, everything worth keeping is stored.
///
/// # Errors
/// When the API server does not take it; nothing must be acknowledged to the sender then.
pub async fn record(
    context: &Context,
    source: &AlertSource,
    observations: Vec<Observation>,
) -> Result<(), Error> {
    let namespace = source.namespace().unwrap_or_default();
    let services = in_namespace(&context.stores.services, &namespace);
    let mut of_service: BTreeMap<String, (Arc<BusinessService>, Vec<Observation>)> = BTreeMap::new();
    let mut of_group: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
    let mut of_incident: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
    let cached = in_namespace(&context.stores.incidents, &namespace);
    for observation in observations {
        let rule = source.spec.service.as_ref();
        match matching::service(rule, &observation.labels, observation.object.as_ref(), &services) {
            Some(service) => {
                let entry =
                    of_service.entry(service.name_any()).or_insert_with(|| (Arc::clone(service), Vec::new()));
                entry.1.push(observation);
            }
            None => match covering(&cached, observation.object.as_ref()) {
                Some(name) => of_incident.entry(name).or_default().push(observation),
                None => of_group.entry(observation.group.clone()).or_default().push(observation),
            },
        }
    }
    let incidents: Api<Incident> = Api::namespaced(context.client.clone(), &namespace);
    for (name, seen) in of_incident {
        if !add(&incidents, &name, source, &seen, Timestamp::now(), true).await? {
            for observation in seen {
                of_group.entry(observation.group.clone()).or_default().push(observation);
            }
        }
    }
    for (service, seen) in of_service.into_values() {
        record_of_service(context, source, &service, &seen).await?;
    }
    for (group, seen) in of_group {
        record_of_group(context, source, &group, &seen).await?;
    }
    Ok(())
}

/// The open incident that covers an object, though no service claims it any more; of several the oldest. Pure.
fn covering(incidents: &[Arc<Incident>], object: Option<&ObjectRef>) -> Option<String> {
    let object = object?;
    let covers = |incident: &&Arc<Incident>| {
        let affected = incident.status.as_ref().map(|status| changes::affected(incident, status));
        incident.is_open() && affected.is_some_and(|all| all.iter().any(|known| known.same_object(object)))
    };
    let oldest = incidents.iter().filter(covers).min_by_key(|incident| incident.creation_timestamp());
    oldest.map(|incident| incident.name_any())
}

async fn record_of_service(
    context: &Context,
    source: &AlertSource,
    service: &BusinessService,
    seen: &[Observation],
) -> Result<(), Error> {
    let namespace = source.namespace().unwrap_or_default();
    let incidents: Api<Incident> = Api::namespaced(context.client.clone(), &namespace);
    let services: Api<BusinessService> = Api::namespaced(context.client.clone(), &namespace);
    let uid = service.uid().unwrap_or_default();
    for _ in 0..TRIES {
        let now = Timestamp::now();
        // Any open incident about the service, whatever its name.
        let cached = in_namespace(&context.stores.incidents, &namespace);
        if let Some(open) = cached
            .iter()
            .filter(|incident| covers(incident, service))
            .min_by_key(|incident| incident.creation_timestamp())
            && add(&incidents, &open.name_any(), source, seen, now, true).await?
        {
            return Ok(());
        }
        let Some(stored) = services.get_opt(&service.name_any()).await? else { return Ok(()) };
        let episode = stored.status.as_ref().map_or(0, |status| status.episode);
        let name = incident_name(&service.name_any(), &uid, episode);
        let firing = seen.iter().filter(|observation| observation.end.is_none());
        let Some(first) = firing.clone().min_by_key(|observation| observation.start) else {
            add(&incidents, &name, source, seen, now, false).await?;
            return Ok(());
        };
        match incidents.get_opt(&name).await? {
            None => {
                let spec = opened(source, Some(service), first, firing, now);
                create(&incidents, &name, spec).await?;
                if add(&incidents, &name, source, seen, now, true).await? {
                    return Ok(());
                }
            }
            Some(last) if last.is_open() || reopens(&last, source, seen, now) => {
                if add(&incidents, &name, source, seen, now, false).await? {
                    return Ok(());
                }
            }
            Some(last) if is_late_repeat(&last, is_none(&last, &cached), source, seen) => return Ok(()),
            // A new outage: the episode rises, by whoever is first.
            Some(_) => {
                let mut next = stored;
                next.status.get_or_insert_default().episode = episode + 1;
                match services.replace_status(&service.name_any(), &PostParams::default(), &next).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(answer)) if answer.is_conflict() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Err(Error::Conflict(format!("bsvc/{}", service.name_any())))
}

async fn record_of_group(
    context: &Context,
    source: &AlertSource,
    group: &str,
    seen: &[Observation],
) -> Result<(), Error> {
    let namespace = source.namespace().unwrap_or_default();
    let incidents: Api<Incident> = Api::namespaced(context.client.clone(), &namespace);
    let now = Timestamp::now();
    let uid = source.uid().unwrap_or_default();
    // The open incident that knows one of these signals, or else the one that is named after the first of them.
    let cached = in_namespace(&context.stores.incidents, &namespace);
    let knows = |incident: &&Arc<Incident>| {
        let signals = incident.status.iter().flat_map(|status| &status.signals);
        let same = |id: &str| seen.iter().any(|observation| observation.id == id);
        signals.into_iter().any(|signal| signal.source_ref.name == source.name_any() && same(&signal.id))
    };
    let known: Vec<_> = cached.iter().filter(knows).collect();
    if let Some(open) = known.iter().find(|incident| incident.is_open())
        && add(&incidents, &open.name_any(), source, seen, now, true).await?
    {
        return Ok(());
    }
    // One that is over and goes on: the latest.
    let over = known.iter().filter(|incident| reopens(incident, source, seen, now));
    if let Some(last) = over.max_by_key(|incident| incident.creation_timestamp())
        && add(&incidents, &last.name_any(), source, seen, now, false).await?
    {
        return Ok(());
    }
    if known.iter().any(|last| is_late_repeat(last, is_none(last, &cached), source, seen)) {
        return Ok(());
    }
    let firing = seen.iter().filter(|observation| observation.end.is_none());
    let Some(first) = firing.clone().min_by_key(|observation| observation.start) else { return Ok(()) };
    let name = group_incident_name(&source.name_any(), &uid, group, first.start.as_second());
    if incidents.get_opt(&name).await?.is_none() {
        create(&incidents, &name, opened(source, None, first, firing, now)).await?;
    }
    add(&incidents, &name, source, seen, now, false).await?;
    Ok(())
}

async fn create(incidents: &Api<Incident>, name: &str, spec: IncidentSpec) -> Result<(), Error> {
    match incidents.create(&PostParams::default(), &Incident::new(name, spec)).await {
        Ok(_) => Ok(()),
        // Somebody was faster: it is the same outage.
        Err(kube::Error::Api(answer)) if answer.is_already_exists() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Joins the observations to an incident's signals. False if there is no such incident, or it must be open and
/// is not.
async fn add(
    incidents: &Api<Incident>,
    name: &str,
    source: &AlertSource,
    seen: &[Observation],
    now: Timestamp,
    must_be_open: bool,
) -> Result<bool, Error> {
    let mut raised = None;
    for _ in 0..TRIES {
        let Some(mut incident) = incidents.get_opt(name).await? else { return Ok(false) };
        if must_be_open && !incident.is_open() {
            return Ok(false);
        }
        let worst = worst_news(&incident, source, seen, now);
        let said = incident.spec.severity;
        // First the severity, then the signal that says so: whatever dies or conflicts in between, the signal is still
        // news, and both follow from it.
        if let Some(severity) = worst.filter(|worst| worst.worse_than(said)) {
            let version = &incident.metadata.resource_version;
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"severity": severity}});
            match incidents.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(patched) => incident = patched,
                Err(kube::Error::Api(answer)) if answer.is_conflict() => continue,
                Err(error) => return Err(error.into()),
            }
            raised = Some(severity);
        }
        let mut status = incident.status.clone().unwrap_or_default();
        let mut changed = false;
        if let Some(severity) = raised {
            let what = format!("raised to {severity}: {} reports worse", source.name_any());
            timeline::add(&mut status, now, timeline::MAYDAY, &what);
            status.told_severity = Some(severity);
        }
        // Where it was over, people are paged anew anyway.
        if let Some(severity) = worst.filter(|_| incident.is_open()) {
            people::worsen(&incident, &mut status, said, severity);
        }
        for observation in seen {
            let signal = observation.signal(&source.name_any(), now);
            changed |= join(&mut status, signal);
        }
        if !changed {
            return Ok(true);
        }
        incident.status = Some(status);
        match incidents.replace_status(name, &PostParams::default(), &incident).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(answer)) if answer.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict(format!("inc/{name}")))
}

/// The worst of what is new in these observations, to an incident that is open or opens again. What was known before
/// does not count: a lead may have lowered the severity since. Pure.
fn worst_news(
    incident: &Incident,
    source: &AlertSource,
    seen: &[Observation],
    now: Timestamp,
) -> Option<Severity> {
    let is_known = |observation: &Observation| {
        source_of(incident, source).any(|known| {
            known.id == observation.id
                && known.end_time.is_none()
                && !observation.severity.worse_than(known.severity)
        })
    };
    let new = seen.iter().filter(|observation| observation.end.is_none() && !is_known(observation));
    let worst = new.map(|observation| observation.severity).min()?;
    (incident.is_open() || reopens(incident, source, seen, now)).then_some(worst)
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
    let is_condition = source.spec.condition.is_some();
    let method = if is_condition { DetectionMethod::Condition } else { DetectionMethod::Alert };
    // Without a service the object itself is what is out; with one, its objects are.
    let affected: Vec<ObjectRef> =
        if service.is_some() { Vec::new() } else { first.object.iter().cloned().collect() };
    IncidentSpec {
        title: title(source, subject.as_deref(), first),
        severity,
        service_refs: subject.into_iter().map(|name| NameRef { name }).collect(),
        affected,
        // A clock that is ahead makes no outage of the future.
        start_time: Some(seconds(first.start.min(now))),
        start_time_source: Some(format!("{} by {}", first.name, source.name_any())),
        detection: Some(Detection { method, reporter: Some(source.name_any()), time: Some(seconds(now)) }),
        ..IncidentSpec::default()
    }
}

/// What is wrong, in a few words: the source's own, or made of the signal.
fn title(source: &AlertSource, service: Option<&str>, first: &Observation) -> String {
    let object = first.object.as_ref().map(ObjectRef::display);
    let text = match (&source.spec.title, service.map(str::to_owned).or(object)) {
        (Some(title), _) => title.clone(),
        (None, Some(subject)) => format!("{subject} is down"),
        (None, None) => first.summary.clone().unwrap_or_else(|| first.name.clone()),
    };
    flat(&text, 200)
}

fn source_of<'a>(
    incident: &'a Incident,
    source: &'a AlertSource,
) -> impl Iterator<Item = &'a crate::api::incident_status::Signal> {
    let signals = incident.status.iter().flat_map(|status| &status.signals);
    signals.filter(move |signal| signal.source_ref.name == source.name_any())
}

/// Whether an incident is no outage of its own: a false alarm, or a repeat of one that goes on or was a false alarm.
/// Once the other one is over, what still fires is an outage. Pure.
fn is_none(last: &Incident, incidents: &[Arc<Incident>]) -> bool {
    let state = |incident: &Incident| incident.status.as_ref().and_then(|status| status.state);
    let said = last.spec.resolution.as_ref().and_then(|said| said.duplicate_of.as_ref());
    let found = last.status.as_ref().and_then(|status| status.duplicate_of.as_ref());
    match state(last) {
        Some(IncidentState::FalseAlarm) => true,
        Some(IncidentState::Duplicate) => incidents
            .iter()
            .filter(|other| said.or(found).is_some_and(|named| named.name == other.name_any()))
            .any(|other| other.is_open() || state(other) == Some(IncidentState::FalseAlarm)),
        _ => is_said_to_be_over(last),
    }
}

/// Whether people said without proof that it is over: what fires on without a pause was known to them.
fn is_said_to_be_over(last: &Incident) -> bool {
    let is_over = last.status.as_ref().is_some_and(|status| status.resolved.is_some());
    is_over && last.spec.resolution.as_ref().is_some_and(|said| said.outcome == Outcome::Unproved)
}

/// Whether everything that fires is a late repeat of an episode that the incident has seen cleared, or that is none: it
/// is a new outage only if it begins anew. Pure.
fn is_late_repeat(last: &Incident, is_none: bool, source: &AlertSource, seen: &[Observation]) -> bool {
    seen.iter().filter(|observation| observation.end.is_none()).all(|observation| {
        source_of(last, source).any(|known| {
            known.id == observation.id
                && (known.end_time.is_some() || is_none)
                && observation.start.as_second() <= known.start_time.0.as_second()
        })
    })
}

/// Whether a resolved incident goes on: something fires again within the time the source allows. Pure.
fn reopens(last: &Incident, source: &AlertSource, seen: &[Observation], now: Timestamp) -> bool {
    let Some(status) = &last.status else { return false };
    let resolved = matches!(status.state, Some(IncidentState::Resolved | IncidentState::Closed));
    let Some(end) = status.resolved.as_ref().map(|resolved| resolved.time.0) else { return false };
    let within = source.spec.reopen_within.as_ref().map_or(REOPEN_WITHIN, |duration| duration.get());
    resolved
        && now.duration_since(end) <= within
        && !is_late_repeat(last, is_said_to_be_over(last), source, seen)
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

    fn resolved(at_second: i64) -> Incident {
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"},
            "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": "Resolved",
                "resolved": {"user": "mayday", "time": at(at_second).to_string()},
                "signals": [{"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown", "severity": "SEV2",
                    "startTime": at(10).to_string(), "endTime": at(20).to_string(), "lastSeenTime": at(20).to_string()}]}}))
        .unwrap()
    }

    #[test]
    fn within_its_time_the_same_incident_goes_on_and_later_it_is_a_new_one() {
        assert!(reopens(&resolved(100), &source(json!({})), &[firing(200)], at(700)));
        assert!(!reopens(&resolved(100), &source(json!({})), &[firing(200)], at(701)));
        assert!(!reopens(&resolved(100), &source(json!({"reopenWithin": "30s"})), &[firing(200)], at(131)));
    }

    #[test]
    fn what_is_known_is_no_news() {
        let open = |known: &str, end: Option<Timestamp>| {
            let mut whole = serde_json::to_value(resolved(100)).unwrap();
            let signal = json!({"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown", "severity": known,
                "startTime": at(10).to_string(), "lastSeenTime": at(20).to_string(), "endTime": end.map(|end| end.to_string())});
            json_patch::merge(
                &mut whole,
                &json!({"status": {"state": "Acknowledged", "resolved": null, "signals": [signal]}}),
            );
            serde_json::from_value::<Incident>(whole).unwrap()
        };
        let news = |incident: &Incident| worst_news(incident, &source(json!({})), &[firing(30)], at(40));
        let other = AlertSource::new("other", source(json!({})).spec);
        assert_eq!(news(&open("SEV5", None)), Some(Severity::Sev2), "it is worse than before");
        assert_eq!(news(&open("SEV2", Some(at(20)))), Some(Severity::Sev2), "it fires again");
        assert_eq!(news(&open("SEV2", None)), None, "the lead may have lowered it since");
        assert_eq!(
            worst_news(&open("SEV2", None), &other, &[firing(30)], at(40)),
            Some(Severity::Sev2),
            "another source says so too"
        );
        let later = |seconds| worst_news(&resolved(100), &source(json!({})), &[firing(200)], at(seconds));
        assert_eq!(later(700), Some(Severity::Sev2), "it opens again");
        assert_eq!(later(701), None, "another incident");
    }

    #[test]
    fn a_late_repeat_reopens_nothing() {
        assert!(is_late_repeat(&resolved(100), false, &source(json!({})), &[firing(10)]));
        assert!(!reopens(&resolved(100), &source(json!({})), &[firing(10)], at(110)));
        assert!(!is_late_repeat(&resolved(100), false, &source(json!({})), &[firing(30)]));
    }

    #[test]
    fn a_duplicate_is_an_outage_of_its_own_once_the_other_one_is_over() {
        let incident = |name: &str, state: &str, of: Option<&str>| {
            let mut whole = serde_json::to_value(resolved(100)).unwrap();
            whole["metadata"]["name"] = json!(name);
            whole["status"]["state"] = json!(state);
            whole["status"]["duplicateOf"] = json!(of.map(|of| json!({"name": of})));
            serde_json::from_value::<Incident>(whole).unwrap()
        };
        let last = incident("checkout", "Duplicate", Some("database"));
        let other = |state: &str| [Arc::new(incident("database", state, None))];
        assert!(is_none(&last, &other("Crisis")));
        assert!(is_none(&last, &other("FalseAlarm")));
        assert!(!is_none(&last, &other("Resolved")), "it still fires, and nobody works on it");
        assert!(!is_none(&last, &[]));
        assert!(!is_none(&resolved(100), &other("Crisis")));
    }

    #[test]
    fn a_false_alarm_that_still_fires_is_no_new_outage_until_it_begins_anew() {
        let mut whole = serde_json::to_value(resolved(100)).unwrap();
        whole["status"]["signals"][0]["endTime"] = Value::Null;
        whole["status"]["state"] = json!("FalseAlarm");
        let last: Incident = serde_json::from_value(whole).unwrap();
        assert!(is_none(&last, &[]));
        assert!(is_late_repeat(&last, true, &source(json!({})), &[firing(10)]));
        assert!(!is_late_repeat(&last, true, &source(json!({})), &[firing(30)]));
        assert!(!is_late_repeat(
            &last,
            true,
            &AlertSource::new("other", source(json!({})).spec),
            &[firing(10)]
        ));
    }

    #[test]
    fn what_fires_on_after_people_said_that_it_is_over_is_known_to_them() {
        let said = |outcome: &str| {
            let mut last = resolved(20);
            if let Some(status) = &mut last.status {
                status.signals[0].end_time = None;
            }
            last.spec.resolution =
                Some(serde_json::from_value(json!({"outcome": outcome, "reason": "r"})).unwrap());
            last
        };
        let source = source(json!({}));
        assert!(!reopens(&said("Unproved"), &source, &[firing(10)], at(30)));
        assert!(reopens(&said("Unproved"), &source, &[firing(25)], at(30)), "it began anew");
        assert!(reopens(&said("Restored"), &source, &[firing(10)], at(30)));
    }

    #[test]
    fn an_open_incident_covers_its_objects_though_the_service_is_gone() {
        let object = |name: &str| ObjectRef {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: name.into(),
        };
        let mut open = resolved(20);
        open.status = Some(Default::default());
        open.spec.affected = vec![object("checkout")];
        let known = [Arc::new(open)];
        assert!(covering(&known, Some(&object("checkout"))).is_some());
        assert_eq!(covering(&known, Some(&object("till"))), None);
        assert_eq!(covering(&known, None), None);
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
        let alone = opened(&source(json!({})), None, &seen[0], seen.iter(), at(30));
        assert_eq!(alone.title, "does not answer");
        let ahead = [firing(99)];
        let spec = opened(&source(json!({})), None, &ahead[0], ahead.iter(), at(30));
        assert_eq!(spec.start_time.unwrap().0, at(30), "a clock that is ahead");
    }
}
