//! Kubernetes plumbing: caches, controllers, status, events, lease, backoff, impersonated clients.

pub mod backoff;
pub mod caches;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod error;
pub mod events;
pub mod failpoints;
pub mod lease;
pub mod status;
pub mod workloads;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::telemetry::metrics::Metrics;

pub use error::Error;

/// What every part of the process shares. Cheap to clone behind an `Arc`.
pub struct Context {
    /// Calls as the operator's own ServiceAccount, each with a timeout.
    pub client: kube::Client,
    /// Reads and dry runs as the planner, whose rights teams widen for their own kinds.
    pub planner: kube::Client,
    /// Makes clients that act as others.
    pub impersonate: client::Impersonator,
    /// The settings.
    pub config: Config,
    /// Name of this process, unique among the replicas.
    pub identity: String,
    /// Caches of the objects in the API server.
    pub caches: caches::Caches,
    /// Events on objects.
    pub events: events::Events,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Whether the webhooks are served.
    pub is_admitting: AtomicBool,
}

/// The context as it is passed around.
pub type SharedContext = Arc<Context>;
