//! The steps `cordon` and `uncordon`: keep new pods off a node, and let them on it again. An annotation says which run
//! has cordoned a node, so that a cordon by somebody else stays. Pure.

use serde_json::{Value, json};

use super::kind::{StepKind, Work};
use super::mutation::{Mutation, Plan, Scene};
use super::patching::{self, text};
use crate::api::runbook_step::{CordonStep, Target, UncordonStep};
use crate::runbook::targets::{self, Implied};

/// Annotation of a node with the UID of the run that has cordoned it.
pub const CORDONED_BY: &str = "mayday.dev/cordoned-by";

impl StepKind for CordonStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn implied(&self) -> Implied {
        targets::NODE
    }

    fn summary(&self) -> String {
        format!("cordon {}", self.target.words(targets::NODE))
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for CordonStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let node = scene.live()?;
        if is_cordoned(node) {
            return Ok(None);
        }
        let mut after = node.clone();
        let spec = after.as_object_mut().map(|node| node.entry("spec").or_insert_with(|| json!({})));
        if let Some(Value::Object(spec)) = spec {
            spec.insert("unschedulable".to_owned(), true.into());
        }
        patching::mark(&mut after, "/metadata", CORDONED_BY, scene.run_uid);
        patching::plan(scene, &after)
    }

    fn participle(&self) -> &'static str {
        "cordoned"
    }
}

impl StepKind for UncordonStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn implied(&self) -> Implied {
        targets::NODE
    }

    fn summary(&self) -> String {
        format!("uncordon {}", self.target.words(targets::NODE))
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for UncordonStep {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let node = match scene.object {
            None if scene.undoes.is_some() => return Ok(None),
            _ => scene.live()?,
        };
        if !is_cordoned(node) {
            return Ok(None);
        }
        if !is_ours(node) {
            let next = match scene.undoes {
                Some(_) => "so it stays cordoned".to_owned(),
                None => format!("so a run does not uncordon it: kubectl uncordon {}", scene.target.name),
            };
            return Err(format!("{name} was cordoned by somebody else, {next}"));
        }
        let mut after = node.clone();
        if let Some(spec) = after.pointer_mut("/spec").and_then(Value::as_object_mut) {
            spec.remove("unschedulable");
        }
        if let Some(annotations) = after.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(CORDONED_BY);
        }
        patching::plan(scene, &after)
    }

    fn is_done_without_target(&self) -> bool {
        true
    }

    fn participle(&self) -> &'static str {
        "uncordoned"
    }
}

/// Whether new pods are kept off a node.
pub fn is_cordoned(node: &Value) -> bool {
    node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default()
}

/// Whether a run has cordoned a node that is cordoned. `kubectl uncordon` leaves the annotation behind, so the API server's
/// own record must name a run as well: after a later `kubectl cordon` it names kubectl.
fn is_ours(node: &Value) -> bool {
    let annotation = "/metadata/annotations/mayday.dev~1cordoned-by";
    text(node, annotation).is_some_and(|uid| !uid.is_empty()) && {
        let entries = node.pointer("/metadata/managedFields").and_then(Value::as_array);
        let mut writers = entries
            .into_iter()
            .flatten()
            .filter(|entry| entry.pointer("/fieldsV1/f:spec/f:unschedulable").is_some())
            .peekable();
        writers.peek().is_none() || writers.any(|entry| entry["manager"] == patching::FIELD_MANAGER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use crate::api::runbook_run::Act;
    use crate::api::runbook_step::RestorePrevious;
    use crate::runbook::steps::mutation::Proof;
    use crate::runbook::steps::stage::{act_of, applied, scene};

    fn target() -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "Node".into(), name: "w1".into() }
    }

    fn node(change: Value) -> Value {
        let mut node = json!({"metadata": {"name": "w1", "uid": "u", "resourceVersion": "7"}, "spec": {"podCIDR": "10.0.0.0/24"}});
        json_patch::merge(&mut node, &change);
        node
    }

    fn cordoned(by: Option<&str>) -> Value {
        node(json!({"spec": {"unschedulable": true}, "metadata": {"annotations": {CORDONED_BY: by}}}))
    }

    /// As the API server notes who wrote `spec.unschedulable`.
    fn written_by(manager: &str) -> Value {
        json!({"metadata": {"managedFields": [
            {"manager": "kubelet", "fieldsV1": {"f:spec": {"f:podCIDR": {}}}},
            {"manager": manager, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}}]}})
    }

    fn cordon(object: &Value) -> Plan {
        CordonStep::default().plan(&scene(&target(), Some(object)))
    }

    fn uncordon(object: Option<&Value>, undoes: Option<&Act>) -> Plan {
        UncordonStep::default().plan(&Scene { undoes, ..scene(&target(), object) })
    }

    #[test]
    fn a_cordon_says_which_run_it_is_of_and_is_proved_by_the_node() {
        for before in
            [node(json!({})), node(json!({"spec": null})), node(json!({"spec": {"unschedulable": false}}))]
        {
            let act = act_of(&target(), cordon(&before));
            let after = applied(&before, &act);
            assert_eq!(after["spec"]["unschedulable"], true);
            assert_eq!(after["metadata"]["annotations"][CORDONED_BY], "run");
            let probe =
                |object: &Value| CordonStep::default().probe(&act, &scene(&target(), Some(object)), false);
            assert_eq!((probe(&before), probe(&after)), (Proof::NotDone, Proof::Done));
        }
    }

    #[test]
    fn a_node_that_is_cordoned_already_is_left_as_it_is() {
        assert_eq!(cordon(&cordoned(None)), Ok(None));
        assert_eq!(cordon(&cordoned(Some("run"))), Ok(None));
    }

    #[test]
    fn a_run_uncordons_what_a_run_has_cordoned() {
        for by in ["run", "an-earlier-run"] {
            let before = cordoned(Some(by));
            let after = applied(&before, &act_of(&target(), uncordon(Some(&before), None)));
            assert_eq!(after["spec"], json!({"podCIDR": "10.0.0.0/24"}));
            assert_eq!(after["metadata"]["annotations"].get(CORDONED_BY), None);
        }
        assert_eq!(uncordon(Some(&node(json!({}))), None), Ok(None));
    }

    #[test]
    fn a_cordon_by_somebody_else_stays() {
        let theirs = cordoned(None);
        let why = uncordon(Some(&theirs), None).unwrap_err();
        assert!(why.ends_with("kubectl uncordon w1"), "{why}");
        let act = Act::default();
        assert!(uncordon(Some(&theirs), Some(&act)).unwrap_err().ends_with("stays cordoned"));
        // kubectl has uncordoned the node, left the annotation, and cordoned the node again.
        let mut again = cordoned(Some("run"));
        json_patch::merge(&mut again, &written_by("kubectl-cordon"));
        assert!(uncordon(Some(&again), None).is_err());
        json_patch::merge(&mut again, &written_by("mayday-run"));
        assert!(matches!(uncordon(Some(&again), None), Ok(Some(_))));
    }

    #[test]
    fn a_node_that_is_gone_needs_no_compensation() {
        assert_eq!(uncordon(None, Some(&Act::default())), Ok(None));
        assert!(uncordon(None, None).unwrap_err().contains("does not exist"));
    }

    #[test]
    fn restore_previous_takes_a_cordon_back() {
        let before = node(json!({}));
        let act = act_of(&target(), cordon(&before));
        let after = applied(&before, &act);
        let target = target();
        let restoring =
            Scene { operation_id: "run/s/back/0", undoes: Some(&act), ..scene(&target, Some(&after)) };
        let back = act_of(&target, RestorePrevious {}.plan(&restoring));
        assert_eq!(applied(&after, &back)["spec"], before["spec"]);
    }
}
