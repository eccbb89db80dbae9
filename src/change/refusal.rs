//! What somebody reads whose change was refused (rules §10): what, why, who must agree, and the next command. Pure.

use kube::core::admission::Operation;
use serde_json::Value;

use super::attempt::Attempt;
use super::binding::Binding;
use super::quorum::Outcome;
use super::words;
use crate::cluster::events::cut;

/// Longest refusal; kubectl shows all of it.
const MAX: usize = 1800;

/// The refusal of an attempt that no request covers. `outcome` says who would have to agree to a new one.
pub fn not_approved(
    attempt: &Attempt,
    bindings: &[Binding],
    outcome: &Outcome,
    waiting: &[String],
) -> String {
    let mut text = format!("Refused: {}, is not approved. ", what(attempt));
    for binding in bindings {
        text.push_str(&format!("Incident {} ({}) is open: ", binding.incident.name, binding.severity));
    }
    if bindings.is_empty() {
        text.push_str(&format!("{} must approve. ", outcome.missing_phrase()));
    } else {
        text.push_str(&format!("{} must approve. ", outcome.missing_phrase()));
    }
    match waiting {
        [] => text.push_str(&format!("Ask: {}", ask(attempt))),
        names => text.push_str(&format!(
            "It is asked for already: {}. See: kubectl mayday show -n {} chg/{}",
            names.iter().map(|name| format!("chg/{name}")).collect::<Vec<_>>().join(", "),
            attempt.namespace,
            names[0],
        )),
    }
    cut(&text, MAX)
}

/// The refusal of exec, attach, port-forward and debug.
pub fn interactive(attempt: &Attempt) -> String {
    format!(
        "Refused: {} into {} is not approved, and requests for it cannot be approved in this version of Mayday. \
         Look from outside (kubectl logs, kubectl describe), or break the glass: kubectl mayday break-glass --why \"…\" -- COMMAND",
        attempt.subresource,
        words::place(&attempt.target, attempt.place()),
    )
}

/// What was attempted, in words.
pub fn what(attempt: &Attempt) -> String {
    let place = words::place(&attempt.target, attempt.place());
    match attempt.operation {
        Operation::Create if attempt.subresource.is_empty() => format!("creation of {place}"),
        Operation::Delete => format!("deletion of {place}"),
        Operation::Update => words::change(&attempt.target, attempt.place(), &attempt.delta),
        _ => format!("{} of {place}", attempt.subresource),
    }
}

/// The command that asks for exactly this.
fn ask(attempt: &Attempt) -> String {
    let namespace = attempt.place().unwrap_or("mayday-system");
    let target = format!("{}/{}", short(&attempt.target.kind), attempt.target.name);
    let file = || format!("kubectl mayday ask -n {namespace} -f CHANGE.yaml --why \"…\"");
    if attempt.operation != Operation::Update {
        return file();
    }
    let mut flags = Vec::new();
    for delta in &attempt.delta {
        if delta.path == words::RESTART_PATH {
            flags.push("--restart".to_owned());
        } else if delta.path == "/spec/replicas" {
            match delta.after.as_ref().and_then(Value::as_i64) {
                Some(replicas) => flags.push(format!("--scale {replicas}")),
                None => return file(),
            }
        } else if let (Some(container), Some(Value::String(image))) = (image_of(&delta.path), &delta.after) {
            flags.push(format!("--image {container}={image}"));
        } else {
            return file();
        }
    }
    format!("kubectl mayday ask -n {namespace} {target} {} --why \"…\"", flags.join(" "))
}

/// The container of a path to an image: `…/containers/[name=app]/image`.
fn image_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/spec/template/spec/containers/[name=")?;
    rest.strip_suffix("]/image")
}

fn short(kind: &str) -> String {
    match kind {
        "Deployment" => "deploy".to_owned(),
        "StatefulSet" => "sts".to_owned(),
        "DaemonSet" => "ds".to_owned(),
        other => other.to_lowercase(),
    }
}
