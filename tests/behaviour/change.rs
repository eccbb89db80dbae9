//! Changes to protected objects: refused, asked for, approved, used once, and nothing else.

mod approvals;
mod requests;
pub mod shop;
mod story;
mod traffic;
