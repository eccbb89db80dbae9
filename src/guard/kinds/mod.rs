//! One file for each kind: who may create, change and delete it, where that needs a look-up.

pub mod approval;
pub mod change_request;
pub mod freeze;
pub mod incident;
pub mod oncall_override;
pub mod policy;
pub mod run;
pub mod runbook;

#[cfg(test)]
mod approval_tests;
