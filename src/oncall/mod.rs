//! Who is on duty, and who is paged next. The schedule and the escalation are pure.
//!
//! [`schedule`] compiles a rotation into turns and restrictions over local time, applies overrides and answers who is on
//! duty from when to when.
//! [`escalation`] turns that into pages, level by level, with the words of [`escalation::page_text`].
//!
//! A `*_controller.rs` only gathers facts and writes the status; the pure decision is in the `*_status.rs` beside it.

pub mod escalation;
pub mod feed;
pub mod feed_endpoint;
pub mod looks;
pub mod override_controller;
pub mod override_status;
pub mod reminders;
pub mod rotation_controller;
pub mod rotation_status;
pub mod schedule;
