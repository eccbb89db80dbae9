//! Before the first outage: the shop, its people, its approved runbook, and the policy that protects it.

use crate::failed::{Result, expect};
use crate::samples;
use crate::scene::{LeaveOut, Scene};
use crate::tell;

/// Sets the shop up as the samples do.
pub fn play(scene: &Scene) -> Result {
    tell::heading("Before anything happens");
    if scene.leaves_out(LeaveOut::Webhook, "the webhook that guards production") {
        // Without the emergency switch the operator would bring it back.
        let line = "kubectl create configmap mayday-emergency -n mayday-system \
                    --from-literal=emergencyDisabledUntil=2099-01-01T00:00:00Z";
        scene.admin.types(line)?.passes()?;
        let line = "kubectl delete validatingwebhookconfiguration mayday-change-gate";
        scene.admin.types(line)?.passes()?;
    }
    tell::story("A shop with its people's ordinary rights; who is on call; what can break; who may report.");
    for (file, names) in [
        ("00-shop.yaml", &[] as &[&str]),
        ("05-access.yaml", &[]),
        ("20-oncall.yaml", &["crisis-leads", "payments", "second-approvers"]),
        ("21-channels.yaml", &[]),
        ("25-service.yaml", &[]),
        ("30-detect.yaml", &["alertmanager", "workloads"]),
        ("40-runbooks.yaml", &["restart-checkout"]),
    ] {
        let file = samples::write(scene, file, names)?;
        scene.admin.prepares(&format!("kubectl apply -f {file}"))?.passes()?;
    }
    let (namespace, app) = (&scene.namespace, &scene.app);
    tell::story("A second namespace that nobody protects.");
    scene.admin.prepares(&format!("kubectl create namespace {}", playground(scene)))?.passes()?;
    let line = format!(
        "kubectl -n {} create rolebinding engineers --clusterrole=edit --group=shop-engineers",
        playground(scene)
    );
    scene.admin.prepares(&line)?.passes()?;

    tell::story(&format!("The policy comes last: from now on {namespace} is production."));
    let file = samples::write(scene, "10-policy.yaml", &["production"])?;
    scene.admin.types(&format!("kubectl apply -f {file}"))?.passes()?;
    scene.condition("changepolicy/production", "Enforced", "True")?;
    for object in [
        "oncallrotation/payments",
        "oncallrotation/crisis-leads",
        "oncallrotation/second-approvers",
        "notificationchannel/oncall-webhook",
        "notificationchannel/crisis-room",
        "alertsource/alertmanager",
        "alertsource/workloads",
        &format!("businessservice/{app}"),
        &format!("runbook/restart-{app}"),
    ] {
        scene.condition(object, "Ready", "True")?;
    }
    approve_runbook(scene)
}

/// Name of the namespace that no policy protects.
pub fn playground(scene: &Scene) -> String {
    scene.namespace.replace("shop", "play")
}

fn approve_runbook(scene: &Scene) -> Result {
    let runbook = format!("runbook/restart-{}", scene.app);
    tell::story("The runbook is worth nothing until two people who did not write it approve it.");
    scene.condition(&runbook, "Approved", "False")?;
    let line = format!("kubectl mayday approve -n {} rb/restart-{} --yes", scene.namespace, scene.app);
    scene.amir.types(&line)?.passes()?;
    let after_one = scene.object(&runbook)?;
    let approved = crate::scene::condition(&after_one, "Approved", "True");
    expect(approved.is_err(), "one approval is not enough", "Approved=True")?;
    if !scene.leaves_out(LeaveOut::Approval, "bea's approval") {
        scene.bea.types(&line)?.passes()?;
    }
    scene.condition(&runbook, "Approved", "True").map(drop)
}
