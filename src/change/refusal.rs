//! The sentence a refused person reads: what, why, and the next command (rules §10). Pure.

use kube::core::admission::Operation;

use super::action::Action;
use super::binding::Binding;
use super::words;

/// What a refusal says besides what was refused.
#[derive(Clone, Debug, Default)]
pub struct Circumstances<'a> {
    /// The incidents that bind.
    pub bindings: &'a [Binding],
    /// Who must approve, in words: `lena (lead) and one of amir, bea`.
    pub missing: String,
    /// Where requests for cluster-scoped objects are made.
    pub operator_namespace: &'a str,
    /// Why a request that is about this object does not let it pass, with its name; the best one.
    pub request: Option<(String, String)>,
}

/// The sentence.
pub fn text(action: &Action, circumstances: &Circumstances<'_>) -> String {
    let mut text = format!("Refused: {}, is not approved.", what(action));
    let incidents: Vec<String> = circumstances
        .bindings
        .iter()
        .map(|binding| format!("{} ({})", binding.incident.name, binding.severity))
        .collect();
    match incidents.as_slice() {
        [] => {}
        [incident] => text.push_str(&format!(" Incident {incident} is open")),
        several => text.push_str(&format!(" Incidents {} are open", several.join(" and "))),
    }
    if !incidents.is_empty() {
        text.push(if circumstances.missing.is_empty() { '.' } else { ':' });
    }
    if !circumstances.missing.is_empty() {
        text.push_str(&format!(" {} must approve.", circumstances.missing));
    }
    if let Some((name, why)) = &circumstances.request {
        text.push_str(&format!(" The request chg/{name} does not let it pass: {why}."));
    }
    text.push_str(&format!(" Ask: {}", ask(action, circumstances.operator_namespace)));
    text
}

/// What was refused, in words.
pub fn what(action: &Action) -> String {
    if action.is_interactive() || action.is_eviction() || action.operation == Operation::Connect {
        return format!("{} of {}", action.subresource, words::place(&action.target, &action.namespace));
    }
    match action.operation {
        Operation::Create if !action.subresource.is_empty() => {
            format!("{} of {}", action.subresource, words::place(&action.target, &action.namespace))
        }
        Operation::Create => words::creation(&action.target, &action.namespace),
        Operation::Delete => words::deletion(&action.target, &action.namespace),
        _ => words::update(&action.target, &action.namespace, &action.delta),
    }
}

/// The command that asks for exactly this change.
pub fn ask(action: &Action, operator_namespace: &str) -> String {
    let namespace = if action.target.kind == "Namespace" || action.namespace.is_empty() {
        format!("-n {operator_namespace}")
    } else {
        format!("-n {}", action.namespace)
    };
    let why = "--why \"…\"";
    let target = target(action);
    match flags(action) {
        Some(flags) => format!("kubectl mayday ask {namespace} {target} {flags} {why}"),
        None => format!("kubectl mayday ask {namespace} -f FILE {why}"),
    }
}

fn target(action: &Action) -> String {
    let kind = match action.target.kind.as_str() {
        "Deployment" => "deploy".to_owned(),
        "StatefulSet" => "sts".to_owned(),
        "DaemonSet" => "ds".to_owned(),
        "ConfigMap" => "cm".to_owned(),
        other => other.to_lowercase(),
    };
    format!("{kind}/{}", action.target.name)
}

/// The flags that say the change, if flags can.
fn flags(action: &Action) -> Option<String> {
    match action.operation {
        Operation::Delete => return Some("--delete".to_owned()),
        Operation::Update if !action.delta.is_empty() => {}
        _ => return None,
    }
    let mut flags = Vec::new();
    for delta in &action.delta {
        let after = delta.after.as_ref()?;
        if let Some(container) = words::image_container(&delta.path) {
            flags.push(format!("--image {container}={}", after.as_str()?));
        } else if delta.path == words::REPLICAS {
            flags.push(format!("--scale {}", after.as_i64()?));
        } else if delta.path == words::RESTARTED_AT {
            flags.push("--restart".to_owned());
        } else {
            return None;
        }
    }
    Some(flags.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::{Severity, UidRef};
    use crate::change::action::tests::action;
    use serde_json::json;

    fn crisis() -> Vec<Binding> {
        vec![Binding {
            incident: UidRef { name: "checkout-x7k2p".into(), uid: "iu".into() },
            severity: Severity::Sev2,
            lead: Some("lena".into()),
        }]
    }

    #[test]
    fn it_reads_as_the_rules_show_it() {
        let bindings = crisis();
        let circumstances = Circumstances {
            bindings: &bindings,
            missing: "lena (lead) and one of amir, bea".into(),
            ..Circumstances::default()
        };
        let image = |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": tag}]}}}});
        let back =
            action(json!({"oldObject": image("shop/checkout:broken"), "object": image("shop/checkout:v1")}));
        assert_eq!(
            text(&back, &circumstances),
            "Refused: image of deployment/checkout in shop, shop/checkout:broken → shop/checkout:v1, is not approved. \
             Incident checkout-x7k2p (SEV2) is open: lena (lead) and one of amir, bea must approve. \
             Ask: kubectl mayday ask -n shop deploy/checkout --image app=shop/checkout:v1 --why \"…\""
        );
    }

    #[test]
    fn what_flags_cannot_say_is_asked_for_with_a_file() {
        let label = action(json!({"object": {"metadata": {"labels": {"a": "b"}}}}));
        assert_eq!(ask(&label, "mayday-system"), "kubectl mayday ask -n shop -f FILE --why \"…\"");
        let delete = action(json!({"operation": "DELETE", "object": null}));
        assert_eq!(
            ask(&delete, "mayday-system"),
            "kubectl mayday ask -n shop deploy/checkout --delete --why \"…\""
        );
        let scale = action(json!({"object": {"spec": {"replicas": 8, "template": null}},
            "oldObject": {"spec": {"replicas": 3, "template": null}}}));
        assert_eq!(
            ask(&scale, "mayday-system"),
            "kubectl mayday ask -n shop deploy/checkout --scale 8 --why \"…\""
        );
    }

    #[test]
    fn a_request_that_does_not_fit_is_named_with_the_reason() {
        let circumstances = Circumstances {
            request: Some(("v2".into(), "its window is over".into())),
            ..Circumstances::default()
        };
        let text = text(&action(json!({})), &circumstances);
        assert!(text.contains("The request chg/v2 does not let it pass: its window is over."), "{text}");
    }

    #[test]
    fn a_namespace_is_asked_for_in_the_operators_namespace() {
        let gone =
            action(json!({"kind": {"group": "", "kind": "Namespace"}, "name": "shop", "operation": "DELETE",
            "resource": {"group": "", "version": "v1", "resource": "namespaces"}, "object": null}));
        assert_eq!(
            ask(&gone, "mayday-system"),
            "kubectl mayday ask -n mayday-system namespace/shop --delete --why \"…\""
        );
        assert!(
            text(&gone, &Circumstances::default()).starts_with("Refused: deletion of namespace/shop, is not")
        );
    }
}
