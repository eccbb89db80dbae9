//! The webhook configurations: what of them depends on policies and certificates is kept by the lease holder.

pub mod fill;
pub mod rules;
