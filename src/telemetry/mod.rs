//! Logs, metrics, and the server that shows them.

pub mod logging;
pub mod metrics;
