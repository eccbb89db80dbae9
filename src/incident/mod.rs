//! The lifecycle of an incident: what is known ([`facts`]), what follows ([`decide`], pure), and doing it
//! ([`controller`]).

pub mod changes;
pub mod checks;
pub mod controller;
pub mod decide;
pub mod doubts;
pub mod duplicates;
pub mod facts;
pub mod hand_over;
pub mod next;
pub mod people;
mod questions;
pub mod recovery;
pub mod relapse;
pub mod run_failures;
pub mod stakeholders;
pub mod timeline;
pub mod told;
