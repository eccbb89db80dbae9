//! Pages survive the process that stored them.

use serde_json::Value;

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, eventually};

/// The stored pages: recipient and state.
fn stored(incident: &Value) -> Vec<(&str, &str)> {
    let messages = incident["status"]["messages"].as_array().into_iter().flatten();
    // The page by mail is due later.
    let pages = messages
        .into_iter()
        .filter(|message| message["purpose"] == "Page" && message["channelRef"]["name"] == "oncall-webhook");
    pages.map(|page| (page["user"].as_str().unwrap(), page["state"].as_str().unwrap())).collect()
}

#[test]
fn a_stored_page_is_sent_once_though_the_operator_dies_twice() {
    let cluster = Cluster::without_operator("paging", &["--set", "config.testing.crashAt={before-page}"]);
    cluster.operator(0).start();
    let shop = Shop::open(&cluster, &[("wait: 5m", "wait: 15s")]);
    let process = cluster.operator(0).pid();
    shop.alerts(&checkout_down(&serde_json::json!({})));
    cluster.operator(0).has_died_at_its_point(process);
    assert_eq!(stored(&shop.incidents()[0]), [("emil", "Queued")], "stored, and not sent");
    assert_eq!(shop.pages(), []);

    cluster.mends("before-page");
    cluster.operator(0).start();
    eventually("emil is paged", || (shop.pages().len() == 1).then_some(()));
    let incident = shop.incident("that is stored", |incident| stored(incident) == [("emil", "Sent")]);

    // The operator dies again; the next level is paged when it is due.
    cluster.operator(0).kill();
    cluster.operator(0).start();
    eventually("the next level is paged", || (shop.pages().len() >= 3).then_some(()));
    shop.incident("that is stored", |incident| stored(incident).iter().all(|(_, state)| *state == "Sent"));
    let name = incident["metadata"]["name"].as_str().unwrap();
    shop.bea.types(&format!("kubectl mayday ack -n shop inc/{name} --yes")).passes();
    shop.incident("it is acknowledged", |incident| incident["status"]["state"] == "Acknowledged");
    let mut paged: Vec<String> = shop.pages().into_iter().map(|(who, _)| who).collect();
    paged.sort_unstable();
    assert_eq!(paged, ["bea", "emil", "lena"], "each once, by the id of the page");
    cluster.stop();
}
