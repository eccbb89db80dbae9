//! The chart says the same as the code, and gives no right without a reason. What it does is shown by the
//! behaviour tests, which install it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mayday::api::crds;
use mayday::api::incident_status::IncidentState;
use mayday::api::runbook_run::{RUN_FINALIZER, RunState};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/mayday/templates")
}

fn template(path: &str) -> String {
    fs::read_to_string(templates().join(path)).unwrap()
}

fn rights() -> Vec<(String, String)> {
    let files: Vec<_> =
        fs::read_dir(templates().join("rbac")).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_right_has_a_reason_and_no_wildcard() {
    for (path, text) in rights() {
        let mut before = "";
        let mut rules = 0;
        for line in text.lines() {
            if line.starts_with("- apiGroups:") {
                rules += 1;
                assert!(before.starts_with('#'), "{path}: no reason stands above rule {rules}");
            }
            let code = line.split(" #").next().unwrap_or_default();
            assert!(code.starts_with('#') || !code.contains('*'), "{path}: a wildcard in `{line}`");
            before = line;
        }
        assert!(rules > 0, "{path} holds no rule");
    }
}

#[test]
fn nobody_writes_secrets_outside_the_operators_namespace() {
    for (path, text) in rights() {
        for document in text.split("\n---\n").filter(|document| document.contains("kind: ClusterRole\n")) {
            for rule in document.split("\n- apiGroups:").skip(1).filter(|rule| rule.contains("[secrets")) {
                let verbs = rule.lines().find(|line| line.trim_start().starts_with("verbs:")).unwrap();
                // The planner can only pretend (policies/accounts.yaml), and reads nothing.
                let allowed = if path.ends_with("planner.yaml") { "verbs: [delete]" } else { "verbs: [get]" };
                assert_eq!(verbs.trim(), allowed, "{path}");
            }
        }
    }
}

#[test]
fn roles_let_people_and_operator_read_every_kind_and_write_its_status() {
    for crd in crds::all().unwrap() {
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap();
        for file in ["rbac/operator.yaml", "rbac/people.yaml"] {
            assert!(template(file).contains(&format!("\n  - {plural}\n")), "{file} leaves out {plural}");
        }
        let status = format!("\n  - {plural}/status\n");
        assert!(
            template("rbac/operator.yaml").contains(&status),
            "the operator cannot write {plural}/status"
        );
    }
}

#[test]
fn an_incident_may_go_in_the_states_that_are_not_open() {
    let over = |state: IncidentState| !state.is_open();
    assert_eq!(listed("policies/incidents.yaml", "orValue('Open')"), states("incidents", over));
}

#[test]
fn a_run_may_go_in_the_states_that_are_settled() {
    assert_eq!(
        listed("policies/runs.yaml", "orValue('Pending')"),
        states("runbookruns", RunState::is_settled)
    );
    assert!(template("policies/runs.yaml").contains(&format!("'{RUN_FINALIZER}'")));
}

#[test]
fn what_cleans_up_runs_where_the_operator_runs() {
    for field in ["nodeSelector", "tolerations", "affinity"] {
        assert!(template("deployment.yaml").contains(&format!("{field}: {{{{- toYaml . | nindent")));
        assert!(template("hooks.yaml").contains(&format!("with .Values.deployment.{field} ")), "{field}");
    }
}

/// The words of the list that follows `before in`.
fn listed(path: &str, before: &str) -> BTreeSet<String> {
    let text = template(path);
    let rest = text.split(&format!("{before} in [")).nth(1).unwrap();
    let list = rest.split(']').next().unwrap();
    list.split(',').map(|word| word.trim().trim_matches('\'').to_owned()).collect()
}

/// The states of a kind, as its schema lists them, for which something holds.
fn states<S: DeserializeOwned>(plural: &str, holds: impl Fn(S) -> bool) -> BTreeSet<String> {
    let all = crds::all().unwrap();
    let crd = all.iter().find(|crd| crd["spec"]["names"]["plural"] == plural).unwrap();
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    let words = status["properties"]["state"]["enum"].as_array().unwrap();
    let holds = |word: &&Value| holds(serde_json::from_value((*word).clone()).unwrap());
    words.iter().filter(holds).map(|word| word.as_str().unwrap().to_owned()).collect()
}
