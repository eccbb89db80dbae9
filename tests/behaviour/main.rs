//! What Mayday does, seen from outside: the real API server, the real binary, kubectl as people type it.
//!
//! One binary, so that it links once. Most tests share one cluster and keep to namespaces of their own; what
//! stops or kills the operator starts its own cluster. `make test` stops them all at the end.

mod change;
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

mod kinds;
mod policies;
mod process;
mod support;
mod without_mayday;
