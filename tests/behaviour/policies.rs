//! The admission policies of the chart still protect decisions, runs and Mayday's own accounts when the guard
//! was taken away.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cluster, Person, eventually};

const OPERATOR: &str = "system:serviceaccount:mayday-system:mayday";
const PLANNER: &str = "system:serviceaccount:mayday-system:mayday-planner";

fn create(person: &Person, kind: &str, name: &str, spec: Value) -> crate::support::Output {
    let object = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    });
    person.pipes(&object.to_string(), "kubectl create -f -")
}

fn decision(word: &str, by: &Value) -> Value {
    let digest = format!("v1:sha256:{}", "a".repeat(64));
    let subject = json!({"kind": "ChangeRequest", "name": "release", "uid": "1"});
    json!({"subjectRef": subject, "digest": digest, "decision": word, "by": by})
}

/// A cluster whose guard an administrator has deleted: nothing is stamped or looked up.
fn without_guard(name: &str) -> Cluster {
    let cluster = Cluster::without_operator(name, &[]);
    let admin = cluster.admin();
    admin.types("kubectl delete mutatingwebhookconfiguration mayday-guard-stamp").passes();
    admin.types("kubectl delete validatingwebhookconfiguration mayday-guard").passes();
    for role in ["mayday-responder", "mayday-approver"] {
        let binding = format!("{role} --clusterrole={role} --user=emil --user=amir --user=bea");
        admin.types(&format!("kubectl create rolebinding {binding}")).passes();
    }
    cluster
}

#[test]
fn decisions_and_runs_hold_though_the_guard_was_taken_away() {
    let cluster = without_guard("guardless");
    let [emil, amir, bea] = ["emil", "amir", "bea"].map(|name| cluster.person(name, &["shop-approvers"]));
    let admin = cluster.admin();
    let by_amir = json!({"user": "amir", "groups": ["shop-approvers", "system:authenticated"]});
    // The API server forgets a deleted webhook a little later.
    let made = json!({"reason": "x", "requester": {"user": "emil"}, "changes": [{
        "target": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}, "delete": {},
    }]});
    eventually("the guard is gone", || {
        let _ = create(&emil, "ChangeRequest", "release", made.clone());
        admin.types("kubectl get chg --no-headers").passes().contains("release").then_some(())
    });

    let refused = |person: &Person, spec: Value, because: &str| {
        let said = create(person, "Approval", "bad", spec).is_refused();
        assert!(said.contains(because), "{said}");
    };
    refused(&bea, decision("Approve", &by_amir), "Refused: spec.by must be you (bea)");
    refused(
        &amir,
        decision("Approve", &json!({"user": "amir", "groups": ["shop-leads"]})),
        "groups that you are not in",
    );
    let said = create(&amir, "ChangeRequest", "foreign", made).is_refused();
    assert!(said.contains("Refused: spec.requester must be you (amir)"), "{said}");
    let object = json!({
        "apiVersion": "mayday.dev/v1alpha1", "kind": "Approval",
        "metadata": {"name": "bad", "namespace": "default"}, "spec": decision("Approve", &json!({"user": "amir"})),
    });
    let borrowed = "kubectl create -f - --as=amir --as-group=shop-approvers";
    let said = admin.pipes(&object.to_string(), borrowed).is_refused();
    assert!(said.contains("Refused: a decision counts only from a direct login"), "{said}");

    create(&amir, "Approval", "yes", decision("Approve", &by_amir)).passes();
    create(&amir, "Approval", "no", decision("Reject", &by_amir)).passes();
    let said = bea.types("kubectl delete approval yes").is_refused();
    assert!(said.contains("by amir, who alone may take it back"), "{said}");
    let said = admin.types("kubectl delete approval no").is_refused();
    assert!(said.contains("Refused: Reject is final and stays"), "{said}");
    let said =
        admin.types("kubectl patch approval no --type merge -p '{\"spec\":{\"decision\":\"Approve\"}}'");
    assert!(said.is_refused().contains("a decision is never edited"));
    amir.types("kubectl delete approval yes").passes();

    create(&emil, "RunbookRun", "run", json!({"runbookRef": {"name": "x"}, "startedBy": {"user": "emil"}}))
        .passes();
    let said = emil.types("kubectl delete run run").is_refused();
    assert!(said.contains("Refused: a run that is not settled stays"), "{said}");
    let hold =
        "kubectl patch run run --type merge -p '{\"metadata\":{\"finalizers\":[\"mayday.dev/settle\"]}}'";
    let said = admin.types(hold).is_refused();
    assert!(said.contains("Refused: only Mayday adds or removes the finalizer"), "{said}");
    let said = admin.types(&format!("{hold} --as={OPERATOR}")).is_refused();
    assert!(said.contains("Refused: only Mayday adds or removes the finalizer"), "borrowed: {said}");
    cluster.mayday().types(hold).passes();

    // The step before an uninstall, twice: people may repeat it.
    for expected in ["cancelled run run in default and let it go", ""] {
        let output = Command::new(env!("CARGO_BIN_EXE_mayday"))
            .args(["uninstall", "--kubeconfig"])
            .arg(cluster.file("users/mayday"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
    }
    let run = admin.reads("run run");
    assert_eq!(run["spec"]["cancel"], true);
    assert_eq!(run["metadata"]["finalizers"], Value::Null);
    // Then the chart goes. The objects that people wrote stay, and nothing holds them.
    cluster.script("uninstall", &[cluster.path()]);
    let gates = "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,\
                 validatingadmissionpolicybindings,clusterroles";
    let left = admin.types(&format!("kubectl get {gates} -o name")).passes();
    assert!(!left.contains("mayday"), "{left}");
    assert_eq!(admin.types("kubectl get crd -o name").passes().matches("mayday.dev").count(), 13);
    admin.types("kubectl delete chg/release --timeout=30s").passes();
    // The API server forgets a deleted policy a little later.
    eventually("the run goes", || {
        admin.types("kubectl delete run/run --timeout=30s").succeeded().then_some(())
    });
    cluster.stop();
}

#[test]
fn maydays_own_accounts_are_bounded_whatever_rbac_gives_them() {
    let cluster = Cluster::without_operator("accounts", &[]);
    let admin = cluster.admin();
    for account in ["mayday", "mayday-planner"] {
        let binding =
            format!("all-{account} --clusterrole=cluster-admin --serviceaccount=mayday-system:{account}");
        admin.types(&format!("kubectl create clusterrolebinding {binding}")).passes();
    }
    let planner = |command: &str| admin.types(&format!("kubectl {command} --as={PLANNER}"));
    planner("create configmap x --dry-run=server").passes();
    let said = planner("create configmap x").is_refused();
    assert!(said.contains("Refused: mayday-planner makes dry runs only"), "{said}");

    let operator = |command: &str| admin.types(&format!("kubectl {command} --as={OPERATOR}"));
    for command in [
        "create configmap x",
        "create secret generic x -n mayday-system",
        "delete configmap mayday-config -n mayday-system",
        "create deployment x --image=x",
        "delete clusterrole mayday-viewer",
    ] {
        let said = operator(command).is_refused();
        assert!(said.contains("Refused: the account of the operator writes its own records only"), "{said}");
    }
    operator("create configmap digests -n mayday-system").passes();
    operator("create secret generic mayday-certificates -n mayday-system").passes();
    operator("label validatingwebhookconfiguration mayday-guard x=y").passes();
    cluster.stop();
}
