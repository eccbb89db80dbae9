//! Break-glass with the plugin: under the person's own name, and without revealing secrets.

use super::shop::Shop;

#[test]
fn break_glass_keeps_the_persons_own_name_and_records_no_value() {
    let shop = Shop::open();
    let (admin, namespace) = (shop.admin(), &shop.namespace);
    // zoe may combine the break-glass group with one of her groups for one command, and not with the other.
    let zoe = shop.cluster.person("zoe", &["shop-engineers", "friends"]);
    let role = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: glass-{namespace}}}, rules: [\
         {{apiGroups: [''], resources: [users], resourceNames: [zoe], verbs: [impersonate]}}, \
         {{apiGroups: [''], resources: [groups], resourceNames: [shop-break-glass, shop-engineers], verbs: [impersonate]}}]}}"
    );
    admin.applies(&role).passes();
    let binding = format!(
        "kubectl create clusterrolebinding glass-{namespace} --clusterrole=glass-{namespace} --user=zoe"
    );
    admin.types(&binding).passes();
    let incident = "{apiVersion: mayday.dev/v1alpha1, kind: Incident, metadata: {name: one, namespace: NS}, \
                    spec: {title: checkout is slow, severity: SEV4}}";
    shop.creates(&admin, incident).passes();

    let create = "create secret generic db --from-literal=password=hunter2";
    shop.types(&zoe, &format!("kubectl {create} -n NS")).is_refused();
    let glass = "kubectl mayday break-glass -n NS --why 'no time' --yes --";
    let elsewhere = shop.types(&zoe, &format!("{glass} {create} --context other")).is_refused();
    assert!(elsewhere.contains("must not say --context"), "{elsewhere}");
    let said = shop.types(&zoe, &format!("{glass} {create}")).passes();
    assert!(said.contains("Without your groups friends, which you may not impersonate"), "{said}");

    shop.types(&admin, "kubectl get secret -n NS db").passes();
    let notes = admin.reads(&format!("inc/one -n {namespace}"))["spec"]["notes"].clone();
    let told = format!(
        "zoe broke the glass (it succeeded): kubectl create secret generic db in {namespace}. Why: no time"
    );
    assert_eq!(notes.as_array().map(|notes| notes.len()), Some(1), "{notes}");
    assert_eq!(notes[0]["text"], told);
}
