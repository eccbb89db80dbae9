//! The life of a ChangeRequest: checked and planned once, decided on every change, and announced.

pub mod decide;
pub mod messages;
pub mod plan;
pub mod validate;
