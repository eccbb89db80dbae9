//! Duplicates (docs/rules.md#duplicates): of two open incidents about the same service, or without a service about the
//! same group of a source, the younger is a duplicate. The older takes over its severity, start and affected objects. Pure.
//!
//! 1. The older incident takes over in its spec, where people see it and its lead may lower the severity later.
//! 2. It lists the duplicate in its status.
//! 3. Only then the younger becomes a duplicate.
//!
//! Each step is repeated until the next one is seen, so a crash in between never leaves changes unbound.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::changes::affected;
use super::facts::IncidentFacts;
use crate::api::Incident;
use crate::api::common::{NameRef, ObjectRef, Severity, UidRef};
use crate::api::incident::IncidentSpec;
use crate::api::incident_status::IncidentStatus;
use crate::incident::roles;
use crate::incident::signals::{merge, merge_left_out};
use crate::text::cut;

/// Maximum number of duplicates in the status, as the schema allows; the oldest are dropped, long after they knew.
const MAX_DUPLICATES: usize = 16;
/// Maximum number of services of an incident, as the schema allows.
const MAX_SERVICES: usize = 16;
/// Maximum number of affected objects of an incident, as the schema allows.
const MAX_OBJECTS: usize = 64;

/// The oldest open incident about the same outage; `None` if this one is the oldest, or not open.
pub fn original<'a>(incident: &Incident, facts: &'a IncidentFacts) -> Option<&'a Arc<Incident>> {
    of_same_outage(incident, facts)
        .into_iter()
        .filter(|other| age(other) < age(incident))
        .min_by(|one, other| age(one).cmp(&age(other)))
}

/// The incident that this one is a duplicate of: the stored one, or the original once that has taken it over.
pub fn duplicate_of(incident: &Incident, facts: &IncidentFacts) -> Option<NameRef> {
    let known = incident.status.as_ref().and_then(|status| status.duplicate_of.clone());
    known.or_else(|| {
        let original = original(incident, facts)?;
        let taken = original.status.iter().flat_map(|status| &status.duplicates);
        taken.map(|duplicate| &duplicate.uid).find(|uid| Some(*uid) == incident.metadata.uid.as_ref())?;
        holds_as_much(original, incident)?;
        Some(NameRef { name: original.name_any() })
    })
}

/// Whether the original binds changes as much as its duplicate: it is answered and led if the duplicate is. Until then
/// the duplicate goes on binding.
fn holds_as_much(original: &Incident, duplicate: &Incident) -> Option<()> {
    let is_led = |incident: &Incident| incident.lead().is_some();
    let answered = original.is_answered() || !duplicate.is_answered();
    (answered && (is_led(original) || !is_led(duplicate))).then_some(())
}

/// The duplicates that this incident has not taken over yet, oldest first; empty unless it is the oldest itself.
pub fn untaken<'a>(
    incident: &Incident,
    status: &IncidentStatus,
    facts: &'a IncidentFacts,
) -> Vec<&'a Arc<Incident>> {
    if original(incident, facts).is_some() {
        return Vec::new();
    }
    let taken = |other: &Incident| {
        status.duplicates.iter().any(|known| Some(&known.uid) == other.metadata.uid.as_ref())
    };
    let mut found = of_same_outage(incident, facts);
    found.retain(|other| !taken(other));
    found.sort_by(|one, other| age(one).cmp(&age(other)));
    found.truncate(MAX_DUPLICATES);
    found
}

/// Who answered a younger open incident about the same outage, and its name: people may have looked there first. `None`
/// unless this is the oldest.
pub fn answer(incident: &Incident, facts: &IncidentFacts) -> Option<(String, String)> {
    if original(incident, facts).is_some() {
        return None;
    }
    let mut younger = of_same_outage(incident, facts);
    younger.sort_by(|one, other| age(one).cmp(&age(other)));
    younger.into_iter().find_map(|younger| {
        let said = younger.status.as_ref().and_then(|status| status.acknowledgement.as_ref());
        Some((said?.user.clone(), younger.name_any()))
    })
}

/// What the spec must take over from duplicates, as a merge patch; `None` once it holds all of it.
pub fn takeover(
    incident: &Incident,
    status: &IncidentStatus,
    duplicates: &[&Arc<Incident>],
) -> Option<Value> {
    let spec = &incident.spec;
    let mut wanted = spec.clone();
    let mut objects = affected(incident, status);
    let before = objects.len();
    for duplicate in duplicates {
        let of_duplicate = duplicate.status.clone().unwrap_or_default();
        wanted.severity = worse(wanted.severity, duplicate.spec.severity);
        add(&mut wanted.service_refs, &duplicate.spec.service_refs, MAX_SERVICES, |one, other| one == other);
        add(&mut objects, &affected(duplicate, &of_duplicate), MAX_OBJECTS, ObjectRef::same_object);
        let start = of_duplicate.start_time.as_ref().or(duplicate.spec.start_time.as_ref());
        take_start(&mut wanted, status.start_time.as_ref(), start, duplicate);
    }
    if objects.len() > before {
        wanted.affected = objects;
    }
    let mut patch = json!({});
    let mut set = |field: &str, differs: bool, value: Value| {
        if differs {
            patch[field] = value;
        }
    };
    set("severity", wanted.severity != spec.severity, json!(wanted.severity));
    set("serviceRefs", wanted.service_refs != spec.service_refs, json!(wanted.service_refs));
    set("affected", wanted.affected != spec.affected, json!(wanted.affected));
    set("startTime", wanted.start_time != spec.start_time, json!(wanted.start_time));
    set(
        "startTimeSource",
        wanted.start_time_source != spec.start_time_source,
        json!(wanted.start_time_source),
    );
    patch.as_object().is_some_and(|patch| !patch.is_empty()).then(|| json!({"spec": patch}))
}

/// Lists duplicates in the status and merges their firing signals. Escalation restarts if an unanswered one is worse than
/// the severity people were paged for. Returns the entries for the timeline.
pub fn remember(
    incident: &Incident,
    status: &mut IncidentStatus,
    duplicates: &[&Arc<Incident>],
) -> Vec<String> {
    let mut notes = Vec::new();
    for duplicate in duplicates {
        if !duplicate.is_answered() {
            roles::worsen(incident, status, incident.spec.severity, duplicate.spec.severity);
        }
        let known = duplicate.status.iter().flat_map(|status| status.signals.clone());
        for signal in known.filter(|signal| signal.end_time.is_none()) {
            // Both incidents were written by Mayday: the newer of the two says how it is.
            merge(status, signal, SignedDuration::ZERO);
        }
        duplicate.status.iter().for_each(|other| merge_left_out(status, other));
        status
            .duplicates
            .push(UidRef { name: duplicate.name_any(), uid: duplicate.uid().unwrap_or_default() });
        let (name, spec) = (duplicate.name_any(), &duplicate.spec);
        notes.push(format!(
            "inc/{name} ({}, {}) is about the same outage: taken over",
            spec.severity, spec.title
        ));
    }
    let surplus = status.duplicates.len().saturating_sub(MAX_DUPLICATES);
    status.duplicates.drain(..surplus);
    notes
}

/// Other open incidents about the service of this open one; without a service, those that share a group of a source.
fn of_same_outage<'a>(incident: &Incident, facts: &'a IncidentFacts) -> Vec<&'a Arc<Incident>> {
    if !incident.is_open() {
        return Vec::new();
    }
    let own = service(incident, facts);
    let is_same = |other: &Incident| match (&own, service(other, facts)) {
        // A service that was deleted and created again has another UID, but is the same one.
        (Some(own), Some(theirs)) => own.uid == theirs.uid || own.name == theirs.name,
        (None, None) => shares_a_group(incident, other),
        _ => false,
    };
    let others = facts.incidents.iter().filter(|other| other.metadata.uid != incident.metadata.uid);
    others.filter(|other| other.is_open() && is_same(other)).collect()
}

/// Whether a source has put signals of both into the same group.
fn shares_a_group(one: &Incident, other: &Incident) -> bool {
    fn groups(incident: &Incident) -> impl Iterator<Item = (&NameRef, &String)> {
        let signals = incident.status.iter().flat_map(|status| &status.signals);
        signals.map(|signal| (&signal.source_ref, &signal.group))
    }
    groups(one).any(|mine| groups(other).any(|theirs| theirs == mine))
}

/// The service that the incident opened about. It does not change with the spec.
fn service(incident: &Incident, facts: &IncidentFacts) -> Option<UidRef> {
    let copied = incident.status.as_ref().and_then(|status| status.service.as_ref());
    copied.map(|service| service.r#ref.clone()).or_else(|| {
        let service = facts.service(incident)?;
        Some(UidRef { name: service.name_any(), uid: service.uid()? })
    })
}

/// Sort key by age; the UID decides between incidents of the same second.
fn age(incident: &Incident) -> (Option<jiff::Timestamp>, Option<&String>) {
    (incident.metadata.creation_timestamp.as_ref().map(|time| time.0), incident.metadata.uid.as_ref())
}

fn worse(one: Severity, other: Severity) -> Severity {
    if other.worse_than(one) { other } else { one }
}

fn add<T: Clone>(known: &mut Vec<T>, further: &[T], most: usize, same: impl Fn(&T, &T) -> bool) {
    for item in further {
        if known.len() < most && !known.iter().any(|known| same(known, item)) {
            known.push(item.clone());
        }
    }
}

/// Takes the start of a duplicate if it is earlier, with its source.
fn take_start(wanted: &mut IncidentSpec, known: Option<&Time>, start: Option<&Time>, duplicate: &Incident) {
    let Some(start) = start else { return };
    let known = wanted.start_time.as_ref().or(known);
    if known.is_none_or(|known| start.0.as_second() < known.0.as_second()) {
        wanted.start_time = Some(start.clone());
        let how =
            duplicate.spec.start_time_source.as_deref().map_or_else(String::new, |how| format!(": {how}"));
        wanted.start_time_source = Some(cut(&format!("inc/{}{how}", duplicate.name_any()), 500));
    }
}

#[cfg(test)]
#[path = "duplicates_tests.rs"]
mod tests;
