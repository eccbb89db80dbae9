use super::*;
use serde_json::json;

fn incident() -> Incident {
    serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "checkout-x7k2p", "namespace": "shop", "uid": "iu"},
        "spec": {"title": "checkout is down", "severity": "SEV2", "detection": {"method": "Condition", "reporter": "workloads"},
            "notes": [{"text": "<script>alert(1)</script> | **bold**\n# heading"}]},
        "status": {"startTime": "2026-11-22T02:04:10Z", "detectedTime": "2026-11-22T02:04:30Z",
            "acknowledgement": {"user": "emil", "time": "2026-11-22T02:05:00Z"},
            "lead": {"user": "lena", "time": "2026-11-22T02:08:00Z"},
            "healthySinceTime": "2026-11-22T02:26:12Z", "restoredTime": "2026-11-22T02:31:12Z",
            "resolved": {"user": "lena", "time": "2026-11-22T02:32:00Z"},
            "service": {"ref": {"name": "checkout", "uid": "su"}, "title": "Checkout", "impact": "Customers may be unable to pay",
                "publicSummary": "Payments may fail. We are working on it."},
            "changes": [
                {"subject": "chg/back-to-v1", "what": "image of deployment/checkout in shop, shop/checkout:broken → shop/checkout:v1", "by": "emil", "time": "2026-11-22T02:26:00Z"},
                {"subject": "chg/release-broken", "what": "image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:broken", "by": "emil", "time": "2026-11-22T02:03:20Z"}],
            "timeline": [{"time": "2026-11-22T02:05:00Z", "who": "emil", "what": "acknowledged"}]}}))
    .unwrap()
}

fn reports() -> (String, String) {
    let incident = incident();
    let facts = Facts { incident: &incident, status: incident.status.as_ref().unwrap() };
    (internal(&facts), external(&facts))
}

#[test]
fn the_internal_report_says_how_long_whom_it_hurt_what_came_before_and_what_helped() {
    let (internal, _) = reports();
    let sentence = internal.lines().nth(2).unwrap();
    assert_eq!(
        sentence,
        "For 22 min 2 s, from 02:04:10 to 02:26:12 UTC, customers were unable to pay. The last change before it: \
         image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:broken (chg/release-broken, applied by emil at 02:03:20). \
         Mayday found it after 20 s; chg/back-to-v1 (image of deployment/checkout in shop, shop/checkout:broken → shop/checkout:v1, by emil) \
         restored it; proved healthy for 5 min."
    );
    assert!(internal.contains("| time to repair | 21 min 42 s |"), "{internal}");
}

#[test]
fn the_external_report_holds_no_person_object_image_or_digest() {
    let (_, external) = reports();
    for word in ["emil", "lena", "checkout", "shop", "broken", "chg/", "sha256", "deployment", "workloads"] {
        assert!(!external.to_lowercase().contains(word), "{word}: {external}");
    }
    assert!(
        external.contains("2026-11-22 02:04:10 UTC to 2026-11-22 02:26:12 UTC (22 min 2 s)"),
        "{external}"
    );
    assert!(external.contains("Payments may fail."), "{external}");
}

#[test]
fn hostile_text_is_text() {
    let (internal, _) = reports();
    assert!(
        !internal.contains("<script>") && !internal.contains("**bold**") && !internal.contains("\n# heading"),
        "{internal}"
    );
}

#[test]
fn lengths_read_like_people_say_them() {
    for (seconds, text) in
        [(0, "0 s"), (59, "59 s"), (60, "1 min"), (1322, "22 min 2 s"), (90_061, "1 d 1 h 1 min 1 s")]
    {
        assert_eq!(length(SignedDuration::from_secs(seconds)), text);
    }
}
