//! Changes in words that people read in refusals, plans and timelines. Pure.

use serde_json::Value;

use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::cluster::events::cut;

/// The annotation that `kubectl rollout restart` writes on the pod template, as a path.
pub const RESTART_PATH: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// Longest value that is shown; Secrets never get here.
const MAX_VALUE: usize = 120;

/// One change: `image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:v2`.
pub fn change(target: &ObjectRef, namespace: Option<&str>, delta: &[Delta]) -> String {
    let place = place(target, namespace);
    let mut parts: Vec<String> = delta.iter().take(3).map(|delta| value_change(&place, delta)).collect();
    if delta.len() > 3 {
        parts.push(format!("and {} more values of {place}", delta.len() - 3));
    }
    if parts.is_empty() { format!("nothing of {place}") } else { cut(&parts.join("; "), 900) }
}

/// `deployment/checkout in shop`.
pub fn place(target: &ObjectRef, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{} in {namespace}", target.display()),
        None => target.display(),
    }
}

fn value_change(place: &str, delta: &Delta) -> String {
    if delta.path == RESTART_PATH {
        return format!("restart of {place}");
    }
    let what = name(&delta.path);
    match (&delta.before, &delta.after) {
        (Some(before), Some(after)) => format!("{what} of {place}, {} → {}", shown(before), shown(after)),
        (None, Some(after)) => format!("new {what} of {place}, {}", shown(after)),
        (Some(before), None) => format!("{what} of {place}, {} goes", shown(before)),
        (None, None) => format!("{what} of {place}"),
    }
}

/// A path in the fewest words that still say what it is.
fn name(path: &str) -> String {
    if path == "/spec/replicas" {
        return "replicas".to_owned();
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        [.., "containers" | "initContainers", _, "image"] => "image".to_owned(),
        ["metadata", "labels", label] => format!("label {}", label.replace("~1", "/")),
        ["metadata", "annotations", key] => format!("annotation {}", key.replace("~1", "/")),
        _ => path.to_owned(),
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    cut(&text.replace(['\n', '\r', '\t'], " "), MAX_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn delta(path: &str, before: Value, after: Value) -> Delta {
        let some = |value: Value| (!value.is_null()).then_some(value);
        Delta { path: path.into(), before: some(before), after: some(after) }
    }

    #[test]
    fn the_usual_changes_read_like_sentences() {
        let say = |delta| change(&target(), Some("shop"), &[delta]);
        let image = delta("/spec/template/spec/containers/[name=app]/image", json!("c:v1"), json!("c:v2"));
        assert_eq!(say(image), "image of deployment/checkout in shop, c:v1 → c:v2");
        assert_eq!(
            say(delta("/spec/replicas", json!(3), json!(8))),
            "replicas of deployment/checkout in shop, 3 → 8"
        );
        assert_eq!(
            say(delta(RESTART_PATH, json!(null), json!("now"))),
            "restart of deployment/checkout in shop"
        );
        assert_eq!(
            say(delta("/metadata/labels/a~1b", json!("x"), json!(null))),
            "label a/b of deployment/checkout in shop, x goes"
        );
    }

    #[test]
    fn hostile_values_stay_on_one_line_and_are_cut() {
        let text = change(
            &target(),
            None,
            &[delta("/data/x", json!(null), json!(format!("a\nb{}", "c".repeat(9999))))],
        );
        assert!(!text.contains('\n') && text.len() < 1000, "{text}");
    }
}
