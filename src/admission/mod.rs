//! The webhooks in the process: the handlers of the paths, the webhook configurations, and the probe that shows
//! whether the API server asks the gate.
//!
//! [`handlers`] answers in every process; [`controller`] and [`probe`] run on the lease holder.

mod alarm;
mod broken_policy;
pub mod configuration;
pub mod controller;
pub mod handlers;
pub mod probe;
