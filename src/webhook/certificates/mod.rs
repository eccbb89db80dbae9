//! The certificates of the webhooks: made, renewed and installed by the operator itself.
//!
//! [`plan`] decides when, [`make`] and [`bundle`] make, [`store`] shares them among the replicas through one
//! Secret, [`serving`] shows them. Which API servers trust is written by [`crate::admission::configuration`].

pub mod bundle;
pub mod make;
pub mod plan;
pub mod serving;
pub mod store;
