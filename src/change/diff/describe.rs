//! Describes changes as people read them in refusals, requests and messages. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::change::diff::builtin_groups;

/// The annotation that `kubectl rollout restart` writes.
pub const RESTARTED_AT: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
/// The value of a restart in a plan: the time is only known when it happens.
pub const AT_THAT_TIME: &str = "the time of the restart";
/// The number of replicas of a workload.
pub const REPLICAS: &str = "/spec/replicas";
/// Beginning of the description of a deletion.
pub const DELETION: &str = "deletion of ";
/// Maximum number of values named for one change; the rest is counted.
const TOLD: usize = 3;

/// A change of values: `image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:v2`.
pub fn update(target: &ObjectRef, namespace: &str, deltas: &[Delta]) -> String {
    let place = place(target, namespace);
    if is_restart(deltas) {
        return format!("restart of {place}");
    }
    let mut parts: Vec<String> = deltas.iter().take(TOLD).map(|delta| part(delta, &place)).collect();
    if deltas.len() > TOLD {
        parts.push(format!("{} more values", deltas.len() - TOLD));
    }
    if parts.is_empty() { format!("update of {place}") } else { parts.join("; ") }
}

/// Number of values that [`update`] names; zero for a restart.
pub fn named_values(deltas: &[Delta]) -> usize {
    if is_restart(deltas) { 0 } else { deltas.len() }
}

/// Whether the change is that of `kubectl rollout restart`: only its annotation, which gets a later time. A rollback to the
/// time before, or to none, is another change.
pub fn is_restart(deltas: &[Delta]) -> bool {
    let [delta] = deltas else { return false };
    let time = |value: &Option<Value>| value.as_ref()?.as_str()?.parse::<Timestamp>().ok();
    let is_later = |after: Timestamp| time(&delta.before).is_none_or(|before| before < after);
    delta.path == RESTARTED_AT
        && (time(&delta.after).is_some_and(is_later)
            || delta.after.as_ref().is_some_and(|after| after == AT_THAT_TIME))
}

/// A new object: `creation of configmap/limits in shop`.
pub fn creation(target: &ObjectRef, namespace: &str) -> String {
    format!("creation of {}", place(target, namespace))
}

/// A deletion: `deletion of configmap/limits in shop`; with `orphans` the dependents stay.
pub fn deletion(target: &ObjectRef, namespace: &str, orphans: bool) -> String {
    let without = if orphans { " without what belongs to it" } else { "" };
    format!("{DELETION}{}{without}", place(target, namespace))
}

/// An object with its namespace: `deployment/checkout in shop`.
pub fn place(target: &ObjectRef, namespace: &str) -> String {
    match target.kind.as_str() {
        "Namespace" => target.display(),
        _ if namespace.is_empty() => target.display(),
        _ => format!("{} in {namespace}", target.display()),
    }
}

/// An object as typed in a command: `deploy/checkout`, `service.serving.knative.dev/checkout`.
pub fn typed(target: &ObjectRef) -> String {
    let (kind, group) = (target.kind.to_lowercase(), target.group());
    let kind = match target.kind.as_str() {
        "Incident" if group == crate::api::GROUP => "inc".to_owned(),
        "Runbook" if group == crate::api::GROUP => "rb".to_owned(),
        "ChangePolicy" if group == crate::api::GROUP => "cpol".to_owned(),
        "Freeze" if group == crate::api::GROUP => "frz".to_owned(),
        // The kind alone would name the built-in kind of that name.
        _ if !builtin_groups::is(group) => format!("{kind}.{group}"),
        "Deployment" => "deploy".to_owned(),
        "StatefulSet" => "sts".to_owned(),
        "DaemonSet" => "ds".to_owned(),
        "ConfigMap" => "cm".to_owned(),
        _ => kind,
    };
    format!("{kind}/{}", target.name)
}

/// Path of the pod spec in a built-in kind; none if it has none.
pub fn pod_spec(target: &ObjectRef) -> Option<&'static str> {
    if !builtin_groups::is(target.group()) {
        return None;
    }
    match target.kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            Some("/spec/template/spec")
        }
        "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
        "Pod" => Some("/spec"),
        _ => None,
    }
}

/// The container to whose image a path points.
pub fn image_container(path: &str) -> Option<&str> {
    let (list, rest) = path.rsplit_once("ontainers/[name=")?;
    let container = rest.strip_suffix("]/image")?;
    // Only containers and initContainers of a pod or its template.
    (list.ends_with("/c") || list.ends_with("/initC")).then_some(container)
}

fn part(delta: &Delta, place: &str) -> String {
    let what = match image_container(&delta.path) {
        Some(_) => "image",
        None if delta.path == REPLICAS => "replicas",
        None => delta.path.as_str(),
    };
    format!("{what} of {place}, {} → {}", shown(delta.before.as_ref()), shown(delta.after.as_ref()))
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    crate::text::cut(&text, 120)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checkout() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn told(path: &str, before: Value, after: Value) -> String {
        let some = |value: Value| (!value.is_null()).then_some(value);
        let delta = Delta { path: path.into(), before: some(before), after: some(after) };
        update(&checkout(), "shop", &[delta])
    }

    #[test]
    fn an_image_reads_as_the_rules_show_it() {
        assert_eq!(
            told(
                "/spec/template/spec/containers/[name=app]/image",
                json!("shop/checkout:broken"),
                json!("shop/checkout:v1")
            ),
            "image of deployment/checkout in shop, shop/checkout:broken → shop/checkout:v1"
        );
    }

    #[test]
    fn replicas_restarts_and_other_values_are_described() {
        assert_eq!(told(REPLICAS, json!(3), json!(8)), "replicas of deployment/checkout in shop, 3 → 8");
        let time = json!("2026-11-22T12:00:00Z");
        assert_eq!(told(RESTARTED_AT, json!(null), time), "restart of deployment/checkout in shop");
        assert_eq!(
            told("/metadata/labels/env", json!("prod"), json!(null)),
            "/metadata/labels/env of deployment/checkout in shop, prod → nothing"
        );
    }

    // The kind of fault: a printed command does not do what it says. An undone restart was taken for a restart.
    #[test]
    fn a_restart_gets_a_later_time_and_its_rollback_is_none() {
        let change = |before: Value, after: Value| {
            let some = |value: Value| (!value.is_null()).then_some(value);
            is_restart(&[Delta { path: RESTARTED_AT.into(), before: some(before), after: some(after) }])
        };
        let (early, late) = (json!("2026-11-22T12:00:00Z"), json!("2026-11-22T14:00:01+01:00"));
        assert!(change(json!(null), early.clone()));
        assert!(change(early.clone(), late.clone()));
        assert!(change(json!("no time"), early.clone()));
        assert!(change(early.clone(), json!(AT_THAT_TIME)));
        assert!(!change(late, early.clone()), "to the template before");
        assert!(!change(early.clone(), json!(null)), "to a template that was never restarted");
        assert!(!change(early, json!("soon")));
    }

    #[test]
    fn only_the_image_of_a_container_is_an_image() {
        assert_eq!(image_container("/spec/template/spec/initContainers/[name=init]/image"), Some("init"));
        assert_eq!(image_container("/spec/template/spec/containers/[name=a]/env/[name=image]/value"), None);
        assert_eq!(image_container("/spec/image"), None);
    }

    #[test]
    fn many_values_are_counted() {
        let deltas: Vec<Delta> = (0..5)
            .map(|n| Delta { path: format!("/data/{n}"), before: None, after: Some(json!("x")) })
            .collect();
        assert!(update(&checkout(), "shop", &deltas).ends_with("2 more values"));
    }
}
