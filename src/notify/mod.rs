//! Messages and the channels that carry them (`docs/rules.md#notifications`).
//!
//! A decision about an incident, request, run or policy lists messages ([`message`]). Its controller stores each as a
//! Notification before it writes the status that the decision leads to ([`store`]). The outbox sends every
//! Notification that is due and records what became of it ([`outbox`], [`schedule`], [`delivery`]); later it deletes
//! it ([`retention`]). One file a channel is in [`channels`].

pub mod channel_controller;
pub mod channel_status;
pub mod channels;
pub mod credential;
pub mod delivery;
pub mod message;
pub mod outbox;
pub mod retention;
pub mod schedule;
pub mod slots;
pub mod store;
pub mod tokens;
