//! A Freeze of changes asks for a lead and a peer. The people it stops may not lift it, those named by its policy may.

use serde_json::{Value, json};

use super::shop::Shop;
use crate::support::{condition, eventually};

const V2: &str = "kubectl set image -n NS deploy/checkout app=shop/checkout:v2";

#[test]
fn changes_need_a_lead_and_a_peer_while_a_freeze_is_on() {
    let shop = Shop::open();
    let (admin, emil, name) = (shop.admin(), shop.emil(), shop.namespace.clone());
    let lena = shop.cluster.person("lena", &["shop-leads"]);
    let freezers =
        format!("kubectl create clusterrolebinding {name}-freezers --clusterrole=mayday-freezer --user=lena");
    admin.types(&freezers).passes();

    // Two peers are enough on a quiet day.
    shop.asks_for_v2("release-v2");
    shop.is_approved("release-v2");

    // From then on they are not, also if they approved before.
    let freeze =
        format!("kubectl mayday freeze {} --for 1h --changes --why 'the sale is on' --yes", shop.policy);
    lena.types(&format!("{freeze} --name {name}")).passes();
    let held = eventually("the request waits for a lead", || {
        let request = shop.request("release-v2");
        (request["status"]["state"] == "Waiting").then_some(request)
    });
    let next = &held["status"]["next"];
    assert_eq!(next["who"], "one of group shop-leads (lead)", "{next}");
    let what = next["what"].as_str().unwrap();
    let on = format!("frz/{name} stops changes under cpol/{} until ", shop.policy);
    assert!(
        what.starts_with(&format!("approve or reject it ({on}")) && what.ends_with("(the sale is on))"),
        "{what}"
    );
    let said = shop.types(&emil, V2).is_refused();
    let approve = format!("Approve: kubectl mayday approve -n {} chg/release-v2", shop.namespace);
    assert!(said.contains(&format!("A freeze is on: {on}")) && said.contains(&approve), "{said}");
    assert!(said.contains("one of group shop-leads (lead) must approve"), "{said}");
    // A change without a request is refused with who must agree, and with the command that asks.
    let scale = shop.types(&emil, "kubectl scale -n NS deploy/checkout --replicas 4").is_refused();
    let who = "(the sale is on): one of group shop-leads (lead) and one of groups shop-approvers, shop-leads must approve. Ask: ";
    assert!(scale.contains(who), "{scale}");

    shop.approves(&lena, "release-v2").passes();
    shop.reaches("release-v2", "Approved");
    shop.types(&emil, V2).passes();
    assert_eq!(shop.image(), "shop/checkout:v2");
    let decisions = shop.request("release-v2")["status"]["decisions"].clone();
    let roles: Vec<&Value> = decisions.as_array().unwrap().iter().map(|decision| &decision["role"]).collect();
    assert_eq!(roles, [&json!("peers"), &json!("peers"), &json!("lead")]);
}

#[test]
fn a_planned_freeze_is_announced_and_says_when_it_begins() {
    let shop = Shop::open();
    let (admin, name) = (shop.admin(), shop.namespace.clone());
    let planned = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": name},
        "spec": {"policyRef": {"name": shop.policy}, "stops": ["Changes"], "reason": "no changes at any time",
            "schedule": {"timeZone": "UTC", "from": soon(2), "until": soon(1)}}});
    admin.applies(&planned.to_string()).passes();
    let planned = eventually("it says when it begins next", || {
        let freeze = admin.reads(&format!("frz/{name}"));
        freeze["status"]["nextStartTime"].is_string().then_some(freeze)
    });
    let active = condition(&planned, "Active").unwrap();
    assert_eq!(
        (active["status"].as_str(), planned["status"]["stops"].as_str()),
        (Some("True"), Some("Changes"))
    );
    assert!(active["message"].as_str().unwrap().contains(", and again from "), "{active}");
    assert_eq!(planned["status"]["announcedTime"], planned["status"]["nextStartTime"], "within a day");
    let announced = eventually("it is announced", || {
        let events = admin.reads("events -A");
        let is_it =
            |event: &&Value| event["reason"] == "FreezeAnnounced" && event["involvedObject"]["name"] == name;
        events["items"].as_array()?.iter().find(is_it).cloned()
    });
    let said = announced["message"].as_str().unwrap();
    assert!(
        said.contains(&format!(
            "changes need a lead and a peer in {} (cpol/{})",
            shop.namespace, shop.policy
        )),
        "{said}"
    );

    // A schedule that stops less lifts it, one that stops more extends it.
    shop.lets_emil_write("freezes");
    let emil = shop.emil();
    let until = |hours: i64| {
        let schedule = json!({"spec": {"schedule": {"until": soon(hours)}}});
        format!("kubectl patch frz/{name} --type merge -p '{schedule}'")
    };
    let said = emil.types(&until(-1)).is_refused();
    assert!(said.contains(&format!("Refused: lifting a part of frz/{name} takes the approvals")), "{said}");
    eventually("the right is there", || emil.types(&until(1)).succeeded().then_some(()));
    let zone = json!({"spec": {"schedule": {"timeZone": "Europe/London"}}});
    emil.types(&format!("kubectl patch frz/{name} --type merge -p '{zone}'")).is_refused();
}

/// A time of the week in UTC, so many hours from now.
fn soon(hours: i64) -> Value {
    let at = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
    json!({"day": at.strftime("%a").to_string(), "time": at.strftime("%H:%M").to_string()})
}

#[test]
fn a_freeze_is_lifted_by_those_its_policy_names_and_extended_by_all() {
    let shop = Shop::open();
    let (admin, emil, name) = (shop.admin(), shop.emil(), shop.policy.clone());
    shop.lets_emil_write("freezes");
    admin
        .applies(&format!(
            "{{apiVersion: mayday.dev/v1alpha1, kind: Freeze, metadata: {{name: {name}}}, spec: {{policyRef: {{name: \
             {name}}}, stops: [Changes, Automation], reason: closing, endTime: '2099-01-01T00:00:00Z'}}}}"
        ))
        .passes();
    let until = |year: u16| {
        format!(
            r#"kubectl patch frz/{name} --type merge -p '{{"spec":{{"endTime":"{year}-01-01T00:00:00Z"}}}}'"#
        )
    };
    emil.types(&until(2098)).is_refused();
    emil.types(&until(2100)).passes();

    // The command from the refusal, unchanged.
    let said = emil.types(&format!("kubectl mayday unfreeze {name} --yes")).is_refused();
    let ask = format!("kubectl mayday ask -n mayday-system frz/{name} --delete");
    assert!(said.contains(&format!("Refused: lifting frz/{name} ")) && said.contains(&ask), "{said}");
    emil.types(&format!("{ask} --why 'closed early' --name {name} --yes")).passes();
    shop.approves_for_the_cluster(&shop.amir(), &name);
    emil.types(&format!("kubectl mayday unfreeze {name} --yes")).is_refused();
    shop.approves_for_the_cluster(&shop.bea(), &name);
    eventually("the request is approved", || {
        let request = admin.reads(&format!("chg/{name} -n mayday-system"));
        condition(&request, "Approved").filter(|seen| seen["status"] == "True").map(drop)
    });
    emil.types(&format!("kubectl mayday unfreeze {name} --yes")).passes();
    assert_eq!(admin.types("kubectl get frz -o name").passes().matches(&name).count(), 0);
}
