//! What happens while Mayday is stopped, and what everybody hears afterwards.

use crate::audit::Audit;
use crate::failed::{Result, expect};
use crate::opening::playground;
use crate::scene::Scene;
use crate::tell;

/// Plays it.
pub fn play(scene: &Scene) -> Result {
    tell::heading("Mayday itself is stopped");
    let (namespace, app) = (&scene.namespace, &scene.app);
    let place = Audit::read(&scene.dir)?.mark();
    let admin = &scene.admin;
    admin.types(&format!("dev/operator stop {}", scene.folder()))?.passes()?;
    tell::story("Production stays protected: no answer means no.");
    let said = scene.emil.types(&scene.set_image(&scene.other))?;
    said.refused("change-gate.mayday.dev")?;
    tell::story("What is not protected goes on as if nothing were missing.");
    let line = format!("kubectl -n {} create configmap anything --from-literal=works=yes", playground(scene));
    scene.emil.types(&line)?.passes()?;

    tell::story("emil is alone, it cannot wait, and he breaks the glass.");
    let mark = scene.inbox.mark();
    let set = scene.set_image(&scene.other);
    let line = format!("kubectl mayday break-glass -n {namespace} --why \"nobody answers\" --yes -- {set}");
    scene.emil.types(&line)?.passes()?;
    expect(scene.image()? == scene.other, &format!("the image is {}", scene.other), scene.image()?)?;
    let writes = Audit::read(&scene.dir)?.changes(place, namespace);
    let listed = [format!("emil: patch deployments/{app}")];
    expect(writes == listed, "the audit log knows who it was", writes.join("; "))?;

    tell::story("Mayday starts again, compares, and everybody hears of it.");
    admin.types(&format!("dev/operator start {}", scene.folder()))?.passes()?;
    let found = format!(
        "Found at * UTC: deployment/{app} was changed in {namespace} while Mayday did not run, last by the field manager \
         kubectl-set at * UTC. Nobody known did it; who it was is in the audit log of the API server. Look: kubectl get \
         -n {namespace} deploy/{app} -o yaml --show-managed-fields"
    );
    for who in ["", "emil", "amir", "bea", "lena"] {
        scene.inbox.hears(mark, who, &found)?;
    }
    scene.condition("changepolicy/production", "Enforced", "True")?;
    tell::story("And it guards again.");
    let said = scene.emil.types(&scene.set_image(&scene.good))?;
    said.refused("is not approved")?;
    scene.inbox.nothing_else()
}
