//! Values of which the API server is the author. Pure.
//!
//! Some it maintains: no client can change them, so they are no part of a change. Others it chooses where a client leaves
//! them open: addresses, ports, names. A dry run is given other values than the write that follows it, so no write could
//! match its plan. Each chosen value is therefore replaced by [`ASSIGNED`], in the plan and in the attempted write alike, so
//! that approvers see who chooses it. `managedFields` prove that the client left the choice to the API server: every field
//! that a request sets is listed there before values are assigned, and clients cannot remove an entry. Listed fields are
//! compared as they are. See docs/rules.md#server-assigned-values.

use serde_json::Value;

use crate::api::change_request::Delta;

/// Replacement of an assigned value.
pub const ASSIGNED: &str = "assigned by the API server";

/// Who decides on a value, if not the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Author {
    /// The API server or a controller of Kubernetes alone: what a client writes there has no effect, or carries no decision
    /// about the object.
    Maintained,
    /// The API server where a client leaves it open.
    Chosen,
}

/// Every value of which the API server is the author: API group and kind (`*`: each), path, author. An element of a list is
/// `*`. What is drawn for a new Job and a new Pod is in [`job`] and [`pod`], since its place depends on the value.
const VALUES: &[(&str, &str, &str, Author)] = &[
    ("*", "*", "/apiVersion", Author::Maintained),
    ("*", "*", "/kind", Author::Maintained),
    ("*", "*", "/metadata/managedFields", Author::Maintained),
    ("*", "*", "/metadata/resourceVersion", Author::Maintained),
    ("*", "*", "/metadata/generation", Author::Maintained),
    ("*", "*", "/metadata/creationTimestamp", Author::Maintained),
    ("*", "*", "/metadata/uid", Author::Maintained),
    ("*", "*", "/metadata/selfLink", Author::Maintained),
    // A copy of what was applied, for the next `kubectl apply`.
    ("*", "*", LAST_APPLIED, Author::Maintained),
    // A counter of the template, raised with each change of it and shown as an annotation.
    (
        "apps",
        "DaemonSet",
        "/metadata/annotations/deprecated.daemonset.template.generation",
        Author::Maintained,
    ),
    // The number of the current ReplicaSet, which the controller of Deployments writes again at once.
    ("apps", "Deployment", "/metadata/annotations/deployment.kubernetes.io~1revision", Author::Maintained),
    // The status, which version 1 of the kind shows as annotations.
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        "/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions",
        Author::Maintained,
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        "/metadata/annotations/autoscaling.alpha.kubernetes.io~1current-metrics",
        Author::Maintained,
    ),
    ("", "Service", "/spec/clusterIP", Author::Chosen),
    ("", "Service", "/spec/clusterIPs", Author::Chosen),
    ("", "Service", "/spec/healthCheckNodePort", Author::Chosen),
    ("", "Service", NODE_PORT, Author::Chosen),
];

/// Where kubectl notes what was applied last.
pub const LAST_APPLIED: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
/// The port of every node for one port of a Service.
const NODE_PORT: &str = "/spec/ports/*/nodePort";
/// Labels by which a Job selects its pods.
const OF_A_JOB: &[&str] =
    &["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Prefix of the name of the volume with the token of a pod.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// The paths of a kind with that author.
fn paths<'a>((group, kind): (&'a str, &'a str), author: Author) -> impl Iterator<Item = &'static str> + 'a {
    let is_its = move |row: &&(&str, &str, &str, Author)| {
        row.3 == author && (row.0 == "*" || row.0 == group) && (row.1 == "*" || row.1 == kind)
    };
    VALUES.iter().filter(is_its).map(|row| row.2)
}

/// API group and kind of an object; empty if it does not say.
fn kind_of(object: &Value) -> (&str, &str) {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    (group, object["kind"].as_str().unwrap_or_default())
}

/// The kind of the object that was written, from either of its states.
fn kind_of_either<'a>(before: &'a Value, after: &'a Value) -> (&'a str, &'a str) {
    kind_of(if after["kind"].is_string() { after } else { before })
}

/// Whether no client decides on the value at a path.
pub fn is_maintained(before: &Value, after: &Value, path: &str) -> bool {
    paths(kind_of_either(before, after), Author::Maintained).any(|place| super::is_under(path, place))
}

/// Whether the value at a path may be one that the API server chose for a Service, or hold one.
pub fn may_hold_a_choice(path: &str) -> bool {
    let is_or_is_in = |place: &str| match place.split_once("/*") {
        Some((list, field)) => path == list || (path.starts_with(list) && path.ends_with(field)),
        None => path == place,
    };
    paths(("", "Service"), Author::Chosen).any(is_or_is_in)
}

/// Whether a value is the expected one, where [`ASSIGNED`] stands for any value.
pub fn fits(expected: Option<&Value>, value: Option<&Value>) -> bool {
    match (expected, value) {
        (Some(expected), Some(_)) if expected == ASSIGNED => true,
        (Some(Value::Array(expected)), Some(Value::Array(value))) => {
            expected.len() == value.len()
                && expected.iter().zip(value).all(|(expected, value)| fits(Some(expected), Some(value)))
        }
        (Some(Value::Object(expected)), Some(Value::Object(value))) => {
            expected.len() == value.len()
                && expected.iter().all(|(name, expected)| fits(Some(expected), value.get(name)))
        }
        (expected, value) => expected == value,
    }
}

/// Puts [`ASSIGNED`] for each value that the API server chose in this update.
pub fn mark(deltas: &mut [Delta], after: &Value) {
    if kind_of(after) != ("", "Service") || !deltas.iter().any(|delta| may_hold_a_choice(&delta.path)) {
        return;
    }
    let chosen = service(&after["spec"], &set_fields(after));
    for delta in deltas.iter_mut() {
        if delta.path == "/spec/ports" {
            // Ports in another order are one value; those that stay keep theirs.
            let kept = delta.before.clone().unwrap_or_default();
            for port in delta.after.iter_mut().filter_map(Value::as_array_mut).flatten() {
                let same = |old: &&Value| is_same_port(old, port) && old["nodePort"] == port["nodePort"];
                let is_new = !items(&kept).any(|old| same(&old));
                if is_new && chosen.ports.iter().any(|open| is_same_port(open, port)) {
                    port["nodePort"] = Value::from(ASSIGNED);
                }
            }
        } else if delta.after.is_some() && chosen.holds(&delta.path) {
            delta.after = Some(Value::from(ASSIGNED));
        }
    }
}

/// The object after an update as its client wrote it: without what the API server maintains, and with each chosen value
/// as it was before.
pub fn as_written(before: &Value, after: &Value) -> Value {
    let mut written = after.clone();
    for path in paths(kind_of_either(before, after), Author::Maintained) {
        put_back(&mut written, before, path);
    }
    if kind_of(after) == ("", "Service") {
        let chosen = service(&after["spec"], &set_fields(after));
        for field in chosen.fields {
            put_back(&mut written, before, &format!("/spec/{field}"));
        }
        for port in written["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if !chosen.ports.iter().any(|open| is_same_port(open, port)) {
                continue;
            }
            let old = items(&before["spec"]["ports"]).find(|old| is_same_port(old, port));
            match (old.and_then(|old| old.get("nodePort")), port.as_object_mut()) {
                (Some(number), Some(fields)) => fields.insert("nodePort".to_owned(), number.clone()),
                (None, Some(fields)) => fields.remove("nodePort"),
                _ => None,
            };
        }
    }
    written
}

/// Gives the value at a JSON pointer the state that it had before, also where there was none.
fn put_back(written: &mut Value, before: &Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    match (before.pointer(pointer).cloned(), written.pointer_mut(parent).and_then(Value::as_object_mut)) {
        (Some(old), Some(fields)) => {
            fields.insert(name, old);
        }
        (None, Some(fields)) => {
            let was_there = fields.remove(&name).is_some();
            let is_bare = was_there && fields.is_empty() && before.pointer(parent).is_none();
            if let (true, Some((above, map))) = (is_bare, parent.rsplit_once('/'))
                && let Some(above) = written.pointer_mut(above).and_then(Value::as_object_mut)
            {
                above.remove(map);
            }
        }
        (Some(old), None) => super::patch::put(written, pointer, old),
        (None, None) => {}
    }
}

/// A new object, as admission or a dry run shows it, with [`ASSIGNED`] for every assigned value. An object without
/// `managedFields` stays as it is.
pub fn settled(object: &Value) -> Value {
    let mut settled = object.clone();
    let set = set_fields(object);
    if set.is_empty() {
        return settled;
    }
    if let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str) {
        // A Job has its UID in its labels and those of its pods. No client can know the UID, so none can have set it.
        for place in ["/spec", "/metadata/labels"] {
            if let Some(part) = settled.pointer_mut(place) {
                replace(part, uid);
            }
        }
    }
    match kind_of(object) {
        ("", "Service") => {
            let chosen = service(&object["spec"], &set);
            let Some(spec) = settled["spec"].as_object_mut() else { return settled };
            for field in chosen.fields {
                spec.insert(field.to_owned(), Value::from(ASSIGNED));
            }
            for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if chosen.ports.iter().any(|open| is_same_port(open, port)) {
                    port["nodePort"] = Value::from(ASSIGNED);
                }
            }
        }
        ("", "Pod") => pod(&mut settled["spec"], &set),
        ("batch", "Job") => job(&mut settled["metadata"], &set),
        _ => {}
    }
    settled
}

/// The fields that clients have set, one value for each entry of `managedFields`.
fn set_fields(object: &Value) -> Vec<&Value> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| entry.get("fieldsV1")).collect()
}

/// Values of a Service that the API server chose.
#[derive(Debug, Default)]
struct Chosen<'a> {
    /// Fields of its spec.
    fields: Vec<&'static str>,
    /// Ports whose node port was left open.
    ports: Vec<&'a Value>,
}

impl Chosen<'_> {
    /// Whether the value at a path of a change is one of them.
    fn holds(&self, path: &str) -> bool {
        let is_field = path.strip_prefix("/spec/").is_some_and(|field| self.fields.contains(&field));
        let element = path.strip_prefix("/spec/ports/").and_then(|rest| rest.strip_suffix("/nodePort"));
        let is_named = |port: &&Value| super::element(&["port", "protocol"], port).as_deref() == element;
        is_field || (element.is_some() && self.ports.iter().any(is_named))
    }
}

/// What the API server chose of a Service, by the fields that clients have set. Without any nothing is known.
fn service<'a>(spec: &'a Value, set: &[&Value]) -> Chosen<'a> {
    if set.is_empty() {
        return Chosen::default();
    }
    let is_stated =
        |field: &str| set.iter().any(|fields| fields["f:spec"].get(format!("f:{field}")).is_some());
    let fields = paths(("", "Service"), Author::Chosen)
        .filter_map(|path| path.strip_prefix("/spec/"))
        .filter(|field| !field.contains('/') && spec.get(*field).is_some() && !is_stated(field))
        .collect();
    let ports =
        items(&spec["ports"]).filter(|port| port.get("nodePort").is_some() && is_open(port, set)).collect();
    Chosen { fields, ports }
}

/// Whether clients set a port of a Service without its node port. A port that none of them set is not known.
fn is_open(port: &Value, set: &[&Value]) -> bool {
    let entries = set.iter().filter_map(|fields| fields["f:spec"]["f:ports"].as_object());
    let about = entries.flatten().filter(|(key, _)| {
        let key = key.strip_prefix("k:").and_then(|key| serde_json::from_str::<Value>(key).ok());
        key.is_some_and(|key| is_same_port(&key, port))
    });
    let mut about = about.map(|(_, fields)| fields).peekable();
    about.peek().is_some() && about.all(|fields| fields.get("f:nodePort").is_none())
}

/// Whether two ports of a Service have the same key.
fn is_same_port(one: &Value, other: &Value) -> bool {
    let key = |port: &Value| super::element(&["port", "protocol"], port);
    key(one).is_some() && key(one) == key(other)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn pod(spec: &mut Value, set: &[&Value]) {
    let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let is_stated = |name: &str| set.iter().any(|fields| fields.to_string().contains(name));
    let assigned: Vec<&str> =
        names.filter(|name| name.starts_with(TOKEN_VOLUME) && !is_stated(name)).collect();
    if let [name] = assigned.as_slice() {
        replace(spec, name);
    }
}

/// Removes labels that a Job without its own takes from its pods. It does so after admission: a dry run shows them, an
/// attempted write does not yet.
fn job(metadata: &mut Value, set: &[&Value]) {
    let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) else { return };
    let is_stated = |label: &str| {
        set.iter().any(|fields| fields["f:metadata"]["f:labels"].get(format!("f:{label}")).is_some())
    };
    labels.retain(|label, _| !OF_A_JOB.contains(&label.as_str()) || is_stated(label));
    if labels.is_empty()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("labels");
    }
}

/// Replaces every text that equals `text` by [`ASSIGNED`].
fn replace(value: &mut Value, text: &str) {
    match value {
        Value::String(found) if found == text => *found = ASSIGNED.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, text)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, text)),
        _ => {}
    }
}

#[cfg(test)]
#[path = "server_assigned_tests.rs"]
mod tests;
