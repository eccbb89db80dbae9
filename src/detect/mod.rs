//! Turns alerts and watched conditions into incidents.
//!
//! [`sources`] makes observations of posts ([`intake`]) and of watched objects ([`watch`]); `correlate` decides which
//! incident they belong to; [`record`] stores them.

mod body;
mod concurrency;
pub mod controller;
mod correlate;
pub mod decide;
pub mod intake;
pub mod observation;
pub mod record;
pub mod sources;
pub mod watch;
