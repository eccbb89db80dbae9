//! The refusal that a person reads: what was refused, why, and the next command (docs/rules.md#refusal). Pure.

use kube::core::admission::Operation;

use super::action::Action;
use crate::api::change_request::Delta;
use crate::change::approval::binding::Binding;
use crate::change::approval::quorum;
use crate::change::diff::{builtin_groups, describe, patch};
use crate::change::gate::disruption_budget::Budget;
use crate::command::{Command, Flag, TEXT, Verb};

/// Maximum length of a patch in a printed command, in bytes.
const PATCH: usize = 240;

/// What a refusal adds to the refused change.
#[derive(Clone, Debug, Default)]
pub struct Circumstances<'a> {
    /// The incidents that bind.
    pub bindings: &'a [Binding],
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
}

impl ClosestRequest {
    /// A request that no approval makes let the action pass.
    pub fn mismatch(name: String, why: String) -> ClosestRequest {
        ClosestRequest { name, why, ..ClosestRequest::default() }
    }

    fn text(&self) -> String {
        format!("The request chg/{} does not let it pass: {}.", self.name, self.why)
    }

    fn approve(&self, action: &Action, operator_namespace: &str) -> String {
        let namespace = namespace_of_request(action, operator_namespace);
        format!("Approve: {}", Command::new(Verb::Approve).namespace(namespace).on("chg", &self.name))
    }
}

/// The text of a refusal.
pub fn text(action: &Action, circumstances: &Circumstances<'_>) -> String {
    let mut sentences = vec![format!("Refused: {}{}.", what(action), is_not_approved(action))];
    let missing =
        Some(circumstances.missing.as_str()).filter(|missing| !missing.is_empty() && is_askable(action));
    let incidents: Vec<String> = circumstances
        .bindings
        .iter()
        .map(|binding| format!("{} ({})", binding.incident.name, binding.severity))
        .collect();
    let open = match incidents.as_slice() {
        [] => None,
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
    sentences.push(match &circumstances.closest {
        Some(closest) if closest.lacks_approval => closest.approve(action, circumstances.operator_namespace),
        _ => next(action, circumstances.operator_namespace),
    });
    sentences.join(" ")
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
fn is_askable(action: &Action) -> bool {
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
    let glass = Command::new(Verb::BreakGlass).namespace(namespace).flag(Flag::Why, TEXT).then_command();
    format!("No request can hold it; what cannot wait: {glass}")
}

/// The command that asks for exactly this change.
pub fn ask(action: &Action, operator_namespace: &str) -> String {
    let ask = Command::new(Verb::Ask).namespace(namespace_of_request(action, operator_namespace));
    let with_flags = with_flags(ask.clone().word(describe::typed(&action.target)), action);
    with_flags.unwrap_or_else(|| ask.flag(Flag::File, "FILE")).flag(Flag::Why, TEXT).into()
}

/// The flags that ask for the action as one change, if flags can: two changes would pass only as two writes.
fn with_flags(ask: Command, action: &Action) -> Option<Command> {
    match action.operation {
        Operation::Delete if action.orphans => return Some(ask.switch(Flag::Delete).switch(Flag::Orphan)),
        Operation::Delete => return Some(ask.switch(Flag::Delete)),
        Operation::Update if !action.delta.is_empty() => {}
        _ => return None,
    }
    if describe::is_restart(&action.delta) {
        return Some(ask.switch(Flag::Restart));
    }
    if let [delta] = action.delta.as_slice()
        && delta.path == describe::REPLICAS
    {
        return Some(ask.flag(Flag::Scale, delta.after.as_ref()?.as_i64()?.to_string()));
    }
    let image = |delta: &Delta| {
        let container = describe::image_container(&delta.path)?;
        let image = delta.after.as_ref()?.as_str()?;
        // The command is pasted into a shell.
        let is_plain = image.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@-".contains(c));
        is_plain.then(|| format!("{container}={image}"))
    };
    let has_containers = describe::pod_spec(&action.target).is_some();
    let images: Option<Vec<String>> = action.delta.iter().filter(|_| has_containers).map(image).collect();
    match images.filter(|images| !images.is_empty()) {
        Some(images) => Some(images.into_iter().fold(ask, |ask, image| ask.flag(Flag::Image, image))),
        None => patch(action).map(|patch| ask.flag(Flag::Patch, patch)),
    }
}

/// The change as the patch that `ask --patch` makes of it, where one can say it and a line can hold it.
fn patch(action: &Action) -> Option<String> {
    let patch = patch::of_values(&action.delta, builtin_groups::is(action.target.group()))?;
    let text = patch.to_string();
    let fits = text.len() <= PATCH && !text.contains(['\'', '\\']) && text.chars().all(|c| !c.is_control());
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::{Severity, UidRef};
    use crate::change::gate::action::tests::action;
    use serde_json::{Value, json};

    fn crisis() -> Vec<Binding> {
        vec![Binding {
            incident: UidRef { name: "checkout-x7k2p".into(), uid: "iu".into() },
            namespace: "shop".into(),
            severity: Severity::Sev2,
            lead: Some("lena".into()),
        }]
    }

    #[test]
    fn a_refusal_reads_as_the_rules_show_it() {
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
    fn an_image_that_a_shell_would_take_for_more_stands_in_quotes() {
        let change = action(json!({"object": {"spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": "v2; reboot"}]}}}}}));
        let said = ask(&change, "mayday-system");
        assert!(said.contains("--patch '{") && !said.contains("--image"), "{said}");
    }

    #[test]
    fn a_change_that_flags_cannot_say_is_asked_for_with_a_file() {
        let sidecar = action(json!({"object": {"spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": "shop/checkout:v1"}, {"name": "log", "image": "log:v1"}]}}}}}));
        assert_eq!(ask(&sidecar, "mayday-system"), "kubectl mayday ask -n shop -f FILE --why \"…\"");
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
    fn other_values_are_asked_for_with_a_patch_that_fits_a_line() {
        let labels = |labels: Value| json!({"metadata": {"labels": labels}, "spec": null});
        let asked = |before: Value, after: Value| {
            let action = action(json!({"oldObject": labels(before), "object": labels(after)}));
            ask(&action, "mayday-system")
        };
        let patch = "kubectl mayday ask -n shop deploy/checkout --patch '{\"metadata\":{\"labels\":{\"a/b\":null,\"c\":\"d\"}}}' --why \"…\"";
        assert_eq!(asked(json!({"a/b": "x"}), json!({"c": "d"})), patch);
        let file = "kubectl mayday ask -n shop -f FILE --why \"…\"";
        assert_eq!(asked(json!({}), json!({"c": "d'e"})), file);
        assert_eq!(asked(json!({}), json!({"c": "x".repeat(PATCH)})), file);
    }

    #[test]
    fn a_policy_that_allows_no_approval_is_named() {
        let missing = "nobody can approve here: spec.approval.required of the policy is empty";
        let circumstances = Circumstances { missing: missing.into(), ..Circumstances::default() };
        let text = text(&action(json!({})), &circumstances);
        assert!(text.contains(&format!(". As things are, {missing}. Ask: ")), "{text}");
    }

    #[test]
    fn a_kind_that_is_not_built_in_is_named_with_its_group() {
        let image = |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": tag}]}}}});
        let asked = |group: &str, kind: &str| {
            ask(
                &action(json!({"kind": {"group": group, "kind": kind}, "resource": {"group": group},
                    "oldObject": image("v1"), "object": image("v2")})),
                "mayday-system",
            )
        };
        // A list of a kind that is not built in is one value: no flag and no short patch can express its elements.
        let file = "kubectl mayday ask -n shop -f FILE --why \"…\"";
        assert_eq!(asked("serving.knative.dev", "Service"), file);
        let controller =
            "kubectl mayday ask -n shop replicationcontroller/checkout --image app=v2 --why \"…\"";
        assert_eq!(asked("", "ReplicationController"), controller);
        let gone = action(json!({"operation": "DELETE", "object": null,
            "kind": {"group": "serving.knative.dev", "kind": "Service"}, "resource": {"group": "serving.knative.dev"}}));
        let delete = "kubectl mayday ask -n shop service.serving.knative.dev/checkout --delete --why \"…\"";
        assert_eq!(ask(&gone, "mayday-system"), delete);
    }

    #[test]
    fn a_request_that_only_lacks_approvals_is_not_asked_for_again() {
        let circumstances = Circumstances {
            closest: Some(ClosestRequest {
                waits: true,
                lacks_approval: true,
                ..ClosestRequest::mismatch("v2".into(), "one of amir, bea must approve it".into())
            }),
            ..Circumstances::default()
        };
        let text = text(&action(json!({})), &circumstances);
        assert!(text.ends_with("Approve: kubectl mayday approve -n shop chg/v2"), "{text}");
    }

    #[test]
    fn a_quorum_refusal_names_the_waiting_request_or_how_to_ask() {
        let message = "Refused: that is for lena. Ask: kubectl mayday ask -n shop -f FILE";
        let said =
            |closest: ClosestRequest| of_quorum(message, &closest, &action(json!({})), "mayday-system");
        let waits = ClosestRequest {
            lacks_approval: true,
            ..ClosestRequest::mismatch("v2".into(), "bea must approve it".into())
        };
        assert_eq!(
            said(waits),
            "Refused: that is for lena. The request chg/v2 does not let it pass: bea must approve it. Approve: kubectl \
             mayday approve -n shop chg/v2"
        );
        assert_eq!(
            said(ClosestRequest::mismatch("v2".into(), "its window is over".into())),
            "Refused: that is for lena. The request chg/v2 does not let it pass: its window is over. Ask: kubectl mayday \
             ask -n shop -f FILE"
        );
    }

    #[test]
    fn the_content_of_a_secret_is_never_asked_for() {
        let secret = |value: &str| json!({"kind": "Secret", "metadata": {"name": "db"}, "spec": null, "data": {"a": value}});
        let edit = action(
            json!({"kind": {"group": "", "kind": "Secret"}, "resource": {"group": "", "resource": "secrets"},
            "name": "db", "oldObject": secret("x"), "object": secret("y")}),
        );
        let text = text(&edit, &Circumstances { missing: "amir".into(), ..Circumstances::default() });
        assert!(
            text.contains(
                "/data/a of secret/db in shop, hidden → hidden, is not approved. No request can hold it"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_request_that_does_not_fit_is_named_with_the_reason() {
        let circumstances = Circumstances {
            closest: Some(ClosestRequest::mismatch("v2".into(), "its window is over".into())),
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
            text(&gone, &Circumstances::default())
                .starts_with("Refused: deletion of namespace/shop is not approved. Ask: ")
        );
    }

    #[test]
    fn a_comma_stands_only_after_the_values_of_a_change() {
        let first = |edit: Value| {
            let text = text(&action(edit), &Circumstances::default());
            text.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
        };
        assert_eq!(
            first(json!({"operation": "CREATE", "oldObject": null})),
            "Refused: creation of deployment/checkout in shop is not approved."
        );
        let restart = json!({"object": {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "t"}},
            "spec": {"containers": [{"name": "app", "image": "shop/checkout:v1"}]}}}}});
        assert_eq!(first(restart), "Refused: restart of deployment/checkout in shop is not approved.");
        let two = json!({"object": {"metadata": {"labels": {"a": "b"}}}});
        assert!(first(two).ends_with("nothing → b; image of deployment/checkout in shop, shop/checkout:v1 → shop/checkout:v2, are not approved."));
    }

    #[test]
    fn every_sentence_begins_with_a_capital_and_no_name_is_changed() {
        let circumstances = Circumstances { missing: "amir and bea".into(), ..Circumstances::default() };
        let text = text(&action(json!({})), &circumstances);
        assert!(text.contains(". To let it pass, amir and bea must approve. Ask: "), "{text}");
    }

    #[test]
    fn an_eviction_names_its_budgets_and_the_alternative() {
        let eviction = action(json!({"operation": "CREATE", "subResource": "eviction", "name": "checkout-1",
            "kind": {"group": "policy", "kind": "Eviction"}, "resource": {"group": "", "resource": "pods"}, "oldObject": null,
            "object": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "checkout-1"}}}));
        let said = |budget: Budget| {
            text(&eviction, &Circumstances { budget: Some(budget), ..Circumstances::default() })
        };
        let next = "Ask to delete it instead: kubectl mayday ask -n shop pod/checkout-1 --delete --why \"…\"";
        assert_eq!(
            said(Budget::Absent),
            format!(
                "Refused: eviction of pod/checkout-1 in shop is not approved. No protected PodDisruptionBudget covers the pod. {next}"
            )
        );
        assert_eq!(
            said(Budget::Exhausted(vec!["checkout".into()])),
            format!(
                "Refused: eviction of pod/checkout-1 in shop is not approved. PodDisruptionBudget checkout allows no disruption now. {next}"
            )
        );
    }

    #[test]
    fn an_action_no_request_can_hold_names_break_glass_only() {
        let exec = action(json!({"operation": "CONNECT", "subResource": "exec", "name": "checkout-1",
            "kind": {"group": "", "kind": "PodExecOptions"}, "resource": {"group": "", "resource": "pods"},
            "oldObject": null, "object": {"apiVersion": "v1", "kind": "PodExecOptions"}}));
        let circumstances = Circumstances { missing: "amir and bea".into(), ..Circumstances::default() };
        assert_eq!(
            text(&exec, &circumstances),
            "Refused: exec in pod/checkout-1 in shop is not approved. No request can hold it; what cannot wait: \
             kubectl mayday break-glass -n shop --why \"…\" -- COMMAND"
        );
    }
}
