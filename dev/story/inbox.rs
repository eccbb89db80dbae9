//! What everybody's pager, and the crisis room, received.

use std::cell::{Cell, RefCell};

use crate::failed::{Result, expect};
use crate::receiver::{Received, Receiver};
use crate::tell;
use crate::wait::until;
use crate::wording::matches;

/// The receiver behind every channel of the demo.
pub struct Inbox {
    receiver: Receiver,
    /// How many of them are accounted for, and what was heard since then: to whom and as which pattern.
    accounted: Cell<usize>,
    heard: RefCell<Vec<(String, String)>>,
}

impl Inbox {
    /// Opens it.
    pub fn open() -> Inbox {
        Inbox { receiver: Receiver::start(), accounted: Cell::new(0), heard: RefCell::default() }
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

    /// Waits until a person, or a room (which has no user name), reads a text like the pattern, and shows it.
    pub fn hears(&self, mark: usize, who: &str, pattern: &str) -> Result {
        let whom = if who.is_empty() { "the crisis room" } else { who };
        let message = until(&format!("{whom} reads: {pattern}"), || {
            let all = self.since(mark);
            let found =
                all.iter().find(|message| message.address() == who && matches(pattern, message.text()));
            Ok(found.cloned().ok_or_else(|| told(&all)))
        })?;
        self.heard.borrow_mut().push((who.to_owned(), pattern.to_owned()));
        tell::message(whom, message.text());
        Ok(())
    }

    /// The messages since the last call must be those that the story has heard, and no others.
    pub fn nothing_else(&self) -> Result {
        let mark = self.accounted.get();
        let arrived = self.since(mark);
        let mut heard = self.heard.take();
        let mut others = Vec::new();
        for message in &arrived {
            let is_it =
                |(who, text): &(String, String)| message.address() == who && matches(text, message.text());
            match heard.iter().position(is_it) {
                Some(found) => drop(heard.remove(found)),
                None => others.push(message.clone()),
            }
        }
        self.accounted.set(mark + arrived.len());
        expect(
            others.is_empty(),
            &format!("everybody read what concerns them, once, and nothing else: {} messages", arrived.len()),
            told(&others),
        )
    }
}

/// Messages as lines, for a failure.
pub fn told(messages: &[Received]) -> String {
    if messages.is_empty() {
        return "no message".to_owned();
    }
    messages.iter().map(|message| format!("{}: {}\n", message.address(), message.text())).collect()
}
