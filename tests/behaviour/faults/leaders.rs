//! Two leaders at once: the old one stands still for longer than its lease, and wakes up when the next one has acted.

use std::process::Command;

use serde_json::{Value, json};

use super::depot::{Depot, runbook, step};
use super::judge;
use super::rows::comes_to;
use crate::audit;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, eventually};

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn leads(cluster: &Cluster, name: &str) {
    eventually(&format!("{name} leads"), || {
        let lease = "kubectl get lease mayday -n mayday-system -o jsonpath={.spec.holderIdentity}";
        (cluster.admin().types(lease).passes() == name).then_some(())
    });
}

/// Whether the API server has refused a request of the run because its object had changed.
fn was_refused(depot: &Depot<'_>, run: &Value) -> bool {
    let entries = audit::read(&depot.shop.cluster.file(""), 0).unwrap();
    entries.iter().any(|entry| {
        entry["impersonatedUser"]["extra"]["mayday.dev/run"][0] == run["metadata"]["uid"]
            && matches!(entry["responseStatus"]["code"].as_i64(), Some(409 | 422))
    })
}

#[test]
fn a_leader_that_wakes_up_late_changes_nothing() {
    let cluster = Cluster::without_operator("leaders", &[]);
    let proxy = Proxy::before(&cluster);
    let names = ["intent", "request"];
    let depot = Depot::open(&cluster, &names);
    let steps = |name: &str| [step(name, "scale", ""), step(name, "rolled-out", "")];
    depot.approves(&names.map(|name| runbook(name, &steps(name), &json!({}))));
    let (first, second) = (cluster.operator(0), cluster.operator(1));
    second.start();
    // Once it has stored its intent and does not know it yet, and once its request is on the way.
    for (name, fault) in names.into_iter().zip([Fault::AnswerHeld, Fault::Held]) {
        // The webhooks are those of the first operator, so the second one leads before it stands still.
        first.stop();
        leads(&cluster, "mayday-1");
        first.start();
        let process = second.pid();
        proxy.next(name, fault, move |asked| match fault {
            Fault::Held => asked.is_act() && asked.says("/scale/"),
            _ => asked.stores(name) && asked.says("IntentRecorded"),
        });
        depot.starts(&[(name, name)]);
        proxy.has_caught("the leader is at its point");
        signal(process, "-STOP");
        let done = comes_to(&depot, name, "Succeeded");
        leads(&cluster, "mayday-0");
        let acts = done["status"]["steps"][0]["acts"].clone();
        proxy.lets_go();
        if fault == Fault::Held {
            eventually("its request is refused", || was_refused(&depot, &done).then_some(()));
        }
        signal(process, "-CONT");
        eventually("the old leader has noticed", || {
            let (status, metrics) = second.answers("/metrics")?;
            (status == 200 && metrics.contains("mayday_leader 0")).then_some(())
        });
        let run = comes_to(&depot, name, "Succeeded");
        assert_eq!(run["status"]["steps"][0]["acts"], acts, "its journal is as it was");
        assert_eq!(judge::agrees(&run, &depot.effects()), 1);
        assert_eq!(depot.shop.admin.reads(&format!("deploy/{name} -n shop"))["spec"]["replicas"], 2);
    }
    cluster.stop();
}
