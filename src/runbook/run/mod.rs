//! The life of a RunbookRun, a journal that survives a crash at any point.
//!
//! [`state_machine`] decides the next step without I/O; [`controller`] and [`client`] perform it. [`journal`] holds
//! the only ways in which a run's status moves.

pub mod client;
pub mod controller;
pub mod journal;
pub mod page;
pub mod permit;
pub mod prepare;
pub mod state_machine;
pub mod view;
