//! Runbooks and their runs: approval, matching, limits, the steps (one file each), and the state machine of a run.
//!
//! A run is a journal: an act is stored before it is done, and proved afterwards from the object itself.

pub mod account_use;
pub mod approval;
pub mod automation_limits;
pub mod breaker;
pub mod clear;
pub mod cluster_identity;
pub mod concurrency;
pub mod controller;
pub mod decide;
pub mod digest;
pub mod drill;
pub mod flaps;
pub mod guards;
pub mod healthy;
pub mod identity;
pub mod ladder;
pub mod limits;
pub mod locks;
pub mod matching;
pub mod page;
pub mod permissions;
pub mod permitted;
pub mod preconditions;
pub mod retention;
pub mod run;
pub mod siblings;
pub mod steps;
pub mod targets;
pub mod validate;
pub mod values;
pub mod watch;
