//! Change control: which objects are protected, who must approve a change, and whether an attempted write passes.
//!
//! [`gate`] answers the webhook in every process. [`controllers`] and [`drift`] run on the lease holder.

pub mod approval;
pub mod controllers;
pub mod diff;
pub mod drift;
pub mod freeze;
pub mod gate;
pub mod gate_state;
pub mod policy;
pub mod request;
pub mod stamps;
