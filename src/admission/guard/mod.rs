//! The guard of our own kinds: who may write what, where that needs a look-up. What needs none is in the
//! admission policies of the chart, and holds while Mayday is down.

pub mod approval;
pub mod change_request;
pub mod freeze;
pub mod incident;
pub mod policy;
pub mod policy_strictness;
pub mod ruling;
pub mod run;
pub mod runbook;
pub mod stamp;

#[cfg(test)]
mod approval_tests;
#[cfg(test)]
mod incident_tests;
