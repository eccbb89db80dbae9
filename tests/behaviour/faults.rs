//! Faults between the operator and the API server: though requests are lost, late or doubled, each operation takes effect at
//! most once, and each run ends as it may. The audit log is the judge.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod depot;
mod in_flight;
mod judge;
mod leaders;
mod list;
mod rows;
mod soak;
