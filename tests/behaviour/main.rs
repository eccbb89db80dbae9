//! What Mayday does, seen from outside: the real API server, the real binary, kubectl as people type it.
//!
//! One binary, so that it links once. Most tests share one cluster and keep to namespaces of their own; what
//! stops or kills the operator starts its own cluster. `make test` stops them all at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by failing")]

mod account;
mod audit;
mod bad_input;
mod change;
mod chart;
mod control_plane;
mod demo;
mod drills;
mod enforcement;
mod far_side;
mod faults;
mod freeze;
mod gap;
mod guards;
mod healing;
mod intake;
mod kinds;
mod ladder;
mod library;
mod lifecycle;
mod next_command;
mod node_steps;
mod outage;
mod outside;
mod paging;
mod people;
mod plugin;
mod policies;
mod process;
mod readme;
mod receiver;
mod replicas;
mod rollout;
mod rota;
mod runs;
mod samples;
mod shop;
mod steps;
mod support;
mod uninstall;
mod without_mayday;
