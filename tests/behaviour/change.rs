//! Changes to protected objects: refused, asked for, approved, used once, and nothing else.

mod approvals;
mod client;
mod delta;
mod entries;
mod evictions;
mod exact;
mod files;
mod freeze;
mod glass;
mod requests;
pub mod shop;
mod standing;
mod story;
mod traffic;
