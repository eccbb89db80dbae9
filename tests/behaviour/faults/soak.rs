//! Many mixed runs, while requests are lost, late or doubled and the operator is killed again and again. A hundred of
//! them in `make test`; `make soak` asks for more. What is wanted in the end: no operation twice, no run without an end, no
//! lock and no cordon that stays.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::depot::{Depot, runbook, step};
use super::judge;
use crate::support::proxy::Proxy;
use crate::support::{Cluster, Random, is_alive, root, seed};

/// Number of runs: `MAYDAY_SOAK`, or what `make test` has time for.
fn wanted() -> usize {
    std::env::var("MAYDAY_SOAK").ok().map_or(100, |runs| runs.parse().unwrap())
}

/// The Runbooks about what has this name.
fn runbooks(name: &str, url: &str) -> Vec<Value> {
    let of = |kinds: &[&str]| -> Vec<Value> {
        let back = |kind: &str| match kind {
            "scale" | "patch" => Some(json!({"restorePrevious": {}})),
            "cordon" => Some(json!({"uncordon": {"target": {"name": name}}})),
            "suspend" => Some(json!({"resumeGitOps": step(name, "resume", url)["resumeGitOps"]})),
            _ => None,
        };
        let with_back = |kind: &&str| {
            let mut step = step(name, kind, url);
            if let Some(back) = back(kind) {
                step["compensation"] = back;
            }
            if *kind == "never" {
                step["timeout"] = "1s".into();
            }
            step
        };
        kinds.iter().map(with_back).collect()
    };
    let rollback = json!({"spec": {"onFailure": "Rollback"}});
    let all: [(&str, &[&str]); 7] = [
        ("restart", &["restart", "rolled-out"]),
        ("more", &["scale", "patch", "never"]),
        ("node", &["cordon", "drain", "uncordon"]),
        ("tried", &["cordon", "never"]),
        ("flux", &["suspend", "wait", "resume"]),
        ("call", &["call", "wait", "job"]),
        ("evict", &["delete", "rolled-out"]),
    ];
    all.map(|(kind, steps)| runbook(&format!("{name}-{kind}"), &of(steps), &rollback)).to_vec()
}

/// Kills the operator after some hundred requests, so that a slow machine gets as far as a fast one, and starts it
/// whenever it is dead, until it is told to stop. It dies by itself, too, at the points of the settings.
fn torments(cluster: &Cluster, proxy: &Proxy, mut random: Random, stop: &AtomicBool, kills: &AtomicU32) {
    let operator = cluster.operator(0);
    let mut until = proxy.requests() + 500;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        let process = operator.pid();
        if is_alive(process) && proxy.requests() > until {
            operator.kill();
        }
        if !is_alive(process) {
            kills.fetch_add(1, Ordering::Relaxed);
            if operator.tries_to_start() {
                until = proxy.requests() + 200 + random.below(1200);
            }
        }
    }
    while !operator.tries_to_start() {}
}

#[test]
fn a_soak_of_faults_and_kills_doubles_leaks_and_loses_nothing() {
    let (runs, seed, begin) = (wanted(), seed(), Instant::now());
    let mut random = Random::from(seed);
    let helm =
        ["--set", "config.testing.crashAt={after-act,after-intent}", "--set", "config.testing.crashOneIn=60"];
    let cluster = Cluster::without_operator("soak", &helm);
    let proxy = Proxy::before(&cluster);
    let names: Vec<String> = (0..(runs / 12).clamp(8, 24)).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let depot = Depot::open(&cluster, &names);
    let url = depot.far_side.url("");
    let books: Vec<Value> = names.iter().flat_map(|name| runbooks(name, &url)).collect();
    depot.approves(&books);
    let ready = begin.elapsed();

    let (stop, kills) = (AtomicBool::new(false), AtomicU32::new(0));
    proxy.disturbs(Random::from(random.below(u64::MAX)), 40);
    let torment = Random::from(random.below(u64::MAX));
    let started: Vec<(String, Value)> = (0..runs)
        .map(|number| {
            let book = &books[random.index(books.len())]["metadata"]["name"];
            let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
                "metadata": {"name": format!("r{number}"), "namespace": "shop"}, "spec": {"runbookRef": {"name": book}}});
            (format!("r{number}"), object)
        })
        .collect();
    let all = std::thread::scope(|scope| {
        scope.spawn(|| torments(&cluster, &proxy, torment, &stop, &kills));
        for batch in started.chunks(25) {
            depot.creates_runs(batch);
        }
        let all =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| depot.ended(180 + runs as u64 * 5)));
        stop.store(true, Ordering::Relaxed);
        all
    });
    let all =
        all.unwrap_or_else(|_| panic!("a run is stuck; again with the same numbers: MAYDAY_SEED={seed}"));
    proxy.mends();
    assert_eq!(all.len(), runs);
    let ended = begin.elapsed();

    let effects = depot.effects();
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    let mut operations = 0;
    for run in &all {
        operations += judge::agrees(run, &effects);
        *states.entry(run["status"]["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let left = nothing_is_left(&depot, &names, &all);
    // No lock stays: the next run of each begins, and succeeds. Nothing would start the operator again now.
    for point in ["after-act", "after-intent"] {
        cluster.mends(point);
    }
    cluster.operator(0).start();
    let last: Vec<(String, String)> =
        names.iter().map(|name| (format!("last-{name}"), format!("{name}-restart"))).collect();
    let last: Vec<(&str, &str)> = last.iter().map(|(run, book)| (run.as_str(), book.as_str())).collect();
    depot.starts(&last);
    for run in
        depot.ended(300).iter().filter(|run| run["metadata"]["name"].as_str().unwrap().starts_with("last-"))
    {
        assert_eq!(run["status"]["state"], "Succeeded", "{run:#}");
    }
    let faults: BTreeMap<String, u32> =
        proxy.counts().into_iter().map(|(fault, count)| (format!("{fault:?}"), count)).collect();
    let result = json!({"seed": seed, "runs": runs, "states": states, "operations": operations, "doubled": 0, "stuck": 0,
        "locksLeft": 0, "cordonsLeft": 0, "leftAndTold": left, "kills": kills.load(Ordering::Relaxed), "faults": faults,
        "seconds": {"prepare": ready.as_secs(), "runs": (ended - ready).as_secs()}});
    fs::create_dir_all(root().join("target/soak")).unwrap();
    fs::write(root().join("target/soak/mixed.json"), format!("{result:#}\n")).unwrap();
    println!("soak: {result}");
    cluster.stop();
}

/// What the runs changed for a time is as it was, unless a run says that it could not take it back. Returns how many such
/// there are.
fn nothing_is_left(depot: &Depot<'_>, names: &[&str], runs: &[Value]) -> usize {
    // The nodes by name; whether a run about one says that it is not what it should be.
    let told = |name: &str, kinds: &[&str]| {
        runs.iter().any(|run| {
            let book = run["spec"]["runbookRef"]["name"].as_str().unwrap();
            let steps = run["status"]["steps"].as_array().into_iter().flatten();
            let mut backs = steps.map(|step| &step["compensation"]["state"]);
            kinds.iter().any(|kind| book == format!("{name}-{kind}"))
                && (run["status"]["state"] == "Unknown"
                    || backs.any(|back| back == "Failed" || back == "Unknown"))
        })
    };
    let mut left = 0;
    for name in names {
        let admin = &depot.shop.admin;
        let seen = [
            (
                "cordoned",
                !admin.reads(&format!("node/{name}"))["spec"]["unschedulable"].is_null(),
                ["node", "tried"],
            ),
            (
                "scaled",
                admin.reads(&format!("deploy/{name} -n shop"))["spec"]["replicas"] != 1,
                ["more", "more"],
            ),
            ("patched", admin.reads(&format!("cm/{name} -n shop"))["data"]["rate"] != "10", ["more", "more"]),
            (
                "suspended",
                admin.reads(&format!("kustomizations/{name} -n shop"))["spec"]["suspend"] != false,
                ["flux", "flux"],
            ),
        ];
        for (what, is_left, kinds) in seen {
            assert!(!is_left || told(name, &kinds), "{name} is still {what}, and no run says so");
            left += usize::from(is_left);
        }
    }
    left
}
