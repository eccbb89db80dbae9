//! The controllers of ChangeRequests, Approvals, ChangePolicies and Freezes. They run on the lease holder.

pub mod approval;
pub mod freeze;
pub mod policy;
pub mod request;
