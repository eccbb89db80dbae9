//! Limits the posts whose bodies are being received: 64 in all and 32 per AlertSource, so that one source cannot starve
//! the others. A body is there at once unless its sender stalls, so a post waits a moment for its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of bodies that are being received.
const MAX_POSTS: usize = 64;
/// Maximum number of bodies for one source that are being received.
const MAX_POSTS_OF_A_SOURCE: usize = 32;
/// How long a post waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// The turns to receive a body.
#[derive(Debug)]
pub struct Concurrency {
    all: Arc<Semaphore>,
    of_source: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to receive a body; dropping it makes room for the next.
#[derive(Debug)]
pub struct Slot {
    _of_source: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Concurrency {
    fn default() -> Concurrency {
        Concurrency { all: Arc::new(Semaphore::new(MAX_POSTS)), of_source: Mutex::default() }
    }
}

impl Concurrency {
    /// A slot for a post to a source; `None` if its source, or all sources together, have too many for [`PATIENCE`].
    pub async fn admit(&self, source: &str) -> Option<Slot> {
        self.admit_within(source, PATIENCE).await
    }

    async fn admit_within(&self, source: &str, patience: Duration) -> Option<Slot> {
        let own = self.own(source);
        let admitted = tokio::time::timeout(patience, async {
            // The source's own turn comes first, so that those that wait for it take none of the others.
            let of_source = own.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Slot { _of_source: of_source, _of_all: of_all })
        });
        admitted.await.ok().flatten()
    }

    /// The turns of a source. Those of sources that receive nothing are forgotten.
    fn own(&self, source: &str) -> Arc<Semaphore> {
        let mut of_source = self.of_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of_source.get(source) {
            return Arc::clone(own);
        }
        of_source.retain(|_, own| Arc::strong_count(own) > 1);
        let own = Arc::new(Semaphore::new(MAX_POSTS_OF_A_SOURCE));
        of_source.insert(source.to_owned(), Arc::clone(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_source_leaves_room_for_others() {
        let posts = Concurrency::default();
        let admit = |source: &'static str| posts.admit_within(source, Duration::from_millis(1));
        let mut held = Vec::new();
        for _ in 0..MAX_POSTS_OF_A_SOURCE {
            held.push(admit("a").await.unwrap());
        }
        assert!(admit("a").await.is_none());
        for _ in 0..MAX_POSTS_OF_A_SOURCE {
            held.push(admit("b").await.unwrap());
        }
        assert!(admit("c").await.is_none(), "all together have too many");
        held.truncate(1);
        assert!(admit("a").await.is_some() && admit("c").await.is_some());
    }

    /// The kind: a sender is told to come again although there is room a moment later.
    #[tokio::test]
    async fn a_post_waits_for_its_turn() {
        let posts = Arc::new(Concurrency::default());
        let mut held = Vec::new();
        for _ in 0..MAX_POSTS_OF_A_SOURCE {
            held.push(posts.admit("a").await.unwrap());
        }
        let waits = tokio::spawn({
            let posts = Arc::clone(&posts);
            async move { posts.admit("a").await.is_some() }
        });
        held.pop();
        assert!(waits.await.unwrap());
    }
}
