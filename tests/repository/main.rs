//! What needs the library and the files of the repository, and no cluster: one executable, so that it links once.

mod chart;
mod generated;
mod layers;
mod oncall_vectors;
mod purity;
