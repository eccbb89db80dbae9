//! The life of a ChangeRequest: checked and planned once, evaluated on every change, and told to its people.

pub mod decide;
pub mod messages;
pub mod plan;
pub mod validate;
