//! Runbooks and their runs: digest, matching, the run's state machine (pure), one file per action, limits.
//!
//! A run is a journal: what is about to be done is stored before it is done, and what was done is proved
//! from the object itself. [`run`] holds the life of a run.

pub mod approval;
pub mod automation_limits;
pub mod controller;
pub mod digest;
pub mod identity;
pub mod limits;
pub mod matching;
pub mod preconditions;
pub mod run;
pub mod steps;
pub mod validate;
