//! What is stored in the API server, kept warm in every process, and who is told when it changes.
//!
//! One watch a kind. Controllers hear of changes through one channel and read the stores, so that a kind that
//! five controllers look at is still watched once.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::api;

/// How many changes a slow listener may lie behind before it is told to look at everything.
const BACKLOG: usize = 4096;

/// Something was added, updated or deleted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Change {
    /// Kind of the object: `Incident`.
    pub kind: &'static str,
    /// Namespace of the object; absent for cluster-scoped ones.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
}

macro_rules! stores {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal),+ $(,)?) => {
        /// The caches, one a kind.
        pub struct Stores {
            changes: broadcast::Sender<Change>,
            missing: watch::Sender<BTreeSet<&'static str>>,
            $($(#[$doc])* pub $field: Store<$kind>,)+
        }

        impl Stores {
            /// Starts one watch a kind on `tasks`; each goes on until the process ends.
            pub fn start(client: &Client, tasks: &mut JoinSet<()>) -> Stores {
                let (changes, _) = broadcast::channel(BACKLOG);
                let missing = watch::Sender::new(BTreeSet::from([$($name),+]));
                $(
                    let writer = Writer::<$kind>::default();
                    let $field = writer.as_reader();
                    let api = Api::<$kind>::all(client.clone());
                    tasks.spawn(keep(api, writer, $name, changes.clone(), missing.clone()));
                )+
                Stores { changes, missing, $($field,)+ }
            }
        }
    };
}

stores! {
    /// Incidents.
    incidents: api::Incident = "Incident",
    /// BusinessServices.
    services: api::BusinessService = "BusinessService",
    /// AlertSources.
    sources: api::AlertSource = "AlertSource",
    /// Runbooks.
    runbooks: api::Runbook = "Runbook",
    /// RunbookRuns.
    runs: api::RunbookRun = "RunbookRun",
    /// ChangeRequests.
    requests: api::ChangeRequest = "ChangeRequest",
    /// Approvals.
    approvals: api::Approval = "Approval",
    /// ChangePolicies.
    policies: api::ChangePolicy = "ChangePolicy",
    /// Freezes.
    freezes: api::Freeze = "Freeze",
    /// OnCallRotations.
    rotations: api::OnCallRotation = "OnCallRotation",
    /// OnCallOverrides.
    overrides: api::OnCallOverride = "OnCallOverride",
    /// NotificationChannels.
    channels: api::NotificationChannel = "NotificationChannel",
    /// Namespaces.
    namespaces: Namespace = "Namespace",
    /// Deployments.
    deployments: Deployment = "Deployment",
    /// StatefulSets.
    stateful_sets: StatefulSet = "StatefulSet",
    /// DaemonSets.
    daemon_sets: DaemonSet = "DaemonSet",
}

impl Stores {
    /// Names of the caches that have not been filled yet; empty once the process may serve.
    pub fn missing(&self) -> Vec<&'static str> {
        self.missing.borrow().iter().copied().collect()
    }

    /// Returns once every cache is filled.
    pub async fn filled(&self) {
        // The sender lives as long as `self`, so that the wait cannot fail.
        let _ = self.missing.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Every change from now on. A listener that lies too far behind sees [`Missed`] once instead.
    pub fn changes(&self) -> impl Stream<Item = Result<Change, Missed>> + Send + use<> {
        let receiver = self.changes.subscribe();
        futures::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(change) => Some((Ok(change), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Err(Missed), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }
}

/// Some changes were missed: look at everything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("some changes were missed")]
pub struct Missed;

/// The object of that name.
pub fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

/// The cluster-scoped object of that name.
pub fn get_cluster<K>(store: &Store<K>, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name))
}

/// Every object in a namespace, ordered by name so that decisions do not depend on chance.
pub fn in_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut objects = store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace));
    objects.sort_by_key(|object| object.name_any());
    objects
}

/// Keeps a cache as the API server has it, and tells what changed.
async fn keep<K>(
    api: Api<K>,
    mut writer: Writer<K>,
    kind: &'static str,
    changes: broadcast::Sender<Change>,
    missing: watch::Sender<BTreeSet<&'static str>>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear());
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let relisted = matches!(event, watcher::Event::InitDone);
                // A new list replaces the cache only when it is complete: what it adds is told then, and what
                // it lacks was deleted meanwhile.
                let mut touched =
                    if relisted { cached(kind, &writer.as_reader()) } else { touched(kind, &event) };
                writer.apply_watcher_event(&event);
                if relisted {
                    touched.extend(cached(kind, &writer.as_reader()));
                    missing.send_if_modified(|missing| missing.remove(kind));
                }
                for change in touched {
                    // Nobody listening is no failure: only the lease holder does.
                    let _ = changes.send(change);
                }
            }
            Err(error) => {
                tracing::warn!(kind, error = %super::error::chain(&error), "the watch goes on after a pause")
            }
        }
    }
}

/// What a single event touches.
fn touched<K>(kind: &'static str, event: &watcher::Event<K>) -> BTreeSet<Change>
where
    K: Resource<DynamicType = ()>,
{
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => {
            BTreeSet::from([change(kind, object)])
        }
        watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => BTreeSet::new(),
    }
}

fn cached<K>(kind: &'static str, store: &Store<K>) -> BTreeSet<Change>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| change(kind, &**object)).collect()
}

fn change<K: Resource<DynamicType = ()>>(kind: &'static str, object: &K) -> Change {
    Change { kind, namespace: object.namespace(), name: object.name_any() }
}
