//! Rotations that name missing objects: a condition says so, and everybody who can be on duty still is.

use serde_json::{Value, json};

use super::{namespace, stored, told};
use crate::support::{Cluster, eventually};

fn rotation(name: &str, zone: &str, turns: Value) -> Value {
    let person = |name: &str| json!({"name": name, "user": name, "contacts": [{"channelRef": {"name": "hook"}, "address": name}]});
    let layer = |name: &str, priority: i32, turns: Value| {
        json!({"name": name, "priority": priority, "start": "2026-01-05T09:00",
            "shift": {"unit": "Weeks", "length": 1}, "turns": turns})
    };
    let below = json!([{"people": ["emil"]}]);
    stored(
        "OnCallRotation",
        name,
        json!({
            "timeZone": zone, "people": [person("emil"), person("bea")],
            "layers": [layer("always", 0, below), layer("weekdays", 10, turns)],
            "escalation": {"levels": [{"notify": [{"onDuty": {}}], "wait": "5m"}, {"notify": [{"person": {"name": "bea"}}], "wait": "5m"}]},
        }),
    )
}

#[test]
fn an_unknown_person_is_named_and_the_lower_layer_stays_on_duty() {
    let admin = Cluster::shared().admin();
    let namespace = namespace();
    let apply = |turn: &str| {
        let slip = rotation("slip", "Europe/Berlin", json!([{"people": [turn]}]));
        admin.pipes(&slip.to_string(), &format!("kubectl apply -n {namespace} -f -")).passes();
    };
    apply("zoe");
    let ready = told(&format!("oncall/slip -n {namespace}"), "Ready", "False");
    assert_eq!(ready, "spec.layers[1].turns[0]: \"zoe\" is not in spec.people (known: bea, emil)");
    let on_duty = || admin.reads(&format!("oncall/slip -n {namespace}"))["status"]["onDutyNames"].clone();
    assert_eq!(on_duty(), "emil");
    told(&format!("oncall/slip -n {namespace}"), "Covered", "True");

    apply("bea");
    told(&format!("oncall/slip -n {namespace}"), "Ready", "True");
    assert_eq!(on_duty(), "bea");

    let stand_in = stored(
        "OnCallOverride",
        "stranger",
        json!({
            "rotationRef": {"name": "slip"}, "startTime": "2026-11-24T13:00:00Z", "endTime": "2036-11-24T16:00:00Z",
            "replace": {"person": "bea", "by": "zoe"},
        }),
    );
    admin.pipes(&stand_in.to_string(), &format!("kubectl apply -n {namespace} -f -")).passes();
    let ready = told(&format!("override/stranger -n {namespace}"), "Ready", "False");
    assert_eq!(ready, "\"zoe\" is not in the people of OnCallRotation slip (known: emil, bea)");
    assert_eq!(on_duty(), "bea");
}

#[test]
fn with_an_unknown_time_zone_the_person_whom_a_level_names_is_paged() {
    let admin = Cluster::shared().admin();
    let namespace = namespace();
    let martian = rotation("martian", "Mars/Base", json!([{"people": ["bea"]}]));
    let service = stored(
        "BusinessService",
        "checkout",
        json!({
            "title": "Checkout", "objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}],
            "rotations": {"onCall": {"name": "martian"}},
        }),
    );
    for object in [martian, service] {
        admin.pipes(&object.to_string(), &format!("kubectl apply -n {namespace} -f -")).passes();
    }
    let ready = told(&format!("oncall/martian -n {namespace}"), "Ready", "False");
    assert_eq!(
        ready,
        "spec.timeZone: \"Mars/Base\" is not a time zone: write an IANA name such as Europe/Berlin"
    );
    let covered = told(&format!("oncall/martian -n {namespace}"), "Covered", "Unknown");
    assert!(covered.starts_with("who is on duty cannot be told; only levels that name people"), "{covered}");

    let declare = "kubectl mayday declare 'Customers cannot pay' --service checkout --severity SEV2 --yes";
    admin.types(&format!("{declare} -n {namespace}")).passes();
    let page = eventually("bea is paged", || {
        let all = admin.reads(&format!("ntf -n {namespace}"));
        all["items"].as_array()?.iter().find(|one| one["spec"]["purpose"] == "Page").cloned()
    });
    assert_eq!(page["spec"]["recipient"]["name"], "bea");
    assert!(page["spec"]["text"].as_str().unwrap().contains(" UTC"), "{page}");
}

#[test]
fn an_override_has_effect_except_while_a_younger_one_hides_it() {
    let admin = Cluster::shared().admin();
    let namespace = namespace();
    let apply = |object: Value| {
        admin.pipes(&object.to_string(), &format!("kubectl apply -n {namespace} -f -")).passes();
    };
    apply(rotation("cover", "Europe/Berlin", json!([{"people": ["emil"]}])));
    let now = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    let by = |name: &str, person: &str| {
        let spec = json!({"rotationRef": {"name": "cover"}, "startTime": (now - hour).to_string(),
            "endTime": (now + hour).to_string(), "replaceAll": {"by": [person]}});
        stored("OnCallOverride", name, spec)
    };
    let older = format!("override/a-older -n {namespace}");
    apply(by("a-older", "bea"));
    assert_eq!(told(&older, "Active", "True"), "in force");
    apply(by("b-younger", "emil"));
    assert!(told(&older, "Active", "False").starts_with("changes nothing in cover"));
    admin.types(&format!("kubectl delete override/b-younger -n {namespace}")).passes();
    assert_eq!(told(&older, "Active", "True"), "in force");
}
