//! The life of a RunbookRun, a journal that survives a crash at any point.
//!
//! [`state_machine`] decides the next move without I/O; [`controller`], [`gather`] and [`client`] perform it. [`journal`]
//! holds the only ways in which a run's status changes.

pub mod account;
pub mod ask;
pub mod client;
pub mod controller;
pub mod gather;
pub mod journal;
pub mod news;
pub mod others;
pub mod outside;
pub mod page;
pub mod parts;
pub mod permit;
pub mod preflight;
pub mod prepare;
pub mod rehearsal;
pub mod start;
pub mod state_machine;
pub mod view;
