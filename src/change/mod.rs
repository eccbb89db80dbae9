//! Change control: policy index, delta, digest, quorum (pure) and the decision on a protected request.
//!
//! [`judge`] answers the webhook in every process; what [`start`] begins runs on the lease holder.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::SharedContext;

pub mod action;
pub mod approval_controller;
pub mod audience;
pub mod binding;
pub mod budget;
pub mod built_in;
pub mod by_itself;
pub mod delta;
pub mod digest;
pub mod drawn;
pub mod enforcement;
pub mod freeze_controller;
pub mod grant;
pub mod judge;
pub mod lookup;
pub mod patching;
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
pub mod unproved;
pub mod uses;
pub mod validate;
pub mod version;
pub mod weigh;
pub mod words;

/// Starts the controllers of requests, approvals, policies and freezes, and the sentinel, until `stop`.
pub fn start(context: &SharedContext, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    tasks.spawn(request_controller::run(Arc::clone(context), stop.clone()));
    tasks.spawn(approval_controller::run(Arc::clone(context), stop.clone()));
    tasks.spawn(policy_controller::run(Arc::clone(context), stop.clone()));
    tasks.spawn(freeze_controller::run(Arc::clone(context), stop.clone()));
    tasks.spawn(sentinel::run(Arc::clone(context), stop.clone()));
}
