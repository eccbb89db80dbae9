//! Change control: what counts as production, who must agree to a change, and whether one attempted write passes.
//!
//! [`gate`] answers the webhook in every process. [`controllers`] and [`drift`] run on the lease holder.

pub mod approval;
pub mod controllers;
pub mod diff;
pub mod drift;
pub mod gate;
pub mod policy;
pub mod probe_results;
pub mod request;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::probe_results::ProbeResults;
use crate::cluster::SharedContext;

/// Starts the controllers of requests, approvals, policies and freezes, and drift detection, until `stop`.
pub fn start(
    context: &SharedContext,
    probes: &Arc<ProbeResults>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) {
    tasks.spawn(controllers::request::run(Arc::clone(context), stop.clone()));
    tasks.spawn(controllers::approval::run(Arc::clone(context), stop.clone()));
    tasks.spawn(controllers::policy::run(Arc::clone(context), Arc::clone(probes), stop.clone()));
    tasks.spawn(controllers::freeze::run(Arc::clone(context), stop.clone()));
    tasks.spawn(drift::run(Arc::clone(context), stop.clone()));
}
