//! Runs a controller. Decides when each object is reconciled and how failures are handled.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, pause};
use super::error::{Class, Error};
use super::later::Later;
use super::{Context, SharedContext};
use crate::cluster::caches::{Change, Kind, Missed};

/// Maximum number of objects of a kind that are reconciled at the same time.
const CONCURRENCY: u16 = 8;
/// Maximum interval between two reconciles of an object, even if nothing changes and no requeue is planned.
const RESYNC: Duration = Duration::from_secs(600);
/// A failure becomes an Event on the object once the pause before the next attempt reaches this length.
const EVENT_FROM: Duration = Duration::from_secs(4);
/// Shortest and longest pause after a write conflict. The pause grows so that many writers of one object do
/// not keep it busy.
const CONFLICT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// When to reconcile an object again if nothing changes before then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requeue {
    /// At this instant.
    At(Timestamp),
    /// No instant is known.
    Never,
}

impl From<Option<Timestamp>> for Requeue {
    fn from(at: Option<Timestamp>) -> Requeue {
        at.map_or(Requeue::Never, Requeue::At)
    }
}

/// Reconciles the objects of one kind. `process.rs` lists all reconcilers.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind in lower case, singular: the value of the metric label `controller`.
    const NAME: &'static str;

    /// Maximum number of objects that are reconciled at the same time.
    const CONCURRENCY: u16 = CONCURRENCY;

    /// The kind that is reconciled.
    type Kind: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync;

    /// The cache of the kind.
    fn cache(context: &Context) -> &Store<Self::Kind>;

    /// The objects to reconcile because another object changed. A change of an object always reconciles that
    /// object, so it need not be included.
    fn enqueue_for(&self, change: &Change, context: &Context) -> Vec<ObjectRef<Self::Kind>>;

    /// How long a reconcile because of a change of another kind may wait for further ones. Zero for what a repair or a page
    /// waits for; longer for what only tells people.
    fn patience(_: Kind) -> Duration {
        Duration::ZERO
    }

    /// Brings one object up to date and returns when to reconcile it again.
    ///
    /// A status write by the reconciler enqueues the object once more. This ends when a reconcile has nothing
    /// to write.
    ///
    /// # Errors
    /// When the API server does not answer or refuses, or when another writer was faster. The class of the
    /// error decides when the object is retried.
    fn reconcile(
        &self,
        object: Arc<Self::Kind>,
        context: &SharedContext,
    ) -> impl Future<Output = Result<Requeue, Error>> + Send;
}

/// Reconciles every object of a kind now, and again when the object changes, another change enqueues it, or
/// its requeue time comes. Runs until `stop`.
pub async fn run<R: Reconciler>(reconciler: R, context: SharedContext, stop: CancellationToken) {
    let reconciler = Arc::new(reconciler);
    let store = R::cache(&context).clone();
    let everything = {
        let store = store.clone();
        move || all(&store)
    };
    // Listen first, then list. A change in between is then reconciled twice and never missed.
    let changes = context.caches.changes();
    let at_first = everything();
    let later: Arc<Later<ObjectRef<R::Kind>>> = Arc::default();
    let mapper = (Arc::clone(&reconciler), Arc::clone(&context), Arc::clone(&later));
    let queue = stream::iter(at_first)
        .chain(changes.flat_map(move |change| {
            stream::iter(match change {
                Ok(change) => {
                    let (reconciler, context, later) = &mapper;
                    let mut enqueued = reconciler.enqueue_for(&change, context);
                    let patience = R::patience(change.kind);
                    enqueued.iter().for_each(|object| later.wait(object, patience));
                    if change.kind.as_str() == R::Kind::kind(&()) {
                        let itself = reference(&change);
                        later.now(&itself);
                        enqueued.push(itself);
                    }
                    enqueued
                }
                Err(Missed) => everything(),
            })
        }))
        .map(ReconcileRequest::from)
        .map(Ok::<_, Missed>)
        .take_until(Box::pin(stop.cancelled_owned()));

    let backoff: Arc<Backoff<ObjectRef<R::Kind>>> = Arc::default();
    let conflicts: Arc<Backoff<ObjectRef<R::Kind>>> = Arc::new(Backoff::between(CONFLICT[0], CONFLICT[1]));
    let on_success = [Arc::clone(&backoff), Arc::clone(&conflicts)];
    let reconcile = move |object: Arc<R::Kind>, context: SharedContext| {
        let key = ObjectRef::from_obj(&*object);
        let reconciler = Arc::clone(&reconciler);
        let failures = on_success.clone();
        let left = later.left(&key);
        Box::pin(async move {
            if let Some(left) = left {
                return Ok(Action::requeue(left));
            }
            if let Some(until_followed) = context.written.awaits(&*object) {
                // The cache will have what was stored in a moment, and that leads here again.
                return Ok(Action::requeue(until(until_followed)));
            }
            if context.written.is_newer(&*object) {
                context.metrics.cache_is_stale(R::NAME);
                tracing::warn!(controller = R::NAME, object = %key, "the watch is behind what was stored a second ago");
            }
            let started = std::time::Instant::now();
            let result = reconciler.reconcile(object, &context).await;
            context.metrics.reconciled(
                R::NAME,
                result.as_ref().err().map_or("ok", Error::label),
                started.elapsed(),
            );
            let requeue = result?;
            failures.iter().for_each(|failures| failures.succeeded(&key));
            Ok::<_, Error>(Action::requeue(match requeue {
                Requeue::Never => RESYNC,
                Requeue::At(time) => until(time).min(RESYNC),
            }))
        })
    };
    let on_error = move |object: Arc<R::Kind>, error: &Error, context: SharedContext| {
        let key = ObjectRef::from_obj(&*object);
        match error.class() {
            Class::Conflict => Action::requeue(conflicts.failed(key)),
            Class::Waiting | Class::Terminal => {
                tracing::info!(controller = R::NAME, object = %key, %error, "waiting for a change");
                Action::requeue(RESYNC)
            }
            Class::Transient => {
                let wait = backoff.failed(key.clone());
                let causes = super::error::chain(error);
                tracing::warn!(controller = R::NAME, object = %key, error = causes, ?wait, "trying again");
                // Persistent API errors become an Event on the object. Connection failures do not: they
                // concern no particular object.
                if error.code().is_some() && wait >= EVENT_FROM {
                    tokio::spawn(async move {
                        let note =
                            format!("Mayday cannot go on with it, and tries again in {wait:?}: {causes}");
                        context.events.warning(&*object, "ReconcileFailed", &note).await;
                    });
                }
                Action::requeue(pause(wait, error.retry_after()))
            }
        }
    };
    let config = Config::default().concurrency(R::CONCURRENCY);
    applier(reconcile, on_error, context, store, queue, config)
        // An object that was deleted while it waited in the queue is not an error.
        .map_err(|error| tracing::trace!(controller = R::NAME, %error, "not reconciled"))
        .for_each(|_| futures::future::ready(()))
        .await;
}

fn reference<K: Resource<DynamicType = ()>>(change: &Change) -> ObjectRef<K> {
    let reference = ObjectRef::new(&change.name);
    match &change.namespace {
        Some(namespace) => reference.within(namespace),
        None => reference,
    }
}

/// Time until an instant; zero if it has passed.
fn until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

/// All objects of a kind in the namespace of a change.
pub fn same_namespace<K>(store: &Store<K>, change: &Change) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let Some(namespace) = &change.namespace else { return Vec::new() };
    crate::cluster::caches::in_namespace(store, namespace)
        .iter()
        .map(|object| ObjectRef::from_obj(&**object))
        .collect()
}

/// All objects of a kind.
pub fn all<K>(store: &Store<K>) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}
