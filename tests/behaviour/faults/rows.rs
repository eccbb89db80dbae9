//! What more may go wrong on the way to the API server: watches that stand still, an API server in trouble, objects that
//! cannot be read, decisions that are forged. They share the depot of the list.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::depot::{Depot, runbook, step};
use super::judge;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{eventually, within};

/// The Runbooks of these stories, about the targets of these names.
pub fn runbooks(names: &[&str], url: &str) -> Vec<Value> {
    let none = json!({});
    let of = |name: &str, kinds: &[&str]| -> Vec<Value> {
        kinds.iter().map(|kind| step(name, kind, url)).collect()
    };
    let mut longer = of(names[0], &["wait", "scale"]);
    longer[0]["wait"]["duration"] = "4s".into();
    // Then Mayday looks at the run once more, over a cache that does not have what it has stored.
    longer.push(json!({"name": "later", "wait": {"duration": "2s"}}));
    let mut revoked = of(names[1], &["wait", "restart"]);
    revoked[0]["wait"]["duration"] = "4s".into();
    vec![
        runbook("frozen", &longer, &none),
        runbook("revoked", &revoked, &none),
        runbook("storm", &of(names[2], &["restart", "scale", "rolled-out"]), &none),
        runbook("strange", &of(names[3], &["restart", "rolled-out"]), &none),
    ]
}

/// The run once it is in this state.
#[track_caller]
pub fn comes_to(depot: &Depot<'_>, run: &str, state: &str) -> Value {
    within(Duration::from_secs(90), &format!("run/{run} is {state}"), || {
        let found = depot.shop.admin.reads(&format!("run/{run} -n shop"));
        assert!(
            found["status"]["endTime"].is_null() || found["status"]["state"] == state,
            "{:#}",
            found["status"]
        );
        (found["status"]["state"] == state).then_some(found)
    })
}

fn waits_at_its_first_step(depot: &Depot<'_>, run: &str) {
    eventually(&format!("run/{run} waits"), || {
        let found = depot.shop.admin.reads(&format!("run/{run} -n shop"));
        (found["status"]["steps"][0]["state"] == "Settling").then_some(())
    });
}

/// The watches stand still while people go on: no run acts on what it has heard before.
pub fn frozen_watches(depot: &Depot<'_>, proxy: &Proxy, target: &str) {
    let admin = &depot.shop.admin;
    depot.starts(&[("frozen", "frozen"), ("revoked", "revoked")]);
    for run in ["frozen", "revoked"] {
        waits_at_its_first_step(depot, run);
    }
    proxy.freezes_watches(true);
    // A person scales meanwhile, and bea withdraws her approval.
    let before = admin.reads(&format!("deploy/{target} -n shop"))["spec"]["replicas"].as_i64().unwrap();
    let glass = crate::change::shop::GLASS;
    admin.types(&format!("kubectl scale -n shop deploy/{target} --replicas={} {glass}", before + 3)).passes();
    depot.shop.bea.types("kubectl delete approval -n shop revoked-bea").passes();
    let scaled = comes_to(depot, "frozen", "Succeeded");
    let now = admin.reads(&format!("deploy/{target} -n shop"))["spec"]["replicas"].clone();
    assert_eq!(now, before + 4, "one more than there are, not than there were: {:#}", scaled["status"]);
    let stopped = comes_to(depot, "revoked", "Failed");
    assert!(stopped["status"]["steps"][1]["acts"].is_null(), "{:#}", stopped["status"]);
    let metrics = depot.shop.cluster.operator(0).get("/metrics").1;
    let is_told = |line: &str| {
        line.starts_with("mayday_stale_caches_total{controller=\"runbookrun\"} ") && !line.ends_with(" 0")
    };
    assert!(metrics.lines().any(is_told), "that the watches stand still is seen: {metrics}");
    proxy.freezes_watches(false);
    let effects = depot.effects();
    assert_eq!((judge::agrees(&scaled, &effects), judge::agrees(&stopped, &effects)), (1, 0));
}

/// The API server turns all requests away, and then answers none: the run waits, and goes on by itself. What was never
/// carried out counts as no attempt of a step.
pub fn an_api_server_in_trouble(depot: &Depot<'_>, proxy: &Proxy) {
    proxy.every(Fault::Refused(429), |asked| asked.is_act());
    depot.starts(&[("storm", "storm")]);
    eventually("the act was turned away", || (proxy.counts().get(&Fault::Refused(429))? > &2).then_some(()));
    let lost = proxy.counts().get(&Fault::RequestLost).copied().unwrap_or_default();
    proxy.every(Fault::RequestLost, |_| true);
    // Longer than the lease lasts without its holder.
    eventually("the operator has given up the lease", || {
        let metrics = depot.shop.cluster.operator(0).get("/metrics").1;
        metrics.contains("mayday_leader 0").then_some(())
    });
    assert!(proxy.counts()[&Fault::RequestLost] > lost);
    proxy.mends();
    let run = comes_to(depot, "storm", "Succeeded");
    assert_eq!(judge::agrees(&run, &depot.effects()), 2);
    let steps = run["status"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["retries"].as_i64().unwrap_or_default() == 0), "{steps:#?}");
}

/// The API server turns an act away and says when it wants to be asked again: nothing is sent earlier, although something
/// else leads to a look at the run meanwhile, and no retry of the step is used up.
pub fn an_api_server_that_asks_for_time(depot: &Depot<'_>, proxy: &Proxy, target: &str) {
    const ASKED: u32 = 6;
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&sent);
    let path = format!("/deployments/{target}?");
    proxy.every(Fault::Busy(ASKED), move |asked| {
        let is_act = asked.is_act() && asked.path.contains(&path);
        let mut times = times.lock().unwrap();
        times.extend(is_act.then(Instant::now));
        is_act && times.len() == 1
    });
    depot.starts(&[("asked", "storm")]);
    eventually("the run waits", || {
        let found = depot.shop.admin.reads("run/asked -n shop");
        let said = found["status"]["steps"][0]["message"].as_str()?.to_owned();
        said.starts_with("waits: the API server is busy").then_some(())
    });
    let glass = crate::change::shop::GLASS;
    depot.shop.admin.types(&format!("kubectl annotate -n shop deploy/{target} looked=yes {glass}")).passes();
    let run = comes_to(depot, "asked", "Succeeded");
    proxy.mends();
    let times = sent.lock().unwrap();
    assert!(times[1].duration_since(times[0]) >= Duration::from_secs(ASKED.into()), "{times:?}");
    assert_eq!(
        judge::agrees(&run, &depot.effects()),
        2,
        "the one that was turned away took effect once, later"
    );
    let steps = run["status"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["retries"].as_i64().unwrap_or_default() == 0), "{steps:#?}");
}

/// Marks of Mayday that cannot be read, and times that are none, concern their object alone.
pub fn marks_that_cannot_be_read(depot: &Depot<'_>, target: &str) {
    let operator = depot.shop.cluster.operator(0);
    let process = operator.pid();
    let bad = "\u{1}{\"}\u{202e}\n";
    let annotations = json!({"mayday.dev/operation": bad, "mayday.dev/restarted-by": bad, "mayday.dev/cordoned-by": bad,
        "mayday.dev/suspended-automated-sync": "{[", "deployment.kubernetes.io/revision": "NaN",
        "kubectl.kubernetes.io/last-applied-configuration": "}{", "mayday.dev/unknown": "x".repeat(60_000)});
    let patch = json!({"metadata": {"annotations": annotations, "labels": {"mayday.dev/run": ""}}});
    let glass = crate::change::shop::GLASS;
    let file = depot.shop.cluster.file("tmp/strange.json");
    std::fs::write(&file, patch.to_string()).unwrap();
    for what in [format!("deploy/{target} -n shop"), format!("cm/{target} -n shop"), format!("node/{target}")]
    {
        let command = format!("kubectl patch {what} --type merge --patch-file {} {glass}", file.display());
        let command = if what.starts_with("node") { command.replace(glass, "") } else { command };
        depot.shop.admin.types(&command).passes();
    }
    depot.starts(&[("strange", "strange")]);
    let run = comes_to(depot, "strange", "Succeeded");
    assert_eq!(judge::agrees(&run, &depot.effects()), 1);
    assert_eq!(operator.pid(), process, "the operator has not died");
}

/// Who decides and about what is never what somebody writes: a forged decision is refused, and so is that of an author.
pub fn decisions_that_are_forged(depot: &Depot<'_>) {
    let shop = &depot.shop;
    let groups = ["shop-approvers", "system:masters"].map(|group| format!("--as-group={group}")).join(" ");
    let own = runbook("own", &[step("doubled", "restart", "")], &json!({})).to_string();
    shop.admin.pipes(&own, &format!("kubectl create --as=amir {groups} -f -")).passes();
    let own = eventually("it has a digest", || {
        let found = shop.admin.reads("rb/own -n shop");
        found["status"]["digest"].is_string().then_some(found)
    });
    let other = shop.admin.reads("rb/storm -n shop")["status"]["digest"].clone();
    let approval = |digest: &Value, by: &Value| {
        json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": {"generateName": "own-", "namespace": "shop"},
            "spec": {"subjectRef": {"kind": "Runbook", "name": "own", "uid": own["metadata"]["uid"]}, "digest": digest,
                "decision": "Approve", "by": by}})
        .to_string()
    };
    let digest = &own["status"]["digest"];
    let bea = json!({"user": "bea", "groups": ["shop-approvers"]});
    let said = shop.amir.pipes(&approval(digest, &Value::Null), "kubectl create -f -").is_refused();
    assert!(said.contains("amir is an author of rb/own"), "the author does not approve: {said}");
    let said = shop.emil.pipes(&approval(digest, &bea), "kubectl create -f -").is_refused();
    assert!(said.contains("emil"), "it is emil who writes it: {said}");
    let said = shop.bea.pipes(&approval(&other, &bea), "kubectl create -f -").is_refused();
    assert!(said.contains("v1:sha256:"), "of another Runbook: {said}");
}
