//! The admission objects as they are stored, kept by a watch for each kind. Only the lease holder watches them.

use std::sync::Arc;

use futures::future::join_all;
use futures::{Stream, StreamExt};
use kube::api::{DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use super::definition::{Id, Kind};
use crate::cluster::Error;
use crate::cluster::client::WATCH;

/// How the names of the chart's objects begin. Nothing is kept of others.
const PREFIX: &str = "mayday-";

/// The stored objects.
pub struct Stored {
    stores: Vec<(Kind, Store<DynamicObject>)>,
}

/// What the API server calls a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind.as_str());
    let plural = match kind {
        Kind::ValidatingAdmissionPolicy => "validatingadmissionpolicies".to_owned(),
        _ => format!("{}s", kind.lower()),
    };
    ApiResource::from_gvk_with_plural(&gvk, &plural)
}

/// The object as the API server has it now; `None` if it is not there.
///
/// # Errors
/// When it cannot be read.
pub async fn live(client: &Client, id: &Id) -> Result<Option<DynamicObject>, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(id.kind));
    // A list, for which the operator has the right already.
    let one = ListParams::default().fields(&format!("metadata.name={}", id.name));
    Ok(api.list(&one).await?.items.pop())
}

impl Stored {
    /// The objects, and an item for each change of one. They follow only while the stream is polled.
    pub fn watch(client: &Client) -> (Stored, impl Stream<Item = ()> + Send + use<>) {
        let mut stores = Vec::new();
        let mut streams = Vec::new();
        for kind in Kind::ALL {
            let resource = resource(kind);
            let writer = Writer::new(resource.clone());
            stores.push((kind, writer.as_reader()));
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let stream = watcher(api, watcher::Config::default().timeout(WATCH))
                .default_backoff()
                .modify(|object| {
                    if !object.name_any().starts_with(PREFIX) {
                        object.data = serde_json::Value::Null;
                        object.managed_fields_mut().clear();
                    }
                })
                .reflect(writer)
                .filter_map(|event| {
                    std::future::ready(event.is_ok_and(|event| is_ours(&event)).then_some(()))
                });
            streams.push(stream.boxed());
        }
        (Stored { stores }, futures::stream::select_all(streams))
    }

    /// Returns once every kind was listed.
    pub async fn synced(&self) {
        // A store fails only when its stream is gone, with which the caller ends too.
        join_all(self.stores.iter().map(|(_, store)| store.wait_until_ready())).await;
    }

    /// The object with this identity.
    pub fn get(&self, id: &Id) -> Option<Arc<DynamicObject>> {
        let (kind, store) = self.stores.iter().find(|(kind, _)| *kind == id.kind)?;
        store.get(&ObjectRef::new_with(&id.name, resource(*kind)))
    }
}

/// Whether an event may concern an object of the chart.
fn is_ours(event: &watcher::Event<DynamicObject>) -> bool {
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
            object.name_any().starts_with(PREFIX)
        }
        watcher::Event::InitDone => true,
        watcher::Event::Init | watcher::Event::InitApply(_) => false,
    }
}
