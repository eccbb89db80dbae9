//! Who is on duty, and who is paged next. The schedule and the escalation are pure.
//!
//! The way of a question: [`schedule`] compiles a rotation into [`turn`]s and [`restriction`]s over
//! [`local_time`], [`stand_in`] applies overrides, [`duty`] answers who, since when and until when.
//! [`escalation`] turns that into pages, level by level, with the words of [`text`].

pub mod answering;
pub mod duty;
pub mod escalation;
mod ladder;
pub mod local_time;
pub mod override_controller;
pub mod override_status;
pub mod recipients;
pub mod restriction;
pub mod rotation_controller;
pub mod rotation_status;
pub mod schedule;
pub mod stand_in;
pub mod text;
pub mod turn;
pub mod validate;
