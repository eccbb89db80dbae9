//! Tests that need the library and the files of the repository, and no cluster. One executable, so that it
//! links once.

mod chart;
mod failure_list;
mod generated;
mod layers;
mod oncall_property;
mod oncall_slow;
mod oncall_vectors;
mod purity;
mod sources;
