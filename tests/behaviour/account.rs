//! The ServiceAccount of a Runbook: who may use it, and what it may do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};

use crate::audit;
use crate::change::shop::Shop;
use crate::support::{Person, condition, eventually, sample};

/// A Runbook that waits for a second, as `checkout-runbooks`.
fn waits(shop: &Shop, name: &str) -> String {
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": shop.namespace},
        "spec": {"summary": "Wait", "start": "Manual", "approval": "Standing", "serviceAccountName": "checkout-runbooks",
            "steps": [{"name": "pause", "wait": {"duration": "1s"}}]}})
    .to_string()
}

/// Protects the workloads of the shop, so that an admin may still write roles. `edit` is a replacement in the policy.
fn protects_workloads(shop: &Shop, (old, new): (&str, &str)) {
    let (policy, _) =
        sample("10-policy.yaml").split_once("\n---").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(policy.contains(old), "{policy}");
    let policy = policy
        .replace(old, new)
        .replace("name: production", &format!("name: {}", shop.policy))
        .replace("names: [shop]", &format!("names: [{}]", shop.namespace))
        .replace(
            "# resources: {include: [{apiGroups: [apps], resources: [\"*\"]}], exclude: [...]}",
            "resources: {include: [{apiGroups: [apps], resources: [\"*\"]}]}",
        );
    shop.admin().applies(&policy).passes();
}

fn approves(shop: &Shop, person: &Person, name: &str) -> crate::support::Output {
    shop.types(person, &format!("kubectl mayday approve -n NS rb/{name} --yes"))
}

fn run(shop: &Shop, name: &str) -> Value {
    shop.admin().reads(&format!("run/{name} -n {}", shop.namespace))
}

/// The command that a refusal or a message tells somebody to type.
fn command(said: &str) -> String {
    let line = said.lines().find(|line| line.contains("kubectl create rolebinding")).unwrap();
    let (_, command) = line.split_once("kubectl create rolebinding").unwrap();
    format!("kubectl create rolebinding{}", command.trim_end())
}

/// Failure list 33: a Runbook names an account that its author or an approver may not use.
#[test]
fn people_write_and_approve_only_what_acts_as_accounts_they_may_use() {
    let shop = Shop::unprotected();
    protects_workloads(&shop, ("", ""));
    let admin = shop.admin();
    for typed in [
        "kubectl create role writers -n NS --verb=get,list,create,update,patch --resource=runbooks.mayday.dev",
        "kubectl create rolebinding writers -n NS --role=writers --user=otto",
        "kubectl delete rolebinding -n NS approvers-use-accounts",
    ] {
        shop.types(&admin, typed).passes();
    }
    let otto = shop.cluster.person("otto", &["shop-technicians"]);
    let refused = eventually("otto may write Runbooks, and not as an account that is not his", || {
        let said = otto.applies(&waits(&shop, "pause")).is_refused();
        said.contains("Refused: the author of a Runbook").then_some(said)
    });
    assert!(refused.contains("otto may not use serviceaccount/checkout-runbooks"), "{refused}");
    // What the refusal says is what grants it.
    admin.types(&command(&refused)).passes();
    eventually("otto may use the account", || otto.applies(&waits(&shop, "pause")).succeeded().then_some(()));

    let (amir, bea) = (shop.amir(), shop.bea());
    let refused = eventually("the role of amir is gone", || {
        let said = approves(&shop, &amir, "pause");
        (!said.succeeded()).then(|| said.is_refused())
    });
    assert!(refused.contains("amir may not use serviceaccount/checkout-runbooks"), "{refused}");
    admin.types(&command(&refused)).passes();
    eventually("amir may approve", || approves(&shop, &amir, "pause").succeeded().then_some(()));
    let grant = "kubectl create rolebinding -n NS bea --clusterrole=mayday-account-user --user=bea";
    shop.types(&admin, grant).passes();
    eventually("bea may approve", || approves(&shop, &bea, "pause").succeeded().then_some(()));

    // Both rights are taken away later: what they have approved begins no more.
    shop.types(&admin, "kubectl delete rolebinding -n NS bea").passes();
    shop.types(&admin, "kubectl wait -n NS rb/pause --for=condition=Approved --timeout=60s").passes();
    let start = |name: &str| {
        let run = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
            "metadata": {"name": name, "namespace": shop.namespace}, "spec": {"runbookRef": {"name": "pause"}}});
        shop.emil().pipes(&run.to_string(), "kubectl create -f -").passes();
    };
    eventually("the API server knows that bea lost it", || {
        let can =
            shop.types(&admin, "kubectl auth can-i use serviceaccounts/checkout-runbooks -n NS --as bea");
        (!can.succeeded()).then_some(())
    });
    start("later");
    let held = eventually("the run waits", || {
        let found = run(&shop, "later");
        (condition(&found, "Blocked")?["reason"] == "NotApproved").then_some(found)
    });
    let why = condition(&held, "Blocked").unwrap()["message"].as_str().unwrap();
    assert!(why.contains("bea may not use serviceaccount/checkout-runbooks"), "{why}");
    // Once it is granted again, the run goes on by itself.
    admin.types(&command(why)).passes();
    eventually("the run succeeds", || (run(&shop, "later")["status"]["state"] == "Succeeded").then_some(()));
}

/// What the Runbook with every kind of step is about, made before the shop is protected.
const BEFORE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: limits, namespace: NS}
data: {rate: "10"}
---
apiVersion: v1
kind: Secret
metadata: {name: cache, namespace: NS}
stringData: {token: sesame}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kustomizations.kustomize.toolkit.fluxcd.io}
spec:
  group: kustomize.toolkit.fluxcd.io
  scope: Namespaced
  names: {plural: kustomizations, singular: kustomization, kind: Kustomization}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"#;

/// The rights of the account, but that on `limits`.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: all-steps, namespace: NS}
rules:
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, patch]}
- {apiGroups: [apps], resources: [replicasets], verbs: [list]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list]}
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [""], resources: [secrets], resourceNames: [cache], verbs: [get]}
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
- {apiGroups: [""], resources: [pods/eviction], verbs: [create]}
- {apiGroups: [batch], resources: [jobs], verbs: [get, create]}
- {apiGroups: [kustomize.toolkit.fluxcd.io], resources: [kustomizations], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: all-steps, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: all-steps}
subjects: [{kind: ServiceAccount, name: checkout-runbooks, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all-steps-NS}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [get, patch]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
- {apiGroups: [""], resources: [pods/eviction], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all-steps-NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all-steps-NS}
subjects: [{kind: ServiceAccount, name: checkout-runbooks, namespace: NS}]
"#;

/// Every kind of step in one Runbook.
fn all_steps(shop: &Shop) -> Value {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let limits = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "limits"});
    let flux =
        json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": "shop"});
    let image = format!("shop/flush@sha256:{}", "0".repeat(64));
    let node = json!({"name": "kwok-0"});
    let steps = json!([
        {"name": "restart", "restart": {"target": deployment}},
        {"name": "rollback", "rollback": {"target": deployment, "to": "Previous"}},
        {"name": "scale", "scale": {"target": deployment, "delta": 1}},
        {"name": "patch", "patch": {"target": limits, "merge": {"data": {"rate": "20"}}, "allowPaths": ["/data/rate"]}},
        {"name": "delete-pod", "deletePod": {"target": {"selector": {"matchLabels": {"app": "checkout"}}}}},
        {"name": "cordon", "cordon": {"target": node}},
        {"name": "uncordon", "uncordon": {"target": node}},
        {"name": "drain", "drain": {"target": node}},
        {"name": "job", "job": {"spec": {"template": {"spec": {"containers": [{"name": "flush", "image": image}]}}}}},
        {"name": "http", "http": {"url": "http://127.0.0.1:9090", "path": "/flush", "method": "PUT", "idempotency": "Key",
            "headers": [{"name": "Authorization", "secretRef": {"name": "cache", "key": "token"}}]}},
        {"name": "wait", "wait": {"duration": "1s"}},
        {"name": "check", "check": {"rollout": {"target": deployment}}},
        {"name": "manual", "manual": {"instructions": "Is it well?"}},
        {"name": "approval", "approval": {"question": "May it go on?"}},
        {"name": "suspend", "suspendGitOps": {"target": flux}},
        {"name": "resume", "resumeGitOps": {"target": flux}}]);
    json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": "everything", "namespace": shop.namespace},
        "spec": {"summary": "Do everything", "start": "Manual", "approval": "Standing",
            "serviceAccountName": "checkout-runbooks", "steps": steps}})
}

/// A dry run by the plugin, as the program that reads it sees it.
fn tries(shop: &Shop) -> Value {
    let said =
        shop.types(&shop.emil(), "kubectl mayday run -n NS everything --dry-run -o json --yes").passes();
    serde_json::from_str(&said).unwrap()
}

/// Failure list 35 and 59: what an account lacks is told before a run begins, and a dry run of every kind of step changes
/// nothing that is stored.
#[test]
fn a_dry_run_of_every_step_tells_what_would_change_and_stores_nothing() {
    let shop = Shop::unprotected();
    let admin = shop.admin();
    let mine = |text: &str| text.replace("NS", &shop.namespace);
    admin.applies(&mine(BEFORE)).passes();
    admin
        .types("kubectl wait crd/kustomizations.kustomize.toolkit.fluxcd.io --for condition=Established --timeout=60s")
        .passes();
    let flux = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": shop.namespace}, "spec": {"path": "./"}});
    admin.applies(&flux.to_string()).passes();
    admin.applies(&mine(RIGHTS)).passes();
    let nodes = "# clusterIdentities: [{namespace: shop, name: node-runbooks}]";
    let ours = format!("clusterIdentities: [{{namespace: {}, name: checkout-runbooks}}]", shop.namespace);
    protects_workloads(&shop, (nodes, &ours));
    admin.applies(&all_steps(&shop).to_string()).passes();

    // The team learns before any outage what the account lacks.
    let book = || admin.reads(&format!("rb/everything -n {}", shop.namespace));
    let told = eventually("the Runbook says what its account lacks", || {
        let permitted = condition(&book(), "Permitted")?.clone();
        (permitted["status"] == "False").then_some(permitted)
    });
    assert_eq!(told["reason"], "AccountLacksPermission");
    let why = told["message"].as_str().unwrap();
    assert!(
        why.contains("may not patch configmaps limits (step patch). Grant it: kubectl create role"),
        "{why}"
    );
    for approver in [shop.amir(), shop.bea()] {
        eventually("it is approved", || approves(&shop, &approver, "everything").succeeded().then_some(()));
    }
    shop.types(&admin, "kubectl wait -n NS rb/everything --for=condition=Approved --timeout=60s").passes();

    // A run waits before its first step, and a dry run says it at the step.
    let start = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "RunbookRun",
        "metadata": {"name": "real", "namespace": shop.namespace}, "spec": {"runbookRef": {"name": "everything"}}});
    shop.emil().pipes(&start.to_string(), "kubectl create -f -").passes();
    let held = eventually("the run waits for the right", || {
        let found = run(&shop, "real");
        (condition(&found, "Blocked")?["reason"] == "AccountLacksPermission").then_some(found)
    });
    assert!(held["status"]["startTime"].is_null(), "{:#}", held["status"]);
    shop.types(&shop.emil(), "kubectl mayday cancel -n NS run/real --yes").passes();
    let of = |tried: &Value, name: &str| -> Value {
        let steps = tried["status"]["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == name).unwrap().clone()
    };
    let tried = tries(&shop);
    let patch = of(&tried, "patch");
    assert_eq!((&patch["state"], &patch["lacks"]), (&json!("Failed"), &json!(["patch configmaps limits"])));
    assert_eq!(of(&tried, "scale")["state"], "Skipped", "the others say what they would do");

    // The command of the condition grants it.
    let (_, grant) = why.split_once("Grant it: ").unwrap();
    for command in grant.split(" && ") {
        admin.types(command).passes();
    }
    eventually("the Runbook sees it by itself", || {
        (condition(&book(), "Permitted")?["status"] == "True").then_some(())
    });

    let writes = || -> Vec<Value> {
        let entries = audit::read(&shop.cluster.file(""), 0).unwrap();
        let account = format!("system:serviceaccount:{}:checkout-runbooks", shop.namespace);
        entries.into_iter().filter(|entry| audit::is_write(entry) && audit::actor(entry) == account).collect()
    };
    let tried = tries(&shop);
    let effects: Vec<String> = tried["status"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            format!(
                "{} {} {}",
                step["name"].as_str().unwrap(),
                step["effect"].as_str().unwrap(),
                step["state"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        effects,
        [
            "restart Mutating Skipped",
            "rollback Mutating Skipped",
            "scale Mutating Skipped",
            "patch Mutating Skipped",
            "delete-pod Mutating Skipped",
            "cordon Mutating Skipped",
            "uncordon Mutating Skipped",
            "drain Mutating Skipped",
            "job Undetermined Skipped",
            "http Undetermined Skipped",
            "wait ReadOnly Skipped",
            "check ReadOnly Skipped",
            "manual ReadOnly Skipped",
            "approval ReadOnly Skipped",
            "suspend Mutating Skipped",
            "resume Mutating Skipped",
        ],
        "{:#}",
        tried["status"]
    );
    // In words and raw, from the API server.
    let said = |name: &str| of(&tried, name)["message"].as_str().unwrap().to_owned();
    assert!(said("scale").contains("(replicas of deployment/checkout in"), "{}", said("scale"));
    assert!(said("scale").contains("3 → 4); the API server accepts it from"), "{}", said("scale"));
    assert!(
        said("scale").contains("what it sees after the steps before it is not known"),
        "{}",
        said("scale")
    );
    assert!(said("patch").contains("/data/rate of configmap/limits"), "{}", said("patch"));
    assert!(said("http").ends_with("a dry run sends nothing"), "{}", said("http"));
    let raw = of(&tried, "patch")["acts"][0]["delta"].clone();
    let rate = raw.as_array().unwrap().iter().find(|delta| delta["path"] == "/data/rate").unwrap();
    assert_eq!((&rate["before"], &rate["after"]), (&json!("10"), &json!("20")));
    // A program gets the object, a person gets the same in words.
    let shown = shop.types(&shop.emil(), "kubectl mayday run -n NS everything --dry-run --yes").passes();
    assert!(shown.contains("configmap/limits /data/rate: \"10\" -> \"20\""), "{shown}");
    assert_eq!(writes(), Vec::<Value>::new(), "nothing was stored");
}

/// Constrained impersonation of Kubernetes: what decision 0080 relies on.
#[test]
fn constrained_impersonation_acts_as_an_account_and_carries_no_mark() {
    let shop = Shop::unprotected();
    let admin = shop.admin();
    let objects = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller, namespace: NS}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: planner, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: caller, namespace: NS}
rules:
- {apiGroups: [authentication.k8s.io], resources: [serviceaccounts], resourceNames: [planner], verbs: ["impersonate:serviceaccount"]}
- {apiGroups: ["*"], resources: ["*"], verbs: ["impersonate-on:serviceaccount:get", "impersonate-on:serviceaccount:list"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: caller, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: caller}
subjects: [{kind: ServiceAccount, name: caller, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: planner, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: planner, namespace: NS}]
"#;
    admin.applies(&objects.replace("NS", &shop.namespace)).passes();
    let caller = shop.cluster.service_account(&shop.namespace, "caller");
    let read = "kubectl get --raw /api/v1/namespaces/NS/configmaps";
    let planner = "--as=system:serviceaccount:NS:planner";
    eventually("it reads as the planner", || {
        shop.types(&caller, &format!("{read} {planner}")).succeeded().then_some(())
    });
    // The planner may write, and the caller may not write as the planner.
    let write = "kubectl create configmap x -n NS --from-literal=a=b";
    let refused = shop.types(&caller, &format!("{write} {planner}")).is_refused();
    assert!(refused.contains("cannot "), "{refused}");
    // With the mark of a run it is refused, although nothing else differs.
    let marked =
        shop.types(&caller, &format!("{read} {planner} --as-user-extra=mayday.dev/run=1")).is_refused();
    assert!(marked.contains("cannot "), "{marked}");
    // No other account.
    shop.types(&caller, &format!("{read} --as=system:serviceaccount:NS:default")).is_refused();
}
