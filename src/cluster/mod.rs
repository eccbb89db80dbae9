//! Kubernetes plumbing: caches, controllers, status, events, lease, backoff, impersonated clients.

pub mod access;
pub mod backoff;
pub mod busy;
pub mod caches;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod error;
pub mod events;
pub mod failpoints;
pub mod later;
pub mod lease;
pub mod recently;
pub mod rollout;
pub mod stamps;
pub mod status;
pub mod workloads;
pub mod written;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::outbound::Outbound;
use crate::telemetry::metrics::Metrics;

pub use error::Error;

/// State that all parts of the process share. Cheap to clone behind an `Arc`.
pub struct Context {
    /// Client for calls as the operator's own ServiceAccount, each with a timeout.
    pub client: kube::Client,
    /// Client for reads and dry runs as the planner. Teams extend the planner's rights for their own kinds.
    pub planner: kube::Client,
    /// Makes clients that act as other ServiceAccounts.
    pub impersonate: client::Impersonator,
    /// Calls addresses that users write into objects.
    pub outbound: Outbound,
    /// The settings.
    pub config: Config,
    /// Name of this process, unique among the replicas.
    pub identity: String,
    /// Caches of the objects in the API server.
    pub caches: caches::Caches,
    /// The runs as this process has stored them last.
    pub written: written::Written,
    /// Events on objects.
    pub events: events::Events,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// What the guard stamps on objects, with the keys of this installation.
    pub stamps: stamps::Stamps,
    /// Whether the webhooks are served.
    pub is_admitting: AtomicBool,
}

/// The shared context as functions receive it.
pub type SharedContext = Arc<Context>;
