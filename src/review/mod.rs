//! What is left behind: the outage reports.

pub mod report;
