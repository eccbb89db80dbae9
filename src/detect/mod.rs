//! Turns alerts and watched conditions into incidents.
//!
//! [`sources`] makes observations of posts ([`intake`]) and of watched objects ([`watch`]). [`record`] sorts them by
//! outage, `batches` puts together what comes together, `correlate` decides which incident it belongs to, and `outage`
//! stores it.

pub mod answered;
mod batches;
mod body;
mod concurrency;
pub mod controller;
mod correlate;
pub mod decide;
pub mod intake;
mod live;
pub mod namespaces;
pub mod observation;
mod opened;
mod outage;
pub mod record;
mod refusals;
pub mod sources;
pub mod watch;
