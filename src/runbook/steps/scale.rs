//! The step `scale`: sets the number of replicas, once. A relative number is added to what is found before the act is
//! announced, so that a repeat adds nothing. An autoscaler would fight the number: its lower bound is set instead.

use serde_json::Value;

use super::kind::{StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::patching;
use crate::api::common::ObjectRef;
use crate::api::runbook_step::{ScaleStep, Target};
use crate::problem::Problem;
use crate::runbook::targets::{ListRead, Read};

/// API version of autoscalers.
const AUTOSCALING: &str = "autoscaling/v2";
/// Their kind.
const AUTOSCALER: &str = "HorizontalPodAutoscaler";
/// Kinds that can be scaled.
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

impl StepKind for ScaleStep {
    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn summary(&self) -> String {
        let name = self.target.words(None);
        match (self.replicas, &self.replicas_from, self.delta) {
            (Some(replicas), ..) => format!("scale {name} to {replicas}"),
            (None, Some(from), _) => format!("scale {name} to the value of {}", from.parameter),
            (None, None, Some(delta)) => format!("scale {name} by {delta:+}"),
            (None, None, None) => format!("scale {name} to nothing that is said"),
        }
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found = Vec::new();
        found.extend(written.not_of("scale.target", &self.target, "apps", &KINDS));
        if let Some(from) = &self.replicas_from {
            found.extend(written.no_integer("scale.replicasFrom.parameter", &from.parameter));
        }
        let members = [self.replicas.is_some(), self.replicas_from.is_some(), self.delta.is_some()];
        if members.into_iter().filter(|is_set| *is_set).count() != 1 {
            found.push(written.problem("scale", "set exactly one of replicas, replicasFrom, delta"));
        }
        if self.delta == Some(0) {
            found.push(written.problem("scale.delta", "0 changes nothing"));
        }
        for (field, bound) in [("scale.minimum", self.minimum), ("scale.maximum", self.maximum)] {
            if bound.is_some() && self.delta.is_none() {
                found.push(written.problem(field, "only delta has bounds: a parameter has its own"));
            }
        }
        if let (Some(minimum), Some(maximum)) = (self.minimum, self.maximum)
            && minimum > maximum
        {
            let message = format!("{minimum} is above maximum {maximum}: no number fits");
            found.push(written.problem("scale.minimum", message));
        }
        found
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for ScaleStep {
    fn reads(&self, _target: &ObjectRef, _object: Option<&Value>) -> Vec<Read> {
        let list =
            ListRead { api_version: AUTOSCALING.into(), kind: AUTOSCALER.into(), ..ListRead::default() };
        vec![Read::List(list)]
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let object = scene.live()?;
        let name = scene.name();
        if scene.target.group() != "apps" || !KINDS.contains(&scene.target.kind.as_str()) {
            return Err(format!("{name} cannot be scaled: only a Deployment, StatefulSet or ReplicaSet can"));
        }
        let current = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
        let Some(autoscaler) = autoscaler(scene) else {
            let goal = self.goal(scene, current)?;
            let mut after = object.clone();
            after["spec"]["replicas"] = goal.into();
            return if goal == current { Ok(None) } else { patching::plan(scene, &after) };
        };
        let bounded = reference(autoscaler);
        let least = autoscaler.pointer("/spec/minReplicas").and_then(Value::as_i64).unwrap_or(1);
        let most = autoscaler.pointer("/spec/maxReplicas").and_then(Value::as_i64).unwrap_or(0);
        let goal = self.goal(scene, current)?;
        if goal > most {
            return Err(format!(
                "{name} is scaled by {}, which allows at most {most} replicas and not {goal}",
                bounded.display()
            ));
        }
        if goal == least {
            return Ok(None);
        }
        let mut after = autoscaler.clone();
        after["spec"]["minReplicas"] = goal.into();
        let own = Scene { object: Some(autoscaler), target: &bounded, ..*scene };
        let change = patching::plan(&own, &after)?;
        Ok(change.map(|change| super::mutation::Change { object: Some(bounded.clone()), ..change }))
    }

    fn participle(&self) -> &'static str {
        "scaled"
    }
}

impl ScaleStep {
    /// The absolute number of replicas.
    fn goal(&self, scene: &Scene<'_>, current: i64) -> Result<i64, String> {
        let from = self.replicas_from.as_ref();
        match (self.replicas, from, self.delta) {
            (Some(replicas), ..) => Ok(i64::from(replicas)),
            (None, Some(from), _) => {
                let value = scene.integer(&from.parameter);
                let value = value.ok_or_else(|| format!("the parameter {} has no value", from.parameter))?;
                if (0..=100_000).contains(&value) {
                    Ok(value)
                } else {
                    Err(format!("{value} is no number of replicas"))
                }
            }
            (None, None, Some(delta)) => {
                let least = i64::from(self.minimum.unwrap_or(1));
                let most = self.maximum.map_or(i64::MAX, i64::from);
                let wanted = current.saturating_add(i64::from(delta));
                // A bound never turns the step round: what is beyond it already stays.
                Ok(if delta > 0 { wanted.min(most).max(current) } else { wanted.max(least).min(current) })
            }
            (None, None, None) => Err("the step does not say to how many replicas".to_owned()),
        }
    }
}

/// The autoscaler that scales the target.
fn autoscaler<'a>(scene: &Scene<'a>) -> Option<&'a Value> {
    scene.found(0).iter().find(|autoscaler| {
        let text = |field: &str| {
            patching::text(autoscaler, &format!("/spec/scaleTargetRef/{field}")).unwrap_or_default()
        };
        let scaled = ObjectRef {
            api_version: text("apiVersion").into(),
            kind: text("kind").into(),
            name: text("name").into(),
        };
        scaled.same_object(scene.target)
    })
}

fn reference(autoscaler: &Value) -> ObjectRef {
    ObjectRef {
        api_version: AUTOSCALING.into(),
        kind: AUTOSCALER.into(),
        name: patching::text(autoscaler, "/metadata/name").unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ParameterValue;
    use crate::runbook::steps::stage::{act_of, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn step(patch: Value) -> ScaleStep {
        let mut value =
            json!({"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}});
        json_patch::merge(&mut value, &patch);
        serde_json::from_value(value).unwrap()
    }

    fn deployment(replicas: i64) -> Value {
        json!({"metadata": {"name": "checkout", "uid": "u", "resourceVersion": "7", "generation": 4}, "spec": {"replicas": replicas}})
    }

    fn goal(patch: Value, replicas: i64) -> Option<i64> {
        let target = target();
        let object = deployment(replicas);
        let values = [ParameterValue { name: "n".into(), integer: Some(8), string: None }];
        let scene = Scene { values: &values, ..scene(&target, Some(&object)) };
        let change = step(patch).plan(&scene).unwrap()?;
        let delta = change.delta.iter().find(|delta| delta.path == "/spec/replicas").unwrap();
        delta.after.as_ref().unwrap().as_i64()
    }

    #[test]
    fn the_number_of_replicas_is_absolute_before_anything_is_announced() {
        assert_eq!(goal(json!({"replicas": 6}), 3), Some(6));
        assert_eq!(goal(json!({"replicas": 3}), 3), None);
        assert_eq!(goal(json!({"replicasFrom": {"parameter": "n"}}), 3), Some(8));
        assert_eq!(goal(json!({"delta": 2}), 3), Some(5));
        assert_eq!(goal(json!({"delta": 5, "maximum": 6}), 3), Some(6));
        assert_eq!(goal(json!({"delta": 5, "maximum": 6}), 9), None, "what is beyond its bound stays");
        assert_eq!(goal(json!({"delta": -5}), 3), Some(1));
        assert_eq!(goal(json!({"delta": -5, "minimum": 0}), 3), Some(0));
    }

    #[test]
    fn an_autoscaler_gets_another_lower_bound_instead() {
        let (target, object) = (target(), deployment(3));
        let autoscaler = json!({"metadata": {"name": "checkout", "uid": "h", "resourceVersion": "9"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "minReplicas": 2, "maxReplicas": 10}});
        let other = json!({"metadata": {"name": "till"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"}}});
        let related = [vec![other, autoscaler]];
        let scene = Scene { related: &related, ..scene(&target, Some(&object)) };
        let act = act_of(&target, step(json!({"delta": 2})).plan(&scene));
        assert_eq!(
            (act.target.kind.as_str(), act.uid.as_str(), act.resource_version.as_str()),
            (AUTOSCALER, "h", "9")
        );
        assert_eq!(
            act.delta.iter().find(|delta| delta.path == "/spec/minReplicas").unwrap().after,
            Some(5.into())
        );
        let too_many = step(json!({"replicas": 11})).plan(&scene).unwrap_err();
        assert!(too_many.contains("at most 10"), "{too_many}");
    }

    #[test]
    fn a_missing_value_and_another_kind_are_refused() {
        let (target, object) = (target(), deployment(3));
        let unknown = step(json!({"replicasFrom": {"parameter": "n"}}));
        assert!(unknown.plan(&scene(&target, Some(&object))).unwrap_err().contains("no value"));
        let daemon = ObjectRef { kind: "DaemonSet".into(), ..target };
        assert!(step(json!({"replicas": 1})).plan(&scene(&daemon, Some(&object))).is_err());
    }
}
