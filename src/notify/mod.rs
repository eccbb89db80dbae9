//! Channels and the outbox.
//!
//! A message is stored in the status of its subject before it is sent. [`outbox`] sends what is due,
//! [`delivery`] picks the way by the channel's member, [`webhook`] is the one way so far.

pub mod channel_controller;
pub mod channel_status;
pub mod credential;
pub mod delivery;
pub mod outbox;
pub mod schedule;
pub mod signature;
pub mod webhook;
