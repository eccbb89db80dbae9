//! The webhook configurations. The lease holder keeps the fields that depend on policies and certificates up
//! to date.

pub mod fill;
pub mod rules;
