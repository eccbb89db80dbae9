//! What binds the webhooks to the process: which handler answers which path, the webhook configurations, and the
//! probe that shows whether the gate is asked at all.
//!
//! [`handlers`] answers in every process; [`controller`] and [`probe`] run on the lease holder.

pub mod configuration;
pub mod controller;
pub mod handlers;
pub mod probe;
