//! Runbooks that could not act, and runs with values that a Runbook does not take.

use serde_json::{Value, json};

use super::{is_one_sentence, namespace, stored, told};
use crate::change::shop::Shop;
use crate::support::Cluster;

/// A Runbook that is in order, with changes to its spec.
fn runbook(change: &Value) -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    let mut object = stored(
        "Runbook",
        "restart",
        json!({
            "summary": "Restart checkout", "serviceAccountName": "hands",
            "preconditions": [{"target": target, "expression": "object.spec.replicas > 1", "message": "one replica is an outage"}],
            "parameters": [{"name": "replicas", "integer": {"default": 3, "maximum": 9}}],
            "steps": [{"name": "restart", "restart": {"target": target}}],
        }),
    );
    json_patch::merge(&mut object["spec"], change);
    object
}

fn guarded(expression: &str) -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    json!({"preconditions": [{"target": target, "expression": expression, "message": "m"}]})
}

#[test]
fn a_runbook_that_could_not_act_is_refused_with_what_and_where() {
    let admin = Cluster::shared().admin();
    let namespace = namespace();
    let apply = format!("kubectl apply -n {namespace} -f -");
    let step = |step: Value| json!({"steps": [step]});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"});
    // The schema checks its shape.
    let both = step(json!({"name": "both", "wait": {"duration": "1s"}, "manual": {"instructions": "x"}}));
    let shapeless = [
        (json!({"serviceAccountName": ""}), "spec.serviceAccountName: Invalid value"),
        (both, "spec.steps[0]: Invalid value: a step does exactly one thing: set one of restart"),
    ];
    // The guard checks its content, and names the next command.
    let number =
        json!({"name": "scale", "scale": {"target": target, "replicasFrom": {"parameter": "number"}}});
    let senseless = [
        (json!({"serviceAccountName": null}), "Refused: spec: missing field `serviceAccountName`"),
        (
            step(number),
            "Refused: spec.steps[0].scale.replicasFrom.parameter: no integer parameter is named \"number\"",
        ),
        (
            guarded("object.spec.("),
            "Refused: spec.preconditions[0].expression: the CEL expression does not compile: ",
        ),
        (guarded("spec.replicas > 1"), "Refused: spec.preconditions[0].expression: \"spec\" is not known"),
    ];
    let refused = |change: &Value, because: &str| {
        let said = admin.pipes(&runbook(change).to_string(), &apply).is_refused();
        assert!(said.contains(because), "{because:?} is not in: {said}");
        said
    };
    for (change, because) in &shapeless {
        refused(change, because);
    }
    for (change, because) in &senseless {
        let said = refused(change, because);
        is_one_sentence(&said, "kubectl explain r");
    }
    let left = admin.types(&format!("kubectl get rb -n {namespace} -o name")).passes();
    assert_eq!(left, "", "nothing is half done");

    // A good one is not replaced by a bad one.
    admin.pipes(&runbook(&json!({})).to_string(), &apply).passes();
    let spec = || admin.reads(&format!("rb/restart -n {namespace}"))["spec"].clone();
    let before = spec();
    for (change, because) in shapeless.iter().chain(&senseless[1..]) {
        refused(change, because);
    }
    assert_eq!(spec(), before);

    for (parameters, because) in [
        (
            json!([{"name": "number", "integer": 4}]),
            "Refused: spec.parameters[0].name: the Runbook has no parameter \"number\": it has replicas",
        ),
        (json!([{"name": "replicas", "integer": 10}]), "Refused: spec.parameters[0]: "),
        (json!([{"name": "replicas", "string": "four"}]), "Refused: spec.parameters[0]: "),
    ] {
        let run = json!({"runbookRef": {"name": "restart"}, "parameters": parameters});
        let run = stored("RunbookRun", "one", run).to_string();
        let said = admin.pipes(&run, &format!("kubectl create -n {namespace} -f -")).is_refused();
        is_one_sentence(&said, because);
        assert!(said.contains(&format!("kubectl get rb restart -n {namespace}")), "{said}");
    }
    assert_eq!(admin.types(&format!("kubectl get run -n {namespace} -o name")).passes(), "");
}

#[test]
fn a_runbook_whose_service_account_is_not_there_waits_for_it_and_says_how() {
    let admin = Cluster::shared().admin();
    let namespace = namespace();
    admin.pipes(&runbook(&json!({})).to_string(), &format!("kubectl apply -n {namespace} -f -")).passes();
    let what = format!("rb/restart -n {namespace}");
    let mut said = Vec::new();
    // Each sentence ends with the command that mends it, which is typed as it stands.
    for wanted in ["does not exist", "is not meant for runbooks"] {
        let ready = told_with(&what, wanted);
        let (_, command) = ready.split_once(": ").unwrap();
        admin.types(command).passes();
        said.push(ready);
    }
    assert!(said.iter().all(|sentence| sentence.starts_with("serviceaccount/hands ")), "{said:?}");
    told(&what, "Ready", "True");
}

/// What its `Ready` condition says, once it holds those words.
fn told_with(what: &str, words: &str) -> String {
    crate::support::eventually(words, || {
        let object = Cluster::shared().admin().reads(what);
        let ready = crate::support::condition(&object, "Ready")?["message"].as_str()?.to_owned();
        ready.contains(words).then_some(ready)
    })
}

#[test]
fn a_run_of_what_was_made_a_moment_ago_is_started() {
    // Without a policy it could not be approved, and the run would be refused.
    let shop = Shop::open();
    let (admin, namespace) = (shop.admin(), &shop.namespace);
    let incident = stored("Incident", "now", json!({"title": "nobody can pay", "severity": "SEV3"}));
    let run = json!({"runbookRef": {"name": "restart"}, "incidentRef": {"name": "now"}, "dryRun": true});
    let items = [runbook(&json!({})), incident, stored("RunbookRun", "now", run)];
    let all = json!({"apiVersion": "v1", "kind": "List", "items": items});
    admin.pipes(&all.to_string(), &format!("kubectl create -n {namespace} -f -")).passes();
}
