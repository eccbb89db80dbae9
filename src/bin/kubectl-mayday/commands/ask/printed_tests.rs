//! The command that a refusal prints asks for exactly the refused change, whatever its values: it is pasted into a real
//! shell, read by the real parser, and its patch is done to the object.
//!
//! The kind of fault: a printed command does not do what it says.

use std::process::Command as Process;

use clap::Parser;
use kube::api::Patch;
use mayday::change::diff::{self, merge, patch, server_assigned};
use mayday::change::gate::action::Action;
use mayday::change::gate::refusal;
use mayday::webhook::review;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::build;
use crate::client::manifest;
use crate::commands::cli::{Cli, Command};

/// What a shell, a terminal or JSON might take for more than a character.
const HARD: &str = "['\"\\\\$`!#&;|<>(){}*?~% \t\r\n\u{1b}\u{7f}é…😀\u{202e}a-c=:/,-]{0,12}";

/// The words of a command as `sh` passes them.
fn words(command: &str) -> Vec<String> {
    let script = format!("set -- {command}\nfor word; do printf '%s\\0' \"$word\"; done");
    let output = Process::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{command}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// An attempt that was refused: an update, or with no state before a creation.
fn attempt(before: Option<&Value>, after: &Value) -> Action {
    let api_version = after["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (kind, name) = (after["kind"].as_str().unwrap(), after["metadata"]["name"].as_str().unwrap());
    let operation = if before.is_some() { "UPDATE" } else { "CREATE" };
    let whole = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r", "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
        "name": name, "namespace": "shop", "operation": operation, "userInfo": {"username": "emil"},
        "oldObject": before, "object": after, "dryRun": false}});
    Action::read(&review::read(whole.to_string().as_bytes()).unwrap(), "m").unwrap()
}

/// The object after what the printed command asks for.
fn asked_for(command: &str, live: Option<&Value>) -> Value {
    let words = words(command);
    assert_eq!(words[..2], ["kubectl", "mayday"], "{command}");
    let cli =
        Cli::try_parse_from(std::iter::once("kubectl-mayday").chain(words[2..].iter().map(String::as_str)));
    let Command::Ask(args) = cli.unwrap_or_else(|error| panic!("{command}: {error}")).command else {
        panic!("{command}")
    };
    let Some(live) = live else {
        let file = super::contents(&args.file[0]).unwrap();
        return manifest::documents(&file, "f").unwrap().remove(0);
    };
    let target = manifest::object(live).unwrap();
    let changes =
        build::of_target(&args, &target, Some(live)).unwrap_or_else(|error| panic!("{command}: {error}"));
    let [change] = changes.as_slice() else { panic!("{command}") };
    match patch::of(change).unwrap() {
        Patch::Json(operations) => {
            let mut object = live.clone();
            json_patch::patch(&mut object, &operations).unwrap();
            object
        }
        Patch::Strategic(patch) => merge::patched(&patch, live, true),
        Patch::Merge(patch) => merge::patched(&patch, live, false),
        other => panic!("{other:?}"),
    }
}

fn texts() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[a-c~/.]{1,3}", HARD, 0..4)
        .prop_map(|map| map.into_iter().map(|(name, value)| (name, Value::from(value))).collect())
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let variable = (
        prop_oneof!["A", "B", "C"],
        prop_oneof![
            HARD.prop_map(|value| json!({"value": value})),
            Just(json!({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})),
        ],
    )
        .prop_map(|(name, mut value)| {
            value["name"] = json!(name);
            value
        });
    let probe = prop_oneof![
        Just(json!({"httpGet": {"port": 80}})),
        Just(json!({"tcpSocket": {"port": 80}})),
        Just(Value::Null)
    ];
    let port = prop::sample::subsequence(vec![80, 443, 53], 0..3).prop_map(|ports| {
        ports.into_iter().map(|port| json!({"containerPort": port, "protocol": "TCP"})).collect()
    });
    (
        "[a-z]{1,4}:v[0-9]|x; reboot",
        prop::collection::vec(variable, 0..3),
        prop::collection::vec(HARD, 0..3),
        probe,
        prop_oneof![Just(json!(null)), Just(json!({"limits": {"cpu": "1"}}))],
        port,
    )
        .prop_map(
            move |(image, mut env, args, probe, resources, ports): (_, Vec<Value>, _, _, _, Value)| {
                env.dedup_by_key(|variable| variable["name"].clone());
                env.sort_by_key(|variable| variable["name"].to_string());
                env.dedup_by_key(|variable| variable["name"].clone());
                json!({"name": name, "image": image, "env": env, "args": args, "livenessProbe": probe,
                "resources": resources, "ports": ports})
            },
        )
}

/// A Deployment as the API server shows it, without nulls and empty maps of metadata.
fn deployment() -> impl Strategy<Value = Value> {
    let volume = prop_oneof![
        Just(json!({"name": "work", "emptyDir": {}})),
        Just(json!({"name": "work", "secret": {"secretName": "s"}}))
    ];
    let strategy = prop_oneof![
        Just(json!({"type": "Recreate"})),
        Just(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}))
    ];
    let time = prop::option::of("2026-11-22T12:00:0[0-9]Z");
    let containers = (container("app"), container("log"), any::<bool>())
        .prop_map(|(app, log, both)| if both { json!([app, log]) } else { json!([app]) });
    let finalizers = prop::collection::vec("[a-c]{1,2}/[a-c]", 0..3);
    ((texts(), texts(), finalizers), strategy, time, containers, prop::option::of(volume), 0..5, any::<bool>()).prop_map(
        |((labels, annotations, finalizers), strategy, time, containers, volume, replicas, paused)| {
            let restarted = time.map(|time| json!({"kubectl.kubernetes.io/restartedAt": time}));
            let volumes: Vec<Value> = volume.into_iter().collect();
            let mut object = diff::operations::without_nulls(&json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "checkout", "namespace": "shop", "uid": "u", "labels": labels, "annotations": annotations,
                    "finalizers": finalizers},
                "spec": {"replicas": replicas, "paused": paused.then_some(true), "strategy": strategy,
                    "template": {"metadata": {"annotations": restarted}, "spec": {"containers": containers, "volumes": volumes}}}}));
            for map in ["labels", "annotations"] {
                if object["metadata"][map] == json!({}) {
                    object["metadata"].as_object_mut().unwrap().remove(map);
                }
            }
            object
        },
    )
}

/// What differs between two states, where an empty map says nothing.
fn differing(one: &Value, other: &Value) -> Vec<String> {
    let is_empty = |value: &Option<Value>| value.as_ref().is_none_or(|value| *value == json!({}));
    let deltas = diff::values(one, other).into_iter();
    deltas
        .filter(|delta| {
            !(is_empty(&delta.before) && is_empty(&delta.after) && delta.path.contains("metadata"))
        })
        .map(|delta| format!("{delta:?}"))
        .collect()
}

/// The usual number of cases, times `MAYDAY_CASES`.
fn cases() -> u32 {
    std::env::var("MAYDAY_CASES").ok().map_or(96, |factor| 96 * factor.parse::<u32>().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_printed_command_asks_for_exactly_the_refused_update(before in deployment(), after in deployment()) {
        let action = attempt(Some(&before), &after);
        prop_assume!(!action.delta.is_empty());
        let command = refusal::ask(&action, "mayday-system");
        let is_whole_file = command.contains("-f FILE");
        prop_assert!(!is_whole_file || command.len() < 100, "{}", command);
        if !is_whole_file && !command.contains("--restart") {
            let wanted = server_assigned::as_written(&before, &after);
            let asked = asked_for(&command, Some(&before));
            prop_assert_eq!(differing(&asked, &wanted), Vec::<String>::new(), "{}", command);
        }
    }

    #[test]
    fn the_printed_command_holds_exactly_the_refused_new_object(data in texts(), labels in texts()) {
        let owned = |map: &Map<String, Value>| -> Map<String, Value> {
            map.keys().map(|name| (format!("f:{name}"), json!({}))).collect()
        };
        let created = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": {"name": "limits",
            "namespace": "shop", "uid": "u", "labels": labels, "managedFields": [{"manager": "kubectl-create", "operation": "Update",
                "fieldsV1": {"f:data": owned(&data), "f:metadata": {"f:labels": owned(&labels)}}}]}});
        let command = refusal::ask(&attempt(None, &created), "mayday-system");
        let asked = asked_for(&command, None);
        prop_assert_eq!(differing(&asked, &created), Vec::<String>::new(), "{}", command);
    }
}
