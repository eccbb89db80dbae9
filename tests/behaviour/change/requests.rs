//! Invalid requests: each refusal names the field and the problem.

use super::shop::Shop;
use crate::support::{condition, eventually};

fn request(name: &str, changes: &str, more: &str) -> String {
    format!(
        "{{apiVersion: mayday.dev/v1alpha1, kind: ChangeRequest, metadata: {{name: {name}, namespace: NS}}, spec: \
         {{reason: x, changes: [{changes}]{more}}}}}"
    )
}

fn of(api_version: &str, kind: &str, name: &str, act: &str) -> String {
    format!("{{target: {{apiVersion: {api_version}, kind: {kind}, name: {name}}}, {act}}}")
}

fn deployment(act: &str) -> String {
    of("apps/v1", "Deployment", "checkout", act)
}

fn create(kind: &str, more: &str) -> String {
    format!("{{create: {{manifest: {{apiVersion: v1, kind: {kind}, {more}}}}}}}")
}

#[test]
fn an_invalid_request_is_refused_and_not_stored() {
    let shop = Shop::open();
    let refused = |changes: &str, more: &str, because: &str| {
        let said = shop.creates(&shop.emil(), &request("bad", changes, more)).is_refused();
        assert!(said.contains(because), "{because:?} is not in: {said}");
        said
    };
    // Refused by the schema.
    refused("", "", "spec.changes: Invalid value: 0: spec.changes in body should have at least 1 items");

    for name in ["'*'", "'checkout-*'"] {
        refused(&of("apps/v1", "Deployment", name, "restart: {}"), "", "spec.changes[0].target.name");
    }
    refused(&of("apps/v1", "'*'", "checkout", "delete: {}"), "", "spec.changes[0].target.kind");
    let elsewhere = "{target: {apiVersion: v1, kind: ConfigMap, name: x, namespace: default}, delete: {}}";
    refused(elsewhere, "", "unknown field \"spec.changes[0].target.namespace\"");

    // Refused by the guard: place, reason, and the next command.
    let secret = |act: &str| of("v1", "Secret", "s", act);
    let never = "the content of a Secret never stands in a request";
    let patch = format!("spec.changes[0].update.patch: {never}");
    let manifest = format!("spec.changes[0].create.manifest: {never}");
    let year = ", window: {notBefore: '2026-11-23T00:00:00Z', notAfter: '2027-11-23T00:00:00Z'}";
    let too_long = "spec.window: longer than the 8h that cpol/";
    for (changes, more, because) in [
        (
            deployment("update: {patchType: Merge, patch: {spec: {replicas: null}}}"),
            "",
            "spec.changes[0].update.patch.spec.replicas: is null; what is to go is listed in remove",
        ),
        (
            deployment("update: {patchType: JSON, patch: [{op: add, path: /spec/replicas, value: null}]}"),
            "",
            "spec.changes[0].update.patch[0].value: is null; what is to go is listed in remove",
        ),
        (create("Secret", "metadata: {name: s, namespace: NS}, stringData: {password: x}"), "", &manifest),
        (create("Secret", "metadata: {name: s}, data: {password: cA==}"), "", &manifest),
        (secret("update: {patch: {data: {password: cA==}}}"), "", &patch),
        (secret("update: {patch: {stringData: {password: x}}}"), "", &patch),
        (
            secret("update: {patchType: JSON, patch: [{op: replace, path: /data/password, value: cA==}]}"),
            "",
            &patch,
        ),
        (deployment("update: {}"), "", "spec.changes[0].update: set patch, remove, or both"),
        (
            deployment("update: {remove: [spec.paused]}"),
            "",
            "spec.changes[0].update.remove: \"spec.paused\" is no JSON pointer",
        ),
        (
            create("ConfigMap", "metadata: {name: c}, data: {key: null}"),
            "",
            "spec.changes[0].create.manifest.data.key: is null; leave it out",
        ),
        (
            create("ConfigMap", "metadata: {name: c, namespace: default}"),
            "",
            "spec.changes[0].create.manifest.metadata.namespace: is default, but a request changes its own namespace",
        ),
        (deployment("restart: {}"), ", window: {duration: 9h}", too_long),
        (deployment("restart: {}"), year, too_long),
        (deployment("restart: {}"), ", window: {notAfter: '2036-11-23T00:00:00Z'}", too_long),
        (deployment("restart: {}"), ", maxUses: 11", "spec.maxUses: more than the 10 that cpol/"),
    ] {
        let said = refused(&changes, more, because);
        assert!(said.contains("Refused: spec.") && said.contains("ask again: kubectl mayday ask"), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
    assert_eq!(shop.types(&shop.admin(), "kubectl get chg -n NS -o name").passes(), "");
}

#[test]
fn a_request_whose_target_cannot_be_changed_from_here_is_never_approvable() {
    let shop = Shop::open();
    let values: String = (0..300).map(|value| format!("k{value}: x, ")).collect();
    let many = create("ConfigMap", &format!("metadata: {{name: c}}, data: {{{values}}}"));
    let large = create("ConfigMap", &format!("metadata: {{name: c}}, data: {{k: {}}}", "x".repeat(600_000)));
    for (name, changes, because) in [
        ("many", many, "values, and one change may touch 256"),
        ("large", large, "bytes, and 524288 can be kept"),
        ("absent", of("v1", "ConfigMap", "not-there", "delete: {}"), "not-there"),
        ("cluster", of("v1", "Namespace", "default", "delete: {}"), "mayday-system"),
    ] {
        shop.creates(&shop.emil(), &request(name, &changes, "")).passes();
        let said = eventually(&format!("{name} is not Ready"), || {
            let stored = shop.request(name);
            let ready = condition(&stored, "Ready").filter(|ready| ready["status"] == "False")?;
            ready["message"].as_str().map(str::to_owned)
        });
        assert!(said.contains("spec.changes") && said.contains(because), "{said}");
        assert!(shop.request(name)["status"]["digest"].is_null(), "nothing to approve");
        shop.approves(&shop.amir(), name).is_refused();
    }
    // The longest possible name fits into every message about the request.
    let long = "a".repeat(253);
    shop.creates(&shop.emil(), &request(&long, &deployment("restart: {}"), "")).passes();
    eventually("it is planned", || shop.request(&long)["status"]["digest"].is_string().then_some(()));
    shop.is_approved(&long);
    eventually("each approval is shown with its subject", || {
        let approvals = shop.admin().reads(&format!("appr -n {}", shop.namespace));
        let subject = format!("chg/{long}");
        let all = approvals["items"].as_array()?;
        (all.len() == 2 && all.iter().all(|one| one["status"]["subject"] == subject.as_str())).then_some(())
    });
}
