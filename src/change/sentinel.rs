//! Notices what was changed while nobody watched: at start protected workloads are compared with what was
//! known of them, and a change by nobody known is announced.
//!
//! What is known is kept as digests in a ConfigMap for each namespace, and follows every change while Mayday
//! lives, because then the gate has judged it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::policy::{self, Resource};
use super::{delta, digest, unapproved};
use crate::api::change_policy::{UnapprovedChange, UnapprovedKind};
use crate::api::change_request::Delta;
use crate::api::common::ObjectRef;
use crate::cluster::stores::in_namespace;
use crate::cluster::{Context, Error, SharedContext, conditions};

/// Values that Kubernetes' own controllers write into a workload.
const BY_CONTROLLERS: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// Workloads of a namespace by a key that may stand in a ConfigMap: `Deployment.checkout`.
type Workloads = BTreeMap<String, (ObjectRef, Value)>;

/// Compares once, then keeps what is known until `cancel`.
pub async fn run(context: SharedContext, cancel: CancellationToken) {
    // Listen first, then look: what changes in between is looked at again.
    let changes = context.stores.changes();
    futures::pin_mut!(changes);
    for namespace in policy::protected_namespaces(&context.stores.policies.state(), &context.config.namespace)
    {
        log(&namespace, look(&context, &namespace, true).await);
    }
    while let Some(Some(change)) = cancel.run_until_cancelled(changes.next()).await {
        let touched = match change {
            Ok(change) if matches!(change.kind, "Deployment" | "StatefulSet" | "DaemonSet") => {
                change.namespace
            }
            Ok(_) => continue,
            Err(_) => None,
        };
        let protected =
            policy::protected_namespaces(&context.stores.policies.state(), &context.config.namespace);
        for namespace in
            protected.into_iter().filter(|name| touched.as_ref().is_none_or(|touched| touched == name))
        {
            log(&namespace, look(&context, &namespace, false).await);
        }
    }
}

fn log(namespace: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(namespace, %error, "what is known of protected workloads was not compared");
    }
}

/// Compares a namespace with what is known, announces differences if asked to, and keeps what is there now.
async fn look(context: &Context, namespace: &str, announce: bool) -> Result<(), Error> {
    let workloads = workloads(context, namespace)?;
    let now_known: BTreeMap<String, String> = workloads
        .iter()
        .map(|(key, (_, object))| Ok((key.clone(), content(object)?)))
        .collect::<Result<_, Error>>()?;
    let name = format!("mayday-known-{namespace}");
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &context.config.namespace);
    let stored = api.get_opt(&name).await?.map(|map| map.data.unwrap_or_default());
    if stored.as_ref() == Some(&now_known) {
        return Ok(());
    }
    if announce && let Some(stored) = &stored {
        for (target, what) in differences(stored, &now_known, &workloads) {
            let object = workloads.values().find(|(known, _)| *known == target).map(|(_, object)| object);
            if !is_explained(context, namespace, &target, object) {
                tell(context, namespace, target, what).await?;
            }
        }
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": now_known});
    api.patch(&name, &PatchParams::apply("mayday-sentinel").force(), &Patch::Apply(map)).await?;
    Ok(())
}

/// What differs, in words. Pure.
fn differences(
    stored: &BTreeMap<String, String>,
    now_known: &BTreeMap<String, String>,
    workloads: &Workloads,
) -> Vec<(ObjectRef, String)> {
    let mut differences = Vec::new();
    for (key, digest) in now_known {
        let Some((target, _)) = workloads.get(key) else { continue };
        match stored.get(key) {
            None => differences.push((target.clone(), format!("{} is new", target.display()))),
            Some(known) if known != digest => {
                differences.push((target.clone(), format!("{} was changed", target.display())));
            }
            Some(_) => {}
        }
    }
    for key in stored.keys().filter(|key| !now_known.contains_key(*key)) {
        let (kind, name) = key.split_once('.').unwrap_or(("", key));
        let target =
            ObjectRef { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: name.to_owned() };
        differences.push((target.clone(), format!("{} was deleted", target.display())));
    }
    differences
}

/// Whether the present state is what a stored use of a request or a stored act of a run made of it.
fn is_explained(context: &Context, namespace: &str, target: &ObjectRef, object: Option<&Value>) -> bool {
    let fits = |deltas: &[Delta]| {
        object.is_some_and(|object| {
            !deltas.is_empty()
                && deltas.iter().all(|delta| delta::value_at(object, &delta.path) == delta.after.as_ref())
        })
    };
    let by_request = in_namespace(&context.stores.requests, namespace).iter().any(|request| {
        let Some(status) = &request.status else { return false };
        status.used.iter().any(|used| {
            let planned = usize::try_from(used.change).ok().and_then(|index| status.plan.get(index));
            planned.is_some_and(|planned| {
                planned.target.same_object(target)
                    && (planned.operation != "Update" || used.restored_time.is_some() || fits(&used.delta))
            })
        })
    });
    by_request
        || in_namespace(&context.stores.runs, namespace).iter().any(|run| {
            let steps = run.status.as_ref().map_or(&[][..], |status| &status.steps);
            let intents = steps.iter().filter_map(|step| step.intent.as_ref());
            intents.into_iter().any(|intent| intent.target.same_object(target) && fits(&intent.delta))
        })
}

async fn tell(context: &Context, namespace: &str, target: ObjectRef, what: String) -> Result<(), Error> {
    let now = Timestamp::now();
    let policies = context.stores.policies.state();
    let plural = format!("{}s", target.kind.to_lowercase());
    let resource = Resource { group: target.group(), plural: &plural, namespace };
    let over = policy::protecting(&policies, &resource, &context.config.namespace);
    let time = conditions::seconds(now);
    let digest = digest::of(&json!({"what": what, "namespace": namespace, "time": time}))?;
    let id: String = digest.rsplit(':').next().unwrap_or_default().chars().take(16).collect();
    let change = UnapprovedChange {
        id,
        namespace: namespace.to_owned(),
        object: target,
        what: format!("{what} in {namespace} while Mayday did not run"),
        by: None,
        time,
        kind: UnapprovedKind::FoundLater,
    };
    unapproved::announce(context, &over, &change, now).await;
    Ok(())
}

fn workloads(context: &Context, namespace: &str) -> Result<Workloads, Error> {
    let mut found = Workloads::new();
    let mut add = |kind: &str, name: String, object: Value| {
        let target =
            ObjectRef { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: name.clone() };
        found.insert(format!("{kind}.{name}"), (target, object));
    };
    for object in in_namespace(&context.stores.deployments, namespace) {
        add("Deployment", object.name_any(), serde_json::to_value(Arc::as_ref(&object))?);
    }
    for object in in_namespace(&context.stores.stateful_sets, namespace) {
        add("StatefulSet", object.name_any(), serde_json::to_value(Arc::as_ref(&object))?);
    }
    for object in in_namespace(&context.stores.daemon_sets, namespace) {
        add("DaemonSet", object.name_any(), serde_json::to_value(Arc::as_ref(&object))?);
    }
    Ok(found)
}

/// Digest of what people decide about an object.
fn content(object: &Value) -> Result<String, Error> {
    let values: BTreeMap<String, Value> = delta::diff(&Value::Null, object)
        .into_iter()
        .filter(|delta| delta.path != BY_CONTROLLERS)
        .filter_map(|delta| Some((delta.path, delta.after?)))
        .collect();
    let uid = object.pointer("/metadata/uid");
    Ok(digest::of(&json!({"uid": uid, "values": values}))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(image: &str, revision: &str) -> Value {
        json!({"metadata": {"name": "checkout", "uid": "du", "generation": revision, "resourceVersion": revision,
            "annotations": {"deployment.kubernetes.io/revision": revision}}, "status": {"replicas": revision},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
    }

    #[test]
    fn what_controllers_write_is_no_difference_and_what_people_write_is() {
        let digest = |object: &Value| content(object).unwrap();
        assert_eq!(digest(&known("v1", "1")), digest(&known("v1", "2")));
        assert_ne!(digest(&known("v1", "1")), digest(&known("v2", "1")));
        let mut again = known("v1", "1");
        again["metadata"]["uid"] = json!("later");
        assert_ne!(digest(&known("v1", "1")), digest(&again), "deleted and made again");
    }

    #[test]
    fn each_difference_is_named() {
        let target = |name: &str| ObjectRef {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: name.into(),
        };
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, digest)| ((*key).to_owned(), (*digest).to_owned())).collect()
        };
        let workloads: Workloads = ["a", "b", "c"]
            .into_iter()
            .map(|name| (format!("Deployment.{name}"), (target(name), json!({}))))
            .collect();
        let stored = map(&[("Deployment.a", "1"), ("Deployment.b", "1"), ("Deployment.d", "1")]);
        let now = map(&[("Deployment.a", "1"), ("Deployment.b", "2"), ("Deployment.c", "1")]);
        let told: Vec<String> =
            differences(&stored, &now, &workloads).into_iter().map(|(_, what)| what).collect();
        assert_eq!(told, ["deployment/b was changed", "deployment/c is new", "deployment/d was deleted"]);
    }
}
