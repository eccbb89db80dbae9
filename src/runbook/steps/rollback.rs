//! The step `rollback`: returns a workload to an earlier pod template. The template is chosen once, before the act is
//! announced, by what it contains: revision numbers move with every rollback, and "the one before" is another one after it.

use serde_json::{Map, Value};

use super::kind::{Progress, StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::{is_workload, patching, rolled_out};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::Act;
use crate::api::runbook_step::{RollbackStep, RollbackTo, Target};
use crate::problem::Problem;
use crate::runbook::healthy;
use crate::runbook::targets::{ListRead, Read};
use jiff::Timestamp;

/// Annotation of a ReplicaSet with its revision.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

impl StepKind for RollbackStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        let name = self.target.words(None);
        match (self.to, self.revision) {
            (_, Some(revision)) => format!("return {name} to revision {revision}"),
            (Some(RollbackTo::Previous), _) => format!("return {name} to the template before"),
            _ => format!("return {name} to the last template that was healthy"),
        }
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found: Vec<Problem> =
            written.not_a_workload("rollback.target", &self.target).into_iter().collect();
        if self.to.is_some() == self.revision.is_some() {
            found.push(written.problem("rollback", "set exactly one of to, revision"));
        }
        found
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

/// The read of the templates of a workload.
fn templates(target: &ObjectRef, labels: String) -> Read {
    let kind = if target.kind == "Deployment" { "ReplicaSet" } else { "ControllerRevision" };
    Read::List(ListRead { api_version: "apps/v1".into(), kind: kind.into(), labels, ..ListRead::default() })
}

/// An earlier template of a workload.
#[derive(Clone, Debug)]
struct Revision {
    number: i64,
    template: Value,
    /// Whether pods of it are available now.
    serves: bool,
}

impl Mutation for RollbackStep {
    fn reads(&self, target: &ObjectRef, object: Option<&Value>) -> Vec<Read> {
        let labels = object.and_then(|object| object.pointer("/spec/selector")).and_then(selector);
        labels.map(|labels| templates(target, labels)).into_iter().collect()
    }

    fn may_read(&self, target: &ObjectRef) -> Vec<Read> {
        vec![templates(target, String::new())]
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let object = scene.live()?;
        if !is_workload(scene.target) {
            return Err(format!("{name} has no revisions: only a Deployment, StatefulSet or DaemonSet has"));
        }
        if object.pointer("/spec/paused") == Some(&true.into()) {
            return Err(format!("{name} is paused, so a rollback would do nothing"));
        }
        let current = object.pointer("/spec/template").map(plain).unwrap_or_default();
        let mut revisions = revisions(scene, object);
        revisions.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        let is_current = |revision: &&Revision| revision.template == current;
        let others = || revisions.iter().filter(|revision| !is_current(revision));
        let known = || {
            let numbers: Vec<String> = others().map(|revision| revision.number.to_string()).collect();
            if numbers.is_empty() {
                "there is none".to_owned()
            } else {
                format!("there are {}", numbers.join(", "))
            }
        };
        let chosen = match (self.to, self.revision) {
            (_, Some(number)) => {
                let found = revisions.iter().find(|revision| revision.number == number);
                let found = found.ok_or_else(|| format!("{name} has no revision {number}: {}", known()))?;
                if is_current(&found) {
                    return Ok(None);
                }
                found
            }
            (Some(RollbackTo::Previous), _) => {
                others().next().ok_or_else(|| format!("{name} has no earlier template to return to"))?
            }
            (Some(RollbackTo::LastHealthy), _) => {
                let was_healthy = |revision: &&Revision| {
                    revision.serves
                        || healthy::is_known(scene.healthy, scene.target, object, &revision.template)
                };
                others().find(was_healthy).ok_or_else(|| {
                    format!(
                        "no earlier template of {name} is known to have been healthy: choose a revision ({}) and name it",
                        known()
                    )
                })?
            }
            (None, None) => return Err("the step does not say what to return to".to_owned()),
        };
        let mut after = object.clone();
        after["spec"]["template"] = chosen.template.clone();
        let plan = patching::plan(scene, &after)?;
        // What was announced once is announced again, and no other template in its place.
        match (&plan, scene.again) {
            (Some(change), Some(announced))
                if of_template(&change.delta) != of_template(&announced.delta) =>
            {
                Err(format!(
                    "the template of {name}, or its history, has changed since the rollback was announced"
                ))
            }
            _ => Ok(plan),
        }
    }

    fn settles(&self, several: bool) -> bool {
        several
    }

    fn settle(&self, _act: &Act, scene: &Scene<'_>, _now: Timestamp) -> Progress {
        rolled_out(scene.target, scene.object)
    }

    fn participle(&self) -> &'static str {
        "rolled back"
    }
}

/// The part of a change that is about the pod template.
fn of_template(delta: &[Delta]) -> Vec<&Delta> {
    delta.iter().filter(|delta| delta.path.starts_with("/spec/template")).collect()
}

/// A template without what differs between a workload and its revisions, although they are the same.
fn plain(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("creationTimestamp").is_some_and(Value::is_null)
    {
        metadata.remove("creationTimestamp");
    }
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    template
}

/// The templates that the workload's controller keeps, each with its number.
fn revisions(scene: &Scene<'_>, object: &Value) -> Vec<Revision> {
    let uid = patching::text(object, "/metadata/uid");
    let is_owned = |kept: &&Value| {
        let owners = kept.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| {
            owner.get("controller") == Some(&true.into()) && owner.get("uid").and_then(Value::as_str) == uid
        })
    };
    let read = |kept: &Value| {
        if scene.target.kind == "Deployment" {
            let available = kept.pointer("/status/availableReplicas").and_then(Value::as_i64).unwrap_or(0);
            return Some(Revision {
                number: patching::text(kept, REVISION)?.parse().ok()?,
                template: plain(kept.pointer("/spec/template")?),
                serves: available > 0,
            });
        }
        // A ControllerRevision holds a patch of the template that says it whole.
        let mut template = kept.pointer("/data/spec/template")?.clone();
        template.as_object_mut()?.remove("$patch");
        Some(Revision { number: kept.get("revision")?.as_i64()?, template: plain(&template), serves: false })
    };
    scene.found(0).iter().filter(is_owned).filter_map(read).collect()
}

/// A label selector as the API server takes it in a list: `app=checkout,tier in (a,b)`.
fn selector(selector: &Value) -> Option<String> {
    let empty = Map::new();
    let labels = selector.get("matchLabels").and_then(Value::as_object).unwrap_or(&empty);
    let mut parts: Vec<String> = labels
        .iter()
        .map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
        .collect::<Option<_>>()?;
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression.get("key")?.as_str()?;
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        parts.push(match expression.get("operator")?.as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    // An empty selector would read the revisions of every workload.
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runbook::HealthyTemplate;
    use crate::runbook::steps::stage::{act_of, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
    }

    fn deployment(image: &str) -> Value {
        json!({"metadata": {"name": "checkout", "uid": "u", "resourceVersion": "7", "generation": 4},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "checkout"}}, "template": template(image)}})
    }

    fn replica_set(number: i64, image: &str, available: i64, owner: &str) -> Value {
        let mut template = template(image);
        template["metadata"]["labels"]["pod-template-hash"] = format!("h{number}").into();
        json!({"metadata": {"name": format!("checkout-h{number}"), "annotations": {"deployment.kubernetes.io/revision": number.to_string()},
                "ownerReferences": [{"controller": true, "uid": owner}]},
            "spec": {"template": template}, "status": {"availableReplicas": available}})
    }

    fn step(patch: Value) -> RollbackStep {
        let mut value =
            json!({"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}});
        json_patch::merge(&mut value, &patch);
        serde_json::from_value(value).unwrap()
    }

    /// The image to which a step returns `live`.
    fn returns(patch: Value, live: &str, kept: &[Value], known: &[&str]) -> Result<Option<Value>, String> {
        let (target, object) = (target(), deployment(live));
        let healthy: Vec<HealthyTemplate> = known
            .iter()
            .map(|image| healthy::of(&target, &object, &template(image), Timestamp::UNIX_EPOCH).unwrap())
            .collect();
        let related = [kept.to_vec()];
        let scene = Scene { related: &related, healthy: &healthy, ..scene(&target, Some(&object)) };
        let plan = step(patch).plan(&scene)?;
        Ok(plan.map(|change| {
            let act = act_of(&target, Ok(Some(change)));
            act.delta.iter().find(|delta| delta.path.ends_with("/image")).unwrap().after.clone().unwrap()
        }))
    }

    fn history() -> Vec<Value> {
        vec![
            replica_set(1, "v1", 0, "u"),
            replica_set(2, "v2", 0, "u"),
            replica_set(3, "v3", 0, "u"),
            replica_set(9, "foreign", 3, "another"),
        ]
    }

    #[test]
    fn the_template_before_is_that_of_the_newest_other_revision() {
        assert_eq!(returns(json!({"to": "Previous"}), "v3", &history(), &[]), Ok(Some("v2".into())));
        let only = [replica_set(3, "v3", 3, "u")];
        assert!(returns(json!({"to": "Previous"}), "v3", &only, &[]).unwrap_err().contains("no earlier"));
    }

    #[test]
    fn a_revision_is_found_by_its_number_and_a_missing_one_is_told() {
        assert_eq!(returns(json!({"revision": 1}), "v3", &history(), &[]), Ok(Some("v1".into())));
        assert_eq!(returns(json!({"revision": 3}), "v3", &history(), &[]), Ok(None));
        let missing = returns(json!({"revision": 7}), "v3", &history(), &[]).unwrap_err();
        assert!(missing.ends_with("there are 2, 1"), "{missing}");
    }

    /// Failure list 8: the history is cut between the announcement and the act.
    #[test]
    fn a_template_that_is_gone_from_the_history_is_not_returned_to() {
        let (target, object, step) = (target(), deployment("v3"), step(json!({"to": "Previous"})));
        let planned = |kept: Vec<Value>, again: Option<&Act>| {
            let related = [kept];
            step.plan(&Scene { related: &related, again, ..scene(&target, Some(&object)) })
        };
        let announced = act_of(&target, planned(history(), None));
        assert_eq!(planned(history(), Some(&announced)), planned(history(), None), "the same again");
        let cut = vec![replica_set(1, "v1", 0, "u"), replica_set(3, "v3", 0, "u")];
        let why = planned(cut, Some(&announced)).unwrap_err();
        assert!(why.ends_with("has changed since the rollback was announced"), "{why}");
    }

    #[test]
    fn the_last_healthy_template_is_one_that_serves_or_was_seen_healthy() {
        let last = |kept: &[Value], known: &[&str]| returns(json!({"to": "LastHealthy"}), "v3", kept, known);
        assert_eq!(last(&history(), &["v1"]), Ok(Some("v1".into())), "v2 was never seen healthy");
        let mut stuck = history();
        stuck[1] = replica_set(2, "v2", 2, "u");
        assert_eq!(last(&stuck, &["v1"]), Ok(Some("v2".into())), "its pods still serve");
        let unknown = last(&history(), &[]).unwrap_err();
        assert!(unknown.contains("is known to have been healthy"), "{unknown}");
    }

    #[test]
    fn the_history_of_a_workload_is_read_by_its_selector() {
        let text = |value: Value| selector(&value);
        assert_eq!(text(json!({"matchLabels": {"app": "a"}})).as_deref(), Some("app=a"));
        let expressions = json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "Exists"}]});
        assert_eq!(text(expressions).as_deref(), Some("tier in (a,b),x"));
        assert_eq!(text(json!({})), None, "an empty selector would read every workload");
    }
}
