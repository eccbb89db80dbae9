//! An outage from beginning to end as people steer it: it comes back, they say the same again, and it ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, Person};

fn name(incident: &Value) -> String {
    incident["metadata"]["name"].as_str().unwrap().to_owned()
}

fn is_paged(incident: &Value) -> bool {
    let messages = incident["status"]["messages"].as_array();
    messages.into_iter().flatten().any(|message| message["purpose"] == "Page" && message["state"] == "Queued")
}

/// Types `kubectl mayday VERB` about the incident, which must work.
#[track_caller]
fn says(person: &Person, verb: &str, incident: &str) {
    person.types(&format!("kubectl mayday {verb} -n shop inc/{incident} --yes")).passes();
}

/// Monitoring says that it is out, emil answers, lena leads, monitoring clears it, lena ends it: the same commands
/// each time. The relapses before are counted, and so are the pages.
fn is_out_until_lena_ends_it(shop: &Shop<'_>, relapses: i64, pages: usize) -> String {
    let alert = checkout_down(&json!({}));
    shop.alerts(&alert);
    let open = shop.incident("it is open and emil is paged", |incident| {
        let status = &incident["status"];
        status["state"] == "Open" && status["relapses"] == relapses && shop.pages().len() == pages
    });
    let incident = name(&open);
    assert!(open["status"]["acknowledgement"].is_null() && open["status"]["lead"].is_null(), "{open:#}");
    assert!(shop.pages().iter().all(|(person, _)| person == "emil"), "{:?}", shop.pages());

    says(&shop.emil, "ack", &incident);
    let answered = shop.incident("emil has answered", |i| i["status"]["acknowledgement"]["user"] == "emil");
    assert_eq!(answered["status"]["state"], "Acknowledged");
    assert!(answered["status"]["lapsedAcknowledgement"].is_null(), "{answered:#}");
    assert!(answered["status"]["escalation"]["nextTime"].is_null() && !is_paged(&answered), "{answered:#}");

    says(&shop.lena, "lead", &incident);
    shop.incident("lena leads", |i| {
        i["status"]["state"] == "Crisis" && i["status"]["lead"]["user"] == "lena"
    });

    let mut cleared = alert;
    json_patch::merge(&mut cleared, &json!({"status": "resolved", "endsAt": Timestamp::now().to_string()}));
    shop.alerts(&cleared);
    shop.incident("it is proved", |incident| incident["status"]["state"] == "Restored");
    says(&shop.lena, "resolve", &incident);
    let ended = shop.incident("it is resolved", |incident| incident["status"]["state"] == "Resolved");
    assert_eq!(ended["status"]["resolved"]["user"], "lena");
    incident
}

#[test]
fn after_a_relapse_the_same_people_say_the_same_and_it_counts() {
    let cluster = Cluster::start("lifecycle");
    let shop = Shop::open(&cluster, &[("stableFor: 30s", "stableFor: 1s")]);
    let incident = is_out_until_lena_ends_it(&shop, 0, 1);
    assert_eq!(is_out_until_lena_ends_it(&shop, 1, 2), incident, "the same outage is the same incident");
    cluster.stop();
}
