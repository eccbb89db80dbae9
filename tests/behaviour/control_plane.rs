//! `make up` and `make down`, as people use them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Cluster;

/// Every part that `make up` starts.
const PARTS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "mayday-0"];

#[test]
fn done_twice_make_up_mends_what_died_and_make_down_leaves_nothing() {
    let cluster = Cluster::unstarted("make-up");
    cluster.script("up", &[]);
    let first = PARTS.map(|part| pid(&cluster, part));
    assert_eq!(cluster.operator(0).get("/readyz").0, 200);
    cluster.admin().types("kubectl create namespace kept").passes();

    for part in ["kube-controller-manager", "kwok", "mayday-0"] {
        let killed = Command::new("kill").args(["-KILL", &pid(&cluster, part).to_string()]).status();
        assert!(killed.unwrap().success());
    }
    cluster.script("up", &[]);
    let second = PARTS.map(|part| pid(&cluster, part));
    for (part, (before, after)) in PARTS.iter().zip(first.into_iter().zip(second)) {
        let was_killed = ["kube-controller-manager", "kwok", "mayday-0"].contains(part);
        assert_eq!(before != after, was_killed, "{part}: {before}, {after}");
        assert!(is_alive(after), "{part}");
    }
    cluster.admin().types("kubectl get namespace kept").passes();
    assert_eq!(cluster.operator(0).get("/readyz").0, 200);
    let environment = fs::read_to_string(cluster.file("env")).unwrap();
    assert!(environment.contains(&format!("MAYDAY_PIDS={}\n", pid(&cluster, "mayday-0"))), "{environment}");
    for name in ["KUBECONFIG", "MAYDAY_URL", "MAYDAY_METRICS_URL", "MAYDAY_LOG", "AUDIT_LOG"] {
        assert!(environment.lines().any(|line| line.starts_with(&format!("{name}="))), "{environment}");
    }

    cluster.script("down", &[]);
    assert!(second.iter().all(|pid| !is_alive(*pid)), "a process is left: {second:?}");
    assert!(!cluster.file("").exists(), "its state is left");
}

fn pid(cluster: &Cluster, part: &str) -> u32 {
    let text = fs::read_to_string(cluster.file(&format!("pids/{part}"))).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Whether a process runs; one that has ended and waits for its parent does not.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
