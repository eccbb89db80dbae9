//! The step `drain`: evicts the pods of a cordoned node. The act names the pods by their UIDs, so that a repeat evicts no
//! pod that came later. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::cordon::is_cordoned;
use super::delete_pod::{controller, is_mirror, is_terminating, remaining, to_remove};
use super::kind::{Progress, StepKind, Work};
use super::mutation::{Change, Mutation, Plan, Proof, Scene};
use super::needs::{self, Names, Need};
use super::patching::text;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::{Act, ActVerb, PodToRemove};
use crate::api::runbook_step::{DrainStep, Target};
use crate::runbook::targets::{self, Implied, ListRead, Read};

/// Most pods of one act, as in the schema.
const MAX_PODS: usize = 256;
/// Most names of pods in a message.
const MAX_NAMES: usize = 8;
/// Interval between two looks at pods that are terminating; pods are not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

impl StepKind for DrainStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn implied(&self) -> Implied {
        targets::NODE
    }

    fn summary(&self) -> String {
        let data = if self.delete_empty_dir_data { ", with what is in their emptyDirs" } else { "" };
        format!("drain {}{data}", self.target.words(targets::NODE))
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for DrainStep {
    fn reads(&self, target: &ObjectRef, _object: Option<&Value>) -> Vec<Read> {
        vec![Read::List(ListRead {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            fields: format!("spec.nodeName={}", target.name),
            everywhere: true,
            ..ListRead::default()
        })]
    }

    fn verb(&self) -> ActVerb {
        ActVerb::Evict
    }

    fn needs(&self, _target: &ObjectRef) -> Vec<Need> {
        let pods = Need::of_act(self.verb(), &needs::of_kind("v1", "Pod"));
        pods.into_iter().map(|need| Need { names: Names::All, everywhere: true, ..need }).collect()
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let node = scene.live()?;
        if !is_cordoned(node) {
            return Err(format!(
                "{name} is not cordoned, so its pods could come back: put a cordon step before the drain"
            ));
        }
        let drainable: Vec<&Value> =
            scene.found(0).iter().filter(|pod| must_go(pod) && !is_terminating(pod)).collect();
        let pods = match scene.again {
            // What came later is not part of the act.
            Some(act) => drainable.into_iter().filter(|pod| is_among(&act.pods, pod)).collect(),
            None => {
                self.allows(&name, &drainable)?;
                drainable
            }
        };
        // Without a pod to evict the step still waits for those that are terminating.
        if pods.is_empty() && (scene.again.is_some() || !scene.found(0).iter().any(must_go)) {
            return Ok(None);
        }
        Ok(Some(Change {
            verb: self.verb(),
            uid: text(node, "/metadata/uid").unwrap_or_default().to_owned(),
            resource_version: text(node, "/metadata/resourceVersion").unwrap_or_default().to_owned(),
            pods: pods.into_iter().map(to_remove).collect(),
            ..Change::default()
        }))
    }

    fn probe(&self, act: &Act, scene: &Scene<'_>, _refused: bool) -> Proof {
        let mut pods = scene.found(0).iter();
        match pods.any(|pod| is_among(&act.pods, pod) && must_go(pod) && !is_terminating(pod)) {
            true => Proof::NotDone,
            false => Proof::Done,
        }
    }

    fn settles(&self, _several: bool) -> bool {
        true
    }

    fn settle(&self, act: &Act, scene: &Scene<'_>, now: Timestamp) -> Progress {
        let name = scene.name();
        let left: Vec<&Value> = scene.found(0).iter().filter(|pod| must_go(pod)).collect();
        let came: Vec<&Value> =
            left.iter().filter(|pod| !is_terminating(pod) && !is_among(&act.pods, pod)).copied().collect();
        match (scene.object, left.as_slice()) {
            (None, _) => Progress::Done(format!("{name} is gone")),
            (_, []) => Progress::Done(format!("{name} is drained")),
            _ if !came.is_empty() => {
                Progress::Failed(format!("pods came to {name} although it is cordoned: {}", names(&came)))
            }
            (_, [first, rest @ ..]) => {
                let others = match rest.len() {
                    0 => String::new(),
                    others => format!("; {others} more are left"),
                };
                Progress::NotYet {
                    message: format!("{}{others}", remaining(first)),
                    until: now.checked_add(LOOK_AGAIN).ok(),
                }
            }
        }
    }

    fn is_done_without_target(&self) -> bool {
        true
    }

    fn participle(&self) -> &'static str {
        "drained"
    }
}

impl DrainStep {
    /// Whether these pods of a node may be evicted.
    fn allows(&self, name: &str, pods: &[&Value]) -> Result<(), String> {
        let with =
            |is: fn(&Value) -> bool| -> Vec<&Value> { pods.iter().filter(|pod| is(pod)).copied().collect() };
        let bare = with(|pod| controller(pod).is_none());
        if !bare.is_empty() {
            return Err(format!("{name} has pods that nothing would replace: {}", names(&bare)));
        }
        let with_data = with(has_local_data);
        if !with_data.is_empty() && !self.delete_empty_dir_data {
            return Err(format!(
                "{name} has pods with data in an emptyDir, which would be lost (deleteEmptyDirData: true allows it): {}",
                names(&with_data)
            ));
        }
        match pods.len() > MAX_PODS {
            true => Err(format!("{name} has {} pods to evict, more than {MAX_PODS}", pods.len())),
            false => Ok(()),
        }
    }
}

/// Whether a drain is about a pod: not one of a DaemonSet, which comes back, nor one that its node runs from a file, nor one
/// that has ended.
fn must_go(pod: &Value) -> bool {
    let has_ended = matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"));
    controller(pod) != Some("DaemonSet") && !is_mirror(pod) && !has_ended
}

fn has_local_data(pod: &Value) -> bool {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    volumes.into_iter().flatten().any(|volume| volume.get("emptyDir").is_some())
}

fn is_among(pods: &[PodToRemove], pod: &Value) -> bool {
    text(pod, "/metadata/uid").is_some_and(|uid| pods.iter().any(|known| known.uid == uid))
}

/// Pods in words: `shop/checkout-1, shop/till-0 and 3 more`.
fn names(pods: &[&Value]) -> String {
    let name = |pod: &&Value| {
        let pod = to_remove(pod);
        format!("{}/{}", pod.namespace, pod.name)
    };
    let first: Vec<String> = pods.iter().take(MAX_NAMES).map(name).collect();
    match pods.len().checked_sub(MAX_NAMES) {
        Some(more) if more > 0 => format!("{} and {more} more", first.join(", ")),
        _ => first.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::steps::stage::{act_of, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "v1".into(), kind: "Node".into(), name: "w1".into() }
    }

    fn node() -> Value {
        json!({"metadata": {"name": "w1", "uid": "n", "resourceVersion": "7"}, "spec": {"unschedulable": true}})
    }

    fn pod(name: &str, change: Value) -> Value {
        let mut pod = json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("{name}-uid"),
            "ownerReferences": [{"kind": "ReplicaSet", "name": "checkout", "controller": true}]},
            "spec": {"nodeName": "w1"}, "status": {"phase": "Running"}});
        json_patch::merge(&mut pod, &change);
        pod
    }

    fn owned_by(kind: &str) -> Value {
        json!({"metadata": {"ownerReferences": [{"kind": kind, "name": "x", "controller": true}]}})
    }

    fn terminating() -> Value {
        json!({"metadata": {"deletionTimestamp": "2026-11-22T12:00:30Z"}})
    }

    fn with_empty_dir() -> Value {
        json!({"spec": {"volumes": [{"name": "cache", "emptyDir": {}}]}})
    }

    fn planned(step: &DrainStep, pods: Vec<Value>, again: Option<&Act>) -> Plan {
        let (target, node, related) = (target(), node(), [pods]);
        step.plan(&Scene { related: &related, again, ..scene(&target, Some(&node)) })
    }

    fn plan(pods: Vec<Value>) -> Plan {
        planned(&DrainStep::default(), pods, None)
    }

    fn evicted(plan: Plan) -> Vec<String> {
        let change = plan.unwrap().unwrap();
        assert_eq!(change.verb, ActVerb::Evict);
        change.pods.into_iter().map(|pod| pod.uid).collect()
    }

    #[test]
    fn the_pods_of_every_namespace_on_the_node_are_read() {
        let [Read::List(list)] = &DrainStep::default().reads(&target(), None)[..] else { panic!() };
        assert_eq!((list.fields.as_str(), list.everywhere), ("spec.nodeName=w1", true));
    }

    #[test]
    fn an_act_names_the_drainable_pods_by_their_uids() {
        let pods = vec![
            pod("a", json!({})),
            pod("agent", owned_by("DaemonSet")),
            pod("mirror", json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})),
            pod("ended", json!({"status": {"phase": "Succeeded"}, "metadata": {"ownerReferences": null}})),
            pod("ending", terminating()),
            pod("b", json!({"metadata": {"namespace": "till"}})),
        ];
        assert_eq!(evicted(plan(pods)), ["a-uid", "b-uid"]);
        assert_eq!(plan(vec![pod("agent", owned_by("DaemonSet"))]), Ok(None));
        assert_eq!(evicted(plan(vec![pod("ending", terminating())])), [""; 0], "and waits for it");
    }

    #[test]
    fn a_node_that_takes_new_pods_is_not_drained() {
        let (target, mut node) = (target(), node());
        node["spec"] = json!({});
        let why = DrainStep::default().plan(&scene(&target, Some(&node))).unwrap_err();
        assert!(why.contains("not cordoned") && why.contains("cordon step before"), "{why}");
    }

    #[test]
    fn a_pod_that_would_be_lost_stops_the_drain_and_is_named() {
        let bare = pod("bare", json!({"metadata": {"ownerReferences": null}}));
        let why = plan(vec![pod("a", json!({})), bare]).unwrap_err();
        assert!(why.contains("shop/bare") && !why.contains("shop/a"), "{why}");
        let why = plan(vec![pod("cache", with_empty_dir())]).unwrap_err();
        assert!(why.contains("shop/cache") && why.contains("deleteEmptyDirData"), "{why}");
        let lossy = DrainStep { delete_empty_dir_data: true, ..DrainStep::default() };
        assert_eq!(evicted(planned(&lossy, vec![pod("cache", with_empty_dir())], None)), ["cache-uid"]);
        let many = (0..257).map(|index| pod(&format!("p{index}"), json!({}))).collect();
        assert!(plan(many).unwrap_err().contains("257 pods"));
    }

    #[test]
    fn a_repeat_keeps_to_the_pods_of_the_act() {
        let act = act_of(&target(), plan(vec![pod("a", json!({})), pod("b", json!({}))]));
        let later = vec![pod("b", json!({})), pod("c", json!({}))];
        assert_eq!(evicted(planned(&DrainStep::default(), later, Some(&act))), ["b-uid"]);
        assert_eq!(planned(&DrainStep::default(), vec![pod("a", terminating())], Some(&act)), Ok(None));
    }

    #[test]
    fn the_pods_on_the_node_prove_whether_they_were_evicted() {
        let act = act_of(&target(), plan(vec![pod("a", json!({}))]));
        let probe = |pods: Vec<Value>| {
            let (target, node, related) = (target(), node(), [pods]);
            DrainStep::default().probe(
                &act,
                &Scene { related: &related, ..scene(&target, Some(&node)) },
                false,
            )
        };
        assert_eq!(probe(vec![pod("a", json!({}))]), Proof::NotDone);
        for done in [vec![], vec![pod("a", terminating())], vec![pod("c", json!({}))]] {
            assert_eq!(probe(done.clone()), Proof::Done, "{done:?}");
        }
    }

    #[test]
    fn the_step_waits_until_every_pod_is_gone_and_tells_of_new_ones() {
        let act = act_of(&target(), plan(vec![pod("a", json!({}))]));
        let settle = |node: Option<&Value>, pods: Vec<Value>| {
            let (target, related) = (target(), [pods]);
            let scene = Scene { related: &related, ..scene(&target, node) };
            DrainStep::default().settle(&act, &scene, Timestamp::UNIX_EPOCH)
        };
        let node = node();
        let waits = settle(Some(&node), vec![pod("a", terminating()), pod("z", terminating())]);
        assert!(
            matches!(&waits, Progress::NotYet { message, .. } if message.contains("1 more are left")),
            "{waits:?}"
        );
        let came = settle(Some(&node), vec![pod("new", json!({}))]);
        assert!(matches!(&came, Progress::Failed(message) if message.contains("shop/new")), "{came:?}");
        let drained = settle(Some(&node), vec![pod("agent", owned_by("DaemonSet"))]);
        assert_eq!(drained, Progress::Done("node/w1 is drained".into()));
        assert_eq!(settle(None, Vec::new()), Progress::Done("node/w1 is gone".into()));
    }
}
