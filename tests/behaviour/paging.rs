//! Pages survive the process that stored them.

use serde_json::Value;

use crate::shop::{Shop, checkout_down};
use crate::support::{Cluster, condition, eventually};

/// The stored pages by webhook: user and state. The page by mail is due later.
fn stored(shop: &Shop<'_>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut pages = shop.stored_pages();
    pages.retain(|page| page["spec"]["channelRef"]["name"] == "oncall-webhook");
    let pages = pages.iter();
    pages.map(|page| (text(&page["spec"]["recipient"]["user"]), text(&page["status"]["state"]))).collect()
}

fn pair(user: &str, state: &str) -> (String, String) {
    (user.to_owned(), state.to_owned())
}

#[test]
fn a_stored_page_is_sent_once_though_the_operator_dies_twice() {
    let cluster = Cluster::without_operator("paging", &["--set", "config.testing.crashAt={before-page}"]);
    cluster.operator(0).start();
    let shop = Shop::open(&cluster, &[("wait: 5m", "wait: 15s")]);
    let process = cluster.operator(0).pid();
    shop.alerts(&checkout_down(&serde_json::json!({})));
    cluster.operator(0).has_died_at_its_point(process);
    assert_eq!(stored(&shop), [pair("emil", "Queued")], "stored, and not sent");
    assert_eq!(shop.pages(), []);

    cluster.mends("before-page");
    cluster.operator(0).start();
    eventually("emil is paged", || (shop.pages().len() == 1).then_some(()));
    eventually("that is stored", || (stored(&shop) == [pair("emil", "Sent")]).then_some(()));
    let incident = shop.incidents().remove(0);

    // The operator dies again; the next level is paged when it is due.
    cluster.operator(0).kill();
    cluster.operator(0).start();
    eventually("the next level is paged", || (shop.pages().len() >= 3).then_some(()));
    eventually("that is stored", || {
        let stored = stored(&shop);
        (stored.len() == 3 && stored.iter().all(|(_, state)| *state == "Sent")).then_some(())
    });
    let name = incident["metadata"]["name"].as_str().unwrap();
    shop.bea.types(&format!("kubectl mayday ack -n shop inc/{name} --yes")).passes();
    shop.incident("it is acknowledged", |incident| incident["status"]["state"] == "Acknowledged");
    eventually("the page to bea is acknowledged", || {
        let pages = shop.stored_pages();
        let page = pages.iter().find(|page| page["spec"]["recipient"]["user"] == "bea")?;
        let by = &page["status"]["acknowledgement"]["user"];
        (by == "bea" && condition(page, "Acknowledged")?["status"] == "True").then_some(())
    });
    for verb in ["delete ntf -n shop --all", "label ntf -n shop --all seen=yes"] {
        let refused = shop.admin.types(&format!("kubectl {verb}")).is_refused();
        assert!(refused.contains("Refused: only Mayday writes notifications"), "{refused}");
    }
    let mut paged: Vec<String> = shop.pages().into_iter().map(|(who, _)| who).collect();
    paged.sort_unstable();
    assert_eq!(paged, ["bea", "emil", "lena"], "each once, by the id of the page");
    cluster.stop();
}
