//! Looks at what is there of every protected kind in a namespace: metadata only, as the planner, whose rights teams
//! widen for their own kinds. Secrets are left out, since whoever may list them may read them.

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
use crate::change::drift::managed_fields::Written;
use crate::change::gate::lookup;
use crate::change::policy::Resource;
use crate::cluster::caches::get_cluster;
use crate::cluster::{Context, Error, workloads};

/// So many objects are read at a time.
const PAGE: u32 = 500;
/// Values that Kubernetes' own controllers write into a workload.
const BY_CONTROLLERS: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// What was found of one object.
pub struct Found {
    /// As much of a digest as is kept.
    pub digest: String,
    /// Who wrote last.
    pub last: Option<Written>,
    /// The object, where a cache has it.
    pub content: Option<Value>,
}

/// What was found of one kind.
pub struct Kind {
    /// The kind.
    pub resource: ApiResource,
    /// Its objects by name.
    pub objects: BTreeMap<String, Found>,
}

impl Found {
    fn by_notes(metadata: &ObjectMeta) -> Result<Found, Error> {
        let digest = baseline::short(&managed_fields::digest(metadata)?);
        Ok(Found { digest, last: managed_fields::last(metadata), content: None })
    }

    fn by_content(content: Value, notes: Option<&ObjectMeta>) -> Result<Found, Error> {
        let digest = baseline::short(&digest_of(&content)?);
        Ok(Found { digest, last: notes.and_then(managed_fields::last), content: Some(content) })
    }
}

/// The kinds that are in namespaces and can be listed.
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

/// The kinds of workloads, of which a cache holds the content.
pub fn of_workloads() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
    ]
}

/// What is there of these kinds in a namespace, as far as a policy protects them. Of workloads the content decides;
/// who wrote them last is asked for only `with_notes`.
///
/// # Errors
/// When the API server does not answer.
pub async fn find(
    context: &Context,
    namespace: &str,
    kinds: &[ApiResource],
    with_notes: bool,
) -> Result<BTreeMap<String, Kind>, Error> {
    let mut found = BTreeMap::new();
    let is_protected = |kind: &&ApiResource| {
        lookup::is_protected(context, &Resource { group: &kind.group, plural: &kind.plural, namespace })
    };
    for resource in kinds.iter().filter(is_protected) {
        let is_workload = workloads::is_one(&resource.group, &resource.kind);
        let notes = match with_notes || !is_workload {
            true => objects(&context.planner, resource, namespace).await?,
            false => None,
        };
        let mut of_kind = BTreeMap::new();
        if is_workload {
            for content in workloads::all(&context.stores, namespace, &resource.kind)? {
                let name = content["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let notes = notes.as_ref().and_then(|notes| notes.get(&name));
                of_kind.insert(name, Found::by_content(content, notes)?);
            }
        } else {
            // Kinds that may not be listed are not compared; see the decision.
            let Some(notes) = notes else { continue };
            for (name, metadata) in &notes {
                of_kind.insert(name.clone(), Found::by_notes(metadata)?);
            }
        }
        let key = format!("{}.{}", resource.plural, resource.group).trim_end_matches('.').to_owned();
        found.insert(key, Kind { resource: resource.clone(), objects: of_kind });
    }
    if let Some(itself) = get_cluster(&context.stores.namespaces, namespace) {
        let itself = Found::by_content(serde_json::to_value(&*itself)?, None)?;
        let resource = ApiResource::erase::<Namespace>(&());
        let objects = BTreeMap::from([(namespace.to_owned(), itself)]);
        found.insert("namespaces".to_owned(), Kind { resource, objects });
    }
    Ok(found)
}

/// Digest of what people decide about an object.
fn digest_of(object: &Value) -> Result<String, Error> {
    let values: BTreeMap<String, Value> = diff::diff(&Value::Null, object)
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
        let digest = |object: &Value| digest_of(object).unwrap();
        assert_eq!(digest(&known("v1", "1")), digest(&known("v1", "2")));
        assert_ne!(digest(&known("v1", "1")), digest(&known("v2", "1")));
        let mut again = known("v1", "1");
        again["metadata"]["uid"] = json!("later");
        assert_ne!(digest(&known("v1", "1")), digest(&again), "deleted and made again");
    }
}
