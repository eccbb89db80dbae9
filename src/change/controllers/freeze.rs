//! Reports on every Freeze that this version does not act on it: a freeze that is silently ignored looks like one that
//! holds.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::Freeze;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::freeze::{FreezeSpec, FreezeStatus};
use crate::cluster::caches::Change;
use crate::cluster::conditions::{self, NotReady};
use crate::cluster::controller::{Reconciler, Requeue};
use crate::cluster::{Context, Error, SharedContext, status};

/// Reconciles Freezes.
pub struct FreezeReconciler;

impl Reconciler for FreezeReconciler {
    const NAME: &'static str = "freeze";
    type Kind = Freeze;

    fn cache(context: &Context) -> &Store<Freeze> {
        &context.caches.freezes
    }

    /// No other object has a say in it.
    fn enqueue_for(&self, _: &Change, _: &Context) -> Vec<ObjectRef<Freeze>> {
        Vec::new()
    }

    async fn reconcile(&self, freeze: Arc<Freeze>, context: &SharedContext) -> Result<Requeue, Error> {
        if freeze.metadata.deletion_timestamp.is_none() {
            let api: Api<Freeze> = Api::all(context.client.clone());
            status::replace(&api, &*freeze, decide(&freeze, Timestamp::now())).await?;
        }
        Ok(Requeue::Never)
    }
}

/// The status of a freeze: not ready, and why.
fn decide(freeze: &Freeze, now: Timestamp) -> FreezeStatus {
    let mut status = freeze.status.clone().unwrap_or_default();
    let generation = freeze.metadata.generation.unwrap_or_default();
    let fields = not_implemented(&freeze.spec);
    let why = NotReady::not_implemented(&fields);
    // The column beside the end time must say that the freeze does not hold.
    conditions::set(
        &mut status.conditions,
        ConditionType::Active,
        false,
        Reason::NotImplemented,
        why.message(),
        generation,
        now,
    );
    conditions::ready(&mut status, generation, now, Err(why));
    let stops: Vec<String> = freeze.spec.stops.iter().map(|stops| format!("{stops:?}")).collect();
    status.stops = Some(stops.join(", "));
    status
}

/// Paths of the fields that are set and stop nothing yet.
fn not_implemented(spec: &FreezeSpec) -> Vec<String> {
    let optional = [
        ("spec.startTime", spec.start_time.is_some()),
        ("spec.endTime", spec.end_time.is_some()),
        ("spec.schedule", spec.schedule.is_some()),
    ];
    let set = optional.into_iter().filter_map(|(path, is_set)| is_set.then_some(path));
    ["spec.policyRef", "spec.stops"].into_iter().chain(set).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_says_which_fields_have_no_effect() {
        let spec = serde_json::json!({"policyRef": {"name": "shop"}, "stops": ["Changes", "Automation"], "reason": "sale",
            "endTime": "2026-11-30T00:00:00Z"});
        let mut freeze = Freeze::new("sale", serde_json::from_value(spec).unwrap());
        freeze.metadata.generation = Some(4);
        let status = decide(&freeze, "2026-11-22T02:00:00Z".parse().unwrap());
        assert_eq!((status.observed_generation, status.stops.as_deref()), (4, Some("Changes, Automation")));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "NotImplemented"));
        let active = status.conditions.iter().find(|condition| condition.type_ == "Active").unwrap();
        assert_eq!(active.status, "False");
        assert!(ready.message.starts_with("spec.policyRef, spec.stops, spec.endTime: "), "{}", ready.message);
    }
}
