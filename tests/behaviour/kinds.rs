//! The kinds as users write them: every sample applies, and bad input is answered with a sentence.

use crate::support::{Cluster, Person, fresh};

/// Creates a namespace for one test.
fn namespace(admin: &Person) -> String {
    let name = fresh("kinds");
    admin.types(&format!("kubectl create namespace {name}")).passes();
    name
}

#[track_caller]
fn refused(admin: &Person, namespace: &str, kind: &str, spec: &str, because: &str) {
    let manifest = format!(
        "apiVersion: mayday.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: bad, namespace: {namespace}}}\nspec: {spec}\n"
    );
    let said = admin.pipes(&manifest, "kubectl create -f -").is_refused();
    assert!(said.contains(because), "{said}");
}

#[test]
fn kubectl_explain_reads_like_a_manual() {
    let admin = Cluster::shared().admin();
    let said = admin.types("kubectl explain incident.spec.severity").passes();
    assert!(said.contains("How bad it is"), "{said}");
    let said = admin.types("kubectl explain chg").passes();
    assert!(said.contains("One precise change somebody wants to make to production"), "{said}");
}

#[test]
fn an_incident_without_a_title_or_with_an_unknown_severity_is_refused() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    refused(&admin, &namespace, "Incident", "{severity: SEV1}", "spec.title: Required value");
    refused(&admin, &namespace, "Incident", "{title: x, severity: SEV9}", "Unsupported value: \"SEV9\"");
    let spec = "{title: x, severity: SEV1, resolution: {outcome: FalseAlarm}}";
    refused(&admin, &namespace, "Incident", spec, "resolution.reason says why");
}

#[test]
fn a_union_takes_exactly_one_member() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let severity = "severity: {fixed: SEV3}";
    let none = format!("{{{severity}}}");
    refused(&admin, &namespace, "AlertSource", &none, "set exactly one of alertmanager");
    let two = format!("{{{severity}, alertmanager: {{}}, grafana: {{}}, secretRef: {{name: x}}}}");
    refused(&admin, &namespace, "AlertSource", &two, "set exactly one of alertmanager");
    refused(&admin, &namespace, "NotificationChannel", "{timeout: 5s}", "set exactly one of webhook");
    let steps = "[{name: both, wait: {duration: 1s}, manual: {instructions: x}}]";
    let spec = format!("{{summary: x, serviceAccountName: x, steps: {steps}}}");
    refused(&admin, &namespace, "Runbook", &spec, "a step does exactly one thing");
}

#[test]
fn a_field_without_meaning_or_with_two_meanings_is_refused() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let webhook = "webhook: {secretRef: {name: x}}";
    let none = format!("{{{webhook}, timeout: 0s}}");
    refused(&admin, &namespace, "NotificationChannel", &none, "a receiver is given 1s at least");
    let back = "rollback: {}, changes: [{target: {apiVersion: v1, kind: ConfigMap, name: x}, delete: {}}]";
    let spec = format!("{{reason: x, {back}}}");
    refused(&admin, &namespace, "ChangeRequest", &spec, "set restorePrevious, or leave rollback out");
    let steps = "[{name: one, wait: {duration: 1s}, compensation: {}}]";
    let spec = format!("{{summary: x, serviceAccountName: x, steps: {steps}}}");
    refused(
        &admin,
        &namespace,
        "Runbook",
        &spec,
        "set exactly one of restorePrevious, uncordon, resumeGitOps, restart, scale, patch",
    );
    let checks = "[{name: same, alertsCleared: {}}, {name: same, confirmation: {question: x}}]";
    let spec = format!("{{title: x, severity: SEV3, returnToService: {{checks: {checks}}}}}");
    refused(&admin, &namespace, "Incident", &spec, "checks: each has a name of its own");
}

#[test]
fn an_invalid_duration_is_refused() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let target = "{apiVersion: apps/v1, kind: Deployment, name: x}";
    let spec =
        format!("{{reason: x, changes: [{{target: {target}, restart: {{}}}}], window: {{duration: 1day}}}}");
    refused(
        &admin,
        &namespace,
        "ChangeRequest",
        &spec,
        "Refused: spec.window.duration: \"1day\" is not a duration",
    );
}

#[test]
fn a_notification_is_written_by_nobody_but_mayday() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let spec = "{about: inc/x, subjectRef: {kind: Incident, name: x, uid: u}, purpose: Page, recipient: {name: emil}, \
                channelRef: {name: hook}, text: t, key: k, createdTime: '2026-11-24T16:00:00Z'}";
    refused(&admin, &namespace, "Notification", spec, "Refused: only Mayday writes notifications");
}

#[test]
fn a_null_is_never_stored() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let manifest = format!(
        "apiVersion: mayday.dev/v1alpha1\nkind: Incident\nmetadata: {{name: with-null, namespace: {namespace}}}\nspec: {{title: x, severity: SEV3, impact: null}}\n"
    );
    admin.pipes(&manifest, "kubectl create -f -").passes();
    let stored = admin.reads(&format!("incident with-null -n {namespace}"));
    assert!(stored["spec"].get("impact").is_none(), "{stored}");
}

#[test]
fn an_override_must_end_after_it_starts() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let times = "startTime: '2026-11-24T16:00:00Z', endTime: '2026-11-24T13:00:00Z'";
    let spec = format!("{{rotationRef: {{name: x}}, {times}, clear: {{}}}}");
    refused(&admin, &namespace, "OnCallOverride", &spec, "endTime must be after startTime");
}

#[test]
fn a_layer_that_no_one_can_understand_is_refused() {
    let admin = Cluster::shared().admin();
    let namespace = namespace(&admin);
    let rotation = |layer: &str| {
        format!(
            "{{timeZone: UTC, people: [{{name: emil, user: emil}}], layers: [{{name: l, start: '2026-01-05T09:00', \
             turns: [{{people: [emil]}}], {layer}}}]}}"
        )
    };
    for (layer, message) in [
        ("shift: {unit: Hours, length: 8}, advance: Active", "Active counts days"),
        (
            "shift: {unit: Days, length: 1}, restrictions: [{from: '09:00', to: '17:00', toDay: Mon}]",
            "toDay needs days",
        ),
        ("shift: {unit: Days, length: 1, duty: half a day}", "duty"),
        ("shift: {unit: Days, length: 1}, until: tomorrow", "until"),
    ] {
        refused(&admin, &namespace, "OnCallRotation", &rotation(layer), message);
    }
}
