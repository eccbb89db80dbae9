//! How many messages are under way at once. A receiver that hangs must not hold up the messages of other channels, nor
//! what is about to be paged by its own. Pure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of messages of one channel that are under way at once.
const OF_A_CHANNEL: usize = 64;
/// Of these, the number that only pages may use.
const FOR_PAGES: usize = 16;

/// The messages under way, counted by channel.
#[derive(Clone, Debug, Default)]
pub struct Slots(Arc<Mutex<HashMap<Channel, usize>>>);

/// Namespace and name of a channel.
type Channel = (String, String);

/// A message under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    channel: Channel,
}

impl Slots {
    /// Takes a slot of a channel; `None` if too many messages of it are under way.
    pub fn take(&self, namespace: &str, channel: &str, is_page: bool) -> Option<Slot> {
        let channel = (namespace.to_owned(), channel.to_owned());
        let mut counts = self.counts();
        let count = counts.entry(channel.clone()).or_default();
        let most = if is_page { OF_A_CHANNEL } else { OF_A_CHANNEL - FOR_PAGES };
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Slot { slots: self.clone(), channel })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Channel, usize>> {
        // A count is right even if a thread that held it has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts();
        if let Some(count) = counts.get_mut(&self.channel) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_hangs_holds_up_no_other_and_leaves_room_for_pages() {
        let slots = Slots::default();
        let take = |channel: &str, is_page| slots.take("shop", channel, is_page);
        let mut held: Vec<Slot> = std::iter::from_fn(|| take("hangs", false)).collect();
        assert_eq!(held.len(), OF_A_CHANNEL - FOR_PAGES);
        held.extend(std::iter::from_fn(|| take("hangs", true)));
        assert_eq!(held.len(), OF_A_CHANNEL);
        assert!(take("other", false).is_some());
        held.pop();
        assert!(take("hangs", true).is_some(), "one has ended");
        drop(held);
        assert!(slots.counts().is_empty());
    }
}
