//! The verdict of the audit log over runs: which operation took effect how often.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::audit;

/// What the runs with a UID changed.
#[derive(Debug, Default)]
pub struct Effects {
    /// How often each operation took effect on an object or created one.
    pub operations: BTreeMap<String, u32>,
    /// The operations of requests that the API server has logged as failed although they may be stored: a client that
    /// goes away is logged as a timeout.
    pub in_doubt: BTreeSet<String>,
    /// The UIDs of the pods that were removed.
    pub pods: BTreeSet<String>,
}

/// The effects of each run by its UID.
pub fn effects(entries: &[Value]) -> BTreeMap<String, Effects> {
    let mut found: BTreeMap<String, Effects> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !audit::is_read(entry)) {
        let Some(uid) = entry["impersonatedUser"]["extra"]["mayday.dev/run"][0].as_str() else { continue };
        let is_in_doubt = entry["responseStatus"]["code"].as_i64().is_some_and(|code| code >= 500);
        if is_in_doubt
            && removed(entry).is_none()
            && entry["requestObject"].to_string().contains(&format!("{uid}/"))
        {
            let operation = operation(entry, uid);
            found.entry(uid.to_owned()).or_default().in_doubt.insert(operation);
        }
        // A question about rights changes nothing.
        if !audit::is_write(entry) || entry["objectRef"]["apiGroup"] == "authorization.k8s.io" {
            continue;
        }
        let effects = found.entry(uid.to_owned()).or_default();
        match removed(entry) {
            Some(pod) => drop(effects.pods.insert(pod.to_owned())),
            None => *effects.operations.entry(operation(entry, uid)).or_default() += 1,
        }
    }
    found
}

/// The UID of the pod that a request removes: every request names it.
fn removed(entry: &Value) -> Option<&str> {
    let options = match (entry["verb"].as_str()?, entry["objectRef"]["subresource"].as_str()) {
        ("delete", None) if entry["objectRef"]["resource"] == "pods" => &entry["requestObject"],
        ("create", Some("eviction")) => &entry["requestObject"]["deleteOptions"],
        _ => return None,
    };
    let uid = options["preconditions"]["uid"].as_str();
    assert!(uid.is_some(), "a pod is removed whichever it is: {entry:#}");
    uid
}

/// The operation whose mark a request carries: of several it is the one that the request sets, not one that an older
/// act has left in a template.
fn operation(entry: &Value, uid: &str) -> String {
    let said = entry["requestObject"].to_string();
    let begin = format!("\"{uid}/");
    let marks: BTreeSet<&str> = said
        .match_indices(&begin)
        .map(|(at, _)| said[at + 1..].split('"').next().unwrap_or_default())
        .collect();
    let own = |mark: &&&str| !mark.contains("/restart/") || marks.len() == 1;
    let mark = marks.iter().find(own).copied();
    mark.unwrap_or_else(|| panic!("a run writes without its operation: {entry:#}")).to_owned()
}

/// Compares a run with what it did. Every operation took effect at most once, and exactly once if the run says that it
/// did. Returns how many operations took effect.
#[track_caller]
pub fn agrees(run: &Value, effects: &BTreeMap<String, Effects>) -> usize {
    let none = Effects::default();
    let name = &run["metadata"]["name"];
    let effects = effects.get(run["metadata"]["uid"].as_str().unwrap()).unwrap_or(&none);
    for (operation, count) in &effects.operations {
        assert_eq!(*count, 1, "run/{name}: {operation} took effect {count} times");
    }
    let mut announced = BTreeSet::new();
    for act in acts(run) {
        let operation = act["operationId"].as_str().unwrap();
        assert!(announced.insert(operation), "run/{name} announces {operation} twice");
        let pods: Vec<&str> =
            act["pods"].as_array().into_iter().flatten().map(|pod| pod["uid"].as_str().unwrap()).collect();
        let is_for_others = act["verb"] == "Send" || !pods.is_empty();
        let done = matches!(act["outcome"].as_str(), Some("Done" | "Settled"));
        if done && !is_for_others {
            assert!(
                effects.operations.contains_key(operation) || effects.in_doubt.contains(operation),
                "run/{name}: {operation} had no effect: {act:#}"
            );
        }
        if act["outcome"] == "Unneeded" {
            assert!(
                !effects.operations.contains_key(operation),
                "run/{name}: {operation} had an effect: {act:#}"
            );
        }
    }
    for operation in effects.operations.keys() {
        assert!(announced.contains(operation.as_str()), "run/{name} did not announce {operation}");
    }
    let known = acts(run).flat_map(|act| act["pods"].as_array().into_iter().flatten());
    let known: BTreeSet<&str> = known.map(|pod| pod["uid"].as_str().unwrap()).collect();
    let others: Vec<_> = effects.pods.iter().filter(|pod| !known.contains(pod.as_str())).collect();
    assert!(others.is_empty(), "run/{name} removed pods that it did not announce: {others:?}");
    effects.operations.len() + effects.pods.len()
}

/// The acts of a run, forwards and back.
fn acts(run: &Value) -> impl Iterator<Item = &Value> {
    let steps = run["status"]["steps"].as_array().into_iter().flatten();
    steps.flat_map(|step| {
        let back = step["compensation"]["acts"].as_array().into_iter().flatten();
        step["acts"].as_array().into_iter().flatten().chain(back)
    })
}
