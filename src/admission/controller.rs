//! Keeps certificates and webhook configurations as they must be, on the lease holder.
//!
//! The order at the start keeps a cluster writable: this process serves, then the API servers learn whom to
//! trust and what to ask about, then the probe shows whether it works.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::admission::configuration::fill::{GATE, Webhooks};
use crate::admission::configuration::rules;
use crate::admission::configuration::rules::Filled;
use crate::cluster::caches::Kind;
use crate::cluster::error::chain;
use crate::cluster::{Error, SharedContext};
use crate::webhook::certificates::store::CertificateStore;

/// Interval between two turns without a change.
const EVERY: Duration = Duration::from_secs(30);
/// Interval until the next turn after a failed one.
const RETRY: Duration = Duration::from_secs(2);
/// Interval between two attempts to reach the own server at the start.
const KNOCK: Duration = Duration::from_millis(50);

/// Why a turn is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wake {
    /// The policies, or only their status.
    Policies,
    /// What the API server asks about.
    Gate,
}

/// Works until `stop`: when the policies or the gate's configuration change, and every half minute.
pub async fn run(context: SharedContext, stop: CancellationToken) {
    let changes = context.caches.changes().filter_map(|change| async move {
        match change {
            Ok(change) => (change.kind == Kind::ChangePolicy).then_some(Wake::Policies),
            Err(_) => Some(Wake::Policies),
        }
    });
    let wakes = futures::stream::select(changes, gate_changes(&context.client).map(|()| Wake::Gate));
    futures::pin_mut!(wakes);
    if stop.run_until_cancelled(serving(&context)).await.is_none() {
        return;
    }
    let store = CertificateStore::new(
        context.client.clone(),
        &context.config.namespace,
        &context.config.admission.names,
    );
    let webhooks = Webhooks::new(&context.client);
    loop {
        let (filled, pause) = match turn(&context, &store, &webhooks).await {
            Ok(gate) => (Some(gate), EVERY),
            Err(Error::Conflict(_)) => (None, Duration::ZERO),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the webhooks are not up to date; trying again");
                (None, RETRY)
            }
        };
        // A write to the status of a policy does not change the gate.
        let needed =
            |wake: Option<Wake>| wake != Some(Wake::Policies) || filled.as_ref() != Some(&wanted(&context));
        let woken = async { while !needed(wakes.next().await) {} };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = woken => {}
        }
    }
}

/// What the API server must ask the gate about, according to the policies.
fn wanted(context: &SharedContext) -> [Filled; 2] {
    let policies = context.caches.policies.state();
    rules::gate(policies.iter().map(|policy| &**policy), &context.config.namespace)
}

/// Brings everything up to date. Returns what the API server asks the gate about now.
async fn turn(
    context: &SharedContext,
    store: &CertificateStore,
    webhooks: &Webhooks,
) -> Result<[Filled; 2], Error> {
    let now = Timestamp::now();
    let stored = store.obtain(now).await?;
    let published = webhooks.trust(&stored.bundle()).await?;
    let certificates = store.turn(now, published).await?;
    let gate = wanted(context);
    webhooks.fill(&certificates.bundle(), &gate).await?;
    Ok(gate)
}

/// Returns once this process's own server answers: the API servers must not call it before.
async fn serving(context: &SharedContext) {
    while tokio::net::TcpStream::connect(context.config.admission.address).await.is_err() {
        tokio::time::sleep(KNOCK).await;
    }
}

/// Every change of the gate's configuration, so that a deleted rule is restored at once.
fn gate_changes(client: &Client) -> impl futures::Stream<Item = ()> + use<> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let only = watcher::Config::default().fields(&format!("metadata.name={GATE}"));
    watcher(api, only)
        .default_backoff()
        .touched_objects()
        .filter_map(|event| async move { event.ok().map(|_| ()) })
}
