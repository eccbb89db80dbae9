//! Posts that are answered from memory: what they say is stored, and nothing has changed since.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::cluster::SharedContext;
use crate::cluster::caches::Kind;

/// How long a post is answered from memory. What time alone changes is noticed after this time.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Maximum number of remembered posts; beyond it all are worked on again.
const MOST: usize = 8192;

/// A post: its source and its body, as a hash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Post([u8; 32]);

impl Post {
    /// The post of this body to a source.
    pub fn new(namespace: &str, source: &str, body: &[u8]) -> Post {
        let mut hash = Sha256::new();
        // No name holds a slash.
        hash.update(format!("{namespace}/{source}/"));
        hash.update(body);
        Post(hash.finalize().into())
    }
}

/// The number of changes that were seen so far. A post is remembered with the number from before it was worked on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Epoch(u64);

/// The posts that changed nothing.
#[derive(Debug, Default)]
pub struct Answered {
    epoch: AtomicU64,
    posts: Mutex<HashMap<Post, (Epoch, Instant)>>,
}

impl Answered {
    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Whether the same post has changed nothing a moment ago, and nothing that it depends on has changed since.
    pub fn knows(&self, post: Post) -> bool {
        let posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.get(&post).is_some_and(|(epoch, at)| *epoch == self.epoch() && at.elapsed() < REMEMBERED)
    }

    /// Remembers a post that changed nothing. `epoch` is that from before it was worked on.
    pub fn remember(&self, post: Post, epoch: Epoch) {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        if posts.len() >= MOST {
            posts.clear();
        }
        posts.insert(post, (epoch, Instant::now()));
    }

    /// Something has changed: every post is worked on again.
    fn advance(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }
}

/// Follows the changes until `stop`.
pub async fn run(answered: Arc<Answered>, context: SharedContext, stop: CancellationToken) -> &'static str {
    let changes = context.caches.changes().take_until(stop.cancelled_owned());
    futures::pin_mut!(changes);
    while let Some(change) = changes.next().await {
        let kinds = [Kind::Incident, Kind::BusinessService, Kind::AlertSource, Kind::Runbook];
        if !change.is_ok_and(|change| !kinds.contains(&change.kind)) {
            answered.advance();
        }
    }
    "answered-posts"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind: an answer is given for something that is not stored, or not any more.
    #[test]
    fn a_post_is_known_until_something_changes() {
        let answered = Answered::default();
        let post = Post::new("shop", "am", b"{}");
        assert!(!answered.knows(post));
        let before = answered.epoch();
        answered.remember(post, before);
        assert!(answered.knows(post));
        assert!(
            !answered.knows(Post::new("shop", "other", b"{}"))
                && !answered.knows(Post::new("shop", "am", b"{ }"))
        );
        answered.advance();
        assert!(!answered.knows(post));
        answered.remember(post, before);
        assert!(!answered.knows(post), "something changed while it was worked on");
    }
}
