//! Measures what a run costs on a real API server: `make bench`. Calls from a stored alert to the first repair and of a
//! further step, and runs a second and processor time beside those of the bare calls.
//!
//! Calls are counted in the audit log, the rest is told as ratios of one run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark says so by failing")]

#[path = "../tests/behaviour/audit.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod audit;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use mayday::api::{Runbook, RunbookRun};
use serde_json::{Value, json};

use support::replay::{self, Call};
use support::{Cluster, client, ratio, report};

/// Number of objects, each with a Runbook of its own.
const TARGETS: usize = 20;
/// Number of runs of each.
const ROUNDS: usize = 5;
/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Applies the namespaces: that of the shop, and one that no policy protects, where a plain client may write.
fn open_shop(cluster: &Cluster) {
    cluster.apply(&["00-shop", "05-access"]);
    let admin = cluster.admin();
    cluster.kubectl(&admin, "create namespace bare");
    cluster.kubectl(&admin, "create role bench -n shop --verb=get,patch --resource=configmaps");
    let subject = "--role=bench --serviceaccount=shop:checkout-runbooks";
    cluster.kubectl(&admin, &format!("create rolebinding bench -n shop {subject}"));
}

/// Applies the rest of the samples; from then on the shop is protected.
fn protect(cluster: &Cluster) {
    cluster.apply(&["10-policy", "20-oncall", "21-channels", "25-service", "30-detect"]);
    cluster.apply(&["40-runbooks"]);
    let enforced = "wait changepolicy/production --for=condition=Enforced --timeout=60s";
    cluster.kubectl(&cluster.admin(), enforced);
}

fn approve(cluster: &Cluster, runbooks: &[String]) {
    for approver in ["amir", "bea"] {
        let kubeconfig = cluster.person(approver, "shop-approvers");
        for runbook in runbooks {
            cluster.kubectl(&kubeconfig, &format!("mayday approve -n shop rb/{runbook} --yes"));
        }
    }
}

/// A Runbook that patches a ConfigMap in so many steps.
fn patching(name: &str, target: &str, steps: usize) -> Runbook {
    let steps: Vec<Value> = (0..steps)
        .map(|step| {
            let path = format!("/data/step{step}");
            json!({"name": format!("step{step}"), "patch": {
                "target": {"apiVersion": "v1", "kind": "ConfigMap", "name": target},
                "merge": {"data": {format!("step{step}"): ""}}, "values": [{"path": path, "parameter": "value"}], "allowPaths": [path]}})
        })
        .collect();
    let book = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"summary": "patches a ConfigMap", "serviceAccountName": "checkout-runbooks", "approval": "Standing",
            "parameters": [{"name": "value", "string": {}}], "steps": steps}});
    serde_json::from_value(book).unwrap()
}

/// Starts a run and returns once it has succeeded.
async fn run(runs: &Api<RunbookRun>, runbook: &str, value: &str) {
    let wanted: RunbookRun =
        serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"generateName": format!("{runbook}-"), "namespace": "shop"},
        "spec": {"runbookRef": {"name": runbook}, "parameters": [{"name": "value", "string": value}]}}))
        .unwrap();
    let name = runs.create(&PostParams::default(), &wanted).await.unwrap().name_any();
    let settled = kube::runtime::wait::await_condition(runs.clone(), &name, |run: Option<&RunbookRun>| {
        let state = run.and_then(|run| run.status.as_ref()?.state);
        state.is_some_and(mayday::api::runbook_run::RunState::is_settled)
    });
    let found =
        tokio::time::timeout(PATIENCE, settled).await.expect("the run ends in time").unwrap().unwrap();
    let state = found.status.as_ref().and_then(|status| status.state);
    assert_eq!(state, Some(mayday::api::runbook_run::RunState::Succeeded), "{:?}", found.status);
}

/// The calls of a run: those of the operator while it lasts, Events and Leases not counted.
async fn calls_of(cluster: &Cluster, what: impl Future<Output = ()>) -> Vec<Call> {
    let from = audit::end(&cluster.dir).unwrap();
    what.await;
    // It is released right after its end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    replay::calls(&audit::read(&cluster.dir, from).unwrap())
}

/// Posts an alert, as Alertmanager does.
fn alert(cluster: &Cluster) {
    let port = std::fs::read_to_string(cluster.dir.join("ports")).unwrap();
    let intake =
        port.lines().find_map(|line| line.strip_prefix("intake-0=")).expect("a port of the intake").trim();
    let body = json!({"version": "4", "groupKey": "bench", "status": "firing", "receiver": "mayday",
        "alerts": [{"status": "firing", "startsAt": jiff::Timestamp::now().to_string(), "fingerprint": "bench",
            "labels": {"alertname": "CheckoutDown", "severity": "critical", "deployment": "checkout"},
            "annotations": {"summary": "checkout is down"}}]})
    .to_string();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{intake}")).unwrap();
    write!(
        stream,
        "POST /v1/alerts/shop/alertmanager HTTP/1.0\r\nauthorization: Bearer a-long-random-token\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

/// What happened between the stored alert and the first repair.
struct Way {
    /// Calls, Events and Leases not counted.
    calls: usize,
    /// Those among them that page people and tell stakeholders.
    of_pages: usize,
    time: Duration,
    /// The calls between, one after the other.
    made: Vec<Call>,
}

/// Waits for the restart that follows from an alert, and reads the way to it from the audit log.
async fn way(cluster: &Cluster, from: usize) -> Way {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut entries = audit::read(&cluster.dir, from).unwrap();
        entries.sort_by_key(|entry| entry["requestReceivedTimestamp"].as_str().map(str::to_owned));
        let part =
            |entry: &Value, name: &str| entry["objectRef"][name].as_str().unwrap_or_default().to_owned();
        let is_stored = |entry: &Value| {
            audit::is_write(entry)
                && part(entry, "resource") == "incidents"
                && part(entry, "subresource") == "status"
        };
        let is_repair = |entry: &Value| audit::is_write(entry) && part(entry, "resource") == "deployments";
        let (stored, repair) = (entries.iter().position(is_stored), entries.iter().position(is_repair));
        if let (Some(stored), Some(repair)) = (stored, repair) {
            let at = |index: usize| -> jiff::Timestamp {
                entries[index]["stageTimestamp"].as_str().unwrap().parse().unwrap()
            };
            let between = &entries[stored + 1..=repair];
            let calls = || between.iter().filter(|entry| entry["verb"] != "watch");
            let pages = ["notifications", "notificationchannels", "secrets"];
            return Way {
                calls: calls().count(),
                of_pages: calls().filter(|entry| pages.contains(&part(entry, "resource").as_str())).count(),
                time: at(repair).duration_since(at(stored)).unsigned_abs(),
                made: replay::calls(between),
            };
        }
        assert!(Instant::now() < end, "no restart follows from the alert");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Time of the bare calls of a run: it reads an object and patches it, so many times.
async fn bare(objects: &Api<ConfigMap>, target: &str, value: &str, steps: usize) {
    for step in 0..steps {
        let found = objects.get(target).await.unwrap();
        let patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version},
            "data": {format!("bare{step}"): value}});
        objects.patch(target, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

/// Makes the calls of a run again, one after the other.
async fn again(client: &Client, calls: &[Call], map: &str, round: usize) {
    for call in calls {
        call.make(client, map, round).await;
    }
}

/// Processor time that the operator has used so far, in seconds.
fn processor_time(cluster: &Cluster) -> f64 {
    let pid = std::fs::read_to_string(cluster.dir.join("pids/mayday-0")).unwrap();
    // The file names the start time as well.
    let pid = pid.split(' ').next().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths of a second.
    [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[tokio::main]
async fn main() {
    let cluster = Cluster::of_arguments();
    open_shop(&cluster);
    let admin = client(&cluster.admin()).await;
    let names: Vec<String> = (0..TARGETS).map(|index| format!("bench{index}")).collect();
    let bare_maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "bare");
    let shop_maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "shop");
    for name in names.iter().map(String::as_str).chain(["single"]) {
        for maps in [&bare_maps, &shop_maps] {
            let map = json!({"metadata": {"name": name}, "data": {"step0": ""}});
            maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
        }
    }
    protect(&cluster);
    let emil = client(&cluster.person("emil", "shop-engineers")).await;

    eprintln!("==> preparing {TARGETS} Runbooks");
    let books: Api<Runbook> = Api::namespaced(admin.clone(), "shop");
    for name in names.iter().map(String::as_str).chain(["single"]) {
        let steps = if name == "single" { 1 } else { 3 };
        books.create(&PostParams::default(), &patching(name, name, steps)).await.unwrap();
    }
    let mut all = names.clone();
    all.extend(["single".to_owned(), "restart-checkout".to_owned()]);
    approve(&cluster, &all);
    let approved = |book: &Runbook| {
        let conditions = book.status.as_ref().map_or(&[][..], |status| &status.conditions);
        ["Approved", "Ready"]
            .iter()
            .all(|type_| conditions.iter().any(|c| c.type_ == *type_ && c.status == "True"))
    };
    let end = Instant::now() + PATIENCE;
    while books.list(&ListParams::default()).await.unwrap().iter().filter(|book| approved(book)).count()
        < all.len()
    {
        assert!(Instant::now() < end, "the Runbooks are approved in time");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    eprintln!("==> calls of a further step");
    let runs: Api<RunbookRun> = Api::namespaced(emil.clone(), "shop");
    let one = calls_of(&cluster, run(&runs, "single", "first")).await;
    let made = calls_of(&cluster, run(&runs, "bench0", "first")).await;

    eprintln!("==> {} runs of three steps", TARGETS * ROUNDS);
    let (used, started) = (processor_time(&cluster), Instant::now());
    let series = |name: String| {
        let runs = runs.clone();
        async move {
            for round in 0..ROUNDS {
                run(&runs, &name, &format!("round{round}")).await;
            }
        }
    };
    stream::iter(names.clone()).for_each_concurrent(None, series).await;
    let (with_runs, used) = (started.elapsed(), processor_time(&cluster) - used);
    let started = Instant::now();
    let series = |name: String| {
        let maps = bare_maps.clone();
        async move {
            for round in 0..ROUNDS {
                bare(&maps, &name, &format!("round{round}"), 3).await;
            }
        }
    };
    stream::iter(names.clone()).for_each_concurrent(None, series).await;
    let with_bare = started.elapsed();
    let started = Instant::now();
    let series = |name: String| {
        let (admin, made) = (admin.clone(), &made);
        async move {
            for round in 0..ROUNDS {
                again(&admin, made, &name, round).await;
            }
        }
    };
    stream::iter(names).for_each_concurrent(None, series).await;
    let with_the_same = started.elapsed();

    eprintln!("==> from an alert to the first repair");
    let from = audit::end(&cluster.dir).unwrap();
    alert(&cluster);
    let way = way(&cluster, from).await;
    let started = Instant::now();
    bare(&bare_maps, "single", "alone", 1).await;
    let bare_repair = started.elapsed();
    let started = Instant::now();
    again(&admin, &way.made, "single", 0).await;
    let same_repair = started.elapsed();

    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let measured = [
        ("calls from a stored alert to the first repair", way.calls as f64),
        ("calls of these that page people", way.of_pages as f64),
        ("× the time of the same calls by a plain client", ratio(way.time, same_repair)),
        ("× the time of the two calls that repair", ratio(way.time, bare_repair)),
        ("calls of a run with one step", one.len() as f64),
        ("calls of each further step", (made.len() as f64 - one.len() as f64) / 2.0),
        ("× the runs a second of the same calls by a plain client", ratio(with_the_same, with_runs)),
        ("× the runs a second of the six calls that repair", ratio(with_bare, with_runs)),
        ("ms of processor time a run", used * 1000.0 / (TARGETS * ROUNDS) as f64),
    ];
    report(&cluster, "runs", &measured, &json!({"targets": TARGETS, "rounds": ROUNDS, "steps": 3}));
}
