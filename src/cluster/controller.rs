//! Running a controller: which object to look at when, and what follows from a failure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::error::{Class, Error};
use super::{Context, SharedContext};
use crate::cluster::caches::{Change, Missed};

/// At most so many objects of a kind at once.
const CONCURRENCY: u16 = 8;
/// Even if nothing changes and nothing is planned.
const RESYNC: Duration = Duration::from_secs(600);
/// A failure is told in an Event once it is waited for so long.
const TOLD_FROM: Duration = Duration::from_secs(4);
/// After somebody else was faster: soon, and later each time, or many who write one object would keep it busy.
const CONFLICT: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// When to look at an object again, if nothing changes before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requeue {
    /// At that instant.
    At(Timestamp),
    /// No instant is known.
    Never,
}

impl From<Option<Timestamp>> for Requeue {
    fn from(at: Option<Timestamp>) -> Requeue {
        at.map_or(Requeue::Never, Requeue::At)
    }
}

/// A future on its way, as `reconcile` returns it.
pub type Reconciling = Pin<Box<dyn Future<Output = Result<Requeue, Error>> + Send>>;

/// Reconciles every object of a kind now, and again whenever it changes, `map` names it for a change of
/// something else, or its time has come; until `cancel`.
///
/// `map` gets every change of any cached kind; of the kind itself it need only name the neighbours. Own status writes
/// wake an object once more, which ends when a reconcile has nothing to write.
pub async fn run<K>(
    name: &'static str,
    context: SharedContext,
    store: Store<K>,
    map: impl Fn(&Change, &Context) -> Vec<ObjectRef<K>> + Send + 'static,
    reconcile: impl Fn(Arc<K>, SharedContext) -> Reconciling + Send + Sync + 'static,
    cancel: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    run_with(CONCURRENCY, name, context, store, map, reconcile, cancel).await;
}

/// The same with another number of objects at once.
pub async fn run_with<K>(
    at_once: u16,
    name: &'static str,
    context: SharedContext,
    store: Store<K>,
    map: impl Fn(&Change, &Context) -> Vec<ObjectRef<K>> + Send + 'static,
    reconcile: impl Fn(Arc<K>, SharedContext) -> Reconciling + Send + Sync + 'static,
    cancel: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let own_kind = K::kind(&()).into_owned();
    let everything = {
        let store = store.clone();
        move || store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect::<Vec<_>>()
    };
    // Listen first, then look: what changes in between is looked at twice, never missed.
    let changes = context.stores.changes();
    let at_first = everything();
    let listening = Arc::clone(&context);
    let queue = stream::iter(at_first)
        .chain(changes.flat_map(move |change| {
            stream::iter(match change {
                Ok(change) => {
                    let mut concerned = map(&change, &listening);
                    if change.kind == own_kind {
                        concerned.push(reference(&change));
                    }
                    concerned
                }
                Err(Missed) => everything(),
            })
        }))
        .map(ReconcileRequest::from)
        .map(Ok::<_, Missed>)
        .take_until(Box::pin(cancel.clone().cancelled_owned()));

    let backoff: Arc<Backoff<ObjectRef<K>>> = Arc::default();
    let conflicts: Arc<Backoff<ObjectRef<K>>> = Arc::new(Backoff::between(CONFLICT[0], CONFLICT[1]));
    let on_success = [Arc::clone(&backoff), Arc::clone(&conflicts)];
    let reconcile = move |object: Arc<K>, context: SharedContext| {
        let key = ObjectRef::from_obj(&*object);
        let started = std::time::Instant::now();
        let future = reconcile(object, Arc::clone(&context));
        let failures = on_success.clone();
        Box::pin(async move {
            let result = future.await;
            context.metrics.reconciled(
                name,
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
    let on_error = move |object: Arc<K>, error: &Error, context: SharedContext| {
        let key = ObjectRef::from_obj(&*object);
        match error.class() {
            Class::Conflict => Action::requeue(conflicts.failed(key)),
            Class::Waiting | Class::Terminal => {
                tracing::info!(controller = name, object = %key, %error, "waiting for a change");
                Action::requeue(RESYNC)
            }
            Class::Transient => {
                let wait = backoff.failed(key.clone());
                let said = super::error::chain(error);
                tracing::warn!(controller = name, object = %key, error = said, ?wait, "trying again");
                // An answer that stays the same is told where people look; no answer at all is nobody's object's affair.
                if error.code().is_some() && wait >= TOLD_FROM {
                    tokio::spawn(async move {
                        let note =
                            format!("Mayday cannot go on with it, and tries again in {wait:?}: {said}");
                        context.events.warning(&*object, "ReconcileFailed", &note).await;
                    });
                }
                Action::requeue(wait)
            }
        }
    };
    let config = Config::default().concurrency(at_once);
    applier(reconcile, on_error, context, store, queue, config)
        // An object that was deleted while it waited in the queue is no error.
        .map_err(|error| tracing::trace!(controller = name, %error, "not reconciled"))
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

/// How long until an instant; zero if it is past.
fn until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

/// Everything of a kind in the namespace of a change; for kinds whose decisions look at their neighbours.
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

/// Everything of a kind.
pub fn all<K>(store: &Store<K>) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}
