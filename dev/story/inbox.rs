//! What everybody's pager, and the crisis room, received.

use crate::failed::Result;
use crate::receiver::{Received, Receiver};
use crate::wait::until;
use crate::wording::matches;

/// The receiver behind every channel of the demo.
pub struct Inbox {
    receiver: Receiver,
}

impl Inbox {
    /// Opens it.
    pub fn open() -> Inbox {
        Inbox { receiver: Receiver::start() }
    }

    /// Where channels post to.
    pub fn url(&self) -> String {
        self.receiver.url()
    }

    /// How many messages arrived so far: a place in the story.
    pub fn mark(&self) -> usize {
        self.receiver.messages().len()
    }

    /// What arrived since then.
    pub fn since(&self, mark: usize) -> Vec<Received> {
        self.receiver.messages().into_iter().skip(mark).collect()
    }

    /// Waits until somebody (a room: nobody by name) reads a text like the pattern, and shows it.
    pub fn hears(&self, mark: usize, who: &str, pattern: &str) -> Result<Received> {
        let whom = if who.is_empty() { "the crisis room" } else { who };
        let message = until(&format!("{whom} reads: {pattern}"), || {
            let all = self.since(mark);
            let found =
                all.iter().find(|message| message.address() == who && matches(pattern, message.text()));
            Ok(found.cloned().ok_or_else(|| told(&all)))
        })?;
        println!("    {}", message.text());
        Ok(message)
    }

    /// Who was paged since then, in order: pages begin with a severity.
    pub fn paged(&self, mark: usize) -> Vec<String> {
        let pages = self.since(mark).into_iter().filter(|message| message.text().starts_with("SEV"));
        pages.map(|page| page.address().to_owned()).collect()
    }
}

/// Messages as lines, for a failure.
pub fn told(messages: &[Received]) -> String {
    if messages.is_empty() {
        return "no message".to_owned();
    }
    messages.iter().map(|message| format!("{}: {}\n", message.address(), message.text())).collect()
}
