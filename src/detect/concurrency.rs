//! Limits concurrent posts: 1024 in all and 512 per AlertSource, so that one source cannot starve the others. How much
//! their bodies may hold in memory is limited apart from that, see `body`. Pure.

use std::sync::{Mutex, PoisonError};

/// Maximum number of concurrent posts.
const MAX_POSTS: usize = 1024;
/// Maximum number of concurrent posts to one source.
const MAX_POSTS_OF_A_SOURCE: usize = 512;

/// The posts that are being worked on, by their sources.
#[derive(Debug, Default)]
pub struct Concurrency {
    taken: Mutex<Vec<String>>,
}

/// The right to work on a post; dropping it makes room for the next.
#[derive(Debug)]
pub struct Slot<'a> {
    posts: &'a Concurrency,
    source: String,
}

impl Concurrency {
    /// A slot for a post to a source; `None` if its source, or all sources together, have too many.
    pub fn admit(&self, source: String) -> Option<Slot<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = taken.iter().filter(|other| **other == source).count();
        if taken.len() >= MAX_POSTS || of_source >= MAX_POSTS_OF_A_SOURCE {
            return None;
        }
        taken.push(source.clone());
        Some(Slot { posts: self, source })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = self.posts.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = taken.iter().position(|other| *other == self.source) {
            taken.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_leaves_room_for_others() {
        let posts = Concurrency::default();
        let admit = |source: &str| posts.admit(source.to_owned());
        let mut held: Vec<_> = (0..MAX_POSTS_OF_A_SOURCE).filter_map(|_| admit("a")).collect();
        assert!(held.len() == MAX_POSTS_OF_A_SOURCE && admit("a").is_none());
        held.extend((0..MAX_POSTS).filter_map(|_| admit("b")));
        assert!(held.len() == MAX_POSTS && admit("c").is_none());
        held.clear();
        assert!(admit("a").is_some() && admit("c").is_some());
    }
}
