//! Mayday: a Kubernetes operator for outages. It detects one, pages the person on duty, runs the instructions
//! that were approved beforehand, refuses every production change that nobody approved, and proves that
//! service has returned.

pub mod admission;
pub mod api;
pub mod change;
pub mod cluster;
pub mod command;
pub mod config;
pub mod detect;
pub mod guard;
pub mod health;
pub mod incident;
pub mod notify;
pub mod oncall;
pub mod outbound;
pub mod problem;
pub mod process;
pub mod report;
pub mod runbook;
pub mod service;
pub mod telemetry;
pub mod text;
pub mod uninstall;
pub mod webhook;
