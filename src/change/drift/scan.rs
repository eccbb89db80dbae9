//! Scans the protected objects of a namespace: metadata only, as the planner, whose rights teams extend to their own kinds.
//! Secrets are left out, since the right to list them is the right to read them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::change::diff;
use crate::change::diff::digest;
use crate::change::drift::baseline;
use crate::change::drift::managed_fields;
use crate::change::drift::managed_fields::LastWrite;
use crate::change::gate::lookup;
use crate::change::policy::Resource;
use crate::cluster::caches::get_cluster;
use crate::cluster::{Context, Error, workloads};

/// Number of objects read at a time.
const PAGE: u32 = 500;
/// Path that the Deployment controller writes in a workload.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// One object found by a scan.
pub struct Found {
    /// The part of its digest that is kept.
    pub digest: String,
    /// Its last write, if known.
    pub last: Option<LastWrite>,
    /// The object, if a cache holds it.
    pub content: Option<Value>,
}

/// The objects of one kind found by a scan.
pub struct Kind {
    /// The kind.
    pub resource: ApiResource,
    /// Its objects by name.
    pub objects: BTreeMap<String, Found>,
}

impl Found {
    fn by_metadata(metadata: &ObjectMeta) -> Result<Found, Error> {
        let digest = baseline::short(&managed_fields::digest(metadata)?);
        Ok(Found { digest, last: managed_fields::last(metadata), content: None })
    }

    fn by_content(content: Value, metadata: Option<&ObjectMeta>) -> Result<Found, Error> {
        let digest = baseline::short(&digest_of(&content)?);
        Ok(Found { digest, last: metadata.and_then(managed_fields::last), content: Some(content) })
    }
}

/// The key of a kind in a baseline: `configmaps`, `deployments.apps`. For a custom kind it is the name of its definition.
pub fn key(kind: &ApiResource) -> String {
    format!("{}.{}", kind.plural, kind.group).trim_end_matches('.').to_owned()
}

/// The namespaced kinds that can be listed, without Secrets.
///
/// # Errors
/// When the API server does not answer.
pub async fn kinds(client: &Client) -> Result<Vec<ApiResource>, Error> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let served = discovery.groups().flat_map(|group| group.recommended_resources());
    Ok(served
        .filter(|(_, can)| can.scope == Scope::Namespaced && can.supports_operation(verbs::LIST))
        .map(|(kind, _)| kind)
        .filter(|kind| !(kind.group.is_empty() && kind.plural == "secrets"))
        .collect())
}

/// The metadata of every object of a kind in a namespace, by name; none if the planner may not list them.
///
/// # Errors
/// When the API server does not answer.
async fn objects(
    client: &Client,
    kind: &ApiResource,
    namespace: &str,
) -> Result<Option<BTreeMap<String, ObjectMeta>>, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
    let mut found = BTreeMap::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list_metadata(&params).await {
            Ok(page) => page,
            Err(error) if matches!(crate::cluster::error::code(&error), Some(403..=405)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for object in page.items {
            let name = object.name_any();
            if !managed_fields::is_of_a_controller(&kind.plural, &name, &object.metadata) {
                found.insert(name, object.metadata);
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(Some(found)),
        }
    }
}

/// The kinds of workloads, whose content is cached.
pub fn workload_kinds() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
    ]
}

/// The objects of these kinds in a namespace that a policy protects, by kind. The digest of a workload is that of its cached
/// content; its last write is read only `with_last_write`.
///
/// # Errors
/// When the API server does not answer.
pub async fn find(
    context: &Context,
    namespace: &str,
    kinds: &[ApiResource],
    with_last_write: bool,
) -> Result<BTreeMap<String, Kind>, Error> {
    let mut found = BTreeMap::new();
    let is_protected = |kind: &&ApiResource| {
        lookup::is_protected(context, &Resource { group: &kind.group, plural: &kind.plural, namespace })
    };
    for resource in kinds.iter().filter(is_protected) {
        let is_workload = workloads::is_one(&resource.group, &resource.kind);
        let listed = match with_last_write || !is_workload {
            true => objects(&context.planner, resource, namespace).await?,
            false => None,
        };
        let mut of_kind = BTreeMap::new();
        if is_workload {
            for content in workloads::all(&context.caches, namespace, &resource.kind)? {
                let name = content["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let metadata = listed.as_ref().and_then(|listed| listed.get(&name));
                of_kind.insert(name, Found::by_content(content, metadata)?);
            }
        } else {
            // Kinds that may not be listed are not compared (docs/decisions/0025-drift-detection.md).
            let Some(listed) = listed else { continue };
            for (name, metadata) in &listed {
                of_kind.insert(name.clone(), Found::by_metadata(metadata)?);
            }
        }
        found.insert(key(resource), Kind { resource: resource.clone(), objects: of_kind });
    }
    if let Some(itself) = get_cluster(&context.caches.namespaces, namespace) {
        let itself = Found::by_content(serde_json::to_value(&*itself)?, None)?;
        let resource = ApiResource::erase::<Namespace>(&());
        let objects = BTreeMap::from([(namespace.to_owned(), itself)]);
        found.insert("namespaces".to_owned(), Kind { resource, objects });
    }
    Ok(found)
}

/// Digest of the values of an object that people decide.
fn digest_of(object: &Value) -> Result<String, Error> {
    let values: BTreeMap<String, Value> = diff::diff(&Value::Null, object)
        .into_iter()
        .filter(|delta| delta.path != REVISION)
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
    fn writes_of_controllers_keep_the_digest_and_others_change_it() {
        let digest = |object: &Value| digest_of(object).unwrap();
        assert_eq!(digest(&known("v1", "1")), digest(&known("v1", "2")));
        assert_ne!(digest(&known("v1", "1")), digest(&known("v2", "1")));
        let mut again = known("v1", "1");
        again["metadata"]["uid"] = json!("later");
        assert_ne!(digest(&known("v1", "1")), digest(&again), "deleted and made again");
    }
}
