use super::*;
use crate::api::BusinessService;

fn service(name: &str) -> Arc<BusinessService> {
    let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "BusinessService",
        "metadata": {"name": name, "uid": name}, "spec": {"title": name, "objects":
            [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name}]}});
    Arc::new(serde_json::from_value(object).unwrap())
}

/// An incident about checkout, created at that second, after a merge patch.
fn incident(name: &str, created: &str, patch: Value) -> Incident {
    let mut object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "uid": name, "creationTimestamp": format!("2026-11-22T02:04:{created}Z")},
        "spec": {"title": format!("{name} is down"), "severity": "SEV3", "serviceRefs": [{"name": "checkout"}],
            "startTime": "2026-11-22T02:04:00Z"},
        "status": {"startTime": "2026-11-22T02:04:00Z"}});
    json_patch::merge(&mut object, &patch);
    serde_json::from_value(object).unwrap()
}

fn facts(incidents: &[Incident]) -> IncidentFacts {
    IncidentFacts {
        services: vec![service("checkout"), service("till")],
        incidents: incidents.iter().cloned().map(Arc::new).collect(),
        ..IncidentFacts::default()
    }
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name})
}

fn status(incident: &Incident) -> IncidentStatus {
    incident.status.clone().unwrap()
}

fn names(incidents: &[&Arc<Incident>]) -> Vec<String> {
    incidents.iter().map(|incident| incident.name_any()).collect()
}

#[test]
fn the_oldest_open_incident_about_the_service_is_the_original() {
    let closed = json!({"status": {"state": "Closed"}});
    let other = json!({"spec": {"serviceRefs": [{"name": "till"}]}});
    let all = [
        incident("closed", "01", closed),
        incident("till", "02", other),
        incident("a", "03", json!({})),
        incident("b", "04", json!({})),
        incident("c", "05", json!({})),
    ];
    let facts = facts(&all);
    let original = |index: usize| original(&all[index], &facts).map(|found| found.name_any());
    assert_eq!([0, 1, 2, 3, 4].map(original), [None, None, None, Some("a".into()), Some("a".into())]);
    assert_eq!(names(&untaken(&all[2], &status(&all[2]), &facts)), ["b", "c"]);
    assert!(untaken(&all[3], &status(&all[3]), &facts).is_empty(), "only the oldest takes over");
}

#[test]
fn incidents_without_a_service_are_one_outage_if_they_share_a_group() {
    let of = |group: &str| {
        let signal = json!({"sourceRef": {"name": "am"}, "id": group, "name": "Down", "severity": "SEV2", "group": group,
            "startTime": "2026-11-22T02:04:05Z", "lastSeenTime": "2026-11-22T02:04:05Z"});
        json!({"spec": {"serviceRefs": null}, "status": {"signals": [signal]}})
    };
    let mut claimed = of("g");
    claimed["spec"] = json!({});
    let all = [
        incident("claimed", "02", claimed),
        incident("a", "03", of("g")),
        incident("b", "04", of("g")),
        incident("c", "05", of("h")),
        incident("d", "06", json!({"spec": {"serviceRefs": null}})),
    ];
    let facts = facts(&all);
    let original = |index: usize| original(&all[index], &facts).map(|found| found.name_any());
    assert_eq!([0, 1, 2, 3, 4].map(original), [None, None, Some("a".into()), None, None]);
}

#[test]
fn the_older_takes_over_severity_start_and_affected_objects() {
    let older = incident(
        "a",
        "03",
        json!({"status": {"service": {"ref": {"name": "checkout", "uid": "checkout"},
        "title": "Checkout", "objects": [deployment("checkout")]}}}),
    );
    let younger = json!({
        "spec": {"severity": "SEV1", "serviceRefs": [{"name": "checkout"}, {"name": "till"}],
            "affected": [deployment("checkout"), deployment("till")], "startTime": "2026-11-22T02:01:00Z",
            "startTimeSource": "first failed payment"},
        "status": {"startTime": "2026-11-22T02:01:00Z"}});
    let all = [older.clone(), incident("b", "04", younger)];
    let facts = facts(&all);
    let untaken = untaken(&older, &status(&older), &facts);
    let patch = takeover(&older, &status(&older), &untaken).unwrap();
    let expected = json!({"spec": {
        "severity": "SEV1", "serviceRefs": [{"name": "checkout"}, {"name": "till"}],
        "affected": [deployment("checkout"), deployment("till")], "startTime": "2026-11-22T02:01:00Z",
        "startTimeSource": "inc/b: first failed payment"}});
    assert_eq!(patch, expected);

    // Once it is written, further decisions write nothing.
    let mut written = serde_json::to_value(&older).unwrap();
    json_patch::merge(&mut written, &patch);
    let written: Incident = serde_json::from_value(written).unwrap();
    assert_eq!(takeover(&written, &status(&written), &untaken), None);
}

#[test]
fn a_milder_later_and_smaller_duplicate_changes_nothing() {
    let older =
        incident("a", "03", json!({"spec": {"severity": "SEV2", "affected": [deployment("checkout")]}}));
    let younger = json!({"spec": {"affected": [deployment("checkout")], "startTime": "2026-11-22T02:05:00Z"},
        "status": {"startTime": "2026-11-22T02:05:00Z"}});
    let younger = Arc::new(incident("b", "04", younger));
    assert_eq!(takeover(&older, &status(&older), &[&younger]), None);
}

#[test]
fn the_younger_is_a_duplicate_once_the_older_lists_it_and_stays_one() {
    let mut all = [incident("a", "03", json!({})), incident("b", "04", json!({}))];
    assert_eq!(duplicate_of(&all[1], &facts(&all)), None, "not before what it says is taken over");

    let signal = |id: &str, end: Option<&str>| {
        json!({"sourceRef": {"name": "s"}, "id": id, "name": id, "severity": "SEV2", "endTime": end,
            "startTime": "2026-11-22T02:04:05Z", "lastSeenTime": "2026-11-22T02:04:05Z"})
    };
    let signals = json!([signal("fires", None), signal("cleared", Some("2026-11-22T02:04:06Z"))]);
    all[1].status.as_mut().unwrap().signals = serde_json::from_value(signals).unwrap();
    let known = facts(&all);
    let mut after = status(&all[0]);
    let untaken_before = untaken(&all[0], &after, &known);
    assert_eq!(
        remember(&all[0], &mut after, &untaken_before),
        ["inc/b (SEV3, b is down) is about the same outage: taken over"]
    );
    assert_eq!(after.signals.iter().map(|signal| signal.id.as_str()).collect::<Vec<_>>(), ["fires"]);
    assert!(untaken(&all[0], &after, &known).is_empty(), "once");

    all[0].status = Some(after);
    let original = duplicate_of(&all[1], &facts(&all)).unwrap();
    assert_eq!(original.name, "a");
    all[1].status.as_mut().unwrap().duplicate_of = Some(original);
    all[0].status.as_mut().unwrap().state = Some(crate::api::incident_status::IncidentState::Closed);
    assert!(duplicate_of(&all[1], &facts(&all)).is_some(), "also when the older one is over");
}

#[test]
fn a_duplicate_binds_until_the_older_one_is_answered_and_led_too() {
    let taken = json!({"status": {"duplicates": [{"name": "b", "uid": "b"}]}});
    let answered = json!({"spec": {"acknowledgement": {"user": "emil"}}});
    let led = json!({"spec": {"roles": {"lead": {"user": "lena"}}}});
    let is_duplicate = |older: &[&Value], younger: &Value| {
        let mut spec = taken.clone();
        older.iter().for_each(|patch| json_patch::merge(&mut spec, patch));
        let all = [incident("a", "03", spec), incident("b", "04", younger.clone())];
        duplicate_of(&all[1], &facts(&all)).is_some()
    };
    assert!(is_duplicate(&[], &json!({})));
    assert!(!is_duplicate(&[], &answered));
    assert!(is_duplicate(&[&answered], &answered));
    assert!(!is_duplicate(&[&answered], &led));
    assert!(is_duplicate(&[&led], &led));
    assert!(is_duplicate(&[&led], &answered), "claiming acknowledges");
}

#[test]
fn an_incident_stays_about_the_service_that_it_opened_about() {
    let about =
        json!({"status": {"service": {"ref": {"name": "checkout", "uid": "checkout"}, "title": "Checkout"}}});
    let mut led = about.clone();
    json_patch::merge(&mut led, &json!({"spec": {"serviceRefs": [{"name": "till"}, {"name": "checkout"}]}}));
    let till = json!({"spec": {"serviceRefs": [{"name": "till"}]}});
    let all = [incident("till", "02", till), incident("led", "03", led), incident("b", "04", about)];
    let known = facts(&all);
    assert!(original(&all[1], &known).is_none(), "naming another service first frees nothing");
    assert_eq!(original(&all[2], &known).map(|found| found.name_any()), Some("led".into()));

    let mut made_again = service("checkout").as_ref().clone();
    made_again.metadata.uid = Some("another".into());
    let all = [all[1].clone(), incident("c", "05", json!({}))];
    let known = IncidentFacts { services: vec![Arc::new(made_again)], ..facts(&all) };
    assert_eq!(original(&all[1], &known).map(|found| found.name_any()), Some("led".into()));
}

#[test]
fn escalation_restarts_for_a_worse_duplicate_without_an_answer() {
    let older = incident(
        "a",
        "03",
        json!({"spec": {"severity": "SEV1", "acknowledgement": {"user": "emil"}},
        "status": {"pagedSeverity": "SEV5", "acknowledgement": {"user": "emil", "time": "2026-11-22T02:04:04Z"}}}),
    );
    let escalation_restarts = |patch: Value| {
        let mut after = status(&older);
        remember(&older, &mut after, &[&Arc::new(incident("b", "04", patch))]);
        (after.escalation_restarts, after.acknowledgement.is_some())
    };
    assert_eq!(escalation_restarts(json!({"spec": {"severity": "SEV1"}})), (1, false));
    assert_eq!(escalation_restarts(json!({"spec": {"severity": "SEV5"}})), (0, true));
    let answered = json!({"spec": {"severity": "SEV1", "acknowledgement": {"user": "bea"}}});
    assert_eq!(escalation_restarts(answered), (0, true), "bea knows");
}

/// An act is accepted and counts nowhere: an answer to an incident that is about to become a duplicate.
#[test]
fn the_answer_to_the_younger_incident_counts_for_the_older() {
    let by_emil = json!({"acknowledgement": {"user": "emil", "time": "2026-11-22T02:04:30Z"}});
    let older = incident("older", "01", json!({}));
    let younger = incident("younger", "02", json!({"status": by_emil}));
    let known = facts(&[older.clone(), younger.clone()]);
    assert_eq!(answer(&older, &known), Some(("emil".to_owned(), "younger".to_owned())));
    assert_eq!(answer(&younger, &known), None);
    let mut taken = younger;
    taken.status.as_mut().unwrap().state = Some(crate::api::incident_status::IncidentState::Duplicate);
    assert_eq!(answer(&older, &facts(&[older.clone(), taken])), None, "its time is over");
}
