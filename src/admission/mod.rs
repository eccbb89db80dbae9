//! The HTTPS server of the webhooks: certificates, review decoding, the guard of our own kinds.
//!
//! [`listen`] serves in every process; [`upkeep`] and [`canary`] run on the lease holder. What is judged is
//! decided elsewhere: our own kinds in [`guard`], protected objects in [`crate::change`].

pub mod caller;
pub mod canary;
pub mod certificates;
pub mod guard;
pub mod listen;
pub mod review;
pub mod rooms;
pub mod server;
pub mod upkeep;
pub mod verdict;
pub mod webhooks;
