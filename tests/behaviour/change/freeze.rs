//! Lifting a Freeze: the people it stops may not lift it, those named by its policy may.

use super::shop::Shop;
use crate::support::{condition, eventually};

#[test]
fn a_freeze_is_lifted_by_those_its_policy_names_and_extended_by_all() {
    let shop = Shop::open();
    let (admin, emil, name) = (shop.admin(), shop.emil(), shop.policy.clone());
    shop.lets_emil_write("freezes");
    admin
        .applies(&format!(
            "{{apiVersion: mayday.dev/v1alpha1, kind: Freeze, metadata: {{name: {name}}}, spec: {{policyRef: {{name: \
             {name}}}, stops: [Changes, Automation], reason: closing, endTime: '2099-01-01T00:00:00Z'}}}}"
        ))
        .passes();
    let until = |year: u16| {
        format!(
            r#"kubectl patch frz/{name} --type merge -p '{{"spec":{{"endTime":"{year}-01-01T00:00:00Z"}}}}'"#
        )
    };
    emil.types(&until(2098)).is_refused();
    emil.types(&until(2100)).passes();

    // The command from the refusal, unchanged.
    let said = emil.types(&format!("kubectl delete frz/{name}")).is_refused();
    let ask = format!("kubectl mayday ask -n mayday-system frz/{name} --delete");
    assert!(said.contains(&format!("Refused: lifting frz/{name} ")) && said.contains(&ask), "{said}");
    emil.types(&format!("{ask} --why 'closed early' --name {name} --yes")).passes();
    shop.approves_for_the_cluster(&shop.amir(), &name);
    emil.types(&format!("kubectl delete frz/{name}")).is_refused();
    shop.approves_for_the_cluster(&shop.bea(), &name);
    eventually("the request is approved", || {
        let request = admin.reads(&format!("chg/{name} -n mayday-system"));
        condition(&request, "Approved").filter(|seen| seen["status"] == "True").map(drop)
    });
    emil.types(&format!("kubectl delete frz/{name}")).passes();
    assert_eq!(admin.types("kubectl get frz -o name").passes().matches(&name).count(), 0);
}
