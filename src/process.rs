//! Starts the parts of the process in order and stops them.
//!
//! Every process serves; the one that holds the lease also runs the controllers. If any part ends
//! unexpectedly, the process ends, so that a half-dead operator is never ready.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::change::controllers::approval::ApprovalReconciler;
use crate::change::controllers::freeze::FreezeReconciler;
use crate::change::controllers::policy::ChangePolicyReconciler;
use crate::change::controllers::request::ChangeRequestReconciler;
use crate::change::drift;
use crate::change::gate_state::GateState;
use crate::cluster::caches::Caches;
use crate::cluster::client::{self, Impersonator};
use crate::cluster::controller::{self, Reconciler};
use crate::cluster::events::Events;
use crate::cluster::stamps::Stamps;
use crate::cluster::written::Written;
use crate::cluster::{Context, SharedContext, lease};
use crate::config::Config;
use crate::detect::controller::AlertSourceReconciler;
use crate::incident::controller::IncidentReconciler;
use crate::notify::channel_controller::NotificationChannelReconciler;
use crate::notify::outbox::Outbox;
use crate::oncall::feed_endpoint;
use crate::oncall::override_controller::OnCallOverrideReconciler;
use crate::oncall::rotation_controller::OnCallRotationReconciler;
use crate::outbound::Outbound;
use crate::runbook::controller::RunbookReconciler;
use crate::runbook::run::controller::RunbookRunReconciler;
use crate::service::controller::BusinessServiceReconciler;
use crate::telemetry::metrics::Metrics;
use crate::{admission, detect, health, webhook};

/// How long a sender may take to send the head of a request.
const HEADERS: Duration = Duration::from_secs(10);
/// How long open requests may take to finish when the process stops.
const DRAIN: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the operator until a signal stops it.
///
/// # Errors
/// When the operator cannot start, or a part of it ends unexpectedly.
pub async fn run(config: Config, kube: kube::Config, identity: String) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let signalled = signalled();
    let mut watches = JoinSet::new();
    let client = client::calling(&kube)?;
    let watches_of = client::watching(&kube)?;
    let metrics = Metrics::new();
    let outbound = Outbound::new(config.allow_loopback, &kube.cluster_url);
    let impersonate = Impersonator::new(kube, &config.namespace);
    let context = Arc::new(Context {
        caches: Caches::start(&watches_of, &metrics, &mut watches),
        planner: impersonate.planner()?,
        impersonate,
        outbound,
        events: Events::new(client.clone(), &identity),
        metrics,
        stamps: Stamps::default(),
        written: Written::default(),
        is_admitting: AtomicBool::new(false),
        client,
        config,
        identity,
    });

    let mut parts: JoinSet<Result<&'static str, Failure>> = JoinSet::new();
    let metrics = health::router(Arc::clone(&context));
    parts.spawn(serve("metrics", context.config.metrics.address, metrics, stop.clone()));
    serving(&context, &mut parts, &stop);
    parts.spawn(leading(Arc::clone(&context), stop.clone()));

    let ended = tokio::select! {
        () = signalled => {
            tracing::info!("stopping");
            Ok(())
        }
        ended = parts.join_next() => Err(unexpected(ended)),
        Some(_) = watches.join_next() => Err("a watch ended".into()),
    };
    stop.cancel();
    while parts.join_next().await.is_some() {}
    ended
}

/// Starts the servers that every process runs, with or without the lease.
fn serving(
    context: &SharedContext,
    parts: &mut JoinSet<Result<&'static str, Failure>>,
    stop: &CancellationToken,
) {
    let reviews = webhook::server::router(admission::handlers::Handlers::new(Arc::clone(context)));
    parts.spawn(webhook::listen::run(Arc::clone(context), reviews, stop.clone()));
    let intake = detect::intake::Intake::new(Arc::clone(context));
    let routes = intake.router().merge(feed_endpoint::router(Arc::clone(context)));
    parts.spawn(serve("intake", context.config.intake.address, routes, stop.clone()));
    let following = intake.follow(stop.clone());
    parts.spawn(async { Ok(following.await) });
}

/// Starts all parts that only the holder of the lease runs. Each runs until the token in `parts` is
/// cancelled.
fn controllers(parts: &mut Parts) {
    let gate = Arc::new(GateState::default());
    let of_gate = || Arc::clone(&gate);
    parts.task("admission", {
        let gate = of_gate();
        move |context, stop| admission::controller::run(context, gate, stop)
    });
    parts.task("gate-probe", {
        let gate = of_gate();
        move |context, stop| admission::probe::run(context, gate, stop)
    });
    parts.task("drift", {
        let gate = of_gate();
        move |context, stop| drift::run(context, gate, stop)
    });
    parts.task("watched-sources", detect::watch::run);

    parts.reconciler(ChangeRequestReconciler);
    parts.reconciler(ApprovalReconciler);
    parts.reconciler(ChangePolicyReconciler { gate });
    parts.reconciler(FreezeReconciler);
    parts.reconciler(RunbookReconciler::default());
    parts.reconciler(RunbookRunReconciler::default());
    parts.reconciler(OnCallRotationReconciler);
    parts.reconciler(OnCallOverrideReconciler);
    parts.reconciler(NotificationChannelReconciler::default());
    parts.reconciler(BusinessServiceReconciler);
    parts.reconciler(AlertSourceReconciler::default());
    parts.reconciler(IncidentReconciler::default());
    parts.reconciler(Outbox::new(parts.stop.clone()));
}

/// The parts that run while this process holds the lease, and the token that ends them.
struct Parts {
    context: SharedContext,
    stop: CancellationToken,
    tasks: JoinSet<&'static str>,
}

impl Parts {
    /// Starts a controller.
    fn reconciler<R: Reconciler>(&mut self, reconciler: R) {
        self.task(R::NAME, |context, stop| controller::run(reconciler, context, stop));
    }

    /// Starts a part that is not a controller.
    fn task<F>(&mut self, name: &'static str, run: impl FnOnce(SharedContext, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let part = run(Arc::clone(&self.context), self.stop.clone());
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }
}

/// Runs the controllers while this process holds the lease.
async fn leading(context: SharedContext, stop: CancellationToken) -> Result<&'static str, Failure> {
    let ready = async {
        context.caches.synced().await;
        context.stamps.loaded(&context.client, &context.config.namespace).await;
    };
    if stop.run_until_cancelled(ready).await.is_none() {
        return Ok("lease");
    }
    let (holding, held) = watch::channel(false);
    let idle = CancellationToken::new();
    let lease = tokio::spawn(lease::run(
        context.client.clone(),
        context.config.namespace.clone(),
        context.identity.clone(),
        holding,
        idle.clone(),
    ));
    let ended = while_held(&context, held, &stop).await;
    // The lease is released only after the controllers have ended, so that the next holder works alone.
    idle.cancel();
    lease.await?;
    ended.map(|()| "lease")
}

/// Starts the controllers each time this process gets the lease and stops them when it loses the lease. Runs
/// until `stop`.
async fn while_held(
    context: &SharedContext,
    mut held: watch::Receiver<bool>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    while !stop.is_cancelled() {
        let changed = tokio::select! {
            changed = held.wait_for(|holds| *holds) => changed.is_ok(),
            () = stop.cancelled() => break,
        };
        if !changed {
            return Err("the lease task ended".into());
        }
        tracing::info!("holding the lease: controllers start");
        context.metrics.leading(true);
        let mut parts =
            Parts { context: Arc::clone(context), stop: stop.child_token(), tasks: JoinSet::new() };
        controllers(&mut parts);
        tokio::select! {
            _ = held.wait_for(|holds| !*holds) => tracing::warn!("the lease is lost: controllers stop"),
            () = stop.cancelled() => {}
            Some(ended) = parts.tasks.join_next() => {
                stop.cancel();
                return Err(format!("a controller ended: {ended:?}").into());
            }
        }
        parts.stop.cancel();
        while parts.tasks.join_next().await.is_some() {}
        context.metrics.leading(false);
    }
    Ok(())
}

/// Serves plain HTTP until `stop`, then gives open requests up to [`DRAIN`] to finish.
async fn serve(
    name: &'static str,
    address: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> Result<&'static str, Failure> {
    let handle = Handle::new();
    let mut server = axum_server::bind(address).handle(handle.clone());
    // A client that connects and sends nothing is disconnected.
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let draining = async {
        stop.cancelled().await;
        handle.graceful_shutdown(Some(DRAIN));
        // The server ends only when it is drained, so this future never completes.
        futures::future::pending::<()>().await;
    };
    tracing::info!(%address, "{name} listens");
    tokio::select! {
        served = server.serve(router.into_make_service()) => {
            served.map_err(|error| format!("{name} cannot listen on {address}: {error}"))?;
        }
        () = draining => {}
    }
    Ok(name)
}

/// Completes when the process receives SIGTERM or SIGINT. Signals are caught from this call on, even before
/// the future is awaited.
fn signalled() -> impl Future<Output = ()> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::warn!(%error, ?kind, "a signal cannot be heard");
            None
        }
    });
    async {
        let [mut terminate, mut interrupt] = signals;
        tokio::select! {
            () = heard(&mut terminate) => {}
            () = heard(&mut interrupt) => {}
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => futures::future::pending().await,
    }
}

fn unexpected(ended: Option<Result<Result<&'static str, Failure>, tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Ok(Ok(name))) => format!("{name} ended unexpectedly").into(),
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        None => "nothing runs".into(),
    }
}
