//! Change control: who must agree to what, and whether what somebody attempts was agreed to.
//!
//! Everything here is pure but [`judge`] and [`live`], which gather what the decisions need.

pub mod attempt;
pub mod binding;
pub mod delta;
pub mod digest;
pub mod enforcement;
pub mod gate;
pub mod judge;
pub mod live;
pub mod people;
pub mod policy;
pub mod quorum;
pub mod refusal;
pub mod system;
pub mod unapproved;
pub mod words;
