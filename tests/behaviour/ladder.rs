//! Runbooks that are tried one after the other, and what follows if none helps for good.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, eventually};

fn rung(name: &str, order: i64, window: &str, steps: &Value) -> String {
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": name, "start": "Automatic", "approval": "Standing", "match": [{"alertName": "CheckoutDown"}],
            "serviceAccountName": "checkout-runbooks", "order": order, "verify": {"window": window}, "steps": steps}})
    .to_string()
}

/// The only run of a Runbook, once there is one in this state.
#[track_caller]
fn run_of(shop: &Shop<'_>, runbook: &str, state: &str) -> Value {
    eventually(&format!("the run of rb/{runbook} is {state}"), || {
        let runs = shop.admin.reads("run -n shop");
        let mut of: Vec<Value> = runs["items"].as_array()?.clone();
        of.retain(|run| run["spec"]["runbookRef"]["name"] == runbook);
        assert!(of.len() <= 1, "once in an episode: {of:#?}");
        of.into_iter().next().filter(|run| run["status"]["state"] == state)
    })
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

#[test]
fn the_next_runbook_begins_when_the_one_before_has_not_helped() {
    let cluster = Cluster::start("ladder");
    let shop = Shop::open(&cluster, &[("stableFor: 30s", "stableFor: 1s")]);
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let pause = json!([{"name": "pause", "wait": {"duration": "1s"}}]);
    let restart = json!([{"name": "restart", "restart": {"target": target}}]);
    for (name, order, window, steps) in
        [("pause", 1, "3s", &pause), ("again", 2, "30s", &restart), ("later", 3, "3s", &pause)]
    {
        shop.admin.applies(&rung(name, order, window, steps)).passes();
    }
    // The third rung is not approved, and is passed over.
    for name in ["pause", "again"] {
        shop.is_approved(name);
    }

    let alert = checkout_down(&json!({}));
    shop.alerts(&alert);
    let first = run_of(&shop, "pause", "Succeeded");
    let second = run_of(&shop, "again", "Succeeded");
    let gap =
        time(&second["metadata"]["creationTimestamp"]).duration_since(time(&first["status"]["endTime"]));
    assert!(gap.as_secs() >= 2, "the first has had its window: {gap}");
    shop.was_restarted_exactly_once();

    // The service is back, and is not proved before the window of the run has passed, although it need hold for 1 s only.
    let mut cleared = alert;
    json_patch::merge(&mut cleared, &json!({"status": "resolved", "endsAt": Timestamp::now().to_string()}));
    shop.alerts(&cleared);
    shop.incident("every check passes", |incident| incident["status"]["state"] == "Monitoring");
    shop.alerts(&checkout_down(&json!({})));
    let name = second["metadata"]["name"].clone();
    let lost =
        shop.incident("it is out again", |incident| incident["status"]["regressions"][0]["run"] == name);
    assert!(lost["status"]["restoredTime"].is_null() && lost["status"]["relapses"] == 0, "{lost:#}");
    eventually("it counts against the Runbook", || {
        let found = shop.admin.reads("rb/again -n shop");
        (found["status"]["recentRuns"][0]["regressedTime"] == lost["status"]["regressions"][0]["time"])
            .then_some(())
    });

    // No rung is left: who would lead is paged, and nothing runs twice.
    let told = "No runbook has brought the service back: pause ended, and the checks still fail; again ended, and the checks \
        still fail; later could not start. A lead is needed: kubectl mayday lead -n shop inc/";
    eventually("who leads is paged", || {
        shop.pages().iter().any(|(who, text)| who == "lena" && text.starts_with(told)).then_some(())
    });
    run_of(&shop, "pause", "Succeeded");
    run_of(&shop, "again", "Succeeded");
    shop.was_restarted_exactly_once();
    cluster.stop();
}
