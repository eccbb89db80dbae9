use super::*;
use crate::api::common::{Severity, UidRef};
use crate::api::freeze::Stops;
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
    let image =
        |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": tag}]}}}});
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
fn a_refusal_under_a_freeze_says_why_and_until_when() {
    let freeze = InForce {
        name: "year-end".into(),
        uid: "fu".into(),
        policy: "production".into(),
        stops: Stops::Changes,
        reason: "year-end closing".into(),
        until: Some("2027-01-02T00:00:00Z".parse().unwrap()),
    };
    let scale = action(json!({"object": {"spec": {"replicas": 8, "template": null}},
        "oldObject": {"spec": {"replicas": 3, "template": null}}}));
    let freezes = [freeze];
    let frozen = Circumstances {
        freezes: &freezes,
        missing: "lena (lead) and one of amir, bea".into(),
        ..Circumstances::default()
    };
    assert_eq!(
        text(&scale, &frozen),
        "Refused: replicas of deployment/checkout in shop, 3 → 8, is not approved. A freeze is on: frz/year-end stops changes \
         under cpol/production until 2027-01-02 00:00:00 UTC (year-end closing): lena (lead) and one of amir, bea must \
         approve. Ask: kubectl mayday ask -n shop deploy/checkout --scale 8 --why \"…\""
    );
    let bindings = crisis();
    let also_led = text(&scale, &Circumstances { bindings: &bindings, ..frozen });
    assert!(also_led.contains("Incident checkout-x7k2p (SEV2) is open: lena") && !also_led.contains("frz/"));
}

#[test]
fn an_image_that_a_shell_would_take_for_more_stands_in_quotes() {
    let change = action(json!({"object": {"spec": {"template": {"spec": {"containers": [
        {"name": "app", "image": "v2; reboot"}]}}}}}));
    let said = ask(&change, "mayday-system");
    assert!(said.contains("--patch '{") && !said.contains("--image"), "{said}");
}

#[test]
fn flags_ask_for_what_they_can_say() {
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
    let patch =
        |patch: &str| format!("kubectl mayday ask -n shop deploy/checkout --patch '{patch}' --why \"…\"");
    let labels = r#"{"metadata":{"labels":{"a/b":null,"c":"d"}}}"#;
    assert_eq!(asked(json!({"a/b": "x"}), json!({"c": "d"})), patch(labels));
    let hard = r#"{"metadata":{"labels":{"c":"d\u0027e\\f$(g)\n\u001b"}}}"#;
    assert_eq!(asked(json!({}), json!({"c": "d'e\\f$(g)\n\u{1b}"})), patch(hard));
    let file = "kubectl mayday ask -n shop -f FILE --why \"…\"";
    assert_eq!(asked(json!({}), json!({"c": "x".repeat(JSON)})), file);
}

// The kind of fault: a printed command does not do what it says. What no object of a patch can say, a list of operations
// says.
#[test]
fn what_an_object_of_a_patch_cannot_say_is_a_list_of_operations() {
    let deployment = |spec: Value| json!({"metadata": {"finalizers": []}, "spec": spec});
    let container = |rest: Value| {
        let mut container = json!({"name": "app", "image": "v1"});
        json_patch::merge(&mut container, &rest);
        json!({"template": {"spec": {"containers": [container]}}})
    };
    let asked = |before: Value, after: Value| {
        let action = action(json!({"oldObject": deployment(before), "object": deployment(after)}));
        let ask = ask(&action, "mayday-system");
        let patch = ask.split('\'').nth(1).unwrap_or_else(|| panic!("{ask}"));
        serde_json::from_str::<Value>(patch).unwrap()
    };
    let place = "/spec/template/spec/containers/0";
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}});
    let reference = json!({"fieldRef": {"fieldPath": "metadata.name"}});
    let log = json!({"name": "log", "image": "log:v1"});
    for (before, after, operations) in [
        (
            json!({"strategy": rolling, "template": null}),
            json!({"strategy": {"type": "Recreate"}, "template": null}),
            json!([{"op": "remove", "path": "/spec/strategy/rollingUpdate"},
                {"op": "replace", "path": "/spec/strategy/type", "value": "Recreate"}]),
        ),
        (
            container(json!({"env": [{"name": "A", "value": "1"}]})),
            container(json!({})),
            json!([{"op": "remove", "path": format!("{place}/env")}]),
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"port": 80}}})),
            container(json!({"livenessProbe": {"tcpSocket": {"port": 80}}})),
            json!([{"op": "remove", "path": format!("{place}/livenessProbe/httpGet")},
                {"op": "add", "path": format!("{place}/livenessProbe/tcpSocket"), "value": {"port": 80}}]),
        ),
        (
            container(json!({"env": [{"name": "A", "valueFrom": reference}]})),
            container(json!({"env": [{"name": "A", "value": "1"}]})),
            json!([{"op": "remove", "path": format!("{place}/env/0/valueFrom")},
                {"op": "add", "path": format!("{place}/env/0/value"), "value": "1"}]),
        ),
        (
            container(json!({})),
            json!({"template": {"spec": {"containers": [{"name": "app", "image": "v1"}, log]}}}),
            json!([{"op": "add", "path": "/spec/template/spec/containers/1", "value": log}]),
        ),
    ] {
        assert_eq!(asked(before, after), operations);
    }
}

#[test]
fn a_restart_that_is_taken_back_is_asked_for_as_what_it_is() {
    let template = |time: Option<&str>| {
        let annotations = time.map(|time| json!({"kubectl.kubernetes.io/restartedAt": time}));
        json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})
    };
    let (early, late) = (Some("2026-11-22T12:00:00Z"), Some("2026-11-22T13:00:00Z"));
    let image = |mut edit: Value| {
        edit["spec"]["template"]["spec"] = json!({"containers": [{"name": "app", "image": "v1"}]});
        edit
    };
    let asked = |before: Option<&str>, after: Option<&str>| {
        let edit = json!({"oldObject": image(template(before)), "object": image(template(after))});
        ask(&action(edit), "mayday-system").replace("kubectl mayday ask -n shop deploy/checkout ", "")
    };
    assert_eq!(asked(early, late), "--restart --why \"…\"");
    let annotation =
        r#"{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":VALUE}}}}}"#;
    let patch = |value: &str| format!("--patch '{}' --why \"…\"", annotation.replace("VALUE", value));
    assert_eq!(asked(late, early), patch("\"2026-11-22T12:00:00Z\""));
    assert_eq!(asked(late, None), patch("null"));
}

#[test]
fn a_new_object_is_asked_for_as_its_author_wrote_it() {
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits", "namespace": "shop",
        "uid": "u", "creationTimestamp": "2026-11-22T12:00:00Z"}, "data": {"a": "b"}, "spec": null});
    let made = |managed: Value| {
        let mut object = manifest.clone();
        object["metadata"]["managedFields"] = managed;
        let create = json!({"operation": "CREATE", "oldObject": null, "name": "limits", "kind": {"group": "", "kind": "ConfigMap"},
            "resource": {"group": "", "resource": "configmaps"}, "object": object});
        ask(&action(create), "mayday-system")
    };
    let by = json!([{"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:data": {".": {}, "f:a": {}}}}]);
    let inline = r#"{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"name":"limits","namespace":"shop"}}"#;
    assert_eq!(made(by), format!("kubectl mayday ask -n shop -f '{inline}' --why \"…\""));
    assert_eq!(made(json!(null)), "kubectl mayday ask -n shop -f FILE --why \"…\"");
}

#[test]
fn a_kind_that_no_request_can_hold_yet_is_named_with_the_way_to_change_that() {
    let binding = action(json!({"operation": "CREATE", "oldObject": null, "name": "x",
        "kind": {"group": "rbac.authorization.k8s.io", "kind": "RoleBinding"},
        "resource": {"group": "rbac.authorization.k8s.io", "resource": "rolebindings"}}));
    let circumstances =
        Circumstances { missing: "amir".into(), missing_verbs: vec!["create"], ..Circumstances::default() };
    assert_eq!(
        text(&binding, &circumstances),
        "Refused: creation of rolebinding/x in shop is not approved. No request can hold it as things are: \
         mayday-planner, which plans requests, may not create rolebindings.rbac.authorization.k8s.io; whoever runs \
         Mayday can allow it with a ClusterRole with the label mayday.dev/aggregate-to-planner: \"true\" \
         (docs/installing.md#kinds-that-a-request-can-hold). What cannot wait: kubectl mayday break-glass -n shop \
         --why \"…\" -- COMMAND"
    );
}

#[test]
fn a_part_of_an_approved_change_is_carried_out_as_a_whole() {
    let closest = ClosestRequest::mismatch("v2".into(), &Mismatch::Part("/spec/replicas".into()));
    let circumstances = Circumstances { closest: Some(closest), ..Circumstances::default() };
    let text = text(&action(json!({})), &circumstances);
    let said = "The request chg/v2 does not let it pass: it is used as a whole, and /spec/replicas does not change \
                with the rest. All of it at once: kubectl mayday apply -n shop chg/v2, or ask for this alone. Ask: ";
    assert!(text.contains(said), "{text}");
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
    let image =
        |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": tag}]}}}});
    let asked = |group: &str, kind: &str| {
        ask(
            &action(json!({"kind": {"group": group, "kind": kind}, "resource": {"group": group},
                "oldObject": image("v1"), "object": image("v2")})),
            "mayday-system",
        )
    };
    // A list of a kind that is not built in is one value, of which no object of a patch can change an element.
    let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"v2"}]"#;
    let custom = format!(
        "kubectl mayday ask -n shop service.serving.knative.dev/checkout --patch '{patch}' --why \"…\""
    );
    assert_eq!(asked("serving.knative.dev", "Service"), custom);
    let controller = "kubectl mayday ask -n shop replicationcontroller/checkout --image app=v2 --why \"…\"";
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
            ..ClosestRequest::over("v2".into(), "one of amir, bea must approve it".into())
        }),
        ..Circumstances::default()
    };
    let text = text(&action(json!({})), &circumstances);
    assert!(text.ends_with("Approve: kubectl mayday approve -n shop chg/v2"), "{text}");
}

#[test]
fn a_quorum_refusal_names_the_waiting_request_or_how_to_ask() {
    let message = "Refused: that is for lena. Ask: kubectl mayday ask -n shop -f FILE";
    let said = |closest: ClosestRequest| of_quorum(message, &closest, &action(json!({})), "mayday-system");
    let waits = ClosestRequest {
        lacks_approval: true,
        ..ClosestRequest::over("v2".into(), "bea must approve it".into())
    };
    assert_eq!(
        said(waits),
        "Refused: that is for lena. The request chg/v2 does not let it pass: bea must approve it. Approve: kubectl \
         mayday approve -n shop chg/v2"
    );
    assert_eq!(
        said(ClosestRequest::over("v2".into(), "its window is over".into())),
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
        closest: Some(ClosestRequest::over("v2".into(), "its window is over".into())),
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
    let restart = json!({"object": {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-22T12:00:00Z"}},
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
    let said =
        |budget: Budget| text(&eviction, &Circumstances { budget: Some(budget), ..Circumstances::default() });
    let next = "Ask to delete it instead: kubectl mayday ask -n shop pod/checkout-1 --delete --why \"…\"";
    assert_eq!(
        said(Budget::Absent),
        format!(
            "Refused: eviction of pod/checkout-1 in shop is not approved. No protected PodDisruptionBudget covers the pod. {next}"
        )
    );
    assert_eq!(
        said(Budget::Exhausted("checkout".into())),
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

#[test]
fn a_quorum_refusal_asks_for_exactly_the_refused_change() {
    let policy = |mode: &str| {
        json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "production", "namespace": null},
            "spec": {"enforcement": mode, "replicas": null, "template": null}})
    };
    let action = action(
        json!({"kind": {"group": "mayday.dev", "version": "v1alpha1", "kind": "ChangePolicy"}, "name": "production",
        "namespace": null, "resource": {"group": "mayday.dev", "version": "v1alpha1", "resource": "changepolicies"},
        "oldObject": policy("Deny"), "object": policy("Warn")}),
    );
    let said = |message: &str| with_exact_ask(message, &action, "mayday-system");
    assert_eq!(
        said(
            "Refused: this loosens it. Ask: kubectl mayday ask -n mayday-system -f FILE --why \"…\" (FILE: the whole)"
        ),
        "Refused: this loosens it. Ask: kubectl mayday ask -n mayday-system cpol/production --patch \
         '{\"spec\":{\"enforcement\":\"Warn\"}}' --why \"…\""
    );
    let other = "Refused: that is for lena. Ask: kubectl mayday resolve -n shop inc/x --ask";
    assert_eq!(said(other), other);
}
