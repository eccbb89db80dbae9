//! Runbooks and their runs: digest, matching, the run's state machine (pure), one file per action, limits.
//!
//! A run is a journal: what is about to be done is stored before it is done, and what was done is proved
//! from the object itself. [`machine`] says what comes next; the ends carry it out.

pub mod actions;
pub mod approval;
pub mod ceiling;
pub mod digest;
pub mod guard;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod matching;
pub mod outcome;
pub mod permit;
pub mod validate;
