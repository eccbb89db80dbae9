//! One run for each fault; each of its steps suffers it once.

use serde_json::Value;

use super::depot::{Depot, runbook, step};
use super::{judge, rows};
use crate::support::Cluster;
use crate::support::proxy::{Asked, Fault, Proxy};

/// Where a fault strikes.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// The request of the act.
    Act,
    /// The store of the intent, before the act.
    Intent,
    /// The store of the outcome, after the act.
    Outcome,
}

/// The faults, each with the name of the Runbook that suffers it.
const FAULTS: [(&str, At, Fault); 11] = [
    ("answer-lost", At::Act, Fault::AnswerLost),
    ("answer-cut", At::Act, Fault::AnswerCut),
    ("request-lost", At::Act, Fault::RequestLost),
    ("doubled", At::Act, Fault::Doubled),
    ("late", At::Act, Fault::Late),
    ("timed-out", At::Act, Fault::Misreported(504)),
    ("turned-away", At::Act, Fault::Refused(429)),
    ("intent-in-doubt", At::Intent, Fault::Misreported(504)),
    ("intent-refused", At::Intent, Fault::Refused(409)),
    ("outcome-lost", At::Outcome, Fault::AnswerLost),
    ("outcome-refused", At::Outcome, Fault::Refused(409)),
];

/// The steps in their order. The pods to evict are those that are there when the run is prepared, so they are evicted
/// first; what cannot be proved after a lost request is last.
const STEPS: [&str; 14] = [
    "evict",
    "restart",
    "rolled-out",
    "scale",
    "patch",
    "back",
    "rolled-back",
    "suspend",
    "resume",
    "cordon",
    "drain",
    "uncordon",
    "call",
    "job",
];

/// Whether a request is what the fault strikes.
fn strikes(at: At, name: &str, kind: &str, asked: &Asked) -> bool {
    if at != At::Act {
        if !asked.stores(name) {
            return false;
        }
        let status = asked.json();
        let steps = status["status"]["steps"].as_array().into_iter().flatten();
        let Some(step) = steps.into_iter().find(|step| step["name"] == kind) else { return false };
        let acts = step["acts"].as_array();
        let last = acts.and_then(|acts| acts.last());
        let is_open = last.is_some_and(|act| act["outcome"].is_null());
        return last.is_some() && is_open == (at == At::Intent);
    }
    let removes = asked.path.contains("/eviction") && asked.path.contains(&format!("/pods/{name}-"));
    let is_apart = asked.path.contains(&format!("/pods/{name}-d-"));
    let is_it = match kind {
        "drain" => removes && is_apart,
        "evict" => removes && !is_apart,
        "job" => asked.path.contains("/jobs") && asked.says(&format!("\"{name}\"")),
        _ => asked.path.contains(&format!("/{name}?")) && asked.says(&format!("/{kind}/")),
    };
    is_it && asked.is_act()
}

#[test]
fn each_act_takes_effect_once_whatever_is_lost_late_or_doubled() {
    let cluster = Cluster::without_operator("faults", &[]);
    let proxy = Proxy::before(&cluster);
    let names = FAULTS.map(|(name, ..)| name);
    let depot = Depot::open(&cluster, &names);
    let url = depot.far_side.url("");
    let books =
        names.map(|name| runbook(name, &STEPS.map(|kind| step(name, kind, &url)), &serde_json::json!({})));
    depot.approves(&[books.as_slice(), &rows::runbooks(&names, &url)].concat());
    for (name, at, fault) in FAULTS {
        let struck =
            STEPS.iter().filter(|kind| !kind.starts_with("rolled") && (**kind != "call" || at != At::Act));
        for kind in struck {
            proxy.next(&format!("{name} of {kind}"), fault, move |asked| strikes(at, name, kind, asked));
        }
    }
    depot.starts(&names.map(|name| (name, name)));
    let runs = depot.ended(300);
    let left = proxy.mends();
    assert!(left.is_empty(), "these faults have not happened: {left:?}");
    let effects = depot.effects();
    for run in &runs {
        let name = run["metadata"]["name"].as_str().unwrap();
        judge::agrees(run, &effects);
        let (state, steps) = (&run["status"]["state"], &run["status"]["steps"]);
        // That a Job was never there cannot be proved: the last step may be Unknown, and nothing else.
        let may_be_unknown = ["request-lost", "late", "intent-in-doubt"].contains(&name);
        let is_unknown = may_be_unknown && state == "Unknown";
        assert!(is_unknown || state == "Succeeded", "{name} is {state}: {steps:#}");
        let succeeded = |step: &&Value| step["state"] == "Succeeded";
        let count = steps.as_array().unwrap().iter().filter(succeeded).count();
        assert_eq!(count, STEPS.len() - usize::from(is_unknown), "{name}: {steps:#}");
        let keys: std::collections::BTreeSet<String> = depot
            .far_side
            .received(&format!("/{name}"))
            .iter()
            .map(|request| request.headers["idempotency-key"].clone())
            .collect();
        assert_eq!(keys.len(), 1, "{name}: the far side can tell that it is the same call");
        let deployment = depot.shop.admin.reads(&format!("deploy/{name} -n shop"));
        assert_eq!(deployment["spec"]["replicas"], 2, "{name}: one more, once");
        assert!(depot.shop.admin.reads(&format!("node/{name}"))["spec"]["unschedulable"].is_null());
    }
    println!("faults: {:?}", proxy.counts());
    rows::frozen_watches(&depot, &proxy, names[0]);
    rows::an_api_server_in_trouble(&depot, &proxy);
    rows::an_api_server_that_asks_for_time(&depot, &proxy, names[2]);
    rows::marks_that_cannot_be_read(&depot, names[3]);
    rows::decisions_that_are_forged(&depot);
    cluster.stop();
}
