//! The compensation `restorePrevious`: writes back what was there before an act, where it still is as the act left it.
//! What somebody else has changed since stays as it is, and is told.

use serde_json::Value;

use super::kind::{StepKind, Work, Written};
use super::mutation::{Mutation, Plan, Scene};
use super::patching;
use crate::api::change_request::Delta;
use crate::api::runbook_run::{Act, ActVerb};
use crate::api::runbook_step::RestorePrevious;
use crate::change::diff;
use crate::problem::Problem;

impl StepKind for RestorePrevious {
    fn summary(&self) -> String {
        "write back what was there before".to_owned()
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let restorable = [
            written.step.scale.is_some(),
            written.step.patch.is_some(),
            written.step.rollback.is_some(),
            written.step.cordon.is_some(),
            written.step.uncordon.is_some(),
            written.step.suspend_git_ops.is_some(),
            written.step.resume_git_ops.is_some(),
        ];
        let can = restorable.into_iter().any(|is_set| is_set);
        let problem = || {
            written.problem(
                "compensation.restorePrevious",
                "there is nothing to write back: only scale, patch, rollback, cordon, uncordon, suspendGitOps and \
                 resumeGitOps change values",
            )
        };
        (!can).then(problem).into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }
}

impl Mutation for RestorePrevious {
    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let name = scene.name();
        let Some(act) = scene.undoes.filter(|act| act.verb == ActVerb::Update) else {
            return Err(format!("nothing can be written back to {name}"));
        };
        let object = scene.live()?;
        if patching::text(object, "/metadata/uid") != Some(&act.uid) {
            return Err(format!("{name} is another object than the one that was changed"));
        }
        let values: Vec<&Delta> = act.delta.iter().filter(|delta| !is_mark(delta, act)).collect();
        let now = |delta: &Delta| diff::value_at(object, &delta.path);
        if values.iter().all(|delta| now(delta) == delta.before.as_ref()) {
            return Ok(None);
        }
        if let Some(changed) = values.iter().find(|delta| !diff::holds(delta, object)) {
            return Err(format!(
                "{name} was changed by somebody else since ({}): it stays as it is",
                changed.path
            ));
        }
        let mut after = object.clone();
        for delta in &values {
            if !put(&mut after, &delta.path, delta.before.as_ref()) {
                return Err(format!("{name} has no place for {} any more", delta.path));
            }
        }
        patching::plan(scene, &after)
    }

    fn participle(&self) -> &'static str {
        "restored"
    }
}

fn is_mark(delta: &Delta, act: &Act) -> bool {
    delta.after.as_ref().and_then(Value::as_str) == Some(&act.operation_id)
}

/// Puts a value at a path of [`diff::diff`], or removes what is there. False if the way to it is gone.
fn put(object: &mut Value, path: &str, value: Option<&Value>) -> bool {
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    let Some(last) = segments.pop() else { return false };
    let mut place = object;
    let mut list = "";
    for segment in segments {
        let next = match place {
            Value::Object(fields) => {
                let name = segment.replace("~1", "/").replace("~0", "~");
                Some(fields.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new())))
            }
            Value::Array(items) => element(list, items, segment).and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        (place, list) = (next, segment);
    }
    match (place, value) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(last.replace("~1", "/").replace("~0", "~"), value.clone());
            true
        }
        (Value::Object(fields), None) => {
            fields.remove(&last.replace("~1", "/").replace("~0", "~"));
            true
        }
        (Value::Array(items), value) => match (element(list, items, last), value) {
            (Some(index), Some(value)) => {
                items[index] = value.clone();
                true
            }
            (Some(index), None) => {
                items.remove(index);
                true
            }
            (None, _) => false,
        },
        _ => false,
    }
}

fn element(list: &str, items: &[Value], segment: &str) -> Option<usize> {
    let keys = diff::keys_of(list, items)?;
    items.iter().position(|item| diff::element(keys, item).as_deref() == Some(segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObjectRef;
    use crate::runbook::steps::stage::{act_of, applied, scene};
    use serde_json::json;

    fn target() -> ObjectRef {
        ObjectRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "checkout".into() }
    }

    fn deployment(replicas: i64, image: &str) -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "7", "generation": 4},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "app", "image": image}, {"name": "side", "image": "s"}]}}}})
    }

    fn change(before: &Value, after: &Value) -> Act {
        let target = target();
        act_of(&target, patching::plan(&scene(&target, Some(before)), after))
    }

    fn restore(act: &Act, live: Option<&Value>) -> Plan {
        let target = target();
        let scene = Scene { operation_id: "run/step/back/0", undoes: Some(act), ..scene(&target, live) };
        RestorePrevious {}.plan(&scene)
    }

    #[test]
    fn what_was_there_before_is_written_back() {
        let before = deployment(3, "v1");
        let act = change(&before, &deployment(6, "v2"));
        let changed = applied(&before, &act);
        let back = act_of(&target(), restore(&act, Some(&changed)));
        let restored = applied(&changed, &back);
        assert_eq!(restored["spec"], before["spec"]);
        assert_eq!(restored["metadata"]["annotations"][patching::OPERATION], "run/step/back/0");
    }

    #[test]
    fn what_somebody_else_changed_since_stays() {
        let before = deployment(3, "v1");
        let act = change(&before, &deployment(6, "v1"));
        let mut changed = applied(&before, &act);
        changed["spec"]["replicas"] = 9.into();
        assert!(matches!(restore(&act, Some(&changed)), Err(why) if why.contains("somebody else")));
        changed["spec"]["replicas"] = 3.into();
        assert_eq!(restore(&act, Some(&changed)), Ok(None));
        changed["metadata"]["uid"] = "another".into();
        assert!(matches!(restore(&act, Some(&changed)), Err(why) if why.contains("another object")));
        assert!(matches!(restore(&act, None), Err(why) if why.contains("does not exist")));
    }
}
