//! The process: readiness, the lease, shutdown, identity.

use std::fs;

use crate::support::{Cluster, eventually, within};

#[test]
fn a_ready_operator_answers_and_shows_its_metrics() {
    let operator = Cluster::shared().operator(0);
    assert_eq!(operator.get("/livez").0, 200);
    assert_eq!(operator.get("/readyz").0, 200);
    let leads = || operator.get("/metrics").1.contains("mayday_leader 1").then_some(());
    eventually("the only operator leads", leads);
}

#[test]
fn its_only_identity_is_the_service_account_of_the_chart() {
    let cluster = Cluster::shared();
    let kubeconfig = fs::read_to_string(cluster.file("users/mayday")).unwrap();
    assert!(kubeconfig.contains("tokenFile"), "{kubeconfig}");
    assert!(!kubeconfig.contains("client-certificate"), "{kubeconfig}");
    let rights = cluster.admin().types(
        "kubectl auth can-i --as system:serviceaccount:mayday-system:mayday patch deployments.apps -n default",
    );
    assert!(rights.is_refused().is_empty(), "the operator itself may not write workloads");
}

#[test]
fn the_lease_goes_over_when_its_holder_stops_or_dies() {
    let cluster = Cluster::start("lease");
    let holder = || {
        let lease = cluster
            .admin()
            .types("kubectl get lease mayday -n mayday-system -o jsonpath={.spec.holderIdentity}");
        Some(lease.passes())
    };
    eventually("the first holds it", || holder().filter(|name| name == "mayday-0"));
    cluster.operator(1).start();
    assert_eq!(cluster.operator(1).get("/readyz").0, 200, "a standby is ready too: it serves webhooks");

    cluster.operator(0).stop();
    // The lease does not lapse: a process that stops gives it back.
    assert_ne!(holder().unwrap(), "mayday-0");
    eventually("it was given back, and taken", || holder().filter(|name| name == "mayday-1"));
    assert!(cluster.operator(0).log().contains("stopping"));

    cluster.operator(0).start();
    cluster.operator(1).kill();
    within(std::time::Duration::from_secs(90), "it lapsed, and was taken", || {
        holder().filter(|name| name == "mayday-0")
    });
    cluster.stop();
}

#[test]
fn settings_that_make_no_sense_are_named_and_nothing_starts() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("settings");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("mayday.yaml");
    fs::write(&file, "namespace: mayday-system\nnonsense: true\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mayday"))
        .args(["run", "--identity", "test", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("nonsense"), "{said}");
}

#[test]
fn it_stops_in_order_before_it_has_read_anything() {
    let folder = std::env::temp_dir().join(format!("mayday-stop-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (settings, kubeconfig, log) =
        (folder.join("mayday.yaml"), folder.join("kubeconfig"), folder.join("log"));
    let anywhere = "127.0.0.1:0";
    let text = format!(
        "namespace: mayday-system\nadmission: {{address: '{anywhere}', names: [127.0.0.1]}}\n\
         intake: {{address: '{anywhere}', publicURL: 'http://127.0.0.1'}}\nmetrics: {{address: '{anywhere}'}}\n"
    );
    fs::write(&settings, text).unwrap();
    // No server answers at that address.
    let nowhere = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let out = fs::File::create(&log).unwrap();
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_mayday"))
        .args(["run", "--identity", "test", "--config"])
        .arg(&settings)
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .stderr(out.try_clone().unwrap())
        .stdout(out)
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    eventually("it cannot read", || said().contains("the watch goes on after a pause").then_some(()));
    let pid = process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = eventually("it has ended", || process.try_wait().unwrap());
    assert!(status.success() && said().contains("stopping"), "{status}: {}", said());
    fs::remove_dir_all(&folder).unwrap();
}
