//! Reads the freezes as they are stored now, for decisions that a stale cache must not let through.

use std::sync::Arc;

use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Freeze;
use crate::api::common::NameRef;
use crate::api::freeze::{FreezeSpec, Stops};
use crate::cluster::Error;

/// Every freeze. One that cannot be read is in force over its policy until it can: unknown means no.
///
/// # Errors
/// When the API server does not answer.
pub async fn list(client: &Client) -> Result<Vec<Arc<Freeze>>, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<Freeze>(&()));
    let found = api.list(&ListParams::default()).await?;
    Ok(found.items.into_iter().map(readable).map(Arc::new).collect())
}

/// The freeze; of one that cannot be read as much as can, and without times, so that it never ends.
fn readable(object: DynamicObject) -> Freeze {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let read = serde_json::from_value(spec.clone()).unwrap_or_else(|_| FreezeSpec {
        policy_ref: part::<NameRef>(&spec, "policyRef").unwrap_or_default(),
        stops: part(&spec, "stops").unwrap_or_else(|| vec![Stops::Changes, Stops::Automation]),
        reason: part(&spec, "reason").unwrap_or_default(),
        ..FreezeSpec::default()
    });
    let mut freeze = Freeze::new(&object.name_any(), read);
    freeze.metadata = object.metadata;
    freeze
}

fn part<T: DeserializeOwned>(spec: &Value, field: &str) -> Option<T> {
    serde_json::from_value(spec.get(field)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::freeze::period;

    #[test]
    fn a_freeze_that_cannot_be_read_never_ends() {
        let read = |end: Value| {
            let object = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Freeze", "metadata": {"name": "sale"},
                "spec": {"policyRef": {"name": "shop"}, "stops": ["Automation"], "reason": "sale", "endTime": end}});
            readable(serde_json::from_value(object).unwrap())
        };
        let good = read(json!("2026-11-30T00:00:00Z"));
        let bad = read(json!("2026-11-30T00:00:00+99:99"));
        let now = "2026-12-24T00:00:00Z".parse().unwrap();
        assert!(period::times(&good.spec, now).unwrap().current.is_none());
        assert!(period::times(&bad.spec, now).is_err());
        assert_eq!(
            (bad.spec.policy_ref.name.as_str(), bad.spec.stops.as_slice()),
            ("shop", &[Stops::Automation][..])
        );
    }
}
