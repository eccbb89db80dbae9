//! Requests that cannot be meant: each is refused with a sentence that says what and where.

use super::shop::Shop;

#[track_caller]
fn refused(shop: &Shop, changes: &str, more: &str, because: &str) {
    let manifest = format!(
        "{{apiVersion: mayday.dev/v1alpha1, kind: ChangeRequest, metadata: {{name: bad, namespace: NS}}, spec: \
         {{reason: x, changes: [{changes}]{more}}}}}"
    );
    let said = shop.creates(&shop.emil(), &manifest).is_refused();
    assert!(said.contains("Refused: ") && said.contains(because), "{said}");
}

const DEPLOYMENT: &str = "target: {apiVersion: apps/v1, kind: Deployment, name: checkout}";

#[test]
fn a_null_in_a_patch() {
    let patch =
        format!("{{{DEPLOYMENT}, update: {{patchType: Merge, patch: {{spec: {{replicas: null}}}}}}}}");
    refused(
        &Shop::open(),
        &patch,
        "",
        "spec.changes[0].update.patch.spec.replicas: is null; what is to go is listed in remove",
    );
}

#[test]
fn the_content_of_a_secret() {
    let secret = "{create: {manifest: {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, \
                  stringData: {password: x}}}}";
    refused(
        &Shop::open(),
        secret,
        "",
        "spec.changes[0].create.manifest: the content of a Secret never stands in a request",
    );
}

#[test]
fn a_window_beyond_the_limit_of_the_policy() {
    let restart = format!("{{{DEPLOYMENT}, restart: {{}}}}");
    refused(
        &Shop::open(),
        &restart,
        ", window: {duration: 9h}",
        "spec.window: longer than the 8h that cpol/",
    );
}

#[test]
fn more_uses_than_the_policy_allows() {
    let restart = format!("{{{DEPLOYMENT}, restart: {{}}}}");
    refused(&Shop::open(), &restart, ", maxUses: 11", "spec.maxUses: more than the 10 that cpol/");
}

#[test]
fn an_object_of_another_namespace() {
    let create =
        "{create: {manifest: {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: default}}}}";
    refused(&Shop::open(), create, "", "is default, but a request changes its own namespace");
}
