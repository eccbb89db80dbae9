//! Change control: policy index, delta, digest, quorum (pure) and the decision on a protected request.

pub mod action;
pub mod approval_controller;
pub mod binding;
pub mod delta;
pub mod digest;
pub mod enforcement;
pub mod grant;
pub mod judge;
pub mod lookup;
pub mod people;
pub mod plan;
pub mod policy;
pub mod policy_controller;
pub mod quorum;
pub mod refusal;
pub mod request_controller;
pub mod request_decide;
pub mod request_messages;
pub mod sentinel;
pub mod system;
pub mod unapproved;
pub mod validate;
pub mod weigh;
pub mod words;
