//! The API server with the person's own rights: session, addresses of objects, targets of changes, refusals explained.

pub mod address;
pub mod append;
pub mod clock;
pub mod cluster_wide;
pub mod failure;
pub mod kinds;
pub mod manifest;
pub mod session;
pub mod target;
pub mod wait;
