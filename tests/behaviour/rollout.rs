//! A rollout is complete, underway or failed exactly when `kubectl rollout status` says so.

use mayday::cluster::rollout::{self, Rollout};
use serde_json::{Value, json};

use crate::support::{Cluster, Person, Random, cases, fresh};

/// How many random edits are tried for each kind.
const EDITS: usize = 6;

fn workload(kind: &str, namespace: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "it", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": kind}}, "template": {"metadata": {"labels": {"app": kind}},
            "spec": {"containers": [{"name": "app", "image": "shop/it:v0"}]}}},
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = "it".into();
    }
    object
}

fn edit(kind: &str, random: &mut Random) -> Value {
    let image = format!("shop/it:v{}", random.below(4));
    let mut spec = json!({"template": {"spec": {"containers": [{"name": "app", "image": image}]}}});
    let replicas = random.below(4);
    match kind {
        "Deployment" => {
            spec["replicas"] = replicas.into();
            spec["paused"] = (random.below(3) == 0).into();
            spec["strategy"] = match random.below(2) {
                0 => json!({"type": "Recreate", "rollingUpdate": null}),
                _ => json!({"type": "RollingUpdate"}),
            };
        }
        "StatefulSet" => {
            spec["replicas"] = replicas.into();
            spec["updateStrategy"] = match random.below(4) {
                0 => json!({"type": "OnDelete", "rollingUpdate": null}),
                _ => json!({"type": "RollingUpdate", "rollingUpdate": {"partition": random.below(5)}}),
            };
        }
        _ => {
            spec["updateStrategy"] = match random.below(3) {
                0 => json!({"type": "OnDelete", "rollingUpdate": null}),
                _ => json!({"type": "RollingUpdate"}),
            };
        }
    }
    json!({"spec": spec})
}

/// What kubectl says: complete, still waiting, or an error.
fn kubectl(admin: &Person, what: &str) -> &'static str {
    let said = admin.types(&format!("kubectl rollout status {what} --watch=false"));
    let is_complete = said.shows().contains("successfully rolled out") || said.shows().contains("complete");
    match (said.succeeded(), is_complete) {
        (true, true) => "complete",
        (true, false) => "waiting",
        (false, _) => "failed",
    }
}

fn ours(kind: &str, object: &Value) -> &'static str {
    match rollout::status(kind, object, "it") {
        Rollout::Complete(_) => "complete",
        Rollout::Unobserved(_) | Rollout::Underway(_) => "waiting",
        Rollout::Failed(_) => "failed",
    }
}

// Kind of fault: a check of ours and the API server's own tool disagree about the same object.
#[test]
fn the_verdict_on_a_rollout_is_that_of_kubectl() {
    let admin = Cluster::shared().admin();
    let namespace = fresh("rollouts");
    admin.types(&format!("kubectl create namespace {namespace}")).passes();
    let mut random = Random::seeded();
    let mut compared = 0;
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let what = format!("{}/it -n {namespace}", kind.to_lowercase());
        admin.applies(&workload(kind, &namespace).to_string()).passes();
        for _ in 0..cases(EDITS) {
            let edit = edit(kind, &mut random);
            admin.types(&format!("kubectl patch {what} --type strategic -p '{edit}'")).passes();
            // The object changes while its controller works, so several of its states are seen.
            for _ in 0..3 {
                let before = admin.reads(&what);
                let theirs = kubectl(&admin, &what);
                let after = admin.reads(&what);
                if before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"] {
                    assert_eq!(ours(kind, &before), theirs, "after {edit}: {before:#}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 3 * cases(EDITS), "only {compared} states held still");
    admin.types(&format!("kubectl delete namespace {namespace} --wait=false")).passes();
}
