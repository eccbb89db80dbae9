//! What can break, and which signal is about what.

mod name;

pub use name::incident_name;
