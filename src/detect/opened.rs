//! The incident that the first signals of an outage open. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::observation::Observation;
use super::sources;
use crate::api::common::{NameRef, ObjectRef, stored_time};
use crate::api::incident::{Detection, IncidentSpec};
use crate::api::{AlertSource, BusinessService};
use crate::text::flat;

/// The incident that these signals open; `first` began first.
pub fn opened<'a>(
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
    use crate::api::common::Severity;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn source(spec: Value) -> AlertSource {
        let mut whole = json!({"alertmanager": {}, "severity": {"fixed": "SEV2"}});
        json_patch::merge(&mut whole, &spec);
        AlertSource::new("am", serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn the_incident_says_what_is_out_since_when_and_how_it_was_found() {
        let worse = Observation { severity: Severity::Sev1, ..Observation::firing(12) };
        let seen = [Observation::firing(10), worse];
        let service = BusinessService::new("checkout", Default::default());
        let spec = opened(&source(json!({})), Some(&service), &seen[0], seen.iter(), at(30));
        assert_eq!((spec.title.as_str(), spec.severity), ("checkout is down", Severity::Sev1));
        assert_eq!(spec.start_time.unwrap().0, at(10));
        assert_eq!(spec.detection.unwrap().time.unwrap().0, at(30));
        assert_eq!(spec.service_refs[0].name, "checkout");
        let alone = opened(&source(json!({"title": " \n"})), None, &seen[0], seen.iter(), at(30));
        assert_eq!(alone.title, "does not answer");
        let ahead = [Observation::firing(99)];
        let spec = opened(&source(json!({})), None, &ahead[0], ahead.iter(), at(30));
        assert_eq!(spec.start_time.unwrap().0, at(30), "a clock that is ahead");
    }
}
