//! Caches of the objects in the API server, filled by one watch per kind, and the channel that announces
//! every change.
//!
//! Controllers listen to the channel and read the caches, so a kind that five controllers use is still
//! watched only once.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use prometheus_client::metrics::counter::Counter;
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::api;
use crate::telemetry::metrics::Metrics;

/// Number of changes that a slow listener may be behind before it gets [`Missed`].
const BACKLOG: usize = 4096;

/// An object was added, updated or deleted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Change {
    /// Kind of the object.
    pub kind: Kind,
    /// Namespace of the object; absent for cluster-scoped ones.
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
}

macro_rules! caches {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:ident),+ $(,)?) => {
        /// A cached kind.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            /// Every kind, in the order of the caches.
            pub const ALL: &[Kind] = &[$(Kind::$name),+];

            /// The name of the kind: `Incident`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$name => stringify!($name),)+
                }
            }
        }

        /// The caches, one per kind.
        pub struct Caches {
            changes: broadcast::Sender<Change>,
            unsynced: watch::Sender<BTreeSet<Kind>>,
            $($(#[$doc])* pub $field: Store<$kind>,)+
        }

        impl Caches {
            /// Starts one watch per kind on `tasks`. The watches run until the process ends.
            pub fn start(client: &Client, metrics: &Metrics, tasks: &mut JoinSet<()>) -> Caches {
                let (changes, _) = broadcast::channel(BACKLOG);
                let unsynced = watch::Sender::new(BTreeSet::from_iter(Kind::ALL.iter().copied()));
                $(
                    let writer = Writer::<$kind>::default();
                    let $field = writer.as_reader();
                    let api = Api::<DeserializeGuard<$kind>>::all(client.clone());
                    let unreadable = metrics.unreadable(stringify!($name));
                    tasks.spawn(keep(api, writer, Kind::$name, unreadable, changes.clone(), unsynced.clone()));
                )+
                Caches { changes, unsynced, $($field,)+ }
            }
        }
    };
}

caches! {
    /// Incidents.
    incidents: api::Incident = Incident,
    /// BusinessServices.
    services: api::BusinessService = BusinessService,
    /// AlertSources.
    sources: api::AlertSource = AlertSource,
    /// Runbooks.
    runbooks: api::Runbook = Runbook,
    /// RunbookRuns.
    runs: api::RunbookRun = RunbookRun,
    /// ChangeRequests.
    requests: api::ChangeRequest = ChangeRequest,
    /// Approvals.
    approvals: api::Approval = Approval,
    /// ChangePolicies.
    policies: api::ChangePolicy = ChangePolicy,
    /// Freezes.
    freezes: api::Freeze = Freeze,
    /// OnCallRotations.
    rotations: api::OnCallRotation = OnCallRotation,
    /// OnCallOverrides.
    overrides: api::OnCallOverride = OnCallOverride,
    /// Notifications.
    notifications: api::Notification = Notification,
    /// NotificationChannels.
    channels: api::NotificationChannel = NotificationChannel,
    /// Namespaces.
    namespaces: Namespace = Namespace,
    /// Deployments.
    deployments: Deployment = Deployment,
    /// StatefulSets.
    stateful_sets: StatefulSet = StatefulSet,
    /// DaemonSets.
    daemon_sets: DaemonSet = DaemonSet,
    /// ServiceAccounts that Runbooks may act as, and no others.
    accounts: ServiceAccount = ServiceAccount,
}

impl Kind {
    /// Whether the kind runs applications: Deployment, StatefulSet or DaemonSet.
    pub fn is_workload(self) -> bool {
        matches!(self, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Caches {
    /// The kinds whose first list is not complete yet. The process may serve once this is empty.
    pub fn unsynced(&self) -> Vec<Kind> {
        self.unsynced.borrow().iter().copied().collect()
    }

    /// Whether the first list of every kind is complete.
    pub fn is_synced(&self) -> bool {
        self.unsynced.borrow().is_empty()
    }

    /// Returns once the first list of every kind is complete.
    pub async fn synced(&self) {
        // The wait cannot fail because `self` keeps the sender alive.
        let _ = self.unsynced.subscribe().wait_for(BTreeSet::is_empty).await;
    }

    /// Lets everybody who listens look at an object again, although nothing of it has changed.
    pub fn announce(&self, change: Change) {
        let _ = self.changes.send(change);
    }

    /// Every change from now on. A listener that is too far behind gets one [`Missed`] in place of the
    /// changes it lost.
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

/// The listener missed some changes and must look at every object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("some changes were missed")]
pub struct Missed;

/// The object with this name.
pub fn get<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

/// The version of an object as a number, of which the greater one is newer; `None` if it has none.
pub fn version<K: ResourceExt>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

/// The cluster-scoped object with this name.
pub fn get_cluster<K>(store: &Store<K>, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name))
}

/// All objects in a namespace, sorted by name so that decisions do not depend on the order of the cache.
pub fn in_namespace<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut objects = store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace));
    objects.sort_by_key(|object| object.name_any());
    objects
}

/// All objects, listed from the API server and not from the cache.
///
/// # Errors
/// When the API server does not answer.
pub async fn list_live<K>(
    api: Api<DeserializeGuard<K>>,
    cache: &Store<K>,
) -> Result<Vec<Arc<K>>, super::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    list_selected(api, cache, &ListParams::default()).await
}

/// The objects whose `status.state` is none of these, listed from the API server and not from the cache. The API server
/// selects them, so it sends few of many.
///
/// # Errors
/// When the API server does not answer.
pub async fn list_in_other_states<K>(
    api: Api<DeserializeGuard<K>>,
    cache: &Store<K>,
    states: &[impl Debug],
) -> Result<Vec<Arc<K>>, super::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    let not: Vec<String> = states.iter().map(|state| format!("status.state!={state:?}")).collect();
    list_selected(api, cache, &ListParams::default().fields(&not.join(","))).await
}

/// The decisions about the subject with this UID, selected by the API server and not by the cache.
///
/// # Errors
/// When the API server does not answer.
pub async fn list_decisions(
    api: Api<DeserializeGuard<api::Approval>>,
    cache: &Store<api::Approval>,
    uid: &str,
) -> Result<Vec<Arc<api::Approval>>, super::Error> {
    list_selected(api, cache, &ListParams::default().fields(&format!("spec.subjectRef.uid={uid}"))).await
}

async fn list_selected<K>(
    api: Api<DeserializeGuard<K>>,
    cache: &Store<K>,
    selected: &ListParams,
) -> Result<Vec<Arc<K>>, super::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
{
    let list = api.list(selected).await?;
    Ok(list.items.into_iter().filter_map(|object| read(object, cache, |_| ())).map(Arc::new).collect())
}

/// The object, or its cached state if it cannot be read. An unreadable object therefore affects only itself,
/// and its last readable state remains in force.
fn read<K>(object: DeserializeGuard<K>, cache: &Store<K>, mut tell: impl FnMut(&InvalidObject)) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    object.0.map_or_else(
        |invalid| {
            tell(&invalid);
            let mut named = ObjectRef::new(invalid.metadata.name.as_deref().unwrap_or_default());
            named.namespace.clone_from(&invalid.metadata.namespace);
            let known = cache.get(&named)?;
            (known.uid() == invalid.metadata.uid).then(|| (*known).clone())
        },
        Some,
    )
}

/// Keeps a cache in step with the API server and announces the changes.
async fn keep<K>(
    api: Api<DeserializeGuard<K>>,
    mut writer: Writer<K>,
    kind: Kind,
    unreadable: Counter,
    changes: broadcast::Sender<Change>,
    unsynced: watch::Sender<BTreeSet<Kind>>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let stream =
        watcher(api, watched(kind)).default_backoff().modify(|object| object.managed_fields_mut().clear());
    futures::pin_mut!(stream);
    let tell = |invalid: &InvalidObject| {
        let (namespace, name) = (invalid.metadata.namespace.as_deref(), invalid.metadata.name.as_deref());
        tracing::warn!(%kind, namespace, name, error = invalid.error, "an object cannot be read");
        unreadable.inc();
    };
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                let read = |object| read(object, &writer.as_reader(), tell);
                let Some(event) = readable_event(event, read) else { continue };
                let relisted = matches!(event, watcher::Event::InitDone);
                // A new list replaces the cache only when it is complete. Objects that are in the cache but
                // not in the list were deleted in the meantime, so both sides are announced.
                let mut touched =
                    if relisted { cached(kind, &writer.as_reader()) } else { touched(kind, &event) };
                writer.apply_watcher_event(&event);
                if relisted {
                    touched.extend(cached(kind, &writer.as_reader()));
                    unsynced.send_if_modified(|unsynced| unsynced.remove(&kind));
                }
                for change in touched {
                    // The send fails when there are no listeners. That is expected: only the lease holder
                    // listens.
                    let _ = changes.send(change);
                }
            }
            Err(error) => {
                tracing::warn!(%kind, error = %super::error::chain(&error), "the watch goes on after a pause")
            }
        }
    }
}

/// Which objects of a kind are watched.
fn watched(kind: Kind) -> watcher::Config {
    let all = watcher::Config::default().timeout(super::client::WATCH);
    match kind {
        Kind::ServiceAccount => all.labels(&format!("{}=true", api::runbook::IDENTITY_LABEL)),
        _ => all,
    }
}

/// The event with its object; `None` if the object cannot be read.
fn readable_event<K>(
    event: watcher::Event<DeserializeGuard<K>>,
    mut read: impl FnMut(DeserializeGuard<K>) -> Option<K>,
) -> Option<watcher::Event<K>> {
    Some(match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(read(object)?),
        watcher::Event::Delete(object) => watcher::Event::Delete(read(object)?),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(read(object)?),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    })
}

/// The objects that one event changes.
fn touched<K>(kind: Kind, event: &watcher::Event<K>) -> BTreeSet<Change>
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

fn cached<K>(kind: Kind, store: &Store<K>) -> BTreeSet<Change>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| change(kind, &**object)).collect()
}

fn change<K: Resource<DynamicType = ()>>(kind: Kind, object: &K) -> Change {
    Change { kind, namespace: object.namespace(), name: object.name_any() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::api::Incident;

    fn incident(name: &str, uid: &str, time: &str) -> DeserializeGuard<Incident> {
        let whole: Value = json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": name, "namespace": "shop", "uid": uid},
            "spec": {"title": "t", "severity": "SEV2", "notes": [{"text": "n", "time": time}]}});
        from_value(whole).unwrap()
    }

    fn read_all(cache: &Store<Incident>, listed: Vec<DeserializeGuard<Incident>>) -> Vec<String> {
        let read = listed.into_iter().filter_map(|object| read(object, cache, |_| ()));
        read.map(|incident| format!("{}/{}", incident.name_any(), incident.uid().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn an_unreadable_object_keeps_its_last_readable_state() {
        const TIME: &str = "2026-11-22T14:03:10Z";
        const NO_TIME: &str = "2026-11-22T14:03:10+99:99";
        let mut writer = Writer::<Incident>::default();
        for name in ["known", "reborn"] {
            writer.apply_watcher_event(&watcher::Event::Apply(incident(name, "1", TIME).0.unwrap()));
        }
        let listed = vec![
            incident("known", "1", NO_TIME),
            incident("reborn", "2", NO_TIME),
            incident("new", "3", NO_TIME),
            incident("good", "4", TIME),
        ];
        assert_eq!(read_all(&writer.as_reader(), listed), ["known/1", "good/4"]);
        // A deletion removes it from the cache, readable or not.
        let gone = watcher::Event::Delete(incident("known", "1", NO_TIME));
        let read = |object| read(object, &writer.as_reader(), |_| ());
        let gone = readable_event(gone, read).unwrap();
        writer.apply_watcher_event(&gone);
        assert_eq!(writer.as_reader().len(), 1);
    }
}
