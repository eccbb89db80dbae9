//! The step `deletePod`: removes pods, which their controllers replace. Each pod is named by its UID, so that a repeat
//! never removes the pod that has taken its place. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::kind::{Progress, StepKind, Work};
use super::mutation::{Change, Mutation, Plan, Proof, Scene};
use super::patching::text;
use crate::api::runbook_run::{Act, ActVerb, PodToRemove};
use crate::api::runbook_step::{DeletePodStep, RemoveBy, Target};
use crate::runbook::targets::{self, Implied};

/// Interval between two looks at a pod that is terminating; pods are not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

impl StepKind for DeletePodStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn implied(&self) -> Implied {
        targets::POD
    }

    fn summary(&self) -> String {
        let words = self.target.words(targets::POD);
        match self.by {
            RemoveBy::Eviction => format!("evict {words}"),
            RemoveBy::Deletion => format!("delete {words}, whatever its budget says"),
        }
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for DeletePodStep {
    fn verb(&self) -> ActVerb {
        match self.by {
            RemoveBy::Eviction => ActVerb::Evict,
            RemoveBy::Deletion => ActVerb::Delete,
        }
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let Some(pod) = scene.object.filter(|pod| !is_terminating(pod)) else { return Ok(None) };
        if is_mirror(pod) {
            return Err(format!(
                "{name} is a mirror pod: its node runs it from a file, and a removal would not stop it"
            ));
        }
        if controller(pod).is_none() {
            return Err(format!("{name} has no controller, so nothing would replace it"));
        }
        let (Some(uid), Some(version)) = (text(pod, "/metadata/uid"), text(pod, "/metadata/resourceVersion"))
        else {
            return Err(format!("{name} was read without uid and resourceVersion"));
        };
        Ok(Some(Change {
            verb: self.verb(),
            uid: uid.to_owned(),
            resource_version: version.to_owned(),
            pods: vec![to_remove(pod)],
            ..Change::default()
        }))
    }

    fn probe(&self, act: &Act, scene: &Scene<'_>, _refused: bool) -> Proof {
        match still(act, scene.object) {
            Some(pod) if !is_terminating(pod) => Proof::NotDone,
            _ => Proof::Done,
        }
    }

    fn settles(&self, _several: bool) -> bool {
        true
    }

    fn settle(&self, act: &Act, scene: &Scene<'_>, now: Timestamp) -> Progress {
        let name = act.target.display();
        let Some(pod) = still(act, scene.object) else { return Progress::Done(format!("{name} is gone")) };
        Progress::NotYet { message: remaining(pod), until: now.checked_add(LOOK_AGAIN).ok() }
    }

    fn is_done_without_target(&self) -> bool {
        true
    }

    fn participle(&self) -> &'static str {
        "removed"
    }
}

/// The pod of an act, if it is still there.
fn still<'a>(act: &Act, object: Option<&'a Value>) -> Option<&'a Value> {
    object.filter(|pod| text(pod, "/metadata/uid") == Some(&act.uid))
}

/// Why a pod is still there, in words.
pub fn remaining(pod: &Value) -> String {
    let name = format!("pod/{}", text(pod, "/metadata/name").unwrap_or_default());
    let Some(since) = text(pod, "/metadata/deletionTimestamp") else {
        return format!("{name} is still there");
    };
    let node = text(pod, "/spec/nodeName").map_or_else(String::new, |node| format!(" on node/{node}"));
    let finalizers = pod.pointer("/metadata/finalizers").and_then(Value::as_array);
    let finalizers: Vec<&str> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
    let waits = match finalizers.as_slice() {
        [] => String::new(),
        some => format!("; it waits for {}", some.join(", ")),
    };
    // The deletion timestamp is the end of the grace period.
    format!("{name} is terminating{node}: its time to end is {since}{waits}")
}

/// Exactly this pod.
pub fn to_remove(pod: &Value) -> PodToRemove {
    let of = |pointer: &str| text(pod, pointer).unwrap_or_default().to_owned();
    PodToRemove { namespace: of("/metadata/namespace"), name: of("/metadata/name"), uid: of("/metadata/uid") }
}

/// Whether a pod is being removed already.
pub fn is_terminating(pod: &Value) -> bool {
    text(pod, "/metadata/deletionTimestamp").is_some()
}

/// Whether a pod is run by its node from a file, and the API server only shows it.
pub fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some()
}

/// Kind of the controller of a pod.
pub fn controller(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    owner["kind"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use crate::runbook::steps::stage::{act_of, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "Pod".into(), name: "checkout-1".into() }
    }

    fn pod(change: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "checkout-1", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "checkout", "controller": true}]}, "spec": {"nodeName": "w1"}});
        json_patch::merge(&mut pod, &change);
        pod
    }

    fn plan(by: RemoveBy, object: Option<&Value>) -> Plan {
        DeletePodStep { by, ..DeletePodStep::default() }.plan(&scene(&target(), object))
    }

    fn act(object: &Value) -> Act {
        act_of(&target(), plan(RemoveBy::Eviction, Some(object)))
    }

    fn terminating() -> Value {
        pod(json!({"metadata": {"deletionTimestamp": "2026-11-22T12:00:30Z", "finalizers": ["park/it"]}}))
    }

    #[test]
    fn an_act_names_exactly_one_pod_by_its_uid() {
        for (by, verb) in [(RemoveBy::Eviction, ActVerb::Evict), (RemoveBy::Deletion, ActVerb::Delete)] {
            let change = plan(by, Some(&pod(json!({})))).unwrap().unwrap();
            assert_eq!((change.verb, change.uid.as_str(), change.body), (verb, "u", None));
            let pods: Vec<_> =
                change.pods.iter().map(|pod| (&*pod.namespace, &*pod.name, &*pod.uid)).collect();
            assert_eq!(pods, [("shop", "checkout-1", "u")]);
        }
    }

    #[test]
    fn a_pod_that_is_gone_or_terminating_needs_no_act() {
        assert_eq!(plan(RemoveBy::Eviction, None), Ok(None));
        assert_eq!(plan(RemoveBy::Deletion, Some(&terminating())), Ok(None));
        assert!(DeletePodStep::default().is_done_without_target());
    }

    #[test]
    fn a_pod_that_nothing_would_replace_stays() {
        let bare = pod(json!({"metadata": {"ownerReferences": null}}));
        assert!(plan(RemoveBy::Eviction, Some(&bare)).unwrap_err().contains("no controller"));
        let owned = pod(json!({"metadata": {"ownerReferences": [{"kind": "Shop", "name": "s"}]}}));
        assert!(plan(RemoveBy::Eviction, Some(&owned)).unwrap_err().contains("no controller"));
        let mirror = pod(json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}));
        assert!(plan(RemoveBy::Deletion, Some(&mirror)).unwrap_err().contains("mirror"));
    }

    #[test]
    fn the_live_pod_proves_whether_it_was_removed() {
        let before = pod(json!({}));
        let act = act(&before);
        let probe =
            |object: Option<&Value>| DeletePodStep::default().probe(&act, &scene(&target(), object), false);
        assert_eq!(probe(Some(&before)), Proof::NotDone);
        for gone in [None, Some(&terminating()), Some(&pod(json!({"metadata": {"uid": "v"}})))] {
            assert_eq!(probe(gone), Proof::Done, "{gone:?}");
        }
    }

    #[test]
    fn the_step_waits_until_the_pod_is_gone_and_says_what_holds_it() {
        let act = act(&pod(json!({})));
        let settle = |object: Option<&Value>| {
            DeletePodStep::default().settle(&act, &scene(&target(), object), Timestamp::UNIX_EPOCH)
        };
        let Progress::NotYet { message, until } = settle(Some(&terminating())) else { panic!() };
        assert!(message.contains("on node/w1") && message.contains("park/it"), "{message}");
        assert!(until.is_some());
        assert_eq!(settle(None), Progress::Done("pod/checkout-1 is gone".into()));
        let successor = pod(json!({"metadata": {"uid": "v"}}));
        assert_eq!(settle(Some(&successor)), Progress::Done("pod/checkout-1 is gone".into()));
        assert!(DeletePodStep::default().settles(false));
    }
}
