use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{Facts, external, internal, reports, words};
use crate::api::Incident;
use crate::api::incident_status::IncidentState;

fn incident(public: &str, title: &str) -> Incident {
    serde_json::from_value(json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "checkout-x7k2p", "namespace": "shop"},
        "spec": {"title": title, "severity": "SEV2", "impact": "Customers may be unable to pay.",
            "publicSummary": public, "affected": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"}],
            "resolution": {"outcome": "Restored"}},
        "status": {"noticedTime": "2026-11-22T02:05:00Z", "startTime": "2026-11-22T02:04:10Z", "detectedTime": "2026-11-22T02:04:30Z",
            "acknowledgement": {"user": "bea", "time": "2026-11-22T02:10:00Z"},
            "lead": {"user": "lena", "time": "2026-11-22T02:11:00Z"},
            "healthySinceTime": "2026-11-22T02:26:12Z", "restoredTime": "2026-11-22T02:31:12Z",
            "resolved": {"user": "lena", "time": "2026-11-22T02:40:00Z"},
            "changes": [
                {"subject": "chg/back", "what": "image of deployment/till: shop/till:broken → shop/till:v1", "by": "emil", "time": "2026-11-22T02:25:00Z"},
                {"subject": "chg/release", "what": "image of deployment/till: shop/till:v1 → shop/till:broken", "by": "emil", "time": "2026-11-22T02:03:20Z"}],
            "timeline": [{"time": "2026-11-22T02:10:00Z", "who": "bea", "what": "acknowledged"}]}
    }))
    .unwrap()
}

fn facts(incident: &Incident) -> Facts<'_> {
    Facts { incident, requests: &[], runs: &[] }
}

#[test]
fn the_internal_report_has_duration_detection_proof_and_last_change() {
    let incident = incident("Payments may fail.", "checkout is down");
    let text = internal::report(&facts(&incident));
    assert!(text.contains("For 22 min 2 s, from 2026-11-22 02:04:10 to 2026-11-22 02:26:12 UTC"), "{text}");
    assert!(
        text.contains("It was found after 20 s, by the staff.") && text.contains("Proved healthy for 5 min."),
        "{text}"
    );
    let sentence = text.split("The last change before it: ").nth(1).unwrap();
    assert!(
        sentence.starts_with("image of deployment/till: shop/till:v1 → shop/till:broken (chg/release"),
        "{text}"
    );
}

#[test]
fn it_tells_how_the_outage_was_found_and_how_its_beginning_is_known() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    incident.spec.detection =
        serde_json::from_value(json!({"method": "Customer", "reporter": "support ticket 4711"})).unwrap();
    incident.spec.start_time_source = Some("first failed payment in the gateway log.".to_owned());
    incident.status.as_mut().unwrap().lead = None;
    let text = internal::report(&facts(&incident));
    let found = "It was found after 20 s, by a customer (support ticket 4711). When it began is known from: first \
                 failed payment in the gateway log.";
    assert!(text.contains(found), "{text}");
    assert!(text.contains("Lead claimed: by nobody"), "{text}");
}

#[test]
fn the_public_reads_the_summary_as_what_was_known_or_said_then() {
    let mut incident = incident("Payments may fail. We are working on it.", "checkout is down");
    let span = "For 22 min 2 s, from 2026-11-22 02:04:10 to 2026-11-22 02:26:12 UTC";
    let told = |incident: &Incident, what: &str| {
        let text = external::report(&facts(incident));
        let start = format!(
            "# Outage report\n\n{span}, a service was not available as usual.\n\n{what}: Payments may fail. We are \
             working on it.\n"
        );
        assert!(text.starts_with(&start), "{text}");
    };
    told(&incident, "As known while it lasted");
    incident.spec.updates = serde_json::from_value(json!([{"audience": "External"}])).unwrap();
    told(&incident, "What we said then");
}

#[test]
fn it_names_the_last_change_before_service_returned() {
    let text = internal::report(&facts(&incident("Payments may fail.", "checkout is down")));
    let sentence = text.split("The last change before service returned: ").nth(1).unwrap();
    assert!(
        sentence.starts_with("image of deployment/till: shop/till:broken → shop/till:v1 (chg/back"),
        "{text}"
    );
}

#[test]
fn a_false_alarm_was_no_outage_in_either_report() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    incident.spec.resolution =
        serde_json::from_value(json!({"outcome": "FalseAlarm", "reason": "a test alert"})).unwrap();
    incident.status.as_mut().unwrap().state = Some(IncidentState::FalseAlarm);
    let text = internal::report(&facts(&incident));
    let said = "There was no outage: it was a false alarm. lena said so. Reason: a test alert.";
    assert!(text.contains(said) && !text.contains("For 22 min"), "{text}");
    assert_eq!(external::report(&facts(&incident)), "# Outage report\n\nThere was no outage.\n");
}

#[test]
fn a_repeated_incident_names_the_other_to_the_organisation_only() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    let status = incident.status.as_mut().unwrap();
    status.state = Some(IncidentState::Duplicate);
    status.duplicate_of = Some(serde_json::from_value(json!({"name": "checkout-aaaaa"})).unwrap());
    let text = internal::report(&facts(&incident));
    assert!(text.contains("This is the same outage as inc/checkout-aaaaa, whose report tells it."), "{text}");
    assert!(!external::report(&facts(&incident)).contains("checkout"));
}

#[test]
fn a_resolution_of_before_a_relapse_is_not_how_it_ended() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    assert!(internal::report(&facts(&incident)).contains("Outcome: Restored."));
    let said = incident.spec.resolution.clone();
    incident.status.as_mut().unwrap().lapsed_resolution = said;
    assert!(!internal::report(&facts(&incident)).contains("Outcome"));
}

#[test]
fn after_a_relapse_the_time_between_is_no_outage() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    let status = incident.status.as_mut().unwrap();
    let time = |text: &str| Time(format!("2026-11-22T{text}Z").parse().unwrap());
    status.past_outages = serde_json::from_value(
        json!([{"startTime": "2026-11-22T02:04:10Z", "endTime": "2026-11-22T02:26:12Z"}]),
    )
    .unwrap();
    (status.returned_time, status.healthy_since_time) = (Some(time("03:00:00")), Some(time("03:10:00")));
    let said = "For 32 min 2 s in all, from 2026-11-22 02:04:10 to 2026-11-22 02:26:12 UTC, with a relapse from \
        2026-11-22 03:00:00 to 2026-11-22 03:10:00 UTC";
    let (inside, outside) = (internal::report(&facts(&incident)), external::report(&facts(&incident)));
    assert!(inside.contains(said) && outside.contains(said), "{inside}{outside}");
    assert!(outside.contains("Ended: 2026-11-22 03:10:00 UTC\n- Duration: 32 min 2 s\n"), "{outside}");
    let past = incident.status.as_ref().unwrap().past_outages.clone();
    incident.status.as_mut().unwrap().past_outages.extend(past);
    let twice = internal::report(&facts(&incident));
    assert!(
        twice.contains(", with relapses from 2026-11-22 02:04:10 to 2026-11-22 02:26:12 UTC and from"),
        "{twice}"
    );
}

#[test]
fn what_no_check_has_noticed_ends_when_people_say_so() {
    let mut incident = incident("Payments may fail.", "customers cannot pay");
    assert!(internal::report(&facts(&incident)).contains("to 2026-11-22 02:26:12 UTC"));
    incident.status.as_mut().unwrap().noticed_time = None;
    let text = internal::report(&facts(&incident));
    assert!(text.contains("from 2026-11-22 02:04:10 to 2026-11-22 02:40:00 UTC"), "{text}");
}

#[test]
fn a_later_deletion_neither_removes_nor_adds_a_name_in_a_report() {
    let incident = incident("zoe repairs it", "checkout is down");
    let request = |name: &str| {
        let whole = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest", "metadata": {"name": name},
            "spec": {"requester": {"user": "zoe"}, "reason": "r", "changes": []}});
        std::sync::Arc::new(serde_json::from_value(whole).unwrap())
    };
    let all = [request("back"), request("release")];
    let known = |requests| Facts { incident: &incident, requests, runs: &[] };
    let first = reports(&known(&all), None, true);
    assert!(first.internal.as_ref().unwrap().contains("asked by zoe"));
    assert!(!first.external.as_ref().unwrap().contains("zoe"));
    assert_eq!(reports(&known(&[]), Some(first.clone()), true), first, "they are deleted");
    assert_eq!(reports(&known(&all), Some(first.clone()), false), first);
    let stale =
        crate::api::incident_status::Reports { internal: Some("old".into()), external: Some("old".into()) };
    assert_eq!(
        reports(&known(&all), Some(stale.clone()), true),
        first,
        "somebody has written something since"
    );
    assert_eq!(reports(&known(&all), Some(stale), false).internal, first.internal, "a run has ended since");
}

#[test]
fn an_outage_that_is_not_over_has_no_end() {
    let mut incident = incident("Payments may fail.", "checkout is down");
    let status = incident.status.as_mut().unwrap();
    (status.restored_time, status.resolved) = (None, None);
    assert!(internal::report(&facts(&incident)).contains("Since 2026-11-22 02:04:10 UTC, and not over"));
}

#[test]
fn the_external_report_holds_no_person_object_image_or_digest() {
    for public in
        ["Payments may fail.", "Lena repairs it", "till is down", "shop/till:broken failed", "v1:sha256:00ff"]
    {
        let incident = incident(public, "till is down, says emil");
        let text = external::report(&facts(&incident));
        for name in ["lena", "bea", "emil", "till", "checkout-x7k2p", "shop/till:broken", "shop/till:v1"] {
            assert!(external::secrets(&facts(&incident)).contains(name), "{name} is known");
            assert!(!words::names(&text, name), "{name} in {text}");
        }
        assert!(!text.contains("sha256"), "{text}");
        assert_eq!(text.contains("Payments may fail."), public == "Payments may fail.");
    }
}

#[test]
fn hostile_text_is_escaped_and_stays_on_its_line() {
    let incident = incident("ok", "a\n# b <script> [x](http://y) `z` | {{ .q }}");
    let text = internal::report(&facts(&incident));
    let first = text.lines().next().unwrap();
    assert_eq!(first, "# a \\# b &lt;script&gt; \\[x\\](http://y) \\`z\\` \\| {{ .q }}");
}

#[test]
fn a_long_timeline_fits_and_says_what_is_left_out() {
    let mut incident = incident("ok", "down");
    let status = incident.status.as_mut().unwrap();
    let mut entry = status.timeline[0].clone();
    entry.what = "x".repeat(500);
    entry.time = Time("2026-11-22T02:12:00Z".parse().unwrap());
    status.timeline = vec![entry; 200];
    let text = internal::report(&facts(&incident));
    assert!(text.len() <= 32_768 && text.contains("further entries are left out"), "{}", text.len());
}
