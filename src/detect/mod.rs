//! Phase 1: alert intake and condition watching, which turn signals into incidents.

pub mod alertmanager;
mod body;
pub mod condition;
pub mod controller;
mod follow;
pub mod intake;
mod places;
pub mod record;
pub mod signal;
