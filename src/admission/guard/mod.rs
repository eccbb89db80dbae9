//! The guard of our own kinds: who may write what, where that needs a look-up. What needs none is in the
//! admission policies of the chart, and holds while Mayday is down.

pub mod policy_strictness;
pub mod ruling;
pub mod stamp;
