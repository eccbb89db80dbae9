//! Runbooks and their runs: digest, matching, the run's state machine (pure), one file per action, limits.
//!
//! A run is a journal: what is about to be done is stored before it is done, and what was done is proved
//! from the object itself. [`run`] holds the life of a run.

pub mod approval;
pub mod automation_limits;
pub mod controller;
pub mod digest;
pub mod identity;
pub mod limits;
pub mod matching;
pub mod preconditions;
pub mod run;
pub mod steps;
pub mod validate;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{SharedContext, controller as controllers};

/// Starts the controllers of Runbooks and of their runs; they go on until `stop`.
pub fn start(context: &SharedContext, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    tasks.spawn(controllers::run(
        "runbook",
        context.clone(),
        context.stores.runbooks.clone(),
        controller::concerned,
        |runbook, context| Box::pin(controller::reconcile(runbook, context)),
        stop.clone(),
    ));
    let engine = run::controller::Engine::default();
    tasks.spawn(controllers::run(
        "run",
        context.clone(),
        context.stores.runs.clone(),
        run::controller::concerned,
        move |run, context| {
            let engine = engine.clone();
            Box::pin(async move { engine.reconcile(run, context).await })
        },
        stop.clone(),
    ));
}
