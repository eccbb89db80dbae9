//! Stores together what comes together: while the observations of one outage are being stored, further ones of the same
//! outage wait, and the next write stores all of them. Each sender is answered after the write that has its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::{Notify, oneshot};

use super::correlate::Key;
use super::live::Live;
use super::observation::Observation;
use super::outage::{self, Stored};
use crate::api::AlertSource;
use crate::cluster::caches::get;
use crate::cluster::{Error, SharedContext};

/// How long a batch waits for as many posts as there were in the last one and beside it: senders that were answered
/// together come again together.
const GATHER: Duration = Duration::from_millis(25);

/// What makes observations of a source one outage.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Outage {
    /// They are about the service of this name.
    Service(String),
    /// No service claims them.
    Group {
        /// Their group.
        group: String,
        /// The open incident that covers their object.
        covering: Option<String>,
    },
}

/// Namespace and name of the source, and the outage.
type BatchKey = (String, String, Outage);

/// Observations that wait to be stored.
struct Waiting {
    source: Arc<AlertSource>,
    seen: Arc<Vec<Observation>>,
    done: oneshot::Sender<Result<Stored, Arc<Error>>>,
}

/// The queue of one outage; it exists while its worker runs.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    arrived: Arc<Notify>,
}

/// The queues of all outages that are being stored.
#[derive(Default)]
pub struct Batches {
    queues: Mutex<HashMap<BatchKey, Queue>>,
}

impl Batches {
    /// Stores observations, together with others of the same outage that wait.
    ///
    /// # Errors
    /// When the API server does not store them.
    pub async fn store(
        self: &Arc<Self>,
        context: &SharedContext,
        live: &Arc<Live>,
        source: &Arc<AlertSource>,
        outage: Outage,
        seen: Arc<Vec<Observation>>,
    ) -> Result<Stored, Arc<Error>> {
        let key = (source.namespace().unwrap_or_default(), source.name_any(), outage);
        let (done, stored) = oneshot::channel();
        let waiting = Waiting { source: Arc::clone(source), seen, done };
        if self.push(&key, waiting) {
            // A task of its own: a sender that goes away must not stop what others wait for.
            tokio::spawn(work(Arc::clone(self), Arc::clone(context), Arc::clone(live), key));
        }
        stored.await.unwrap_or_else(|_| Err(Arc::new(Error::Waiting("storing was interrupted".to_owned()))))
    }

    /// Adds to a queue. True if it is new and needs a worker.
    fn push(&self, key: &BatchKey, waiting: Waiting) -> bool {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !queues.contains_key(key);
        let queue = queues.entry(key.clone()).or_default();
        queue.waiting.push(waiting);
        queue.arrived.notify_one();
        is_new
    }

    /// Takes everything that waits; nothing, and the queue is gone, if nothing does.
    fn take(&self, key: &BatchKey) -> Vec<Waiting> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queues.get_mut(key).map(|queue| std::mem::take(&mut queue.waiting)).unwrap_or_default();
        if waiting.is_empty() {
            queues.remove(key);
        }
        waiting
    }

    /// How many wait.
    fn waiting(&self, key: &BatchKey) -> usize {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.get(key).map_or(0, |queue| queue.waiting.len())
    }

    /// Waits until so many wait, or for [`GATHER`].
    async fn gather(&self, key: &BatchKey, expected: usize) {
        let enough = async {
            loop {
                let arrived = {
                    let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
                    match queues.get(key) {
                        Some(queue) if queue.waiting.len() < expected => Arc::clone(&queue.arrived),
                        _ => return,
                    }
                };
                arrived.notified().await;
            }
        };
        // After the time, those that are there are stored.
        let _elapsed = tokio::time::timeout(GATHER, enough).await;
    }
}

/// Stores batch after batch until nothing waits any more.
async fn work(batches: Arc<Batches>, context: SharedContext, live: Arc<Live>, key: BatchKey) {
    let mut expected = 1;
    loop {
        batches.gather(&key, expected).await;
        let batch = batches.take(&key);
        if batch.is_empty() {
            return;
        }
        let answered = batch.len();
        let storing = store(Arc::clone(&context), Arc::clone(&live), key.clone(), batch);
        // A task of its own: should it panic, its senders get an error, and the queue goes on.
        if let Err(error) = tokio::spawn(storing).await {
            tracing::error!(%error, "alerts were not stored");
        }
        expected = answered + batches.waiting(&key);
    }
}

/// Stores one batch and answers.
async fn store(context: SharedContext, live: Arc<Live>, key: BatchKey, batch: Vec<Waiting>) {
    let together = store_all(&context, &live, &key, &batch).await;
    // What the API server refuses because of one post must not refuse the others.
    let is_refused = together.as_ref().is_err_and(|error| error.is_about_the_content());
    if !is_refused || batch.len() == 1 {
        answer(batch, &together);
        return;
    }
    for waiting in batch {
        let alone = [waiting];
        let stored = store_all(&context, &live, &key, &alone).await;
        answer(alone, &stored);
    }
}

async fn store_all(
    context: &SharedContext,
    live: &Live,
    key: &BatchKey,
    batch: &[Waiting],
) -> Result<Stored, Arc<Error>> {
    let Some(last) = batch.last() else { return Ok(Stored::Known) };
    let seen: Vec<&Observation> = batch.iter().flat_map(|waiting| waiting.seen.iter()).collect();
    let stored = match &key.2 {
        Outage::Service(name) => {
            let Some(service) = get(&context.caches.services, &key.0, name) else {
                return Ok(Stored::WithoutService);
            };
            outage::store(context, live, &last.source, Key::Service(&service), &seen).await
        }
        Outage::Group { group, .. } => {
            outage::store(context, live, &last.source, Key::Group(group), &seen).await
        }
    };
    stored.map_err(Arc::new)
}

/// Tells each sender the same. One that is gone does not matter.
fn answer(batch: impl IntoIterator<Item = Waiting>, stored: &Result<Stored, Arc<Error>>) {
    for waiting in batch {
        let _ = waiting.done.send(stored.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> BatchKey {
        ("shop".to_owned(), "am".to_owned(), Outage::Service("checkout".to_owned()))
    }

    fn waiting() -> Waiting {
        let (done, _) = oneshot::channel();
        Waiting { source: Arc::new(AlertSource::new("am", Default::default())), seen: Arc::default(), done }
    }

    #[tokio::test]
    async fn a_batch_waits_for_those_that_were_answered_together_and_not_longer() {
        let batches = Batches::default();
        assert!(batches.push(&key(), waiting()), "the first needs a worker");
        assert!(!batches.push(&key(), waiting()));
        batches.gather(&key(), 2).await;
        assert_eq!(batches.take(&key()).len(), 2);
        assert!(!batches.push(&key(), waiting()), "the worker is still there");
        let start = std::time::Instant::now();
        batches.gather(&key(), 2).await;
        assert!(start.elapsed() >= GATHER);
        assert_eq!((batches.take(&key()).len(), batches.take(&key()).len()), (1, 0));
        assert!(batches.push(&key(), waiting()), "the worker is gone");
    }

    /// The kind: what is answered before it is stored is lost.
    #[tokio::test]
    async fn a_post_that_comes_while_others_are_gathered_is_in_the_same_batch() {
        let batches = Arc::new(Batches::default());
        batches.push(&key(), waiting());
        let gathering = tokio::spawn({
            let batches = Arc::clone(&batches);
            async move {
                batches.gather(&key(), 3).await;
                batches.take(&key()).len()
            }
        });
        batches.push(&key(), waiting());
        batches.push(&key(), waiting());
        assert_eq!(gathering.await.unwrap(), 3);
    }
}
