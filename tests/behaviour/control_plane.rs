//! `make up` and `make down`, as people use them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Cluster, http, is_alive, root};

/// Every part that `make up` starts.
const PARTS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "mayday-0"];

/// The parts that the test kills in between.
const KILLED: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kwok", "mayday-0"];

#[test]
fn done_twice_make_up_mends_what_died_and_make_down_leaves_nothing() {
    let cluster = Cluster::unstarted("make-up");
    cluster.script("up", &[]);
    let first = PARTS.map(|part| pid(&cluster, part));
    assert_eq!(cluster.operator(0).get("/readyz").0, 200);
    cluster.admin().types("kubectl create namespace kept").passes();

    for part in KILLED {
        let killed = Command::new("kill").args(["-KILL", &pid(&cluster, part).to_string()]).status();
        assert!(killed.unwrap().success());
    }
    cluster.script("up", &[]);
    let second = PARTS.map(|part| pid(&cluster, part));
    for (part, (before, after)) in PARTS.iter().zip(first.into_iter().zip(second)) {
        let was_killed = KILLED.contains(part);
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
    // Another shell finds everything by it.
    let told = Command::new("sh")
        .args([
            "-c",
            r#"set -e; . "$0"; echo "$MAYDAY_URL $MAYDAY_METRICS_URL"; dev/kubectl get namespace kept"#,
        ])
        .arg(cluster.file("env"))
        .env_remove("KUBECONFIG")
        .current_dir(root())
        .output()
        .unwrap();
    let urls = String::from_utf8_lossy(&told.stdout);
    let (intake, rest) = urls.split_once(' ').unwrap();
    let metrics = rest.lines().next().unwrap();
    let asks = |url: &str, request: &str| http(url.strip_prefix("http://").unwrap(), request).0;
    assert_eq!(asks(intake, "POST /v1/alerts/kept/none HTTP/1.0\r\n\r\n"), 401);
    assert_eq!(asks(metrics, "GET /metrics HTTP/1.0\r\n\r\n"), 200);

    mends_what_was_interrupted_and_takes_new_settings(&cluster);

    let second = PARTS.map(|part| pid(&cluster, part));
    cluster.script("down", &[]);
    assert!(second.iter().all(|pid| !is_alive(*pid)), "a process is left: {second:?}");
    assert!(!cluster.file("").exists(), "its state is left");
}

/// A helm that was killed in the middle blocks nothing, and parts with older settings are started again.
fn mends_what_was_interrupted_and_takes_new_settings(cluster: &Cluster) {
    let before = PARTS.map(|part| pid(cluster, part));
    let admin = cluster.admin();
    let secrets = admin.reads("secrets -n mayday-system -l owner=helm,name=mayday,status=deployed");
    let secret = secrets["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    // As helm leaves it: in its record and in the label of it.
    let record = format!("kubectl get secret -n mayday-system {secret} -o jsonpath={{.data.release}}");
    let interrupt = format!(
        "base64 -d | base64 -d | gunzip | sed 's/\"status\":\"deployed\"/\"status\":\"pending-upgrade\"/' | gzip | \
         base64 -w0 | base64 -w0 >{}",
        cluster.file("tmp/release").display()
    );
    let mut shell = Command::new("sh").args(["-c", &interrupt]).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(admin.types(&record).passes().as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    let release = fs::read_to_string(cluster.file("tmp/release")).unwrap();
    let patch = format!(
        r#"{{"metadata":{{"labels":{{"status":"pending-upgrade"}}}},"data":{{"release":"{release}"}}}}"#
    );
    fs::write(cluster.file("tmp/patch"), patch).unwrap();
    let file = cluster.file("tmp/patch");
    admin
        .types(&format!("kubectl patch secret -n mayday-system {secret} --patch-file {}", file.display()))
        .passes();

    cluster.script("install", &[cluster.path(), "--set", "config.log.level=debug"]);
    cluster.script("operator", &["start", cluster.path()]);
    let after = PARTS.map(|part| pid(cluster, part));
    for (part, (before, after)) in PARTS.iter().zip(before.into_iter().zip(after)) {
        assert_eq!(before != after, *part == "mayday-0", "{part}: {before}, {after}");
    }
    // Nothing is new now, and nothing is started again.
    cluster.script("operator", &["start", cluster.path()]);
    assert_eq!(pid(cluster, "mayday-0"), after[5]);
}

fn pid(cluster: &Cluster, part: &str) -> u32 {
    let text = fs::read_to_string(cluster.file(&format!("pids/{part}"))).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
