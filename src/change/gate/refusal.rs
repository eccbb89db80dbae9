//! The refusal that a person reads: what was refused, why, and the next command (docs/rules.md#refusal). Pure.

use kube::core::admission::Operation;

use serde_json::Value;

use super::action::Action;
use super::grant::Mismatch;
use super::plannable;
use crate::api::change_request::Delta;
use crate::change::approval::binding::Binding;
use crate::change::approval::quorum;
use crate::change::diff::{self, builtin_groups, describe, merge, operations, owned, patch, server_assigned};
use crate::change::freeze::in_force::InForce;
use crate::change::gate::disruption_budget::Budget;
use crate::cluster::workloads;
use crate::command::{Command, Flag, TEXT, Verb};

/// Maximum length of a JSON text in a printed command, in bytes. A terminal takes a line of this length.
const JSON: usize = 4000;

/// What a refusal adds to the refused change.
#[derive(Clone, Debug, Default)]
pub struct Circumstances<'a> {
    /// The incidents that bind.
    pub bindings: &'a [Binding],
    /// The freezes of changes in force. While an incident binds, its lead decides, and they change nothing.
    pub freezes: &'a [InForce],
    /// Missing approvers, in words: `lena (lead) and one of amir, bea`.
    pub missing: String,
    /// The operator's namespace, in which cluster-scoped objects are asked for.
    pub operator_namespace: &'a str,
    /// The request that comes closest to letting it pass.
    pub closest: Option<ClosestRequest>,
    /// Whether the caller is exempt, but only when it logs in itself.
    pub only_direct: bool,
    /// For an eviction: the answer of the PodDisruptionBudgets.
    pub budget: Option<Budget>,
    /// The verbs that the planner lacks for planning a request of it.
    pub missing_verbs: Vec<&'static str>,
}

/// The request about the object that comes closest to letting it pass.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClosestRequest {
    /// Name of the request.
    pub name: String,
    /// Why it does not let the action pass, as the end of a sentence.
    pub why: String,
    /// Whether it covers the action and does not stand yet.
    pub waits: bool,
    /// Whether it waits for approvals.
    pub lacks_approval: bool,
    /// Whether the action is a part of what it holds, which is used as a whole.
    pub is_whole: bool,
}

impl ClosestRequest {
    /// A request that does not cover the action.
    pub fn mismatch(name: String, mismatch: &Mismatch) -> ClosestRequest {
        let is_whole = matches!(mismatch, Mismatch::Part(_));
        ClosestRequest { is_whole, ..ClosestRequest::over(name, mismatch.to_string()) }
    }

    /// A request that no approval makes let the action pass.
    pub fn over(name: String, why: String) -> ClosestRequest {
        ClosestRequest { name, why, ..ClosestRequest::default() }
    }

    fn text(&self) -> String {
        format!("The request chg/{} does not let it pass: {}.", self.name, self.why)
    }

    fn approve(&self, action: &Action, operator_namespace: &str) -> String {
        let namespace = namespace_of_request(action, operator_namespace);
        format!("Approve: {}", Command::new(Verb::Approve).namespace(namespace).on("chg", &self.name))
    }

    /// The command that carries all of it out, where the action is a part of it.
    fn apply(&self, action: &Action, operator_namespace: &str) -> Option<String> {
        let namespace = namespace_of_request(action, operator_namespace);
        let apply = Command::new(Verb::Apply).namespace(namespace).on("chg", &self.name);
        self.is_whole.then(|| format!("All of it at once: {apply}, or ask for this alone."))
    }
}

/// The text of a refusal.
pub fn text(action: &Action, circumstances: &Circumstances<'_>) -> String {
    let mut sentences = vec![format!("Refused: {}{}.", what(action), is_not_approved(action))];
    let can_be_asked = is_askable(action) && circumstances.missing_verbs.is_empty();
    let missing = Some(circumstances.missing.as_str()).filter(|missing| !missing.is_empty() && can_be_asked);
    let incidents: Vec<String> = circumstances
        .bindings
        .iter()
        .map(|binding| format!("{} ({})", binding.incident.name, binding.severity))
        .collect();
    let open = match incidents.as_slice() {
        [] => circumstances.freezes.last().map(|freeze| format!("A freeze is on: {}", freeze.text())),
        [incident] => Some(format!("Incident {incident} is open")),
        several => Some(format!("Incidents {} are open", several.join(" and "))),
    };
    // A sentence begins with a capital letter, and the name of a user must not be changed: so no name begins one.
    sentences.extend(match (open, missing) {
        (Some(open), Some(missing)) => Some(format!("{open}: {}.", quorum::must_approve(missing))),
        (Some(open), None) => Some(format!("{open}.")),
        (None, Some(missing)) => Some(format!("{}.", quorum::sentence("To let it pass, ", missing))),
        (None, None) => None,
    });
    sentences.extend(circumstances.closest.as_ref().map(ClosestRequest::text));
    if circumstances.only_direct {
        sentences
            .push("This account is exempt only where it logs in itself, not under impersonation.".to_owned());
    }
    sentences.extend(circumstances.budget.as_ref().map(Budget::text));
    let operator_namespace = circumstances.operator_namespace;
    sentences
        .extend(circumstances.closest.as_ref().and_then(|closest| closest.apply(action, operator_namespace)));
    sentences.push(match &circumstances.closest {
        Some(closest) if closest.lacks_approval => closest.approve(action, operator_namespace),
        _ if !circumstances.missing_verbs.is_empty() => unplannable(action, &circumstances.missing_verbs),
        _ => next(action, operator_namespace),
    });
    sentences.join(" ")
}

/// Why no request can hold an action of this kind, and what would change that.
fn unplannable(action: &Action, missing: &[&str]) -> String {
    let (verbs, resource) = (missing.join(" and "), plannable::resource(action));
    let (planner, next) = (plannable::PLANNER, plannable::NEXT);
    format!(
        "No request can hold it as things are: {planner}, which plans requests, may not {verbs} {resource}; {next}. What \
         cannot wait: {}",
        break_glass(action)
    )
}

fn break_glass(action: &Action) -> Command {
    Command::new(Verb::BreakGlass).namespace(&action.namespace).flag(Flag::Why, TEXT).then_command()
}

/// A refusal of a write that needs a quorum, with the closest request. `message` ends with the command that asks; if the
/// request only lacks approvals, the command that approves replaces it.
pub fn of_quorum(
    message: &str,
    closest: &ClosestRequest,
    action: &Action,
    operator_namespace: &str,
) -> String {
    let (refused, asks) = message.rsplit_once(" Ask: ").unwrap_or((message, ""));
    let next = match (closest.lacks_approval, asks) {
        (true, _) => closest.approve(action, operator_namespace),
        (false, "") => return format!("{refused} {}", closest.text()),
        (false, asks) => format!("Ask: {asks}"),
    };
    format!("{refused} {} {next}", closest.text())
}

/// A refusal that asks with a file, with the command that asks for exactly the refused change, if one can hold it.
pub fn with_exact_ask(message: &str, action: &Action, operator_namespace: &str) -> String {
    let file = format!(" {} FILE ", Flag::File.word());
    let exact = ask(action, operator_namespace);
    match message.rsplit_once(" Ask: ") {
        Some((refused, asks)) if asks.contains(&file) && !exact.contains(&file) => {
            format!("{refused} Ask: {exact}")
        }
        _ => message.to_owned(),
    }
}

/// The refused action, in words.
pub fn what(action: &Action) -> String {
    let place = describe::place(&action.target, &action.namespace);
    match action.subresource.as_str() {
        "" | "scale" => {}
        "exec" => return format!("exec in {place}"),
        "attach" => return format!("attach to {place}"),
        "portforward" => return format!("port-forward to {place}"),
        "proxy" => return format!("proxy to {place}"),
        "ephemeralcontainers" => return format!("debug container in {place}"),
        other if action.operation != Operation::Update => return format!("{other} of {place}"),
        _ => {}
    }
    match action.operation {
        Operation::Create => describe::creation(&action.target, &action.namespace),
        Operation::Delete => describe::deletion(&action.target, &action.namespace, action.orphans),
        Operation::Connect => format!("access to {place}"),
        Operation::Update => describe::update(&action.target, &action.namespace, &action.delta),
    }
}

/// The verb. A comma comes first where the subject ends with the values of a change.
fn is_not_approved(action: &Action) -> &'static str {
    let told = describe::named_values(&action.delta);
    match (action.operation == Operation::Update && !action.is_interactive(), told) {
        (true, 1) => ", is not approved",
        (true, 2..) => ", are not approved",
        _ => " is not approved",
    }
}

/// Whether a request can hold the action. It cannot hold content of a Secret or access to a pod.
pub fn is_askable(action: &Action) -> bool {
    let is_secret = action.target.group().is_empty() && action.target.kind == "Secret";
    matches!(action.subresource.as_str(), "" | "scale")
        && action.operation != Operation::Connect
        && (!is_secret || action.operation == Operation::Delete)
}

/// The namespace in which the object is asked for.
fn namespace_of_request<'a>(action: &'a Action, operator_namespace: &'a str) -> &'a str {
    let is_in_none = action.target.kind == "Namespace" || action.namespace.is_empty();
    if is_in_none { operator_namespace } else { &action.namespace }
}

/// The next command: the one that asks for exactly this change, else the best alternative.
fn next(action: &Action, operator_namespace: &str) -> String {
    if is_askable(action) {
        return format!("Ask: {}", ask(action, operator_namespace));
    }
    let (namespace, name) = (&action.namespace, &action.target.name);
    if action.is_eviction() {
        let ask = Command::new(Verb::Ask).namespace(namespace).on("pod", name).switch(Flag::Delete);
        return format!("Ask to delete it instead: {}", ask.flag(Flag::Why, TEXT));
    }
    format!("No request can hold it; what cannot wait: {}", break_glass(action))
}

/// The command that asks for exactly this change.
pub fn ask(action: &Action, operator_namespace: &str) -> String {
    let ask = Command::new(Verb::Ask).namespace(namespace_of_request(action, operator_namespace));
    let on = ask.clone().word(describe::typed(&action.target));
    let asked = with_flags(on.clone(), action)
        .or_else(|| Some(on.flag(Flag::Patch, patch(action)?)))
        .or_else(|| Some(ask.clone().flag(Flag::File, manifest(action)?)));
    asked.unwrap_or_else(|| ask.flag(Flag::File, "FILE")).flag(Flag::Why, TEXT).into()
}

/// The flags that ask for the action as one change, if flags can: two changes would pass only as two writes.
fn with_flags(ask: Command, action: &Action) -> Option<Command> {
    match action.operation {
        Operation::Delete if action.orphans => return Some(ask.switch(Flag::Delete).switch(Flag::Orphan)),
        Operation::Delete => return Some(ask.switch(Flag::Delete)),
        Operation::Update if !action.delta.is_empty() => {}
        _ => return None,
    }
    if workloads::is_one(action.target.group(), &action.target.kind) && describe::is_restart(&action.delta) {
        return Some(ask.switch(Flag::Restart));
    }
    if let [delta] = action.delta.as_slice()
        && delta.path == describe::REPLICAS
        && (action.subresource == "scale" || builtin_groups::is(action.target.group()))
        && let Some(replicas) = delta.after.as_ref().and_then(Value::as_i64)
    {
        return Some(ask.flag(Flag::Scale, replicas.to_string()));
    }
    let pod_spec = describe::pod_spec(&action.target)?;
    let image = |delta: &Delta| {
        let rest = delta.path.strip_prefix(pod_spec)?;
        let container = describe::image_container(rest).filter(|_| rest.matches('/').count() == 3)?;
        let image = delta.after.as_ref()?.as_str()?;
        let is_plain = image.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@-".contains(c));
        is_plain.then(|| format!("{container}={image}"))
    };
    let images: Vec<String> = action.delta.iter().map(image).collect::<Option<_>>()?;
    Some(images.into_iter().fold(ask, |ask, image| ask.flag(Flag::Image, image)))
}

/// The change as the patch that `ask --patch` takes: an object where that says exactly this, else a list of operations,
/// which can say everything. None if it is longer than a line.
fn patch(action: &Action) -> Option<String> {
    if action.operation != Operation::Update || !action.subresource.is_empty() {
        return None;
    }
    let by_key = builtin_groups::is(action.target.group());
    let before = operations::without_nulls(&action.before);
    let wanted = operations::without_nulls(&server_assigned::as_written(&action.before, &action.after));
    let object = patch::of_values(&diff::values(&before, &wanted), by_key)
        .filter(|patch| bare(merge::patched(patch, &before, by_key)) == bare(wanted.clone()));
    let patch = object.unwrap_or_else(|| Value::Array(operations::between(&before, &wanted)));
    in_a_line(&patch)
}

/// The object without maps of labels and annotations that are empty, which the API server takes for none.
fn bare(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, value| {
            !matches!(name.as_str(), "labels" | "annotations")
                || value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    if let Some(template) = object.get_mut("spec").and_then(|spec| spec.get_mut("template")) {
        *template = bare(template.take());
    }
    object
}

/// A new object as its author wrote it.
fn manifest(action: &Action) -> Option<String> {
    let is_creation = action.operation == Operation::Create && action.subresource.is_empty();
    in_a_line(&owned::manifest(&action.after).filter(|_| is_creation)?)
}

/// JSON that can be pasted into a shell as one word. Characters that a shell, a terminal or a reader might take for more are
/// escaped, as JSON can say them otherwise.
fn in_a_line(json: &Value) -> Option<String> {
    let mut text = String::new();
    for c in json.to_string().chars() {
        match c {
            '\'' => text.push_str("\\u0027"),
            c if crate::text::is_harmless(c) => text.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    (text.len() <= JSON).then_some(text)
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
