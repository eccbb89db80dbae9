//! The admission objects of the chart: webhook configurations, admission policies and their bindings. The lease holder
//! fills in what depends on policies and certificates, compares them whole with what they should be, and restores them
//! (docs/decisions/0055-the-gate-is-compared-whole.md).

pub mod compare;
pub mod definition;
pub mod emergency;
pub mod judge;
pub mod restore;
pub mod rules;
pub mod stored;
