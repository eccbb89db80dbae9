//! Who is on duty, and who is paged next. The schedule and the escalation are pure.
//!
//! The way of a question: [`schedule`] compiles a rotation into [`turn`]s and [`restriction`]s over
//! [`local_time`], [`stand_in`] applies overrides, [`duty`] answers who, since when and until when.
//! [`escalation`] turns that into pages, with the words of [`text`].

pub mod duty;
pub mod local_time;
pub mod restriction;
pub mod schedule;
pub mod stand_in;
pub mod turn;
pub mod validate;
