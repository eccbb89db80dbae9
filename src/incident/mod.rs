//! The lifecycle of an incident. [`controller`] gathers the [`facts`], lets [`decide`] make a [`plan`], and carries it
//! out. Everything but the controller is pure.

pub mod announcements;
pub mod changes;
pub mod checks;
pub mod chronicle;
pub mod conditions;
pub mod controller;
pub mod decide;
pub mod delivery;
pub mod duplicates;
pub mod episodes;
pub mod facts;
pub mod flapping;
pub mod handoff;
pub mod looks;
pub mod next;
pub mod opening;
pub mod paging;
pub mod phase;
pub mod plan;
mod questions;
pub mod recovery;
pub mod relapse;
pub mod roles;
pub mod run_failures;
pub mod runbooks;
pub mod signals;
pub mod stakeholders;
pub mod staleness;
pub mod still_firing;
pub mod timeline;
pub mod watch;
