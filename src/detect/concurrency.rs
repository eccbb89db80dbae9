//! How many posts are worked on at once: no more than can be, and none of a source that takes the room of others. Pure.

use std::sync::{Mutex, PoisonError};

/// Posts that are worked on at once; one more is told to come again.
const AT_ONCE: usize = 64;
/// Of those, posts of one source.
const OF_ONE: usize = 32;

/// The sources of the posts that are being worked on.
#[derive(Debug, Default)]
pub struct Places {
    taken: Mutex<Vec<String>>,
}

/// A post that is being worked on.
#[derive(Debug)]
pub struct Place<'a> {
    places: &'a Places,
    source: String,
}

impl Places {
    /// A place for a post to a source, if there is one.
    pub fn take(&self, source: String) -> Option<Place<'_>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = taken.iter().filter(|other| **other == source).count();
        if taken.len() >= AT_ONCE || of_it >= OF_ONE {
            return None;
        }
        taken.push(source.clone());
        Some(Place { places: self, source })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
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
        let places = Places::default();
        let take = |source: &str| places.take(source.to_owned());
        let mut held: Vec<_> = (0..OF_ONE).filter_map(|_| take("a")).collect();
        assert!(held.len() == OF_ONE && take("a").is_none());
        held.extend((0..AT_ONCE).filter_map(|_| take("b")));
        assert!(held.len() == AT_ONCE && take("c").is_none());
        held.clear();
        assert!(take("a").is_some() && take("c").is_some());
    }
}
