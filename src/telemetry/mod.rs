//! Logs, metrics, and the server that shows them.
