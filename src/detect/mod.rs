//! Phase 1: alert intake and condition watching, which turn signals into incidents.

pub mod alertmanager;
mod body;
mod concurrency;
pub mod condition;
pub mod controller;
mod correlate;
pub mod intake;
pub mod record;
pub mod signal;
