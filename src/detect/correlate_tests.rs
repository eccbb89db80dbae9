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
) -> Option<Correlation> {
    next(key, source, incidents, seen, now).map(|(to, _)| to)
}

/// Where the first observations go, and their ids.
fn next(
    key: Key<'_>,
    source: &AlertSource,
    incidents: &[Incident],
    seen: &[Observation],
    now: i64,
) -> Option<(Correlation, Vec<String>)> {
    let all = incidents.iter().map(|one| (one.name_any(), Arc::new(one.clone()))).collect();
    let known = Known { key, source, all };
    let seen: Vec<&Observation> = seen.iter().collect();
    let (to, part) = known.next(&seen, at(now))?;
    Some((to, part.iter().map(|new| new.id.clone()).collect()))
}

/// Correlates observations about checkout.
fn about(incidents: &[Incident], seen: &[Observation], now: i64) -> Option<Correlation> {
    correlate(Key::Service(&service()), &source(json!({})), incidents, seen, now)
}

fn merge_into(name: &str) -> Option<Correlation> {
    Some(Correlation::Merge(name.to_owned()))
}

const BEGIN: Option<Correlation> = Some(Correlation::Begin);

#[test]
fn an_incident_is_reopened_within_its_time_and_later_a_new_one_begins() {
    let last = [incident("checkout-aaaaa", json!({}))];
    assert_eq!(about(&last, &[firing(200)], 700), merge_into("checkout-aaaaa"));
    assert_eq!(about(&last, &[firing(200)], 701), BEGIN);
    let quick = source(json!({"reopenWithin": "30s"}));
    assert_eq!(correlate(Key::Service(&service()), &quick, &last, &[firing(200)], 131), BEGIN);
}

#[test]
fn an_open_incident_of_the_service_is_found_whatever_its_name() {
    // A person created it under another name.
    let last = [incident("cannot-pay", json!({"status": {"signals": []}}))];
    assert_eq!(about(&last, &[firing(200)], 300), merge_into("cannot-pay"));
    let other = json!({"status": {"signals": [], "service": {"ref": {"uid": "another"}}}});
    assert_eq!(about(&[incident("cannot-log-in", other)], &[firing(200)], 300), BEGIN);
    let running = json!({"spec": {"serviceRefs": [{"name": "checkout"}]}, "status": null});
    assert_eq!(about(&[incident("cannot-pay", running)], &[firing(200)], 300), merge_into("cannot-pay"));
}

/// The kind: what the source says now is dropped because of what it said before. The signal cleared at 20, and Mayday
/// heard of it then.
#[test]
fn a_late_repeat_opens_nothing_and_a_later_one_is_an_outage() {
    let last = [incident("cannot-pay", json!({}))];
    assert_eq!(about(&last, &[firing(10)], 60), merge_into("cannot-pay"), "it is noted there");
    let noted = json!({"status": {"signals": [{"sourceRef": {"name": "am"}, "id": "f", "name": "CheckoutDown",
        "severity": "SEV2", "group": "g", "startTime": at(10).to_string(), "endTime": at(20).to_string(),
        "lastSeenTime": at(20).to_string(), "contradictedTime": at(60).to_string()}]}});
    let noted = [incident("cannot-pay", noted)];
    assert_eq!(about(&noted, &[firing(10)], 70), None, "once");
    assert_eq!(
        about(&noted, &[seen("f", 10, Some(20))], 75),
        merge_into("cannot-pay"),
        "the peer has noticed"
    );
    for known in [&last, &noted] {
        assert_eq!(about(known, &[firing(10)], 110), merge_into("cannot-pay"), "it fires again: it goes on");
        assert_eq!(about(known, &[firing(10)], 9999), BEGIN, "however late");
    }
    assert_eq!(about(&last, &[firing(30)], 40), merge_into("cannot-pay"), "a new episode");
    let both = [firing(10), seen("g", 30, None)];
    let quick = source(json!({"reopenWithin": "1s"}));
    let earlier = [incident("cannot-pay", json!({"status": {"resolved": {"time": at(30).to_string()}}}))];
    let first = |now| next(Key::Service(&service()), &quick, &earlier, &both, now).unwrap();
    assert_eq!(first(70), (Correlation::Begin, vec!["g".to_owned()]), "only one of them is news");
    assert_eq!(first(9999).1.len(), 2);
    let patient = source(json!({"resolveAfter": "1h"}));
    let late = next(Key::Service(&service()), &patient, &last, &[firing(10)], 3600);
    assert_eq!(late.unwrap().0, Correlation::Merge("cannot-pay".to_owned()));
}

#[test]
fn a_signal_outside_the_list_is_an_outage_again_when_no_sender_is_late() {
    let hash = signals::key("am", "f");
    let cleared = json!({"key": hash, "startTime": at(10).to_string(), "endTime": at(20).to_string(),
        "lastSeenTime": at(20).to_string()});
    let last = |status: Value| [incident("i", json!({"status": status}))];
    let cleared = last(json!({"signals": [], "clearedSignals": [cleared]}));
    assert_eq!(about(&cleared, &[firing(10)], 60), merge_into("i"), "noted");
    assert_eq!(about(&cleared, &[firing(10)], 9999), BEGIN);
    let fires = last(json!({"signals": [], "leftOutSignals": [hash], "leftOutSeenTime": at(20).to_string()}));
    assert_eq!(about(&fires, &[firing(10)], 9999), BEGIN);
    assert_eq!(about(&fires, &[seen("f", 10, Some(150))], 9999), merge_into("i"));
}

#[test]
fn an_end_goes_to_the_incident_that_is_over_beside_the_open_one() {
    let open = incident("new", json!({"status": {"state": "Open", "resolved": null, "signals": []}}));
    let over = incident("old", fires_on(json!({})));
    let both = [over, open];
    let of =
        |seen: &[Observation]| next(Key::Service(&service()), &source(json!({})), &both, seen, 150).unwrap();
    assert_eq!(of(&[seen("f", 10, Some(140))]), (Correlation::Merge("old".to_owned()), vec!["f".to_owned()]));
    assert_eq!(of(&[firing(10)]).0, Correlation::Merge("new".to_owned()), "it fires on, in the open one");
    let mixed = [seen("f", 10, Some(140)), seen("g", 140, None), seen("h", 10, Some(140))];
    assert_eq!(of(&mixed), (Correlation::Merge("new".to_owned()), vec!["g".to_owned(), "h".to_owned()]));
}

#[test]
fn a_cleared_signal_goes_to_the_incident_where_it_fires() {
    let cleared = [seen("f", 10, Some(150))];
    assert_eq!(about(&[incident("i", fires_on(json!({})))], &cleared, 150), merge_into("i"));
    assert_eq!(about(&[incident("i", json!({}))], &cleared, 150), None);
    assert_eq!(about(&[], &cleared, 150), None);
}

/// The kind: what fires after an end is not heard. Whoever has ended the incident, a firing signal is an outage.
#[test]
fn a_signal_that_fires_after_the_end_is_an_outage_whatever_people_said() {
    let last = [incident("alarm", fires_on(json!({"status": {"state": "FalseAlarm"}})))];
    assert_eq!(about(&last, &[firing(10)], 110), BEGIN, "a false alarm stays one");
    let other = AlertSource::new("other", source(json!({})).spec);
    assert_eq!(correlate(Key::Service(&service()), &other, &last, &[firing(10)], 9999), BEGIN);
    let said = |outcome: &str| {
        [incident("i", fires_on(json!({"spec": {"resolution": {"outcome": outcome, "reason": "r"}}})))]
    };
    for outcome in ["Unproved", "Restored"] {
        assert_eq!(about(&said(outcome), &[firing(10)], 110), merge_into("i"), "{outcome}");
        assert_eq!(about(&said(outcome), &[firing(10)], 9999), BEGIN, "{outcome}");
    }
}

#[test]
fn the_incident_that_heard_last_of_a_signal_says_how_it_is() {
    let newer = json!({"metadata": {"uid": "b"}, "status": {"signals": [{"sourceRef": {"name": "am"}, "id": "f",
        "name": "CheckoutDown", "severity": "SEV2", "group": "g", "startTime": at(10).to_string(),
        "endTime": at(80).to_string(), "lastSeenTime": at(80).to_string()}]}});
    let both = [incident("a", fires_on(json!({}))), incident("b", newer)];
    assert_eq!(about(&both, &[firing(10)], 110), merge_into("b"), "a late repeat is noted there");
    assert_eq!(about(&both, &[seen("f", 10, Some(80))], 110), None);
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
    assert_eq!(beside("Crisis"), None);
    assert_eq!(beside("FalseAlarm"), BEGIN);
    assert_eq!(beside("Resolved"), BEGIN, "it still fires, and nobody works on it");
    assert_eq!(about(std::slice::from_ref(&last), &[firing(10)], 9999), BEGIN);
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
    assert_eq!(by_group(&[incident("i", no_service(json!({})))], 701), BEGIN);
    assert_eq!(by_group(&[incident("i", open())], 9999), BEGIN, "that is about a service");
    let other = AlertSource::new("other", source(json!({})).spec);
    let decided = correlate(Key::Group("g"), &other, &[incident("i", no_service(open()))], &another, 300);
    assert_eq!(decided, BEGIN, "another source's group");

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
