//! Change control: policy index, delta, digest, quorum (pure) and the decision on a protected request.

pub mod binding;
pub mod delta;
pub mod digest;
pub mod enforcement;
pub mod policy;
pub mod quorum;
