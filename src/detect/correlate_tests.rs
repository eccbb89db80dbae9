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

fn seen(id: &str, start: i64, end: Option<i64>) -> Observation {
    Observation {
        id: id.into(),
        name: "CheckoutDown".into(),
        summary: None,
        severity: Severity::Sev2,
        start: at(start),
        end: end.map(at),
        labels: BTreeMap::new(),
        object: None,
        group: "g".into(),
    }
}

fn firing(start: i64) -> Observation {
    seen("f", start, None)
}

/// An incident of checkout, resolved at 100, with its signal `f` from 10 to 20, changed by a merge patch.
fn incident(name: &str, patch: Value) -> Incident {
    let mut whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "uid": name, "creationTimestamp": at(10).to_string()},
        "spec": {"title": "t", "severity": "SEV2"}, "status": {"state": "Resolved",
            "service": {"ref": {"name": "checkout", "uid": "cu"}, "title": "Checkout"},
            "resolved": {"user": "mayday", "time": at(100).to_string()},
            "signals": [{"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown", "severity": "SEV2", "group": "g",
                "startTime": at(10).to_string(), "endTime": at(20).to_string(), "lastSeenTime": at(20).to_string()}]}});
    json_patch::merge(&mut whole, &patch);
    serde_json::from_value(whole).unwrap()
}

fn open() -> Value {
    json!({"status": {"state": "Open", "resolved": null}})
}

/// The same incident while its signal still fires.
fn fires_on(patch: Value) -> Value {
    let mut whole = json!({"status": {"signals": [{"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown",
        "severity": "SEV2", "group": "g", "startTime": at(10).to_string(), "lastSeenTime": at(20).to_string()}]}});
    json_patch::merge(&mut whole, &patch);
    whole
}

fn service() -> BusinessService {
    let mut service = BusinessService::new("checkout", Default::default());
    service.metadata.uid = Some("cu".into());
    service
}

fn correlate(
    key: Key<'_>,
    source: &AlertSource,
    incidents: &[Incident],
    seen: &[Observation],
    now: i64,
) -> Correlation {
    let all = incidents.iter().map(|one| (one.name_any(), Arc::new(one.clone()))).collect();
    Known { key, source, all }.correlate(seen, at(now))
}

/// Correlates observations about checkout.
fn about(incidents: &[Incident], seen: &[Observation], now: i64) -> Correlation {
    correlate(Key::Service(&service()), &source(json!({})), incidents, seen, now)
}

fn merge_into(name: &str) -> Correlation {
    Correlation::Merge(name.to_owned())
}

#[test]
fn an_incident_is_reopened_within_its_time_and_later_a_new_one_begins() {
    let last = [incident("checkout-aaaaa", json!({}))];
    assert_eq!(about(&last, &[firing(200)], 700), merge_into("checkout-aaaaa"));
    assert_eq!(about(&last, &[firing(200)], 701), Correlation::Begin);
    let quick = source(json!({"reopenWithin": "30s"}));
    assert_eq!(correlate(Key::Service(&service()), &quick, &last, &[firing(200)], 131), Correlation::Begin);
}

#[test]
fn an_open_incident_of_the_service_is_found_whatever_its_name() {
    // A person created it under another name.
    let last = [incident("cannot-pay", json!({"status": {"signals": []}}))];
    assert_eq!(about(&last, &[firing(200)], 300), merge_into("cannot-pay"));
    let other = json!({"status": {"signals": [], "service": {"ref": {"uid": "another"}}}});
    assert_eq!(about(&[incident("cannot-log-in", other)], &[firing(200)], 300), Correlation::Begin);
    let running = json!({"spec": {"serviceRefs": [{"name": "checkout"}]}, "status": null});
    assert_eq!(about(&[incident("cannot-pay", running)], &[firing(200)], 300), merge_into("cannot-pay"));
}

#[test]
fn a_late_repeat_opens_nothing() {
    let last = [incident("cannot-pay", json!({}))];
    assert_eq!(about(&last, &[firing(10)], 110), Correlation::Nothing);
    assert_eq!(about(&last, &[firing(10)], 9999), Correlation::Nothing, "however late");
    assert_eq!(about(&last, &[firing(30)], 9999), Correlation::Begin);
    assert_eq!(
        about(&last, &[firing(10), seen("g", 30, None)], 9999),
        Correlation::Begin,
        "one of them is new"
    );
}

#[test]
fn a_cleared_signal_goes_to_the_incident_where_it_fires() {
    let cleared = [seen("f", 10, Some(150))];
    assert_eq!(about(&[incident("i", fires_on(json!({})))], &cleared, 150), merge_into("i"));
    assert_eq!(about(&[incident("i", json!({}))], &cleared, 150), Correlation::Nothing);
    assert_eq!(about(&[], &cleared, 150), Correlation::Nothing);
}

#[test]
fn a_false_alarm_that_still_fires_opens_nothing_until_it_clears() {
    let last = [incident("alarm", fires_on(json!({"status": {"state": "FalseAlarm"}})))];
    assert_eq!(about(&last, &[firing(10)], 9999), Correlation::Nothing);
    assert_eq!(about(&last, &[firing(30)], 9999), Correlation::Begin);
    let other = AlertSource::new("other", source(json!({})).spec);
    assert_eq!(correlate(Key::Service(&service()), &other, &last, &[firing(10)], 9999), Correlation::Begin);
    // It is still no outage when something new fires beside it.
    let all = [(String::from("alarm"), Arc::new(last[0].clone()))].into();
    let (key, source) = (service(), source(json!({})));
    let known = Known { key: Key::Service(&key), source: &source, all };
    let both = [firing(10), seen("new", 30, None)];
    let news = known.news_for(&incident("new", json!({"status": null})), &both);
    assert_eq!(news.iter().map(|new| new.id.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(known.news_for(&last[0], &both).len(), 2, "it knows it");
}

#[test]
fn a_signal_that_fires_on_after_people_ended_it_opens_nothing() {
    let said = |outcome: &str| {
        [incident("i", fires_on(json!({"spec": {"resolution": {"outcome": outcome, "reason": "r"}}})))]
    };
    assert_eq!(about(&said("Unproved"), &[firing(10)], 110), Correlation::Nothing);
    assert_eq!(about(&said("Unproved"), &[firing(25)], 110), merge_into("i"), "it began anew");
    assert_eq!(about(&said("Restored"), &[firing(10)], 110), merge_into("i"));
}

#[test]
fn a_duplicate_is_an_outage_of_its_own_once_the_other_one_is_over() {
    let last = incident(
        "checkout",
        fires_on(
            json!({"status": {"state": "Duplicate", "resolved": null, "duplicateOf": {"name": "database"}}}),
        ),
    );
    let beside = |state: &str| {
        let other = json!({"status": {"state": state, "service": {"ref": {"uid": "du"}}, "signals": []}});
        about(&[last.clone(), incident("database", other)], &[firing(10)], 9999)
    };
    assert_eq!(beside("Crisis"), Correlation::Nothing);
    assert_eq!(beside("FalseAlarm"), Correlation::Nothing);
    assert_eq!(beside("Resolved"), Correlation::Begin, "it still fires, and nobody works on it");
    assert_eq!(about(std::slice::from_ref(&last), &[firing(10)], 9999), Correlation::Begin);
}

#[test]
fn signals_without_a_service_are_grouped_as_their_source_says() {
    let no_service = |patch: Value| {
        let mut whole = json!({"status": {"service": null}});
        json_patch::merge(&mut whole, &patch);
        whole
    };
    let another = [seen("another", 200, None)];
    let by_group = |incidents: &[Incident], now| {
        correlate(Key::Group("g"), &source(json!({})), incidents, &another, now)
    };
    assert_eq!(
        by_group(&[incident("i", no_service(open()))], 9999),
        merge_into("i"),
        "an alert it does not know"
    );
    assert_eq!(by_group(&[incident("i", no_service(json!({})))], 700), merge_into("i"), "it goes on");
    assert_eq!(by_group(&[incident("i", no_service(json!({})))], 701), Correlation::Begin);
    assert_eq!(by_group(&[incident("i", open())], 9999), Correlation::Begin, "that is about a service");
    let other = AlertSource::new("other", source(json!({})).spec);
    let decided = correlate(Key::Group("g"), &other, &[incident("i", no_service(open()))], &another, 300);
    assert_eq!(decided, Correlation::Begin, "another source's group");

    let over = [incident("one", no_service(json!({}))), incident("two", json!({}))];
    let all = over.iter().map(|one| (one.name_any(), Arc::new(one.clone()))).collect();
    let source = source(json!({}));
    let known = Known { key: Key::Group("g"), source: &source, all };
    assert_eq!((known.last_of_group("g"), known.last_of_group("h")), ("one".to_owned(), String::new()));
}

#[test]
fn an_open_incident_covers_its_objects_even_without_a_service() {
    let object = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    let about =
        |name: &str| Observation { object: serde_json::from_value(object(name)).unwrap(), ..firing(200) };
    let mut patch = open();
    json_patch::merge(
        &mut patch,
        &json!({"spec": {"affected": [object("checkout")]}, "status": {"signals": []}}),
    );
    let mut of_group = open();
    json_patch::merge(
        &mut of_group,
        &json!({"status": {"service": null},
        "metadata": {"creationTimestamp": at(5).to_string()}}),
    );
    let all = [incident("covers", patch), incident("of-group", of_group)];
    let shared: Vec<_> = all.iter().cloned().map(Arc::new).collect();
    assert_eq!(covering(&shared, &about("checkout")).as_deref(), Some("covers"));
    assert_eq!(covering(&shared, &about("till")), None);
    assert_eq!(covering(&shared, &firing(200)), None);
    let decided = |seen| correlate(Key::Group("g"), &source(json!({})), &all, &[seen], 300);
    assert_eq!(decided(about("checkout")), merge_into("covers"));
    assert_eq!(decided(about("till")), merge_into("of-group"));
}
