//! A stage for the tests of steps: a scene over one object, the act that a plan becomes, and what the
//! API server makes of it.

use serde_json::Value;

use super::kind::DEFAULT_TIMEOUT;
use super::mutation::{Change, Plan, Scene};
use super::patching;
use crate::api::common::ObjectRef;
use crate::api::runbook_run::Act;

/// Operation id of the scene.
pub const OPERATION_ID: &str = "run/step/0";

/// The scene of a step with one target.
pub fn scene<'a>(target: &'a ObjectRef, object: Option<&'a Value>) -> Scene<'a> {
    Scene {
        operation_id: OPERATION_ID,
        run_name: Some("restart-x"),
        run_uid: "run",
        namespace: "shop",
        account: "sa",
        timeout: DEFAULT_TIMEOUT,
        target,
        object,
        related: &[],
        values: &[],
        healthy: &[],
        several: false,
        again: None,
        undoes: None,
    }
}

/// The act that a plan becomes when it is announced.
pub fn act_of(target: &ObjectRef, plan: Plan) -> Act {
    let Ok(Some(change)) = plan else { panic!("no change: {plan:?}") };
    let Change { verb, object, uid, resource_version, generation, delta, body, pods } = change;
    Act {
        operation_id: OPERATION_ID.to_owned(),
        verb,
        target: object.unwrap_or_else(|| target.clone()),
        uid,
        resource_version,
        generation,
        delta,
        body,
        pods,
        ..Act::default()
    }
}

/// The object after the request of an act.
pub fn applied(object: &Value, act: &Act) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(patching::request(act))).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}
