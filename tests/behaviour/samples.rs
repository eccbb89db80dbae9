//! The examples as they are. Each applies, and each object says that it is accepted or which field has no
//! effect yet.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;

use crate::shop::Shop;
use crate::support::{Cluster, Person, condition, eventually, root, sample};

/// Objects that are `Ready`.
const READY: &[&str] = &[
    "cpol/production",
    "frz/year-end",
    "oncall/crisis-leads",
    "oncall/payments",
    "oncall/second-approvers",
    "oncall/support",
    "override/emil-asks-bea",
    "override/emil-dentist",
    "chan/oncall-webhook",
    "chan/crisis-room",
    "bsvc/checkout",
    "asrc/alertmanager",
    "asrc/workloads",
    "rb/restart-checkout",
    "rb/scale-checkout",
    "rb/rollback-checkout",
    "rb/errors-1-restart",
    "rb/errors-2-capacity",
    "rb/errors-3-last-release",
];

/// Objects that are not `Ready`, and the field that this version does not act on.
const NOT_YET: &[(&str, &str)] = &[
    ("chan/oncall-mail", "spec.email"),
    ("asrc/nightly-export", "spec.heartbeat"),
    ("asrc/checkout-queue", "spec.query"),
];

/// `Ready` of an object as it is now, with kstatus' conditions beside it.
#[track_caller]
fn is(admin: &Person, what: &str, status: &str) -> Value {
    eventually(&format!("{what} is Ready={status}"), || {
        let object = admin.reads(&format!("{what} -n shop"));
        let ready = condition(&object, "Ready").filter(|ready| ready["status"] == status)?;
        let generation = &object["metadata"]["generation"];
        let current = |observed: &Value| observed == generation;
        // Otherwise the condition would describe an older spec.
        (current(&ready["observedGeneration"]) && current(&object["status"]["observedGeneration"]))
            .then_some(object)
    })
}

fn is_ready(admin: &Person, what: &str) {
    let object = is(admin, what, "True");
    for kind in ["Stalled", "Reconciling"] {
        assert!(condition(&object, kind).is_none_or(|seen| seen["status"] != "True"), "{object:#}");
    }
}

fn is_not_implemented(admin: &Person, what: &str, field: &str) {
    let object = is(admin, what, "False");
    let ready = condition(&object, "Ready").unwrap();
    assert_eq!(ready["reason"], "NotImplemented", "{what}: {ready}");
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains(field) && message.contains("leave it out"), "{what}: {message}");
    assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True", "kstatus calls it failed");
}

/// The documents of a sample that hold this line.
fn with(file: &str, line: &str) -> String {
    let text = sample(file);
    let found: Vec<&str> = text.split("\n---\n").filter(|document| document.contains(line)).collect();
    assert_eq!(found.len(), 1, "{line} in {file}");
    found[0].to_owned()
}

/// An Approval of the samples for a subject as it is stored.
fn decides(admin: &Person, who: &Person, subject: &str, line: &str, digest: impl Fn(&Value) -> Value) {
    let object = eventually("it has a digest", || {
        Some(admin.reads(&format!("{subject} -n shop"))).filter(|object| digest(object).is_string())
    });
    let digest = digest(&object);
    let mut manifest = with("70-approvals.yaml", line);
    manifest = manifest.replace("<metadata.uid>", object["metadata"]["uid"].as_str().unwrap());
    for placeholder in ["<status.digest>", "<status.checks[payments].digest>"] {
        manifest = manifest.replace(placeholder, digest.as_str().unwrap());
    }
    let later = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(24 * 90)).unwrap();
    manifest = manifest.replace("2027-05-01T00:00:00Z", &later.to_string());
    let said = who.pipes(&manifest, "kubectl create -o name -f -").passes();
    let name = said.trim().rsplit('/').next().unwrap().to_owned();
    is_ready(admin, &format!("approval/{name}"));
    // It is Ready once it is recorded; its subject counts it a little later.
    eventually("it counts", || {
        let counted = admin.reads(&format!("approval/{name} -n shop"));
        (condition(&counted, "Counted")?["status"] == "True").then_some(())
    });
}

#[test]
fn every_example_applies_and_says_whether_it_is_acted_on() {
    let cluster = Cluster::start("samples");
    let shop = Shop::open(&cluster, &[]);
    let admin = &shop.admin;
    admin.applies(&sample("41-ladder.yaml")).passes();
    READY.iter().for_each(|what| is_ready(admin, what));
    NOT_YET.iter().for_each(|(what, field)| is_not_implemented(admin, what, field));

    // The examples of the page about Runbooks.
    let page = include_str!("../../docs/runbooks.md");
    let examples = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let said: Vec<String> =
        examples.map(|example| admin.pipes(example, "kubectl apply -o name -f -").passes()).collect();
    let names: Vec<String> = said
        .iter()
        .flat_map(|said| said.lines())
        .map(|name| format!("rb/{}", name.trim().rsplit('/').next().unwrap()))
        .collect();
    assert_eq!(names.len(), 8, "{names:?}");
    names.iter().for_each(|name| is_ready(admin, name));

    shop.emil.applies(&sample("60-changes.yaml")).passes();
    is_ready(admin, "chg/checkout-v2");
    is_ready(admin, "chg/checkout-sale");
    is_not_implemented(admin, "chg/look-inside", "spec.changes");
    let digest = |object: &Value| object["status"]["digest"].clone();
    decides(admin, &shop.amir, "chg/checkout-v2", "kind: ChangeRequest", digest);
    decides(admin, &shop.bea, "rb/restart-checkout", "kind: Runbook,", digest);

    shop.emil.applies(&sample("50-incident.yaml")).passes();
    is_ready(admin, "inc/cannot-pay");
    let question = |object: &Value| {
        let checks = object["status"]["checks"].as_array().into_iter().flatten();
        let payments = checks.into_iter().find(|check| check["name"] == "payments");
        payments.map_or(Value::Null, |check| check["digest"].clone())
    };
    decides(admin, &shop.emil, "inc/cannot-pay", "check: payments", question);

    let run = shop.emil.pipes(&sample("51-run.yaml"), "kubectl create -o name -f -").passes();
    let run = run.trim().rsplit('/').next().unwrap();
    is_ready(admin, &format!("run/{run}"));
    let run = admin.reads(&format!("run/{run} -n shop"));
    // It asks nothing yet, so there is nothing to answer.
    let answer = with("70-approvals.yaml", "kind: RunbookRun")
        .replace("<run>", run["metadata"]["name"].as_str().unwrap())
        .replace("<metadata.uid>", run["metadata"]["uid"].as_str().unwrap())
        .replace("<status.digest>", &format!("v1:sha256:{}", "0".repeat(64)));
    let said = shop.emil.pipes(&answer, "kubectl create -f -").is_refused();
    assert!(said.contains("Refused: ") && said.contains("look"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    let blocked = condition(&run, "Blocked").unwrap();
    let why = blocked["message"].as_str().unwrap();
    assert!(
        blocked["status"] == "True" && why.starts_with("rb/rollback-checkout is not approved"),
        "{blocked}"
    );

    let file = root().join("config/samples/80-review.yaml");
    let patch =
        format!("kubectl -n shop patch incident cannot-pay --type merge --patch-file {}", file.display());
    shop.emil.types(&patch).passes();
    is_not_implemented(admin, "inc/cannot-pay", "spec.review.summary");
    cluster.stop();
}
