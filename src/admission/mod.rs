//! What binds the webhooks to the process: which handler answers which path, the webhook configurations, and the
//! probe that shows whether the gate is asked at all.
//!
//! [`handlers`] answers in every process; [`upkeep`] and [`probe`] run on the lease holder.

pub mod configuration;
pub mod handlers;
pub mod probe;
pub mod upkeep;
