//! What is left behind: the outage reports.
