//! A request by file or patch asks for exactly the change that applying it makes.

use serde_json::{Value, json};

use super::shop::{GLASS, Shop};

/// A Service with one port for two protocols, and these labels.
fn service(shop: &Shop, labels: Value) -> String {
    let port = |protocol: &str| json!({"name": protocol.to_lowercase(), "port": 53, "protocol": protocol});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "namespace": shop.namespace, "labels": labels},
        "spec": {"selector": {"app": "dns"}, "ports": [port("TCP"), port("UDP")]}})
    .to_string()
}

#[test]
fn a_file_asks_for_its_difference_including_removed_values() {
    let shop = Shop::open();
    let emil = shop.emil();
    let before = service(&shop, json!({"tier": "web", "team": "shop"}));
    shop.admin().pipes(&before, &format!("kubectl apply -f - {GLASS}")).passes();

    let after = service(&shop, json!({"team": "shop"}));
    let ask = format!("kubectl mayday ask -n {} -f - --why 'no tiers any more' --yes", shop.namespace);
    emil.pipes(&after, "kubectl apply -f -").is_refused();
    emil.pipes(&after, &format!("{ask} --name untiered")).passes();
    let request = shop.request("untiered");
    assert_eq!(
        request["status"]["plan"][0]["delta"],
        json!([{"path": "/metadata/labels/tier", "before": "web"}]),
        "{request:#}"
    );
    shop.is_approved("untiered");
    emil.pipes(&after, "kubectl apply -f -").passes();
    shop.reaches("untiered", "Spent");
    let again = emil.pipes(&after, &ask).is_refused();
    assert!(again.contains("there is nothing to ask for"), "{again}");
}

#[test]
fn the_command_of_a_refusal_asks_for_the_refused_change() {
    let shop = Shop::open();
    let emil = shop.emil();
    for typed in [
        "kubectl label -n NS deploy/checkout tier=web",
        "kubectl label -n NS deploy/checkout tier-",
        "kubectl set resources -n NS deploy/checkout --limits=cpu=200m,memory=1Gi",
        "kubectl set env -n NS deploy/checkout LEVEL=info",
        "kubectl set env -n NS deploy/checkout LEVEL=debug",
    ] {
        let said = shop.types(&emil, typed).is_refused();
        let (_, ask) = said.split_once("Ask: ").unwrap();
        let name = crate::support::fresh("label");
        let ask =
            ask.trim().replace("--why \"…\"", &format!("--why tiers --name {name} --without-rollback --yes"));
        emil.types(&ask).passes();
        shop.is_approved(&name);
        shop.types(&emil, typed).passes();
    }
}
