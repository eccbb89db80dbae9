//! The library of Runbooks: each is accepted and approved as it is, and says in a dry run what it would do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::shop::{Shop, run_named_in};
use crate::support::{Cluster, root};

/// What the Runbooks are about, made before the shop is protected.
const BEFORE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: grows}
provisioner: example.com/none
allowVolumeExpansion: true
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: orders}
spec: {storageClassName: grows, capacity: {storage: 10Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /none}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: orders, namespace: shop}
spec: {storageClassName: grows, volumeName: orders, accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders, role: primary}, ports: [{port: 5432}]}
"#;

/// A kind of another project, with any fields.
fn kind(group: &str, plural: &str, kind: &str) -> String {
    serde_json::json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    .to_string()
}

/// The Runbooks of the library by name.
fn library() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(root().join("config/runbooks")).unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

#[test]
fn each_runbook_of_the_library_is_ready_and_tells_what_it_would_do() {
    let cluster = Cluster::start("library");
    let admin = cluster.admin();
    admin.applies(BEFORE).passes();
    // Only a claim that is bound can grow.
    let bound = "kubectl wait pvc/orders -n shop --for=jsonpath={.status.phase}=Bound --timeout=60s";
    admin.types(bound).passes();
    for (group, plural, name) in [
        ("cert-manager.io", "certificates", "Certificate"),
        ("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization"),
    ] {
        admin.applies(&kind(group, plural, name)).passes();
        admin
            .types(&format!("kubectl wait crd/{plural}.{group} --for condition=Established --timeout=60s"))
            .passes();
    }
    let certificate = "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: checkout, namespace: shop}, spec: {renewBefore: 720h}}";
    let flux = "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: shop, namespace: shop}, spec: {path: ./}}";
    for object in [certificate, flux] {
        admin.applies(object).passes();
    }
    let mut books = library();
    admin.applies(&books.remove("identity").unwrap()).passes();
    let prometheus = r#"- {name: prometheus, url: "http://127.0.0.1:9090"}"#;
    let both = format!("{prometheus}\n    - {{name: cache, url: \"http://cache-admin.shop.svc:8080\"}}");
    let nodes = "clusterIdentities: [{namespace: shop, name: node-runbooks}]";
    let commented = format!("# {nodes}");
    let shop = Shop::open(&cluster, &[(prometheus, both.as_str()), (commented.as_str(), nodes)]);
    for (name, book) in &books {
        assert!(root().join(format!("docs/runbooks/{name}.md")).exists(), "{name} has no page");
        shop.admin.applies(book).passes();
    }
    assert_eq!(books.len(), 12);
    for name in books.keys() {
        shop.is_approved(name);
    }
    let declare =
        "kubectl mayday declare 'Customers cannot pay' -n shop --service checkout --severity SEV2 --yes";
    shop.emil.types(declare).passes();
    let incident = shop.incident("it is declared", |_| true)["metadata"]["name"].as_str().unwrap().to_owned();

    // What each would do to what there is. The node of drain-node would be named by an alert.
    let told = |words: &str| -> Vec<String> {
        let said = shop.emil.types(&format!("kubectl mayday run -n shop {words} --dry-run --yes")).passes();
        let done = shop.run_comes_to(&run_named_in(&said), "DryRunComplete");
        let steps = done["status"]["steps"].as_array().unwrap().iter();
        steps.map(|step: &Value| step["message"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let restart = format!("restart --incident inc/{incident}");
    for (words, would) in [
        (restart.as_str(), "would restart each workload that the incident is about: deployment/checkout"),
        ("add-capacity", "would scale deployment/checkout by +2"),
        ("delete-stuck-pods", "would evict each pod with app=checkout"),
        (
            "expand-volume --param size=100Gi",
            "would patch persistentvolumeclaim/orders at /spec/resources/requests/storage",
        ),
        ("renew-certificate", "would patch certificate/checkout at /spec/renewBefore"),
        ("fail-over", "would ask a person"),
        ("clear-queue --param queue=orders", "would run a Job"),
        ("flush-cache", "would "),
        ("hold-gitops-and-roll-back", "would suspend kustomization/shop"),
        ("collect-evidence", "would run a Job"),
    ] {
        let steps = told(words);
        assert!(steps[0].starts_with(would), "{words}: {steps:#?}");
    }
    let unknown = told("roll-back-release");
    assert!(unknown[0].contains("is known to have been healthy"), "{unknown:#?}");
    let changes: Vec<String> =
        shop.changes().into_iter().filter(|change| change.contains("runbooks:")).collect();
    assert_eq!(changes, Vec::<String>::new());
}
