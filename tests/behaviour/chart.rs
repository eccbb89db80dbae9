//! The chart on a real API server: with its Deployment and hooks too, and the rights that it gives to people.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Cluster, Person, eventually, fresh, root};

/// What helm makes of the chart.
fn rendered(options: &[&str]) -> std::process::Output {
    let line = r#"source dev/lib.sh; locate_binaries; exec "$helm" template mayday charts/mayday -n mayday-system "$@""#;
    Command::new("bash").args(["-c", line, "helm"]).args(options).current_dir(root()).output().unwrap()
}

#[test]
fn the_api_server_takes_all_of_the_chart() {
    // With the Deployment, as in a cluster with images; the other tests install the chart without it.
    let output = rendered(&[]);
    let mut manifests = String::from_utf8(output.stdout).unwrap();
    // Those that are there lead to a process, and cannot lead to a Service besides.
    for webhooks in ["guard-stamp", "guard", "change-gate"] {
        let name = format!("  name: mayday-{webhooks}\n");
        assert!(manifests.contains(&name), "{name}");
        manifests = manifests.replace(&name, &format!("  name: trial-{webhooks}\n"));
    }
    for kind in ["Deployment", "Job", "Service", "ValidatingAdmissionPolicy", "CustomResourceDefinition"] {
        assert!(manifests.contains(&format!("kind: {kind}\n")), "no {kind}");
    }
    let apply = "kubectl apply --server-side --force-conflicts --field-manager=trial --dry-run=server -f -";
    Cluster::shared().admin().pipes(&manifests, apply).passes();
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (options, named) in [
        (["--set", "nonsense=true"], "nonsense"),
        (["--set", "webhook.timeoutSeconds=soon"], "timeoutSeconds"),
        (["--set", "config.intake.address=somewhere"], "address"),
        (["--set", "rbac.namespaces={Shop}"], "namespaces"),
    ] {
        let output = rendered(&options);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{options:?}: {said}");
    }
}

/// What writes `mayday.dev` may be asked for, each with its resource.
const OURS: [&str; 13] = [
    "alertsources",
    "approvals",
    "businessservices",
    "changepolicies",
    "changerequests",
    "freezes",
    "incidents",
    "notificationchannels",
    "notifications",
    "oncalloverrides",
    "oncallrotations",
    "runbookruns",
    "runbooks",
];

/// The rights of a user in a namespace, as the API server says: `create incidents`.
fn rights(admin: &Person, user: &str, groups: &[&str], namespace: &str) -> BTreeSet<String> {
    let groups = [&["system:authenticated"], groups].concat();
    let verbs = ["get", "create", "patch", "delete"];
    let mut acts: Vec<(&str, &str, &str, &str)> = Vec::new();
    for verb in verbs {
        acts.extend(OURS.iter().map(|resource| (verb, "mayday.dev", *resource, "")));
        acts.extend([(verb, "", "secrets", ""), (verb, "", "pods", ""), (verb, "apps", "deployments", "")]);
        acts.extend([(verb, "", "pods", "exec"), (verb, "", "pods", "status"), (verb, "*", "*", "")]);
        acts.extend([
            (verb, "mayday.dev", "incidents", "status"),
            (verb, "rbac.authorization.k8s.io", "clusterroles", ""),
        ]);
    }
    let reviews: Vec<Value> = acts
        .iter()
        .map(|(verb, group, resource, subresource)| {
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
                "user": user, "groups": groups, "resourceAttributes": {
                    "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}}})
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": reviews});
    let said = admin.pipes(&list.to_string(), "kubectl create -o json -f -").passes();
    // One document after the other.
    let answers = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let answers: Vec<Value> = answers.map(Result::unwrap).collect();
    assert_eq!(answers.len(), acts.len());
    let granted = acts.iter().zip(&answers).filter(|(_, answer)| answer["status"]["allowed"] == true);
    granted
        .map(|((verb, _, resource, subresource), _)| match *subresource {
            "" => format!("{verb} {resource}"),
            subresource => format!("{verb} {resource}/{subresource}"),
        })
        .collect()
}

/// Whether a user may read a kind by now.
fn may_read(admin: &Person, user: &str, what: &str) -> Option<()> {
    admin.types(&format!("kubectl auth can-i get {what} --as {user}")).succeeded().then_some(())
}

#[test]
fn each_role_of_people_may_what_it_says_and_no_more() {
    let admin = Cluster::shared().admin();
    let namespace = fresh("roles");
    admin.types(&format!("kubectl create namespace {namespace}")).passes();
    let of = |user: &str| rights(&admin, user, &[], &namespace);
    let reads: BTreeSet<String> = OURS.iter().map(|resource| format!("get {resource}")).collect();
    for (role, writes) in [
        ("viewer", &[][..]),
        (
            "responder",
            &[
                "create incidents",
                "patch incidents",
                "create changerequests",
                "patch changerequests",
                "delete changerequests",
                "create runbookruns",
                "patch runbookruns",
                "delete runbookruns",
                "create approvals",
                "create oncalloverrides",
                "patch oncalloverrides",
                "delete oncalloverrides",
            ][..],
        ),
        (
            "approver",
            &[
                "create approvals",
                "delete approvals",
                "create changerequests",
                "patch changerequests",
                "delete changerequests",
            ][..],
        ),
        ("communications", &["patch incidents"][..]),
    ] {
        let user = format!("{namespace}-{role}");
        let binding = format!("{role} --clusterrole=mayday-{role} --user={user} -n {namespace}");
        admin.types(&format!("kubectl create rolebinding {binding}")).passes();
        let expected: BTreeSet<String> =
            writes.iter().map(ToString::to_string).chain(reads.clone()).collect();
        // The API server learns of a binding a little later.
        eventually(role, || may_read(&admin, &user, &format!("incidents -n {namespace}")));
        assert_eq!(of(&user), expected, "{role}");
    }
    let user = format!("{namespace}-freezer");
    let binding = format!("{namespace} --clusterrole=mayday-freezer --user={user}");
    admin.types(&format!("kubectl create clusterrolebinding {binding}")).passes();
    eventually("freezer", || may_read(&admin, &user, "freezes"));
    let freezes = ["get changepolicies", "get freezes", "create freezes", "patch freezes", "delete freezes"];
    assert_eq!(of(&user), freezes.map(str::to_owned).into());

    // Who may use accounts may do nothing else.
    let user = format!("{namespace}-account-user");
    let binding = format!("{user} --clusterrole=mayday-account-user --user={user} -n {namespace}");
    admin.types(&format!("kubectl create rolebinding {binding}")).passes();
    let can = format!("kubectl auth can-i use serviceaccounts/runbooks -n {namespace} --as {user}");
    eventually("account-user", || admin.types(&can).succeeded().then_some(()));
    assert_eq!(of(&user), BTreeSet::new());

    // The account that runs the pods here has the rights of a kubelet, and no more.
    let kubelet = rights(&admin, "system:node:kwok-0", &["system:nodes"], &namespace);
    let pods = |right: &String| right.contains(" pods");
    assert!(kubelet.contains("patch pods/status") && kubelet.iter().all(pods), "{kubelet:?}");
    assert!(!kubelet.contains("create pods/exec"), "{kubelet:?}");
}
