//! Freezes: when they are in force, over what, and what they stop (docs/rules.md#freezes). Pure, but [`live`], which
//! reads.

pub mod coverage;
pub mod decide;
pub mod in_force;
pub mod live;
pub mod period;
