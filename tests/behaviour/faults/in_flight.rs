//! Many runs in flight when the operator is killed: each goes on or has ended after the next start, and none does anything
//! twice. The time is printed, and depends on the machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::depot::{Depot, runbook, step};
use super::judge;
use crate::far_side::FarSide;
use crate::support::{Cluster, root, within};

/// How many of the runs change an object of their own; the others call an endpoint.
const CHANGERS: usize = 20;

fn wanted() -> usize {
    std::env::var("MAYDAY_SOAK").ok().map_or(100, |runs| runs.parse().unwrap())
}

fn run(number: usize, book: &str, parameters: &Value) -> (String, Value) {
    let name = format!("f{number}");
    let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"runbookRef": {"name": book}, "parameters": parameters}});
    (name, object)
}

/// The calls that arrived, by path.
fn calls(far_side: &FarSide) -> BTreeMap<String, u32> {
    let mut calls = BTreeMap::new();
    for request in far_side.all() {
        *calls.entry(request.line.split(' ').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    calls
}

#[test]
#[ignore = "slow, and rarely fails: make test-all"]
fn a_soak_of_runs_in_flight_goes_on_after_a_kill() {
    let runs = wanted();
    let cluster = Cluster::without_operator("in-flight", &[]);
    let names: Vec<String> = (0..CHANGERS).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let depot = Depot::open(&cluster, &names);
    let url = depot.far_side.url("");
    // Longer than it takes until all have begun.
    let seconds = 30 + runs as u64 * 3 / 5;
    let wait = json!({"name": "wait", "wait": {"duration": format!("{seconds}s")}});
    let call = |name: &str| {
        json!({"name": name, "http": {"url": url, "path": format!("/{name}/{{run}}"), "method": "POST",
            "idempotency": "None", "attemptTimeout": "5s"}})
    };
    let parameters = json!({"spec": {"parameters": [{"name": "run", "string": {"default": "none"}}]}});
    let mut books = vec![runbook("calls", &[call("before"), wait.clone(), call("after")], &parameters)];
    for name in &names {
        let steps = [step(name, "patch", &url), wait.clone(), step(name, "scale", &url)];
        books.push(runbook(name, &steps, &json!({})));
    }
    depot.approves(&books);
    for number in 0..runs {
        for path in ["before", "after"] {
            depot.far_side.answers(&format!("/{path}/f{number}"), 204, "");
        }
    }

    let begin = Instant::now();
    let all: Vec<(String, Value)> = (0..runs)
        .map(|number| match names.get(number) {
            Some(name) => run(number, name, &json!([])),
            None => run(number, "calls", &json!([{"name": "run", "string": format!("f{number}")}])),
        })
        .collect();
    for batch in all.chunks(50) {
        depot.creates_runs(batch);
    }
    let waits = |run: &Value| run["status"]["steps"][1]["state"] == "Settling";
    let in_flight = within(Duration::from_secs(60 + runs as u64), "every run is in flight", || {
        let found = depot.shop.admin.reads("runbookruns -n shop");
        let found = found["items"].as_array()?.clone();
        let count = found.iter().filter(|run| waits(run) || run["status"]["endTime"].is_string()).count();
        (count == runs).then(|| found.into_iter().filter(|run| waits(run)).collect::<Vec<_>>())
    });
    let started = begin.elapsed();
    cluster.operator(0).kill();
    // Until no run waits any longer, so that all have something to do at once.
    let begun = in_flight.iter().map(|run| run["status"]["steps"][1]["startTime"].as_str().unwrap());
    let last: jiff::Timestamp = begun.max().unwrap().parse().unwrap();
    let over = last.as_second() + i64::try_from(seconds).unwrap() + 1;
    let left = over - jiff::Timestamp::now().as_second();
    std::thread::sleep(Duration::from_secs(left.try_into().unwrap_or_default()));
    let begin = Instant::now();
    cluster.operator(0).start();
    let ended = depot.ended(120 + runs as u64);
    let settled = begin.elapsed();

    let effects = depot.effects();
    let calls = calls(&depot.far_side);
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    for run in &ended {
        judge::agrees(run, &effects);
        let (name, state) =
            (run["metadata"]["name"].as_str().unwrap(), run["status"]["state"].as_str().unwrap());
        *states.entry(state.to_owned()).or_default() += 1;
        for path in ["before", "after"] {
            let count = calls.get(&format!("/{path}/{name}")).copied().unwrap_or_default();
            let is_caller = run["spec"]["runbookRef"]["name"] == "calls";
            assert!(count <= 1, "run/{name} called {path} {count} times");
            assert!(count == 1 || !is_caller || state != "Succeeded", "run/{name} did not call {path}");
        }
    }
    assert_eq!(ended.len(), runs);
    assert_eq!(states.keys().map(String::as_str).collect::<Vec<_>>(), ["Succeeded"], "{states:?}");
    let result = json!({"runs": runs, "inFlight": in_flight.len(), "states": states, "doubled": 0, "stuck": 0,
        "seconds": {"untilAllWereInFlight": started.as_secs_f32(), "fromTheStartUntilAllHadEnded": settled.as_secs_f32()}});
    fs::create_dir_all(root().join("target/soak")).unwrap();
    fs::write(root().join("target/soak/in-flight.json"), format!("{result:#}\n")).unwrap();
    println!("in flight: {result}");
    cluster.stop();
}
